/* Sets of settings that a server has accepted, by pool.
 *
 * Theory.  Servers differ: what one makes of `DateStyle=SQL` depends on its own default, a time zone may be
 * unknown to it, and it may lie.  So a set of settings belongs to a pool (struct settings_scope), and what
 * one of the pool's servers said of it counts for that pool only.  Sets that were accepted are kept here
 * while nobody has them, so that the next client with the same startup values need not ask; those of a pool
 * that is forgotten go with it, at the latest when its row is used again.
 */
#ifndef POOLER_SESSION_ACCEPTED_SETTINGS_H
#define POOLER_SESSION_ACCEPTED_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "session/settings.h"

struct relay;
struct tables;

#define ACCEPTED_MAX 256 /* sets of one pool that are kept */

struct settings_scope accepted_scope(const struct tables *t, int32_t pool);
bool accepted_keep(struct relay *r, int32_t pool, struct settings *s);

#endif
