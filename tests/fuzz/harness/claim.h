/* What has to be so, or a fuzzer has found something. */
#ifndef FUZZ_CLAIM_H
#define FUZZ_CLAIM_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static inline void claim(bool right, const char *what) {
    if (right) return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

#endif
