/* attention_body.h: attention, written once over the vocabulary of simd_f32.h; included as ops_body.h is.
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
#include "kv_store_body.h"
#include "ops_body.h"

_Static_assert((int)VF_LANES == (int)KV_BLOCK_POSITIONS, "a vector is a block of keys");
_Static_assert(VF_TILE == 4 || VF_TILE == 6 || VF_TILE == 8 || VF_TILE == 12, "tiles that the choices of attention know");

/* ---- tiles ---- */

/* n <= 16 neighbouring values of the cache, f16 or f32. With n a constant 16 the choice is made by the compiler, as that of the
 * type is. */
VF_INLINE vf kv_load(const uint8_t *in, kv_type type, size_t n)
{
    if (n == VF_LANES) return type == KV_F16 ? vf_load_f16(in) : vf_load(in);
    return type == KV_F16 ? vf_load_f16_n(in, n) : vf_load_n(in, n);
}

/* Asks for what will be read of the next page where this one is read now: only there the processor's own prefetching ends. */
VF_INLINE void prefetch(const uint8_t *next)
{
    __builtin_prefetch(next, 0, 2);
}

/* What a tile computes, for scores and for values alike: sums[query] += c[step][query] * x[step] over n steps, where x is a vector
 * of 16 numbers of the cache and c a number of the query's: an element of it, or the exponential of a score. */
typedef struct tile_work {
    size_t n;
    const uint8_t *x, *next; /* next: what lies there in the next page, to be asked for beside it; NULL: nothing */
    size_t x_step, x_pair;   /* bytes to the next step, and to a second vector beside the first */
    const float *c;
    size_t c_step, c_query; /* floats to the next step, and to the next query */
    float *sums;
    size_t sums_query, sums_pair;                 /* floats to the next query, and to those of the second vector */
    const float *scales;                          /* q8_0: what x is to be multiplied by, */
    enum { SCALE_LANES, SCALE_STEPS } scales_are; /* one for each lane, or one for each step */
} tile_work;

/* Tiles of queries: as many as registers hold, then fewer; two times 8 is better than 12 and 4, two times 4 than 6 and 2. */
enum { SMALLER_TILE = VF_TILE > 8 ? 8 : 4 };

static size_t tile_queries(size_t n_left)
{
    if (n_left == VF_TILE || (n_left > VF_TILE && n_left != 2 * SMALLER_TILE)) return VF_TILE;
    size_t n = SMALLER_TILE;
    while (n > n_left) n /= 2;
    return n;
}

VF_INLINE vf tile_load(const tile_work *w, kv_type type, size_t step, size_t v)
{
    const uint8_t *x = w->x + v * w->x_pair;
    if (type != KV_Q8_0) return kv_load(x, type, VF_LANES);
    return vf_mul(w->scales_are == SCALE_LANES ? vf_load(w->scales) : vf_set1(w->scales[step]), vf_load_i8(x));
}

/* n_t queries, n_v vectors; both are constants, as type is. */
VF_INLINE void tile(tile_work w, kv_type type, size_t n_t, size_t n_v)
{
    vf acc[VF_TILE];
    VF_UNROLL
    for (size_t i = 0; i < n_t; i++) {
        VF_UNROLL
        for (size_t v = 0; v < n_v; v++) acc[i * n_v + v] = vf_load(w.sums + i * w.sums_query + v * w.sums_pair);
    }
    for (size_t step = 0; step < w.n; step++, w.x += w.x_step, w.c += w.c_step) {
        vf x[2];
        VF_UNROLL
        for (size_t v = 0; v < n_v; v++) {
            if (w.next) prefetch(w.next + step * w.x_step + v * w.x_pair);
            x[v] = tile_load(&w, type, step, v);
        }
        VF_UNROLL
        for (size_t i = 0; i < n_t; i++) {
            vf c = vf_set1(w.c[i * w.c_query]);
            VF_UNROLL
            for (size_t v = 0; v < n_v; v++) acc[i * n_v + v] = vf_add(acc[i * n_v + v], vf_mul(c, x[v]));
        }
    }
    VF_UNROLL
    for (size_t i = 0; i < n_t; i++) {
        VF_UNROLL
        for (size_t v = 0; v < n_v; v++) vf_store(w.sums + i * w.sums_query + v * w.sums_pair, acc[i * n_v + v]);
    }
}

