/* tile.c: GGUF's rows to tiles and back.
 *
 * A table says of each format which bytes of a block go where in a unit. Everything else moves the numbers of a part: four rows at
 * a time, whose vectors of 16 bytes are transposed in registers (in the compiler's vectors, so on any machine that has them), or
 * one number at a time where there are no four rows or no 16 bytes. Rows are the outer loop within a unit: what is read is one
 * stream a row, what is written lies within the few lines of the unit. (The other way round the reads, which are as far apart as
 * rows are long, often a power of two, would throw each other out of the cache.) */
#include "tile.h"

#include <assert.h>
#include <string.h>

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

enum { MAX_PARTS = 14 };

/* Neighbouring bytes of a block, numbers of `elem` bytes, and where they go. */
typedef struct part {
    uint8_t offset, n_bytes; /* in the block */
    uint8_t elem;            /* 2 or 4; 0: no part */
    bool is_scale;           /* f16 numbers that must be finite */
    uint16_t at;             /* in the unit */
} part;

typedef struct layout {
    uint16_t unit_bytes, block_bytes;
    uint16_t block_cols;
    uint8_t n_blocks; /* of a row in a unit */
    bool has_padding; /* bytes of a unit that no part fills */
    part parts[MAX_PARTS];
} layout;

static const layout layouts[QUANT_TYPE_END] = {
    [QUANT_F32] = {sizeof(tile_f32), 4, 1, 1, false, {{0, 4, 4, false, 0}}},
    [QUANT_F16] = {sizeof(tile_f16), 2, 1, 2, false, {{0, 2, 2, false, 0}}},
    [QUANT_BF16] = {sizeof(tile_f16), 2, 1, 2, false, {{0, 2, 2, false, 0}}},
    [QUANT_Q4_0] = {sizeof(tile_q4_0),
                    sizeof(block_q4_0),
                    QK,
                    2,
                    false,
                    {{offsetof(block_q4_0, d), 2, 2, true, offsetof(tile_q4_0, d)},
                     {offsetof(block_q4_0, qs), 16, 4, false, offsetof(tile_q4_0, qs)}}},
    [QUANT_IQ4_NL] = {sizeof(tile_q4_0),
                      sizeof(block_iq4_nl),
                      QK,
                      2,
                      false,
                      {{offsetof(block_iq4_nl, d), 2, 2, true, offsetof(tile_q4_0, d)},
                       {offsetof(block_iq4_nl, qs), 16, 4, false, offsetof(tile_q4_0, qs)}}},
    [QUANT_Q4_1] = {sizeof(tile_q4_1),
                    sizeof(block_q4_1),
                    QK,
                    2,
                    false,
                    {{offsetof(block_q4_1, d), 2, 2, true, offsetof(tile_q4_1, d)},
                     {offsetof(block_q4_1, m), 2, 2, true, offsetof(tile_q4_1, m)},
                     {offsetof(block_q4_1, qs), 16, 4, false, offsetof(tile_q4_1, qs)}}},
    [QUANT_Q5_0] = {sizeof(tile_q5_0),
                    sizeof(block_q5_0),
                    QK,
                    2,
                    false,
                    {{offsetof(block_q5_0, d), 2, 2, true, offsetof(tile_q5_0, d)},
                     {offsetof(block_q5_0, qh), 4, 4, false, offsetof(tile_q5_0, qh)},
                     {offsetof(block_q5_0, qs), 16, 4, false, offsetof(tile_q5_0, qs)}}},
    [QUANT_Q5_1] = {sizeof(tile_q5_1),
                    sizeof(block_q5_1),
                    QK,
                    2,
                    false,
                    {{offsetof(block_q5_1, d), 2, 2, true, offsetof(tile_q5_1, d)},
                     {offsetof(block_q5_1, m), 2, 2, true, offsetof(tile_q5_1, m)},
                     {offsetof(block_q5_1, qh), 4, 4, false, offsetof(tile_q5_1, qh)},
                     {offsetof(block_q5_1, qs), 16, 4, false, offsetof(tile_q5_1, qs)}}},
    [QUANT_Q8_0] = {sizeof(tile_q8_0),
                    sizeof(block_q8_0),
                    QK,
                    2,
                    false,
                    {{offsetof(block_q8_0, d), 2, 2, true, offsetof(tile_q8_0, d)},
                     {offsetof(block_q8_0, qs), 32, 4, false, offsetof(tile_q8_0, qs)}}},
    [QUANT_Q2_K] = {sizeof(tile_q2_K),
                    sizeof(block_q2_K),
                    QK_K,
                    1,
                    false,
                    {{offsetof(block_q2_K, d), 2, 2, true, offsetof(tile_q2_K, d)},
                     {offsetof(block_q2_K, dmin), 2, 2, true, offsetof(tile_q2_K, dmin)},
                     {offsetof(block_q2_K, scales), 16, 4, false, offsetof(tile_q2_K, scales)},
                     {offsetof(block_q2_K, qs), 64, 4, false, offsetof(tile_q2_K, qs)}}},
    [QUANT_Q3_K] = {sizeof(tile_q3_K),
                    sizeof(block_q3_K),
                    QK_K,
                    1,
                    true,
                    {{offsetof(block_q3_K, d), 2, 2, true, offsetof(tile_q3_K, d)},
                     {offsetof(block_q3_K, scales), 12, 4, false, offsetof(tile_q3_K, scales)},
                     {offsetof(block_q3_K, hmask) + 0, 16, 4, false, offsetof(tile_q3_K, part[0].hmask)},
                     {offsetof(block_q3_K, qs) + 0, 16, 4, false, offsetof(tile_q3_K, part[0].qs[0])},
                     {offsetof(block_q3_K, qs) + 32, 16, 4, false, offsetof(tile_q3_K, part[0].qs[1])},
                     {offsetof(block_q3_K, hmask) + 16, 16, 4, false, offsetof(tile_q3_K, part[1].hmask)},
                     {offsetof(block_q3_K, qs) + 16, 16, 4, false, offsetof(tile_q3_K, part[1].qs[0])},
                     {offsetof(block_q3_K, qs) + 48, 16, 4, false, offsetof(tile_q3_K, part[1].qs[1])}}},
    /* d and dmin are neighbours, and so are a block's scales and quants: fewer parts than fields */
    [QUANT_Q4_K] = {sizeof(tile_q4_K),
                    sizeof(block_q4_K),
                    QK_K,
                    1,
                    false,
                    {{offsetof(block_q4_K, d), 4, 2, true, offsetof(tile_q4_K, d)},
                     {offsetof(block_q4_K, scales), 12 + 128, 4, false, offsetof(tile_q4_K, scales)}}},
    [QUANT_Q5_K] = {sizeof(tile_q5_K),
                    sizeof(block_q5_K),
                    QK_K,
                    1,
                    false,
                    {{offsetof(block_q5_K, d), 4, 2, true, offsetof(tile_q5_K, d)},
                     {offsetof(block_q5_K, scales), 12 + 32 + 128, 4, false, offsetof(tile_q5_K, scales)}}},
    [QUANT_Q6_K] = {sizeof(tile_q6_K),
                    sizeof(block_q6_K),
                    QK_K,
                    1,
                    true,
                    {{offsetof(block_q6_K, d), 2, 2, true, offsetof(tile_q6_K, d)},
                     {offsetof(block_q6_K, scales), 16, 4, false, offsetof(tile_q6_K, scales)},
                     {offsetof(block_q6_K, qh) + 0, 16, 4, false, offsetof(tile_q6_K, part[0][0].qh)},
                     {offsetof(block_q6_K, ql) + 0, 16, 4, false, offsetof(tile_q6_K, part[0][0].ql[0])},
                     {offsetof(block_q6_K, ql) + 32, 16, 4, false, offsetof(tile_q6_K, part[0][0].ql[1])},
                     {offsetof(block_q6_K, qh) + 16, 16, 4, false, offsetof(tile_q6_K, part[0][1].qh)},
                     {offsetof(block_q6_K, ql) + 16, 16, 4, false, offsetof(tile_q6_K, part[0][1].ql[0])},
                     {offsetof(block_q6_K, ql) + 48, 16, 4, false, offsetof(tile_q6_K, part[0][1].ql[1])},
                     {offsetof(block_q6_K, qh) + 32, 16, 4, false, offsetof(tile_q6_K, part[1][0].qh)},
                     {offsetof(block_q6_K, ql) + 64, 16, 4, false, offsetof(tile_q6_K, part[1][0].ql[0])},
                     {offsetof(block_q6_K, ql) + 96, 16, 4, false, offsetof(tile_q6_K, part[1][0].ql[1])},
                     {offsetof(block_q6_K, qh) + 48, 16, 4, false, offsetof(tile_q6_K, part[1][1].qh)},
                     {offsetof(block_q6_K, ql) + 80, 16, 4, false, offsetof(tile_q6_K, part[1][1].ql[0])},
                     {offsetof(block_q6_K, ql) + 112, 16, 4, false, offsetof(tile_q6_K, part[1][1].ql[1])}}},
    [QUANT_IQ4_XS] = {sizeof(tile_iq4_xs),
                      sizeof(block_iq4_xs),
                      QK_K,
                      1,
                      false,
                      {{offsetof(block_iq4_xs, d), 2, 2, true, offsetof(tile_iq4_xs, d)},
                       {offsetof(block_iq4_xs, scales_h), 2, 2, false, offsetof(tile_iq4_xs, scales_h)},
                       {offsetof(block_iq4_xs, scales_l), 4 + 128, 4, false, offsetof(tile_iq4_xs, scales_l)}}},
};

