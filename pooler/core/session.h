/* The state of a client's session in transaction and statement pooling: noticed, carried along, pinned, cleaned.
 *
 * Theory.  What a client leaves behind in its session belongs to it and to nobody else.  The texts of its statements
 * (words.h) say when something may have been left; then, after the end of the transaction and before the server may
 * change hands, the server itself is asked what is there (OWN_ASK, one query made of the questions that matter):
 *
 *   settings      become the client's set (settings.h).  They follow it: a server with another set is brought to
 *                 this one before the client's next statement, a server with the same set is used as it is.
 *   anything else (locks, temporary objects, SQL PREPARE, WITH HOLD, ...) pins the server: it stays with its
 *                 client until a later answer says that nothing is left, or the client leaves; then it is cleaned.
 *
 * Statements whose text says nothing cost nothing.  What functions, triggers and views may do is known from the
 * catalogs, asked for once per database and worker and again when their fingerprint has changed (profile.c), by servers
 * that no client has just then.
 *
 * RESET and DISCARD ALL lead back to the values of the *client's* startup packet, which are not the server's: they are
 * put in force again before the client gets its ReadyForQuery (OWN_RESTORE), and it hears of the difference only.
 */
#ifndef POOLER_SESSION_H
#define POOLER_SESSION_H

#include "layout.h"
#include "settings.h"
#include "words.h"

#define PROFILE_CHECK_US 2000000u   /* the catalogs' fingerprint is looked at again after this, where there is traffic */
#define WEAK_PIN_LOOK_MS 20         /* servers that are kept for sequences only are looked at so often */
#define WEAK_PIN_SILENT_US 200000u  /* and given up for others that wait when their client was silent for so long; */
#define OPAQUE_LESSONS 16           /* times that a client's settings of unknown name keep its server; then only a reset is left */
#define CURRVAL_SILENT_US 1000000u  /* for so long when it was seen to ask in later transactions for what it had left */
#define WEAK_PIN_WAIT_US 100000u    /* others do wait */
#define WEAK_PIN_DIAL_US 2000000u   /* what it may take to open a server for those who wait instead */
#define CUSTOM_NAMES_MAX 512        /* names of settings with a dot that this worker has met in one database */
#define NOTES_BYTES 4096
#define FINGERPRINT_BYTES 128

enum session_state { SESSION_OFF, SESSION_AUTO, SESSION_ERROR };

enum question {
    QUESTION_SETTINGS, QUESTION_LOCKS, QUESTION_TEMP, QUESTION_PREPARED, QUESTION_CURSORS, QUESTION_CHANNELS,
    QUESTION_FINGERPRINT, QUESTION_PROFILE, QUESTIONS,
};

struct relay;
struct server;
struct client;

/* What one worker knows of one database's catalogs. */
struct profile {
    struct words words, next;    /* `next`: being read */
    uint64_t checked_at;         /* 0: never */
    uint64_t reader;             /* somebody reads it, until this time at most */
    uint32_t version;            /* of the database's row when it was last checked */
    uint32_t row_generation;     /* the row may have become another database's */
    uint32_t serial;             /* changes with the words */
    bool loaded;
    uint32_t everything, next_everything;   /* traits of every statement: an operator, a cast, ... that no word tells of */
    char connections[128], next_connections[128];   /* a call that says which connections dblink has; empty: no dblink */
    char fingerprint[FINGERPRINT_BYTES], next_fingerprint[FINGERPRINT_BYTES];
    struct { char *name; bool lasting; } customs[CUSTOM_NAMES_MAX];   /* lasting: the catalogs have it */
    int custom_count;
    uint32_t victim;             /* whose place a new name takes when there are too many */
};

/* Names that statements have mentioned: a letter (s: set, r: reset, ...) and a NUL-terminated name each. */
struct notes { uint32_t bytes; char names[NOTES_BYTES]; };

