/* The threads that compute for logins: see jobs.h. */
#define _GNU_SOURCE
#include "login/jobs.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "login/login.h"
#include "relay/internal.h"

#define BACKGROUND_NICE 10 /* they leave the cores to the relay, which serves running queries */

/* ---- one job ----------------------------------------------------------------------------------- */

struct job *job_new(struct login *l, enum job_kind kind) {
    struct job *j = calloc(1, sizeof *j);
    if (!j) return NULL;
    j->kind = (uint8_t)kind;
    j->login = l;
    return j;
}

static void wipe(unsigned char *bytes, uint32_t n) {
    if (bytes) crypto_wipe(bytes, n);
    free(bytes);
}

void job_free(struct job *j) {
    if (!j) return;
    tls_free(j->tls);
    wipe(j->password, j->password_bytes);
    wipe(j->message, j->message_bytes);
    free(j->salt);
    crypto_wipe(&j->keys, sizeof j->keys);
    free(j);
}

static bool put(unsigned char **place, uint32_t *length, const void *bytes, uint32_t n) {
    *place = malloc(n + 1);
    if (!*place) return false;
    memcpy(*place, bytes, n);
    *length = n;
    return true;
}

bool job_password(struct job *j, const void *prepared, uint32_t n) {
    return put(&j->password, &j->password_bytes, prepared, n);
}

bool job_salt(struct job *j, const void *salt, uint32_t n, uint32_t iterations) {
    j->iterations = iterations;
    return put(&j->salt, &j->salt_bytes, salt, n);
}

bool job_message(struct job *j, const void *message, uint32_t n) {
    return put(&j->message, &j->message_bytes, message, n);
}

/* The login has ended. */
void job_abandon(struct job *j) { j->login = NULL; }

static void compute(struct job *j) {
    if (j->kind == JOB_DERIVE) {
        j->good = secret_derive(j->password, j->password_bytes, j->salt, j->salt_bytes, j->iterations,
                                &j->keys);
        return;
    }
    j->handshake = tls_handshake(j->tls);
    if (j->handshake == TLS_END || j->handshake == TLS_BROKEN) tls_error(j->tls, j->error);
}

/* ---- the threads ------------------------------------------------------------------------------- */

static void lower_priority(void) {
    id_t thread = (id_t)syscall(SYS_gettid);
    int now = getpriority(PRIO_PROCESS, thread);
    setpriority(PRIO_PROCESS, thread, now > BACKGROUND_NICE ? now : BACKGROUND_NICE);
}

static void *work(void *argument) {
    struct jobs *all = argument;
    const uint64_t one = 1;
    pthread_setname_np(pthread_self(), "logins");
    lower_priority();
    for (;;) {
        pthread_mutex_lock(&all->lock);
        while (!all->todo_head) pthread_cond_wait(&all->more, &all->lock);
        struct job *j = all->todo_head;
        all->todo_head = j->next;
        if (!all->todo_head) all->todo_tail = NULL;
        pthread_mutex_unlock(&all->lock);
        compute(j);
        pthread_mutex_lock(&all->lock);
        bool first = !all->done;
        j->next = all->done;
        all->done = j;
        pthread_mutex_unlock(&all->lock);
        if (first) (void)!write(all->bell, &one, sizeof one);
    }
    return NULL;
}

struct jobs *jobs_open(int threads) {
    struct jobs *all = calloc(1, sizeof *all);
    if (!all) return NULL;
    pthread_mutex_init(&all->lock, NULL);
    pthread_cond_init(&all->more, NULL);
    all->threads = -threads; /* not begun */
    all->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (all->bell >= 0) return all;
    free(all);
    return NULL;
}

/* How many there are; 0: none could be made. */
static int begin(struct jobs *all) {
    sigset_t every, old;
    if (all->threads > 0) return all->threads;
    int wanted = all->threads ? -all->threads : 1, made = 0;
    sigfillset(&every);
    pthread_sigmask(SIG_BLOCK, &every, &old); /* signals stay with the main thread */
    for (int i = 0; i < wanted; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, all) != 0) break;
        pthread_detach(thread);
        made++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    all->threads = made ? made : -wanted; /* the next job tries again */
    return made;
}

void job_start(struct relay *r, struct job *j) {
    struct jobs *all = r->logins->jobs;
    j->next = NULL;
    if (!begin(all)) { /* without a thread it is computed here, and the others wait */
        compute(j);
        j->next = all->done;
        all->done = j;
        (void)!write(all->bell, &(uint64_t){1}, sizeof(uint64_t));
        return;
    }
    pthread_mutex_lock(&all->lock);
    if (all->todo_tail) all->todo_tail->next = j;
    else all->todo_head = j;
    all->todo_tail = j;
    pthread_cond_signal(&all->more);
    pthread_mutex_unlock(&all->lock);
}

/* Appends what is done, in the order in which it was; the threads' list has the last one first. */
static void take_done(struct jobs *all) {
    uint64_t drained;
    (void)!read(all->bell, &drained, sizeof drained);
    pthread_mutex_lock(&all->lock);
    struct job *done = all->done, *in_order = NULL;
    all->done = NULL;
    pthread_mutex_unlock(&all->lock);
    while (done) {
        struct job *next = done->next;
        done->next = in_order;
        in_order = done;
        done = next;
    }
    struct job **end = &all->taken;
    while (*end) end = &(*end)->next;
    *end = in_order;
}

void jobs_take(struct relay *r) {
    struct jobs *all = r->logins->jobs;
    take_done(all);
    for (bool first = true; all->taken && (!logins_had_their_time(r) || first); first = false) {
        struct job *j = all->taken;
        all->taken = j->next;
        if (j->login) j->login->job = NULL;
        if (!j->login) job_free(j);
        else if (j->kind == JOB_HANDSHAKE) opening_stepped(r, j->login, j);
        else proof_derived(r, j->login, j);
    }
    if (all->taken) (void)!write(all->bell, &(uint64_t){1}, sizeof(uint64_t)); /* in the next turn */
}
