/* The login of a client, from its accepted socket to a client of the relay: the one implementation of it.
 *
 * Theory.  It runs on the relay's thread, some ten microseconds at a time, and never waits there: what
 * takes long is computed on threads of low priority (jobs.h), what has to be asked for is Python's to
 * answer (questions.h).  What the configuration says stands in tables (policy.h).  Who it is comes first,
 * then whether it may: nothing about databases or limits is told to a client that has not proven who it
 * is, and an unknown user walks through the same messages as a known one, and fails at the end with the
 * same text.
 *
 * Everything that comes is from strangers.  No length is believed before its bytes are there, no message may
 * be longer than its kind, and a login keeps at most one message and one read of its client.
 *
 * The connection is that of a `struct client` from the beginning, which the relay goes on with as it is.
 */
#ifndef POOLER_LOGIN_LOGIN_H
#define POOLER_LOGIN_LOGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "login/crypto.h"
#include "login/login_state.h"
#include "login/packet.h"
#include "login/rules.h"
#include "login/secret.h"
#include "login/welcome.h"
#include "tables/layout.h"

struct client;
struct command;
struct job;
struct login_queue;
struct origin;
struct policy;
struct relay;
struct scram;

#define LOGIN_READ_BYTES 8192   /* one read; longer messages take several */
#define LOGIN_FIRST_BYTES 1024  /* of a connection that has not had its turn */
#define LOGIN_BUDGET_US 500     /* of one turn of the loop: queries wait for no more of logins */
#define LOGIN_TICK_US 50000     /* how often it looks for what no event brings */
#define PASSWORD_BODY_MAX 65532 /* PgBouncer: passwords below 65,532 bytes; and the terminator */
#define MD5_BODY_MAX 1024 /* "md5", digits, terminator are 36; more is a wrong answer, not a bad packet */

/* What Python is asked (questions.h). */
enum login_question {
    ASKS_SECRET, /* auth_query */
    ASKS_LDAP,   /* whether a password is right */
    ASKS_PAM,
    ASKS_PREPARED, /* the same, of a verifier, where SASLprep needs tables of Unicode */
    ASKS_PEER,     /* whether the account of a unix socket may be this user */
    ASKS_MAP,      /* whether the owner of a certificate may be */
    ASKS_POOL,     /* rows for its database, user and pool are to be made */
    ASKS_NOTHING,  /* it was answered, and what follows from that is under way */
};

/* Kinds of the message AuthenticationRequest. */
enum authentication { AUTH_CLEARTEXT = 3, AUTH_MD5 = 5, AUTH_SASL = 10, AUTH_CONTINUE = 11, AUTH_FINAL = 12 };

struct login {
    struct client *client;
    struct login *next, *previous; /* all of a relay, in the order in which they came */
    struct login *next_queued;     /* of the same origin */
    uint8_t state;                 /* enum login_state */
    uint8_t method;                /* enum method */
    uint8_t question;              /* enum login_question, of ASKING */
    uint8_t refusal;               /* enum refusal, where its SQLSTATE does not tell it */
    bool is_unix, inside, stalled, asked_ssl, asked_gss, direct_tls, own_user;
    bool attempted;        /* the log has its login attempt */
    bool proven;           /* it is who it says it is */
    bool waits_for_server; /* for the log, if its time is over */
    bool scram_plus;
    bool keeps_keys;    /* `keys` are good at a server, too */
    bool secret_is_own; /* auth_query has brought it: it is freed with the login */
    uint8_t pool_asked; /* how often rows were made for it, and forgotten meanwhile */
    bool empty;         /* the secret is an empty password, which lets nobody in */
    int32_t row;        /* NO_ROW: none was left */
    uint64_t id;
    uint64_t started_at, heard_at;
    uint64_t waits_since,
        waited_us;               /* for bytes of the client: since when, 0: it does not; in all, until then */
    uint64_t due_at;             /* of REFUSED and TOLD */
    uint32_t peer_pid, peer_uid; /* of a unix socket */
    struct origin *origin;       /* what its connections are counted by (login_queue.h) */
    char where[ADDRESS_BYTES + 16]; /* as the log writes it */
    struct policy *policy;          /* from its turn on */
    unsigned char *packet_bytes;    /* of `packet` */
    struct packet packet;
    struct wanted wanted;
    char *renamed; /* as auth_query calls the user; NULL: as it calls itself */
    const struct rule *rule;
    struct secret *secret; /* NULL: there is no such user */
    unsigned char salt[4]; /* of an MD5 challenge */
    struct scram *scram;
    struct scram_keys keys;
    unsigned char *password; /* that was asked about; what a directory found right is of use at a server */
    uint32_t password_bytes;
    unsigned char certificate[64]; /* tls-server-end-point of ours */
    uint32_t certificate_bytes;
    struct job *job;       /* on its way on a thread, */
    struct job *handshake; /* or its next step, which waits for bytes of the client */
    struct fault fault;
    char *note;   /* of the fault, for the log, */
    char *detail; /* and for the client */
};

