/* bench_ops.c: what the kernels beside the matmul cost: each table that this machine can run, against scalar in the same run.
 *
 * Tables take turns, round by round, because other programs share the machine; figures are medians, the spread is that of the
 * middle half. Vectors are those of an 8B model and stay in the cache; attention reads the context of one layer, 8 KV heads of 128
 * elements, where the bytes of keys and values count, for one row (decode) and for twelve that follow each other (prefill).
 * Usage: bench_ops [positions] [rounds] [text: only cases whose name has it] */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attention.h"
#include "kernels.h"

enum { N_EMBD = 4096, N_FF = 14336, N_VOCAB = 128256, N_HEAD = 32, N_HEAD_KV = 8, HEAD = 128, N_ROWS = 12, MAX_ROUNDS = 101 };

static const char *const isas[] = {"scalar", "avx2", "avx512", "neon", "dotprod", "wasm"};
enum { N_ISAS = sizeof isas / sizeof isas[0] };

/* What all cases work on. */
typedef struct rig {
    float *x, *y, *z;      /* [N_VOCAB] each */
    float *out, *scores;   /* [N_ROWS, N_HEAD, HEAD]; scratch of attention */
    int8_t *q;             /* [N_VOCAB] */
    uint8_t *cache;        /* f32 pages of all KV heads, or f16 in half of it */
    const uint8_t **pages; /* [n_pages] */
    size_t n_pos, n_pages;
} rig;

static void *must(void *p)
{
    if (p) return p;
    fprintf(stderr, "bench_ops: no memory\n");
    exit(1);
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void fill(float *x, size_t n)
{
    static uint32_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)state * 0x1p-31f;
    }
}

/* A page as a worker has it: keys and values of each head one after the other. */
static kv_head head_of(const rig *r, size_t head, kv_type type)
{
    size_t bytes = (size_t)kv_run_bytes(type, HEAD);
    return (kv_head){r->pages, head * 2 * bytes, head * 2 * bytes + bytes, type, type};
}

static void run_quantize(const kernels *k, rig *r)
{
    k->quantize(r->q, r->y, r->x, N_EMBD, 32);
}

static void run_quantize_256(const kernels *k, rig *r)
{
    k->quantize(r->q, r->y, r->x, N_EMBD, 256);
}

static void run_rmsnorm(const kernels *k, rig *r)
{
    k->rmsnorm(r->y, r->x, r->z, N_EMBD, 1e-5f);
}

static void run_rope(const kernels *k, rig *r)
{
    k->rope(r->x, r->z, N_HEAD, HEAD, HEAD);
}

static void run_swiglu(const kernels *k, rig *r)
{
    k->swiglu(r->x, r->z, N_FF);
}

static void run_add(const kernels *k, rig *r)
{
    k->add(r->x, r->z, N_EMBD);
}

static void run_max_sum_exp(const kernels *k, rig *r)
{
    k->max_sum_exp(r->x, N_VOCAB, r->y, r->y + 1);
}

/* The last position again and again. */
static void store(const kernels *k, rig *r, kv_type type)
{
    uint8_t *page = r->cache + ((const uint8_t *)r->pages[r->n_pages - 1] - r->cache);
    for (size_t h = 0; h < N_HEAD_KV; h++) {
        kv_head head = head_of(r, h, type);
        k->kv_store(page, &head, (r->n_pos - 1) % KV_PAGE_POSITIONS, r->x + h * HEAD, r->z + h * HEAD, HEAD);
    }
}

static void run_kv_store(const kernels *k, rig *r)
{
    store(k, r, KV_F16);
}

static void run_kv_store_q8_0(const kernels *k, rig *r)
{
    store(k, r, KV_Q8_0);
}

/* The last rows of a context, at all KV heads, which n_head query heads share each. */
static void attend(const kernels *k, rig *r, size_t n_head, size_t n_rows, kv_type type)
{
    for (size_t h = 0; h < N_HEAD_KV; h++) {
        attention a = {.kv = head_of(r, h, type),
                       .n_query = n_rows * n_head,
                       .n_head = n_head,
                       .n_pos = r->n_pos - n_rows + 1,
                       .n_embd_head = HEAD,
                       .out = r->out,
                       .out_stride = n_head * HEAD};
        attention_use_scratch(&a, r->scores);
        attention_pack_queries(&a, r->x + h * n_head * n_rows * HEAD, n_head * HEAD, 0.08838834764831845f);
        k->attention_scores(&a, 0, r->n_pages);
        k->attention_softmax(&a, 0, a.n_query);
        k->attention_values(&a, 0, HEAD);
    }
}