/* All n_query queries at one vector. With one vector, each multiplication takes its broadcast operand from memory where the
 * instruction set can do that; with more, broadcasting is an instruction of its own, which costs more than it saves (measured). */
VF_INLINE void tiles(tile_work w, kv_type type, size_t n_query)
{
    for (size_t n_t; n_query > 0; n_query -= n_t) {
        n_t = tile_queries(n_query);
        if (n_t == VF_TILE) {
            tile(w, type, VF_TILE, 1);
        } else if (n_t == SMALLER_TILE) {
            tile(w, type, SMALLER_TILE, 1);
        } else if (n_t == 4) {
            tile(w, type, 4, 1);
        } else if (n_t == 2) {
            tile(w, type, 2, 1);
        } else {
            tile(w, type, 1, 1);
        }
        w.c += n_t * w.c_query;
        w.sums += n_t * w.sums_query;
    }
}

/* A panel: the vectors of up to 64 steps as f32, in the first cache, made once for many tiles. */
enum { PANEL_STEPS = 64 };

static void panel_tiles(tile_work w, const float *panel, size_t n_query)
{
    w.x = (const uint8_t *)panel;
    w.x_step = VF_LANES * sizeof *panel;
    w.next = NULL;
    tiles(w, KV_F32, n_query);
}

/* Whether tiles read the cache itself: a panel pays when several of them read the same. */
VF_INLINE int is_direct(const attention *a)
{
    return a->n_query <= VF_TILE;
}

/* ---- pages ---- */

/* Keys or values of a page, those of the next one (of this one if it is the last), the scores of its queries, and how many
 * positions of it are attended by some query. */
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

/* Scores start at 0. The blocks of 16 keys that are attended; a single query has two at a time, for two chains of additions hide
 * their latency. */
VF_INLINE void score_blocks(const attention *a, const page_work *p, kv_type type)
{
    const size_t row_bytes = KV_BLOCK_POSITIONS * kv_elem_bytes(type);
    size_t block_bytes = a->n_embd_head * row_bytes, n_blocks = (p->n_pos + KV_BLOCK_POSITIONS - 1) / KV_BLOCK_POSITIONS;
    for (size_t block = 0, n_v; block < n_blocks; block += n_v) {
        tile_work w = {.n = a->n_embd_head,
                       .x = p->memory + block * block_bytes,
                       .next = p->next + block * block_bytes,
                       .x_step = row_bytes,
                       .x_pair = block_bytes,
                       .c = a->q,
                       .c_step = a->n_query,
                       .c_query = 1,
                       .sums = p->scores + block * KV_BLOCK_POSITIONS,
                       .sums_query = KV_PAGE_POSITIONS,
                       .sums_pair = KV_BLOCK_POSITIONS};
        n_v = a->n_query == 1 && block + 1 < n_blocks ? 2 : 1;
        if (n_v == 2) {
            tile(w, type, 1, 2);
        } else {
            tiles(w, type, a->n_query);
        }
    }
}

/* The same of q8_0, group by group. */
static void score_groups(const attention *a, const page_work *p)
{
    size_t n_groups = a->n_embd_head / KV_GROUP_ELEMS;
    for (size_t i = 0; i < n_groups * ((p->n_pos + KV_BLOCK_POSITIONS - 1) / KV_BLOCK_POSITIONS); i++) {
        const uint8_t *group = p->memory + i * KV_KEY_GROUP_BYTES, *next = p->next + i * KV_KEY_GROUP_BYTES;
        float scales[KV_BLOCK_POSITIONS];
        vf_store(scales, vf_load_f16(group));
        tile_work w = {.n = KV_GROUP_ELEMS,
                       .x = group + 2 * KV_BLOCK_POSITIONS,
                       .next = next + 2 * KV_BLOCK_POSITIONS,
                       .x_step = KV_BLOCK_POSITIONS,
                       .c = a->q + i % n_groups * KV_GROUP_ELEMS * a->n_query,
                       .c_step = a->n_query,
                       .c_query = 1,
                       .sums = p->scores + i / n_groups * KV_BLOCK_POSITIONS,
                       .sums_query = KV_PAGE_POSITIONS,
                       .scales = scales,
                       .scales_are = SCALE_LANES};
        tiles(w, KV_Q8_0, a->n_query);
    }
}

