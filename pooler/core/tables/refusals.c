/* The words of reasons why clients are refused. */
#include "tables/refusals.h"

#define REFUSAL_WORD(NAME, WORD) WORD,
const char *const refusal_words[REFUSAL_COUNT] = {REFUSALS(REFUSAL_WORD)};
