/* Commands: what Python's thread wants of the relay. */
#ifndef POOLER_RELAY_COMMANDS_H
#define POOLER_RELAY_COMMANDS_H

#include <stdint.h>

struct relay;
struct tls;

enum command_type {
    /* a: row, b: fd, generation: head of the greeting in bytes, token: its tail; data: settings values;
     * extra: greeting, bytes read after the login */
    COMMAND_CLIENT = 1,
    COMMAND_SERVER,     /* a: slot; b: fd, generation; data: settings values */
    COMMAND_DEDICATED,  /* a: client row, id, b: its fd; generation of the slot, token: slot and its fd; data:
                                    settings values; extra: bytes read behind the client's login */
    COMMAND_CLOSE_SLOT, /* a: slot, CLOSING and ours */
    COMMAND_FREED_SLOT, /* a: slot that was never dialed, or whose end was read by Python */
    COMMAND_KILL,       /* a: row, id, token; data: SQLSTATE, text and, if any, detail, a NUL behind each */
    COMMAND_SEND,       /* a: row, id; data: bytes for the client (a notice) */
    COMMAND_RECLAIM,    /* finish the slots of dead workers */
    COMMAND_OPTIONS,    /* data: struct options */
    COMMAND_STOP,
    COMMAND_POLICY,        /* token: a struct policy, which is the relay's from now on */
    COMMAND_UNKNOWN_USERS, /* a: most users have SCRAM, b: iterations; data: the key of their salts */
    COMMAND_DRAIN,         /* no login comes in any more */
    COMMAND_LOGIN_ANSWER,  /* a: row, id, b: enum login_answer; data: fields (login/questions.h) */
};

#define DETAIL_BYTES 512 /* of an error of pooler's own, with its NUL */

struct command {
    struct command *next;
    uint8_t type;
    int32_t a, b;
    uint32_t generation;
    uint64_t id, token;
    struct tls *tls; /* COMMAND_CLIENT: of the connection, the relay's from now on; NULL: plain */
    uint32_t data_bytes, extra_bytes;
    unsigned char data[]; /* data, then extra */
};

void relay_command(struct relay *r, struct command *c);
void relay_obey_commands(struct relay *r);

#endif
