/* COPY from a client: the theory stands in copy.c. */
#ifndef POOLER_RELAY_COPY_H
#define POOLER_RELAY_COPY_H

#include <stdbool.h>
#include <stdint.h>

struct client;
struct relay;
struct server;

#define COPY_REFUSAL_BYTES 64

void copy_note_deeds(const struct relay *r, struct client *c, const unsigned char *p, uint32_t here,
                     uint32_t total);
bool copy_may_begin(const struct server *s);
void copy_refuse(struct relay *r, struct server *s, uint8_t letter);
bool copy_was_refused(const struct server *s, const unsigned char *error, uint32_t n,
                      char text[COPY_REFUSAL_BYTES]);
bool copy_begins(struct relay *r, struct server *s);
bool copy_sync(struct server *s);
bool copy_decides(const struct server *s);
bool copy_completed(struct server *s);
bool copy_failed(struct server *s);
void doubt_ask(struct relay *r, struct server *s);
void doubt_end(struct relay *r, struct server *s);
bool doubt_answered(struct server *s);
void doubt_ended(struct relay *r, struct server *s);

#endif
