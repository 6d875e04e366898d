/* scalar.c: the definition of the numerics contract (NUMERICS.md, N1 to N13), all but the matmul.
 *
 * Other tables compute the same bits faster. So here each operation is written in the order that the contract says, and nothing is
 * tuned beyond loops that a compiler can vectorize without changing a bit: lanes that never meet. */
#include "scalar.h"

#include <float.h>
#include <math.h> /* INFINITY */
#include <string.h>

#include "attention.h"
#include "numerics.h"

static uint32_t float_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* max |x_i|. Bits without their sign order like the numbers, and NaN comes out largest. */
static float max_magnitude(const float *x, size_t n)
{
    uint32_t max = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = float_bits(x[i]) & 0x7fffffff;
        max = bits > max ? bits : max;
    }
    float f;
    memcpy(&f, &max, sizeof f);
    return f;
}

/* N2 for one block; returns d. A block with a value that is not finite gets a d that is not finite, so that every result made from
 * it tells. */
static float quantize_block(int8_t *q, const float *x, size_t n)
{
    float amax = max_magnitude(x, n);
    if (amax < 0x1p-100f || !(amax <= FLT_MAX)) {
        memset(q, 0, n);
        return amax < 0x1p-100f ? 0.0f : amax;
    }
    float id = 127.0f / amax;
    for (size_t i = 0; i < n; i++) {
        float t = x[i] * id;
        q[i] = (int8_t)((t + 12582912.0f) - 12582912.0f); /* 1.5 * 2^23: rounds to the nearest integer, ties to even */
    }
    return amax / 127.0f;
}

static void quantize(int8_t *q, float *d, const float *x, size_t n, size_t block)
{
    for (size_t i = 0; i < n / block; i++) d[i] = quantize_block(q + i * block, x + i * block, block);
}

static void rmsnorm(float *y, const float *x, const float *w, size_t n, float eps)
{
    float p[YL_SUM_PARTIALS] = {0};
    size_t i = 0;
    for (; i + YL_SUM_PARTIALS <= n; i += YL_SUM_PARTIALS) {
        for (size_t j = 0; j < YL_SUM_PARTIALS; j++) p[j] += x[i + j] * x[i + j];
    }
    for (size_t j = 0; i + j < n; j++) p[j] += x[i + j] * x[i + j];
    float r = 1.0f / __builtin_sqrtf(yl_sum_partials(p) / (float)n + eps); /* the processor's own: IEEE rounds it right */
    for (i = 0; i < n; i++) y[i] = (x[i] * r) * w[i];
}

static void rope(float *x, const float *cs, size_t n_head, size_t n_embd_head, size_t n_rot)
{
    for (size_t h = 0; h < n_head; h++, x += n_embd_head) {
        for (size_t i = 0; i < n_rot; i += 2) {
            float c = cs[i], s = cs[i + 1], x0 = x[i], x1 = x[i + 1];
            x[i] = x0 * c - x1 * s;
            x[i + 1] = x0 * s + x1 * c;
        }
    }
}

static void swiglu(float *g, const float *u, size_t n)
{
    for (size_t i = 0; i < n; i++) g[i] = yl_siluf(g[i]) * u[i];
}

static void add(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = y[i] + x[i];
}

/* ---- the KV cache (kv_page.h has the layouts) ---- */

static size_t kv_elem_bytes(kv_type type)
{
    return type == KV_F16 ? sizeof(uint16_t) : sizeof(float);
}

static float f16_at(const uint8_t *p, size_t i)
{
    uint16_t h;
    memcpy(&h, p + i * sizeof h, sizeof h);
    return quant_f16_to_f32(h);
}

/* n values of the cache that lie one after the other. */
static void kv_load(float *out, const uint8_t *in, kv_type type, size_t n)
{
    quant_dequantize_row(type == KV_F16 ? QUANT_F16 : QUANT_F32, in, out, n);
}

/* Element d of the 16 keys of one block of a page. keys: the page's. */
static void load_keys(float k[KV_BLOCK_POSITIONS], const uint8_t *keys, kv_type type, size_t n_embd_head, size_t block, size_t d)
{
    if (type != KV_Q8_0) {
        kv_load(k, keys + (block * n_embd_head + d) * KV_BLOCK_POSITIONS * kv_elem_bytes(type), type, KV_BLOCK_POSITIONS);
        return;
    }
    const uint8_t *group = keys + (block * n_embd_head + d) / KV_GROUP_ELEMS * KV_KEY_GROUP_BYTES;
    const uint8_t *q = group + KV_BLOCK_POSITIONS * (2 + d % KV_GROUP_ELEMS);
    for (size_t j = 0; j < KV_BLOCK_POSITIONS; j++) k[j] = f16_at(group, j) * (float)(int8_t)q[j];
}