static bool is_plain(const layout *l)
{
    return l->block_cols == 1;
}

static size_t n_units(const layout *l, size_t n_cols)
{
    size_t unit_cols = (size_t)l->n_blocks * l->block_cols;
    return n_cols / unit_cols + (n_cols % unit_cols != 0);
}

static size_t row_bytes(const layout *l, size_t n_cols)
{
    return n_cols / l->block_cols * l->block_bytes;
}

size_t tile_unit_cols(quant_type type)
{
    return (size_t)layouts[type].n_blocks * layouts[type].block_cols;
}

size_t tile_unit_bytes(quant_type type)
{
    return layouts[type].unit_bytes;
}

size_t tile_bytes(quant_type type, size_t n_cols)
{
    return n_units(&layouts[type], n_cols) * layouts[type].unit_bytes;
}

bool tile_matrix_bytes(quant_type type, uint64_t n_rows, uint64_t n_cols, uint64_t *out)
{
    const layout *l = &layouts[type];
    if (n_cols > SIZE_MAX || n_cols % l->block_cols != 0) return false;
    uint64_t tile;
    if (__builtin_mul_overflow((uint64_t)n_units(l, (size_t)n_cols), l->unit_bytes, &tile)) return false;
    return !__builtin_mul_overflow(n_rows / TILE_ROWS + (n_rows % TILE_ROWS != 0), tile, out);
}

