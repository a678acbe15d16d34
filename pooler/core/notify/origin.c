/* Sealed notes: the theory stands in origin.h. */
#include "notify/origin.h"

#include <stdio.h>

#include "sql/digest.h"
#include "tables/layout.h"

void marker_channel(const struct tables *t, char out[MARKER_CHANNEL_BYTES]) {
    snprintf(out, MARKER_CHANNEL_BYTES, "pooler_%016llx", (unsigned long long)t->h->marker_channel);
}

/* What only we can say of a note that this backend of that PostgreSQL sends. */
void marker_seal(const struct tables *t, const struct endpoint *where, uint32_t pid, const char *marker,
                 char out[SEAL_BYTES]) {
    char sealed[MARKER_BYTES + ADDRESS_BYTES + 32];
    struct digest d;
    int n = snprintf(sealed, sizeof sealed, "%s %d %u %s", where->addr, where->port, pid, marker);
    digest_of(t->h->notify_key, (const unsigned char *)sealed, (uint32_t)n, &d);
    snprintf(out, SEAL_BYTES, "%016llx%016llx", (unsigned long long)d.high, (unsigned long long)d.low);
}

/* `text number seal`, to be sent by the backend of this slot. */
void marker_sealed(struct tables *t, const struct slot_row *from, const char *text, char out[MARKER_BYTES]) {
    char marker[MARKER_BYTES - SEAL_BYTES], seal[SEAL_BYTES];
    snprintf(marker, sizeof marker, "%s %llu", text,
             (unsigned long long)(atomic_fetch_add(&t->h->next_marker, 1) + 1));
    marker_seal(t, &from->where, (uint32_t)from->backend_pid, marker, seal);
    snprintf(out, MARKER_BYTES, "%s %s", marker, seal);
}
