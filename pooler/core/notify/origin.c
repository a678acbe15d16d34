/* Sealed notes: the theory stands in origin.h. */
#include "notify/origin.h"

#include <stdio.h>

#include "statements/store.h"

void note_channel(const struct tables *t, char out[NOTE_CHANNEL_BYTES]) {
    snprintf(out, NOTE_CHANNEL_BYTES, "pooler_%016llx", (unsigned long long)t->h->note_channel);
}

/* What only we can say of a note that this backend of that PostgreSQL sends. */
void note_seal(const struct tables *t, const struct endpoint *where, uint32_t pid, const char *note, char out[SEAL_BYTES]) {
    char sealed[NOTE_BYTES + ADDRESS_BYTES + 32];
    struct digest d;
    int n = snprintf(sealed, sizeof sealed, "%s %d %u %s", where->addr, where->port, pid, note);
    digest_of(t->h->notify_key, (const unsigned char *)sealed, (uint32_t)n, &d);
    snprintf(out, SEAL_BYTES, "%016llx%016llx", (unsigned long long)d.high, (unsigned long long)d.low);
}

/* `text number seal`, to be sent by the backend of this slot. */
void note_sealed(struct tables *t, const struct slot_row *from, const char *text, char out[NOTE_BYTES]) {
    char note[NOTE_BYTES - SEAL_BYTES], seal[SEAL_BYTES];
    snprintf(note, sizeof note, "%s %llu", text, (unsigned long long)(atomic_fetch_add(&t->h->next_note, 1) + 1));
    note_seal(t, &from->where, (uint32_t)from->backend_pid, note, seal);
    snprintf(out, NOTE_BYTES, "%s %s", note, seal);
}
