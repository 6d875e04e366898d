/* bench_kernels.c: how fast each table multiplies weights of each format, for one activation row and for many.
 *
 * One row reads every weight once: its figure is GB/s, beside what a thread can read. Many rows compute: their figure is
 * multiply-adds a second, beside what a thread can compute. Both limits are those of machine_limits.h, read before and after; and
 * both figures stand beside the scalar table's of the same run. Other programs share the machine, so each figure is the best of
 * several tries. Usage: bench_kernels [format or "all"] [isa or "all"] [seconds a figure]. A table for people, and on standard
 * error a line of JSON a kernel. */
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
static const char *const all_isas[] = {"scalar", "avx2", "avx512"};
enum { N_TYPES = sizeof all_types / sizeof all_types[0], N_ISAS = 3 };
enum { N_COLS = 4096, MAX_ROWS = 28672, MANY = 64, MANY_ROWS = 512 };
/* Of weights: several times what one row reads of most formats, 63 MiB at least. */
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

/* Weights that are numbers: random bits, except that no f16, bf16 or f32 among them is huge or subnormal: exponents have their
 * highest bit clear and the next one set. */
static void fill_weights(uint8_t *data, size_t n_bytes)
{
    uint64_t state = 1;
    for (size_t i = 0; i + 8 <= n_bytes; i += 8) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t bits = ((state ^ state >> 32) & 0x3fff3fff3fff3fff) | 0x2000200020002000;
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

static figures measure(const kernels *k, quant_type type, bench *b, const machine_meter *m, double seconds)
{
    figures f = {.one_s = 1e9, .many_s = 1e9};
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
    read_limits(&f, m, k, type);
    fill_activations(&b->x, type, 1);
    const uint8_t *first = b->w.data;
    size_t n_copies = MEMORY_BYTES / f.n_bytes, i = 0;
    for (double end = now() + seconds; now() < end; i++) {
        b->w.data = first + i % n_copies * f.n_bytes; /* what the last try read may be in a cache yet */
        f.one_s = smaller(f.one_s, run_once(k, b));
    }
    b->w.data = first;
    fill_activations(&b->x, type, MANY);
    b->w.n_rows = k->wants_tiles ? MANY_ROWS : MANY_ROWS / 16;
    for (double end = now() + seconds; now() < end;) f.many_s = smaller(f.many_s, run_once(k, b));
    f.many_s *= (double)MANY_ROWS / b->w.n_rows;
    read_limits(&f, m, k, type);
    return f;
}

static void report(const kernels *k, quant_type type, const figures *f, const figures *scalar)
{
    const char *name = quant_traits_of(type)->name;
    double bytes_s = (double)f->n_bytes / f->one_s, macs_s = (double)MANY * MANY_ROWS * N_COLS / f->many_s;
    double one_ratio = bytes_s / ((double)scalar->n_bytes / scalar->one_s), many_ratio = scalar->many_s / f->many_s;
    printf("%-7s %-7s  1 row: %6.2f GB/s, %3.0f%% of reading (%5.2f), %6.1f x scalar   %d rows: %6.2f GMAC/s, %3.0f%% of %6.2f, "
           "%6.1f x "
           "scalar\n",
           name, k->isa, bytes_s / 1e9, 100 * bytes_s / f->read, f->read / 1e9, one_ratio, MANY, macs_s / 1e9,
           100 * macs_s / f->multiply_add, f->multiply_add / 1e9, many_ratio);
    fprintf(stderr,
            "{\"bench\":\"matmul\",\"type\":\"%s\",\"isa\":\"%s\",\"cols\":%d,\"threads\":1,\"gb_s_1\":%.3f,\"read_gb_s\":%.3f,"
            "\"share_1\":%.3f,\"vs_scalar_1\":%.2f,\"rows\":%d,\"gmac_s\":%.3f,\"peak_gmac_s\":%.3f,\"share\":%.3f,\"vs_scalar\":%."
            "2f}\n",
            name, k->isa, N_COLS, bytes_s / 1e9, f->read / 1e9, bytes_s / f->read, one_ratio, MANY, macs_s / 1e9,
            f->multiply_add / 1e9, macs_s / f->multiply_add, many_ratio);
}

int main(int argc, char **argv)
{
    const char *only_type = argc > 1 ? argv[1] : "all", *only_isa = argc > 2 ? argv[2] : "all";
    double seconds = argc > 3 ? atof(argv[3]) : 0.5;
    uint8_t *weights = new_memory(MEMORY_BYTES);
    fill_weights(weights, MEMORY_BYTES);
    bench b = {.w.data = weights, .y = new_memory((size_t)MAX_ROWS * MANY * sizeof(float))};
    b.x.x = new_memory((size_t)MANY * N_COLS * sizeof(float));
    b.x.q = new_memory((size_t)MANY * N_COLS);
    b.x.d = new_memory((size_t)MANY * N_COLS / 32 * sizeof(float));
    b.x.panels = new_memory((size_t)MANY * N_COLS * sizeof(float));
    machine_meter *meter;
    if (machine_meter_new(&meter, NULL)) {
        fprintf(stderr, "bench_kernels: no memory to measure the machine\n");
        return 1;
    }
    for (size_t t = 0; t < N_TYPES; t++) {
        if (strcasecmp(only_type, "all") != 0 && strcasecmp(only_type, quant_traits_of(all_types[t])->name) != 0) continue;
        figures scalar = {0};
        for (size_t i = 0; i < N_ISAS; i++) {
            const kernels *k = kernels_named(all_isas[i]);
            if (!k || (i > 0 && strcmp(only_isa, "all") != 0 && strcmp(only_isa, all_isas[i]) != 0)) continue;
            figures f = measure(k, all_types[t], &b, meter, seconds);
            if (i == 0) scalar = f;
            report(k, all_types[t], &f, &scalar);
        }
    }
    machine_meter_free(meter);
    return 0;
}