static void run_attention_4(const kernels *k, rig *r)
{
    attend(k, r, 4, 1, KV_F16);
}

static void run_attention_1(const kernels *k, rig *r)
{
    attend(k, r, 1, 1, KV_F16);
}

static void run_attention_8(const kernels *k, rig *r)
{
    attend(k, r, 8, 1, KV_F16);
}

static void run_attention_f32(const kernels *k, rig *r)
{
    attend(k, r, 4, 1, KV_F32);
}

static void run_attention_q8_0(const kernels *k, rig *r)
{
    attend(k, r, 4, 1, KV_Q8_0);
}

static void run_prefill_f16(const kernels *k, rig *r)
{
    attend(k, r, 4, N_ROWS, KV_F16);
}
/* The step between scores and values alone: on exponentials of before, but as many. */
static void run_softmax(const kernels *k, rig *r)
{
    attention a = {.n_query = 4, .n_head = 4, .n_pos = r->n_pos, .n_embd_head = HEAD};
    attention_use_scratch(&a, r->scores);
    k->attention_softmax(&a, 0, a.n_query);
}

static void run_prefill_f32(const kernels *k, rig *r)
{
    attend(k, r, 4, N_ROWS, KV_F32);
}

static void run_prefill_q8_0(const kernels *k, rig *r)
{
    attend(k, r, 4, N_ROWS, KV_Q8_0);
}

/* n_elems: what "an element" is, 0: elements of the cache, 2 * HEAD a position and KV head. */
static const struct bench_case {
    const char *name;
    void (*run)(const kernels *, rig *);
    size_t n_elems;
    double elem_bytes; /* read from the cache an element */
    int n_query;       /* multiplications an element of the cache */
    int n_calls;       /* a measurement */
} cases[] = {
    {"quantize, 32", run_quantize, N_EMBD, 0, 0, 100},
    {"quantize, 256", run_quantize_256, N_EMBD, 0, 0, 100},
    {"rmsnorm", run_rmsnorm, N_EMBD, 0, 0, 100},
    {"rope", run_rope, N_HEAD *HEAD, 0, 0, 100},
    {"swiglu", run_swiglu, N_FF, 0, 0, 20},
    {"add", run_add, N_EMBD, 0, 0, 100},
    {"max_sum_exp", run_max_sum_exp, N_VOCAB, 0, 0, 2},
    {"kv_store, f16", run_kv_store, N_HEAD_KV * 2 * HEAD, 0, 0, 100},
    {"kv_store, q8_0", run_kv_store_q8_0, N_HEAD_KV * 2 * HEAD, 0, 0, 100},
    {"attention, softmax", run_softmax, 1, 0, 0, 1},
    {"attention, 1 head, f16", run_attention_1, 0, 2, 1, 1},
    {"attention, 4 heads, f16", run_attention_4, 0, 2, 4, 1},
    {"attention, 8 heads, f16", run_attention_8, 0, 2, 8, 1},
    {"attention, 4 heads, f32", run_attention_f32, 0, 4, 4, 1},
    {"attention, 4 heads, q8_0", run_attention_q8_0, 0, 1.0625, 4, 1},
    {"attention, 12 x 4, f16", run_prefill_f16, 0, 2, 4 * N_ROWS, 1},
    {"attention, 12 x 4, f32", run_prefill_f32, 0, 4, 4 * N_ROWS, 1},
    {"attention, 12 x 4, q8_0", run_prefill_q8_0, 0, 1.0625, 4 * N_ROWS, 1},
};

