/* bench_cost.h: the least that a test costs a machine, from the model's dimensions: bytes read and multiply-adds.
 *
 * Weights are read once for all rows that are computed together, the cache of keys and values once for each of their sequences;
 * activations are small and stay in caches. Multiply-adds are those of matrices and of attention. What a program reaches of the
 * machine is the time that this takes at the machine's limits, divided by the time that it took. */
#ifndef YL_BENCH_COST_H
#define YL_BENCH_COST_H

#include "bench_plan.h"
#include "gguf.h"
#include "hparams.h"
#include "machine_limits.h"

typedef struct bench_cost {
    double bytes;
    double macs_int8, macs_f32; /* multiply-adds: of quantized matrices; of the others and of attention */
} bench_cost;

/* Where weights and cache lie in memory. */
typedef enum bench_pages { BENCH_PAGES_SMALL, BENCH_PAGES_HUGE } bench_pages;

/* What limits a test. */
typedef enum bench_bound { BENCH_BOUND_MEMORY, BENCH_BOUND_ARITHMETIC } bench_bound;

/* Of one repetition. Not for BENCH_START, which has no limit of this kind. */
bench_cost bench_cost_of(const bench_test *t, const gguf *g, const hparams *hp);

/* Threads that can be at work at the same moment: all workers' where there is work for all of them, else one worker's. */
uint32_t bench_cost_n_threads(const bench_test *t);

/* The least time that it takes: reading and computing overlap, the slower of the two counts. */
typedef struct bench_floor {
    double seconds;
    bench_bound bound;
    double rate; /* at which it then goes: bytes, or multiply-adds (of int8 and f32 mixed as the cost has them), a second */
} bench_floor;
bench_floor bench_cost_floor(const bench_cost *c, const machine_limits *limits, bench_pages pages);

#endif
