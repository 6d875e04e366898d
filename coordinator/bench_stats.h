/* bench_stats.h: what is said of a few repetitions of a measurement. */
#ifndef YL_BENCH_STATS_H
#define YL_BENCH_STATS_H

#include <stddef.h>

typedef struct bench_stats {
    double median, min, max;
    double mean, deviation; /* of the sample: divided by n - 1; 0 if n is 1 */
} bench_stats;

/* Sorts the samples. n >= 1. */
bench_stats bench_stats_of(double *samples, size_t n);

#endif
