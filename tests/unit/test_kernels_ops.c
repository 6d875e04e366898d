/* test_kernels_ops.c: all kernels but the matmul, each table against scalar, on data that no model should hold.
 *
 * Numbers of every magnitude, subnormal, zero of both signs, infinite, NaN; lengths around every width; each input and output ends
 * where its memory ends, at a page that cannot be touched, so that one element too many is a fault even of an instruction that no
 * sanitizer sees. Equal is equal to the bit, but which NaN it is, is left open (NUMERICS.md). */
#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

#include "attention.h"
#include "kernel_harness.h"

/* ---- memory that ends at a page nobody may touch ---- */

static size_t os_page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t guarded_map_bytes(size_t n_bytes)
{
    size_t page = os_page_bytes();
    return (n_bytes + page - 1) / page * page + page;
}

/* n_bytes, zero; free with guarded_free. */
static void *guarded(size_t n_bytes)
{
    size_t n_map = guarded_map_bytes(n_bytes);
    uint8_t *map = mmap(NULL, n_map, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(map != MAP_FAILED);
    uint8_t *end = map + n_map - os_page_bytes();
    assert_int_equal(mprotect(end, os_page_bytes(), PROT_NONE), 0);
    return end - n_bytes;
}

static void guarded_free(void *p, size_t n_bytes)
{
    if (p) munmap((uint8_t *)p + n_bytes + os_page_bytes() - guarded_map_bytes(n_bytes), guarded_map_bytes(n_bytes));
}

static float *guarded_copy(const float *x, size_t n)
{
    float *p = guarded(n * sizeof *p);
    memcpy(p, x, n * sizeof *p);
    return p;
}

/* ---- data ---- */

/* n numbers of odd_float; those of one call are alike in that some are all ordinary, so that not every sum is NaN. */
static float *odd_floats(size_t n, data_kind kind)
{
    float *x = guarded(n * sizeof *x);
    int ordinary = random_bits() % 3 == 0;
    for (size_t i = 0; i < n; i++) x[i] = ordinary ? random_float() : odd_float(kind);
    return x;
}

static void assert_same_numbers(const char *isa, const char *what, size_t n_of, const float *expected, const float *actual,
                                size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (isnan(expected[i]) && isnan(actual[i])) continue;
        assert_same_bits(isa, what, n_of, expected + i, actual + i, 1);
    }
}

static const kernels *scalar(void)
{
    return kernels_named("scalar");
}

/* Lengths around 8, 16, 32 and 64, and some that real models have. */
static size_t next_length(size_t n)
{
    static const size_t large[] = {127, 128, 129, 255, 256, 576, 1000, 2048, 4101};
    if (n < 70) return n + 1;
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        if (large[i] > n) return large[i];
    }
    return SIZE_MAX;
}

/* ---- vectors ---- */

static void check_quantize(const kernels *table, const float *x, size_t n, size_t block)
{
    size_t n_blocks = n / block;
    int8_t *q = guarded(n), *expected_q = malloc(n);
    float *d = guarded(n_blocks * sizeof *d), *expected_d = new_floats(n_blocks);
    assert_non_null(expected_q);
    scalar()->quantize(expected_q, expected_d, x, n, block);
    table->quantize(q, d, x, n, block);
    assert_same_numbers(table->isa, "quantize", block, expected_d, d, n_blocks);
    assert_memory_equal(expected_q, q, n);
    guarded_free(q, n);
    guarded_free(d, n_blocks * sizeof *d);
    free(expected_q);
    free(expected_d);
}

static void quantize_agrees_with_scalar(void **state)
{
    (void)state;
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t block = 32; block <= 256; block += 224) {
            for (size_t n = block; n <= 20 * block; n += block) {
                float *x = odd_floats(n, n % 64 ? FINITE : ANY);
                check_quantize(table, x, n, block);
                guarded_free(x, n * sizeof *x);
            }
        }
    }
}

/* One value of a block is not finite, at each place. */
static void quantize_sees_what_is_not_finite_in_every_lane(void **state)
{
    (void)state;
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t at = 0; at < 256; at++) {
            float x[256];
            random_floats(x, 256);
            x[at] = bad[at % 4];
            check_quantize(table, x, 256, 256);
            check_quantize(table, x, 256, 32);
        }
    }
}

