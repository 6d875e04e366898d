/* bench_kernels.c: how fast each table multiplies weights of each format, for one activation row and for many.
 *
 * One row reads every weight once: its figure is GB/s, beside what this thread reads from the same kind of memory without
 * computing. Many rows compute: their figure is multiply-adds a second, beside the scalar table's of the same run. Other programs
 * share the machine, so each figure is the best of several tries, and tries of what is compared alternate. Usage: bench_kernels
 * [format or "all"] [isa or "all"] [seconds a figure]. A table for people, then a line of JSON a figure. */
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
enum { N_COLS = 4096, MAX_ROWS = 28672, MANY = 64, MANY_ROWS = 512 }; /* at least 63 MiB of weights for one row: beyond any cache */

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

/* Weights that are numbers: random bits, except that no f16, bf16 or f32 among them is huge. */
static void fill_weights(uint8_t *data, size_t n_bytes)
{
    uint64_t state = 1;
    for (size_t i = 0; i + 8 <= n_bytes; i += 8) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t bits = (state ^ state >> 32) & 0x3fff3fff3fff3fff;
        memcpy(data + i, &bits, sizeof bits);
    }
}

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

/* Seconds that reading these bytes takes this thread. */
static double read_once(const uint8_t *data, size_t n_bytes)
{
    typedef uint64_t lanes __attribute__((vector_size(32)));
    const lanes *p = (const lanes *)(const void *)data;
    lanes sum[4] = {{0}};
    double begin = now();
    for (size_t i = 0; i + 4 <= n_bytes / sizeof(lanes); i += 4) {
        __builtin_prefetch((const char *)(p + i) + 4096);
        __builtin_prefetch((const char *)(p + i) + 4096 + 64);
        for (int j = 0; j < 4; j++) sum[j] += p[i + (size_t)j];
    }
    sum[0] += sum[1] + sum[2] + sum[3];
    uint64_t all = sum[0][0] + sum[0][1] + sum[0][2] + sum[0][3];
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

static figures measure(const kernels *k, quant_type type, bench *b, double seconds)
{
    figures f = {1e9, 1e9, 1e9, 0};
    uint64_t row_bytes, n_bytes = 0;
    quant_row_bytes(type, N_COLS, &row_bytes);
    b->w.type = type;
    b->w.n_cols = N_COLS;
    b->w.row_bytes = (size_t)row_bytes;
    b->w.layout = k->wants_tiles ? MATRIX_TILES : MATRIX_ROWS;
    b->w.n_rows = k->wants_tiles ? MAX_ROWS : MAX_ROWS / 16; /* scalar: it is not bound by memory, and takes its time */
    if (b->w.layout == MATRIX_TILES)
        tile_matrix_bytes(type, b->w.n_rows, N_COLS, &n_bytes);
    else
        n_bytes = b->w.n_rows * row_bytes;
    f.n_bytes = (size_t)n_bytes;
    fill_activations(&b->x, type, 1);
    for (double end = now() + seconds; now() < end;) {
        f.read_s = smaller(f.read_s, read_once(b->w.data, f.n_bytes));
        f.one_s = smaller(f.one_s, run_once(k, b));
    }
    fill_activations(&b->x, type, MANY);
    b->w.n_rows = k->wants_tiles ? MANY_ROWS : MANY_ROWS / 16;
    for (double end = now() + seconds; now() < end;) f.many_s = smaller(f.many_s, run_once(k, b));
    f.many_s *= (double)MANY_ROWS / b->w.n_rows;
    return f;
}

static void report(const kernels *k, quant_type type, const figures *f, const figures *scalar)
{
    const char *name = quant_traits_of(type)->name;
    double gb_s = (double)f->n_bytes / f->one_s / 1e9, read = (double)f->n_bytes / f->read_s / 1e9;
    double gmac_s = (double)MANY * MANY_ROWS * N_COLS / f->many_s / 1e9, ratio = scalar->many_s / f->many_s;
    double one_ratio = gb_s / ((double)scalar->n_bytes / scalar->one_s / 1e9);
    printf("%-7s %-7s  1 row: %6.2f GB/s, %3.0f%% of reading (%5.2f), %6.1f x scalar   %d rows: %6.2f GMAC/s, %6.1f x scalar\n",
           name, k->isa, gb_s, 100 * gb_s / read, read, one_ratio, MANY, gmac_s, ratio);
    fprintf(
        stderr,
        "{\"bench\":\"matmul\",\"type\":\"%s\",\"isa\":\"%s\",\"cols\":%d,\"gb_s_1\":%.3f,\"read_gb_s\":%.3f,\"vs_scalar_1\":%.2f,"
        "\"rows\":%d,\"gmac_s\":%.3f,\"vs_scalar\":%.2f}\n",
        name, k->isa, N_COLS, gb_s, read, one_ratio, MANY, gmac_s, ratio);
}

int main(int argc, char **argv)
{
    const char *only_type = argc > 1 ? argv[1] : "all", *only_isa = argc > 2 ? argv[2] : "all";
    double seconds = argc > 3 ? atof(argv[3]) : 0.5;
    size_t most = (size_t)MAX_ROWS * N_COLS * sizeof(float);
    uint8_t *weights = new_memory(most);
    fill_weights(weights, most);
    bench b = {.w.data = weights, .y = new_memory((size_t)MAX_ROWS * MANY * sizeof(float))};
    b.x.x = new_memory((size_t)MANY * N_COLS * sizeof(float));
    b.x.q = new_memory((size_t)MANY * N_COLS);
    b.x.d = new_memory((size_t)MANY * N_COLS / 32 * sizeof(float));
    b.x.panels = new_memory((size_t)MANY * N_COLS * sizeof(float));
    for (size_t t = 0; t < N_TYPES; t++) {
        if (strcasecmp(only_type, "all") != 0 && strcasecmp(only_type, quant_traits_of(all_types[t])->name) != 0) continue;
        figures scalar = {0};
        for (size_t i = 0; i < N_ISAS; i++) {
            const kernels *k = kernels_named(all_isas[i]);
            if (!k || (i > 0 && strcmp(only_isa, "all") != 0 && strcmp(only_isa, all_isas[i]) != 0)) continue;
            figures f = measure(k, all_types[t], &b, seconds);
            if (i == 0) scalar = f;
            report(k, all_types[t], &f, &scalar);
        }
    }
    return 0;
}
