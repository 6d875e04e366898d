/* kernel_bits.c: what a table of kernels computes, as lines that programs for other machines must print too.
 *
 * Each kernel meets random and extreme data, the same in every build. Its results are compared with the scalar table's in the same
 * run, to the bit, and printed as one checksum a case; so the output of a build for ARM (under an emulator) or wasm (under Node) is
 * compared with this machine's by diff. Which NaN a result is, is left open by the contract: all count as one. It needs no files,
 * no threads and no library, so that it compiles for anything. Usage: kernel_bits [--isa NAME]. Exit code 1: bits differ; the line
 * names case and first index. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attention.h"
#include "fnv.h"
#include "kernel_data.h"
#include "panel.h"

static const kernels *table, *scalar;
static int n_failed;

static void *new_bytes(size_t n)
{
    void *p = calloc(n, 1);
    if (!p) abort();
    return p;
}

static float *new_floats(size_t n)
{
    return new_bytes(n * sizeof(float));
}

static float *new_odd_floats(size_t n, data_kind kind)
{
    float *x = new_floats(n);
    for (size_t i = 0; i < n; i++) x[i] = odd_float(kind);
    return x;
}

/* Prints a case; n bytes of results, which scalar has as `expected`. */
static void report_bytes(const char *name, const void *expected, const void *actual, size_t n)
{
    const uint8_t *e = expected, *a = actual;
    size_t i = 0;
    while (i < n && e[i] == a[i]) i++;
    if (i == n) {
        printf("%s: %016llx\n", name, (unsigned long long)fnv1a(actual, n));
        return;
    }
    printf("%s: byte %zu is 0x%02x, of scalar 0x%02x\n", name, i, a[i], e[i]);
    n_failed++;
}

static uint32_t *bits_of(const float *x, size_t n)
{
    uint32_t *bits = new_bytes(n * sizeof *bits);
    memcpy(bits, x, n * sizeof *bits);
    for (size_t i = 0; i < n; i++)
        if (isnan(x[i])) bits[i] = 0x7fc00000;
    return bits;
}

/* The same for n floats, which are freed. */
static void report_floats(const char *name, float *expected, float *actual, size_t n)
{
    uint32_t *e = bits_of(expected, n), *a = bits_of(actual, n);
    size_t i = 0;
    while (i < n && e[i] == a[i]) i++;
    if (i == n) {
        printf("%s: %016llx\n", name, (unsigned long long)fnv1a(a, n * sizeof *a));
    } else {
        printf("%s: result %zu is 0x%08x (%a), of scalar 0x%08x (%a)\n", name, i, (unsigned)a[i], (double)actual[i], (unsigned)e[i],
               (double)expected[i]);
        n_failed++;
    }
    free(e);
    free(a);
    free(expected);
    free(actual);
}

/* ---- matmul ---- */

static void matmul_case(quant_type type, size_t n_rows, size_t n_cols, size_t n_x, fill how)
{
    static const char *const fills[FILL_END] = {"random", "ones", "zeros"};
    problem p = problem_new(type, n_rows, n_cols, n_x, how);
    const matrix *layouts[] = {&p.w, &p.tiled};
    for (int i = 0; i < 2; i++) {
        char name[96];
        size_t n = n_x * n_rows;
        float *expected = new_floats(n), *y = new_floats(n);
        snprintf(name, sizeof name, "matmul %s %s, %zux%zu by %zu, %s", quant_traits_of(type)->name, i ? "tiles" : "rows", n_rows,
                 n_cols, n_x, fills[how]);
        scalar->matmul(expected, n_rows, layouts[i], &p.x, 0, n_rows);
        table->matmul(y, n_rows, layouts[i], &p.x, 0, n_rows);
        report_floats(name, expected, y, n);
    }
    problem_free(&p);
}

/* Rows of weights in two parts that begin anywhere: what is not asked for stays what it is. */
static void matmul_part_case(quant_type type, size_t n_x)
{
    enum { N_ROWS = 37, N_COLS = 256, BEGIN = 5, END = 26 };
    problem p = problem_new(type, N_ROWS, N_COLS, n_x, FILL_RANDOM);
    char name[96];
    float *expected = new_floats(n_x * N_ROWS), *y = new_floats(n_x * N_ROWS);
    snprintf(name, sizeof name, "matmul %s tiles, rows %d to %d by %zu", quant_traits_of(type)->name, BEGIN, END, n_x);
    scalar->matmul(expected, N_ROWS, &p.tiled, &p.x, BEGIN, END);
    table->matmul(y, N_ROWS, &p.tiled, &p.x, BEGIN, END);
    report_floats(name, expected, y, n_x * N_ROWS);
    problem_free(&p);
}

