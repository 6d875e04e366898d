/* simd128_matmul_plain.h: F32, F16, BF16 (N8): one multiplication and one addition a column, in the order of columns. */
#ifndef YL_KERNELS_SIMD128_MATMUL_PLAIN_H
#define YL_KERNELS_SIMD128_MATMUL_PLAIN_H

#include "simd128_matmul.h"

/* Column k of the four rows of vector v as f32. */
typedef f32x4 load_column(const uint8_t *tile, size_t k, int v);

SIMD_INLINE f32x4 load_f32(const uint8_t *tile, size_t k, int v)
{
    return (f32x4)load_dwords(((const tile_f32 *)(const void *)tile)[k].w, v);
}

SIMD_INLINE f32x4 load_f16(const uint8_t *tile, size_t k, int v)
{
    return load_halves((const uint16_t *)(const void *)tile + k * TILE_ROWS, v);
}

SIMD_INLINE f32x4 load_bf16(const uint8_t *tile, size_t k, int v)
{
    return (f32x4)(u32_load_u16(tile + (k * TILE_ROWS + (size_t)v * VECTOR_ROWS) * sizeof(uint16_t)) << 16);
}

SIMD_INLINE void times_plain(const tile_job *job, int v, int n_v, int first, int n, size_t width, load_column *load)
{
    const uint8_t *x = job->panel + first * 4;
    f32x4 acc[TILE_VECTORS * BATCH_ROWS];
    SIMD_UNROLL
    for (int i = 0; i < n_v * n; i++) acc[i] = f32_set1(0.0f);
    for (size_t k = 0; k < job->n_cols; k++, x += width * 4) {
        SIMD_UNROLL
        for (int i = 0; i < n_v; i++) {
            f32x4 w = load(job->tile, k, v + i);
            SIMD_UNROLL
            for (int j = 0; j < n; j++) acc[i * n + j] = acc[i * n + j] + w * f32_broadcast(x + j * 4);
        }
    }
    store_results(job, acc, v, n_v, first, n);
}

SIMD_INLINE void vectors_f32(const tile_job *job, int v, int n_v, int first, int n, size_t width)
{
    times_plain(job, v, n_v, first, n, width, load_f32);
}

SIMD_INLINE void vectors_f16(const tile_job *job, int v, int n_v, int first, int n, size_t width)
{
    times_plain(job, v, n_v, first, n, width, load_f16);
}

SIMD_INLINE void vectors_bf16(const tile_job *job, int v, int n_v, int first, int n, size_t width)
{
    times_plain(job, v, n_v, first, n, width, load_bf16);
}

static void tile_times_f32(const tile_job *job, size_t width)
{
    tile_times(job, width, vectors_f32);
}

static void tile_times_f16(const tile_job *job, size_t width)
{
    tile_times(job, width, vectors_f16);
}

static void tile_times_bf16(const tile_job *job, size_t width)
{
    tile_times(job, width, vectors_bf16);
}

#endif