/* n numbers of `elem` bytes from one row to its lane, and back. lane: its first number in the unit. */
static inline __attribute__((always_inline)) void scatter(uint8_t *lane, const uint8_t *in, size_t n, size_t elem)
{
    for (size_t i = 0; i < n; i++) memcpy(lane + i * TILE_ROWS * elem, in + i * elem, elem);
}

static inline __attribute__((always_inline)) void gather(uint8_t *out, const uint8_t *lane, size_t n, size_t elem)
{
    for (size_t i = 0; i < n; i++) memcpy(out + i * elem, lane + i * TILE_ROWS * elem, elem);
}

typedef uint32_t vec_dwords __attribute__((vector_size(16)));
typedef uint16_t vec_halves __attribute__((vector_size(16)));
enum { VECTOR_BYTES = 16, FOUR_ROWS = 4 };

/* 16 bytes of each of four rows, `stride` bytes apart. */
static inline void load_four(vec_dwords v[FOUR_ROWS], const uint8_t *in, size_t stride)
{
    for (size_t r = 0; r < FOUR_ROWS; r++) memcpy(&v[r], in + r * stride, VECTOR_BYTES);
}

/* Four dwords of four rows to their lanes. lane: of the first row's first dword. */
static inline void transpose_dwords(uint8_t *lane, const uint8_t *in, size_t stride)
{
    vec_dwords v[FOUR_ROWS];
    load_four(v, in, stride);
    vec_dwords a = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5), b = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5);
    vec_dwords c = __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7), d = __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
    const vec_dwords out[4] = {__builtin_shufflevector(a, b, 0, 1, 4, 5), __builtin_shufflevector(a, b, 2, 3, 6, 7),
                               __builtin_shufflevector(c, d, 0, 1, 4, 5), __builtin_shufflevector(c, d, 2, 3, 6, 7)};
    for (size_t i = 0; i < 4; i++) memcpy(lane + i * TILE_ROWS * 4, &out[i], VECTOR_BYTES);
}

