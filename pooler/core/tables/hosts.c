/* Names of hosts and what the DNS said of them, for all workers: one looks a name up, all use the answer,
 * take turns among its addresses, and leave those that are gone.  A failed look-up forgets nothing. */
#include "tables/hosts.h"

#include <stdio.h>
#include <string.h>

#include "tables/layout.h"
#include "tables/maintenance.h"
#include "tables/outcome.h"
#include "tables/states.h"
#include "tables/tables.h"

/* Row of a name; it is made when there is none.  When all are taken, the one that was useful longest ago
 * goes. NO_ROW: no name of a host. */
int32_t host_find(struct tables *t, const char *name, enum host_kind kind, uint64_t now) {
    int32_t at = NO_ROW;
    if (!name[0] || strlen(name) >= HOST_NAME_BYTES) return NO_ROW;
    tables_lock(t);
    for (int32_t i = 0; i < t->h->hosts_high; i++) {
        struct host_row *h = &t->hosts[i];
        if (h->kind == kind && strcmp(h->name, name) == 0) {
            tables_unlock(t);
            return i;
        }
        bool asked = h->asked_until > now;
        if (!asked && (at == NO_ROW || h->expires_at < t->hosts[at].expires_at)) at = i;
    }
    if (t->h->hosts_high < HOSTS_MAX) at = t->h->hosts_high++;
    if (at != NO_ROW) {
        struct host_row *h = &t->hosts[at];
        h->kind = HOST_FREE; /* last: whoever reads it meanwhile, after a death, finds nothing */
        COMMIT();
        memset(h, 0, sizeof *h);
        snprintf(h->name, sizeof h->name, "%s", name);
        COMMIT();
        h->kind = (uint8_t)kind;
    }
    tables_unlock(t);
    return at;
}

/* A copy; false when the row is free. */
bool host_read(struct tables *t, int32_t row, struct host_row *out) {
    tables_lock(t);
    *out = t->hosts[row];
    tables_unlock(t);
    return out->kind != HOST_FREE;
}

void host_asked(struct tables *t, int32_t row, uint64_t until) {
    tables_lock(t);
    t->hosts[row].asked_until = until;
    tables_unlock(t);
}

void host_answered(struct tables *t, int32_t row, const char *addresses, uint64_t expires_at) {
    tables_lock(t);
    struct host_row *h = &t->hosts[row];
    h->known = 0; /* until all of it is there */
    COMMIT();
    snprintf(h->addresses, sizeof h->addresses, "%s", addresses);
    char *cut = strlen(addresses) >= sizeof h->addresses ? strrchr(h->addresses, ' ') : NULL;
    if (cut) *cut = '\0';
    h->expires_at = expires_at;
    h->asked_until = 0;
    COMMIT();
    h->known = 1;
    tables_unlock(t);
}

void host_failed(struct tables *t, int32_t row, uint64_t expires_at) {
    tables_lock(t);
    t->hosts[row].expires_at = expires_at;
    t->hosts[row].asked_until = 0;
    tables_unlock(t);
}

/* The serial of a zone; true when it was another one before. */
bool host_zone_answered(struct tables *t, int32_t row, uint32_t serial, uint32_t *before) {
    tables_lock(t);
    struct host_row *h = &t->hosts[row];
    bool changed = h->known && h->serial != serial;
    *before = h->serial;
    h->serial = serial;
    h->known = 1;
    tables_unlock(t);
    return changed;
}

/* A name does not lead to this address any more: the servers there that it led to are obsolete.  How many. */
int host_obsolete(struct tables *t, int32_t row, const char *address) {
    struct outcome out;
    int count = 0;
    outcome_clear(&out);
    tables_lock(t);
    for (int32_t i = 0; i < t->h->slots_high; i++) {
        struct slot_row *s = &t->slots[i];
        if (s->state == SL_FREE || s->host != row || strcmp(s->where.addr, address) != 0) continue;
        slot_mark_obsolete(t, i, &out);
        count++;
    }
    tables_unlock(t);
    tables_ring(t, out.ring);
    return count;
}
