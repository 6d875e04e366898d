/* scalar.c: the definition of the numerics contract (NUMERICS.md, N1 to N13), all but the matmul.
 *
 * Other tables compute the same bits faster. So here each operation is written in the order that the contract says, and nothing is
 * tuned beyond loops that a compiler can vectorize without changing a bit: lanes that never meet. */
#include "scalar.h"

#include <float.h>
#include <math.h> /* INFINITY */
#include <string.h>

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

static size_t kv_elem_bytes(kv_type type)
{
    return type == KV_F16 ? sizeof(uint16_t) : sizeof(float);
}

/* n neighbouring values of the cache as f32. */
static void kv_load(float *out, const uint8_t *in, kv_type type, size_t n)
{
    quant_dequantize_row(type == KV_F16 ? QUANT_F16 : QUANT_F32, in, out, n);
}

/* Scores of the 16 positions of one block: a lane is a position. keys: [n_embd_head][16]; s: [n_q], `stride` apart. */
static void block_scores(float *s, size_t stride, const float *q, size_t n_q, const uint8_t *keys, kv_type type, size_t n_embd_head,
                         float scale)
{
    for (size_t h = 0; h < n_q; h++) memset(s + h * stride, 0, KV_BLOCK_POSITIONS * sizeof *s);
    for (size_t d = 0; d < n_embd_head; d++) {
        float k[KV_BLOCK_POSITIONS];
        kv_load(k, keys + d * KV_BLOCK_POSITIONS * kv_elem_bytes(type), type, KV_BLOCK_POSITIONS);
        for (size_t h = 0; h < n_q; h++) {
            float qd = q[h * n_embd_head + d] * scale;
            float *sh = s + h * stride;
            for (size_t j = 0; j < KV_BLOCK_POSITIONS; j++) sh[j] = sh[j] + qd * k[j];
        }
    }
}

/* Turns the scores of one head into e_j = exp(s_j - max). A score that is NaN or +infinity, which exp would hide, makes all of them
 * NaN, and so the result. */
static void exp_scores(float *s, size_t n)
{
    float max = s[0];
    uint32_t bad = 0;
    for (size_t j = 0; j < n; j++) {
        bad |= !(s[j] <= FLT_MAX);
        max = s[j] > max ? s[j] : max;
    }
    for (size_t j = 0; j < n; j++) s[j] = bad ? __builtin_nanf("") : yl_expf(s[j] - max);
}

/* out += e_j * v for one position: a lane is an element of the head. e: [n_q], `stride` apart. */
static void add_value(float *out, const float *e, size_t stride, size_t n_q, const uint8_t *value, kv_type type, size_t n_embd_head)
{
    enum { LANES = 16 };
    for (size_t d = 0; d < n_embd_head; d += LANES) {
        size_t n = n_embd_head - d < LANES ? n_embd_head - d : LANES;
        float v[LANES];
        kv_load(v, value + d * kv_elem_bytes(type), type, n);
        for (size_t h = 0; h < n_q; h++) {
            float *oh = out + h * n_embd_head + d;
            for (size_t i = 0; i < n; i++) oh[i] = oh[i] + e[h * stride] * v[i];
        }
    }
}

static void attention(float *out, const float *q, size_t n_q, const kv_head *kv, size_t n_pos, size_t n_embd_head, float scale,
                      float *scores)
{
    size_t stride = (n_pos + KV_BLOCK_POSITIONS - 1) / KV_BLOCK_POSITIONS * KV_BLOCK_POSITIONS;
    size_t block_bytes = n_embd_head * KV_BLOCK_POSITIONS * kv_elem_bytes(kv->type_k);
    size_t value_bytes = n_embd_head * kv_elem_bytes(kv->type_v);
    for (size_t j = 0; j < n_pos; j += KV_BLOCK_POSITIONS) {
        const uint8_t *keys = kv->pages[j / KV_PAGE_POSITIONS] + kv->k_offset;
        keys += j % KV_PAGE_POSITIONS / KV_BLOCK_POSITIONS * block_bytes;
        block_scores(scores + j, stride, q, n_q, keys, kv->type_k, n_embd_head, scale);
    }
    for (size_t h = 0; h < n_q; h++) exp_scores(scores + h * stride, n_pos);
    memset(out, 0, n_q * n_embd_head * sizeof *out);
    for (size_t j = 0; j < n_pos; j++) {
        const uint8_t *value = kv->pages[j / KV_PAGE_POSITIONS] + kv->v_offset + j % KV_PAGE_POSITIONS * value_bytes;
        add_value(out, scores + j, stride, n_q, value, kv->type_v, n_embd_head);
    }
    for (size_t h = 0; h < n_q; h++) {
        float sum = yl_sum(scores + h * stride, n_pos);
        for (size_t d = 0; d < n_embd_head; d++) out[h * n_embd_head + d] = out[h * n_embd_head + d] / sum;
    }
}

/* Stores f as one value of the cache; f is 0 or finite in its type. */
static void kv_store_value(uint8_t *out, kv_type type, float f)
{
    if (type == KV_F16) {
        uint16_t h = quant_f32_to_f16(f);
        memcpy(out, &h, sizeof h);
    } else {
        memcpy(out, &f, sizeof f);
    }
}

static int kv_is_finite(const float *x, kv_type type, size_t n)
{
    float limit = type == KV_F16 ? 65520.0f : INFINITY; /* from 65520 on, nearest even makes an f16 infinite */
    int finite = 1;
    for (size_t i = 0; i < n; i++) finite &= x[i] < limit && x[i] > -limit;
    return finite;
}

static int kv_store(uint8_t *page, const kv_head *head, size_t pos_in_page, const float *k, const float *v, size_t n_embd_head)
{
    int finite = kv_is_finite(k, head->type_k, n_embd_head) && kv_is_finite(v, head->type_v, n_embd_head);
    size_t block = pos_in_page / KV_BLOCK_POSITIONS, lane = pos_in_page % KV_BLOCK_POSITIONS;
    size_t k_bytes = kv_elem_bytes(head->type_k), v_bytes = kv_elem_bytes(head->type_v);
    uint8_t *key = page + head->k_offset + (block * n_embd_head * KV_BLOCK_POSITIONS + lane) * k_bytes;
    uint8_t *value = page + head->v_offset + pos_in_page * n_embd_head * v_bytes;
    for (size_t d = 0; d < n_embd_head; d++) {
        kv_store_value(key + d * KV_BLOCK_POSITIONS * k_bytes, head->type_k, finite ? k[d] : 0.0f);
        kv_store_value(value + d * v_bytes, head->type_v, finite ? v[d] : 0.0f);
    }
    return !finite;
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
    .attention = attention,
    .kv_store = kv_store,
    .max_sum_exp = max_sum_exp,
};
