/* Which clients may be in their login: see login_queue.h. */
#include "login/login_queue.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/connection.h"
#include "io/sqlstate.h"
#include "login/login.h"
#include "login/names.h"
#include "login/policy.h"
#include "relay/internal.h"

/* Longer than the round trips of a login and what a client computes, in most cases: what takes longer costs
 * this worker nothing meanwhile. */
#define STALL_US 300000
/* A client answers within a round trip and what its machine is busy with; one that takes longer may have to
 * go. */
#define SILENT_US 2000000
#define SAY_AGAIN_US 10000000 /* a queue that is full says so this often */
#define TICK_US 333333
#define PLACES_PER_TICK 64  /* each costs a walk over all logins */
#define SEARCHES_PER_TURN 4 /* for a row that is given up: the same */
#define TICK_AGAIN_US 10000 /* a newcomer that has to wait may bring the next one forward to here */

#define TOO_MANY "too many clients in their login (max_unauthenticated)"
#define TOO_SILENT "too many silent connections from one address (max_silent_per_address)"

/* ---- origins ----------------------------------------------------------------------------------- */

void login_queue_network(const char *address, char out[ADDRESS_BYTES]) {
    unsigned char six[16];
    char plain[ADDRESS_BYTES];
    snprintf(plain, sizeof plain, "%s", address);
    plain[strcspn(plain, "%")] = 0;
    if (!strchr(plain, ':') || inet_pton(AF_INET6, plain, six) != 1) {
        snprintf(out, ADDRESS_BYTES, "%s", strncmp(address, "127.", 4) == 0 ? "127.0.0.0/8" : address);
        return;
    }
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (memcmp(six, mapped, sizeof mapped) == 0) {
        inet_ntop(AF_INET, six + 12, plain, sizeof plain);
        login_queue_network(plain, out);
        return;
    }
    memset(six + 8, 0, 8);
    inet_ntop(AF_INET6, six, plain, sizeof plain);
    snprintf(out, ADDRESS_BYTES, "%.43s/64", plain);
}

static struct origin **place_of(struct login_queue *q, const char *name) {
    /* an address costs more to have than a bucket to fill */
    struct origin **at = &q->buckets[names_mix(NAMES_MIX, name) % ORIGIN_BUCKETS];
    while (*at && strcmp((*at)->name, name) != 0) at = &(*at)->next_in_bucket;
    return at;
}

bool login_queue_enter(struct relay *r, struct login *l, const char *address) {
    char name[ADDRESS_BYTES];
    if (l->is_unix) snprintf(name, sizeof name, "user id %u", l->peer_uid);
    else login_queue_network(address, name);
    struct origin **at = place_of(r->logins->queue, name);
    if (!*at) *at = calloc(1, sizeof **at);
    if (!*at) return false;
    if (!(*at)->connections++) memcpy((*at)->name, name, sizeof name);
    l->origin = *at;
    return true;
}

void login_queue_gone(struct relay *r, struct login *l) {
    struct origin *o = l->origin;
    l->origin = NULL;
    if (!o || --o->connections) return;
    *place_of(r->logins->queue, o->name) = o->next_in_bucket;
    free(o);
}

/* ---- the line ---------------------------------------------------------------------------------- */

static void join_turns(struct login_queue *q, struct origin *o) {
    o->next_turn = NULL;
    if (q->last_turn) q->last_turn->next_turn = o;
    else q->first_turn = o;
    q->last_turn = o;
}

static void join_line(struct login_queue *q, struct login *l) {
    struct origin *o = l->origin;
    l->next_queued = NULL;
    if (o->last) o->last->next_queued = l;
    else o->first = l;
    o->last = l;
    q->waiting++;
    if (!o->waiting++) join_turns(q, o);
}

static void leave_turns(struct login_queue *q, struct origin *o) {
    struct origin **at = &q->first_turn, *before = NULL;
    while (*at != o) {
        before = *at;
        at = &(*at)->next_turn;
    }
    *at = o->next_turn;
    if (q->last_turn == o) q->last_turn = before;
}

