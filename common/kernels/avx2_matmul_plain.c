/* avx2_matmul_plain.c: F32, F16, BF16 (N8): one multiplication and one addition a column, in the order of columns.
 *
 * Bound by the additions for panels of 4 and 8 (two of 8 lanes a cycle), by memory for panels of 1. */
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
AVX2_BODY void rows_times_plain(const tile_job *job, int width, int first, int n, size_t col_bytes, load_column *load,
                                int near_width)
{
    const uint8_t *x = job->panel + first * 4;
    __m256 acc[N_HALVES * 4];
    begin_sums(job, acc, first, n);
    for (size_t k = 0; k < job->n_cols; k++, x += width * 4) {
        if (width == 1 || (job->from_memory && first == 0)) prefetch_lines(job->tile + k * col_bytes, 1, width, near_width);
        __m256 low = load(job->tile, k, 0), high = load(job->tile, k, 1);
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) {
            __m256 act = broadcast_float(x + i * 4);
            acc[i] = _mm256_add_ps(acc[i], _mm256_mul_ps(low, act));
            acc[n + i] = _mm256_add_ps(acc[n + i], _mm256_mul_ps(high, act));
        }
    }
    store_sums(job, acc, first, n);
}

AVX2_BODY void times_panel(const tile_job *job, int width, size_t col_bytes, load_column *load, int near_width)
{
    const int n = rows_at_a_time(width);
    for (int first = 0; (size_t)first < job->n_rows; first += n)
        rows_times_plain(job, width, first, n, col_bytes, load, near_width);
}

AVX2_BODY void times_plain(const tile_job *job, size_t col_bytes, load_column *load, int near_width)
{
    if (job->width == 1)
        times_panel(job, 1, col_bytes, load, near_width);
    else if (job->width == 2)
        times_panel(job, 2, col_bytes, load, near_width);
    else if (job->width == 4)
        times_panel(job, 4, col_bytes, load, near_width);
    else
        times_panel(job, 8, col_bytes, load, near_width);
}

void avx2_f32(const tile_job *job)
{
    times_plain(job, sizeof(tile_dwords), load_f32, 2);
}

void avx2_f16(const tile_job *job)
{
    times_plain(job, sizeof(tile_halves), load_f16, 0);
}

void avx2_bf16(const tile_job *job)
{
    times_plain(job, sizeof(tile_halves), load_bf16, 0);
}

void avx2_widen(float *out, quant_type type, const uint8_t *tile, size_t n_cols)
{
    for (size_t k = 0; k < n_cols; k++) {
        for (int h = 0; h < N_HALVES; h++) {
            __m256 column = type == QUANT_F16 ? load_f16(tile, k, h) : load_bf16(tile, k, h);
            _mm256_store_ps(out + k * TILE_ROWS + h * HALF_ROWS, column);
        }
    }
}
