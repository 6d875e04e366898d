/* attention_body.h: the KV cache and attention, written once over the vocabulary of simd_f32.h; included as ops_body.h is.
 *
 * Attention is where the time goes: every key and value of a context is read once a layer and row. The idea of both halves is the
 * same tile: n_t queries times n_v vectors, all of it accumulators in registers, so that what is loaded (and widened from f16 or
 * int8) serves n_t queries: heads that share it, and in a prompt rows that follow each other. With keys lanes are positions, and a
 * vector a block of 16 of them; with values lanes are elements of the head. No lane meets another, so each score and each element
 * of the result is one accumulator in the contract's order. A row's positions end before those of the rows behind it: what is
 * computed there of its scores is not looked at, and exponentials of +0 there change no sum (N9). Bound by multiplications and
 * additions, apart because they may not be fused: 2 * n_embd_head of each a query and position. */
#ifndef YL_KERNELS_ATTENTION_BODY_H
#define YL_KERNELS_ATTENTION_BODY_H

#include <math.h> /* INFINITY */

#include "attention.h"
#include "ops_body.h"

_Static_assert((int)VF_LANES == (int)KV_BLOCK_POSITIONS, "a vector is a block of keys");
_Static_assert(VF_TILE == 4 || VF_TILE == 6 || VF_TILE == 12, "tiles that the choices of attention know");

/* ---- the KV cache (kv_page.h has the layouts) ---- */

VF_INLINE size_t kv_elem_bytes(kv_type type)
{
    return type == KV_F16 ? sizeof(uint16_t) : type == KV_F32 ? sizeof(float) : sizeof(int8_t);
}

/* n <= 16 neighbouring values of the cache, q8_0 times their scales. With n a constant 16 the choice is made by the compiler, as
 * that of the type is; q8_0 comes in no other number. */
VF_INLINE vf kv_load(const uint8_t *in, kv_type type, vf scale, size_t n)
{
    if (type == KV_Q8_0) return vf_mul(scale, vf_load_i8(in));
    if (n == VF_LANES) return type == KV_F16 ? vf_load_f16(in) : vf_load(in);
    return type == KV_F16 ? vf_load_f16_n(in, n) : vf_load_n(in, n);
}

/* Whether x, [n], is finite as values of the cache; from 65520 on, nearest even makes an f16 infinite. */
static int plain_is_finite(const float *x, kv_type type, size_t n)
{
    float limit = type == KV_F16 ? 65520.0f : INFINITY;
    size_t whole = n - n % VF_LANES;
    int finite = vf_all_less(vf_abs(vf_load_n(x + whole, n % VF_LANES)), limit);
    for (size_t i = 0; i < whole; i += VF_LANES) finite &= vf_all_less(vf_abs(vf_load(x + i)), limit);
    return finite;
}

/* The same of q8_0, where the scales are f16. */
static int groups_are_finite(const float *x, size_t n)
{
    int finite = 1;
    for (size_t i = 0; i < n; i += KV_GROUP_ELEMS) {
        vf m = vf_max_magnitude(vf_max_magnitude(vf_zero(), vf_load(x + i)), vf_load(x + i + VF_LANES));
        finite &= vf_top_magnitude(m) / 127.0f < 65520.0f;
    }
    return finite;
}

static int kv_is_finite(const float *x, kv_type type, size_t n)
{
    return type == KV_Q8_0 ? groups_are_finite(x, n) : plain_is_finite(x, type, n);
}

/* 16 values in the cache's type, f16 or f32. */
VF_INLINE void kv_convert(uint8_t out[VF_LANES * sizeof(float)], kv_type type, vf x)
{
    if (type == KV_F16) {
        vf_store_f16(out, x);
    } else {
        vf_store(out, x);
    }
}

