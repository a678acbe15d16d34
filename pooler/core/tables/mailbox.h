/* Orders: what one process wants the owner of a row to do. */
#ifndef POOLER_TABLES_MAILBOX_H
#define POOLER_TABLES_MAILBOX_H

#include <stdbool.h>
#include <stdint.h>

struct tables;

struct order {
    int32_t row;
    uint8_t orders;
    uint64_t id;
}; /* id: of the client, or the slot's connection */

bool mailbox_take(struct tables *t, int worker, struct order *clients, int *client_count, struct order *slots,
                  int *slot_count, int max);
bool mailbox_tell_locked(struct tables *t, int32_t row, uint64_t id, uint8_t order, uint8_t kill_text,
                         uint64_t *ring);
void mailbox_order_client(struct tables *t, int32_t client, uint8_t order, uint64_t *ring);
void mailbox_drop_slot_orders(struct tables *t, int32_t slot);

#endif
