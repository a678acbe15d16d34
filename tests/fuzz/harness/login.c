/* The whole login of a client whose bytes are the input; the first of them says by which method, what Python
 * answers, and in which pieces the others come.  Nobody gets in who does not know the secret, unless the method
 * or the answer says so, and nothing is left of a login that is over. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "claim.h"
#include "io/connection.h"
#include "login/jobs.h"
#include "login/login.h"
#include "login/login_queue.h"
#include "login/policy.h"
#include "login/questions.h"
#include "relay/internal.h"
#include "tables/clients.h"
#include "tables/outcome.h"
#include "tables/states.h"
#include "world.h"

#define CLIENTS 4
#define SLOTS 2
#define TURNS_MAX 64
#define TURN_US 60000
#define SECRET "never sent by the fuzzer: 5b1d9c"

static const enum method methods[] = {METHOD_SCRAM, METHOD_MD5,  METHOD_PLAIN, METHOD_ANY,
                                      METHOD_PAM,   METHOD_CERT, METHOD_PEER};
#define METHODS (sizeof methods / sizeof *methods)

static struct relay *relay;
static enum method method;
static enum login_answer answer;

static void open_world(void) {
    static const char welcome[] = "server_version\0"
                                  "16.0\0client_encoding\0UTF8\0DateStyle\0ISO, MDY\0application_name\0";
    const struct world_shape shape = {.clients = CLIENTS,
                                      .slots = SLOTS,
                                      .pool_size = 1,
                                      .user = "me",
                                      .tracked = {"client_encoding", "application_name", "DateStyle"},
                                      .welcome = welcome,
                                      .welcome_bytes = sizeof welcome};
    relay = world_open(&shape);
}

static void configure(void) {
    static const uint64_t key[2] = {1, 2};
    static const char *const users[] = {"me", "pgbouncer"};
    void *old;
    struct policy *p = policy_new(key);
    claim(p != NULL, "no policy");
    for (size_t i = 0; i < sizeof users / sizeof *users; i++) {
        struct secret *s = secret_new(SECRET, sizeof SECRET - 1, "", 0);
        claim(s && names_put(&p->secrets, users[i], s, &old), "no memory");
    }
    claim(names_put(&p->consoles, "pgbouncer", NULL, &old), "no memory");
    claim(names_put(&p->ignored, "extra", NULL, &old), "no memory");
    p->automatic = (struct policy_database){
        .forced_user = true, .follows = true, .user = "me", .instance = "i"};
    p->settings = (struct policy_settings){.auth_type = (uint8_t)method,
                                           .has_automatic = true,
                                           .log_connections = true,
                                           .log_disconnections = true,
                                           .scram_iterations = 1,
                                           .own_uid = getuid() + 1};
    logins_policy(relay, p);
}

/* What is good enough to be let in by. */
static void may_come_in(const char *how) { claim(method == METHOD_ANY || answer == ANSWER_YES, how); }

static void asked(const struct event *e) {
    struct command *k = world_command(COMMAND_LOGIN_ANSWER, e->a, answer, 0);
    k->id = e->id;
    if (e->b == ASKS_POOL) { /* its rows are not made: there are no others here */
        may_come_in("a pool is asked for without the secret");
        k->b = ANSWER_YES;
    }
    free(e->data);
    world_tell(relay, k);
}

static void passed(const struct event *e) {
    if (e->how != PASS_CANCEL) may_come_in("it was passed on without the secret");
    close(e->b);
    free(e->data);
    struct outcome out;
    client_free(relay->t, e->a, NO_ROW, relay->loop.now, &out);
}

static void events(void) {
    struct event found[16];
    int n = relay_events(relay, found, 16);
    for (int i = 0; i < n; i++) {
        if (found[i].type == EVENT_LOGIN_ASKS) asked(&found[i]);
        else if (found[i].type == EVENT_LOGIN_PASSED) passed(&found[i]);
        else if (found[i].type == EVENT_DIAL)
            world_refuse_dial(relay, found[i].a); /* those who are in are not served */
    }
}

/* A thread may be computing: it is waited for. */
static void wait_for_jobs(void) {
    for (struct login *l = relay->logins->first; l; l = l->next) {
        struct pollfd p = {.fd = relay->logins->jobs->bell, .events = POLLIN};
        if (l->job) claim(poll(&p, 1, 20000) == 1, "a job that is not done");
    }
}

static void turn(void) {
    wait_for_jobs();
    world_turn(relay, relay->loop.now + TURN_US);
    events();
    for (int i = 0; i < CLIENTS; i++)
        if (relay->clients[i]) may_come_in("it is in without the secret");
    log_take(relay);
}

/* As query_wait_timeout does: who has said goodbye behind a query waits for its server. */
static void end_of_waiting(void) {
    static const char why[] = "08P01\0query_wait_timeout\0pool_size: 1 of 1 servers are there";
    for (int i = 0; i < CLIENTS; i++) {
        if (!relay->clients[i] || relay->t->clients[i].state != CL_WAITING) continue;
        struct command *k = world_command(COMMAND_KILL, i, 0, sizeof why);
        k->id = relay->t->clients[i].id;
        memcpy(k->data, why, sizeof why);
        world_tell(relay, k);
    }
}

static bool all_gone(void) {
    for (int i = 0; i < CLIENTS; i++)
        if (relay->clients[i]) return false;
    const struct login_queue *q = relay->logins->queue;
    return world_is_empty(relay) && !relay->logins->first && !q->inside && !q->waiting && !q->stalled
        && !relay->logins->refused;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    int ends[2];
    char heard[4096];
    if (!relay) open_world();
    uint8_t first = size ? data[0] : 3;
    method = methods[first % METHODS];
    answer = (enum login_answer)(ANSWER_YES + (first / METHODS) % 4);
    if (first < METHODS) answer = ANSWER_NO; /* as the corpus has always had it */
    size_t piece = first / (METHODS * 4) ? first / (METHODS * 4) * 3 : size;
    configure();
    world_pair(ends);
    login_accept(relay, ends[1], true);
    for (size_t at = 1; at < size; at += piece) {
        size_t n = size - at < piece ? size - at : piece;
        if (send(ends[0], data + at, n, MSG_NOSIGNAL) < 0) break;
        turn();
        turn();
        while (recv(ends[0], heard, sizeof heard, 0) > 0) {}
    }
    for (int i = 0; i < 4; i++) turn();
    close(ends[0]);
    for (int i = 0; i < TURNS_MAX && !all_gone(); i++) {
        turn();
        if (i == TURNS_MAX / 2) end_of_waiting();
        for (int k = 0; k < relay->t->h->pools_high; k++) relay->t->pools[k].retry_at = 0;
    }
    claim(all_gone(), "something is left of a login");
    return 0;
}