static void matmul_cases(void)
{
    static const size_t rows[] = {1, 15, 16, 17, 35}, blocks[] = {1, 2, 3, 5}, columns[] = {1, 2, 33, 200};
    for (size_t t = 0; t < N_TYPES; t++) {
        const quant_traits *traits = quant_traits_of(all_types[t]);
        size_t n_x = 0;
        for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
            for (size_t c = 0; c < sizeof blocks / sizeof blocks[0]; c++) {
                size_t n_cols = traits->act_block ? blocks[c] * traits->block_elems : columns[c];
                n_x = n_x % 9 + 1;
                matmul_case(all_types[t], rows[r], n_cols, n_x, FILL_RANDOM);
            }
        }
        matmul_case(all_types[t], 17, 512, 1, FILL_ONES);
        matmul_case(all_types[t], 17, 512, 5, FILL_ZEROS);
        for (size_t i = 1; i <= 8; i += 3) matmul_part_case(all_types[t], i);
    }
}

/* ---- vectors ---- */

static const size_t lengths[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 65, 100, 576};
enum { N_LENGTHS = sizeof lengths / sizeof lengths[0] };

static void quantize_case(size_t n, size_t block, data_kind kind)
{
    char name[96];
    float *x = new_odd_floats(n, kind), *d = new_floats(n / block), *expected_d = new_floats(n / block);
    int8_t *q = new_bytes(n), *expected_q = new_bytes(n);
    if (block == 32) random_floats(x + n / 2, n / 2);
    scalar->quantize(expected_q, expected_d, x, n, block);
    table->quantize(q, d, x, n, block);
    snprintf(name, sizeof name, "quantize %zu by %zu", n, block);
    report_bytes(name, expected_q, q, n);
    report_floats(name, expected_d, d, n / block);
    free(x);
    free(q);
    free(expected_q);
}

static void rmsnorm_case(size_t n, data_kind kind)
{
    char name[96];
    float *x = new_odd_floats(n, kind), *w = new_odd_floats(n, kind), *y = new_floats(n), *expected = new_floats(n);
    if (kind == FINITE) random_floats(x, n);
    scalar->rmsnorm(expected, x, w, n, 1e-5f);
    table->rmsnorm(y, x, w, n, 1e-5f);
    snprintf(name, sizeof name, "rmsnorm %zu, %s", n, kind == ANY ? "any" : "finite");
    report_floats(name, expected, y, n);
    free(x);
    free(w);
}

static void rope_case(size_t n_rot)
{
    enum { N_HEAD = 2 };
    char name[96];
    size_t n_embd_head = n_rot + n_rot % 3, n = N_HEAD * n_embd_head;
    float *x = new_odd_floats(n, FINITE), *expected = new_floats(n), *cs = new_odd_floats(n_rot, FINITE);
    memcpy(expected, x, n * sizeof *x);
    scalar->rope(expected, cs, N_HEAD, n_embd_head, n_rot);
    table->rope(x, cs, N_HEAD, n_embd_head, n_rot);
    snprintf(name, sizeof name, "rope %zu of %zu", n_rot, n_embd_head);
    report_floats(name, expected, x, n);
    free(cs);
}

typedef void in_place_kernel(float *y, const float *x, size_t n);

static void in_place_case(const char *what, in_place_kernel *of_scalar, in_place_kernel *of_table, size_t n)
{
    char name[96];
    float *y = new_odd_floats(n, ANY), *x = new_odd_floats(n, FINITE), *expected = new_floats(n);
    memcpy(expected, y, n * sizeof *y);
    of_scalar(expected, x, n);
    of_table(y, x, n);
    snprintf(name, sizeof name, "%s %zu", what, n);
    report_floats(name, expected, y, n);
    free(x);
}

