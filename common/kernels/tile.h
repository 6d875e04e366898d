/* tile.h: weights interleaved by sixteen rows, the layout that SIMD kernels read.
 *
 * A *tile* is 16 consecutive rows of a matrix. It is cut into *units* of a few columns, each a struct below: whole blocks of the
 * format, the same blocks of all 16 rows. A unit holds what the 16 rows' blocks hold, byte for byte, transposed: each field of a
 * block becomes an array whose innermost index is the row. Numbers of two bytes (scales) stay together, all other fields are
 * moved four bytes at a time; so one 64-byte vector (or two of 32, or four of 16) brings the same four bytes of 16 rows, a SIMD
 * lane is a row, and no lane ever adds across a row. Reading a tile is one sequential stream.
 *
 *     block of row 0:  d  q q q q  q q q q ...            unit:  d d d d ... (16 rows)
 *     block of row 1:  d  q q q q  q q q q ...     ->            qqqq qqqq qqqq qqqq ...  bytes 0 to 3 of the 16 rows
 *     ...                                                        qqqq qqqq qqqq qqqq ...  bytes 4 to 7
 *
 * It is a permutation of GGUF's bytes, and zeros: where a matrix has no 16 rows left, where a row has no block left for a unit, and
 * where a unit is filled up to a multiple of 64 bytes (Q3_K). Zeros change no result (N9 of the contract): their scales are +0.
 * How a block's fields encode its weights is told in quant_blocks.h and not repeated here. */
#ifndef YL_KERNELS_TILE_H
#define YL_KERNELS_TILE_H

#include <stdbool.h>

#include "quant_blocks.h"

/* The version changes whenever a byte of some format's tiles would lie elsewhere: files of tiles (tile_cache.h) are of one version.
 */
enum { TILE_ROWS = 16, TILE_ALIGNMENT = 64, TILE_LAYOUT_VERSION = 1 };

/* One dword of each row. */
typedef uint8_t tile_dwords[TILE_ROWS][4];
/* One f16 (or another number of 16 bits) of each row. */
typedef uint16_t tile_halves[TILE_ROWS];

/* Units. qs[b][g][r] is bytes 4g ... 4g + 3 of field qs of block b (of the unit) of row r; where a unit is one block there is no b.
 */
typedef struct tile_f32 { /* 1 column */
    tile_dwords w;
} tile_f32;
typedef struct tile_f16 { /* 2 columns; BF16 likewise */
    tile_halves w[2];
} tile_f16;
typedef struct tile_q4_0 { /* 64 columns, as all formats with blocks of 32; IQ4_NL likewise */
    tile_halves d[2];
    tile_dwords qs[2][4];
} tile_q4_0;
typedef struct tile_q4_1 {
    tile_halves d[2], m[2];
    tile_dwords qs[2][4];
} tile_q4_1;
typedef struct tile_q5_0 {
    tile_halves d[2];
    tile_dwords qh[2];
    tile_dwords qs[2][4];
} tile_q5_0;
typedef struct tile_q5_1 {
    tile_halves d[2], m[2];
    tile_dwords qh[2];
    tile_dwords qs[2][4];
} tile_q5_1;
typedef struct tile_q8_0 {
    tile_halves d[2];
    tile_dwords qs[2][8];
} tile_q8_0;
typedef struct tile_q2_K { /* 256 columns, as all formats with blocks of 256 */
    tile_halves d, dmin;
    tile_dwords scales[4];
    tile_dwords qs[16];
} tile_q2_K;
/* Q3_K, Q6_K: sub-blocks of 16 columns take their bits from two fields. What is used together lies together, so that a tile is
 * read in one direction: c is the half of 32 columns, h the half of the block. hmask[g] is bytes 16c + 4g ..., qs[h][g] is bytes
 * 32h + 16c + 4g ... */
typedef struct tile_q3_K {
    tile_halves d, zeros;
    tile_dwords scales[3];
    struct tile_q3_K_part {
        tile_dwords hmask[4];
        tile_dwords qs[2][4];
    } part[2]; /* [c] */
} tile_q3_K;
typedef struct tile_q4_K {
    tile_halves d, dmin;
    tile_dwords scales[3];
    tile_dwords qs[32];
} tile_q4_K;
typedef struct tile_q5_K {
    tile_halves d, dmin;
    tile_dwords scales[3];
    tile_dwords qh[8];
    tile_dwords qs[32];
} tile_q5_K;
/* qh[g] is bytes 32h + 16c + 4g ..., ql[i][g] is bytes 64h + 32i + 16c + 4g ... */
typedef struct tile_q6_K {
    tile_halves d, zeros;
    tile_dwords scales[4];
    struct tile_q6_K_part {
        tile_dwords qh[4];
        tile_dwords ql[2][4];
    } part[2][2]; /* [h][c] */
} tile_q6_K;
typedef struct tile_iq4_xs {
    tile_halves d, scales_h;
    tile_dwords scales_l;
    tile_dwords qs[32];
} tile_iq4_xs;

