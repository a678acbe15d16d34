/* Cancel requests for clients of other instances. */
#ifndef POOLER_TABLES_PEERS_H
#define POOLER_TABLES_PEERS_H

#include <stdbool.h>
#include <stdint.h>

struct tables;

#define PEER_HOPS 3u /* the two lowest bits of a key: how often it may still be forwarded */
enum peer_state { PEER_WAITING, PEER_CONNECTING, PEER_ACTIVE };

int32_t peer_client_of_key(const struct tables *t, uint32_t pid, uint32_t secret);
int32_t peer_wait(struct tables *t, int32_t id, int worker);
bool peer_connect(struct tables *t, int32_t peer, int worker, int32_t most);
void peer_sent(struct tables *t, int32_t peer, int worker);
void peer_done(struct tables *t, int32_t peer, int worker, enum peer_state state);
void peers_worker_died(struct tables *t, int worker);

#endif
