/* What a client begins with: what its pool's servers report, under what its startup packet says. */
#ifndef POOLER_LOGIN_PARAMETERS_H
#define POOLER_LOGIN_PARAMETERS_H

#include <stdbool.h>
#include <stdint.h>

#define NAME_KEPT_BYTES 63 /* what PostgreSQL keeps of a name */

struct login;
struct newcomer;
struct relay;
struct welcome;

/* What PostgreSQL makes of an application_name: `?` for what is not plain ASCII, since version 16 `\x..`. */
void parameters_printable(const char *name, const char *server_version, char out[4 * NAME_KEPT_BYTES + 1]);
/* Whether a value is a server's own in another spelling: utf-8 is UTF8, ISO is "ISO, MDY". */
bool parameters_same(const char *name, const char *value, const char *reported);
/* A setting that this client may not begin with, for its user is no superuser, as the pool's servers report;
 * NULL: there is none. */
const char *parameters_refused(const struct login *l, const struct welcome *w);
/* Fills values, greeting and what belongs to them.  False: no memory. */
bool parameters_of(struct relay *r, struct login *l, const struct welcome *w, struct newcomer *n);

#endif