/* Elements [d, d + n) of the 16 keys of a block; d is a multiple of 64. */
static void keys_to_panel(float *panel, const attention *a, const page_work *p, size_t block, size_t d, size_t n)
{
    kv_type type = a->kv.type_k;
    size_t at = (block * a->n_embd_head + d) * KV_BLOCK_POSITIONS * kv_elem_bytes(type),
           bytes = n * KV_BLOCK_POSITIONS * kv_elem_bytes(type);
    if (type == KV_Q8_0) {
        at = (block * a->n_embd_head + d) / KV_GROUP_ELEMS * KV_KEY_GROUP_BYTES;
        bytes = n / KV_GROUP_ELEMS * KV_KEY_GROUP_BYTES;
    }
    const uint8_t *keys = p->memory + at;
    for (size_t i = 0; i < bytes; i += 64) prefetch(p->next + at + i);
    if (type == KV_F16) {
        for (size_t i = 0; i < n * VF_LANES; i += VF_LANES) vf_store(panel + i, vf_load_f16(keys + 2 * i));
    } else if (type == KV_F32) {
        memcpy(panel, keys, bytes);
    } else {
        for (size_t i = 0; i < n; i += KV_GROUP_ELEMS, keys += KV_KEY_GROUP_BYTES, panel += KV_GROUP_ELEMS * VF_LANES) {
            vf scale = vf_load_f16(keys);
            const uint8_t *q = keys + 2 * KV_BLOCK_POSITIONS;
            for (size_t k = 0; k < KV_GROUP_ELEMS * VF_LANES; k += VF_LANES) vf_store(panel + k, vf_mul(scale, vf_load_i8(q + k)));
        }
    }
}

static void score_panels(const attention *a, const page_work *p)
{
    float panel[PANEL_STEPS * VF_LANES];
    for (size_t block = 0; block * KV_BLOCK_POSITIONS < p->n_pos; block++) {
        for (size_t d = 0; d < a->n_embd_head; d += PANEL_STEPS) {
            size_t n = a->n_embd_head - d < PANEL_STEPS ? a->n_embd_head - d : PANEL_STEPS;
            keys_to_panel(panel, a, p, block, d, n);
            tile_work w = {.n = n,
                           .c = a->q + d * a->n_query,
                           .c_step = a->n_query,
                           .c_query = 1,
                           .sums = p->scores + block * KV_BLOCK_POSITIONS,
                           .sums_query = KV_PAGE_POSITIONS};
            panel_tiles(w, panel, a->n_query);
        }
    }
}

static void attention_scores(const attention *a, size_t page_begin, size_t page_end)
{
    size_t page_floats = a->n_query * KV_PAGE_POSITIONS;
    memset(a->scores + page_begin * page_floats, 0, (page_end - page_begin) * page_floats * sizeof *a->scores);
    for (size_t i = page_begin; i < page_end; i++) {
        page_work p = page_work_of(a, i, a->kv.k_offset);
        if (!is_direct(a)) {
            score_panels(a, &p);
        } else if (a->kv.type_k == KV_F16) {
            score_blocks(a, &p, KV_F16);
        } else if (a->kv.type_k == KV_F32) {
            score_blocks(a, &p, KV_F32);
        } else {
            score_groups(a, &p);
        }
    }
}

/* What a page's values add to elements [d, ...) of the sums. */
static tile_work value_work(const attention *a, const page_work *p, size_t d)
{
    return (tile_work){.n = p->n_pos,
                       .c = p->scores,
                       .c_step = 1,
                       .c_query = KV_PAGE_POSITIONS,
                       .sums = a->values + d * a->n_query,
                       .sums_query = VF_LANES,
                       .sums_pair = a->n_query * VF_LANES};
}

