/* bench_run.c: open an engine for a group of tests, and for each test: fill the context, warm up, read the machine's limits, then
 * repeat: clock, run, clock, limits.
 *
 * Limits are read between repetitions as well as around them, because memory bandwidth changes while a test runs; the medians of
 * the readings and of the repetitions then speak of the same minutes. The context is filled once: a repetition begins by truncating
 * to where the last one began. */
#include "bench_run.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "bench_streams.h"
#include "interrupt.h"
#include "limit_probe.h"

enum {
    WARM_UP_TOKENS = 4, /* generated: enough to bring every weight into memory */
    TURN_MS = 250       /* workers must hear from us several times within their patience */
};

typedef struct runner {
    session *s;
    options o; /* as given, but for what a setup says */
    limit_probe *probe;
    machine_limits *readings; /* [n_reps + 1] */
    double *ms, *rates;       /* [n_reps] */
    const bench_listener *listener;
    uint32_t n_reps; /* of a result: 1 if each is on its own */
    bool is_over;    /* the listener wants no more */
    size_t n_results, n_done;
} runner;

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static yl_status open_engine(runner *r, const bench_setup *setup, uint32_t n_seq, uint32_t n_ctx, yl_error *err)
{
    r->o.isa = setup->isa;
    r->o.n_threads = (int32_t)setup->n_threads;
    r->o.n_local = setup->n_local;
    r->o.n_batch = setup->n_batch;
    r->o.n_ubatch = setup->n_ubatch;
    r->o.type_k = setup->type_k;
    r->o.type_v = setup->type_v;
    r->s->o = &r->o;
    r->s->n_seq = n_seq;
    r->s->n_ctx = n_ctx;
    return session_start(r->s, err);
}

/* ---- one test ---- */

static yl_status run_once(bench_streams *b, const bench_test *t, yl_error *err)
{
    return t->kind == BENCH_GENERATE ? bench_streams_generate(b, t->n_parallel, t->n_depth, t->n_tokens, err)
                                     : bench_streams_read(b, t->n_parallel, t->n_depth, t->n_tokens, err);
}

static yl_status warm_up(bench_streams *b, const bench_test *t, yl_error *err)
{
    bench_test shorter = *t;
    if (t->kind == BENCH_GENERATE && shorter.n_tokens > WARM_UP_TOKENS) shorter.n_tokens = WARM_UP_TOKENS;
    return run_once(b, &shorter, err);
}

/* Workers hear from us. What is wrong with one is told when it is needed next. */
static void keep_workers(void *ctx)
{
    const runner *r = ctx;
    if (r->s->e) engine_poll(r->s->e, 0, NULL);
}

static yl_status read_limits(runner *r, const bench_test *t, size_t i, yl_error *err)
{
    return limit_probe_read(r->probe, bench_cost_n_threads(t), t->setup.isa, keep_workers, r, &r->readings[i], err);
}

static double median_of(const runner *r, size_t field_offset, double *scratch)
{
    size_t n = r->n_reps + 1u;
    for (size_t i = 0; i < n; i++) scratch[i] = *(const double *)(const void *)((const char *)&r->readings[i] + field_offset);
    return bench_stats_of(scratch, n).median;
}

static void summarize(const runner *r, bench_result *result)
{
    result->ms = bench_stats_of(r->ms, r->n_reps);
    result->rate = bench_stats_of(r->rates, r->n_reps);
}

/* What the readings say of the median repetition. */
static yl_status judge(const runner *r, bench_result *result, yl_error *err)
{
    double *scratch = calloc(r->n_reps + 1u, sizeof *scratch);
    if (!scratch) return yl_fail(err, YL_ENOMEM, "no memory for a result");
    result->has_limits = true;
    result->n_limit_threads = bench_cost_n_threads(&result->test);
    result->limits_before = r->readings[0];
    result->limits_after = r->readings[r->n_reps];
    result->limits = (machine_limits){median_of(r, offsetof(machine_limits, read_small_pages), scratch),
                                      median_of(r, offsetof(machine_limits, read_huge_pages), scratch),
                                      median_of(r, offsetof(machine_limits, dot_int8), scratch),
                                      median_of(r, offsetof(machine_limits, multiply_add_f32), scratch)};
    free(scratch);
    bench_cost cost = bench_cost_of(&result->test, r->s->g, &r->s->hp);
    result->floor = bench_cost_floor(&cost, &result->limits, result->pages);
    result->share = result->floor.seconds * 1e3 / result->ms.median;
    return YL_OK;
}

