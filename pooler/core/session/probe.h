/* INTERNAL_PROBE: what is left of a session, in the server's own words. */
#ifndef POOLER_SESSION_PROBE_H
#define POOLER_SESSION_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "session/settings.h"

struct relay;
struct server;

#define ASK_TRIES 10 /* a question that the client's own limits end is asked again so often */
#define LIMITS 3     /* settings that are not in force for our own question */

enum question {
    QUESTION_SETTINGS,
    QUESTION_LOCKS,
    QUESTION_TEMP,
    QUESTION_PREPARED,
    QUESTION_CURSORS,
    QUESTION_CHANNELS,
    QUESTION_DEFAULTS,
    QUESTIONS,
};

/* The rows of an answer. */
struct answer {
    uint32_t got, bytes;
    bool overflow;
    char limits[LIMITS][32]; /* their values for the client, as SHOW says them */
    char pairs[SETTINGS_BYTES];
};

void session_probe(struct relay *r, struct server *s, uint32_t ask);
void session_hear(struct relay *r, struct server *s, unsigned char letter, const unsigned char *body,
                  uint32_t n, bool whole);
void session_unanswered(struct server *s);
void session_answered(struct relay *r, struct server *s);

#endif