static void rmsnorm_agrees_with_scalar(void **state)
{
    (void)state;
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t n = 1; n != SIZE_MAX; n = next_length(n)) {
            float *x = odd_floats(n, ANY), *w = odd_floats(n, ANY), *y = guarded(n * sizeof *y), *expected = new_floats(n);
            float eps = n % 2 ? 1e-5f : 0.0f;
            scalar()->rmsnorm(expected, x, w, n, eps);
            table->rmsnorm(y, x, w, n, eps);
            assert_same_numbers(table->isa, "rmsnorm", n, expected, y, n);
            table->rmsnorm(x, x, w, n, eps);
            assert_same_numbers(table->isa, "rmsnorm in place", n, expected, x, n);
            guarded_free(x, n * sizeof *x);
            guarded_free(w, n * sizeof *w);
            guarded_free(y, n * sizeof *y);
            free(expected);
        }
    }
}

/* Heads that turn whole and in part, of odd sizes too. */
static void rope_agrees_with_scalar(void **state)
{
    (void)state;
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t n_rot = 2; n_rot <= 140; n_rot += 2) {
            size_t n_head = 1 + n_rot % 3, n_embd_head = n_rot + (n_rot % 4 ? n_rot % 7 : 0), n = n_head * n_embd_head;
            float *x = odd_floats(n, ANY), *cs = odd_floats(n_rot, FINITE), *expected = new_floats(n);
            memcpy(expected, x, n * sizeof *x);
            scalar()->rope(expected, cs, n_head, n_embd_head, n_rot);
            table->rope(x, cs, n_head, n_embd_head, n_rot);
            assert_same_numbers(table->isa, "rope", n_rot, expected, x, n);
            guarded_free(x, n * sizeof *x);
            guarded_free(cs, n_rot * sizeof *cs);
            free(expected);
        }
    }
}

static void swiglu_and_add_agree_with_scalar(void **state)
{
    (void)state;
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t n = 1; n != SIZE_MAX; n = next_length(n)) {
            float *g = odd_floats(n, ANY), *u = odd_floats(n, ANY), *expected = new_floats(n), *y = guarded_copy(g, n);
            memcpy(expected, g, n * sizeof *g);
            scalar()->swiglu(expected, u, n);
            table->swiglu(g, u, n);
            assert_same_numbers(table->isa, "swiglu", n, expected, g, n);
            memcpy(expected, y, n * sizeof *y);
            scalar()->add(expected, u, n);
            table->add(y, u, n);
            assert_same_numbers(table->isa, "add", n, expected, y, n);
            guarded_free(g, n * sizeof *g);
            guarded_free(u, n * sizeof *u);
            guarded_free(y, n * sizeof *y);
            free(expected);
        }
    }
}

/* exp, seen through silu: numbers all over the range of f32, and densely where exp is neither 0 nor cut. */
static void exp_agrees_with_scalar_everywhere(void **state)
{
    (void)state;
    enum { N = 1 << 16 };
    float *x = new_floats(N), *y = new_floats(N), *one = new_floats(N);
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (int dense = 0; dense < 2; dense++) {
            for (size_t k = 0; k < N; k++) {
                uint32_t bits = (uint32_t)(k << 16) + random_bits() % 65536;
                one[k] = 1;
                memcpy(&x[k], &bits, sizeof bits);
                if (dense) x[k] = 90 * random_float();
            }
            memcpy(y, x, N * sizeof *x);
            scalar()->swiglu(x, one, N);
            table->swiglu(y, one, N);
            assert_same_numbers(table->isa, "silu", N, x, y, N);
        }
    }
    free(x);
    free(y);
    free(one);
}

static void check_max_sum_exp(const kernels *table, const float *x, size_t n)
{
    float max, sum, expected_max, expected_sum;
    scalar()->max_sum_exp(x, n, &expected_max, &expected_sum);
    table->max_sum_exp(x, n, &max, &sum);
    assert_same_numbers(table->isa, "max", n, &expected_max, &max, 1);
    assert_same_numbers(table->isa, "sum of exp", n, &expected_sum, &sum, 1);
}