/* The key of one position, f16 or f32: a lane of a block of 16, each element 16 elements behind the one before. key: the first. */
VF_INLINE void store_plain_key(uint8_t *key, kv_type type, const float *k, size_t n_embd_head, int finite)
{
    size_t elem_bytes = kv_elem_bytes(type);
    for (size_t d = 0; d < n_embd_head; d += VF_LANES) {
        size_t n = n_embd_head - d < VF_LANES ? n_embd_head - d : VF_LANES;
        uint8_t values[VF_LANES * sizeof(float)];
        kv_convert(values, type, finite ? vf_load_n(k + d, n) : vf_zero());
        for (size_t i = 0; i < n; i++, key += KV_BLOCK_POSITIONS * elem_bytes) memcpy(key, values + i * elem_bytes, elem_bytes);
    }
}

static void store_plain_value(uint8_t *value, kv_type type, const float *v, size_t n_embd_head, int finite)
{
    for (size_t d = 0; d < n_embd_head; d += VF_LANES) {
        size_t n = n_embd_head - d < VF_LANES ? n_embd_head - d : VF_LANES;
        uint8_t values[VF_LANES * sizeof(float)];
        kv_convert(values, type, finite ? vf_load_n(v + d, n) : vf_zero());
        memcpy(value + d * kv_elem_bytes(type), values, n * kv_elem_bytes(type));
    }
}

/* A group of 32 elements in q8_0; its scale goes to d. */
static void quantize_group(uint8_t *d, int8_t q[KV_GROUP_ELEMS], const float *x, int finite)
{
    uint16_t scale = 0;
    if (finite) {
        scale = quant_f32_to_f16(quantize_block(q, x, KV_GROUP_ELEMS));
    } else {
        memset(q, 0, KV_GROUP_ELEMS);
    }
    memcpy(d, &scale, sizeof scale);
}

/* block: its first group, of n_embd_head / 32. */
static void store_key_groups(uint8_t *block, size_t lane, const float *k, size_t n_embd_head, int finite)
{
    for (size_t d = 0; d < n_embd_head; d += KV_GROUP_ELEMS, block += KV_KEY_GROUP_BYTES) {
        int8_t q[KV_GROUP_ELEMS];
        quantize_group(block + 2 * lane, q, k + d, finite);
        uint8_t *key = block + 2 * KV_BLOCK_POSITIONS + lane;
        for (size_t i = 0; i < KV_GROUP_ELEMS; i++) key[i * KV_BLOCK_POSITIONS] = (uint8_t)q[i];
    }
}

/* values: the page's. */
static void store_value_groups(uint8_t *values, size_t pos_in_page, const float *v, size_t n_embd_head, int finite)
{
    uint8_t *d = values + 2 * pos_in_page, *q = values + n_embd_head / KV_GROUP_ELEMS * 2 * KV_PAGE_POSITIONS;
    q += pos_in_page * n_embd_head;
    for (size_t i = 0; i < n_embd_head; i += KV_GROUP_ELEMS, d += 2 * KV_PAGE_POSITIONS)
        quantize_group(d, (int8_t *)q + i, v + i, finite);
}

static void store_key(uint8_t *keys, kv_type type, size_t pos_in_page, const float *k, size_t n_embd_head, int finite)
{
    size_t block = pos_in_page / KV_BLOCK_POSITIONS, lane = pos_in_page % KV_BLOCK_POSITIONS;
    uint8_t *key = keys + (block * n_embd_head * KV_BLOCK_POSITIONS + lane) * kv_elem_bytes(type);
    switch (type) {
    case KV_F16: store_plain_key(key, KV_F16, k, n_embd_head, finite); return;
    case KV_F32: store_plain_key(key, KV_F32, k, n_embd_head, finite); return;
    case KV_Q8_0:
        store_key_groups(keys + block * (n_embd_head / KV_GROUP_ELEMS) * KV_KEY_GROUP_BYTES, lane, k, n_embd_head, finite);
        return;
    }
}

static void store_value(uint8_t *values, kv_type type, size_t pos_in_page, const float *v, size_t n_embd_head, int finite)
{
    if (type == KV_Q8_0) {
        store_value_groups(values, pos_in_page, v, n_embd_head, finite);
    } else {
        store_plain_value(values + pos_in_page * n_embd_head * kv_elem_bytes(type), type, v, n_embd_head, finite);
    }
}

