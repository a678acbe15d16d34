/* Orders: what one process wants the owner of a row to do. */
#include "tables/mailbox.h"

#include "tables/clients.h"
#include "tables/layout.h"
#include "tables/list.h"
#include "tables/states.h"
#include "tables/tables.h"
#include "tables/workers.h"

/* Takes the orders of this worker, up to the given numbers; true when more are left. */
bool mailbox_take(struct tables *t, int worker, struct order *clients, int *client_count, struct order *slots,
                  int *slot_count, int max) {
    struct worker_row *w = &t->workers[worker];
    *client_count = *slot_count = 0;
    tables_lock(t);
    while (w->client_attention.head != NO_ROW && *client_count < max) {
        int32_t i = w->client_attention.head;
        client_attention_remove(t, &w->client_attention, i);
        clients[(*client_count)++] = (struct order){i, t->clients[i].orders, t->clients[i].id};
        t->clients[i].orders = 0;
    }
    while (w->slot_attention.head != NO_ROW && *slot_count < max) {
        int32_t i = w->slot_attention.head;
        slot_attention_remove(t, &w->slot_attention, i);
        slots[(*slot_count)++] = (struct order){i, t->slots[i].orders, t->slots[i].id};
        t->slots[i].orders = 0;
    }
    bool more = w->client_attention.head != NO_ROW || w->slot_attention.head != NO_ROW;
    tables_unlock(t);
    return more;
}

/* Tells the worker of a client to do something with it; false when that client has left.  The caller holds
 * the lock and rings. */
bool mailbox_tell_locked(struct tables *t, int32_t row, uint64_t id, uint8_t order, uint8_t kill_text,
                         uint64_t *ring) {
    struct client_row *c = &t->clients[row];
    if (c->state == CL_FREE || c->id != id) return false;
    if (order & ORDER_KILL) c->kill_text = kill_text;
    mailbox_order_client(t, row, order, ring);
    return true;
}

void mailbox_order_client(struct tables *t, int32_t client, uint8_t order, uint64_t *ring) {
    struct client_row *c = &t->clients[client];
    if (c->state == CL_FREE) return;
    bool listed = c->orders != 0;
    c->orders |= order;
    if (!listed) client_attention_append(t, &t->workers[c->worker].client_attention, client);
    *ring |= worker_bit(c->worker);
}

void mailbox_drop_slot_orders(struct tables *t, int32_t slot) {
    struct slot_row *s = &t->slots[slot];
    if (!s->orders) return;
    slot_attention_remove(t, &t->workers[s->owner].slot_attention, slot);
    s->orders = 0;
}
