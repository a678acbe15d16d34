/* The state of a client's session in transaction and statement pooling: noticed, carried along, pinned,
 * cleaned.
 *
 * Theory.  What a client leaves behind in its session belongs to it and to nobody else.  The texts of its
 * statements (sql/effects.h) say when something may have been left; then, after the end of the transaction
 * and before the server may change hands, the server itself is asked what is there (INTERNAL_PROBE, one query
 * made of the questions that matter):
 *
 *   settings      become the client's set (settings.h).  They follow it: a server with another set is brought
 *                 to this one before the client's next statement, a server with the same set is used as it
 *                 is.
 *   anything else (locks, temporary objects, SQL PREPARE, WITH HOLD, ...) pins the server: it stays with its
 *                 client until a later answer says that nothing is left, or the client leaves; then it is
 *                 cleaned.
 *
 * Statements whose text says nothing cost nothing.  What functions, triggers and views may do is known from
 * the catalogs, of which one worker reads what has changed, in small pieces, on servers that no client has
 * just then (catalog/read.h); all workers have what it found.  As long as nothing is known everything is
 * asked for.
 *
 * RESET and DISCARD ALL lead back to the values of the *client's* startup packet, which are not the server's:
 * they are put in force again before the client gets its ReadyForQuery (INTERNAL_RESTORE), and it hears of
 * the difference only.
 */
#ifndef POOLER_SESSION_SESSION_H
#define POOLER_SESSION_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "io/rewritten.h"
#include "sql/effects.h"

struct answer;
struct client;
struct listening;
struct pool_row;
struct profile;
struct relay;
struct server;
struct settings;
struct slot_row;

#define NOTES_BYTES 4096

/* Names that statements have mentioned: a letter (s: set, r: reset, ...) and a NUL-terminated name each. */
struct notes {
    uint32_t bytes;
    char names[NOTES_BYTES];
};

/* Of one server, since its client has it. */
struct session {
    uint32_t effect_flags, ends;    /* of the statements since the server was last asked */
    uint32_t prepared_effect_flags; /* of the texts of SQL PREPARE */
    uint32_t prepared_serial;       /* of the profile by which they were looked at */
    uint32_t pinned;                /* why it stays with its client: ASK_ and PIN_ bits */
    uint32_t asked;                 /* what INTERNAL_PROBE asks for */
    uint8_t tries;                  /* of the question, after errors of the moment */
    uint32_t unjudged_version;      /* of the schema, when PIN_UNJUDGED began */
    uint32_t judged_version;        /* of the schema, before the first of those statements was looked at */
    uint32_t unknown_count, sequence_requests;
    uint32_t discard_request; /* the number of the latest that discards what sequences left */
    uint32_t reset_from;      /* while `told`: number of the request by which something is reset, */
    uint8_t reset;            /* and enum reset_state */
    bool reset_bound;         /* a portal of the transaction may do it later */
    bool resets_all;          /* it is RESET ALL or DISCARD ALL */
    bool failed;              /* an error or a rollback since: names alone do not tell */
    bool partly;              /* not all of a text was looked at: its tag says what it made */
    bool unseen; /* something was called of which nobody knew what it is: it may have opened connections */
    bool doomed; /* it may carry what no reset undoes: the server is closed when its client has left it */
    bool touched_sequence;
    bool may_skip_discard;    /* that request may fail, or be skipped, and is not answered */
    bool looked;              /* it has only answered a piece about the catalogs since it was settled */
    bool given_up;            /* a pin was, for others that wait */
    bool sets_meaning;        /* a statement does that is not answered yet */
    bool parsed_sets_meaning; /* the latest unnamed statement will, when it is run */
    bool parsed_unreported;   /* what that was read under is not known: something before it has set it */
    bool noted;               /* the message that comes next has been looked at already, and had to wait */
    /* something set a setting whose name is not known: the server is reset before its next client */
    bool opaque;
    bool named;            /* a literal or a parameter gave the name of the setting that is an argument */
    bool restore_due;      /* INTERNAL_RESTORE waits for the end of a cancel request */
    uint32_t restore_one;  /* it puts the values back one by one, and this one now, from 1; 0: all at once */
    uint8_t restore_tries; /* of that, after errors of the moment */
    uint8_t discard_tries; /* of INTERNAL_SEQUENCES */
    uint8_t held; /* status of a ReadyForQuery that the client gets after INTERNAL_RESTORE; 0: none */
    uint64_t unknown[SCAN_UNKNOWN_MAX];
    struct notes *notes;
    struct settings *told; /* what the client believes while a RESET is under way; NULL: none is */
    struct answer *answer;
    struct listening *listen; /* notify/subscribe.h; NULL: nothing about channels is under way */
};

/* Statements since the server was last asked that may have set, for their transaction or for good, what
 * decides what texts mean; and what only a function can have done. */
#define SETS_MEANING (EFFECT_MEANING | EFFECT_RESET | EFFECT_RESET_ALL)
#define MAY_SET_MEANING \
    (SETS_MEANING | ASK_SETTINGS | PIN_NAMELESS | PIN_LOADED | EFFECT_UNKNOWN | EFFECT_UNSURE)

struct pool_row *session_pool(const struct relay *r, const struct client *c);
bool session_on(const struct relay *r, const struct client *c);
struct profile *session_profile(struct relay *r, const struct client *c);
void session_note(struct relay *r, struct client *c, const struct scan *scan);
bool session_resets(const struct relay *r, const struct client *c);
void session_note_resets(struct relay *r, struct client *c, const char *text, uint32_t bytes);
enum rewritten session_keep_resets(struct relay *r, struct client *c, const char *name, const char *text,
                                   uint32_t bytes);
void session_bound_resets(struct relay *r, struct client *c, const char *name);
bool session_misleading(const struct client *c, const char *text, uint32_t bytes);
void session_anything(const struct relay *r, struct client *c);
void session_scan(struct relay *r, struct client *c, const char *text, uint32_t bytes, struct scan *scan);
void session_parameters(struct relay *r, struct client *c, const unsigned char *p, uint32_t n);
uint32_t session_text(struct relay *r, struct client *c, const char *text, uint32_t bytes, bool whole);
uint32_t session_types(struct relay *r, const struct client *c, const unsigned char *p, uint32_t n);
uint32_t session_call(struct client *c, const unsigned char *p, uint32_t here);
bool session_settings_uncertain(const struct server *s);
bool session_uncertain(const struct server *s);
void session_failed(struct server *s);
void session_unknown(struct slot_row *row);
void session_begin(struct session *x);
void session_tag(struct relay *r, struct server *s, const unsigned char *tag, uint32_t n);
void session_ended(struct relay *r, struct server *s);
void session_made(struct relay *r, const struct server *s);
void session_left(struct relay *r, struct server *s);
void session_forget(struct relay *r, struct server *s);

#endif