/* Eight halves of four rows to their lanes: pairs of rows first, then pairs of pairs. */
static inline void transpose_halves(uint8_t *lane, const uint8_t *in, size_t stride)
{
    vec_dwords v[FOUR_ROWS];
    load_four(v, in, stride);
    for (size_t i = 0; i < 2; i++) {
        vec_halves p = (vec_halves)v[0], q = (vec_halves)v[1], r = (vec_halves)v[2], s = (vec_halves)v[3];
        vec_halves pq =
            i ? __builtin_shufflevector(p, q, 4, 12, 5, 13, 6, 14, 7, 15) : __builtin_shufflevector(p, q, 0, 8, 1, 9, 2, 10, 3, 11);
        vec_halves rs =
            i ? __builtin_shufflevector(r, s, 4, 12, 5, 13, 6, 14, 7, 15) : __builtin_shufflevector(r, s, 0, 8, 1, 9, 2, 10, 3, 11);
        const vec_dwords out[2] = {__builtin_shufflevector((vec_dwords)pq, (vec_dwords)rs, 0, 4, 1, 5),
                                   __builtin_shufflevector((vec_dwords)pq, (vec_dwords)rs, 2, 6, 3, 7)};
        for (size_t k = 0; k < 4; k++)
            memcpy(lane + (4 * i + k) * TILE_ROWS * 2, (const uint8_t *)&out[k / 2] + k % 2 * 8, FOUR_ROWS * 2);
    }
}

/* Asks for n_bytes from *next on, into the second-level cache, and moves on by as many. */
static inline void ask_for(const uint8_t **next, size_t n_bytes)
{
    if (!*next) return;
    for (size_t i = 0; i < n_bytes; i += 64) __builtin_prefetch(*next + i, 0, 2);
    *next += n_bytes;
}

/* The first number of a part of block b (of the unit) of a row. */
static size_t lane_of(const part *p, size_t b, size_t row)
{
    return p->at + b * p->n_bytes * TILE_ROWS + row * p->elem;
}

static void put_block(uint8_t *unit, const layout *l, size_t row, size_t b, const uint8_t *block)
{
    for (const part *p = l->parts; p < l->parts + MAX_PARTS && p->elem; p++) {
        if (p->elem == 4)
            scatter(unit + lane_of(p, b, row), block + p->offset, p->n_bytes / 4, 4);
        else
            scatter(unit + lane_of(p, b, row), block + p->offset, p->n_bytes / 2, 2);
    }
}

/* The same of four rows, `stride` bytes apart. What is left of a part's vectors is done with its last 16 bytes once more. */
static inline __attribute__((always_inline)) void put_four_blocks(uint8_t *unit, const layout *l, size_t row, size_t b,
                                                                  const uint8_t *block, size_t stride)
{
#pragma GCC unroll 14
    for (int i = 0; i < MAX_PARTS; i++) {
        const part *p = &l->parts[i];
        uint8_t *lane = unit + lane_of(p, b, row);
        const uint8_t *in = block + p->offset;
        const size_t n = p->n_bytes;
        if (p->elem == 0) continue;
        if (p->elem == 2) {
            for (size_t r = 0; r < FOUR_ROWS; r++) scatter(lane + r * 2, in + r * stride, n / 2, 2);
        } else if (n < VECTOR_BYTES) {
            for (size_t r = 0; r < FOUR_ROWS; r++) scatter(lane + r * 4, in + r * stride, n / 4, 4);
        } else {
            for (size_t k = 0; k + VECTOR_BYTES <= n; k += VECTOR_BYTES) transpose_dwords(lane + k * TILE_ROWS, in + k, stride);
            if (n % VECTOR_BYTES) transpose_dwords(lane + (n - VECTOR_BYTES) * TILE_ROWS, in + n - VECTOR_BYTES, stride);
        }
    }
}

static void get_block(uint8_t *block, const layout *l, size_t row, size_t b, const uint8_t *unit)
{
    for (const part *p = l->parts; p < l->parts + MAX_PARTS && p->elem; p++) {
        if (p->elem == 4)
            gather(block + p->offset, unit + lane_of(p, b, row), p->n_bytes / 4, 4);
        else
            gather(block + p->offset, unit + lane_of(p, b, row), p->n_bytes / 2, 2);
    }
}