static void max_sum_exp_agrees_with_scalar(void **state)
{
    (void)state;
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t n = 1; n != SIZE_MAX; n = next_length(n)) {
            float *x = odd_floats(n, n % 2 ? FINITE : ANY);
            check_max_sum_exp(table, x, n);
            x[0] = NAN; /* counts as the first only */
            check_max_sum_exp(table, x, n);
            x[0] = 1;
            x[n - 1] = NAN;
            check_max_sum_exp(table, x, n);
            for (size_t k = 0; k < n; k++) x[k] = -INFINITY;
            check_max_sum_exp(table, x, n);
            for (size_t k = 0; k < n; k++) x[k] = random_bits() % 4 ? -1.0f : random_bits() % 2 ? 0.0f : -0.0f;
            check_max_sum_exp(table, x, n); /* which zero is the largest? the first */
            guarded_free(x, n * sizeof *x);
        }
    }
}

/* ---- the cache ---- */

/* Keys and values of one head in pages of their own, of any finite numbers, beyond the last position too. */
typedef struct cache {
    kv_head head;
    const uint8_t **pages;
    size_t n_pages, page_bytes;
} cache;

/* Any f16 that is finite: subnormals, both zeros and the largest among them. */
static uint16_t finite_f16(void)
{
    uint16_t h = (uint16_t)random_bits();
    return (h & 0x7c00) == 0x7c00 ? h ^ 0x4000 : h;
}

static void fill_f16(uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h = finite_f16();
        memcpy(out + i * sizeof h, &h, sizeof h);
    }
}

static void fill_bytes(uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = (uint8_t)random_bits();
}

static void fill_f32(uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float f = random_bits() % 8 ? random_float() : odd_float(FINITE) * 0x1p-64f;
        memcpy(out + i * sizeof f, &f, sizeof f);
    }
}

static void fill_keys(uint8_t *out, kv_type type, size_t n_embd_head)
{
    if (type == KV_F16) fill_f16(out, KV_PAGE_POSITIONS * n_embd_head);
    if (type == KV_F32) fill_f32(out, KV_PAGE_POSITIONS * n_embd_head);
    if (type != KV_Q8_0) return;
    for (size_t group = 0; group < 4 * n_embd_head / KV_GROUP_ELEMS; group++, out += KV_KEY_GROUP_BYTES) {
        fill_f16(out, KV_BLOCK_POSITIONS);
        fill_bytes(out + 2 * KV_BLOCK_POSITIONS, KV_BLOCK_POSITIONS * KV_GROUP_ELEMS);
    }
}

static void fill_values(uint8_t *out, kv_type type, size_t n_embd_head)
{
    size_t n_scales = n_embd_head / KV_GROUP_ELEMS * KV_PAGE_POSITIONS;
    if (type == KV_F16) fill_f16(out, KV_PAGE_POSITIONS * n_embd_head);
    if (type == KV_F32) fill_f32(out, KV_PAGE_POSITIONS * n_embd_head);
    if (type != KV_Q8_0) return;
    fill_f16(out, n_scales);
    fill_bytes(out + 2 * n_scales, KV_PAGE_POSITIONS * n_embd_head);
}

/* values_last: which of the two ends at the page's last byte. They lie at odd offsets where their types allow. */
static cache cache_new(kv_type type_k, kv_type type_v, size_t n_pos, size_t n_embd_head, int values_last)
{
    size_t k_bytes = (size_t)kv_run_bytes(type_k, n_embd_head), v_bytes = (size_t)kv_run_bytes(type_v, n_embd_head);
    cache c = {.n_pages = (n_pos + KV_PAGE_POSITIONS - 1) / KV_PAGE_POSITIONS, .page_bytes = 4 + k_bytes + v_bytes};
    c.head = (kv_head){NULL, values_last ? 4 : 4 + v_bytes, values_last ? 4 + k_bytes : 4, type_k, type_v};
    c.pages = malloc(c.n_pages * sizeof *c.pages);
    assert_non_null(c.pages);
    for (size_t p = 0; p < c.n_pages; p++) {
        uint8_t *page = guarded(c.page_bytes);
        fill_keys(page + c.head.k_offset, type_k, n_embd_head);
        fill_values(page + c.head.v_offset, type_v, n_embd_head);
        c.pages[p] = page;
    }
    c.head.pages = c.pages;
    return c;
}

