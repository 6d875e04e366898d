/* panel.h: rows of activations side by side, in the order in which a kernel reads them beside a tile of weights.
 *
 * A *panel* holds up to 8 rows; the last one of a set holds what is left. Its width W is 1, 2, 4 or 8: rows that are missing are
 * zeros, whose results nobody stores. Like a tile it is one sequential stream, of blocks as wide as the quantized blocks:
 *
 *     block 32:   float d[W];  int32_t sum[W];  int8_t q[8][W][4]                                            40 W bytes
 *     block 256:  float d[W];  int16_t sum16[8][W][2];  int16_t sum32[4][W][2];  int8_t q[64][W][4]          308 W bytes
 *     block 0:    float x[W]                                                     (one column)                 4 W bytes
 *
 * q[g][n] is values 4g ... 4g + 3 of the block in row n: what a kernel broadcasts to all lanes. The sums are of q, exact: of the
 * whole block, of each 16 and of each 32 values. Kernels that store weights with an offset, or have minimums, multiply them:
 * sum (w - z) q = sum w q - z sum q. They lie in pairs for instructions that multiply pairs of 16 bits, in the order in which a
 * mask cuts four bytes into pairs: pair p holds sub-blocks 4 (p / 2) + p % 2 and two further, so (0, 2) (1, 3) (4, 6) (5, 7) ...
 * In blocks of 32 the columns are filled up with zeros to a multiple of 64, as units of weights are. */
#ifndef YL_KERNELS_PANEL_H
#define YL_KERNELS_PANEL_H

#include <stddef.h>
#include <stdint.h>

enum { PANEL_ROWS = 8 };

/* Bytes of a block of each kind, a row. */
enum { PANEL_32_BYTES = 40, PANEL_256_BYTES = 308, PANEL_0_BYTES = 4 };

/* Where the parts begin in a block, a row: multiply by the width. */
enum { PANEL_32_SUM = 4, PANEL_32_Q = 8, PANEL_256_SUM16 = 4, PANEL_256_SUM32 = 36, PANEL_256_Q = 52 };

/* Width of a panel with n rows, 1 <= n <= 8. */
static inline size_t panel_width(size_t n_rows)
{
    return n_rows <= 2 ? n_rows : n_rows <= 4 ? 4 : 8;
}

/* Bytes of one row of a panel: panel i of a set begins at i * PANEL_ROWS * that. */
static inline size_t panel_row_bytes(size_t n_cols, size_t block)
{
    if (block == 0) return n_cols * PANEL_0_BYTES;
    if (block == 256) return n_cols / 256 * PANEL_256_BYTES;
    return (n_cols + 63) / 64 * 2 * PANEL_32_BYTES;
}

/* Bytes of all panels of n_rows rows. */
static inline size_t panel_set_bytes(size_t n_rows, size_t n_cols, size_t block)
{
    size_t rest = n_rows % PANEL_ROWS;
    return (n_rows - rest + (rest ? panel_width(rest) : 0)) * panel_row_bytes(n_cols, block);
}

#endif
