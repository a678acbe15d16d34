/* All logins of a relay: their beginning, their clock, and another configuration. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/connection.h"
#include "io/sqlstate.h"
#include "login/jobs.h"
#include "login/login.h"
#include "login/login_queue.h"
#include "login/policy.h"
#include "relay/internal.h"
#include "tables/clock.h"

#define THREADS_MAX 4

/* A core for each, over all workers. */
static int thread_count(const struct relay *r) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN), each = cores / r->t->h->sizes.workers;
    return each < 1 ? 1 : each > THREADS_MAX ? THREADS_MAX : (int)each;
}

/* False: no memory, with errno. */
bool logins_open(struct relay *r) {
    struct logins *all = r->logins = calloc(1, sizeof *all);
    if (!all) return false;
    all->by_row = calloc((size_t)r->t->h->sizes.clients, sizeof *all->by_row);
    all->queue = calloc(1, sizeof *all->queue);
    all->jobs = jobs_open(thread_count(r));
    return all->by_row && all->queue && all->jobs;
}

int logins_pause(const struct relay *r) {
    const struct logins *all = r->logins;
    if (!all->first) return -1;
    if (all->tick_at <= r->loop.now) return 0;
    return (int)((all->tick_at - r->loop.now) / 1000) + 1;
}

void logins_begin_their_time(struct relay *r) {
    if (!r->login_budget_at) r->login_budget_at = clock_us() + LOGIN_BUDGET_US;
}

bool logins_had_their_time(struct relay *r) {
    logins_begin_their_time(r);
    return clock_us() >= r->login_budget_at;
}

/* Whether the time of a login is over; those that were refused have times of their own. */
static bool is_late(const struct relay *r, const struct login *l) {
    const struct policy *p = r->logins->policy;
    return p && p->settings.login_timeout_us && r->loop.now > l->started_at
        && r->loop.now - l->started_at > p->settings.login_timeout_us;
}

static void look_at(struct relay *r, struct login *l) {
    if (l->state == LOGIN_REFUSED) {
        if (l->client->io.eof || l->client->io.broken) l->due_at = r->loop.now;
        if (r->loop.now >= l->due_at) refusal_tell(r, l);
    } else if (l->state == LOGIN_TOLD) {
        if (r->loop.now >= l->due_at) login_over(r, l);
    } else if (is_late(r, l)) {
        l->refusal = l->waits_for_server ? REFUSAL_SERVER : REFUSAL_TIMEOUT;
        login_refuse(r, l, PROTOCOL_VIOLATION,
                     l->waits_for_server ? "client_login_timeout (server down)" : "client_login_timeout",
                     NULL);
    }
}

/* What no event brings.  While we are suspended nothing can be done about a limit. */
void logins_tick(struct relay *r) {
    struct logins *all = r->logins;
    bool suspended = r->t->h->suspended;
    if (!all->first || r->loop.now < all->tick_at) return;
    all->tick_at = r->loop.now + LOGIN_TICK_US;
    for (struct login *l = all->first, *next; l; l = next) {
        next = l->next;
        if (suspended && l->state != LOGIN_REFUSED && l->state != LOGIN_TOLD) continue;
        if (all->suspended && l->state == LOGIN_OUTSIDE) { /* it came before the master had heard of that */
            l->started_at = r->loop.now;
            conn_ready(&r->loop, &l->client->io);
        }
        look_at(r, l);
    }
    all->suspended = suspended;
    for (struct login *l = all->first; l && all->refused; l = l->next)
        if (l->state == LOGIN_REFUSED && l->due_at < all->tick_at) all->tick_at = l->due_at;
    if (!suspended && r->loop.now >= all->queue->tick_at) login_queue_tick(r);
}

/* Another configuration, for logins that begin from now on. */
void logins_policy(struct relay *r, struct policy *p) {
    struct logins *all = r->logins;
    struct policy *old = all->policy;
    if (old) policy_inherit(p, old);
    all->policy = p;
    policy_drop(old);
    for (struct login *l = all->first; l && !old; l = l->next) conn_ready(&r->loop, &l->client->io);
    if (all->first) login_queue_tick(r);
}

/* What a user who does not exist would have: as most have who do. */
void logins_unknown(struct relay *r, const struct command *k) {
    struct logins *all = r->logins;
    all->unknown_scram = k->a;
    all->unknown_iterations = k->b;
    if (k->data_bytes == sizeof all->unknown_key) memcpy(all->unknown_key, k->data, k->data_bytes);
}
