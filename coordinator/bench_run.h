/* bench_run.h: runs the tests of a plan and tells what each gave, as soon as it is known. */
#ifndef YL_BENCH_RUN_H
#define YL_BENCH_RUN_H

#include "bench_cost.h"
#include "bench_plan.h"
#include "bench_stats.h"
#include "console.h"
#include "session.h"

typedef struct bench_result {
    bench_test test;
    uint32_t n_reps;
    bench_stats ms;    /* of a repetition */
    bench_stats rate;  /* tokens a second, all sequences together */
    bench_pages pages; /* of the weights */
    bool has_limits;   /* false for BENCH_START and workers of other machines: the rest but memory is 0 then */
    uint32_t n_limit_threads;
    machine_limits limits_before, limits_after; /* before the first repetition, after the last */
    machine_limits limits;                      /* medians of all readings: one between any two repetitions, too */
    bench_floor floor;                          /* at these limits */
    double share;                               /* of what the machine could do: floor.seconds / the median time */
    uint64_t coordinator_bytes, workers_bytes;  /* peak resident memory of this process; of all workers together */
} bench_result;

/* May a repetition begin? */
typedef enum bench_turn { BENCH_TURN_NOW, BENCH_TURN_LATER, BENCH_TURN_NEVER } bench_turn;

/* Who asked for the run. */
typedef struct bench_listener {
    /* A test is done. Anything but YL_OK ends the run. */
    yl_status (*on_result)(void *ctx, const bench_result *r, yl_error *err);
    /* NULL, or asked before every repetition, which then has a result of its own. It waits up to wait_ms, and is asked again after
     * BENCH_TURN_LATER; after BENCH_TURN_NEVER the run is over. */
    bench_turn (*wait_for_turn)(void *ctx, int wait_ms);
    void *ctx;
} bench_listener;

/* The session was opened, its engine not. Errors as of engine_open and engine_poll; YL_ECANCELED after an interrupt. */
yl_status bench_run(session *s, const bench_plan *p, const bench_listener *listener, yl_error *err);

#endif