_Static_assert(sizeof(tile_f32) == 64 && sizeof(tile_f16) == 64, "plain formats: not a byte more than GGUF's");
_Static_assert(sizeof(tile_q4_0) == 32 * sizeof(block_q4_0) && sizeof(tile_q4_0) == 576, "Q4_0, IQ4_NL");
_Static_assert(sizeof(tile_q4_1) == 32 * sizeof(block_q4_1) && sizeof(tile_q4_1) == 640, "Q4_1");
_Static_assert(sizeof(tile_q5_0) == 32 * sizeof(block_q5_0) && sizeof(tile_q5_0) == 704, "Q5_0");
_Static_assert(sizeof(tile_q5_1) == 32 * sizeof(block_q5_1) && sizeof(tile_q5_1) == 768, "Q5_1");
_Static_assert(sizeof(tile_q8_0) == 32 * sizeof(block_q8_0) && sizeof(tile_q8_0) == 1088, "Q8_0");
_Static_assert(sizeof(tile_q2_K) == 16 * sizeof(block_q2_K) && sizeof(tile_q2_K) == 1344, "Q2_K");
_Static_assert(sizeof(tile_q3_K) == 16 * sizeof(block_q3_K) + 32 && sizeof(tile_q3_K) == 1792, "Q3_K");
_Static_assert(sizeof(tile_q4_K) == 16 * sizeof(block_q4_K) && sizeof(tile_q4_K) == 2304, "Q4_K");
_Static_assert(sizeof(tile_q5_K) == 16 * sizeof(block_q5_K) && sizeof(tile_q5_K) == 2816, "Q5_K");
_Static_assert(sizeof(tile_q6_K) == 16 * sizeof(block_q6_K) + 32 && sizeof(tile_q6_K) == 3392, "Q6_K");
_Static_assert(sizeof(tile_iq4_xs) == 16 * sizeof(block_iq4_xs) && sizeof(tile_iq4_xs) == 2176, "IQ4_XS");

/* Columns and bytes of a unit. */
size_t tile_unit_cols(quant_type type);
size_t tile_unit_bytes(quant_type type);

/* Bytes of one tile, and of all tiles of a matrix; both multiples of 64. False: a row of n_cols is not whole blocks, or overflow.
 */
size_t tile_bytes(quant_type type, size_t n_cols);
bool tile_matrix_bytes(quant_type type, uint64_t n_rows, uint64_t n_cols, uint64_t *out);

/* Rows of GGUF blocks to one tile and back. rows: [n_rows] rows of n_cols weights one after the other, any alignment, 1 <= n_rows
 * <= 16; the tile's other rows become zeros, or are left out. tile: tile_bytes, aligned to 64. */
void tile_pack(uint8_t *tile, quant_type type, const uint8_t *rows, size_t n_rows, size_t n_cols);
void tile_unpack(uint8_t *rows, quant_type type, const uint8_t *tile, size_t n_rows, size_t n_cols);

/* Some columns of up to 16 rows, whole blocks as GGUF holds them. */
typedef struct tile_rows {
    const uint8_t *data; /* the first block of the first row, any alignment */
    size_t stride;       /* bytes from a row to the next */
    size_t n_rows, n_cols;
    const uint8_t *next; /* as many bytes from here on will be wanted later and are asked for meanwhile; NULL: nothing */
} tile_rows;

/* tile_pack of these columns: the units of a tile that is as wide as they are. */
void tile_pack_columns(uint8_t *tile, quant_type type, const tile_rows *rows);

/* Block `block` of row `row` of a tile, as GGUF has it (quant_traits.block_bytes bytes). */
void tile_get_block(uint8_t *out, quant_type type, const uint8_t *tile, size_t row, size_t block);

/* Puts bytes of a matrix into its tiles: those of GGUF's rows at [offset, offset + n_bytes), in any order, so that what arrives
 * in pieces finds its place piece by piece. tiles: all of the matrix, zero at first. */
void tile_put(uint8_t *tiles, quant_type type, size_t n_rows, size_t n_cols, size_t offset, const uint8_t *data, size_t n_bytes);

/* One row as f32, as quant_dequantize_row gives it. tiles: of the whole matrix; y: [n_cols]. */
void tile_dequantize_row(quant_type type, const uint8_t *tiles, size_t row, float *y, size_t n_cols);

/* Checks scales (values of plain formats) of n_tiles tiles, as quant_check_finite does: the first tile with one that is not finite,
 * or n_tiles. */
size_t tile_check_finite(quant_type type, const uint8_t *tiles, size_t n_tiles, size_t n_cols);

#endif
