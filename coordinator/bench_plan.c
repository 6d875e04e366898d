/* bench_plan.c: lists are taken apart first, each value held against its range; then the product is written down.
 *
 * What needs another engine is in the outer loops, so that a model is opened as rarely as can be. */
#include "bench_plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The values of a flag. */
typedef struct value_list {
    uint32_t values[BENCH_MAX_VALUES];
    size_t n;
} value_list;

typedef struct value_lists {
    value_list n_prompt, n_gen, n_start, n_depth, n_parallel;
    value_list isa, n_threads, n_local, n_batch, n_ubatch, type_k, type_v; /* isa: places in isas */
    const char *isas[BENCH_MAX_VALUES];
} value_lists;

/* How one value is read. */
typedef struct value_rule {
    uint32_t min, max;                                         /* of a number */
    bool (*parse)(void *ctx, const char *text, uint32_t *out); /* NULL: it is a number */
    void *ctx;
    const char *wanted; /* "f16, f32 or q8_0" */
} value_rule;

static yl_status read_value(const char *flag, const char *text, const value_rule *rule, uint32_t *out, yl_error *err)
{
    if (rule->parse)
        return rule->parse(rule->ctx, text, out) ? YL_OK : yl_fail(err, YL_EINVAL, "%s: '%s' is not %s", flag, text, rule->wanted);
    int64_t value;
    if (!options_parse_integer(text, &value)) return yl_fail(err, YL_EINVAL, "%s: '%s' is not a whole number", flag, text);
    if (value < rule->min || value > rule->max)
        return yl_fail(err, YL_EINVAL, "%s: %s is not between %u and %u", flag, text, (unsigned)rule->min, (unsigned)rule->max);
    *out = (uint32_t)value;
    return YL_OK;
}

static yl_status read_list(value_list *list, const char *flag, const char *text, const value_rule *rule, yl_error *err)
{
    for (const char *at = text;; at++) {
        char value[32];
        size_t n = strcspn(at, ",");
        if (n == 0) return yl_fail(err, YL_EINVAL, "%s: '%s' has a place without a value", flag, text);
        if (n >= sizeof value) return yl_fail(err, YL_EINVAL, "%s: '%.*s' is too long a value", flag, (int)n, at);
        if (list->n == BENCH_MAX_VALUES) return yl_fail(err, YL_EINVAL, "%s: more than %d values", flag, BENCH_MAX_VALUES);
        snprintf(value, sizeof value, "%.*s", (int)n, at);
        yl_status status = read_value(flag, value, rule, &list->values[list->n], err);
        if (status) return status;
        list->n++;
        at += n;
        if (!*at) return YL_OK;
    }
}

static bool parse_kv_type(void *ctx, const char *text, uint32_t *out)
{
    (void)ctx;
    kv_type type;
    if (!kv_type_parse(text, &type)) return false;
    *out = type;
    return true;
}

/* Adds a name of kernels to the lists' isas. */
static bool parse_isa(void *ctx, const char *text, uint32_t *out)
{
    value_lists *l = ctx;
    const kernels *k = kernels_named(text);
    if (!k) return false;
    *out = (uint32_t)l->isa.n;
    l->isas[*out] = k->isa;
    return true;
}

static yl_status read_lists(value_lists *l, const bench_options *b, yl_error *err)
{
    const value_rule tokens = {0, BENCH_MAX_TOKENS}, rows = {1, 1 << 24},
                     kv = {.parse = parse_kv_type, .wanted = "f16, f32 or q8_0"},
                     isa = {.parse = parse_isa, .ctx = l, .wanted = "an instruction set that this machine can run"};
    const struct {
        value_list *list;
        const char *flag, *text;
        value_rule rule;
    } reads[] = {
        {&l->n_prompt, "-p", b->n_prompt, tokens},
        {&l->n_gen, "-n", b->n_gen, tokens},
        {&l->n_start, "--start", b->n_start, tokens},
        {&l->n_depth, "-d", b->n_depth, tokens},
        {&l->n_parallel, "-np", b->n_parallel, {1, 4096}},
        {&l->n_batch, "-b", b->n_batch, rows},
        {&l->n_ubatch, "-ub", b->n_ubatch, {1, 2048}},
        {&l->n_threads, "-t", b->n_threads, {0, 256}},
        {&l->n_local, "--local", b->n_local, {1, 256}},
        {&l->type_k, "-ctk", b->type_k, kv},
        {&l->type_v, "-ctv", b->type_v, kv},
        {&l->isa, "--isa", b->isa ? b->isa : kernels_best()->isa, isa},
    };
    for (size_t i = 0; i < sizeof reads / sizeof *reads; i++) {
        yl_status status = read_list(reads[i].list, reads[i].flag, reads[i].text, &reads[i].rule, err);
        if (status) return status;
    }
    return YL_OK;
}

/* ---- the product ---- */

static uint32_t threads_of(uint32_t asked, uint32_t n_local)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (asked > 0) return asked;
    return cores > (long)n_local ? (uint32_t)cores / n_local : 1;
}

static void add(bench_plan *p, const bench_setup *setup, bench_kind kind, uint32_t n_tokens, uint32_t n_depth, uint32_t n_parallel)
{
    if (n_tokens > 0) p->tests[p->n++] = (bench_test){*setup, kind, n_tokens, n_depth, n_parallel};
}