void tile_get_block(uint8_t *out, quant_type type, const uint8_t *tile, size_t row, size_t block)
{
    const layout *l = &layouts[type];
    get_block(out, l, row, block % l->n_blocks, tile + block / l->n_blocks * l->unit_bytes);
}

/* F32, F16, BF16: a row is one run of numbers, and so is its lane. */
enum { PLAIN_RUN = 64 }; /* columns moved at a time: 4 KiB of a tile at most */

static void put_run(uint8_t *tile, size_t elem, size_t row, size_t col, const uint8_t *in, size_t n)
{
    uint8_t *lane = tile + (col * TILE_ROWS + row) * elem;
    if (elem == 4)
        scatter(lane, in, n, 4);
    else
        scatter(lane, in, n, 2);
}

static void get_run(uint8_t *out, size_t elem, size_t row, size_t col, const uint8_t *tile, size_t n)
{
    const uint8_t *lane = tile + (col * TILE_ROWS + row) * elem;
    if (elem == 4)
        gather(out, lane, n, 4);
    else
        gather(out, lane, n, 2);
}

/* The same of four rows, `stride` bytes apart. */
static void put_four_runs(uint8_t *tile, size_t elem, size_t row, size_t col, const uint8_t *in, size_t stride, size_t n)
{
    uint8_t *lane = tile + (col * TILE_ROWS + row) * elem;
    const size_t whole = n - n % (VECTOR_BYTES / elem);
    for (size_t i = 0; i < whole; i += VECTOR_BYTES / elem) {
        if (elem == 4)
            transpose_dwords(lane + i * TILE_ROWS * 4, in + i * 4, stride);
        else
            transpose_halves(lane + i * TILE_ROWS * 2, in + i * 2, stride);
    }
    for (size_t r = 0; whole < n && r < FOUR_ROWS; r++)
        put_run(tile, elem, row + r, col + whole, in + r * stride + whole * elem, n - whole);
}

static void pack_plain(uint8_t *tile, const layout *l, const tile_rows *rows)
{
    const size_t elem = l->block_bytes, stride = rows->stride;
    const uint8_t *next = rows->next;
    for (size_t col = 0; col < rows->n_cols; col += PLAIN_RUN) {
        const size_t n = min_size(PLAIN_RUN, rows->n_cols - col);
        const uint8_t *in = rows->data + col * elem;
        size_t r = 0;
        for (; r + FOUR_ROWS <= rows->n_rows; r += FOUR_ROWS, in += FOUR_ROWS * stride) {
            ask_for(&next, FOUR_ROWS * n * elem);
            put_four_runs(tile, elem, r, col, in, stride, n);
        }
        for (; r < rows->n_rows; r++, in += stride) put_run(tile, elem, r, col, in, n);
    }
}

/* Units hold zeros where not everything is filled. */
static void clear_unfilled(uint8_t *tile, const layout *l, size_t n_rows, size_t n_cols)
{
    size_t n = n_units(l, n_cols);
    if (n_rows < TILE_ROWS)
        memset(tile, 0, n * l->unit_bytes);
    else if (n_cols % ((size_t)l->n_blocks * l->block_cols))
        memset(tile + (n - 1) * l->unit_bytes, 0, l->unit_bytes);
}

/* Blocks [0, n) of a unit, of all rows. in: the first of the first row. */
static inline __attribute__((always_inline)) void pack_unit(uint8_t *unit, const layout *l, const tile_rows *rows,
                                                            const uint8_t *in, size_t n, const uint8_t **next)
{
    size_t r = 0;
    for (; r + FOUR_ROWS <= rows->n_rows; r += FOUR_ROWS, in += FOUR_ROWS * rows->stride) {
        ask_for(next, FOUR_ROWS * n * l->block_bytes);
        for (size_t b = 0; b < n; b++) put_four_blocks(unit, l, r, b, in + b * l->block_bytes, rows->stride);
    }
    for (; r < rows->n_rows; r++, in += rows->stride) {
        for (size_t b = 0; b < n; b++) put_block(unit, l, r, b, in + b * l->block_bytes);
    }
}

