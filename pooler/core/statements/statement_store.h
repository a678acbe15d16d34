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
 * waits until they are answered (statements_names_may_go).
 *
 * An error skips everything up to Sync, so names and texts count only when answered: `journal` (names) and
 * `parsing` (texts) hold what is in flight, and are undone for what was skipped.
 */
#ifndef POOLER_STATEMENTS_STATEMENT_STORE_H
#define POOLER_STATEMENTS_STATEMENT_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "sql/digest.h"

struct settings;
struct settings_store;

#define NO_NUMBER 0                     /* no statement has it: a Bind of it fails */
#define STATEMENT_BYTES_MAX (16u << 20) /* a named Parse is read whole */
#define UNNAMED_BYTES_MAX (1u << 20)    /* a longer unnamed text is not kept for a later transaction */
#define STATEMENT_NAME_MAX 65535        /* of a client; in all messages that have one */
#define HEAD_BYTES_MAX (2 * (STATEMENT_NAME_MAX + 1) + 5) /* a Bind up to the end of its names */
#define EXECUTE_TEXT_MAX 8192 /* a Parse is looked into for EXECUTE up to this size */

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

#endif