/* Elements [begin, end), whole vectors; a single query has two at a time, as with keys. */
VF_INLINE void value_vectors(const attention *a, const page_work *p, kv_type type, size_t begin, size_t end)
{
    for (size_t d = begin, n_v; d < end; d += n_v * VF_LANES) {
        tile_work w = value_work(a, p, d);
        w.x = p->memory + d * kv_elem_bytes(type);
        w.next = p->next + d * kv_elem_bytes(type);
        w.x_step = a->n_embd_head * kv_elem_bytes(type);
        w.x_pair = VF_LANES * kv_elem_bytes(type);
        n_v = a->n_query == 1 && d + VF_LANES < end ? 2 : 1;
        if (n_v == 2) {
            tile(w, type, 1, 2);
        } else {
            tiles(w, type, a->n_query);
        }
    }
}

/* Bytes of a page's q8_0 scales of values; the values are behind them. */
VF_INLINE size_t value_scale_bytes(const attention *a)
{
    return a->n_embd_head / KV_GROUP_ELEMS * 2 * KV_PAGE_POSITIONS;
}

/* The scales at each position of the page, of the group of element d. */
static void load_value_scales(float scales[KV_PAGE_POSITIONS], const page_work *p, size_t d)
{
    const uint8_t *in = p->memory + d / KV_GROUP_ELEMS * 2 * KV_PAGE_POSITIONS;
    for (size_t j = 0; j < KV_PAGE_POSITIONS; j += VF_LANES) vf_store(scales + j, vf_load_f16(in + 2 * j));
}

/* value_vectors of q8_0. */
static void value_groups(const attention *a, const page_work *p, size_t begin, size_t end)
{
    for (size_t d = begin; d < end; d += VF_LANES) {
        float scales[KV_PAGE_POSITIONS];
        load_value_scales(scales, p, d);
        tile_work w = value_work(a, p, d);
        w.x = p->memory + value_scale_bytes(a) + d;
        w.next = p->next + value_scale_bytes(a) + d;
        w.x_step = a->n_embd_head;
        w.scales = scales;
        w.scales_are = SCALE_STEPS;
        tiles(w, KV_Q8_0, a->n_query);
    }
}

/* n <= 16 elements from d on of the page's attended values, +0 behind them. */
static void values_to_panel(float *panel, const attention *a, const page_work *p, size_t d, size_t n)
{
    kv_type type = a->kv.type_v;
    size_t at = d * kv_elem_bytes(type) + (type == KV_Q8_0 ? value_scale_bytes(a) : 0);
    size_t row_bytes = a->n_embd_head * kv_elem_bytes(type);
    const uint8_t *values = p->memory + at;
    float scales[KV_PAGE_POSITIONS];
    if (type == KV_Q8_0) load_value_scales(scales, p, d);
    for (size_t j = 0; j < p->n_pos; j++, values += row_bytes, at += row_bytes, panel += VF_LANES) {
        prefetch(p->next + at);
        vf_store(panel, type == KV_Q8_0 ? vf_mul(vf_set1(scales[j]), vf_load_i8(values)) : kv_load(values, type, n));
    }
}

static void value_panels(const attention *a, const page_work *p, size_t begin, size_t end)
{
    float panel[PANEL_STEPS * VF_LANES];
    for (size_t d = begin; d < end; d += VF_LANES) {
        values_to_panel(panel, a, p, d, end - d < VF_LANES ? end - d : VF_LANES);
        panel_tiles(value_work(a, p, d), panel, a->n_query);
    }
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
    size_t d_whole = is_direct(a) ? d_end - d_end % VF_LANES : d_begin; /* a short vector is not for tiles */
    memset(a->values + d_begin * a->n_query, 0, n_vectors * VF_LANES * a->n_query * sizeof *a->values);
    for (size_t i = 0; i < n_pages; i++) {
        page_work p = page_work_of(a, i, a->kv.v_offset);
        if (a->kv.type_v == KV_F16) {
            value_vectors(a, &p, KV_F16, d_begin, d_whole);
        } else if (a->kv.type_v == KV_F32) {
            value_vectors(a, &p, KV_F32, d_begin, d_whole);
        } else {
            value_groups(a, &p, d_begin, d_whole);
        }
        value_panels(a, &p, d_whole, d_end);
    }
    for (size_t query = 0; query < a->n_query; query++) divide_by_sum(a, query, d_begin, d_end);
}

