/* avx512_matmul.h: what the files of the AVX-512 matmul share.
 *
 * Everything here is one tile of weights times one panel of activations: 16 weight rows are the 16 lanes of a register, and each
 * activation row of the panel has an accumulator of its own. The product of four weights and four activations is one vpdpbusd,
 * whose first operand is unsigned: weights come as small unsigned integers, activations are broadcast out of the panel.
 *
 * Bound: one vpdpbusd a cycle (64 multiply-adds) for panels of 8; the weights' bytes from memory for panels of 1, where each line
 * of the tile is asked for PREFETCH_BYTES ahead, into the second-level cache, beyond the tile's end into the next tile. */
#ifndef YL_KERNELS_AVX512_MATMUL_H
#define YL_KERNELS_AVX512_MATMUL_H

#include <immintrin.h>

#include "panel.h"
#include "tile.h"

typedef struct tile_job {
    const uint8_t *tile;
    const uint8_t *panel;
    size_t n_units; /* of the tile */
    size_t n_cols;
    float *y; /* of the tile's first row and the panel's first; only these are stored: */
    size_t y_stride;
    size_t n_rows;   /* rows of the panel that are not filling */
    __mmask16 lanes; /* rows of the tile that are wanted */
} tile_job;

/* For panels of width 1, 4 and 8. */
typedef void tile_times_panel(const tile_job *job);
typedef struct panel_kernels {
    tile_times_panel *width_1, *width_4, *width_8;
} panel_kernels;

/* Plain formats with several panels: a tile times all of them (avx512_matmul_plain.c). job: of the first; n_x: rows of all. */
void avx512_plain_times_panels(const tile_job *job, quant_type type, size_t n_x);

extern const panel_kernels avx512_f32, avx512_f16, avx512_bf16;                             /* avx512_matmul_plain.c */
extern const panel_kernels avx512_q4_0, avx512_q4_1, avx512_q5_0, avx512_q5_1, avx512_q8_0; /* avx512_matmul_32.c */
extern const panel_kernels avx512_iq4_nl;                                                   /* avx512_matmul_32.c */
extern const panel_kernels avx512_q2_K, avx512_q3_K, avx512_q4_K, avx512_q5_K, avx512_q6_K; /* avx512_matmul_256.c */
extern const panel_kernels avx512_iq4_xs;                                                   /* avx512_matmul_256.c */

/* Kernels are one always_inline body, compiled once a format and width. */
#define AVX512_BODY static inline __attribute__((always_inline))

enum { PREFETCH_BYTES = 512, LINE_BYTES = 64 };

/* Asks for `n` lines from p + PREFETCH_BYTES on. */
AVX512_BODY void prefetch_lines(const uint8_t *p, int n)
{
#pragma GCC unroll 32
    for (int i = 0; i < n; i++) _mm_prefetch((const char *)p + PREFETCH_BYTES + i * LINE_BYTES, _MM_HINT_T1);
}

/* The same four bytes of 16 rows. */
AVX512_BODY __m512i load_dwords(const void *p)
{
    return _mm512_load_si512(p);
}

/* 16 f16 as f32: exact (N1). */
AVX512_BODY __m512 load_halves(const void *p)
{
    return _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)p));
}

AVX512_BODY __m512i broadcast_dword(const uint8_t *p)
{
    int32_t i;
    memcpy(&i, p, sizeof i);
    return _mm512_set1_epi32(i);
}

AVX512_BODY __m512 broadcast_float(const uint8_t *p)
{
    float f;
    memcpy(&f, p, sizeof f);
    return _mm512_set1_ps(f);
}

AVX512_BODY void store_results(const tile_job *job, const __m512 *acc, int width)
{
#pragma GCC unroll 8
    for (int n = 0; n < width; n++) {
        if ((size_t)n < job->n_rows) _mm512_mask_storeu_ps(job->y + n * job->y_stride, job->lanes, acc[n]);
    }
}

#endif