/* The rows of an answer. */
struct answer { uint32_t got, bytes; bool overflow; char pairs[SETTINGS_BYTES]; };

/* Of one server, since its client has it. */
struct session {
    uint32_t traits, ends;       /* of the statements since the server was last asked */
    uint32_t prepared_traits;    /* of the texts of SQL PREPARE */
    uint32_t pinned;             /* why it stays with its client: ASK_ and PIN_ bits */
    uint32_t asked;              /* what OWN_ASK asks for */
    uint32_t unknown_count, sequence_requests;
    bool failed;                 /* an error or a rollback since: names alone do not tell */
    bool touched_sequence;
    bool opaque;                 /* something set a setting whose name is not known: the server is reset before its next client */
    bool named;                  /* a literal or a parameter gave the name of the setting that is an argument */
    uint8_t held;                /* status of a ReadyForQuery that the client gets after OWN_RESTORE; 0: none */
    uint64_t unknown[SCAN_UNKNOWN_MAX];
    struct notes *notes;
    struct settings *told;       /* what the client believes while a RESET is under way; NULL: none is */
    struct answer *answer;
    struct listening *listen;    /* listen.h; NULL: nothing about channels is under way */
};

/* session.c: what statements say; what is asked; what follows */
bool session_on(const struct relay *r, const struct client *c);
struct profile *session_profile(struct relay *r, const struct client *c);
uint32_t session_text(struct relay *r, struct client *c, const char *text, uint32_t bytes, bool whole);
void session_scan(struct relay *r, struct client *c, const char *text, uint32_t bytes, struct scan *scan);
void session_note(struct relay *r, struct client *c, const struct scan *scan);
void session_parameters(struct relay *r, struct client *c, const unsigned char *p, uint32_t n);
uint32_t session_call(struct client *c, const unsigned char *p, uint32_t here);
bool session_settle(struct relay *r, struct server *s);
void session_failed(struct server *s);
void session_begin(struct session *x);
void session_unknown(struct slot_row *row);
bool session_beyond_reset(struct relay *r, const struct server *s);
bool session_dirty(const struct server *s);
void session_forget(struct relay *r, struct server *s);
void session_left(struct relay *r, struct server *s);
void session_tick(struct relay *r);
const char *pin_reasons(uint32_t pinned, char *out, uint32_t room);

/* sequences.c */
void sequences_before(struct relay *r, struct client *c, uint32_t traits);
enum rewritten sequences_before_query(struct relay *r, struct client *c, uint32_t traits, const char *text, uint32_t bytes);
void sequences_not_discarded(struct relay *r, struct server *s);
bool sequences_pin(struct pool_row *pool, struct client *c, uint32_t traits);

/* restore.c: back to the values of the startup packet */
void send_parameters(struct relay *r, struct client *c, const struct settings *told);
bool session_report_hidden(struct relay *r, const struct server *s, const char *name, const char *value);
bool session_restoring(const struct server *s);
bool session_hold(struct relay *r, struct server *s, uint8_t status);
void session_restore(struct relay *r, struct server *s);
void session_restored(struct relay *r, struct server *s);

/* ask.c: answers of the server */
void session_ask(struct relay *r, struct server *s, uint32_t ask);
void session_row(struct relay *r, struct server *s, const unsigned char *body, uint32_t n, bool whole);
void session_answered(struct relay *r, struct server *s);
void session_unanswered(struct server *s);

/* profile.c */
struct profile *profile_of(struct relay *r, int32_t pool);
bool profile_stale(struct relay *r, const struct server *s);
bool profile_due(struct relay *r, const struct server *s);
void profile_check(struct relay *r, struct server *s);
void profile_row(struct relay *r, struct server *s, const unsigned char *const *fields, const uint32_t *bytes, int count);
void profile_failed(struct relay *r, struct server *s);
bool profile_answered(struct relay *r, struct server *s, bool loaded);
void profile_custom(struct profile *p, const char *name, bool lasting);

#endif
