/* avx2_matmul_plain.c: F32, F16, BF16 (N8): one multiplication and one addition a column, in the order of columns.
 *
 * Bound by the additions for panels of 4 and 8 (two of 8 lanes a cycle), by memory for panels of 1.
 * (Chunks of columns that are converted to f32 once for all panels, as for AVX-512: F32 44 GMAC/s against 50, F16 44 against 42.)
 */
#include "avx2_matmul.h"

/* Column k of the 8 rows of a half as f32. */
typedef __m256 load_column(const uint8_t *tile, size_t k, int half);

AVX2_BODY __m256 load_f32(const uint8_t *tile, size_t k, int half)
{
    return _mm256_castsi256_ps(load_dwords(((const tile_f32 *)tile)[k].w, half));
}

AVX2_BODY __m256 load_f16(const uint8_t *tile, size_t k, int half)
{
    return load_halves((const uint16_t *)(const void *)tile + k * TILE_ROWS, half);
}

AVX2_BODY __m256 load_bf16(const uint8_t *tile, size_t k, int half)
{
    const uint8_t *halves = tile + (k * TILE_ROWS + (size_t)half * HALF_ROWS) * sizeof(uint16_t);
    __m256i wide = _mm256_cvtepu16_epi32(_mm_load_si128((const __m128i *)(const void *)halves));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

/* Rows [first, first + n) of the panel. */
AVX2_BODY void rows_times_plain(const tile_job *job, int width, int first, int n, size_t col_bytes, load_column *load)
{
    const uint8_t *x = job->panel + first * 4;
    __m256 acc[N_HALVES * 4];
#pragma GCC unroll 8
    for (int i = 0; i < N_HALVES * n; i++) acc[i] = _mm256_setzero_ps();
    for (size_t k = 0; k < job->n_cols; k++, x += width * 4) {
        if (width == 1) prefetch_lines(job->tile + k * col_bytes, 1);
        __m256 low = load(job->tile, k, 0), high = load(job->tile, k, 1);
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) {
            __m256 act = broadcast_float(x + i * 4);
            acc[i] = _mm256_add_ps(acc[i], _mm256_mul_ps(low, act));
            acc[n + i] = _mm256_add_ps(acc[n + i], _mm256_mul_ps(high, act));
        }
    }
    store_results(job, acc, first, n);
}

AVX2_BODY void times_plain(const tile_job *job, int width, size_t col_bytes, load_column *load)
{
    const int n = rows_at_a_time(width);
    for (int first = 0; (size_t)first < job->n_rows; first += n) rows_times_plain(job, width, first, n, col_bytes, load);
}

AVX2_BODY void times_f32(const tile_job *job, int width)
{
    times_plain(job, width, sizeof(tile_dwords), load_f32);
}

AVX2_BODY void times_f16(const tile_job *job, int width)
{
    times_plain(job, width, sizeof(tile_halves), load_f16);
}

AVX2_BODY void times_bf16(const tile_job *job, int width)
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

const panel_kernels avx2_f32 = {f32_times_1, f32_times_4, f32_times_8};
const panel_kernels avx2_f16 = {f16_times_1, f16_times_4, f16_times_8};
const panel_kernels avx2_bf16 = {bf16_times_1, bf16_times_4, bf16_times_8};
