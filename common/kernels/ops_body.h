/* ops_body.h: everything of a table of kernels but the matmul, written once over the vocabulary of simd_f32.h.
 *
 * Included by one .c file an instruction set (avx2_ops.c, avx512_ops.c, neon.c, wasm.c), which gives these functions their names.
 * They compute the bits of scalar.c, the definition; what is done about order is here, and NUMERICS.md says why it must be. Dead
 * lanes behind the end of a vector are loaded as +0, which changes no sum (N9).
 *
 * Attention is where the time goes: every key and value of a context is read once a layer. The idea of both halves is the same
 * tile: n_h query heads times n_v vectors, all of it accumulators in registers, so that what is loaded (and widened from f16)
 * serves n_h heads. With keys lanes are positions, and a vector a block of 16 of them; with values lanes are elements of the head.
 * No lane meets another, so each score and each element of the result is one accumulator in the contract's order. Bound by
 * multiplications and additions, apart because they may not be fused: 2 * n_embd_head of each a head and position. */
#ifndef YL_KERNELS_OPS_BODY_H
#define YL_KERNELS_OPS_BODY_H

#include <float.h>
#include <math.h> /* INFINITY */
#include <string.h>

#include "kernels.h"
#include "numerics.h"
#include "simd_f32.h"

_Static_assert((int)VF_LANES == (int)YL_SUM_PARTIALS, "a vector is the partial sums of N10");
_Static_assert((int)VF_LANES == (int)KV_BLOCK_POSITIONS, "a vector is a block of keys");
_Static_assert(VF_TILE >= 4 && (VF_TILE & (VF_TILE - 1)) == 0, "tiles of a power of two of heads");

/* N10's tree. */
VF_INLINE float sum_lanes(vf partials)
{
    float p[VF_LANES];
    vf_store(p, partials);
    return yl_sum_partials(p);
}

VF_INLINE float max_lanes(vf x)
{
    float lanes[VF_LANES];
    vf_store(lanes, x);
    float m = lanes[0];
    for (size_t i = 1; i < VF_LANES; i++) m = lanes[i] > m ? lanes[i] : m;
    return m;
}

/* N12. */
VF_INLINE vf exp_lanes(vf x)
{
    vf y = vf_min(x, vf_set1(88.0f)), magic = vf_set1(12582912.0f);
    vf t = vf_add(vf_mul(y, vf_set1(1.44269504088896341f)), magic);
    vf n = vf_sub(t, magic);
    vf r = vf_sub(vf_sub(y, vf_mul(n, vf_set1(0.693359375f))), vf_mul(n, vf_set1(-2.12194440e-4f)));
    vf p = vf_set1(1.9875691500e-4f);
    p = vf_add(vf_mul(p, r), vf_set1(1.3981999507e-3f));
    p = vf_add(vf_mul(p, r), vf_set1(8.3334519073e-3f));
    p = vf_add(vf_mul(p, r), vf_set1(4.1665795894e-2f));
    p = vf_add(vf_mul(p, r), vf_set1(1.6666665459e-1f));
    p = vf_add(vf_mul(p, r), vf_set1(5.0000001201e-1f));
    p = vf_add(vf_add(vf_mul(p, vf_mul(r, r)), r), vf_set1(1.0f));
    return vf_keep_from(vf_add_exponent(p, t), x, -87.0f);
}

/* N2 for one block, n a multiple of 16; returns d. */
static float quantize_block(int8_t *q, const float *x, size_t n)
{
    vf m = vf_zero();
    for (size_t i = 0; i < n; i += VF_LANES) m = vf_max_magnitude(m, vf_load(x + i));
    float amax = vf_top_magnitude(m);
    if (amax < 0x1p-100f || !(amax <= FLT_MAX)) {
        memset(q, 0, n);
        return amax < 0x1p-100f ? 0.0f : amax;
    }
    vf id = vf_set1(127.0f / amax);
    for (size_t i = 0; i < n; i += VF_LANES) vf_store_i8(q + i, vf_mul(vf_load(x + i), id));
    return amax / 127.0f;
}

