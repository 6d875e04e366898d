/* bench_plan.h: which tests a command line of `yllama bench` asks for: every combination of the values of its lists. */
#ifndef YL_BENCH_PLAN_H
#define YL_BENCH_PLAN_H

#include "options.h"

typedef enum bench_kind {
    BENCH_PROMPT,   /* n tokens at once: prefill */
    BENCH_GENERATE, /* n tokens, each after the last: decode */
    BENCH_START     /* from nothing: workers started, the model opened, a prompt of n tokens read, the first token there */
} bench_kind;

/* What an engine is opened with. Tests that differ in nothing of it share one. */
typedef struct bench_setup {
    const char *isa;    /* that of a table which this machine can run; "joined": workers of other machines have their own */
    uint32_t n_threads; /* of each worker, at least 1; 0: likewise */
    uint32_t n_local;   /* workers */
    uint32_t n_batch, n_ubatch;
    kv_type type_k, type_v;
} bench_setup;

typedef struct bench_test {
    bench_setup setup;
    bench_kind kind;
    uint32_t n_tokens;   /* of each sequence */
    uint32_t n_depth;    /* tokens in the context before, of each sequence */
    uint32_t n_parallel; /* sequences, at least 1 */
} bench_test;

typedef struct bench_plan {
    bench_test *tests; /* those that share a setup follow each other */
    size_t n;
} bench_plan;

enum { BENCH_MAX_VALUES = 64, BENCH_MAX_TESTS = 4096, BENCH_MAX_TOKENS = 1 << 20, BENCH_NAME_BYTES = 64 };

/* Release with bench_plan_clear, also after an error. YL_EINVAL names the flag and the value that is none, or says that nothing is
 * left to measure; YL_ELIMIT: more than BENCH_MAX_TESTS combinations; YL_ENOMEM. */
yl_status bench_plan_make(bench_plan *p, const options *o, yl_error *err);
void bench_plan_clear(bench_plan *p);

/* The end of the tests from `begin` on that can be run on one engine. */
size_t bench_plan_group_end(const bench_plan *p, size_t begin);
/* Sequences, and positions of each, that an engine for tests [begin, end) needs. */
void bench_plan_needs(const bench_plan *p, size_t begin, size_t end, uint32_t *n_seq, uint32_t *n_ctx);

/* As llama-bench writes it: "pp512", "tg128 @ d4096"; eight sequences: "tg128 x 8". Returns buf, of BENCH_NAME_BYTES. */
char *bench_test_name(char *buf, const bench_test *t);

#endif
