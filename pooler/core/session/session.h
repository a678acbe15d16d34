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

#include "session/settings.h"
#include "sql/catalog_names.h"
#include "sql/effects.h"
#include "tables/layout.h"

#define PROFILE_CHECK_US 2000000u /* the catalogs are looked at again after this, where there is traffic */
#define WEAK_PIN_LOOK_MS 20       /* servers that are kept for sequences only are looked at so often */
/* and given up for others that wait when their client was silent for so long; */
#define WEAK_PIN_SILENT_US 200000u
/* for so long where it may ask in a later transaction for what its sequences have left, */
#define NEXTVAL_SILENT_US 500000u
#define CURRVAL_SILENT_US 1000000u /* or where clients of its pool have asked for that */
/* times that a client's settings of unknown name keep its server; then only a reset is left */
#define OPAQUE_LESSONS 16
#define WEAK_PIN_WAIT_US 100000u /* others do wait */
/* others have waited for so long: a client that is never silent gives it up, too; */
#define WEAK_PIN_BUSY_US 1000000u
#define CURRVAL_BUSY_US 10000000u /* for so long where it may ask for what its sequences have left */
#define WEAK_PIN_DIAL_US 2000000u /* what it may take to open a server for those who wait instead */
#define CUSTOM_NAMES_MAX 512      /* names of settings with a dot that this worker has met in one database */
#define NOTES_BYTES 4096

enum session_state { SESSION_OFF, SESSION_AUTO, SESSION_ERROR, SESSION_STRICT };

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

struct relay;
struct server;
struct client;

/* A name that was called and is in no catalog, and when it was first. */
struct absent { uint64_t hash, at; };
#define ABSENT_MAX 64
#define LEARNT_MAX 4096 /* names that are known to be in no catalog; then all are learnt again */

/* What one worker knows of one database. */
struct profile {
    struct words words; /* names of the catalogs, and what was called and is in none */
    struct catalog catalog;
    uint32_t row_generation; /* the row may have become another database's */
    uint32_t serial;         /* changes with what texts are judged by */
    uint32_t everything;     /* effect flags of every statement: what no word tells of */
    /* dblink or postgres_fdw: their connections are the session's, and nothing asks for them */
    bool connects;
    struct absent absent[ABSENT_MAX];
    uint32_t absent_count, absent_next, learnt;
    bool folds;    /* something in its catalogs may leave a setting of its client in a plan */
    bool nameless; /* something in its catalogs may set settings whose names are not in its text */
    struct {
        char *name;
        bool lasting;
    } customs[CUSTOM_NAMES_MAX]; /* lasting: the catalogs have it */
    int custom_count;
    uint32_t victim; /* whose place a new name takes when there are too many */
};

/* Names that statements have mentioned: a letter (s: set, r: reset, ...) and a NUL-terminated name each. */
struct notes {
    uint32_t bytes;
    char names[NOTES_BYTES];
};