/* exp, seen through silu: numbers of every exponent, and densely where exp is neither 0 nor cut. */
static void exp_case(int dense)
{
    enum { N = 1 << 13 };
    float *x = new_floats(N), *expected = new_floats(N), *one = new_floats(N);
    for (size_t i = 0; i < N; i++) {
        uint32_t bits = (uint32_t)(i << 19) + random_bits() % (1 << 19);
        memcpy(&x[i], &bits, sizeof bits);
        if (dense) x[i] = 90 * random_float();
        one[i] = 1;
    }
    memcpy(expected, x, N * sizeof *x);
    scalar->swiglu(expected, one, N);
    table->swiglu(x, one, N);
    report_floats(dense ? "silu of [-90, 90)" : "silu of everything", expected, x, N);
    free(one);
}

static void max_sum_exp_case(size_t n, data_kind kind)
{
    char name[96];
    float *x = new_odd_floats(n, kind), *y = new_floats(2), *expected = new_floats(2);
    scalar->max_sum_exp(x, n, &expected[0], &expected[1]);
    table->max_sum_exp(x, n, &y[0], &y[1]);
    snprintf(name, sizeof name, "max_sum_exp %zu, %s", n, kind == ANY ? "any" : "finite");
    report_floats(name, expected, y, 2);
    free(x);
}

static void vector_cases(void)
{
    for (size_t n = 1; n <= 5; n += 2) {
        for (size_t block = 32; block <= 256; block += 224) {
            quantize_case(n * 2 * block, block, FINITE);
            quantize_case(n * 2 * block, block, ANY);
        }
    }
    for (size_t i = 0; i < N_LENGTHS; i++) {
        size_t n = lengths[i];
        rmsnorm_case(n, FINITE);
        rmsnorm_case(n, ANY);
        rope_case(2 * n);
        in_place_case("swiglu", scalar->swiglu, table->swiglu, n);
        in_place_case("add", scalar->add, table->add, n);
        max_sum_exp_case(n, FINITE);
        max_sum_exp_case(n, ANY);
    }
    exp_case(0);
    exp_case(1);
}

/* ---- the cache ---- */

/* A page's worth of keys and values of every magnitude, one of them now and then too large or not finite. */
static void kv_store_case(kv_type type_k, kv_type type_v, size_t n_embd_head)
{
    char name[96];
    size_t n_k = (size_t)kv_run_bytes(type_k, n_embd_head), n = n_k + (size_t)kv_run_bytes(type_v, n_embd_head);
    uint8_t *page = new_bytes(n), *expected = new_bytes(n);
    const kv_head head = {NULL, 0, n_k, type_k, type_v};
    for (size_t pos = 0; pos < KV_PAGE_POSITIONS; pos++) {
        float *k = new_odd_floats(n_embd_head, FINITE), *v = new_odd_floats(n_embd_head, pos % 9 ? FINITE : ANY);
        for (size_t d = 0; d < n_embd_head && pos % 7; d++) {
            if (!(fabsf(k[d]) < 65520)) k[d] = 65519.996f;
            if (!(fabsf(v[d]) < 65520)) v[d] = random_float() * 0x1p-14f;
        }
        int result = table->kv_store(page, &head, pos, k, v, n_embd_head);
        int expected_result = scalar->kv_store(expected, &head, pos, k, v, n_embd_head);
        if (result != expected_result) {
            printf("kv_store at %zu returns %d, of scalar %d\n", pos, result, expected_result);
            n_failed++;
        }
        free(k);
        free(v);
    }
    snprintf(name, sizeof name, "kv_store %s %s, %zu", kv_type_name(type_k), kv_type_name(type_v), n_embd_head);
    report_bytes(name, expected, page, n);
    free(page);
    free(expected);
}

/* Pages of one head, as scalar stores them. */
static uint8_t **new_pages(const kv_head *head, size_t n_pages, size_t page_bytes, size_t n_embd_head)
{
    uint8_t **pages = new_bytes(n_pages * sizeof *pages);
    float *k = new_floats(n_embd_head), *v = new_floats(n_embd_head);
    for (size_t pos = 0; pos < n_pages * KV_PAGE_POSITIONS; pos++) {
        if (pos % KV_PAGE_POSITIONS == 0) pages[pos / KV_PAGE_POSITIONS] = new_bytes(page_bytes);
        random_floats(k, n_embd_head);
        for (size_t d = 0; d < n_embd_head; d++) v[d] = d % 8 ? random_float() : odd_float(FINITE) * 0x1p-64f;
        scalar->kv_store(pages[pos / KV_PAGE_POSITIONS], head, pos % KV_PAGE_POSITIONS, k, v, n_embd_head);
    }
    free(k);
    free(v);
    return pages;
}

