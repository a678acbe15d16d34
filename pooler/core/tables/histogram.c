/* Histograms of times: see histogram.h. */
#include "tables/histogram.h"

#include "tables/layout.h"

void histogram_add(uint64_t *histogram, uint64_t us) {
    uint32_t bucket = 0;
    if (us) {
        uint32_t top = 63u - (uint32_t)__builtin_clzll(us);
        bucket = 2 * top + (top ? (uint32_t)(us >> (top - 1)) & 1u : 0);
    }
    histogram[bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1]++;
}

/* Adds those of one worker to those of others. */
void histogram_sum(uint64_t *sums, const uint64_t *histogram) {
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++) sums[i] += histogram[i];
}
