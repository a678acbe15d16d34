/* "cached plan must not change result type": prepared again, and asked again when nobody can notice.
 *
 * Theory.  PostgreSQL refuses to run a statement whose result has other columns than when it was parsed, for
 * the client's sake: it may know the old ones.  Through a pooler the statement may be another client's, older
 * than this client's Parse, so the error can come where PostgreSQL itself has none.  What may be done without
 * harm depends on what the client knows:
 *
 *   it has parsed the statement, or describes it or the portal, in the very pipeline that failed, or never
 *            asked for columns: it has no old ones.  Its name is renewed (`made`: now), so that every server
 *            prepares it again; and if nothing of the pipeline has been executed, no answer to what must be
 *            repeated has been sent and no transaction is open, what it sent since is sent again: it never
 *            sees the error.
 *   otherwise (also when its Bind asks for a format column by column) it goes by columns that it was told
 *            before, and would read rows wrongly.  The error is what PostgreSQL would say, and drivers of
 *            that kind parse the statement again then.
 *
 * For that the messages of the pipeline under way are kept as the client sent them, as long as they are few.
 */
#ifndef POOLER_STATEMENTS_REPLAN_H
#define POOLER_STATEMENTS_REPLAN_H

#include <stdbool.h>
#include <stdint.h>

struct relay;
struct server;

void replan_refuse(struct server *s);
bool replan_error(struct relay *r, struct server *s, const unsigned char *message, uint32_t n,
                  const unsigned char *run, uint32_t run_bytes, bool framed);
void replan_held(struct relay *r, struct server *s);
void replan_settle(struct relay *r, struct server *s);

#endif
