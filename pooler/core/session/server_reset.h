/* What a server is freed of before another client gets it.
 *
 * Theory.  The row of a server says which client had it last and what that one may have left there (enum
 * leftover in tables/layout.h).  The row is written before anything of a client is sent, so it also counts
 * for other workers, for a mode or a session_state that is another one by now, and for a client that is gone.
 * What follows from it is decided when the server changes hands:
 *
 *   session_state = strict   whatever was said and answered: any server that another client has had is reset.
 *   otherwise                what a session had to itself (session pooling), or left while nobody took note
 *                            of it (session_state = off), is reset before a client that is promised a session
 *                            of its own.
 *
 * The reset is three simple queries in one write.  None of their names can have been forged by a client (they
 * are no prepared statements), and nothing in them is looked up by search_path:
 *
 *   1  SET SESSION AUTHORIZATION DEFAULT; RESET ALL; ...   takes no snapshot, so it runs at once under any
 *      transaction defaults of the client, and its timeouts end there; random() gets a seed that nobody
 *      knows: DISCARD ALL leaves it.
 *   2  strict only: whether the database has functions that no reset undoes (C, untrusted or further
 *      languages), or the role may do what no reset undoes.  As a rule it asks for functions that are newer
 *      than those it knows (one look into an index), and every HANDOVER_LOOK_US for all of them.
 *   3  DISCARD ALL.
 *
 * The answers must be those that PostgreSQL gives; a server that answers anything else is closed.  So is one
 * that may have run what no reset undoes (`beyond` in the row of its pool).
 */
#ifndef POOLER_SESSION_SERVER_RESET_H
#define POOLER_SESSION_SERVER_RESET_H

#include <stdbool.h>
#include <stdint.h>

struct relay;
struct server;

enum handover {
    HANDOVER_AS_IT_IS,
    HANDOVER_QUERY,   /* server_reset_query, in the operator's words */
    HANDOVER_DISCARD, /* settings, and DISCARD ALL */
    HANDOVER_STRICT,  /* the same, and whether that is enough */
};

/* all functions of a database are looked at so often where servers change hands, */
#define HANDOVER_LOOK_US 2000000u
#define HANDOVER_LOOK_SHARE 100u /* or, where that takes long, so many times less than it takes */

/* What a reset has told of the functions of its database. */
enum found { FOUND_NOTHING, FOUND_NO_ANSWER, FOUND_NEWS, FOUND_BEYOND };

void handover_taken(struct relay *r, struct server *s);
enum handover handover_before(const struct relay *r, const struct server *s);
enum handover handover_after(const struct relay *r, const struct server *s, bool used);
void handover_begin(struct relay *r, struct server *s, enum handover how);
void handover_hear(struct relay *r, struct server *s, unsigned char letter, const unsigned char *body,
                   uint32_t n, bool whole);
const char *handover_done(struct relay *r, struct server *s);
void handover_leftovers(struct relay *r, int32_t pool, uint64_t client);

#endif
