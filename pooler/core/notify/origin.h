/* Notes from relays to listening connections (subscribe.h), through PostgreSQL's own queue.
 *
 * Theory.  The channel of notes is no secret: pg_stat_activity shows the NOTIFY to the owner of the session,
 * and every role of a database may listen to it and send there.  So each note ends with a number and a seal.
 * The seal is a keyed hash of the note, the pid of the backend that sends it and the address of its
 * PostgreSQL: what another backend repeats does not fit.  The numbers of one backend grow, so what it repeats
 * itself later does not count either.  The listener ignores all that does not fit, and no
 * client's LISTEN or UNLISTEN of that channel reaches it.
 */
#ifndef POOLER_NOTIFY_ORIGIN_H
#define POOLER_NOTIFY_ORIGIN_H

#include <stdint.h>

struct endpoint;
struct slot_row;
struct tables;

#define MARKER_BYTES 192 /* of a sealed note */
#define MARKER_CHANNEL_BYTES 24
#define ADDED_MARKER_BYTES (MARKER_BYTES + MARKER_CHANNEL_BYTES + 16)
#define SEAL_BYTES 33 /* 32 hexadecimal digits and a NUL */

void marker_channel(const struct tables *t, char out[MARKER_CHANNEL_BYTES]);
void marker_seal(const struct tables *t, const struct endpoint *where, uint32_t pid, const char *marker,
                 char out[SEAL_BYTES]);
void marker_sealed(struct tables *t, const struct slot_row *from, const char *text, char out[MARKER_BYTES]);

#endif
