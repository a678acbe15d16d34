/* Work of a login that takes milliseconds: TLS handshakes and PBKDF2, on a few threads of low priority, so
 * that queries keep the cores.
 *
 * A job belongs to the login that made it until it is started, then to the threads, and to the relay's thread
 * again when it is done.  A login that ends meanwhile abandons it: nothing is done with what comes of it. */
#ifndef POOLER_LOGIN_JOBS_H
#define POOLER_LOGIN_JOBS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "login/secret.h"
#include "tls/tls_session.h"

struct login;
struct relay;

enum job_kind { JOB_HANDSHAKE, JOB_DERIVE };

struct job {
    struct job *next;
    uint8_t kind;        /* enum job_kind */
    bool good;           /* JOB_DERIVE: `keys` are there */
    struct login *login; /* NULL: abandoned; the relay's thread alone looks at it */
    struct tls *tls;     /* JOB_HANDSHAKE */
    int handshake;       /* enum tls_result: what came of it */
    char error[TLS_TEXT_BYTES];
    unsigned char *password, *salt, *message; /* JOB_DERIVE: prepared; its salt; the message to go on with */
    uint32_t password_bytes, salt_bytes, message_bytes, iterations;
    struct scram_keys keys;
    unsigned char server_key[SHA256_BYTES]; /* to compare with */
};

struct jobs {
    pthread_mutex_t lock; /* guards the threads' lists */
    pthread_cond_t more;
    struct job *todo_head, *todo_tail, *done;
    struct job *taken; /* by the relay's thread, in the order in which they were done */
    int bell;          /* eventfd: some are done */
    int threads;
};

/* NULL with errno on failure.  The threads begin with the first job. */
struct jobs *jobs_open(int threads);
/* Takes what is done to its logins, as far as they have time in this turn of the loop. */
void jobs_take(struct relay *r);

/* NULL: no memory. */
struct job *job_new(struct login *l, enum job_kind kind);
void job_free(struct job *j);
bool job_password(struct job *j, const void *prepared, uint32_t n);
bool job_salt(struct job *j, const void *salt, uint32_t n, uint32_t iterations);
bool job_message(struct job *j, const void *message, uint32_t n);
void job_start(struct relay *r, struct job *j);
void job_abandon(struct job *j);

#endif