static int kv_store(uint8_t *page, const kv_head *head, size_t pos_in_page, const float *k, const float *v, size_t n_embd_head)
{
    int finite = kv_is_finite(k, head->type_k, n_embd_head) && kv_is_finite(v, head->type_v, n_embd_head);
    store_key(page + head->k_offset, head->type_k, pos_in_page, k, n_embd_head, finite);
    store_value(page + head->v_offset, head->type_v, pos_in_page, v, n_embd_head, finite);
    return !finite;
}

/* ---- attention ---- */

/* Tiles of queries: as many as registers hold, then fewer; two times 8 is better than 12 and 4, two times 4 than 6 and 2. */
enum { SMALLER_TILE = VF_TILE > 8 ? 8 : 4 };

static size_t tile_queries(size_t n_left)
{
    if (n_left >= VF_TILE && n_left != 2 * SMALLER_TILE) return VF_TILE;
    size_t n = SMALLER_TILE;
    while (n > n_left) n /= 2;
    return n;
}

/* How many vectors a tile of n_t queries has. With one, each multiplication takes its broadcast operand from memory where the
 * instruction set can do that; with more, broadcasting is an instruction of its own, which costs more than it saves (measured). A
 * single query needs two chains of additions to hide their latency. */
VF_INLINE size_t tile_vectors(size_t n_t)
{
    return n_t == 1 ? 2 : 1;
}

/* What the tiles of one page share: its keys or values, those of the next page, for prefetching (of this one if it is the last),
 * the scores of its queries, and how many positions of it are attended by some query. */
typedef struct page_work {
    const uint8_t *memory, *next;
    float *scores; /* [n_query][64] */
    size_t n_pos;
} page_work;

static page_work page_work_of(const attention *a, size_t p, size_t offset)
{
    size_t n_left = attention_last_n_pos(a) - p * KV_PAGE_POSITIONS;
    const uint8_t *memory = a->kv.pages[p] + offset;
    return (page_work){.memory = memory,
                       .next = n_left > KV_PAGE_POSITIONS ? a->kv.pages[p + 1] + offset : memory,
                       .scores = a->scores + p * a->n_query * KV_PAGE_POSITIONS,
                       .n_pos = n_left < KV_PAGE_POSITIONS ? n_left : KV_PAGE_POSITIONS};
}

/* Asks for what a tile of the next page will read where this one reads now: only there the processor's own prefetching ends. */
VF_INLINE void prefetch(const uint8_t *next)
{
    __builtin_prefetch(next, 0, 2);
}

/* acc[query][vector] += q[d][query] * k for n neighbouring elements d of n_v blocks of keys. keys, next: of the first block and
 * element; the other blocks' lie block_bytes apart. */
VF_INLINE void score_elements(vf *acc, const float *q, size_t n_query, size_t n_t, const uint8_t *keys, const uint8_t *next,
                              size_t block_bytes, kv_type type, const vf *scale, size_t n_v, size_t n)
{
    const size_t row_bytes = KV_BLOCK_POSITIONS * kv_elem_bytes(type);
    for (size_t d = 0; d < n; d++, keys += row_bytes, next += row_bytes, q += n_query) {
        vf k[2];
        VF_UNROLL
        for (size_t v = 0; v < n_v; v++) {
            prefetch(next + v * block_bytes);
            k[v] = kv_load(keys + v * block_bytes, type, scale[v], VF_LANES);
        }
        VF_UNROLL
        for (size_t i = 0; i < n_t; i++) {
            vf qd = vf_set1(q[i]);
            VF_UNROLL
            for (size_t v = 0; v < n_v; v++) acc[i * n_v + v] = vf_add(acc[i * n_v + v], vf_mul(qd, k[v]));
        }
    }
}

