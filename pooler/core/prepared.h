/* Protocol-level prepared statements in transaction and statement pooling.
 *
 * Theory.  A client's statement name means a text (with its parameter types): the client's `names` say which.
 * A server has a set of texts prepared, each under a number of its own (`pooler_7`): the slot's `prepared_set`,
 * in the shared map, because its next user may be another worker.  Texts are compared by a keyed 128-bit hash
 * (SipHash, key made at the start), so that no client can make its text pass for another's.
 *
 *   Parse    named: the client's name is noted.  Does the server have the text?  Then nothing is sent and
 *            ParseComplete is answered in its turn ('p').  Else Parse goes out under the server's name.
 *            unnamed: passes as it is, but the text is kept: the client may use it in a later transaction.
 *   Bind, Describe   the name is replaced; a text that the server does not have is prepared first, by a Parse of
 *            ours whose ParseComplete nobody sees.
 *   Close    of a name: answered in its turn ('x'); the server keeps the text for others, until it is the least
 *            recently used of max_prepared_statements.
 *   unknown names pass unchanged: PostgreSQL answers 26000, or finds a statement made by SQL PREPARE.
 *   a name that is live already: Parse goes out for a text the server has, so PostgreSQL itself says 42P05.
 *
 * A text means what it meant when it was parsed: after an ALTER TABLE it is another statement.  `made` is the time of
 * that, on the clock of the database (`altered` in its row), which ticks with every DDL that is seen and with every
 * statement that PostgreSQL found changed.  A name is served by what was prepared at its time or later (what is older
 * is replaced), if the client does not go by columns that it has no more: columns.c.
 *
 * An error skips everything up to Sync, so names and texts count only when answered: `journal` (names) and
 * `parsing` (texts) hold what is in flight, and are undone for what was skipped.
 */
#ifndef POOLER_PREPARED_H
#define POOLER_PREPARED_H

#include <stdbool.h>
#include <stdint.h>

#define PREPARED_MAX 1000               /* texts on one server; max_prepared_statements above that counts as that */
#define PREPARED_BUCKETS 1024
#define PREPARED_NONE 0xffff
#define STATEMENT_BYTES_MAX (16u << 20) /* a named Parse is read whole */
#define UNNAMED_BYTES_MAX (1u << 20)         /* a longer unnamed text is not kept for a later transaction */
#define HEAD_BYTES_MAX 8192             /* portal and statement name of a Bind */
#define SERVER_NAME_BYTES 24            /* pooler_4294967295 */
#define NAME_MAX_BYTES 64               /* of an SQL identifier: NAMEDATALEN */

struct digest { uint64_t high, low; };

/* In the shared map, one per slot; only the slot's owner touches it. */
struct prepared_entry { struct digest digest; uint32_t number, made, columns; uint16_t chain, newer, older; };
struct prepared_set {
    uint32_t next_number;
    uint16_t count, newest, oldest, unused;   /* `unused`: chain of free entries; `count` high-water in `used` */
    uint16_t used;
    uint16_t buckets[PREPARED_BUCKETS];
    struct prepared_entry entries[PREPARED_MAX];
};

void digest_of(const uint64_t key[2], const unsigned char *p, uint32_t n, struct digest *out);
void prepared_reset(struct prepared_set *set);
void prepared_forget(struct prepared_set *set);
bool prepared_digest(const struct prepared_set *set, uint32_t number, struct digest *out);
struct prepared_entry *prepared_find(struct prepared_set *set, const struct digest *d);
struct prepared_entry *prepared_use(struct prepared_set *set, const struct digest *d, uint32_t made);
uint32_t prepared_shrink(struct prepared_set *set, uint32_t limit);
uint32_t prepared_add(struct prepared_set *set, const struct digest *d, uint32_t made, uint32_t limit, uint32_t *evicted);
void prepared_remove(struct prepared_set *set, const struct digest *d);

/* A text that clients of this worker use, once. `body` is a Parse message behind the name. */
struct statement {
    struct statement *next;
    struct digest digest;
    uint32_t references, bytes;
    uint32_t traits, ends, serial;   /* what the text says about the session, as of this serial of the profile */
    unsigned char body[];
};

struct statement_store { uint64_t key[2]; uint32_t count, capacity; struct statement **buckets; };

struct statement *statement_intern(struct statement_store *store, const unsigned char *body, uint32_t bytes,
                                   uint64_t meaning);
void statement_drop(struct statement_store *store, struct statement *s);

/* One client's names; allocated with the first. */
struct name {
    struct name *next;
    struct statement *statement;
    uint32_t hash, made;
    uint32_t columns;                    /* hash of those of its result, as the client may know them; 0: unknown */
    uint16_t bytes;
    bool told;                           /* the client asked for them */
    char text[];
};
struct change { struct change *next; bool added; uint32_t pipeline; struct name *name; };   /* name: NULL: void */
struct names {
    struct name **buckets;
    uint32_t count, capacity;
    struct change *first, *last;         /* the journal, oldest first */
    uint32_t pipeline;                   /* Syncs that the client has sent since it has names */
    struct name *bound, *used;           /* what the last Bind used, and the last message of any kind */
    unsigned char *unnamed;              /* body of the unnamed Parse */
    uint32_t unnamed_bytes, unnamed_room;
    uint64_t unnamed_number;             /* counts them: another server may have an earlier one */
    bool unnamed_live, unnamed_kept;     /* there is one; its text is in `unnamed` */
};

struct name *names_find(const struct names *n, const char *text, uint32_t bytes);
bool names_unsettled(const struct names *n, const char *text, uint32_t bytes);
bool names_settled(const struct names *n);
struct name *names_find_old(const struct names *n, const char *text, uint32_t bytes);
void names_set(struct names *n, const char *text, uint32_t bytes, struct statement *s, uint32_t made);
void names_unset(struct names *n, struct name *name);
void names_confirm(struct statement_store *store, struct names *n);
void names_undo(struct statement_store *store, struct names *n, uint32_t changes);
void names_clear(struct statement_store *store, struct names *n);
void names_free(struct statement_store *store, struct names *n);
void names_keep_unnamed(struct names *n, const unsigned char *body, uint32_t bytes);
const struct name *names_of_digest(const struct names *n, const struct digest *d);

#endif
