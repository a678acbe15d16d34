/* Events: what the relay cannot do itself, and what the log is to say. */
#ifndef POOLER_RELAY_EVENTS_H
#define POOLER_RELAY_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "tables/layout.h"

struct relay;

#define EVENT_TEXT_BYTES 200

/* What a client does to objects that all databases share. */
enum shared_ddl {
    DDL_BEGINS,    /* is about to do something to a database that idle servers may be in the way of */
    DDL_DATABASE,  /* has made or altered a database */
    DDL_ROLE,      /* has made or altered a role */
    DDL_ROLE_GONE, /* has dropped a role */
};

enum event_type {
    EVENT_ACCEPT = 1, /* a: descriptor, b: 1 for a unix socket */
    EVENT_DIAL,       /* a: slot */
    EVENT_CANCEL,     /* a: slot whose query is to be canceled because its client left, id: its generation */
    EVENT_LOGIN,      /* a: client row in its login, b: orders, id */
    EVENT_CLIENT_CLOSED, /* a: client row (already free), b: pool, id, age_us, text */
    EVENT_SERVER_CLOSED, /* a: slot (already free), b: pool, id, age_us, text */
    EVENT_WARNING,       /* text */
    EVENT_DATABASE,      /* a: pool of a client that does something to the database or role named `text`, to
                                    all roles if empty; b: an enum shared_ddl */
    /* a: database whose listening connection has work here, b: pool to open it for, or NO_ROW */
    EVENT_LISTEN,
};

struct event {
    uint8_t type;
    int32_t a, b, database, user;
    uint64_t id, age_us;
    bool told; /* the client got an error message */
    int32_t port;
    char addr[ADDRESS_BYTES];
    char text[EVENT_TEXT_BYTES];
};

bool events_grow(struct relay *r, uint32_t capacity);
int relay_events(struct relay *r, struct event *out, int max);

#endif
