/* tile_pack.c: GGUF's rows to tiles.
 *
 * The numbers of a part move four rows at a time, whose vectors of 16 bytes are transposed in registers (in the compiler's vectors,
 * so on any machine that has them), or one number at a time where there are no four rows or no 16 bytes. Rows are the outer loop
 * within a unit: what is read is one stream a row, what is written lies within the few lines of the unit. (The other way round the
 * reads, which are as far apart as rows are long, often a power of two, would throw each other out of the cache.) */
#include <assert.h>

#include "tile_layout.h"

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

/* put_block of four rows, `stride` bytes apart. What is left of a part's vectors is done with its last 16 bytes once more. */
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

/* put_run of four rows, `stride` bytes apart. */
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
