/* Protocol-level prepared statements in transaction and statement pooling.
 *
 * Theory.  A client's statement name means a text (with its parameter types): the client's `names` say which.
 * A server has a set of texts prepared, each under a number of its own (`pooler_7`): the slot's
 * `prepared_set`, in the shared map, because its next user may be another worker.  Texts are compared by a
 * keyed 128-bit hash (SipHash, key made at the start), so that no client can make its text pass for
 * another's.
 *
 *   Parse    named: the client's name is noted, and the Parse goes out under a name of the server's, always:
 *            PostgreSQL alone knows what names and literals mean now.  (A Parse that is the EXECUTE of
 *            another statement stands for that one: ParseComplete is answered in its turn, 'p'.) unnamed:
 *            passes as it is, but the text is kept: the client may use it in a later transaction.
 *   Bind, Describe   the name is replaced; a text that the server does not have is prepared first, by a Parse
 *            of ours whose ParseComplete nobody sees.
 *   Close    of a name: answered in its turn ('x'); the server keeps the text for others, until it is the
 *            least recently used of max_prepared_statements.
 *   unknown names pass unchanged: PostgreSQL answers 26000, or finds a statement made by SQL PREPARE.
 *   a name that is live already: Parse goes out for a text the server has, so PostgreSQL itself says 42P05.
 *
 * A text means what it meant when it was parsed, until PostgreSQL reads it again: after an ALTER TABLE it is
 * another statement, after a SET too; who runs it under other settings has another one (parse_settings.c).
 * `made` is the time when its Parse was sent.  A name is served by what was prepared at its time or later, by
 * whomever (what is older is replaced), if the client does not go by columns that it has no more:
 * row_description.c.
 *
 * DEALLOCATE ALL and DISCARD ALL take all names: who says one behind them, or behind what may be one of them,
 * waits until they are answered (names_may_go).
 *
 * An error skips everything up to Sync, so names and texts count only when answered: `journal` (names) and
 * `parsing` (texts) hold what is in flight, and are undone for what was skipped.
 */
#ifndef POOLER_STATEMENTS_STORE_H
#define POOLER_STATEMENTS_STORE_H

#include <stdbool.h>
#include <stdint.h>

#define PREPARED_MAX 1000 /* texts on one server; max_prepared_statements above that counts as that */
#define PREPARED_BUCKETS 1024
#define PREPARED_NONE 0xffff
#define STATEMENT_BYTES_MAX (16u << 20) /* a named Parse is read whole */
#define UNNAMED_BYTES_MAX (1u << 20)    /* a longer unnamed text is not kept for a later transaction */
#define STATEMENT_NAME_MAX 65535        /* of a client; in all messages that have one */
#define HEAD_BYTES_MAX (2 * (STATEMENT_NAME_MAX + 1) + 5) /* a Bind up to the end of its names */
#define EXECUTE_TEXT_MAX 8192        /* a Parse is looked into for EXECUTE up to this size */
#define SERVER_NAME_PREFIX "pooler_" /* of the names by which servers know statements */
#define SERVER_NAME_BYTES 24         /* pooler_4294967295 */
#define NAME_MAX_BYTES 64            /* of an SQL identifier: NAMEDATALEN */

struct digest { uint64_t high, low; }; /* all zero: of nothing */

static inline bool digest_same(struct digest a, struct digest b) {
    return a.high == b.high && a.low == b.low;
}
static inline bool digest_none(struct digest d) { return !(d.high | d.low); }

/* In the shared map, one per slot; only the slot's owner touches it. */
struct prepared_entry {
    struct digest digest;
    uint64_t made; /* when its Parse was sent */
    uint32_t number, columns;
    uint16_t chain, newer, older;
    bool foreign; /* parsed under other settings than it is run under, or it may be */
};
struct prepared_set {
    uint32_t next_number;
    /* `unused`: chain of free entries; `count` high-water in `used` */
    uint16_t count, newest, oldest, unused;
    uint16_t used;
    uint16_t buckets[PREPARED_BUCKETS];
    struct prepared_entry entries[PREPARED_MAX];
};

void digest_of(const uint64_t key[2], const unsigned char *p, uint32_t n, struct digest *out);
void prepared_reset(struct prepared_set *set);
void prepared_forget_before(struct prepared_set *set, uint32_t floor);
bool prepared_digest(const struct prepared_set *set, uint32_t number, struct digest *out);
struct prepared_entry *prepared_find(struct prepared_set *set, const struct digest *d);
struct prepared_entry *prepared_use(struct prepared_set *set, const struct digest *d, uint64_t made);
uint32_t prepared_shrink(struct prepared_set *set, uint32_t limit);
void prepared_plans_discarded(struct prepared_set *set);
uint32_t prepared_add(struct prepared_set *set, const struct digest *d, uint64_t made, uint32_t limit,
                      uint32_t *evicted);
