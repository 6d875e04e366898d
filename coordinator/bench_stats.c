/* bench_stats.c: the median tells what is usual, the extremes how far a neighbour on the machine moved it; mean and deviation are
 * there because llama-bench prints them. */
#include "bench_stats.h"

#include <math.h>
#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

bench_stats bench_stats_of(double *samples, size_t n)
{
    qsort(samples, n, sizeof *samples, compare);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) sum += samples[i];
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) squares += (samples[i] - mean) * (samples[i] - mean);
    return (bench_stats){.median = (samples[(n - 1) / 2] + samples[n / 2]) / 2,
                         .min = samples[0],
                         .max = samples[n - 1],
                         .mean = mean,
                         .deviation = n > 1 ? sqrt(squares / (double)(n - 1)) : 0};
}
