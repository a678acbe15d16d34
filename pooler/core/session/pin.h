/* Pins: servers that stay with their clients between transactions. */
#ifndef POOLER_SESSION_PIN_H
#define POOLER_SESSION_PIN_H

#include <stdbool.h>
#include <stdint.h>

struct relay;
struct server;

#define WEAK_PIN_LOOK_MS 20 /* servers that are kept for sequences only are looked at so often */
/* and given up for others that wait when their client was silent for so long; */
#define WEAK_PIN_SILENT_US 200000u
/* for so long where it may ask in a later transaction for what its sequences have left, */
#define NEXTVAL_SILENT_US 500000u
#define CURRVAL_SILENT_US 1000000u /* or where clients of its pool have asked for that */
/* times that a client's settings of unknown name keep its server; then only a reset is left */
#define OPAQUE_LESSONS 16
#define WEAK_PIN_WAIT_US 100000u /* others do wait */
/* others have waited for so long: a client that is never silent gives it up, too; */
#define WEAK_PIN_BUSY_US 1000000u
#define CURRVAL_BUSY_US 10000000u /* for so long where it may ask for what its sequences have left */
#define WEAK_PIN_DIAL_US 2000000u /* what it may take to open a server for those who wait instead */

const char *pin_reasons(uint32_t pinned, char *out, uint32_t space);
void session_turn(struct relay *r, struct server *s);
bool session_settle(struct relay *r, struct server *s);
bool session_dirty(const struct server *s);
bool session_beyond_reset(struct relay *r, const struct server *s);
void session_tick(struct relay *r);

#endif