void prepared_remove(struct prepared_set *set, const struct digest *d);

/* A text that clients of this worker use, once. `body` is a Parse message behind the name. */
struct statement {
    struct statement *next;
    struct digest digest;   /* under which a server has it for those who run it under `under`, too */
    struct digest literals; /* of the text and of what its literals were read under */
    struct settings *under; /* those of its Parse */
    bool apart;             /* not shared */
    bool floating;          /* nobody knows what it was parsed under: it is good where that was only */
    uint32_t references, bytes;
    /* what the text says about the session, as of this serial of the profile */
    uint32_t effect_flags, ends, serial;
    uint8_t deeds;   /* enum sql_deeds */
    bool misleading; /* it was parsed when a byte of a character might look like a letter of SQL */
    unsigned char body[];
};

struct settings;
struct settings_store;
struct statement_store {
    uint64_t key[2];
    struct settings_store *settings;
    uint32_t count, capacity;
    struct statement **buckets;
};

struct statement *statement_intern(struct statement_store *store, const unsigned char *body, uint32_t bytes,
                                   struct settings *under, uint64_t apart);
struct digest statement_key(const struct statement_store *store, const struct digest *literals,
                            struct digest run);
void statement_drop(struct statement_store *store, struct statement *s);

/* One client's names; allocated with the first. */
struct name {
    struct name *next;
    struct name *next_same, **place_same;           /* in by_digest */
    struct name *next_confirmed, **place_confirmed; /* place_confirmed NULL: its Parse is not answered yet */
    struct change *removal;                         /* of it, in the journal; NULL: it can be found */
    struct statement *statement;
    struct name *next_of_text, *previous_of_text; /* a ring of those with the same statement */
    struct change *spare;                         /* for its removal, which must not fail */
    uint64_t made; /* when its Parse was sent: older ones are of no use for it */
    uint32_t hash;
    uint32_t columns; /* hash of those of its result, as the client may know them; 0: unknown */
    uint16_t bytes;
    bool told; /* the client asked for them */
    char text[];
};
/* name: NULL: void */
struct change {
    struct change *next;
    bool added;
    uint32_t pipeline, hash;
    struct name *name;
};
/* How many changes in the journal are of names with one of these hashes: `all`, and those of `pipeline` among
 * them. */
struct pending { uint32_t all, of_pipeline, pipeline; };
#define PENDING_BUCKETS 32

struct names {
    uint64_t key; /* of the hashes: nobody can choose names that meet */
    struct name **buckets;
    struct name **by_digest; /* as many buckets */
    struct name *confirmed;  /* names whose Parse has been answered, removed ones too while that is not */
    uint32_t count, capacity;
    uint64_t kept_bytes; /* of names, their changes and texts, each text once */
    struct pending pending[PENDING_BUCKETS];
    struct change *first, *last;        /* the journal, oldest first */
    uint32_t pipeline;                  /* Syncs that the client has sent since it has names */
    struct name *bound, *used;          /* what the last Bind used, and the last message of any kind */
    struct name *taken;                 /* what the last Parse of a name that is there was about */
    uint32_t used_number, taken_number; /* the server's, of `used` and `taken` */
    bool floating;                      /* some may be of such a statement */
    unsigned char *unnamed;             /* body of the unnamed Parse, */
    struct settings *unnamed_under;     /* and the settings of then */
    uint32_t unnamed_bytes, unnamed_room;
    uint64_t unnamed_number;         /* counts them: another server may have an earlier one */
    uint32_t unnamed_pipeline;       /* in which it was parsed here */
    bool unnamed_live, unnamed_kept; /* there is one; its text is in `unnamed` */
    bool unnamed_misleading;         /* as of a statement */
};

struct name *names_find(const struct names *n, const char *text, uint32_t bytes);
bool names_unconfirmed(struct names *n, const char *text, uint32_t bytes);
bool names_confirmed(const struct names *n);
struct name *names_find_old(const struct names *n, const char *text, uint32_t bytes);
bool names_set(struct names *n, const char *text, uint32_t bytes, struct statement *s, uint64_t made);
void names_unset(struct names *n, struct name *name);
void names_confirm(struct statement_store *store, struct names *n);
bool names_undo(struct statement_store *store, struct names *n, uint32_t changes);
void names_clear(struct statement_store *store, struct names *n);
void names_free(struct statement_store *store, struct names *n);
bool names_keep_unnamed(struct statement_store *store, struct names *n, const unsigned char *body,
                        uint32_t bytes, struct settings *under);
const struct name *names_of_number(const struct names *n, const struct prepared_set *set, uint32_t number);

#endif