/* Compiled once a format, whose layout is then known: without its loops over parts this is up to five times as fast. */
static inline __attribute__((always_inline)) void pack_units(uint8_t *tile, const layout *l, const tile_rows *rows)
{
    const size_t n_blocks = rows->n_cols / l->block_cols;
    const uint8_t *in = rows->data, *next = rows->next;
    size_t first = 0;
    for (; first + l->n_blocks <= n_blocks; first += l->n_blocks, in += l->n_blocks * l->block_bytes, tile += l->unit_bytes) {
        if (l->has_padding) memset(tile, 0, TILE_ROWS * 4); /* the scales and the zeros beside them */
        pack_unit(tile, l, rows, in, l->n_blocks, &next);
    }
    if (first < n_blocks) pack_unit(tile, l, rows, in, n_blocks - first, &next);
}

void tile_pack_columns(uint8_t *tile, quant_type type, const tile_rows *rows)
{
    const layout *l = &layouts[type];
    assert(rows->n_rows >= 1 && rows->n_rows <= TILE_ROWS);
    clear_unfilled(tile, l, rows->n_rows, rows->n_cols);
    switch (type) {
    case QUANT_Q4_0: pack_units(tile, &layouts[QUANT_Q4_0], rows); break;
    case QUANT_Q4_1: pack_units(tile, &layouts[QUANT_Q4_1], rows); break;
    case QUANT_Q5_0: pack_units(tile, &layouts[QUANT_Q5_0], rows); break;
    case QUANT_Q5_1: pack_units(tile, &layouts[QUANT_Q5_1], rows); break;
    case QUANT_Q8_0: pack_units(tile, &layouts[QUANT_Q8_0], rows); break;
    case QUANT_Q2_K: pack_units(tile, &layouts[QUANT_Q2_K], rows); break;
    case QUANT_Q3_K: pack_units(tile, &layouts[QUANT_Q3_K], rows); break;
    case QUANT_Q4_K: pack_units(tile, &layouts[QUANT_Q4_K], rows); break;
    case QUANT_Q5_K: pack_units(tile, &layouts[QUANT_Q5_K], rows); break;
    case QUANT_Q6_K: pack_units(tile, &layouts[QUANT_Q6_K], rows); break;
    case QUANT_IQ4_NL: pack_units(tile, &layouts[QUANT_IQ4_NL], rows); break;
    case QUANT_IQ4_XS: pack_units(tile, &layouts[QUANT_IQ4_XS], rows); break;
    default: pack_plain(tile, l, rows); break;
    }
}

void tile_pack(uint8_t *tile, quant_type type, const uint8_t *rows, size_t n_rows, size_t n_cols)
{
    tile_pack_columns(tile, type, &(tile_rows){rows, row_bytes(&layouts[type], n_cols), n_rows, n_cols, NULL});
}

/* One whole row of a tile. */
static void put_row(uint8_t *tile, const layout *l, size_t r, const uint8_t *row, size_t n_cols)
{
    if (is_plain(l)) {
        put_run(tile, l->block_bytes, r, 0, row, n_cols);
        return;
    }
    for (size_t b = 0; b < n_cols / l->block_cols; b++)
        put_block(tile + b / l->n_blocks * l->unit_bytes, l, r, b % l->n_blocks, row + b * l->block_bytes);
}

static void get_row(uint8_t *row, const layout *l, size_t r, const uint8_t *tile, size_t n_cols)
{
    if (is_plain(l)) {
        get_run(row, l->block_bytes, r, 0, tile, n_cols);
        return;
    }
    for (size_t b = 0; b < n_cols / l->block_cols; b++)
        get_block(row + b * l->block_bytes, l, r, b % l->n_blocks, tile + b / l->n_blocks * l->unit_bytes);
}

void tile_unpack(uint8_t *rows, quant_type type, const uint8_t *tile, size_t n_rows, size_t n_cols)
{
    const layout *l = &layouts[type];
    for (size_t r = 0; r < n_rows; r++) get_row(rows + r * row_bytes(l, n_cols), l, r, tile, n_cols);
}

/* Some bytes of a row, from `offset` on. A block of which only a part is here is taken out, completed and put back. */
static void put_part_of_row(uint8_t *tile, const layout *l, size_t r, size_t offset, const uint8_t *data, size_t n_bytes)
{
    uint8_t cut[sizeof(block_q6_K)];
    _Static_assert(sizeof cut >= sizeof(block_q5_K) && sizeof cut >= sizeof(block_iq4_xs), "the largest block");
    while (n_bytes > 0) {
        size_t block = offset / l->block_bytes, begin = offset % l->block_bytes;
        size_t n = min_size(n_bytes, l->block_bytes - begin);
        uint8_t *unit = tile + block / l->n_blocks * l->unit_bytes;
        if (n == l->block_bytes) {
            put_block(unit, l, r, block % l->n_blocks, data);
        } else {
            get_block(cut, l, r, block % l->n_blocks, unit);
            memcpy(cut + begin, data, n);
            put_block(unit, l, r, block % l->n_blocks, cut);
        }
        offset += n;
        data += n;
        n_bytes -= n;
    }
}

