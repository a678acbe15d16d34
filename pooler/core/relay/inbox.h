/* The inbox: datagrams of other processes. */
#ifndef POOLER_RELAY_INBOX_H
#define POOLER_RELAY_INBOX_H

#include "tables/datagrams.h"

struct relay;

/* a notification of PostgreSQL has at most 8000 bytes of text and a channel name */
#define NOTIFICATION_MESSAGE_MAX 8192

void relay_look_into_inbox(struct relay *r);
void relay_drain_inbox(struct relay *r);

#endif