static void quantize(int8_t *q, float *d, const float *x, size_t n, size_t block)
{
    for (size_t i = 0; i < n / block; i++) d[i] = quantize_block(q + i * block, x + i * block, block);
}

static void rmsnorm(float *y, const float *x, const float *w, size_t n, float eps)
{
    size_t whole = n - n % VF_LANES, rest = n % VF_LANES;
    vf p = vf_zero();
    for (size_t i = 0; i < whole; i += VF_LANES) {
        vf xi = vf_load(x + i);
        p = vf_add(p, vf_mul(xi, xi));
    }
    vf last = vf_load_n(x + whole, rest);
    p = vf_add(p, vf_mul(last, last));
    vf r = vf_set1(1.0f / __builtin_sqrtf(sum_lanes(p) / (float)n + eps));
    for (size_t i = 0; i < whole; i += VF_LANES) vf_store(y + i, vf_mul(vf_mul(vf_load(x + i), r), vf_load(w + i)));
    vf_store_n(y + whole, vf_mul(vf_mul(last, r), vf_load_n(w + whole, rest)), rest);
}

/* N13 for eight pairs: x0 * c - x1 * s in even lanes, x1 * c + x0 * s in odd ones. */
VF_INLINE vf turn_pairs(vf x, vf cs)
{
    return vf_sub_add(vf_mul(x, vf_even(cs)), vf_mul(vf_swap_pairs(x), vf_odd(cs)));
}

static void rope(float *x, const float *cs, size_t n_head, size_t n_embd_head, size_t n_rot)
{
    size_t whole = n_rot - n_rot % VF_LANES, rest = n_rot % VF_LANES;
    for (size_t h = 0; h < n_head; h++, x += n_embd_head) {
        for (size_t i = 0; i < whole; i += VF_LANES) vf_store(x + i, turn_pairs(vf_load(x + i), vf_load(cs + i)));
        if (rest) vf_store_n(x + whole, turn_pairs(vf_load_n(x + whole, rest), vf_load_n(cs + whole, rest)), rest);
    }
}

VF_INLINE vf swiglu_lanes(vf g, vf u)
{
    vf silu = vf_div(g, vf_add(vf_set1(1.0f), exp_lanes(vf_neg(g))));
    return vf_mul(silu, u);
}

static void swiglu(float *g, const float *u, size_t n)
{
    size_t whole = n - n % VF_LANES, rest = n % VF_LANES;
    for (size_t i = 0; i < whole; i += VF_LANES) vf_store(g + i, swiglu_lanes(vf_load(g + i), vf_load(u + i)));
    if (rest) vf_store_n(g + whole, swiglu_lanes(vf_load_n(g + whole, rest), vf_load_n(u + whole, rest)), rest);
}

static void add(float *y, const float *x, size_t n)
{
    size_t whole = n - n % VF_LANES, rest = n % VF_LANES;
    for (size_t i = 0; i < whole; i += VF_LANES) vf_store(y + i, vf_add(vf_load(y + i), vf_load(x + i)));
    if (rest) vf_store_n(y + whole, vf_add(vf_load_n(y + whole, rest), vf_load_n(x + whole, rest)), rest);
}

/* ---- the KV cache ---- */

VF_INLINE size_t kv_elem_bytes(kv_type type)
{
    return type == KV_F16 ? sizeof(uint16_t) : sizeof(float);
}

/* n <= 16 neighbouring values of the cache. With n a constant 16 the choice is made by the compiler, as that of the type is. */
VF_INLINE vf kv_load(const uint8_t *in, kv_type type, size_t n)
{
    if (n == VF_LANES) return type == KV_F16 ? vf_load_f16(in) : vf_load(in);
    return type == KV_F16 ? vf_load_f16_n(in, n) : vf_load_n(in, n);
}

