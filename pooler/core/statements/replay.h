/* What a client has sent since its last Sync, in case it is to be sent once more: see replan.h. */
#ifndef POOLER_STATEMENTS_REPLAY_H
#define POOLER_STATEMENTS_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#define REPLAY_BYTES_MAX 65536 /* of one pipeline; a longer one is not sent again */
#define REPLAY_SPACE 4096      /* stays between pipelines */

enum verdict { VERDICT_NONE, VERDICT_RENEW, VERDICT_AGAIN, VERDICT_WAIT };

struct replay {
    unsigned char *data;
    uint32_t bytes, space;
    uint32_t failed, from; /* where the message that failed begins, and what is to be sent again */
    bool ended;            /* its Sync has been sent: the next message begins another pipeline */
    bool whole;            /* `data` has everything of the pipeline */
    bool execute;          /* it is a Query with one EXECUTE */
    bool again;            /* it was sent again: once is enough */
    /* what the error that is being dealt with leads to; WAIT: more of the pipeline decides */
    uint8_t verdict;
    /* an error that waits, behind answers; without a verdict: it will take the place of another */
    unsigned char *held;
    uint32_t held_answers, held_bytes;
};

void replay_add(struct replay *k, const unsigned char *p, uint32_t n);
void replay_shrink(struct replay *k);
void replay_release(struct replay *k);
void replay_free(struct replay *k);

/* A message begins another pipeline; `answered`: no message in front of it waits for an answer, so no error
 * has a place to take. */
static inline void replay_begin(struct replay *k, bool answered) {
    if (k->held && answered) replay_release(k);
    if (k->space > REPLAY_SPACE) replay_shrink(k);
    k->bytes = 0;
    k->ended = k->again = k->execute = false;
    k->failed = k->from = 0;
    k->whole = true;
}

#endif
