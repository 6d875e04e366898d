/* avx512_matmul_plain.c: F32, F16, BF16 (N8): one multiplication and one addition a column, in the order of columns.
 *
 * Bound by the additions for panels of 8 (16 multiply-adds a cycle), by memory for panels of 1 and 2. (Two tiles at a time, sharing
 * what is broadcast, were slower: F16 35 GMAC/s against 44.) */
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

AVX512_BODY void times_panel(const tile_job *job, int width, size_t col_bytes, load_column *load, int near_width)
{
    const int lanes = width < PANEL_ROWS ? width : PANEL_ROWS; /* of each panel: there are two if it is more */
    const uint8_t *x = job->panel, *x2 = job->panel + job->panel_bytes;
    __m512 acc[16];
    begin_sums(job, acc, width);
    for (size_t k = 0; k < job->n_cols; k++, x += lanes * 4, x2 += lanes * 4) {
        if (width == 1 || (width <= PANEL_ROWS && job->from_memory))
            prefetch_lines(job->tile + k * col_bytes, 1, width, near_width);
        __m512 w = load(job->tile, k);
#pragma GCC unroll 16
        for (int n = 0; n < width; n++) {
            __m512 act = broadcast_float(n < PANEL_ROWS ? x + n * 4 : x2 + (n - PANEL_ROWS) * 4);
            acc[n] = _mm512_add_ps(acc[n], _mm512_mul_ps(w, act));
        }
    }
    store_sums(job, acc, width);
}

AVX512_BODY void times_plain(const tile_job *job, size_t col_bytes, load_column *load, int near_width)
{
    if (job->width == 1)
        times_panel(job, 1, col_bytes, load, near_width);
    else if (job->width == 2)
        times_panel(job, 2, col_bytes, load, near_width);
    else if (job->width == 4)
        times_panel(job, 4, col_bytes, load, near_width);
    else if (job->width == 8)
        times_panel(job, 8, col_bytes, load, near_width);
    else
        times_panel(job, 16, col_bytes, load, near_width);
}

void avx512_f32(const tile_job *job)
{
    times_plain(job, sizeof(tile_dwords), load_f32, 2);
}

void avx512_f16(const tile_job *job)
{
    times_plain(job, sizeof(tile_halves), load_f16, 1);
}

void avx512_bf16(const tile_job *job)
{
    times_plain(job, sizeof(tile_halves), load_bf16, 1);
}

void avx512_widen(float *out, quant_type type, const uint8_t *tile, size_t n_cols)
{
    for (size_t k = 0; k < n_cols; k++)
        _mm512_store_ps(out + k * TILE_ROWS, type == QUANT_F16 ? load_f16(tile, k) : load_bf16(tile, k));
}