static void leave_line(struct login_queue *q, struct login *l) {
    struct origin *o = l->origin;
    struct login **at = &o->first, *before = NULL;
    while (*at != l) {
        before = *at;
        at = &(*at)->next_queued;
    }
    *at = l->next_queued;
    if (o->last == l) o->last = before;
    q->waiting--;
    if (!--o->waiting) leave_turns(q, o);
}

static bool is_free(const struct relay *r) {
    const struct login_queue *q = r->logins->queue;
    uint32_t limit = r->logins->policy->settings.max_unauthenticated;
    return !limit || q->inside - q->stalled < limit;
}

static void begin(struct relay *r, struct login *l) {
    login_queue_resume(r, l);
    login_begin(r, l);
}

static void let_in(struct relay *r) {
    struct login_queue *q = r->logins->queue;
    while (q->waiting && is_free(r)) {
        struct origin *o = q->first_turn;
        struct login *l = o->first;
        leave_line(q, l);
        if (o->waiting) { /* behind the others */
            leave_turns(q, o);
            join_turns(q, o);
        }
        begin(r, l);
    }
}

void login_queue_join(struct relay *r, struct login *l) {
    struct login_queue *q = r->logins->queue;
    if (!q->waiting && is_free(r)) {
        begin(r, l);
        return;
    }
    login_move(l, LOGIN_QUEUED);
    join_line(q, l);
    if (r->loop.now + TICK_US >= q->tick_at + TICK_AGAIN_US) login_queue_tick(r);
}

void login_queue_leave(struct relay *r, struct login *l) {
    struct login_queue *q = r->logins->queue;
    if (l->state == LOGIN_QUEUED && !l->inside) leave_line(q, l);
    if (!l->inside) return;
    q->inside--;
    if (l->stalled) q->stalled--;
    l->inside = l->stalled = false;
    let_in(r);
}

void login_queue_suspend(struct relay *r, struct login *l) { login_queue_leave(r, l); }

void login_queue_resume(struct relay *r, struct login *l) {
    if (l->inside) return;
    l->inside = true;
    r->logins->queue->inside++;
}

/* ---- silence ----------------------------------------------------------------------------------- */

/* How long it was waited for bytes of it; 0 if they are there, and we are the ones who are late. */
static uint64_t silent_us(const struct relay *r, const struct login *l) {
    if (!l->waits_since || l->client->io.readable || r->loop.now < l->waits_since) return 0;
    return r->loop.now - l->waits_since;
}

static uint64_t age_us(const struct relay *r, const struct login *l) {
    return r->loop.now > l->started_at ? r->loop.now - l->started_at : 0;
}

static bool is_silent(const struct relay *r, const struct login *l) {
    if (l->state == LOGIN_OUTSIDE) return !l->client->io.readable && age_us(r, l) >= SILENT_US;
    return l->stalled && silent_us(r, l) >= SILENT_US;
}

/* The line goes before the login is refused: refusing lets others in. */
static void send_away(struct relay *r, struct login *l, const char *reason) {
    login_refuse(r, l, TOO_MANY_CONNECTIONS, reason, NULL);
}

static void note_stalled(struct relay *r) {
    struct login_queue *q = r->logins->queue;
    q->stalled = 0;
    for (struct login *l = r->logins->first; l; l = l->next) {
        l->stalled = l->inside && l->waited_us + silent_us(r, l) >= STALL_US;
        q->stalled += l->stalled;
    }
}

/* The newest silent connections of an origin go when it has too many. */
static void keep_silent_few(struct relay *r) {
    struct login_queue *q = r->logins->queue;
    uint32_t limit = r->logins->policy->settings.max_silent_per_address;
    const struct origin *most = NULL;
    if (!limit) return;
    for (struct login *l = r->logins->first; l; l = l->next) l->origin->counted = 0;
    for (struct login *l = r->logins->first, *next; l; l = next) {
        next = l->next;
        if (!is_silent(r, l)) continue;
        struct origin *o = l->origin;
        if (++o->counted > limit) {
            if (!most || o->counted > most->counted) most = o;
            send_away(r, l, TOO_SILENT);
        }
    }
    if (!most || (q->silent_said_at && r->loop.now - q->silent_said_at < SAY_AGAIN_US)) return;
    q->silent_said_at = r->loop.now;
    relay_log(r, LEVEL_WARNING, "%u connections from %s say nothing (max_silent_per_address)", most->counted,
              most->name);
}