/* Scores of n_t queries from `query` on at the n_v blocks of 16 positions from `block` on. type, n_t and n_v are constants. */
VF_INLINE void score_tile(const attention *a, const page_work *w, kv_type type, size_t query, size_t n_t, size_t block, size_t n_v)
{
    size_t n_embd_head = a->n_embd_head, block_bytes = (size_t)kv_run_bytes(type, n_embd_head) / 4;
    const uint8_t *keys = w->memory + block * block_bytes, *next = w->next + block * block_bytes;
    const float *q = a->q + query;
    vf acc[VF_TILE], scale[2] = {vf_zero(), vf_zero()};
    VF_UNROLL
    for (size_t i = 0; i < n_t * n_v; i++) acc[i] = vf_zero();
    if (type == KV_Q8_0) {
        const size_t scale_bytes = 2 * KV_BLOCK_POSITIONS;
        for (size_t d = 0; d < n_embd_head; d += KV_GROUP_ELEMS, q += KV_GROUP_ELEMS * a->n_query) {
            VF_UNROLL
            for (size_t v = 0; v < n_v; v++) scale[v] = vf_load_f16(keys + v * block_bytes);
            score_elements(acc, q, a->n_query, n_t, keys + scale_bytes, next + scale_bytes, block_bytes, type, scale, n_v,
                           KV_GROUP_ELEMS);
            keys += KV_KEY_GROUP_BYTES;
            next += KV_KEY_GROUP_BYTES;
        }
    } else {
        score_elements(acc, q, a->n_query, n_t, keys, next, block_bytes, type, scale, n_v, n_embd_head);
    }
    float *s = w->scores + query * KV_PAGE_POSITIONS + block * KV_BLOCK_POSITIONS;
    VF_UNROLL
    for (size_t i = 0; i < n_t; i++) {
        VF_UNROLL
        for (size_t v = 0; v < n_v; v++) vf_store(s + i * KV_PAGE_POSITIONS + v * VF_LANES, acc[i * n_v + v]);
    }
}

/* A page's scores of n_t queries: all its blocks in which a position is attended. */
VF_INLINE void score_blocks(const attention *a, const page_work *w, kv_type type, size_t query, size_t n_t)
{
    size_t n_blocks = (w->n_pos + KV_BLOCK_POSITIONS - 1) / KV_BLOCK_POSITIONS, block = 0, n_v = tile_vectors(n_t);
    for (; block + n_v <= n_blocks; block += n_v) score_tile(a, w, type, query, n_t, block, n_v);
    if (n_v == 2 && block < n_blocks) score_tile(a, w, type, query, n_t, block, 1);
}

/* Scales of q8_0 at each position of a page, of the group in which element d lies. */
VF_INLINE void load_value_scales(float scales[KV_PAGE_POSITIONS], const uint8_t *values, size_t d)
{
    const uint8_t *in = values + d / KV_GROUP_ELEMS * 2 * KV_PAGE_POSITIONS;
    for (size_t j = 0; j < KV_PAGE_POSITIONS; j += VF_LANES) vf_store(scales + j, vf_load_f16(in + 2 * j));
}

/* Adds e_j * v_j over the page's positions to n_v vectors of n_t queries, elements [d, d + 16 n_v). The last vector may be short:
 * then n_v is 1 and n its length; else n is 16. type, n_t, n_v and a full n are constants; q8_0 has no short vectors. */
