/* bench_kernels.c: how fast each table multiplies weights of each format, for one activation row and for many.
 *
 * One row reads every weight once: its figure is GB/s, beside what a thread can read. Many rows compute: their figure is
 * multiply-adds a second, beside what a thread can compute. Both limits are those of machine_limits.h, read before and after; and
 * both figures stand beside the scalar table's of the same run. Other programs share the machine, so each figure is the best of
 * several tries. Tables that want tiles are measured with weights in rows too. Usage: bench_kernels [format or "all"] [isa or
 * "all"] [seconds a figure] [rows of activations]. A table for people, and on standard error a line of JSON a figure. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <time.h>

#include "kernels.h"
#include "machine_limits.h"
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
/* Of weights: several times what one row reads of most formats. */
static const size_t MEMORY_BYTES = (size_t)MAX_ROWS * N_COLS * sizeof(float);

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

typedef struct figures {
    double one_s, many_s; /* best of all tries */
    size_t n_bytes;
    double read, multiply_add; /* of one thread, a second: bytes from huge pages; multiply-adds in the kernel's arithmetic */
} figures;

static double smaller(double a, double b)
{
    return a < b ? a : b;
}

/* Adds half of what the machine can do now to the limits of f. */
static void read_limits(figures *f, const machine_meter *m, const kernels *k, quant_type type)
{
    machine_limits l;
    yl_error err;
    if (machine_meter_read(m, 1, k, &l, &err)) {
        fprintf(stderr, "bench_kernels: %s\n", err.msg);
        exit(1);
    }
    f->read += l.read_huge_pages / 2;
    f->multiply_add += (quant_traits_of(type)->act_block > 0 ? l.dot_int8 : l.multiply_add_f32) / 2;
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

/* Best time of one row; every try reads other weights, because a cache may have kept some of the last ones. */
static double measure_one(const kernels *k, bench *b, size_t n_bytes, double seconds)
{
    const uint8_t *first = b->w.data;
    size_t n_copies = MEMORY_BYTES / n_bytes, i = 0;
    double best = 1e9;
    for (double end = now() + seconds; now() < end; i++) {
        b->w.data = first + i % n_copies * n_bytes;
        best = smaller(best, run_once(k, b));
    }
    b->w.data = first;
    return best;
}

static figures measure(const kernels *k, quant_type type, matrix_layout layout, bench *b, const machine_meter *m, uint32_t many,
                       double seconds)
{
    figures f = {.many_s = 1e9};
    const uint32_t share = k->wants_tiles ? 1 : 16;
    read_limits(&f, m, k, type);
    set_weights(b, type, layout, MAX_ROWS / share);
    f.n_bytes = b->w.n_rows * b->w.row_bytes;
    fill_activations(&b->x, type, 1);
    f.one_s = measure_one(k, b, f.n_bytes, seconds);
    fill_activations(&b->x, type, many);
    set_weights(b, type, layout, rows_for(many) / share);
    for (double end = now() + seconds; now() < end;) f.many_s = smaller(f.many_s, run_once(k, b));
    f.many_s *= share;
    read_limits(&f, m, k, type);
    return f;
}

static void report(const char *isa, quant_type type, matrix_layout layout, uint32_t many, const figures *f, const figures *scalar)
{
    const char *name = quant_traits_of(type)->name, *lies = layout == MATRIX_TILES ? "tiles" : "rows";
    double bytes_s = (double)f->n_bytes / f->one_s, macs_s = (double)many * rows_for(many) * N_COLS / f->many_s;
    double one_ratio = bytes_s / ((double)scalar->n_bytes / scalar->one_s), many_ratio = scalar->many_s / f->many_s;
    printf(
        "%-7s %-7s %-5s  1 row: %6.2f GB/s, %3.0f%% of reading (%5.2f), %6.1f x scalar   %u rows: %6.2f GMAC/s, %3.0f%% of %6.2f, "
        "%6.1f x scalar\n",
        name, isa, lies, bytes_s / 1e9, 100 * bytes_s / f->read, f->read / 1e9, one_ratio, many, macs_s / 1e9,
        100 * macs_s / f->multiply_add, f->multiply_add / 1e9, many_ratio);
    fprintf(
        stderr,
        "{\"bench\":\"matmul\",\"type\":\"%s\",\"isa\":\"%s\",\"layout\":\"%s\",\"cols\":%d,\"threads\":1,\"gb_s_1\":%.3f,"
        "\"read_gb_s\":%.3f,\"share_1\":%.3f,\"vs_scalar_1\":%.2f,\"rows\":%u,\"gmac_s\":%.3f,\"peak_gmac_s\":%.3f,\"share\":%.3f,"
        "\"vs_scalar\":%.2f}\n",
        name, isa, lies, N_COLS, bytes_s / 1e9, f->read / 1e9, bytes_s / f->read, one_ratio, many, macs_s / 1e9,
        f->multiply_add / 1e9, macs_s / f->multiply_add, many_ratio);
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
    uint8_t *weights = new_memory(MEMORY_BYTES);
    bench b = {.w.data = weights, .y = new_memory((size_t)MAX_ROWS * FEW * sizeof(float))};
    b.x.x = new_memory((size_t)MANY_MAX * N_COLS * sizeof(float));
    b.x.q = new_memory((size_t)MANY_MAX * N_COLS);
    b.x.d = new_memory((size_t)MANY_MAX * N_COLS / 32 * sizeof(float));
    b.x.panels = new_memory((size_t)MANY_MAX * N_COLS * sizeof(float));
    machine_meter *meter;
    if (machine_meter_new(&meter, MACHINE_METER_ALL, NULL)) {
        fprintf(stderr, "bench_kernels: no memory to measure the machine\n");
        return 1;
    }
    for (size_t t = 0; t < N_TYPES; t++) {
        if (!is_wanted(only_type, quant_traits_of(all_types[t])->name)) continue;
        fill_weights(weights, MEMORY_BYTES, all_types[t]);
        figures scalar = measure(kernels_named("scalar"), all_types[t], MATRIX_ROWS, &b, meter, many, seconds / 4);
        report("scalar", all_types[t], MATRIX_ROWS, many, &scalar, &scalar);
        for (size_t i = 0; i < N_ISAS; i++) {
            const kernels *k = kernels_named(all_isas[i]);
            if (!k || !is_wanted(only_isa, all_isas[i])) continue;
            for (matrix_layout layout = MATRIX_TILES + 1; layout-- > MATRIX_ROWS;) {
                figures f = measure(k, all_types[t], layout, &b, meter, many, seconds);
                report(k->isa, all_types[t], layout, many, &f, &scalar);
            }
        }
    }
    machine_meter_free(meter);
    return 0;
}
