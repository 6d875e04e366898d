/* tile_layout.h: which bytes of a block go where in a unit, for every format, and how one row's bytes get there.
 *
 * For the files that pack tiles and take them apart. The table is in a header, since a format's packing is compiled with its layout
 * known. */
#ifndef YL_KERNELS_TILE_LAYOUT_H
#define YL_KERNELS_TILE_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "tile.h"

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

static inline bool is_plain(const layout *l)
{
    return l->block_cols == 1;
}

static inline size_t n_units(const layout *l, size_t n_cols)
{
    size_t unit_cols = (size_t)l->n_blocks * l->block_cols;
    return n_cols / unit_cols + (n_cols % unit_cols != 0);
}

static inline size_t row_bytes(const layout *l, size_t n_cols)
{
    return n_cols / l->block_cols * l->block_bytes;
}

static inline size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* n numbers of `elem` bytes from one row to its lane. lane: its first number in the unit. */
static inline __attribute__((always_inline)) void scatter(uint8_t *lane, const uint8_t *in, size_t n, size_t elem)
{
    for (size_t i = 0; i < n; i++) memcpy(lane + i * TILE_ROWS * elem, in + i * elem, elem);
}

/* The first number of a part of block b (of the unit) of a row. */
static inline size_t lane_of(const part *p, size_t b, size_t row)
{
    return p->at + b * p->n_bytes * TILE_ROWS + row * p->elem;
}

static inline void put_block(uint8_t *unit, const layout *l, size_t row, size_t b, const uint8_t *block)
{
    for (const part *p = l->parts; p < l->parts + MAX_PARTS && p->elem; p++) {
        if (p->elem == 4)
            scatter(unit + lane_of(p, b, row), block + p->offset, p->n_bytes / 4, 4);
        else
            scatter(unit + lane_of(p, b, row), block + p->offset, p->n_bytes / 2, 2);
    }
}

/* F32, F16, BF16: a row is one run of numbers, and so is its lane. */
enum { PLAIN_RUN = 64 }; /* columns moved at a time: 4 KiB of a tile at most */

static inline void put_run(uint8_t *tile, size_t elem, size_t row, size_t col, const uint8_t *in, size_t n)
{
    uint8_t *lane = tile + (col * TILE_ROWS + row) * elem;
    if (elem == 4)
        scatter(lane, in, n, 4);
    else
        scatter(lane, in, n, 2);
}

#endif