/* n elements from d on of one position's value; q8_0: all of one group. values: the page's. */
static void load_value(float *v, const uint8_t *values, kv_type type, size_t n_embd_head, size_t pos_in_page, size_t d, size_t n)
{
    if (type != KV_Q8_0) {
        kv_load(v, values + (pos_in_page * n_embd_head + d) * kv_elem_bytes(type), type, n);
        return;
    }
    float scale = f16_at(values, d / KV_GROUP_ELEMS * KV_PAGE_POSITIONS + pos_in_page);
    const uint8_t *q = values + n_embd_head / KV_GROUP_ELEMS * KV_PAGE_POSITIONS * 2 + pos_in_page * n_embd_head + d;
    for (size_t i = 0; i < n; i++) v[i] = scale * (float)(int8_t)q[i];
}

static int kv_is_finite(const float *x, kv_type type, size_t n)
{
    /* From 65520 on, nearest even makes an f16 infinite; of q8_0 that is the scale. */
    float limit = type == KV_F32 ? INFINITY : 65520.0f;
    int finite = 1;
    if (type == KV_Q8_0) {
        for (size_t i = 0; i < n; i += KV_GROUP_ELEMS) finite &= max_magnitude(x + i, KV_GROUP_ELEMS) / 127.0f < limit;
    } else {
        for (size_t i = 0; i < n; i++) finite &= x[i] < limit && x[i] > -limit;
    }
    return finite;
}

/* One value of the cache, f16 or f32; f is 0 or finite in its type. */
static void store_plain(uint8_t *out, kv_type type, float f)
{
    if (type == KV_F16) {
        uint16_t h = quant_f32_to_f16(f);
        memcpy(out, &h, sizeof h);
    } else {
        memcpy(out, &f, sizeof f);
    }
}

/* A group of 32 elements in q8_0: the scale to d, the others to q, q + stride, ... x: NULL for zeros. */
static void store_group(uint8_t *d, uint8_t *q, size_t stride, const float *x)
{
    int8_t quants[KV_GROUP_ELEMS] = {0};
    uint16_t scale = x ? quant_f32_to_f16(quantize_block(quants, x, KV_GROUP_ELEMS)) : 0;
    memcpy(d, &scale, sizeof scale);
    for (size_t i = 0; i < KV_GROUP_ELEMS; i++) q[i * stride] = (uint8_t)quants[i];
}

/* k, v: NULL for zeros. */
static void store_key(uint8_t *keys, kv_type type, size_t pos_in_page, const float *k, size_t n_embd_head)
{
    size_t block = pos_in_page / KV_BLOCK_POSITIONS, lane = pos_in_page % KV_BLOCK_POSITIONS, bytes = kv_elem_bytes(type);
    if (type == KV_Q8_0) {
        for (size_t d = 0; d < n_embd_head; d += KV_GROUP_ELEMS) {
            uint8_t *group = keys + (block * n_embd_head + d) / KV_GROUP_ELEMS * KV_KEY_GROUP_BYTES;
            store_group(group + 2 * lane, group + 2 * KV_BLOCK_POSITIONS + lane, KV_BLOCK_POSITIONS, k ? k + d : NULL);
        }
    } else {
        for (size_t d = 0; d < n_embd_head; d++)
            store_plain(keys + ((block * n_embd_head + d) * KV_BLOCK_POSITIONS + lane) * bytes, type, k ? k[d] : 0.0f);
    }
}

static void store_value(uint8_t *values, kv_type type, size_t pos_in_page, const float *v, size_t n_embd_head)
{
    if (type == KV_Q8_0) {
        uint8_t *q = values + n_embd_head / KV_GROUP_ELEMS * KV_PAGE_POSITIONS * 2 + pos_in_page * n_embd_head;
        for (size_t d = 0; d < n_embd_head; d += KV_GROUP_ELEMS)
            store_group(values + (d / KV_GROUP_ELEMS * KV_PAGE_POSITIONS + pos_in_page) * 2, q + d, 1, v ? v + d : NULL);
    } else {
        for (size_t d = 0; d < n_embd_head; d++)
            store_plain(values + (pos_in_page * n_embd_head + d) * kv_elem_bytes(type), type, v ? v[d] : 0.0f);
    }
}

static int kv_store(uint8_t *page, const kv_head *head, size_t pos_in_page, const float *k, const float *v, size_t n_embd_head)
{
    int finite = kv_is_finite(k, head->type_k, n_embd_head) && kv_is_finite(v, head->type_v, n_embd_head);
    store_key(page + head->k_offset, head->type_k, pos_in_page, finite ? k : NULL, n_embd_head);
    store_value(page + head->v_offset, head->type_v, pos_in_page, finite ? v : NULL, n_embd_head);
    return !finite;
}

/* ---- attention (N11) ---- */

/* Query i's score of position j, later its exponential. */
static float *score_at(const attention *a, size_t i, size_t j)
{
    return a->scores + (j / KV_PAGE_POSITIONS * a->n_query + i) * KV_PAGE_POSITIONS + j % KV_PAGE_POSITIONS;
}

