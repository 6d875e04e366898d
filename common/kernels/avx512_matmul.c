/* avx512_matmul.c: a matrix in tiles times panels of activations: which tile meets which panel when.
 *
 * Some tiles at a time, as many as stay in the second-level cache, meet all panels one after the other; so weights come from memory
 * once, and a panel once for those tiles. */
#include <assert.h>

#include "avx512.h"
#include "avx512_matmul.h"
#include "scalar.h"

static const panel_kernels *const kernels_of[QUANT_TYPE_END] = {
    [QUANT_F32] = &avx512_f32,   [QUANT_F16] = &avx512_f16,       [QUANT_BF16] = &avx512_bf16,     [QUANT_Q4_0] = &avx512_q4_0,
    [QUANT_Q4_1] = &avx512_q4_1, [QUANT_Q5_0] = &avx512_q5_0,     [QUANT_Q5_1] = &avx512_q5_1,     [QUANT_Q8_0] = &avx512_q8_0,
    [QUANT_Q2_K] = &avx512_q2_K, [QUANT_Q3_K] = &avx512_q3_K,     [QUANT_Q4_K] = &avx512_q4_K,     [QUANT_Q5_K] = &avx512_q5_K,
    [QUANT_Q6_K] = &avx512_q6_K, [QUANT_IQ4_NL] = &avx512_iq4_nl, [QUANT_IQ4_XS] = &avx512_iq4_xs,
};

/* Bytes of tiles that are worked on together: half of a second-level cache of 512 KiB or more. */
enum { GROUP_BYTES = 256 * 1024 };

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Which of the tile's rows, beginning with row `first` of the matrix, are in [begin, end). */
static __mmask16 wanted_lanes(size_t first, size_t begin, size_t end)
{
    unsigned mask = 0xffff;
    if (begin > first) mask = mask << (begin - first) & 0xffff;
    if (end < first + TILE_ROWS) mask &= 0xffffu >> (first + TILE_ROWS - end);
    return (__mmask16)mask;
}

/* What all tiles of one call have in common. */
typedef struct product {
    float *y;
    size_t y_stride;
    const matrix *w;
    const activations *x;
    size_t row_begin, row_end;
    size_t tile_bytes, panel_row_bytes;
} product;

/* Tile t and the panel that begins with activation row i. */
static tile_job job_of(const product *p, size_t t, size_t i)
{
    return (tile_job){.tile = p->w->data + t * p->tile_bytes,
                      .panel = p->x->panels + i * p->panel_row_bytes,
                      .n_units = p->tile_bytes / tile_unit_bytes(p->w->type),
                      .n_cols = p->w->n_cols,
                      .y = p->y + i * p->y_stride + t * TILE_ROWS,
                      .y_stride = p->y_stride,
                      .n_rows = min_size(PANEL_ROWS, p->x->n_rows - i),
                      .lanes = wanted_lanes(t * TILE_ROWS, p->row_begin, p->row_end)};
}

/* Tiles [begin, end) times all panels. */
static void times_panels(const product *p, size_t begin, size_t end)
{
    const panel_kernels *of_type = kernels_of[p->w->type];
    for (size_t i = 0; i < p->x->n_rows; i += PANEL_ROWS) {
        size_t width = panel_width(min_size(PANEL_ROWS, p->x->n_rows - i));
        tile_times_panel *times = width == 1 ? of_type->width_1 : width == 4 ? of_type->width_4 : of_type->width_8;
        for (size_t t = begin; t < end; t++) {
            tile_job job = job_of(p, t, i);
            times(&job);
        }
    }
}

void avx512_matmul(float *y, size_t y_stride, const matrix *w, const activations *x, size_t row_begin, size_t row_end)
{
    if (w->layout == MATRIX_ROWS) {
        scalar_matmul(y, y_stride, w, x, row_begin, row_end);
        return;
    }
    if (row_begin == row_end) return;
    assert(w->n_cols == x->n_cols && row_end <= w->n_rows && x->block == quant_traits_of(w->type)->act_block && x->panels);
    const product p = {y, y_stride, w, x, row_begin, row_end, tile_bytes(w->type, w->n_cols), panel_row_bytes(x->n_cols, x->block)};
    const size_t tile_begin = row_begin / TILE_ROWS, tile_end = (row_end - 1) / TILE_ROWS + 1;
    if (x->block == 0 && x->n_rows > PANEL_ROWS) {
        for (size_t t = tile_begin; t < tile_end; t++) {
            tile_job job = job_of(&p, t, 0);
            avx512_plain_times_panels(&job, w->type, x->n_rows);
        }
        return;
    }
    const size_t group = p.tile_bytes < GROUP_BYTES ? GROUP_BYTES / p.tile_bytes : 1;
    for (size_t t = tile_begin; t < tile_end; t += group) times_panels(&p, t, min_size(t + group, tile_end));
}
