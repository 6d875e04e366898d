/* simd128_matmul_body.h: the matmul of a table: which tile meets which panel when.
 *
 * Included by one .c file an instruction set, which gives `matmul` its name. Some tiles at a time, as many as stay in the
 * second-level cache, meet all panels one after the other; so weights come from memory once, and a panel once for those tiles. */
#ifndef YL_KERNELS_SIMD128_MATMUL_BODY_H
#define YL_KERNELS_SIMD128_MATMUL_BODY_H

#include "simd128_matmul.h"
#include "simd128_matmul_256.h"
#include "simd128_matmul_32.h"
#include "simd128_matmul_plain.h"

typedef void tile_times_of_type(const tile_job *job, size_t width);

static tile_times_of_type *const times_of[QUANT_TYPE_END] = {
    [QUANT_F32] = tile_times_f32,   [QUANT_F16] = tile_times_f16,       [QUANT_BF16] = tile_times_bf16,
    [QUANT_Q4_0] = tile_times_q4_0, [QUANT_Q4_1] = tile_times_q4_1,     [QUANT_Q5_0] = tile_times_q5_0,
    [QUANT_Q5_1] = tile_times_q5_1, [QUANT_Q8_0] = tile_times_q8_0,     [QUANT_Q2_K] = tile_times_q2_K,
    [QUANT_Q3_K] = tile_times_q3_K, [QUANT_Q4_K] = tile_times_q4_K,     [QUANT_Q5_K] = tile_times_q5_K,
    [QUANT_Q6_K] = tile_times_q6_K, [QUANT_IQ4_NL] = tile_times_iq4_nl, [QUANT_IQ4_XS] = tile_times_iq4_xs,
};

/* Bytes of tiles that are worked on together: half of a second-level cache of 256 KiB. */
enum { GROUP_BYTES = 128 * 1024 };

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void matmul(float *y, size_t y_stride, const matrix *w, const activations *x, size_t row_begin, size_t row_end)
{
    if (w->layout == MATRIX_ROWS) {
        scalar_matmul(y, y_stride, w, x, row_begin, row_end);
        return;
    }
    if (row_begin == row_end) return;
    assert(w->n_cols == x->n_cols && row_end <= w->n_rows && x->block == quant_traits_of(w->type)->act_block && x->panels);
    const size_t one_tile = tile_bytes(w->type, w->n_cols), row_bytes = panel_row_bytes(x->n_cols, x->block);
    const size_t group = one_tile < GROUP_BYTES ? GROUP_BYTES / one_tile : 1;
    const size_t tile_end = (row_end - 1) / TILE_ROWS + 1;
    for (size_t first = row_begin / TILE_ROWS; first < tile_end; first += group) {
        for (size_t i = 0; i < x->n_rows; i += PANEL_ROWS) {
            size_t n = min_size(PANEL_ROWS, x->n_rows - i);
            for (size_t t = first; t < min_size(first + group, tile_end); t++) {
                tile_job job = {.tile = w->data + t * one_tile,
                                .panel = x->panels + i * row_bytes,
                                .n_units = one_tile / tile_unit_bytes(w->type),
                                .n_cols = w->n_cols,
                                .y = y + i * y_stride + t * TILE_ROWS,
                                .y_stride = y_stride,
                                .n_rows = n,
                                .row_begin = row_begin > t * TILE_ROWS ? row_begin - t * TILE_ROWS : 0,
                                .row_end = min_size(row_end - t * TILE_ROWS, TILE_ROWS)};
                times_of[w->type](&job, panel_width(n));
            }
        }
    }
}

#endif
