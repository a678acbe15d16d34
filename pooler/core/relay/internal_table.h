/* The requests that pooler itself makes of a server: one row each, which says all that is particular to it.
 *
 * At most one of them is in flight on a server (`internal` in struct server), and its answers are no
 * client's.  The columns:
 *
 *   name        INTERNAL_<name>; the comment names the file that sends it
 *   traits      enum internal_trait
 *   unanswered  why a server is closed that has not answered in time, as the log says it
 *   hear        takes the messages of the answer, one by one; NULL: how it ends is enough
 *   done        what follows when the answer is complete
 *
 * The order means nothing.
 */
#ifndef POOLER_RELAY_INTERNAL_TABLE_H
#define POOLER_RELAY_INTERNAL_TABLE_H

#include <stdbool.h>
#include <stdint.h>

struct relay;
struct server;

enum internal_trait {
    REQUEST_BLOCKS = 1, /* its client's messages wait for the end of the answer */
    REQUEST_FIRST = 2,  /* a statement of its client comes behind it, which has still to be answered */
    REQUEST_SETS = 4,   /* what it sets are settings of its client: so are the values that are reported */
    REQUEST_SLOW = 8,   /* it takes the longer the more there is */
    REQUEST_ENDS = 16, /* no transaction may be open behind it; what the operator has written may leave one */
    REQUEST_OUTLIVES = 32, /* it goes on without its client: what that has left is swept away behind it */
    REQUEST_PARTS = 64,    /* several queries in one write; the answer to the last one ends it */
};

/* clang-format off */
#define INTERNAL_REQUESTS(X)                                                                                \
    /* the settings of a client, for which its statement waits (internal_requests.c) */                     \
    X(SETTINGS, REQUEST_BLOCKS | REQUEST_FIRST | REQUEST_SETS,                                              \
      "settings unanswered", greeting_hear, settings_done)                                                  \
    /* the same in one write with the statement (session/settings_ahead.c) */                               \
    X(SETTINGS_AHEAD, REQUEST_FIRST | REQUEST_SETS,                                                         \
      "settings unanswered", NULL, settings_done)                                                           \
    /* what sequences left to others is discarded (session/sequences.c) */                                  \
    X(SEQUENCES, REQUEST_BLOCKS | REQUEST_FIRST,                                                            \
      "request about sequences unanswered", NULL, sequences_discarded)                                      \
    /* server_check_query (client.c) */                                                                     \
    X(CHECK, REQUEST_BLOCKS | REQUEST_FIRST | REQUEST_ENDS,                                                 \
      "test query unanswered", NULL, check_done)                                                            \
    /* what another client has left is undone (session/server_reset.c) */                                   \
    X(RESET, REQUEST_BLOCKS | REQUEST_FIRST | REQUEST_SLOW | REQUEST_ENDS | REQUEST_PARTS,                  \
      "reset query unanswered", handover_hear, reset_done)                                                  \
    /* a client has left in a transaction (server_release.c) */                                             \
    X(ROLLBACK, REQUEST_BLOCKS | REQUEST_ENDS,                                                              \
      "rollback unanswered", NULL, rollback_done)                                                           \
    /* an empty query, which tells how many Syncs were answered (copy.c) */                                 \
    X(STEP, REQUEST_BLOCKS,                                                                                 \
      "number of answers unknown", NULL, doubt_ended)                                                       \
    /* values of the startup packet come back behind a RESET (session/client_reset.c) */                    \
    X(RESTORE, REQUEST_BLOCKS | REQUEST_SETS | REQUEST_OUTLIVES,                                            \
      "question about the session unanswered", NULL, restore_done)                                          \
    /* what is left of a session (session/probe.c) */                                                       \
    X(PROBE, REQUEST_BLOCKS | REQUEST_OUTLIVES,                                                             \
      "question about the session unanswered", session_hear, probe_done)                                    \
    /* a piece of the catalogs (catalog/read.c) */                                                          \
    X(CATALOG, REQUEST_BLOCKS | REQUEST_SLOW | REQUEST_OUTLIVES,                                            \
      "question about the catalogs unanswered", catalog_hear, catalog_done)                                 \
    /* the server listens again, and the listener is told who notifies (notify/announce.c) */               \
    X(LISTEN, REQUEST_BLOCKS | REQUEST_FIRST | REQUEST_OUTLIVES,                                            \
      "request about channels unanswered", NULL, channels_done)                                             \
    /* others listen for the client now (notify/subscribe.c) */                                             \
    X(UNLISTEN, REQUEST_BLOCKS | REQUEST_OUTLIVES,                                                          \
      "request about channels unanswered", NULL, channels_done)                                             \
    /* a marker behind what was notified (notify/subscribe.c) */                                            \
    X(NOTIFY, REQUEST_BLOCKS | REQUEST_OUTLIVES,                                                            \
      "request about channels unanswered", NULL, channels_done)                                             \
    /* the values that a server has by itself (session/server_defaults.c) */                                \
    X(DEFAULTS, REQUEST_BLOCKS | REQUEST_FIRST | REQUEST_OUTLIVES,                                          \
      "question about defaults unanswered", defaults_hear, defaults_done)
/* clang-format on */

enum internal_request {
    INTERNAL_NONE,
#define X(NAME, TRAITS, UNANSWERED, HEAR, DONE) INTERNAL_##NAME,
    INTERNAL_REQUESTS(X)
#undef X
};

#endif