/* Whether x, [n], is finite as values of the cache; from 65520 on, nearest even makes an f16 infinite. */
static int kv_is_finite(const float *x, kv_type type, size_t n)
{
    float limit = type == KV_F16 ? 65520.0f : INFINITY;
    size_t whole = n - n % VF_LANES;
    int finite = vf_all_less(vf_abs(vf_load_n(x + whole, n % VF_LANES)), limit);
    for (size_t i = 0; i < whole; i += VF_LANES) finite &= vf_all_less(vf_abs(vf_load(x + i)), limit);
    return finite;
}

/* 16 values in the cache's type. */
VF_INLINE void kv_convert(uint8_t out[VF_LANES * sizeof(float)], kv_type type, vf x)
{
    if (type == KV_F16) {
        vf_store_f16(out, x);
    } else {
        vf_store(out, x);
    }
}

/* A key is one lane of a block of 16 positions: each element goes 16 elements behind the one before. key: the first. */
VF_INLINE void store_key(uint8_t *key, kv_type type, const float *k, size_t n_embd_head, int finite)
{
    size_t elem_bytes = kv_elem_bytes(type);
    for (size_t d = 0; d < n_embd_head; d += VF_LANES) {
        size_t n = n_embd_head - d < VF_LANES ? n_embd_head - d : VF_LANES;
        uint8_t values[VF_LANES * sizeof(float)];
        kv_convert(values, type, finite ? vf_load_n(k + d, n) : vf_zero());
        for (size_t i = 0; i < n; i++, key += KV_BLOCK_POSITIONS * elem_bytes) memcpy(key, values + i * elem_bytes, elem_bytes);
    }
}

static void store_value(uint8_t *value, kv_type type, const float *v, size_t n_embd_head, int finite)
{
    for (size_t d = 0; d < n_embd_head; d += VF_LANES) {
        size_t n = n_embd_head - d < VF_LANES ? n_embd_head - d : VF_LANES;
        uint8_t values[VF_LANES * sizeof(float)];
        kv_convert(values, type, finite ? vf_load_n(v + d, n) : vf_zero());
        memcpy(value + d * kv_elem_bytes(type), values, n * kv_elem_bytes(type));
    }
}

static int kv_store(uint8_t *page, const kv_head *head, size_t pos_in_page, const float *k, const float *v, size_t n_embd_head)
{
    int finite = kv_is_finite(k, head->type_k, n_embd_head) && kv_is_finite(v, head->type_v, n_embd_head);
    size_t block = pos_in_page / KV_BLOCK_POSITIONS, lane = pos_in_page % KV_BLOCK_POSITIONS;
    uint8_t *key = page + head->k_offset + (block * n_embd_head * KV_BLOCK_POSITIONS + lane) * kv_elem_bytes(head->type_k);
    uint8_t *value = page + head->v_offset + pos_in_page * n_embd_head * kv_elem_bytes(head->type_v);
    if (head->type_k == KV_F16) {
        store_key(key, KV_F16, k, n_embd_head, finite);
    } else {
        store_key(key, KV_F32, k, n_embd_head, finite);
    }
    store_value(value, head->type_v, v, n_embd_head, finite);
    return !finite;
}

/* ---- attention ---- */

/* What the tiles of one page share. Heads lie n_embd_head apart in q and out, `stride` apart in the scores. */
typedef struct page_work {
    float *scores;         /* of the page's first position and the first head */
    float *heads;          /* scores: q * scale; values: the sums so far. [n_q, n_embd_head] */
    const uint8_t *memory; /* keys or values of this page */
    const uint8_t *next;   /* those of the next page, for prefetching; of this one if it is the last */
    size_t stride, n_q, n_pos, n_embd_head;
} page_work;

/* The largest power of two of heads, of those that are left. */
static size_t tile_heads(size_t n_q)
{
    size_t n = VF_TILE;
    while (n > n_q) n /= 2;
    return n;
}

/* How many vectors a tile of n_h heads has. With one, each multiplication takes its broadcast operand from memory where the
 * instruction set can do that; with more, broadcasting is an instruction of its own, which costs more than it saves (measured). A
 * single head needs two chains of additions to hide their latency. */
