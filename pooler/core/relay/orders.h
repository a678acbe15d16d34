/* What the tables ask of this worker. */
#ifndef POOLER_RELAY_ORDERS_H
#define POOLER_RELAY_ORDERS_H

#include <stdint.h>

struct relay;

void relay_close_slot(struct relay *r, int32_t slot);
void relay_attention(struct relay *r);

#endif
