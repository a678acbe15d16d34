/* Histograms of times: two buckets per power of two of microseconds, so that a figure that is made of them is
 * right within a quarter.  Each has one writer, and readers that see a count a moment late. */
#ifndef POOLER_TABLES_HISTOGRAM_H
#define POOLER_TABLES_HISTOGRAM_H

#include <stdint.h>

void histogram_add(uint64_t *histogram, uint64_t us);
void histogram_sum(uint64_t *sums, const uint64_t *histogram);

#endif
