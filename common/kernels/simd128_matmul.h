/* simd128_matmul.h: a matrix in tiles times panels of activations, on vectors of 16 bytes (simd128.h).
 *
 * The idea: what a tile's unit and a panel's block hold of 16 rows are four vectors of four rows. A panel of one or two rows meets
 * all four of them together, so that the tile is read in one direction; of wider panels four rows of activations at a time meet
 * some of them, how many is the instruction set's choice. Families of formats say how an accumulator grows by one unit:
 * simd128_matmul_32.h, simd128_matmul_256.h, simd128_matmul_plain.h; each instruction set compiles all of it once (neon_matmul.c,
 * dotprod_matmul.c, wasm_matmul.c).
 *
 * Bound: bytes of weights from memory for one row of activations, products of bytes (for plain formats multiplications and
 * additions) for more. */
#ifndef YL_KERNELS_SIMD128_MATMUL_H
#define YL_KERNELS_SIMD128_MATMUL_H

#include <assert.h>
#include <stdbool.h>

#include "kernels.h"
#include "panel.h"
#include "scalar.h"
#include "simd128.h"
#include "tile.h"

enum { VECTOR_ROWS = 4, TILE_VECTORS = TILE_ROWS / VECTOR_ROWS, BATCH_ROWS = 4 };

/* One tile times one panel. */
typedef struct tile_job {
    const uint8_t *tile;
    const uint8_t *panel;
    size_t n_units; /* of the tile */
    size_t n_cols;
    float *y; /* of the tile's first row and the panel's first; only these are stored: */
    size_t y_stride;
    size_t n_rows;             /* rows of the panel that are not filling */
    size_t row_begin, row_end; /* rows of the tile that are wanted */
} tile_job;

/* Vectors [v, v + n_v) of the tile times rows [first, first + n) of a panel that is `width` wide. n_v, and n, which is 1, 2 or
 * BATCH_ROWS, are constants; width is n if that is 1 or 2. */
typedef void vectors_times_rows(const tile_job *job, int v, int n_v, int first, int n, size_t width);

/* A whole tile times a whole panel; n_v: how many vectors go together when n is BATCH_ROWS. */
SIMD_INLINE void tile_times(const tile_job *job, size_t width, vectors_times_rows *times, int n_v)
{
    if (width == 1) {
        times(job, 0, TILE_VECTORS, 0, 1, 1);
        return;
    }
    if (width == 2) {
        times(job, 0, TILE_VECTORS, 0, 2, 2);
        return;
    }
    const int v_begin = (int)job->row_begin / (n_v * VECTOR_ROWS) * n_v,
              v_end = ((int)job->row_end + VECTOR_ROWS - 1) / VECTOR_ROWS;
    for (int first = 0; (size_t)first < job->n_rows; first += BATCH_ROWS) {
        for (int v = v_begin; v < v_end; v += n_v) times(job, v, n_v, first, BATCH_ROWS, width);
    }
}

/* sum[j] = products with row j of n, which is 1, 2 or BATCH_ROWS. */
SIMD_INLINE void dot_quads(i32x4 *sum, int n, const quads q[8], int n_groups, int max_weight, const uint8_t *x, size_t width)
{
    if (n == 1)
        sum[0] = dot_quads_1(q, n_groups, max_weight, x);
    else if (n == 2)
        dot_quads_2(sum, q, n_groups, max_weight, x, 4 * width);
    else
        dot_quads_4(sum, q, n_groups, max_weight, x, 4 * width);
}

/* The same four bytes of four rows. */
SIMD_INLINE u8x16 load_dwords(const tile_dwords dwords, int v)
{
    return bytes_load(dwords[v * VECTOR_ROWS]);
}

/* Four f16 as f32. */
SIMD_INLINE f32x4 load_halves(const uint16_t *halves, int v)
{
    return f32_load_f16(halves + v * VECTOR_ROWS);
}

SIMD_INLINE u8x16 low_nibbles(u8x16 v)
{
    return v & 15;
}

SIMD_INLINE u8x16 nibbles(u8x16 v, int high)
{
    return high ? bytes_shift_right(v, 4) : low_nibbles(v);
}

/* quant_iq4_values of bytes below 16. */
SIMD_INLINE u8x16 iq4_values(u8x16 i)
{
    return bytes_lookup(bytes_load(quant_iq4_values), i);
}

/* Stores the results of n_v vectors and n rows of the panel. acc[i * n + j]: vector v + i, row first + j. */
SIMD_INLINE void store_results(const tile_job *job, const f32x4 *acc, int v, int n_v, int first, int n)
{
    SIMD_UNROLL
    for (int j = 0; j < n; j++) {
        const size_t x_row = (size_t)first + (size_t)j;
        if (x_row >= job->n_rows) continue;
        float *y = job->y + x_row * job->y_stride;
        SIMD_UNROLL
        for (int i = 0; i < n_v; i++) {
            size_t row = ((size_t)v + (size_t)i) * VECTOR_ROWS;
            if (row >= job->row_begin && row + VECTOR_ROWS <= job->row_end) {
                f32_store(y + row, acc[i * n + j]);
                continue;
            }
            for (size_t r = 0; r < VECTOR_ROWS; r++)
                if (row + r >= job->row_begin && row + r < job->row_end) y[row + r] = acc[i * n + j][r];
        }
    }
}

#endif