/* The rows of an answer. */
#define ASK_TRIES 10 /* a question that the client's own limits end is asked again so often */
#define LIMITS 3     /* settings that are not in force for our own question */
struct answer {
    uint32_t got, bytes;
    bool overflow;
    char limits[LIMITS][32]; /* their values for the client, as SHOW says them */
    char pairs[SETTINGS_BYTES];
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
    uint32_t discard_request;   /* the number of the latest that discards what sequences left */
    uint32_t reset_from;        /* while `told`: number of the request by which something is reset; */
    bool reset_ran, reset_kept; /* something from there on has run, and is not undone; and it was committed */
    bool resets_all;            /* it is RESET ALL or DISCARD ALL */
    bool failed;                /* an error or a rollback since: names alone do not tell */
    bool partly;                /* not all of a text was looked at: its tag says what it made */
    bool unseen; /* something was called of which nobody knew what it is: it may have opened connections */
    bool doomed; /* it may carry what no reset undoes: the server is closed when its client has left it */
    bool touched_sequence;
    bool may_skip_discard;    /* that request may fail, or be skipped, and is not answered */
    bool looked;              /* it has only answered a piece about the catalogs since it was settled */
    bool given_up;            /* a pin was, for others that wait */
    bool sets_meaning;        /* a statement does that is not answered yet */
    bool parsed_sets_meaning; /* the latest unnamed statement will, when it is run */
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

/* session.c: what statements say; what is asked; what follows */
bool session_uncertain(const struct server *s);
bool session_settings_uncertain(const struct server *s);
bool session_on(const struct relay *r, const struct client *c);
bool session_resets(const struct relay *r, const struct client *c);
void session_note_resets(struct relay *r, struct client *c, const char *text, uint32_t bytes);
struct profile *session_profile(struct relay *r, const struct client *c);
uint32_t session_text(struct relay *r, struct client *c, const char *text, uint32_t bytes, bool whole);
void session_scan(struct relay *r, struct client *c, const char *text, uint32_t bytes, struct scan *scan);
bool session_misleading(const struct client *c, const char *text, uint32_t bytes);
void session_anything(const struct relay *r, struct client *c);
void session_note(struct relay *r, struct client *c, const struct scan *scan);
void session_parameters(struct relay *r, struct client *c, const unsigned char *p, uint32_t n);
uint32_t session_types(struct relay *r, const struct client *c, const unsigned char *p, uint32_t n);
uint32_t session_call(struct client *c, const unsigned char *p, uint32_t here);
bool session_settle(struct relay *r, struct server *s);
void session_turn(struct relay *r, struct server *s);
void session_made(struct relay *r, const struct server *s);
void session_tag(struct relay *r, struct server *s, const unsigned char *tag, uint32_t n);
void session_ended(struct relay *r, struct server *s);
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
void sequences_before(struct relay *r, struct client *c, uint32_t effect_flags);
enum rewritten sequences_before_call(struct relay *r, struct client *c, uint32_t effect_flags);
enum rewritten sequences_before_query(struct relay *r, struct client *c, uint32_t effect_flags,
                                      const char *text, uint32_t bytes);
void sequences_discarded(struct relay *r, struct server *s);
void sequences_skipped(struct relay *r, struct server *s);
bool sequences_wait(struct server *s);
void sequences_not_discarded(struct relay *r, struct server *s);
bool sequences_pin(struct pool_row *pool, struct client *c, uint32_t effect_flags);
void sequences_given_up(struct pool_row *pool, struct client *c);

/* plans.c: plans that servers keep */
void plans_note(struct relay *r, struct client *c, uint32_t effect_flags);
void plans_follow(struct relay *r, const struct client *c);
bool plans_foreign(struct relay *r, const struct server *s);
void plans_begin(const struct relay *r, const struct server *s, bool discarded);
void plans_forget(struct slot_row *row);

/* client_reset.c: back to the values of the startup packet */
void send_parameter(struct relay *r, struct client *c, const char *name, const char *value);
void send_parameters(struct relay *r, struct client *c, const struct settings *told);
bool session_report_hidden(struct relay *r, const struct server *s, const char *name, const char *value);
void session_note_reset(struct relay *r, struct client *c, uint32_t effect_flags);
bool session_restoring(struct relay *r, struct server *s, int effect, const unsigned char *body, uint32_t n);
bool session_resetting(const struct server *s);
bool session_hold(struct relay *r, struct server *s, uint8_t status);
void session_restore(struct relay *r, struct server *s);
void session_restored(struct relay *r, struct server *s);

/* probe.c: answers of the server */
void session_probe(struct relay *r, struct server *s, uint32_t ask);
void session_row(struct relay *r, struct server *s, const unsigned char *body, bool whole);
void session_answered(struct relay *r, struct server *s);
void session_unanswered(struct server *s);

/* catalog/database.c */
bool profile_ready(struct relay *r, int32_t pool);
struct profile *profile_of(struct relay *r, int32_t pool);
void profile_unknown(struct relay *r, int32_t pool, struct session *x);
bool profile_custom(struct profile *p, const char *name, bool lasting);

#endif