static void cache_free(cache *c)
{
    for (size_t p = 0; p < c->n_pages; p++) guarded_free((void *)(uintptr_t)c->pages[p], c->page_bytes);
    free(c->pages);
}

/* n_pos: of the first of n_row rows, each of n_head queries. */
typedef struct shape {
    kv_type type_k, type_v;
    size_t n_pos, n_embd_head, n_head, n_row;
} shape;

/* The first type that takes heads of this size, from one on. */
static kv_type type_for(size_t type, size_t n_embd_head)
{
    kv_type t = (kv_type)(type % (KV_TYPE_LAST + 1));
    return kv_type_takes(t, n_embd_head) ? t : KV_F16;
}

static attention attention_of(shape s, const cache *c, float *out, size_t out_stride)
{
    return (attention){.kv = c->head,
                       .n_query = s.n_head * s.n_row,
                       .n_head = s.n_head,
                       .n_pos = s.n_pos,
                       .n_embd_head = s.n_embd_head,
                       .out = out,
                       .out_stride = out_stride};
}

/* How much of each step a call does. */
typedef enum cut { WHOLE, IN_PIECES } cut;

/* Pieces are the smallest possible, the last one first. */
static void run_in_pieces(const kernels *table, const attention *a)
{
    for (size_t p = attention_n_pages(a); p-- > 0;) table->attention_scores(a, p, p + 1);
    for (size_t i = a->n_query; i-- > 0;) table->attention_softmax(a, i, i + 1);
    for (size_t v = (a->n_embd_head + 15) / 16; v-- > 0;)
        table->attention_values(a, 16 * v, 16 * v + 16 < a->n_embd_head ? 16 * v + 16 : a->n_embd_head);
}

/* q, out: rows `stride` apart. */
static void attend(const kernels *table, shape s, const cache *c, const float *q, float *out, size_t stride, cut how)
{
    float scale = 1.0f / sqrtf((float)s.n_embd_head);
    attention a = attention_of(s, c, out, stride);
    size_t n = (size_t)attention_scratch_floats(a.n_query, attention_last_n_pos(&a), s.n_embd_head);
    float *scratch = guarded(n * sizeof *scratch);
    random_floats(scratch, n); /* nothing is taken to be zero */
    attention_use_scratch(&a, scratch);
    attention_pack_queries(&a, q, stride, scale);
    if (how == IN_PIECES) {
        run_in_pieces(table, &a);
    } else {
        table->attention_scores(&a, 0, attention_n_pages(&a));
        table->attention_softmax(&a, 0, a.n_query);
        table->attention_values(&a, 0, s.n_embd_head);
    }
    guarded_free(scratch, n * sizeof *scratch);
}

/* All rows together give what scalar gives row by row. */
static void check_attention(const kernels *table, shape s, const cache *c, const float *q, size_t stride)
{
    size_t n = s.n_row * stride, n_row_elems = s.n_head * s.n_embd_head;
    float *out = guarded(n * sizeof *out), *expected = new_floats(n);
    memcpy(out, expected, n * sizeof *out); /* what lies between rows stays */
    for (size_t row = 0; row < s.n_row; row++) {
        shape one = s;
        one.n_row = 1;
        one.n_pos = s.n_pos + row;
        attend(scalar(), one, c, q + row * stride, expected + row * stride, n_row_elems, WHOLE);
    }
    attend(table, s, c, q, out, stride, WHOLE);
    assert_same_numbers(table->isa, "attention, positions", s.n_pos, expected, out, n);
    attend(table, s, c, q, out, stride, IN_PIECES);
    assert_same_numbers(table->isa, "attention in pieces, positions", s.n_pos, expected, out, n);
    guarded_free(out, n * sizeof *out);
    free(expected);
}

