/* What SHOW STATS counts, by worker and pool. */
#include "relay/counters.h"

#include "io/server_messages.h"
#include "relay/internal.h"
#include "relay/relay.h"
#include "relay/server.h"
#include "tables/histogram.h"
#include "tables/layout.h"

struct counters *counters_of(struct relay *r, int32_t pool) {
    return &r->t->counters[(int64_t)r->worker * r->t->h->sizes.pools + pool];
}

/* By the class of its SQLSTATE. */
void counters_error(struct relay *r, const struct server *s, const unsigned char *body, uint32_t n) {
    char sqlstate[SQLSTATE_BYTES] = "";
    server_message_field(body, n, 'C', sqlstate, sizeof sqlstate);
    counters_of(r, r->t->slots[s->slot].pool)->errors[error_class_of(sqlstate)]++;
}

void counters_ready(struct relay *r, struct server *s) {
    struct client_row *row = &r->t->clients[s->client->row];
    struct counters *n = counters_of(r, r->t->slots[s->slot].pool);
    n->query_count++;
    if (row->request_start && r->loop.now > row->request_start) {
        n->query_time += r->loop.now - row->request_start;
        histogram_add(n->query_histogram, r->loop.now - row->request_start);
    }
    row->request_start = s->requests.count ? r->loop.now : 0;
    row->idle_start = r->loop
                          .now; /* also in a transaction; requests of ours that follow are not the client's */
    if (s->transaction != 'I') return;
    n->xact_count++;
    if (row->xact_start && r->loop.now > row->xact_start) {
        n->xact_time += r->loop.now - row->xact_start;
        histogram_add(n->xact_histogram, r->loop.now - row->xact_start);
    }
    row->xact_start = s->requests.count ? r->loop.now : 0;
}
