/* RESET and DISCARD ALL: back to the values of the client's startup packet. */
#ifndef POOLER_SESSION_CLIENT_RESET_H
#define POOLER_SESSION_CLIENT_RESET_H

#include <stdbool.h>
#include <stdint.h>

struct client;
struct relay;
struct server;
struct settings;

void session_note_reset(struct relay *r, struct client *c, uint32_t effect_flags);
bool session_restoring(struct relay *r, struct server *s, int effect, const unsigned char *body, uint32_t n);
bool session_resetting(const struct server *s);
void session_send_parameter(struct relay *r, struct client *c, const char *name, const char *value);
void session_send_parameters(struct relay *r, struct client *c, const struct settings *told);
bool session_report_hidden(struct relay *r, const struct server *s, const char *name, const char *value);
bool session_hold(struct relay *r, struct server *s, uint8_t status);
void session_restore(struct relay *r, struct server *s);
void session_restored(struct relay *r, struct server *s);

#endif
