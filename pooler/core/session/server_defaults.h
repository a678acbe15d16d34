/* What servers of a pool have by themselves, and what follows when that changes.
 *
 * Theory.  A client that has not set a parameter has the server's value of it, also after the configuration
 * was read again or a standby was promoted.  But a server whose parameters were set for other clients reports
 * nothing then, and one that is idle reports nothing before its next statement.  So servers are asked for the
 * values to which a RESET would lead (reset_val), at most once a second in each pool, when one is given back
 * or a client logs in.  Where one has changed, the pool's welcome changes, and every client that goes by the
 * server's value follows when it gets its next server.
 *
 * ALTER ROLE and ALTER DATABASE SET count for new sessions only.  They show in the rows of
 * pg_db_role_setting: then the pool's servers are obsolete, and new clients get the values of new ones;
 * clients that are there keep theirs.
 */
#ifndef POOLER_SESSION_SERVER_DEFAULTS_H
#define POOLER_SESSION_SERVER_DEFAULTS_H

#include <stdbool.h>
#include <stdint.h>

struct client;
struct relay;
struct server;

#define DEFAULTS_CHECK_US 1000000u

bool defaults_stale(const struct relay *r, int32_t pool);
bool defaults_due(const struct relay *r, const struct server *s);
void defaults_ask(struct relay *r, struct server *s);
void defaults_hear(struct relay *r, struct server *s, unsigned char letter, const unsigned char *body,
                   uint32_t n, bool whole);
void defaults_reported(const struct relay *r, struct client *c, const char *name, const char *value);
void defaults_follow(struct relay *r, struct client *c);

#endif