void tile_put(uint8_t *tiles, quant_type type, size_t n_rows, size_t n_cols, size_t offset, const uint8_t *data, size_t n_bytes)
{
    const layout *l = &layouts[type];
    size_t row_size = row_bytes(l, n_cols), tile_size = tile_bytes(type, n_cols);
    while (n_bytes > 0) {
        size_t row = offset / row_size, begin = offset % row_size;
        size_t n_in_tile = min_size(TILE_ROWS - row % TILE_ROWS, n_rows - row);
        uint8_t *tile = tiles + row / TILE_ROWS * tile_size;
        size_t n = min_size(n_bytes, row_size - begin);
        if (begin == 0 && row % TILE_ROWS == 0 && n_bytes >= n_in_tile * row_size) {
            n = n_in_tile * row_size;
            tile_pack(tile, type, data, n_in_tile, n_cols);
        } else if (n == row_size) {
            put_row(tile, l, row % TILE_ROWS, data, n_cols);
        } else {
            put_part_of_row(tile, l, row % TILE_ROWS, begin, data, n);
        }
        offset += n;
        data += n;
        n_bytes -= n;
    }
}

void tile_dequantize_row(quant_type type, const uint8_t *tiles, size_t row, float *y, size_t n_cols)
{
    const layout *l = &layouts[type];
    const uint8_t *tile = tiles + row / TILE_ROWS * tile_bytes(type, n_cols);
    if (is_plain(l)) {
        uint8_t run[PLAIN_RUN * 4];
        for (size_t col = 0; col < n_cols; col += PLAIN_RUN) {
            size_t n = min_size(PLAIN_RUN, n_cols - col);
            get_run(run, l->block_bytes, row % TILE_ROWS, col, tile, n);
            quant_dequantize_row(type, run, y + col, n);
        }
        return;
    }
    for (size_t b = 0; b < n_cols / l->block_cols; b++) {
        uint8_t block[sizeof(block_q6_K)];
        tile_get_block(block, type, tile, row % TILE_ROWS, b);
        quant_dequantize_row(type, block, y + b * l->block_cols, l->block_cols);
    }
}

/* Is there an f16 (mask 0x7c00) or bf16 (0x7f80) among them with all bits of the exponent set? */
static bool halves_are_finite(const uint8_t *halves, size_t n, uint16_t mask)
{
    unsigned bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, halves + 2 * i, sizeof h);
        bad |= (h & mask) == mask;
    }
    return !bad;
}

static bool floats_are_finite(const uint8_t *floats, size_t n)
{
    unsigned bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t f;
        memcpy(&f, floats + 4 * i, sizeof f);
        bad |= (f & 0x7f800000u) == 0x7f800000u;
    }
    return !bad;
}

static bool scales_are_finite(const layout *l, const uint8_t *unit)
{
    bool good = true;
    for (const part *p = l->parts; p < l->parts + MAX_PARTS && p->elem; p++) {
        if (p->is_scale) good &= halves_are_finite(unit + p->at, (size_t)l->n_blocks * (p->n_bytes / 2) * TILE_ROWS, 0x7c00);
    }
    return good;
}

size_t tile_check_finite(quant_type type, const uint8_t *tiles, size_t n_tiles, size_t n_cols)
{
    const layout *l = &layouts[type];
    size_t n = n_units(l, n_cols), bytes = n * l->unit_bytes;
    for (size_t t = 0; t < n_tiles; t++, tiles += bytes) {
        bool good = true;
        if (type == QUANT_F32) good = floats_are_finite(tiles, bytes / 4);
        if (type == QUANT_F16) good = halves_are_finite(tiles, bytes / 2, 0x7c00);
        if (type == QUANT_BF16) good = halves_are_finite(tiles, bytes / 2, 0x7f80);
        for (size_t u = 0; u < n && good; u++) good = scales_are_finite(l, tiles + u * l->unit_bytes);
        if (!good) return t;
    }
    return n_tiles;
}
