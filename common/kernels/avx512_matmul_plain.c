/* avx512_matmul_plain.c: F32, F16, BF16 (N8): one multiplication and one addition a column, in the order of columns.
 *
 * Bound by the additions for panels of 8 (16 multiply-adds a cycle), by memory for panels of 1. */
#include "avx512_matmul.h"

/* Column k of 16 rows as f32. */
typedef __m512 load_column(const uint8_t *tile, size_t k);

AVX512_BODY __m512 load_f32(const uint8_t *tile, size_t k)
{
    return _mm512_load_ps(tile + k * sizeof(tile_dwords));
}

AVX512_BODY __m512 load_f16(const uint8_t *tile, size_t k)
{
    return load_halves(tile + k * sizeof(tile_halves));
}

AVX512_BODY __m512 load_bf16(const uint8_t *tile, size_t k)
{
    __m256i halves = _mm256_load_si256((const __m256i *)(const void *)(tile + k * sizeof(tile_halves)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

AVX512_BODY void times_plain(const tile_job *job, int width, size_t col_bytes, load_column *load)
{
    const uint8_t *x = job->panel;
    __m512 acc[8];
#pragma GCC unroll 8
    for (int n = 0; n < width; n++) acc[n] = _mm512_setzero_ps();
    for (size_t k = 0; k < job->n_cols; k++, x += width * 4) {
        if (width == 1) prefetch_lines(job->tile + k * col_bytes, 1);
        __m512 w = load(job->tile, k);
#pragma GCC unroll 8
        for (int n = 0; n < width; n++) acc[n] = _mm512_add_ps(acc[n], _mm512_mul_ps(w, broadcast_float(x + n * 4)));
    }
    store_results(job, acc, width);
}

AVX512_BODY void times_f32(const tile_job *job, int width)
{
    times_plain(job, width, sizeof(tile_dwords), load_f32);
}

AVX512_BODY void times_f16(const tile_job *job, int width)
{
    times_plain(job, width, sizeof(tile_halves), load_f16);
}

AVX512_BODY void times_bf16(const tile_job *job, int width)
{
    times_plain(job, width, sizeof(tile_halves), load_bf16);
}

static void f32_times_1(const tile_job *job)
{
    times_f32(job, 1);
}

static void f32_times_4(const tile_job *job)
{
    times_f32(job, 4);
}

static void f32_times_8(const tile_job *job)
{
    times_f32(job, 8);
}

static void f16_times_1(const tile_job *job)
{
    times_f16(job, 1);
}

static void f16_times_4(const tile_job *job)
{
    times_f16(job, 4);
}

static void f16_times_8(const tile_job *job)
{
    times_f16(job, 8);
}

static void bf16_times_1(const tile_job *job)
{
    times_bf16(job, 1);
}

static void bf16_times_4(const tile_job *job)
{
    times_bf16(job, 4);
}

static void bf16_times_8(const tile_job *job)
{
    times_bf16(job, 8);
}

const panel_kernels avx512_f32 = {f32_times_1, f32_times_4, f32_times_8};
const panel_kernels avx512_f16 = {f16_times_1, f16_times_4, f16_times_8};
const panel_kernels avx512_bf16 = {bf16_times_1, bf16_times_4, bf16_times_8};