VF_INLINE void value_tile(const attention *a, const page_work *w, kv_type type, size_t query, size_t n_t, size_t d, size_t n_v,
                          size_t n)
{
    const size_t vector_bytes = VF_LANES * kv_elem_bytes(type);
    size_t row_bytes = a->n_embd_head * kv_elem_bytes(type), vector_floats = a->n_query * VF_LANES,
           at = d * kv_elem_bytes(type) + (type == KV_Q8_0 ? a->n_embd_head / KV_GROUP_ELEMS * 2 * KV_PAGE_POSITIONS : 0);
    const uint8_t *values = w->memory + at, *next = w->next + at;
    const float *e = w->scores + query * KV_PAGE_POSITIONS;
    float *sums = a->values + d * a->n_query + query * VF_LANES, scales[KV_PAGE_POSITIONS];
    if (type == KV_Q8_0) load_value_scales(scales, w->memory, d); /* two vectors from d on are of one group */
    vf acc[VF_TILE];
    VF_UNROLL
    for (size_t i = 0; i < n_t; i++) {
        VF_UNROLL
        for (size_t v = 0; v < n_v; v++) acc[i * n_v + v] = vf_load(sums + i * VF_LANES + v * vector_floats);
    }
    for (size_t j = 0; j < w->n_pos; j++, values += row_bytes, next += row_bytes) {
        vf x[2], scale = type == KV_Q8_0 ? vf_set1(scales[j]) : vf_zero();
        VF_UNROLL
        for (size_t v = 0; v < n_v; v++) {
            if (v * vector_bytes % 64 == 0) prefetch(next + v * vector_bytes);
            x[v] = kv_load(values + v * vector_bytes, type, scale, n);
        }
        VF_UNROLL
        for (size_t i = 0; i < n_t; i++) {
            vf ej = vf_set1(e[i * KV_PAGE_POSITIONS + j]);
            VF_UNROLL
            for (size_t v = 0; v < n_v; v++) acc[i * n_v + v] = vf_add(acc[i * n_v + v], vf_mul(ej, x[v]));
        }
    }
    VF_UNROLL
    for (size_t i = 0; i < n_t; i++) {
        VF_UNROLL
        for (size_t v = 0; v < n_v; v++) vf_store(sums + i * VF_LANES + v * vector_floats, acc[i * n_v + v]);
    }
}

/* Adds a page's values to elements [begin, end) of n_t queries. */
VF_INLINE void value_vectors(const attention *a, const page_work *w, kv_type type, size_t query, size_t n_t, size_t begin,
                             size_t end)
{
    size_t d = begin, n_v = tile_vectors(n_t);
    for (; d + n_v * VF_LANES <= end; d += n_v * VF_LANES) value_tile(a, w, type, query, n_t, d, n_v, VF_LANES);
    if (n_v == 2 && d + VF_LANES <= end) {
        value_tile(a, w, type, query, n_t, d, 1, VF_LANES);
        d += VF_LANES;
    }
    if (d < end && type != KV_Q8_0) value_tile(a, w, type, query, n_t, d, 1, end - d);
}

/* A page's scores of all queries. Its keys stay in the first cache from one tile of queries to the next. */
VF_INLINE void score_page(const attention *a, const page_work *w, kv_type type)
{
    for (size_t query = 0, n_t; query < a->n_query; query += n_t) {
        n_t = tile_queries(a->n_query - query);
        if (n_t == VF_TILE) {
            score_blocks(a, w, type, query, VF_TILE);
        } else if (n_t == SMALLER_TILE) {
            score_blocks(a, w, type, query, SMALLER_TILE);
        } else if (n_t == 4) {
            score_blocks(a, w, type, query, 4);
        } else if (n_t == 2) {
            score_blocks(a, w, type, query, 2);
        } else {
            score_blocks(a, w, type, query, 1);
        }
    }
}

/* Adds a page's values to elements [begin, end) of all queries. */
VF_INLINE void value_page(const attention *a, const page_work *w, kv_type type, size_t begin, size_t end)
{
    for (size_t query = 0, n_t; query < a->n_query; query += n_t) {
        n_t = tile_queries(a->n_query - query);
        if (n_t == VF_TILE) {
            value_vectors(a, w, type, query, VF_TILE, begin, end);
        } else if (n_t == SMALLER_TILE) {
            value_vectors(a, w, type, query, SMALLER_TILE, begin, end);
        } else if (n_t == 4) {
            value_vectors(a, w, type, query, 4, begin, end);
        } else if (n_t == 2) {
            value_vectors(a, w, type, query, 2, begin, end);
        } else {
            value_vectors(a, w, type, query, 1, begin, end);
        }
    }
}