static void check_attention_shape(const kernels *table, shape s)
{
    size_t n_row_elems = s.n_head * s.n_embd_head, stride = n_row_elems + s.n_pos % 3, n = s.n_row * stride;
    cache c = cache_new(s.type_k, s.type_v, s.n_pos + s.n_row - 1, s.n_embd_head, (int)(s.n_head % 2));
    float *q = guarded(n * sizeof *q);
    for (size_t i = 0; i < n; i++) q[i] = random_bits() % 16 ? random_float() * 0.01f : odd_float(FINITE) * 0x1p-80f;
    check_attention(table, s, &c, q, stride);
    size_t bad = s.n_row / 2 * stride + n_row_elems / 2;
    q[bad] = INFINITY; /* one query is not finite, the others are not touched by that */
    check_attention(table, s, &c, q, stride);
    q[bad] = NAN;
    check_attention(table, s, &c, q, stride);
    guarded_free(q, n * sizeof *q);
    cache_free(&c);
}

static void attention_agrees_with_scalar(void **state)
{
    (void)state;
    static const size_t positions[] = {1, 2, 15, 16, 17, 31, 33, 48, 63, 64, 65, 100, 128, 193};
    static const size_t head_sizes[] = {1, 2, 7, 15, 16, 17, 31, 32, 48, 64, 80, 96, 100, 128, 200, 256};
    enum { N_POSITIONS = sizeof positions / sizeof positions[0], N_HEAD_SIZES = sizeof head_sizes / sizeof head_sizes[0] };
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t p = 0; p < N_POSITIONS; p++) {
            for (size_t s = 0; s < N_HEAD_SIZES; s++) {
                size_t n = head_sizes[s], n_head = 1 + (p * N_HEAD_SIZES + s) % 17; /* prime to the number of sizes */
                check_attention_shape(table, (shape){type_for(p, n), type_for(s, n), positions[p], n, n_head, 1});
                check_attention_shape(table,
                                      (shape){type_for(s + 2, n), type_for(p + 2, n), positions[p], n, 1 + s % 5, 1 + p % 6});
            }
        }
    }
}

/* Every number of queries, as heads and as rows, with every remainder of positions and elements. */
static void attention_of_any_number_of_queries_agrees_with_scalar(void **state)
{
    (void)state;
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t n = 1; n <= 26; n++) {
            check_attention_shape(table, (shape){KV_F16, KV_F16, 64 + 3 * n, 64, n, 1});
            check_attention_shape(table, (shape){KV_F32, KV_F32, 64 + 3 * n, 72, n, 1});
            check_attention_shape(table, (shape){KV_Q8_0, KV_Q8_0, 64 + 3 * n, 64, n, 1});
            check_attention_shape(table, (shape){KV_F16, KV_Q8_0, 60, 32, 1, n});
            check_attention_shape(table, (shape){KV_Q8_0, KV_F16, 120, 32, 2, n});
            check_attention_shape(table, (shape){KV_F32, KV_F32, 1, 24, 3, n});
        }
    }
}

static void check_kv_store(const kernels *table, shape s, size_t pos, const float *k, const float *v)
{
    cache c = cache_new(s.type_k, s.type_v, 1, s.n_embd_head, (int)(pos % 2));
    uint8_t *page = (uint8_t *)(uintptr_t)c.pages[0], *expected = malloc(c.page_bytes);
    assert_non_null(expected);
    memcpy(expected, page, c.page_bytes);
    int expected_result = scalar()->kv_store(expected, &c.head, pos, k, v, s.n_embd_head);
    assert_int_equal(table->kv_store(page, &c.head, pos, k, v, s.n_embd_head), expected_result);
    assert_memory_equal(page, expected, c.page_bytes);
    free(expected);
    cache_free(&c);
}

