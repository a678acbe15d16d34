/* SHOW CLIENTS and SHOW SOCKETS as the bytes of their rows: thousands of clients are thousands of rows, and
 * an object of Python for each cell would keep the hub from everything else for half a second. */
#ifndef POOLER_RELAY_SHOWN_CLIENTS_H
#define POOLER_RELAY_SHOWN_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>

struct tables;

enum shown_as {
    SHOWN_CLIENTS,        /* that have logged in, by pool, state and age */
    SHOWN_SOCKETS,        /* and those in their login */
    SHOWN_ACTIVE_SOCKETS, /* without those that rest */
};

/* DataRow messages, in text form. */
struct shown {
    unsigned char *bytes;
    uint64_t count, space;
    int32_t rows;
    bool starved; /* there was no memory for some */
};

/* `ours`: with pooler's own columns behind PgBouncer's.  The caller frees the bytes. */
void shown_clients(const struct tables *t, enum shown_as as, bool ours, uint64_t now, struct shown *out);

#endif