/* Scores of the 16 positions of one block, first of them j: a lane is a position. */
static void block_scores(const attention *a, size_t j)
{
    const uint8_t *keys = a->kv.pages[j / KV_PAGE_POSITIONS] + a->kv.k_offset;
    size_t block = j % KV_PAGE_POSITIONS / KV_BLOCK_POSITIONS;
    for (size_t i = 0; i < a->n_query; i++) memset(score_at(a, i, j), 0, KV_BLOCK_POSITIONS * sizeof(float));
    for (size_t d = 0; d < a->n_embd_head; d++) {
        float k[KV_BLOCK_POSITIONS];
        load_keys(k, keys, a->kv.type_k, a->n_embd_head, block, d);
        for (size_t i = 0; i < a->n_query; i++) {
            float qd = a->q[d * a->n_query + i], *s = score_at(a, i, j);
            for (size_t lane = 0; lane < KV_BLOCK_POSITIONS; lane++) s[lane] = s[lane] + qd * k[lane];
        }
    }
}

static void attention_scores(const attention *a, size_t page_begin, size_t page_end)
{
    size_t end = page_end * KV_PAGE_POSITIONS, n_pos = attention_last_n_pos(a);
    for (size_t j = page_begin * KV_PAGE_POSITIONS; j < end && j < n_pos; j += KV_BLOCK_POSITIONS) block_scores(a, j);
}

/* A score that is NaN or +infinity, which exp would hide, makes all of the query's exponentials NaN, and so its result. */
static void softmax_query(const attention *a, size_t i)
{
    size_t n = a->n_pos + i / a->n_head, n_slots = attention_n_pages(a) * KV_PAGE_POSITIONS;
    float max = *score_at(a, i, 0), p[YL_SUM_PARTIALS] = {0};
    uint32_t bad = 0;
    for (size_t j = 0; j < n; j++) {
        float s = *score_at(a, i, j);
        bad |= !(s <= FLT_MAX);
        max = s > max ? s : max;
    }
    for (size_t j = 0; j < n_slots; j++) {
        float *s = score_at(a, i, j);
        *s = j >= n ? 0.0f : bad ? __builtin_nanf("") : yl_expf(*s - max);
        p[j % YL_SUM_PARTIALS] += *s;
    }
    a->sums[i] = yl_sum_partials(p);
}

static void attention_softmax(const attention *a, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++) softmax_query(a, i);
}

/* Adds e_j * v_j for n <= 16 elements from d on: a lane is an element of the head. sums: [n_query][16] */
static void add_value(float *sums, const attention *a, size_t j, size_t d, size_t n)
{
    float v[16];
    const uint8_t *values = a->kv.pages[j / KV_PAGE_POSITIONS] + a->kv.v_offset;
    load_value(v, values, a->kv.type_v, a->n_embd_head, j % KV_PAGE_POSITIONS, d, n);
    for (size_t i = 0; i < a->n_query; i++) {
        float e = *score_at(a, i, j), *o = sums + i * 16;
        for (size_t lane = 0; lane < n; lane++) o[lane] = o[lane] + e * v[lane];
    }
}

static void attention_values(const attention *a, size_t d_begin, size_t d_end)
{
    size_t n_pos = attention_last_n_pos(a);
    for (size_t d = d_begin; d < d_end; d += 16) {
        size_t n = d_end - d < 16 ? d_end - d : 16;
        float *sums = a->values + d * a->n_query;
        memset(sums, 0, a->n_query * 16 * sizeof *sums);
        for (size_t j = 0; j < n_pos; j++) add_value(sums, a, j, d, n);
        for (size_t i = 0; i < a->n_query; i++) {
            float *out = a->out + i / a->n_head * a->out_stride + i % a->n_head * a->n_embd_head + d;
            for (size_t lane = 0; lane < n; lane++) out[lane] = sums[i * 16 + lane] / a->sums[i];
        }
    }
}

static void max_sum_exp(const float *x, size_t n, float *max, float *sum_exp)
{
    float m = x[0];
    for (size_t i = 1; i < n; i++) m = x[i] > m ? x[i] : m;
    float p[YL_SUM_PARTIALS] = {0};
    for (size_t i = 0; i < n; i++) p[i % YL_SUM_PARTIALS] += yl_expf(x[i] - m);
    *max = m;
    *sum_exp = yl_sum_partials(p);
}

const kernels kernels_scalar = {
    .isa = "scalar",
    .quantize = quantize,
    .matmul = scalar_matmul,
    .rmsnorm = rmsnorm,
    .rope = rope,
    .swiglu = swiglu,
    .add = add,
    .attention_scores = attention_scores,
    .attention_softmax = attention_softmax,
    .attention_values = attention_values,
    .kv_store = kv_store,
    .max_sum_exp = max_sum_exp,
};