static void attention_scores(const attention *a, size_t page_begin, size_t page_end)
{
    for (size_t p = page_begin; p < page_end; p++) {
        page_work w = page_work_of(a, p, a->kv.k_offset);
        switch (a->kv.type_k) {
        case KV_F16: score_page(a, &w, KV_F16); break;
        case KV_F32: score_page(a, &w, KV_F32); break;
        case KV_Q8_0: score_page(a, &w, KV_Q8_0); break;
        }
    }
}

/* 16 scores of a query, from position j on. */
VF_INLINE float *scores_at(const attention *a, size_t query, size_t j)
{
    return a->scores + (j / KV_PAGE_POSITIONS * a->n_query + query) * KV_PAGE_POSITIONS + j % KV_PAGE_POSITIONS;
}

/* The largest score of the n positions that a query attends; NaN if one is NaN or +infinity, which would disappear in exp. Those
 * behind them in the last vector become copies of the first. */
static float top_score(const attention *a, size_t query, size_t n)
{
    float first = *scores_at(a, query, 0);
    for (size_t j = n; j % VF_LANES; j++) *scores_at(a, query, j) = first;
    vf max = vf_set1(first);
    int good = 1;
    for (size_t j = 0; j < n; j += VF_LANES) {
        vf x = vf_load(scores_at(a, query, j));
        good &= vf_all_less(x, INFINITY);
        max = vf_max(x, max);
    }
    return good ? max_lanes(max) : __builtin_nanf("");
}

/* exp(s_j - max), +0 behind the n positions that the query attends, and the sum by N10. */
static void softmax_query(const attention *a, size_t query, size_t n)
{
    size_t n_slots = attention_n_pages(a) * KV_PAGE_POSITIONS, j = 0;
    float top = top_score(a, query, n);
    vf max = vf_set1(top), sum = vf_zero(), bad = vf_set1(top - top); /* +0, or NaN */
    for (; j < n; j += VF_LANES) {
        float *s = scores_at(a, query, j);
        vf e = vf_add(exp_lanes(vf_sub(vf_load(s), max)), bad);
        if (n - j < VF_LANES) e = vf_first_n(e, n - j);
        sum = vf_add(sum, e);
        vf_store(s, e);
    }
    for (; j < n_slots; j += VF_LANES) vf_store(scores_at(a, query, j), vf_zero());
    a->sums[query] = sum_lanes(sum);
}

static void attention_softmax(const attention *a, size_t begin, size_t end)
{
    for (size_t query = begin; query < end; query++) softmax_query(a, query, a->n_pos + query / a->n_head);
}

/* Elements [begin, end) of a query's result, from its sums of values. */
static void divide_by_sum(const attention *a, size_t query, size_t begin, size_t end)
{
    float *out = a->out + query / a->n_head * a->out_stride + query % a->n_head * a->n_embd_head;
    vf sum = vf_set1(a->sums[query]);
    for (size_t d = begin; d < end; d += VF_LANES) {
        vf x = vf_div(vf_load(a->values + d * a->n_query + query * VF_LANES), sum);
        vf_store_n(out + d, x, end - d < VF_LANES ? end - d : VF_LANES);
    }
}

static void attention_values(const attention *a, size_t d_begin, size_t d_end)
{
    size_t n_vectors = (d_end - d_begin + VF_LANES - 1) / VF_LANES, n_pages = attention_n_pages(a);
    memset(a->values + d_begin * a->n_query, 0, n_vectors * VF_LANES * a->n_query * sizeof *a->values);
    for (size_t p = 0; p < n_pages; p++) {
        page_work w = page_work_of(a, p, a->kv.v_offset);
        switch (a->kv.type_v) {
        case KV_F16: value_page(a, &w, KV_F16, d_begin, d_end); break;
        case KV_F32: value_page(a, &w, KV_F32, d_begin, d_end); break;
        case KV_Q8_0: value_page(a, &w, KV_Q8_0, d_begin, d_end); break;
        }
    }
    for (size_t query = 0; query < a->n_query; query++) divide_by_sum(a, query, d_begin, d_end);
}

#endif
