/* What the servers of a pool report when a session begins, taken apart once for all logins that follow.
 *
 * What is kept depends on the bytes in the row of the pool and on the tracked names, which a relay has for
 * life.  A login compares the bytes: there is no version that a writer could forget, a row that another pool
 * has now needs no care, and nothing of the configuration is in it that a reload could change. */
#ifndef POOLER_LOGIN_WELCOME_H
#define POOLER_LOGIN_WELCOME_H

#include <stdbool.h>
#include <stdint.h>

#include "session/settings.h"

struct relay;

#define WELCOMES_KEPT 1024 /* 1.5 kB each, as PostgreSQL 18 reports 500 bytes; of other pools the last */

struct welcome {
    const char *tracked[TRACKED_MAX]; /* values, by the place of the name; NULL: it is not reported */
    const char *server_version, *is_superuser; /* the same */
    const unsigned char *reports;              /* ParameterStatus of all that are not tracked */
    uint32_t reports_bytes, bytes;
    char texts[]; /* names and values, each with a NUL behind it; then the reports */
};

/* False: nothing was reported yet.  `*w`: good until the next call; NULL: no memory.  `*defaults`: version of
 * the pool's defaults before its welcome was read. */
bool welcome_of(struct relay *r, int32_t pool, const struct welcome **w, uint32_t *defaults);

#endif
