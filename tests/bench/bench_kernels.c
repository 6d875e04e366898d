/* bench_kernels.c: how fast each table multiplies weights of each format, for one activation row and for many.
 *
 * One row reads every weight once: its figure is GB/s, beside what this thread reads from the same kind of memory without
 * computing. Many rows compute: their figure is multiply-adds a second, beside the scalar table's of the same run. Other programs
 * share the machine, so each figure is the best of several tries, and tries of what is compared alternate. Tables that want tiles
 * are measured with weights in rows too. Usage: bench_kernels [format or "all"] [isa or "all"] [seconds a figure] [rows of
 * activations]. A table for people, then a line of JSON a figure. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <time.h>

#include "kernels.h"
#include "panel.h"
#include "tile.h"

static const quant_type all_types[] = {QUANT_Q8_0, QUANT_Q4_0, QUANT_Q4_K, QUANT_Q5_K,   QUANT_Q6_K,
                                       QUANT_F16,  QUANT_F32,  QUANT_BF16, QUANT_Q4_1,   QUANT_Q5_0,
                                       QUANT_Q5_1, QUANT_Q2_K, QUANT_Q3_K, QUANT_IQ4_NL, QUANT_IQ4_XS};
static const char *const all_isas[] = {"scalar", "avx2", "avx512", "neon", "dotprod"};
enum { N_TYPES = sizeof all_types / sizeof all_types[0], N_ISAS = sizeof all_isas / sizeof all_isas[0] };
enum {
    N_COLS = 4096,
    MAX_ROWS = 28672, /* at least 38 MB of weights for few rows of activations: beyond most caches */
    MANY_ROWS = 512,
    MANY_MAX = 512,
    FEW = 16
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Zeroed memory in huge pages, where the system has them. */
static void *new_memory(size_t n_bytes)
{
    const size_t huge = 2u << 20;
    n_bytes = (n_bytes + huge - 1) / huge * huge;
    void *p = aligned_alloc(huge, n_bytes);
    if (!p) {
        fprintf(stderr, "bench_kernels: no memory for %zu bytes\n", n_bytes);
        exit(1);
    }
    madvise(p, n_bytes, MADV_HUGEPAGE);
    return memset(p, 0, n_bytes);
}

/* Weights that are numbers: random bits, except that no f16, bf16 or f32 among them is huge, nor, where they are the weights
 * themselves, so small that processors take more time for it. */
static void fill_weights(uint8_t *data, size_t n_bytes, quant_type type)
{
    const uint64_t ones = quant_traits_of(type)->act_block == 0 ? 0x3000300030003000 : 0;
    uint64_t state = 1;
    for (size_t i = 0; i + 8 <= n_bytes; i += 8) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t bits = ((state ^ state >> 32) & 0x3fff3fff3fff3fff) | ones;
        memcpy(data + i, &bits, sizeof bits);
    }
}

_Static_assert(MANY_MAX *MANY_ROWS <= FEW * MAX_ROWS, "room for results");

typedef struct bench {
    matrix w; /* both layouts lie in the same memory: their content does not matter */
    activations x;
    float *y;
} bench;

/* n_x rows of activations for weights of this type. */
static void fill_activations(activations *a, quant_type type, uint32_t n_x)
{
    a->n_rows = n_x;
    a->n_cols = N_COLS;
    a->block = quant_traits_of(type)->act_block;
    for (size_t i = 0; i < (size_t)n_x * N_COLS; i++)
        ((float *)(uintptr_t)a->x)[i] = (float)(i * 2654435761u % 65536) / 32768.0f - 1;
    if (a->block) kernels_named("scalar")->quantize(a->q, a->d, a->x, (size_t)n_x * N_COLS, a->block);
    activations_pack(a, 0, n_x);
}

static double run_once(const kernels *k, const bench *b)
{
    double begin = now();
    k->matmul(b->y, b->w.n_rows, &b->w, &b->x, 0, b->w.n_rows);
    return now() - begin;
}

/* Seconds that reading these bytes takes this thread, when each line is asked for `ahead` bytes before. */
static double read_once(const uint8_t *data, size_t n_bytes, size_t ahead)
{
    typedef uint64_t lanes __attribute__((vector_size(16)));
    const lanes *p = (const lanes *)(const void *)data;
    lanes sum[4] = {{0}};
    double begin = now();
    for (size_t i = 0; i + 4 <= n_bytes / sizeof(lanes); i += 4) {
        __builtin_prefetch((const char *)(p + i) + ahead, 0, 2);
        for (int j = 0; j < 4; j++) sum[j] += p[i + (size_t)j];
    }
    sum[0] += sum[1] + sum[2] + sum[3];
    uint64_t all = sum[0][0] + sum[0][1];
    __asm__ volatile("" : : "r"(all)); /* so that it is computed */
    return now() - begin;
}

typedef struct figures {
    double one_s, read_s, many_s; /* best of all tries */
    size_t n_bytes;
} figures;

static double smaller(double a, double b)
{
    return a < b ? a : b;
}

static double fastest_read(const uint8_t *data, size_t n_bytes)
{
    double best = read_once(data, n_bytes, 512);
    for (size_t ahead = 1024; ahead <= 4096; ahead *= 2) best = smaller(best, read_once(data, n_bytes, ahead));
    return best;
}

