/* tile_matmul.h: a matrix times rows of activations, for every table whose kernels multiply one tile of weights by one panel.
 *
 * Which tile meets which panel when is the same for all of them, and so are weights that lie in rows: those are packed into tiles
 * on the way, a few columns at a time. An instruction set brings a function a format, and how much its caches hold. */
#ifndef YL_KERNELS_TILE_MATMUL_H
#define YL_KERNELS_TILE_MATMUL_H

#include <stdbool.h>

#include "kernels.h"
#include "panel.h"
#include "tile.h"

/* Some columns of 16 weight rows times the same columns of a panel's rows. */
typedef struct tile_job {
    const uint8_t *tile;  /* the first of n_units units, aligned to 64 */
    const uint8_t *panel; /* the block of its first column */
    size_t panel_bytes;   /* from a panel to the next, where one is as wide as this one */
    size_t n_units;
    size_t n_cols; /* of the units, without those that only fill up the last one */
    size_t width;  /* the panel's: 1, 2, 4 or 8; plain formats: 16 for two panels of 8 */
    float *y;      /* result of the tile's first row and the panel's first; only these are read and stored: */
    size_t y_stride;
    size_t n_rows;             /* rows of the panel that are not filling */
    size_t row_begin, row_end; /* rows of the tile that are wanted */
    bool from_memory;          /* the tile is met for the first time: its lines are worth asking for */
    bool continues;            /* sums begin with what is in y: that of the columns before. Else with 0. */
} tile_job;

typedef void tile_times_panel(const tile_job *job);

typedef struct tile_kernels {
    tile_times_panel *times[QUANT_TYPE_END];
    size_t group_bytes; /* of tiles that meet all panels before the next ones do: what the second-level cache holds beside panels */
    size_t plain_rows;  /* of activations that plain formats like at a time: PANEL_ROWS or twice that */
    /* F16 and BF16: columns of a tile as f32, [n_cols][16], aligned to 64. Batches convert them once for all panels. */
    void (*widen)(float *out, quant_type type, const uint8_t *tile, size_t n_cols);
} tile_kernels;

/* As kernels.matmul, with x->panels filled whatever the layout of w. */
void tile_matmul(const tile_kernels *k, float *y, size_t y_stride, const matrix *w, const activations *x, size_t row_begin,
                 size_t row_end);

#endif