VF_INLINE size_t tile_vectors(size_t n_h)
{
    return n_h == 1 ? 2 : 1;
}

/* Asks for what a tile of the next page will read where this one reads now: only there the processor's own prefetching ends. */
VF_INLINE void prefetch(const uint8_t *next)
{
    __builtin_prefetch(next, 0, 2);
}

/* Scores of n_h heads, from head h on, at the n_v blocks of 16 positions from `block` on. n_h and n_v are constants. */
VF_INLINE void score_tile(const page_work *w, kv_type type, size_t h, size_t n_h, size_t block, size_t n_v)
{
    size_t n_embd_head = w->n_embd_head, row_bytes = KV_BLOCK_POSITIONS * kv_elem_bytes(type);
    const uint8_t *keys = w->memory + block * n_embd_head * row_bytes, *next = w->next + block * n_embd_head * row_bytes;
    const float *q = w->heads + h * n_embd_head;
    vf acc[VF_TILE];
    VF_UNROLL
    for (size_t i = 0; i < n_h * n_v; i++) acc[i] = vf_zero();
    for (size_t d = 0; d < n_embd_head; d++, keys += row_bytes, next += row_bytes) {
        vf k[2];
        VF_UNROLL
        for (size_t v = 0; v < n_v; v++) {
            prefetch(next + v * n_embd_head * row_bytes);
            k[v] = kv_load(keys + v * n_embd_head * row_bytes, type, VF_LANES);
        }
        VF_UNROLL
        for (size_t i = 0; i < n_h; i++) {
            vf qd = vf_set1(q[i * n_embd_head + d]);
            VF_UNROLL
            for (size_t v = 0; v < n_v; v++) acc[i * n_v + v] = vf_add(acc[i * n_v + v], vf_mul(qd, k[v]));
        }
    }
    float *s = w->scores + h * w->stride + block * KV_BLOCK_POSITIONS;
    VF_UNROLL
    for (size_t i = 0; i < n_h; i++) {
        VF_UNROLL
        for (size_t v = 0; v < n_v; v++) vf_store(s + i * w->stride + v * VF_LANES, acc[i * n_v + v]);
    }
}

/* A page's scores of n_h heads: all its blocks in which a position is attended. */
VF_INLINE void score_heads(const page_work *w, kv_type type, size_t h, size_t n_h)
{
    size_t n_blocks = (w->n_pos + KV_BLOCK_POSITIONS - 1) / KV_BLOCK_POSITIONS, block = 0, n_v = tile_vectors(n_h);
    for (; block + n_v <= n_blocks; block += n_v) score_tile(w, type, h, n_h, block, n_v);
    if (n_v == 2 && block < n_blocks) score_tile(w, type, h, n_h, block, 1);
}

/* Adds e_j * v_j over the page's positions to n_v vectors of n_h heads, elements [d, d + 16 n_v). The last vector may be short:
 * then n_v is 1 and n its length; else n is 16. n_h, n_v and a full n are constants. */
VF_INLINE void value_tile(const page_work *w, kv_type type, size_t h, size_t n_h, size_t d, size_t n_v, size_t n)
{
    size_t n_embd_head = w->n_embd_head, vector_bytes = VF_LANES * kv_elem_bytes(type),
           row_bytes = n_embd_head * kv_elem_bytes(type);
    const uint8_t *values = w->memory + d * kv_elem_bytes(type), *next = w->next + d * kv_elem_bytes(type);
    const float *e = w->scores + h * w->stride;
    float *out = w->heads + h * n_embd_head + d;
    vf acc[VF_TILE];
    VF_UNROLL
    for (size_t i = 0; i < n_h; i++) {
        VF_UNROLL
        for (size_t v = 0; v < n_v; v++) acc[i * n_v + v] = vf_load_n(out + i * n_embd_head + v * VF_LANES, n);
    }
    for (size_t j = 0; j < w->n_pos; j++, values += row_bytes, next += row_bytes) {
        vf x[2];
        VF_UNROLL
        for (size_t v = 0; v < n_v; v++) {
            if (v * vector_bytes % 64 == 0) prefetch(next + v * vector_bytes);
            x[v] = kv_load(values + v * vector_bytes, type, n);
        }
        VF_UNROLL
        for (size_t i = 0; i < n_h; i++) {
            vf ej = vf_set1(e[i * w->stride + j]);
            VF_UNROLL
            for (size_t v = 0; v < n_v; v++) acc[i * n_v + v] = vf_add(acc[i * n_v + v], vf_mul(ej, x[v]));
        }
    }
    VF_UNROLL
    for (size_t i = 0; i < n_h; i++) {
        VF_UNROLL
        for (size_t v = 0; v < n_v; v++) vf_store_n(out + i * n_embd_head + v * VF_LANES, acc[i * n_v + v], n);
    }
}