static void kv_store_agrees_with_scalar(void **state)
{
    (void)state;
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t n = 1; n <= 130; n += n < 70 ? 1 : n < 96 ? 26 : 16) {
            float *k = guarded(n * sizeof *k), *v = guarded(n * sizeof *v);
            for (size_t type = 0; type < 9; type++) {
                shape s = {type_for(type, n), type_for(type / 3, n), 1, n, 1, 1};
                for (size_t d = 0; d < n; d++) k[d] = odd_float(FINITE), v[d] = odd_float(FINITE);
                check_kv_store(table, s, random_bits() % 64, k, v); /* mostly too large for f16 */
                for (size_t d = 0; d < n; d++) k[d] = random_float(), v[d] = odd_float(FINITE) * 0x1p-120f;
                check_kv_store(table, s, random_bits() % 64, k, v); /* groups of zeros */
                for (size_t d = 0; d < n; d++) {
                    if (!(fabsf(k[d]) < 65520)) k[d] = 65519.996f;
                    if (!(fabsf(v[d]) < 65520)) v[d] = -65519.996f;
                }
                check_kv_store(table, s, random_bits() % 64, k, v);
                const float bad[] = {NAN, INFINITY, -INFINITY, 65520.0f};
                (n % 2 ? k : v)[random_bits() % n] = bad[random_bits() % 4];
                check_kv_store(table, s, random_bits() % 64, k, v);
            }
            guarded_free(k, n * sizeof *k);
            guarded_free(v, n * sizeof *v);
        }
    }
}

/* Every f16 lies between its neighbours as rounding to even has it: values at, just below and just above each half-way point. */
static void kv_store_rounds_every_f16_as_scalar(void **state)
{
    (void)state;
    enum { N = 3 * 256 };
    float k[N], v[N];
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (uint32_t upper = 0; upper < 0x7b; upper++) { /* below the largest f16s, which have infinity as a neighbour */
            for (uint32_t lower = 0; lower < 256; lower++) {
                float halfway =
                    (quant_f16_to_f32((uint16_t)(upper << 8 | lower)) + quant_f16_to_f32((uint16_t)((upper << 8 | lower) + 1))) / 2;
                k[3 * lower] = halfway;
                k[3 * lower + 1] = nextafterf(halfway, 0);
                k[3 * lower + 2] = nextafterf(halfway, INFINITY);
            }
            for (size_t d = 0; d < N; d++) v[d] = -k[d];
            check_kv_store(table, (shape){KV_F16, KV_F16, 1, N, 1, 1}, upper % 64, k, v);
        }
    }
}

/* Scales of q8_0 that just fit f16, and that just do not; f16 subnormals. */
static void kv_store_of_large_and_small_groups_agrees_with_scalar(void **state)
{
    (void)state;
    enum { N = 64 };
    const float tops[] = {8320904.0f, 8321000.0f, 8321039.5f, 8321040.0f, 8321041.0f, 3e38f, 0x1p-10f, 0x1p-20f, 0x1p-40f};
    float k[N], v[N];
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t t = 0; t < sizeof tops / sizeof tops[0]; t++) {
            for (size_t at = 0; at < N; at++) {
                for (size_t d = 0; d < N; d++) k[d] = random_float() * tops[t] * 0.5f, v[d] = random_float();
                k[at] = at % 2 ? tops[t] : -tops[t];
                check_kv_store(table, (shape){KV_Q8_0, KV_F32, 1, N, 1, 1}, at, k, v);
                check_kv_store(table, (shape){KV_F32, KV_Q8_0, 1, N, 1, 1}, at, v, k);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantize_agrees_with_scalar),
        cmocka_unit_test(quantize_sees_what_is_not_finite_in_every_lane),
        cmocka_unit_test(rmsnorm_agrees_with_scalar),
        cmocka_unit_test(rope_agrees_with_scalar),
        cmocka_unit_test(swiglu_and_add_agree_with_scalar),
        cmocka_unit_test(exp_agrees_with_scalar_everywhere),
        cmocka_unit_test(max_sum_exp_agrees_with_scalar),
        cmocka_unit_test(attention_agrees_with_scalar),
        cmocka_unit_test(attention_of_any_number_of_queries_agrees_with_scalar),
        cmocka_unit_test(kv_store_agrees_with_scalar),
        cmocka_unit_test(kv_store_rounds_every_f16_as_scalar),
        cmocka_unit_test(kv_store_of_large_and_small_groups_agrees_with_scalar),
    };
    return cmocka_run_group_tests_name("kernels: vectors and attention against scalar", tests, NULL, NULL);
}