/* ---- softmax ---- */

enum { PAGE_VECTORS = KV_PAGE_POSITIONS / VF_LANES };

/* A query's scores at the positions of a page. */
VF_INLINE float *scores_of_page(const attention *a, size_t query, size_t page)
{
    return a->scores + (page * a->n_query + query) * KV_PAGE_POSITIONS;
}

/* The largest score in n_pages whole pages; NaN if one is NaN or +infinity, which would disappear in exp. */
static float top_score(const attention *a, size_t query, size_t n_pages)
{
    vf max[PAGE_VECTORS];
    int good = 1;
    VF_UNROLL
    for (size_t v = 0; v < PAGE_VECTORS; v++) max[v] = vf_set1(*scores_of_page(a, query, 0));
    for (size_t page = 0; page < n_pages; page++) {
        const float *s = scores_of_page(a, query, page);
        VF_UNROLL
        for (size_t v = 0; v < PAGE_VECTORS; v++) {
            vf x = vf_load(s + v * VF_LANES);
            good &= vf_all_less(x, INFINITY);
            max[v] = vf_max(x, max[v]);
        }
    }
    return good ? max_lanes(vf_max(vf_max(max[0], max[1]), vf_max(max[2], max[3]))) : __builtin_nanf("");
}

/* A page's 64 scores become exp(s - max), max the largest of all; several vectors at a time hide how long one exp takes. */
VF_INLINE void exp_page(float *s, vf max)
{
    VF_UNROLL
    for (size_t v = 0; v < PAGE_VECTORS; v++) {
        vf x = vf_sub(vf_load(s + v * VF_LANES), max);
        vf_store(s + v * VF_LANES, vf_keep_from(exp_within(x), x, -87.0f));
    }
}

static void fill_page(float *s, float value)
{
    for (size_t v = 0; v < PAGE_VECTORS; v++) vf_store(s + v * VF_LANES, vf_set1(value));
}

/* The query attends n positions; its scores behind them, up to the end of the last page, become +0. */
static void softmax_query(const attention *a, size_t query, size_t n)
{
    size_t n_pages = (n + KV_PAGE_POSITIONS - 1) / KV_PAGE_POSITIONS, n_last = n - (n_pages - 1) * KV_PAGE_POSITIONS;
    float *last = scores_of_page(a, query, n_pages - 1), first = *scores_of_page(a, query, 0);
    for (size_t j = n_last; j < KV_PAGE_POSITIONS; j++) last[j] = first; /* not to be the largest */
    float top = top_score(a, query, n_pages);
    vf sum = vf_zero();
    for (size_t page = 0; page < n_pages; page++) {
        float *s = scores_of_page(a, query, page);
        if (top == top) {
            exp_page(s, vf_set1(top));
        } else {
            fill_page(s, top);
        }
        for (size_t j = n_last; page == n_pages - 1 && j < KV_PAGE_POSITIONS; j++) s[j] = 0.0f;
        VF_UNROLL
        for (size_t v = 0; v < PAGE_VECTORS; v++) sum = vf_add(sum, vf_load(s + v * VF_LANES));
    }
    for (size_t page = n_pages; page < attention_n_pages(a); page++) fill_page(scores_of_page(a, query, page), 0.0f);
    a->sums[query] = sum_lanes(sum);
}

static void attention_softmax(const attention *a, size_t begin, size_t end)
{
    for (size_t query = begin; query < end; query++) softmax_query(a, query, a->n_pos + query / a->n_head);
}

#endif
