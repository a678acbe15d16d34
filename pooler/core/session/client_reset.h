/* RESET and DISCARD ALL: back to the values of the client's startup packet. */
#ifndef POOLER_SESSION_CLIENT_RESET_H
#define POOLER_SESSION_CLIENT_RESET_H

#include <stdbool.h>
#include <stdint.h>

struct client;
struct relay;
struct server;
struct session;
struct settings;

/* What has run since a statement was sent that resets something (client_reset.c). */
enum reset_state {
    RESET_SENT,   /* nothing that counts */
    RESET_OTHER,  /* something that need not be one */
    RESET_RAN,    /* one, and nothing behind it that sets anything again */
    RESET_UNSURE, /* one, perhaps; what it has reset may be set again, or it is undone */
};

void session_note_reset(struct relay *r, struct client *c, uint32_t effect_flags);
void session_reset_undone(struct session *x);
bool session_restoring(struct relay *r, struct server *s, int effect, const unsigned char *body, uint32_t n);
bool session_resetting(const struct server *s);
void session_send_parameter(struct relay *r, struct client *c, const char *name, const char *value);
void session_send_parameters(struct relay *r, struct client *c, const struct settings *told);
bool session_report_hidden(struct relay *r, const struct server *s, const char *name, const char *value);
bool session_hold(struct relay *r, struct server *s, uint8_t status);
void session_restore(struct relay *r, struct server *s);
void session_restored(struct relay *r, struct server *s);

#endif
