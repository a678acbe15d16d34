/* Packets that open a connection: what a client wants before anything is known of it.
 *
 * Everything here comes from strangers.  A packet is complete and at most STARTUP_BYTES_MAX long; it is
 * walked from left to right, and what is returned points into it, NUL-terminated. */
#ifndef POOLER_LOGIN_PACKET_H
#define POOLER_LOGIN_PACKET_H

#include <stdbool.h>
#include <stdint.h>

#include "tables/states.h"

#define STARTUP_BYTES_MIN 8
#define STARTUP_BYTES_MAX 10000 /* PostgreSQL's MAX_STARTUP_PACKET_LENGTH */
#define CANCEL_KEY_MIN 4
#define CANCEL_KEY_MAX 256
#define PROTOCOL_MINOR 2   /* the newest that we speak: 3.2 */
#define LONG_KEYS_MINOR 2  /* from which on cancel keys are long */
#define USER_BYTES_MAX 127 /* PgBouncer's limits */
#define DATABASE_BYTES_MAX 63
#define FAULT_BYTES 512

/* What a client is told, or the log: at most one line, cut where it would be longer. */
struct fault {
    char sqlstate[6];
    char text[FAULT_BYTES];
};

enum packet_kind { PACKET_SSL, PACKET_GSS, PACKET_CANCEL, PACKET_STARTUP };

struct pair { const char *name, *value; };

struct packet {
    uint8_t kind;        /* enum packet_kind */
    uint8_t replication; /* enum replication (tables/states.h) */
    uint16_t minor;      /* of protocol 3 */
    const char *user, *database, *options;
    uint32_t setting_count, extension_count; /* `_pq_.` parameters: names only */
    struct pair *settings;                   /* all other parameters, in their order; packet_free() frees */
    const char **extensions;
    uint32_t cancel_pid, cancel_key_bytes;
    const unsigned char *cancel_key;
};

/* The length of a packet by its first four bytes; 0: out of bounds, with the fault. */
uint32_t packet_length(const unsigned char head[4], struct fault *fault);
/* Takes one apart, from its length word to its last byte; `bytes` stay where they are as long as the packet
 * is used.  False: the fault says why; nothing is to be freed. */
bool packet_read(struct packet *p, const unsigned char *bytes, uint32_t n, struct fault *fault);
void packet_free(struct packet *p);

/* Settings that a session is to begin with. */
#define PARAMETERS_MAX 32 /* tracked ones; TRACKED_MAX of session/settings.h */

struct wanted {
    const char *tracked[PARAMETERS_MAX]; /* by the place of the name in `names`; NULL: not given */
    uint32_t other_count;
    struct pair
        *others; /* not tracked: names in lower case, the last value of each name counts; with the texts
                            that they, and `tracked` where options have it, point to: wanted_free() frees */
};

struct name_set; /* login/names.h */

/* What the packet's settings and options come to.  `names`: the tracked parameters, by which `tracked` is
 * ordered; role, session_authorization and is_superuser count as not tracked, even there.  `ignored`: names
 * in lower case that are passed over ("options" among them: unknown settings in options are).
 * `accept_unknown`: what is not tracked is another setting, not a fault.  The options of a replication
 * client are not looked at. False: the fault says why; nothing is to be freed. */
bool packet_wanted(struct wanted *w, const struct packet *p, const char *const *names, int name_count,
                   const struct name_set *ignored, bool accept_unknown, struct fault *fault);
void wanted_free(struct wanted *w);

#endif