/* The tests of one setup. */
static void add_tests(bench_plan *p, const value_lists *l, const bench_setup *setup)
{
    for (size_t d = 0; d < l->n_depth.n; d++)
        for (size_t s = 0; s < l->n_parallel.n; s++) {
            uint32_t n_depth = l->n_depth.values[d], n_parallel = l->n_parallel.values[s];
            for (size_t i = 0; i < l->n_prompt.n; i++) add(p, setup, BENCH_PROMPT, l->n_prompt.values[i], n_depth, n_parallel);
            for (size_t i = 0; i < l->n_gen.n; i++) add(p, setup, BENCH_GENERATE, l->n_gen.values[i], n_depth, n_parallel);
        }
    for (size_t i = 0; i < l->n_start.n; i++) add(p, setup, BENCH_START, l->n_start.values[i], 0, 1);
}

/* Setup number i of all combinations: each list's place is a digit. */
static bench_setup setup_at(const value_lists *l, size_t i)
{
    const value_list *lists[] = {&l->type_v, &l->type_k, &l->n_ubatch, &l->n_batch, &l->n_local, &l->n_threads, &l->isa};
    uint32_t v[7];
    for (size_t k = 0; k < 7; k++) {
        v[k] = lists[k]->values[i % lists[k]->n];
        i /= lists[k]->n;
    }
    return (bench_setup){.isa = l->isas[v[6]],
                         .n_threads = threads_of(v[5], v[4]),
                         .n_local = v[4],
                         .n_batch = v[3],
                         .n_ubatch = v[2],
                         .type_k = (kv_type)v[1],
                         .type_v = (kv_type)v[0]};
}

/* Workers of other machines come as they are: with threads and kernels of their own, which we do not choose. */
static void leave_to_workers(value_lists *l, uint32_t n_join)
{
    l->n_local = (value_list){.values = {n_join}, .n = 1};
    l->n_threads.n = l->isa.n = 1;
}

static void mark_joined(bench_plan *p)
{
    for (size_t i = 0; i < p->n; i++) {
        p->tests[i].setup.isa = "joined";
        p->tests[i].setup.n_threads = 0;
    }
}

yl_status bench_plan_make(bench_plan *p, const options *o, yl_error *err)
{
    *p = (bench_plan){0};
    value_lists l = {0};
    yl_status status = read_lists(&l, &o->bench, err);
    if (status) return status;
    if (o->n_join) leave_to_workers(&l, o->n_join);
    size_t n_setups = l.isa.n * l.n_threads.n * l.n_local.n * l.n_batch.n * l.n_ubatch.n * l.type_k.n * l.type_v.n; /* <= 2^42 */
    size_t n_a_setup = l.n_depth.n * l.n_parallel.n * (l.n_prompt.n + l.n_gen.n) + l.n_start.n;
    if (n_setups > BENCH_MAX_TESTS || n_setups * n_a_setup > BENCH_MAX_TESTS)
        return yl_fail(err, YL_ELIMIT, "these lists make more than %d tests: give fewer values", BENCH_MAX_TESTS);
    p->tests = calloc(n_setups * n_a_setup, sizeof *p->tests);
    if (!p->tests) return yl_fail(err, YL_ENOMEM, "no memory for a plan of %zu tests", n_setups * n_a_setup);
    for (size_t i = 0; i < n_setups; i++) {
        bench_setup setup = setup_at(&l, i);
        add_tests(p, &l, &setup);
    }
    if (p->n == 0) return yl_fail(err, YL_EINVAL, "nothing to measure: -p, -n and --start are all 0");
    if (o->n_join) mark_joined(p);
    return YL_OK;
}

void bench_plan_clear(bench_plan *p)
{
    free(p->tests);
    *p = (bench_plan){0};
}

/* ---- what it asks of engines ---- */

static bool is_same_setup(const bench_setup *a, const bench_setup *b)
{
    return strcmp(a->isa, b->isa) == 0 && a->n_threads == b->n_threads && a->n_local == b->n_local && a->n_batch == b->n_batch &&
           a->n_ubatch == b->n_ubatch && a->type_k == b->type_k && a->type_v == b->type_v;
}

size_t bench_plan_group_end(const bench_plan *p, size_t begin)
{
    size_t end = begin + 1;
    if (p->tests[begin].kind == BENCH_START) return end; /* it opens its own */
    while (end < p->n && p->tests[end].kind != BENCH_START && is_same_setup(&p->tests[end].setup, &p->tests[begin].setup)) end++;
    return end;
}

void bench_plan_needs(const bench_plan *p, size_t begin, size_t end, uint32_t *n_seq, uint32_t *n_ctx)
{
    *n_seq = *n_ctx = 1;
    for (const bench_test *t = p->tests + begin; t < p->tests + end; t++) {
        if (t->n_parallel > *n_seq) *n_seq = t->n_parallel;
        if (t->n_depth + t->n_tokens > *n_ctx) *n_ctx = t->n_depth + t->n_tokens;
    }
}

char *bench_test_name(char *buf, const bench_test *t)
{
    static const char *const kinds[] = {[BENCH_PROMPT] = "pp", [BENCH_GENERATE] = "tg", [BENCH_START] = "start"};
    int n = snprintf(buf, BENCH_NAME_BYTES, "%s%u", kinds[t->kind], (unsigned)t->n_tokens);
    if (t->n_parallel > 1) n += snprintf(buf + n, BENCH_NAME_BYTES - (size_t)n, " x %u", (unsigned)t->n_parallel);
    if (t->n_depth > 0) snprintf(buf + n, BENCH_NAME_BYTES - (size_t)n, " @ d%u", (unsigned)t->n_depth);
    return buf;
}