/* Adds a page's values to the sums of n_h heads. */
VF_INLINE void value_heads(const page_work *w, kv_type type, size_t h, size_t n_h)
{
    size_t d = 0, n_v = tile_vectors(n_h);
    for (; d + n_v * VF_LANES <= w->n_embd_head; d += n_v * VF_LANES) value_tile(w, type, h, n_h, d, n_v, VF_LANES);
    if (n_v == 2 && d + VF_LANES <= w->n_embd_head) {
        value_tile(w, type, h, n_h, d, 1, VF_LANES);
        d += VF_LANES;
    }
    if (d < w->n_embd_head) value_tile(w, type, h, n_h, d, 1, w->n_embd_head - d);
}

/* A page's scores of all heads. The keys of a page stay in the first cache from one tile of heads to the next. */
VF_INLINE void score_page(const page_work *w, kv_type type)
{
    for (size_t h = 0, n; h < w->n_q; h += n) {
        n = tile_heads(w->n_q - h);
        if (n == VF_TILE) {
            score_heads(w, type, h, VF_TILE);
        } else if (n == 4) {
            score_heads(w, type, h, 4);
        } else if (n == 2) {
            score_heads(w, type, h, 2);
        } else {
            score_heads(w, type, h, 1);
        }
    }
}

/* Adds a page's values to the sums of all heads. */
VF_INLINE void value_page(const page_work *w, kv_type type)
{
    for (size_t h = 0, n; h < w->n_q; h += n) {
        n = tile_heads(w->n_q - h);
        if (n == VF_TILE) {
            value_heads(w, type, h, VF_TILE);
        } else if (n == 4) {
            value_heads(w, type, h, 4);
        } else if (n == 2) {
            value_heads(w, type, h, 2);
        } else {
            value_heads(w, type, h, 1);
        }
    }
}

/* Turns the n scores of a head into e_j = exp(s_j - max), and those behind the end, up to a multiple of 16, into +0. */
static void exp_scores(float *s, size_t n)
{
    for (size_t j = n; j % VF_LANES; j++) s[j] = s[0]; /* slots past the end must not be the maximum */
    vf max = vf_set1(s[0]);
    int good = 1; /* a score that is NaN or +infinity would disappear in exp */
    for (size_t j = 0; j < n; j += VF_LANES) {
        vf x = vf_load(s + j);
        good &= vf_all_less(x, INFINITY);
        max = vf_max(x, max);
    }
    max = vf_set1(max_lanes(max));
    for (size_t j = 0; j < n; j += VF_LANES) {
        vf e = good ? exp_lanes(vf_sub(vf_load(s + j), max)) : vf_set1(__builtin_nanf(""));
        vf_store(s + j, e);
    }
    for (size_t j = n; j % VF_LANES; j++) s[j] = 0.0f;
}

/* out = out / sum of e. e: n of them and +0 up to a multiple of 16; out: [n_out]. */
static void divide_by_sum(float *out, size_t n_out, const float *e, size_t n)
{
    vf p = vf_zero();
    for (size_t j = 0; j < n; j += VF_LANES) p = vf_add(p, vf_load(e + j));
    vf sum = vf_set1(sum_lanes(p));
    size_t whole = n_out - n_out % VF_LANES, rest = n_out % VF_LANES;
    for (size_t d = 0; d < whole; d += VF_LANES) vf_store(out + d, vf_div(vf_load(out + d), sum));
    if (rest) vf_store_n(out + whole, vf_div(vf_load_n(out + whole, rest), sum), rest);
}

