/* Events: what the relay cannot do itself. */
#ifndef POOLER_RELAY_EVENTS_H
#define POOLER_RELAY_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

struct relay;
struct tls;

#define EVENT_TEXT_BYTES 200

/* What a client does to objects that all databases share. */
enum shared_ddl {
    DDL_BEGINS,    /* is about to do something to a database that idle servers may be in the way of */
    DDL_DATABASE,  /* has made or altered a database */
    DDL_ROLE,      /* has made or altered a role */
    DDL_ROLE_GONE, /* has dropped a role */
};

enum event_type {
    EVENT_DIAL = 1, /* a: slot */
    EVENT_CANCEL,   /* a: slot whose query is to be canceled because its client left, id: its generation */
    EVENT_LOGIN,    /* a: client row in its login, b: orders, id */
    EVENT_DATABASE, /* a: pool of a client that does something to the database or role named `text`, to
                       all roles if empty; b: an enum shared_ddl */
    /* a: database whose listening connection has work here, b: pool to open it for, or NO_ROW */
    EVENT_LISTEN,
    EVENT_LOGIN_ASKS, /* a: row of a login, id, b: enum login_question; data: fields (login/questions.h) */
    EVENT_LOGIN_LEFT, /* a: row of a login that has asked, id: it needs no answer any more */
    /* a: row of a client that is Python's now, id, b: its descriptor, is_unix, how: enum login_pass, tls;
     * data: fields */
    EVENT_LOGIN_PASSED,
};

struct event {
    uint8_t type;
    int32_t a, b;
    uint64_t id;
    char text[EVENT_TEXT_BYTES];
    bool is_unix;
    uint8_t how;
    struct tls *tls; /* what is Python's from now on, and so is `data`, which it frees */
    unsigned char *data;
    uint32_t data_bytes;
};

bool events_grow(struct relay *r, uint32_t capacity);
int relay_events(struct relay *r, struct event *out, int max);

#endif