#define KNOWN_POOLS 1024

/* Rows of a database, a user and a pool that a login was let into: looked at before they are searched. */
struct known_pool {
    bool set;
    int32_t database, user, pool;
};

/* All logins of one relay. */
struct logins {
    struct login *first, *last;
    struct login **by_row;
    struct policy *policy; /* NULL before the first configuration: clients wait outside */
    struct login_queue *queue;
    struct jobs *jobs;
    unsigned char unknown_key[SHA256_BYTES]; /* makes the salts of users who do not exist */
    bool unknown_scram;                      /* what such a user would have: as most have */
    int32_t unknown_iterations;              /* 0: those of verifiers that pooler makes */
    bool draining;
    uint64_t tick_at;
    uint32_t refused; /* that are not told yet */
    bool suspended;   /* logins that came meanwhile wait outside */
    struct known_pool known[KNOWN_POOLS];
    struct welcome *welcomes[WELCOMES_KEPT]; /* by the numbers of pools */
};

bool logins_open(struct relay *r);
/* Milliseconds until logins_tick() has something to do; -1: an event will tell. */
int logins_pause(const struct relay *r);
/* Logins have LOGIN_BUDGET_US of a turn of the loop, from when the first thing is done for one. */
void logins_begin_their_time(struct relay *r);
/* Whether that is over; asked before the first thing, it begins. */
bool logins_had_their_time(struct relay *r);
void logins_tick(struct relay *r);
/* Another configuration: takes over the reference. */
void logins_policy(struct relay *r, struct policy *p);
void logins_unknown(struct relay *r, const struct command *k);

/* login.c */
void login_accept(struct relay *r, int fd, bool is_unix);
void login_run(struct relay *r, struct login *l);
void login_begin(struct relay *r, struct login *l);
void login_move(struct login *l, enum login_state to);
void login_free(struct relay *r, struct login *l);
/* `level`: enum log_level (relay/log.h). */
void login_log(struct relay *r, const struct login *l, int level, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void login_closing(struct relay *r, const struct login *l, const char *reason);
void login_hang_up(struct relay *r, struct login *l);
void login_attempt(struct relay *r, struct login *l);
const char *login_user(const struct login *l);
void login_give_up_row(struct relay *r, struct login *l);
/* Whether it has sent something, or closed, that was not read yet. */
bool login_spoke(const struct login *l);
void login_over(struct relay *r, struct login *l);
bool login_ordered(struct relay *r, int32_t row, uint64_t id, uint8_t orders, const char *text,
                   const char *detail);

/* refusal.c: `note` (may be NULL) is for the log alone. */
void login_refuse(struct relay *r, struct login *l, const char *sqlstate, const char *text, const char *note);
void login_without_memory(struct relay *r, struct login *l);
void login_config_error(struct relay *r, struct login *l, const char *note);
void refusal_tell(struct relay *r, struct login *l);

/* opening.c, proof.c, admission.c: false: the login is over, or is not the caller's any more. */
void opening_begin(struct relay *r, struct login *l);
bool opening_packet(struct relay *r, struct login *l);
void opening_handshake(struct relay *r, struct login *l);
void opening_stepped(struct relay *r, struct login *l, struct job *j);
void opening_failed(struct relay *r, struct login *l, const char *why);
void proof_begin(struct relay *r, struct login *l);
void proof_with_secret(struct relay *r, struct login *l);
void proof_message(struct relay *r, struct login *l, unsigned char letter, const unsigned char *body,
                   uint32_t n);
uint32_t proof_longest(const struct login *l);
void proof_derived(struct relay *r, struct login *l, struct job *j);
void proof_done(struct relay *r, struct login *l);
bool proof_rename(struct relay *r, struct login *l, const char *name);
void proof_unknown(struct relay *r, struct login *l);
void proof_verify(struct relay *r, struct login *l, const void *prepared, uint32_t n);
void proof_outside(struct relay *r, struct login *l, bool right);
/* An authentication request: `n` bytes behind its number. */
void proof_request(struct relay *r, struct login *l, enum authentication what, const void *bytes, uint32_t n);
/* The secret that counts; NULL: no answer is right. */
struct secret *proof_secret(const struct login *l);
/* How often PBKDF2 is iterated where no verifier says so. */
uint32_t proof_iterations(const struct relay *r, const struct login *l);
/* A thread goes on with a job that is `whole`, or may be NULL; else there was no memory for it. */
void proof_derive(struct relay *r, struct login *l, struct job *j, bool whole);
/* scram_proof.c */
void scram_proof_first(struct relay *r, struct login *l, const unsigned char *body, uint32_t n);
void scram_proof_final(struct relay *r, struct login *l, const unsigned char *body, uint32_t n);
void scram_proof_derived(struct relay *r, struct login *l, struct job *j);

#endif