/* The work of page p: its keys or values, which lie at `offset`. */
static page_work page_work_of(page_work w, const kv_head *kv, size_t p, size_t n_pos, size_t offset)
{
    size_t n_before = p * KV_PAGE_POSITIONS, n_left = n_pos - n_before;
    w.scores += n_before;
    w.n_pos = n_left < KV_PAGE_POSITIONS ? n_left : KV_PAGE_POSITIONS;
    w.memory = kv->pages[p] + offset;
    w.next = n_left > KV_PAGE_POSITIONS ? kv->pages[p + 1] + offset : w.memory;
    return w;
}

static void scores_of_all_pages(page_work all, const kv_head *kv, size_t n_pos)
{
    for (size_t p = 0; p * KV_PAGE_POSITIONS < n_pos; p++) {
        page_work w = page_work_of(all, kv, p, n_pos, kv->k_offset);
        if (kv->type_k == KV_F16) {
            score_page(&w, KV_F16);
        } else {
            score_page(&w, KV_F32);
        }
    }
}

static void values_of_all_pages(page_work all, const kv_head *kv, size_t n_pos)
{
    for (size_t p = 0; p * KV_PAGE_POSITIONS < n_pos; p++) {
        page_work w = page_work_of(all, kv, p, n_pos, kv->v_offset);
        if (kv->type_v == KV_F16) {
            value_page(&w, KV_F16);
        } else {
            value_page(&w, KV_F32);
        }
    }
}

static void attention(float *out, const float *q, size_t n_q, const kv_head *kv, size_t n_pos, size_t n_embd_head, float scale,
                      float *scores)
{
    size_t stride = (n_pos + VF_LANES - 1) / VF_LANES * VF_LANES, n = n_q * n_embd_head;
    page_work w = {.scores = scores, .heads = out, .stride = stride, .n_q = n_q, .n_embd_head = n_embd_head};
    for (size_t i = 0; i < n; i++) out[i] = q[i] * scale; /* out has no other use before the sums */
    scores_of_all_pages(w, kv, n_pos);
    for (size_t h = 0; h < n_q; h++) exp_scores(scores + h * stride, n_pos);
    memset(out, 0, n * sizeof *out);
    values_of_all_pages(w, kv, n_pos);
    for (size_t h = 0; h < n_q; h++) divide_by_sum(out + h * n_embd_head, n_embd_head, scores + h * stride, n_pos);
}

/* ---- softmax over logits ---- */

/* The largest; of equals, which zeros of both signs are, the first; a NaN counts only as the first of all. */
static float max_of(const float *x, size_t n)
{
    size_t whole = n - n % VF_LANES;
    vf lanes = vf_set1(x[0]);
    for (size_t i = 0; i < whole; i += VF_LANES) lanes = vf_max(vf_load(x + i), lanes);
    float m = max_lanes(lanes);
    for (size_t i = whole; i < n; i++) m = x[i] > m ? x[i] : m;
    if (m != 0) return m;
    size_t i = 0;
    while (x[i] != 0) i++;
    return x[i];
}

static void max_sum_exp(const float *x, size_t n, float *max, float *sum_exp)
{
    size_t whole = n - n % VF_LANES, rest = n % VF_LANES;
    float top = max_of(x, n);
    vf m = vf_set1(top), p = vf_zero();
    for (size_t i = 0; i < whole; i += VF_LANES) p = vf_add(p, exp_lanes(vf_sub(vf_load(x + i), m)));
    if (rest) p = vf_add(p, vf_first_n(exp_lanes(vf_sub(vf_load_n(x + whole, rest), m)), rest));
    *max = top;
    *sum_exp = sum_lanes(p);
}

#endif