/* What n_head query heads of n_row rows attend: out, [n_row, n_head, n_embd_head]. */
static void attend(const kernels *k, const kv_head *head, size_t n_head, size_t n_row, size_t n_pos, size_t n_embd_head,
                   const float *q, float *out)
{
    size_t stride = n_head * n_embd_head;
    attention a = {.kv = *head,
                   .n_query = n_head * n_row,
                   .n_head = n_head,
                   .n_pos = n_pos,
                   .n_embd_head = n_embd_head,
                   .out = out,
                   .out_stride = stride};
    float *scratch = new_floats((size_t)attention_scratch_floats(a.n_query, attention_last_n_pos(&a), n_embd_head));
    attention_use_scratch(&a, scratch);
    attention_pack_queries(&a, q, stride, 0.5f);
    k->attention_scores(&a, 0, attention_n_pages(&a));
    k->attention_softmax(&a, 0, a.n_query);
    k->attention_values(&a, 0, n_embd_head);
    free(scratch);
}

static void attention_case(kv_type type_k, kv_type type_v, size_t n_pos, size_t n_embd_head, size_t n_head, size_t n_row)
{
    char name[96];
    size_t n = n_head * n_row * n_embd_head, n_pages = (n_pos + n_row - 1 + KV_PAGE_POSITIONS - 1) / KV_PAGE_POSITIONS;
    size_t n_k = (size_t)kv_run_bytes(type_k, n_embd_head);
    kv_head head = {NULL, 0, n_k, type_k, type_v};
    uint8_t **pages = new_pages(&head, n_pages, n_k + (size_t)kv_run_bytes(type_v, n_embd_head), n_embd_head);
    float *q = new_floats(n), *out = new_floats(n), *expected = new_floats(n);
    head.pages = (const uint8_t *const *)pages;
    random_floats(q, n);
    attend(scalar, &head, n_head, n_row, n_pos, n_embd_head, q, expected);
    attend(table, &head, n_head, n_row, n_pos, n_embd_head, q, out);
    snprintf(name, sizeof name, "attention %s %s, %zu rows of %zu heads of %zu, %zu positions", kv_type_name(type_k),
             kv_type_name(type_v), n_row, n_head, n_embd_head, n_pos);
    report_floats(name, expected, out, n);
    for (size_t p = 0; p < n_pages; p++) free(pages[p]);
    free(pages);
    free(q);
}

static void cache_cases(void)
{
    static const size_t positions[] = {1, 15, 17, 64, 81, 130}, head_sizes[] = {1, 15, 32, 24, 33, 64};
    enum { N = sizeof positions / sizeof positions[0] };
    for (size_t i = 0; i < N; i++) {
        for (int types = 0; types < (KV_TYPE_LAST + 1) * (KV_TYPE_LAST + 1); types++) {
            kv_type type_k = (kv_type)(types % (KV_TYPE_LAST + 1)), type_v = (kv_type)(types / (KV_TYPE_LAST + 1));
            for (size_t n = 0; n < 2; n++) {
                size_t n_embd_head = head_sizes[(i + 3 * n) % N];
                if (!kv_type_takes(type_k, n_embd_head) || !kv_type_takes(type_v, n_embd_head)) continue;
                if (n == 0) kv_store_case(type_k, type_v, n_embd_head);
                attention_case(type_k, type_v, positions[i], n_embd_head, 1 + (2 * i + (size_t)types + 3 * n) % 9, 1 + i % 3);
            }
        }
    }
}

int main(int argc, char **argv)
{
    scalar = kernels_named("scalar");
    table = argc == 3 && strcmp(argv[1], "--isa") == 0 ? kernels_named(argv[2]) : kernels_best();
    if ((argc != 1 && argc != 3) || !table) {
        fprintf(stderr, "Usage: kernel_bits [--isa NAME]. NAME is a table that this machine can run.\n");
        return 2;
    }
    fprintf(stderr, "kernels: %s\n", table->isa);
    matmul_cases();
    vector_cases();
    cache_cases();
    if (n_failed) fprintf(stderr, "%d cases differ from scalar\n", n_failed);
    return n_failed ? 1 : 0;
}
