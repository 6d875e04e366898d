/* avx512_matmul_plain.c: F32, F16, BF16 (N8): one multiplication and one addition a column, in the order of columns.
 *
 * Bound by the additions for panels of 8 (16 multiply-adds a cycle), by memory for panels of 1.
 * With several panels a tile is cut into chunks of columns that stay in the first-level cache, converted to f32 once, and met by
 * all panels; between two chunks the sums wait where the results go, which changes no bit of them. (Two tiles at a
 * time, sharing what is broadcast, were slower: F16 35 GMAC/s against 44.) */
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

enum { CHUNK_COLS = 256 }; /* 16 KiB of weights, 8 KiB of a panel */

/* Adds columns [0, n_cols) of w, [n_cols][16], to a panel's results; is_first: they begin at 0. */
AVX512_BODY void add_chunk(const tile_job *job, int width, const float *w, size_t n_cols, bool is_first)
{
    const uint8_t *x = job->panel;
    __m512 acc[8];
#pragma GCC unroll 8
    for (int n = 0; n < width; n++) {
        bool is_there = !is_first && (size_t)n < job->n_rows;
        acc[n] = is_there ? _mm512_maskz_loadu_ps(job->lanes, job->y + n * job->y_stride) : _mm512_setzero_ps();
    }
    for (size_t k = 0; k < n_cols; k++, x += width * 4) {
        __m512 column = _mm512_load_ps(w + k * TILE_ROWS);
#pragma GCC unroll 8
        for (int n = 0; n < width; n++) acc[n] = _mm512_add_ps(acc[n], _mm512_mul_ps(column, broadcast_float(x + n * 4)));
    }
    store_results(job, acc, width);
}

/* Columns [begin, begin + n) of a tile as f32: where they are, or in `copy`. */
static const float *chunk_as_f32(const uint8_t *tile, quant_type type, size_t begin, size_t n, float *copy)
{
    if (type == QUANT_F32) return (const float *)(const void *)tile + begin * TILE_ROWS;
    for (size_t k = 0; k < n; k++) {
        __m512 column = type == QUANT_F16 ? load_f16(tile, begin + k) : load_bf16(tile, begin + k);
        _mm512_store_ps(copy + k * TILE_ROWS, column);
    }
    return copy;
}

void avx512_plain_times_panels(const tile_job *job, quant_type type, size_t n_x)
{
    _Alignas(64) float copy[CHUNK_COLS * TILE_ROWS];
    const size_t row_bytes = panel_row_bytes(job->n_cols, 0);
    for (size_t begin = 0; begin < job->n_cols; begin += CHUNK_COLS) {
        const size_t n_cols = job->n_cols - begin < CHUNK_COLS ? job->n_cols - begin : CHUNK_COLS;
        const float *w = chunk_as_f32(job->tile, type, begin, n_cols, copy);
        for (size_t i = 0; i < n_x; i += PANEL_ROWS) {
            tile_job part = *job;
            part.n_rows = n_x - i < PANEL_ROWS ? n_x - i : PANEL_ROWS;
            const size_t width = panel_width(part.n_rows);
            part.panel = job->panel + i * row_bytes + begin * width * PANEL_0_BYTES;
            part.y = job->y + i * job->y_stride;
            if (width == 8)
                add_chunk(&part, 8, w, n_cols, begin == 0);
            else if (width == 4)
                add_chunk(&part, 4, w, n_cols, begin == 0);
            else
                add_chunk(&part, 1, w, n_cols, begin == 0);
        }
    }
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