/* Fewer rows for the scalar table: it is not bound by memory, and takes its time. */
static void set_weights(bench *b, quant_type type, matrix_layout layout, uint32_t n_rows)
{
    uint64_t row_bytes;
    quant_row_bytes(type, N_COLS, &row_bytes);
    b->w = (matrix){type, n_rows, N_COLS, (size_t)row_bytes, b->w.data, layout};
}

/* Rows of weights for many rows of activations: few of those still wait for memory. */
static uint32_t rows_for(uint32_t many)
{
    return many <= FEW ? MAX_ROWS : MANY_ROWS;
}

static figures measure(const kernels *k, quant_type type, matrix_layout layout, bench *b, uint32_t many, double seconds)
{
    figures f = {1e9, 1e9, 1e9, 0};
    const uint32_t share = k->wants_tiles ? 1 : 16;
    set_weights(b, type, layout, MAX_ROWS / share);
    f.n_bytes = b->w.n_rows * b->w.row_bytes;
    fill_activations(&b->x, type, 1);
    for (double end = now() + seconds; now() < end;) {
        f.read_s = smaller(f.read_s, fastest_read(b->w.data, f.n_bytes));
        f.one_s = smaller(f.one_s, run_once(k, b));
    }
    fill_activations(&b->x, type, many);
    set_weights(b, type, layout, rows_for(many) / share);
    for (double end = now() + seconds; now() < end;) f.many_s = smaller(f.many_s, run_once(k, b));
    f.many_s *= share;
    return f;
}

static void report(const char *isa, quant_type type, matrix_layout layout, uint32_t many, const figures *f, const figures *scalar)
{
    const char *name = quant_traits_of(type)->name, *lies = layout == MATRIX_TILES ? "tiles" : "rows";
    double gb_s = (double)f->n_bytes / f->one_s / 1e9, read = (double)f->n_bytes / f->read_s / 1e9;
    double gmac_s = (double)many * rows_for(many) * N_COLS / f->many_s / 1e9, ratio = scalar->many_s / f->many_s;
    double one_ratio = gb_s / ((double)scalar->n_bytes / scalar->one_s / 1e9);
    printf(
        "%-7s %-7s %-5s  1 row: %6.2f GB/s, %3.0f%% of reading (%5.2f), %6.1f x scalar   %u rows: %6.2f GMAC/s, %6.1f x scalar\n",
        name, isa, lies, gb_s, 100 * gb_s / read, read, one_ratio, many, gmac_s, ratio);
    fprintf(stderr,
            "{\"bench\":\"matmul\",\"type\":\"%s\",\"isa\":\"%s\",\"layout\":\"%s\",\"cols\":%d,\"gb_s_1\":%.3f,\"read_gb_s\":%.3f,"
            "\"vs_scalar_1\":%.2f,\"rows\":%u,\"gmac_s\":%.3f,\"vs_scalar\":%.2f}\n",
            name, isa, lies, N_COLS, gb_s, read, one_ratio, many, gmac_s, ratio);
    fflush(stdout);
}

static bool is_wanted(const char *only, const char *name)
{
    return strcasecmp(only, "all") == 0 || strcasecmp(only, name) == 0;
}

int main(int argc, char **argv)
{
    const char *only_type = argc > 1 ? argv[1] : "all", *only_isa = argc > 2 ? argv[2] : "all";
    double seconds = argc > 3 ? atof(argv[3]) : 0.5;
    long rows = argc > 4 ? atol(argv[4]) : 64;
    uint32_t many = rows < 1 ? 1 : rows > MANY_MAX ? MANY_MAX : (uint32_t)rows;
    size_t most = (size_t)MAX_ROWS * N_COLS * sizeof(float);
    uint8_t *weights = new_memory(most);
    bench b = {.w.data = weights, .y = new_memory((size_t)MAX_ROWS * FEW * sizeof(float))};
    b.x.x = new_memory((size_t)MANY_MAX * N_COLS * sizeof(float));
    b.x.q = new_memory((size_t)MANY_MAX * N_COLS);
    b.x.d = new_memory((size_t)MANY_MAX * N_COLS / 32 * sizeof(float));
    b.x.panels = new_memory((size_t)MANY_MAX * N_COLS * sizeof(float));
    for (size_t t = 0; t < N_TYPES; t++) {
        if (!is_wanted(only_type, quant_traits_of(all_types[t])->name)) continue;
        fill_weights(weights, most, all_types[t]);
        figures scalar = measure(kernels_named("scalar"), all_types[t], MATRIX_ROWS, &b, many, seconds / 4);
        report("scalar", all_types[t], MATRIX_ROWS, many, &scalar, &scalar);
        for (size_t i = 0; i < N_ISAS; i++) {
            const kernels *k = kernels_named(all_isas[i]);
            if (!k || !is_wanted(only_isa, all_isas[i])) continue;
            for (matrix_layout layout = MATRIX_TILES + 1; layout-- > MATRIX_ROWS;) {
                figures f = measure(k, all_types[t], layout, &b, many, seconds);
                report(k->isa, all_types[t], layout, many, &f, &scalar);
            }
        }
    }
    return 0;
}
