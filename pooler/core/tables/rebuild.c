/* How the derived parts of the tables are rebuilt from the rows. */
#include "tables/rebuild.h"

#include "tables/clients.h"
#include "tables/deadlines.h"
#include "tables/layout.h"
#include "tables/limits.h"
#include "tables/list.h"
#include "tables/queue.h"
#include "tables/registry.h"
#include "tables/states.h"

static void clear_derived(struct tables *t) {
    struct header *h = t->h;
    h->clients = 0;
    list_clear(&h->free_clients);
    list_clear(&h->free_slots);
    list_clear(&h->starved);
    for (int w = 0; w < h->sizes.workers; w++) {
        list_clear(&t->workers[w].client_attention);
        list_clear(&t->workers[w].slot_attention);
        t->workers[w].clients = 0;
    }
    /* a named row may have been written just before its high-water mark was */
    while (h->databases_high < h->sizes.databases && t->databases[h->databases_high].used)
        h->databases_high++;
    while (h->users_high < h->sizes.users && t->users[h->users_high].used) h->users_high++;
    while (h->instances_high < h->sizes.instances && t->instances[h->instances_high].used)
        h->instances_high++;
    while (h->pools_high < h->sizes.pools && t->pools[h->pools_high].used) h->pools_high++;
    for (int i = 0; i < h->databases_high; i++) {
        t->databases[i].servers = t->databases[i].clients = 0;
        t->databases[i].first_pool = NO_ROW;
    }
    for (int i = 0; i < h->users_high; i++) {
        t->users[i].servers = t->users[i].clients = 0;
        t->users[i].first_pool = NO_ROW;
    }
    for (int i = 0; i < h->instances_high; i++) {
        t->instances[i].servers = 0;
        t->instances[i].first_pool = NO_ROW;
    }
    for (int i = 0; i < h->pools_high; i++) {
        registry_clear_pool(&t->pools[i], h->sizes.workers);
        if (t->pools[i].used) registry_link_pool(t, i);
    }
}

/* Slots whose fields contradict their client's were being changed: nobody knows what is on the wire, so
 * they are closed.  Clients that contradict go back to waiting. */
static void rebuild_slot(struct tables *t, int32_t i) {
    struct slot_row *s = &t->slots[i];
    if (s->state == SL_FREE) {
        s->orders = 0;
        slot_idle_append(t, &t->h->free_slots, i);
        return;
    }
    bool open = s->state == SL_LOGIN || s->state == SL_ACTIVE || s->state == SL_CLOSING;
    bool lost = s->state == SL_PARKED && !s->canceling; /* its canceler died on the way to giving it back */
    if (lost || (open && s->owner == NO_ROW)) {
        s->client = s->owner = NO_ROW;
        s->state = SL_RECLAIM;
    }
    if (s->state == SL_ACTIVE && s->client == NO_ROW && s->orders & ORDER_CLOSE) s->state = SL_CLOSING;
    if (s->state == SL_IDLE) { /* it was about to be closed or given away */
        s->owner = s->client = s->evict_for = NO_ROW;
        s->orders = 0;
    }
    if (s->state == SL_ACTIVE && s->client != NO_ROW) {
        struct client_row *c = &t->clients[s->client];
        if (c->state != CL_ACTIVE || c->slot != i || c->worker != s->owner) {
            s->client = s->owner = NO_ROW;
            s->flags |= SF_WAS_BUSY;
            s->state = SL_RECLAIM;
        }
    }
    struct pool_row *p = &t->pools[s->pool];
    p->servers++;
    p->by_state[s->state]++;
    t->databases[p->database].servers++;
    t->users[p->user].servers++;
    t->instances[p->instance].servers++;
    if (s->evict_for != NO_ROW) t->pools[s->evict_for].evicting++;
    if (s->orders && s->owner == NO_ROW) s->orders = 0;
    if (s->orders) slot_attention_append(t, &t->workers[s->owner].slot_attention, i);
    if (s->state == SL_IDLE) {
        int32_t at = p->idle.head; /* the one used last comes first, or with server_round_robin last */
        while (at != NO_ROW && (t->slots[at].used_at > s->used_at) != t->h->round_robin)
            at = t->slots[at].idle.next;
        slot_idle_insert_before(t, &p->idle, at, i);
    }
}

static void rebuild_client(struct tables *t, int32_t i) {
    struct client_row *c = &t->clients[i];
    if (c->state == CL_FREE) {
        c->orders = 0;
        client_queue_append(t, &t->h->free_clients, i);
        return;
    }
    t->workers[c->worker].clients++;
    if (c->flags & CF_COUNTED) client_count(t, c, 1);
    if (c->state == CL_ACTIVE && (c->slot == NO_ROW || t->slots[c->slot].client != i)) {
        c->slot = NO_ROW;
        c->orders &= (uint8_t)~ORDER_HANDED;
        c->state = CL_WAITING;
    }
    if (c->state == CL_WAITING && c->orders & (ORDER_WELCOME | ORDER_FAIL)) c->state = CL_LOGIN;
    if (c->state == CL_WAITING && c->orders & ORDER_CANCELED) c->state = CL_IDLE;
    if (c->state != CL_WAITING) c->flags &= (uint8_t)~CF_LOGIN_WAIT;
    if (c->state == CL_WAITING) {
        c->slot = NO_ROW;
        c->orders &= (uint8_t)~ORDER_HANDED;
        queue_insert(t, i);
    }
    if (c->orders) client_attention_append(t, &t->workers[c->worker].client_attention, i);
}

/* Rebuilds everything derived from the rows.  The only operation that is not O(1): it runs once after a
 * process died while holding the lock. */
void tables_rebuild(struct tables *t) {
    clear_derived(t);
    for (int32_t i = 0; i < t->h->slots_high; i++) rebuild_slot(t, i);
    for (int32_t i = 0; i < t->h->clients_high; i++) rebuild_client(t, i);
    for (int32_t i = 0; i < t->h->pools_high; i++)
        if (t->pools[i].waiting.count || t->pools[i].dedicated.count) limits_starve(t, i);
    deadlines_look_at_all(t);
    t->h->rebuilds++;
}
