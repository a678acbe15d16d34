/* What a client has sent since its last Sync, in case it is to be sent once more. */
#include "statements/replay.h"

#include <stdlib.h>
#include <string.h>

void replay_add(struct replay *k, const unsigned char *p, uint32_t n) {
    if (k->bytes + n > REPLAY_BYTES_MAX) {
        k->whole = false;
        return;
    }
    if (k->bytes + n > k->space) {
        uint32_t space = k->space ? k->space : 512;
        while (space < k->bytes + n) space *= 2;
        unsigned char *larger = realloc(k->data, space);
        if (!larger) { /* it is not sent again */
            k->whole = false;
            return;
        }
        k->data = larger;
        k->space = space;
    }
    memcpy(k->data + k->bytes, p, n);
    k->bytes += n;
}

void replay_shrink(struct replay *k) {
    free(k->data);
    k->data = NULL;
    k->space = 0;
}

void replay_release(struct replay *k) {
    free(k->held);
    k->held = NULL;
}

void replay_free(struct replay *k) {
    replay_shrink(k);
    replay_release(k);
    *k = (struct replay){.ended = true};
}