/* The newest silent login inside of the origin that has most silent connections; NULL: there is none. */
static struct login *newest_silent_inside(struct relay *r) {
    struct login *found = NULL;
    for (struct login *l = r->logins->first; l; l = l->next)
        if (l->inside && is_silent(r, l) && (!found || l->origin->counted >= found->origin->counted))
            found = l;
    return found;
}

static void make_places(struct relay *r) {
    struct login_queue *q = r->logins->queue;
    if (!q->said_at || r->loop.now - q->said_at >= SAY_AGAIN_US) {
        q->said_at = r->loop.now;
        relay_log(r, LEVEL_WARNING, "%u clients are in their login (max_unauthenticated), %u wait for that",
                  q->inside, q->waiting);
    }
    for (struct login *l = r->logins->first; l; l = l->next) l->origin->counted = 0;
    for (struct login *l = r->logins->first; l; l = l->next) l->origin->counted += is_silent(r, l);
    /* one that goes takes no place already: as many go as wait, each counted as it was before */
    uint32_t gone = 0, wanted = q->waiting < PLACES_PER_TICK ? q->waiting : PLACES_PER_TICK;
    for (struct login *l; gone < wanted && (l = newest_silent_inside(r)); gone++) send_away(r, l, TOO_MANY);
}

void login_queue_tick(struct relay *r) {
    struct login_queue *q = r->logins->queue;
    q->tick_at = r->loop.now + TICK_US;
    if (!r->logins->policy || !r->logins->first) return;
    note_stalled(r);
    let_in(r);
    keep_silent_few(r);
    if (q->waiting) make_places(r);
}

/* Says nothing, and can be done without when rows run out. */
static bool can_go(const struct relay *r, const struct login *l) {
    if (l->row == NO_ROW) return false;
    if (l->state == LOGIN_OUTSIDE) return !l->client->io.readable;
    return l->stalled && silent_us(r, l) >= STALL_US;
}

/* Has said something, and waits for its turn. */
static bool is_waiting(const struct login *l) {
    return l->row != NO_ROW
        && (l->state == LOGIN_QUEUED || (l->state == LOGIN_OUTSIDE && l->client->io.readable));
}

/* The origin with most connections that wait or can go, the newcomer's among them. */
static struct origin *most_of(struct relay *r, const struct login *newcomer) {
    struct origin *most = newcomer->origin;
    for (struct login *l = r->logins->first; l; l = l->next) l->origin->counted = 0;
    newcomer->origin->counted = 1;
    for (struct login *l = r->logins->first; l; l = l->next)
        l->origin->counted += l != newcomer && (can_go(r, l) || is_waiting(l));
    for (struct login *l = r->logins->first; l; l = l->next) {
        /* of two that are alone, the one that is here has had its time */
        bool alone = most == newcomer->origin && most->counted == 1;
        if (l->origin->counted > most->counted || (alone && l->origin->counted == 1)) most = l->origin;
    }
    return most;
}

/* Of the origin that has most connections here the newest silent one gives up its row, or else the newest
 * that waits, for the client of another origin.  False if there is none, or the newcomer is the newest of
 * them; or this turn of the loop has done enough of that. */
bool login_queue_make_space(struct relay *r, struct login *newcomer) {
    struct login_queue *q = r->logins->queue;
    struct login *victim = NULL;
    if (q->searched_at != r->loop.now) q->searches = 0;
    q->searched_at = r->loop.now;
    if (q->searches++ >= SEARCHES_PER_TURN) return false;
    struct origin *most = most_of(r, newcomer);
    if (most == newcomer->origin && !login_spoke(newcomer)) return false;
    for (struct login *l = r->logins->first; l; l = l->next) /* the last is the newest */
        if (l != newcomer && l->origin == most && can_go(r, l)) victim = l;
    for (struct login *l = r->logins->first; !victim && most != newcomer->origin && l; l = l->next)
        if (l->origin == most && is_waiting(l) && !l->next_queued) victim = l;
    if (!victim) return false;
    login_give_up_row(r, victim);
    send_away(r, victim, TOO_MANY);
    return true;
}