/* Peak memory so far, of this process and of the engine's workers. */
static yl_status read_memory(engine *e, bench_result *result, yl_error *err)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    result->coordinator_bytes = (uint64_t)usage.ru_maxrss * 1024;
    engine_stage *stages = calloc(engine_max_stages(e), sizeof *stages);
    if (!stages) return yl_fail(err, YL_ENOMEM, "no memory for a result");
    yl_status status = engine_stages(e, stages, err);
    result->workers_bytes = 0;
    for (uint32_t i = 0; i < engine_n_stages(e) && !status; i++) result->workers_bytes += stages[i].stats.peak_rss_bytes;
    free(stages);
    return status;
}

static bench_result new_result(const runner *r, const bench_test *t)
{
    return (bench_result){.test = *t, .n_reps = r->n_reps, .pages = r->o.mmap || r->o.mlock ? BENCH_PAGES_SMALL : BENCH_PAGES_HUGE};
}

static void note_time(runner *r, const bench_test *t, uint32_t rep, double ms)
{
    r->ms[rep] = ms;
    r->rates[rep] = (double)t->n_tokens * t->n_parallel * 1e3 / ms;
    char name[BENCH_NAME_BYTES];
    double part = (double)(rep + 1) / r->n_reps;
    console_progress(r->s->con, bench_test_name(name, t), ((double)r->n_done + part) / (double)r->n_results);
}

static yl_status give(runner *r, bench_result *result, yl_error *err)
{
    r->n_done++;
    console_end_progress(r->s->con);
    return r->listener->on_result(r->listener->ctx, result, err);
}

/* The repetitions of one result. */
static yl_status repeat(runner *r, bench_streams *b, const bench_test *t, yl_error *err)
{
    bench_result result = new_result(r, t);
    bool has_limits = !r->o.n_join; /* those of this machine say nothing about others */
    yl_status status = has_limits ? read_limits(r, t, 0, err) : YL_OK;
    for (uint32_t rep = 0; rep < result.n_reps && !status; rep++) {
        double begin = now_ms();
        status = run_once(b, t, err);
        if (!status) note_time(r, t, rep, now_ms() - begin);
        if (!status && has_limits) status = read_limits(r, t, rep + 1, err);
    }
    if (!status) status = read_memory(r->s->e, &result, err);
    if (!status) summarize(r, &result);
    if (!status && has_limits) status = judge(r, &result, err);
    return status ? status : give(r, &result, err);
}

/* How many results a test has. */
static uint32_t n_results_of(const runner *r)
{
    return r->o.bench.n_reps / r->n_reps;
}

/* Waits until it is our turn; workers hear from us meanwhile. Sets is_over if it never will be. */
static yl_status await_turn(runner *r, yl_error *err)
{
    if (!r->listener->wait_for_turn) return YL_OK;
    for (;;) {
        if (interrupt_came()) return yl_fail(err, YL_ECANCELED, "interrupted");
        bench_turn turn = r->listener->wait_for_turn(r->listener->ctx, TURN_MS);
        if (turn == BENCH_TURN_NEVER) r->is_over = true;
        if (turn != BENCH_TURN_LATER) return YL_OK;
        yl_status status = r->s->e ? engine_poll(r->s->e, 0, err) : YL_OK;
        if (status) return status;
    }
}

static yl_status run_test(runner *r, bench_streams *b, const bench_test *t, yl_error *err)
{
    yl_status status = bench_streams_read(b, t->n_parallel, 0, t->n_depth, err);
    if (!status && r->o.bench.warm_up) status = warm_up(b, t, err);
    for (uint32_t i = 0; i < n_results_of(r) && !status; i++) {
        status = await_turn(r, err);
        if (r->is_over) break;
        if (!status) status = repeat(r, b, t, err);
    }
    return status;
}