static rig rig_new(size_t n_pos)
{
    size_t page_bytes = (size_t)KV_PAGE_POSITIONS * HEAD * N_HEAD_KV * 2 * sizeof(float);
    rig r = {.n_pos = n_pos, .n_pages = (n_pos + KV_PAGE_POSITIONS - 1) / KV_PAGE_POSITIONS};
    r.x = must(malloc(N_VOCAB * sizeof *r.x));
    r.y = must(malloc(N_VOCAB * sizeof *r.y));
    r.z = must(malloc(N_VOCAB * sizeof *r.z));
    r.out = must(malloc(N_ROWS * N_HEAD * HEAD * sizeof *r.out));
    r.scores = must(aligned_alloc(64, (size_t)attention_scratch_floats(N_ROWS * 8, n_pos, HEAD) * sizeof *r.scores));
    r.q = must(malloc(N_VOCAB));
    r.cache = must(aligned_alloc(4096, r.n_pages * page_bytes));
    r.pages = must(malloc(r.n_pages * sizeof *r.pages));
    memset(r.cache, 0, r.n_pages * page_bytes);
    for (size_t p = 0; p < r.n_pages; p++) r.pages[p] = r.cache + p * page_bytes;
    return r;
}

static void rig_clear(rig *r)
{
    free(r->x);
    free(r->y);
    free(r->z);
    free(r->out);
    free(r->scores);
    free(r->q);
    free(r->cache);
    free(r->pages);
}

/* ns an element. Data are new each time: operations in place let them grow or shrink, and subnormals are slow. */
static double measure(const struct bench_case *c, const kernels *k, rig *r)
{
    size_t n_elems = c->n_elems ? c->n_elems : r->n_pos * N_HEAD_KV * 2 * HEAD;
    if (c->run == run_softmax) n_elems = r->n_pos * 4;
    fill(r->x, N_VOCAB);
    fill(r->z, N_VOCAB);
    for (size_t i = 0; i < N_VOCAB; i++) r->z[i] = 1 + r->z[i] / 2;
    c->run(k, r);
    double begin = now_ns();
    for (int i = 0; i < c->n_calls; i++) c->run(k, r);
    return (now_ns() - begin) / c->n_calls / (double)n_elems;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const struct bench_case *c, const char *isa, const double *ns, int n, double scalar)
{
    double median = ns[n / 2], spread = 100 * (ns[n * 3 / 4] - ns[n / 4]) / median / 2;
    double gb_s = c->elem_bytes / median, gmac_s = c->n_query / median;
    char rate[64] = "";
    if (c->n_query) snprintf(rate, sizeof rate, "%.1f GB/s, %.1f GMAC/s", gb_s, gmac_s);
    printf("%-25s %-7s %8.3f ns an element  %24s  %6.2fx scalar  +-%.1f%%\n", c->name, isa, median, rate, scalar / median, spread);
    printf("{\"bench\":\"ops\",\"op\":\"%s\",\"isa\":\"%s\",\"ns\":%.4f,\"gb_s\":%.2f,\"gmac_s\":%.1f,\"vs_scalar\":%.3f,"
           "\"spread\":%.1f}\n",
           c->name, isa, median, gb_s, gmac_s, scalar / median, spread);
}

static void compare_tables(const struct bench_case *c, rig *r, int n_rounds)
{
    static double ns[N_ISAS][MAX_ROUNDS];
    for (int round = 0; round < n_rounds; round++) {
        for (size_t i = 0; i < N_ISAS; i++) {
            const kernels *k = kernels_named(isas[i]);
            if (k) ns[i][round] = measure(c, k, r);
        }
    }
    for (size_t i = 0; i < N_ISAS; i++) {
        if (!kernels_named(isas[i])) continue;
        qsort(ns[i], (size_t)n_rounds, sizeof ns[i][0], by_value);
        report(c, isas[i], ns[i], n_rounds, ns[0][n_rounds / 2]);
    }
}

int main(int argc, char **argv)
{
    long n_pos = argc > 1 ? atol(argv[1]) : 4096;
    int n_rounds = argc > 2 ? atoi(argv[2]) : 11;
    if (n_pos < N_ROWS || n_pos > 1 << 20 || n_rounds < 1 || n_rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: bench_ops [positions, 12 to 1048576] [rounds, at most %d] [part of a case's name]\n",
                (int)MAX_ROUNDS);
        return 2;
    }
    rig r = rig_new((size_t)n_pos);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (argc <= 3 || strstr(cases[i].name, argv[3])) compare_tables(&cases[i], &r, n_rounds);
    }
    rig_clear(&r);
    return 0;
}
