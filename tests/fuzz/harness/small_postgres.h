/* A PostgreSQL of a page, for the fuzzer of the relay: it reads messages in their order, keeps statements,
 * portals and the state of its transaction, skips to Sync after an error, and answers each row with the text
 * that it was asked for. What it does is in the text: one that begins as no client's does is pooler's own. */
#ifndef FUZZ_SMALL_POSTGRES_H
#define FUZZ_SMALL_POSTGRES_H

#include <stdbool.h>
#include <stdint.h>

#define STATEMENTS_MAX 64
#define INPUT_MAX (1u << 18)

struct small_postgres {
    int fd; /* -1: closed */
    int32_t slot;
    uint32_t generation;
    char transaction; /* I T E */
    bool skip;        /* to the next Sync */
    char copy;        /* 0, 'Q' or 'E': who began the COPY that is read */
    struct {
        char name[32], text[96];
        bool used;
    } statements[STATEMENTS_MAX];
    char portal[96];
    bool has_portal;
    uint32_t have;
    unsigned char input[INPUT_MAX];
};

void small_postgres_open(struct small_postgres *p, int fd, int32_t slot, uint32_t generation);
void small_postgres_close(struct small_postgres *p);
bool small_postgres_read(struct small_postgres *p);
bool small_postgres_answer(struct small_postgres *p);

#endif