/* ---- groups ---- */

static yl_status run_group(runner *r, const bench_test *tests, size_t n, uint32_t n_seq, uint32_t n_ctx, yl_error *err)
{
    bench_streams *b = NULL;
    yl_status status = open_engine(r, &tests[0].setup, n_seq, n_ctx, err);
    if (!status) status = bench_streams_new(&b, r->s->e, n_seq, n_ctx, err);
    for (size_t i = 0; i < n && !status && !r->is_over; i++) status = run_test(r, b, &tests[i], err);
    bench_streams_free(b);
    session_stop(r->s);
    return status;
}

/* Opens, reads a prompt, closes; the clock stops at the first token. */
static yl_status start_once(runner *r, const bench_test *t, double *ms, bench_result *result, yl_error *err)
{
    bench_streams *b = NULL;
    double begin = now_ms();
    yl_status status = open_engine(r, &t->setup, 1, t->n_tokens, err);
    if (!status) status = bench_streams_new(&b, r->s->e, 1, t->n_tokens, err);
    if (!status) status = bench_streams_read(b, 1, 0, t->n_tokens, err);
    *ms = now_ms() - begin;
    if (!status) status = read_memory(r->s->e, result, err);
    bench_streams_free(b);
    session_stop(r->s);
    return status;
}

static yl_status repeat_start(runner *r, const bench_test *t, yl_error *err)
{
    bench_result result = new_result(r, t);
    yl_status status = YL_OK;
    for (uint32_t rep = 0; rep < result.n_reps && !status; rep++) {
        double ms;
        status = start_once(r, t, &ms, &result, err);
        if (!status) note_time(r, t, rep, ms);
    }
    if (status) return status;
    summarize(r, &result);
    return give(r, &result, err);
}

static yl_status run_start(runner *r, const bench_test *t, yl_error *err)
{
    bench_result unused;
    double ms;
    yl_status status = r->o.bench.warm_up ? start_once(r, t, &ms, &unused, err) : YL_OK;
    for (uint32_t i = 0; i < n_results_of(r) && !status; i++) {
        status = await_turn(r, err);
        if (r->is_over) break;
        if (!status) status = repeat_start(r, t, err);
    }
    return status;
}

static yl_status run_all(runner *r, const bench_plan *p, yl_error *err)
{
    yl_status status = YL_OK;
    for (size_t begin = 0, end; begin < p->n && !status && !r->is_over; begin = end) {
        end = bench_plan_group_end(p, begin);
        uint32_t n_seq, n_ctx;
        bench_plan_needs(p, begin, end, &n_seq, &n_ctx);
        status = p->tests[begin].kind == BENCH_START ? run_start(r, &p->tests[begin], err)
                                                     : run_group(r, p->tests + begin, end - begin, n_seq, n_ctx, err);
    }
    return status;
}

yl_status bench_run(session *s, const bench_plan *p, const bench_listener *listener, yl_error *err)
{
    const options *given = s->o;
    uint32_t n_reps = listener->wait_for_turn ? 1 : given->bench.n_reps;
    runner r = {.s = s, .o = *given, .listener = listener, .n_reps = n_reps};
    r.n_results = p->n * n_results_of(&r);
    r.readings = calloc(n_reps + 1u, sizeof *r.readings);
    r.ms = calloc(n_reps, sizeof *r.ms);
    r.rates = calloc(n_reps, sizeof *r.rates);
    yl_status status = r.readings && r.ms && r.rates ? YL_OK : yl_fail(err, YL_ENOMEM, "no memory for %u repetitions", n_reps);
    if (!status) status = limit_probe_new(&r.probe, MACHINE_METER_ALL, err);
    if (!status) status = run_all(&r, p, err);
    limit_probe_free(r.probe);
    free(r.readings);
    free(r.ms);
    free(r.rates);
    s->o = given;
    return status;
}
