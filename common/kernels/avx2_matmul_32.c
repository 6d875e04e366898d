/* avx2_matmul_32.c: formats with blocks of 32: Q8_0, Q4_0, Q5_0, IQ4_NL (N3, N4), Q4_1, Q5_1 (N7).
 *
 * They differ in how four weights of 8 rows become a register of bytes, and in what was added to make them unsigned: that times the
 * sum of the activations is taken off again, before the integer becomes a float. */
#include "avx2_matmul.h"

/* Weights 4g ... 4g + 3 of block b of a unit. */
typedef __m256i unpack_group(const uint8_t *unit, int b, int g, int half);

AVX2_BODY __m256i weights_q8_0(const uint8_t *unit, int b, int g, int half)
{
    return load_dwords(((const tile_q8_0 *)unit)->qs[b][g], half);
}

AVX2_BODY __m256i weights_q4_0(const uint8_t *unit, int b, int g, int half)
{
    return nibbles(load_dwords(((const tile_q4_0 *)unit)->qs[b][g % 4], half), g / 4);
}

AVX2_BODY __m256i weights_q4_1(const uint8_t *unit, int b, int g, int half)
{
    return nibbles(load_dwords(((const tile_q4_1 *)unit)->qs[b][g % 4], half), g / 4);
}

/* 16 where a weight's fifth bit is set: weight i has bit i of its row's dword, so group g has the bits 4g ... 4g + 3, and each byte
 * tests one of them. */
AVX2_BODY __m256i fifth_bits(const tile_dwords qh, int g, int half)
{
    /* Byte g / 2 of each dword, four times: shuffles work on 16 bytes, four rows. */
    const int i = g / 2 * 0x01010101;
    const __m128i which = _mm_setr_epi32(i, 0x04040404 + i, 0x08080808 + i, 0x0c0c0c0c + i);
    const __m256i test = _mm256_set1_epi32(g % 2 ? (int)0x80402010 : 0x08040201);
    __m256i spread = _mm256_shuffle_epi8(load_dwords(qh, half), _mm256_broadcastsi128_si256(which));
    return bytes_and(_mm256_cmpeq_epi8(_mm256_and_si256(spread, test), test), 16);
}

AVX2_BODY __m256i weights_q5_0(const uint8_t *unit, int b, int g, int half)
{
    const tile_q5_0 *u = (const tile_q5_0 *)unit;
    return _mm256_or_si256(nibbles(load_dwords(u->qs[b][g % 4], half), g / 4), fifth_bits(u->qh[b], g, half));
}

AVX2_BODY __m256i weights_q5_1(const uint8_t *unit, int b, int g, int half)
{
    const tile_q5_1 *u = (const tile_q5_1 *)unit;
    return _mm256_or_si256(nibbles(load_dwords(u->qs[b][g % 4], half), g / 4), fifth_bits(u->qh[b], g, half));
}

AVX2_BODY __m256i weights_iq4_nl(const uint8_t *unit, int b, int g, int half)
{
    return iq4_values(weights_q4_0(unit, b, g, half));
}

/* What differs between formats, constant wherever a body is inlined. */
typedef struct format_32 {
    size_t unit_bytes;
    unpack_group *weights;
    int groups;      /* of add_products */
    int log2_offset; /* 2 to that power was added to the weights; 0: nothing */
    size_t m_at;     /* where a unit has its minimums; 0: none */
    int near_width;  /* of prefetch_lines */
} format_32;

/* acc[i] += what half of block b of the unit is worth with row i of the panel, for n rows. x: the block of the panel, at the first
 * row's lane. */
AVX2_BODY void add_block(__m256 *acc, int n, const uint8_t *unit, int b, int half, const uint8_t *x, int width, format_32 f)
{
    const uint16_t *d_at = (const uint16_t *)(const void *)unit + b * TILE_ROWS;
    __m256i isum[4];
    x = as_another_pointer(x);
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) isum[i] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int first = 0; first < 8; first++) {
        if (first % f.groups != 0) continue;
        __m256i q[8];
        unit = as_another_pointer(unit);
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
            if (g < f.groups) q[g] = f.weights(unit, b, first + g, half);
        }
        add_products(isum, n, q, f.groups, _mm256_set1_epi16(1), x + (PANEL_32_Q + first * 4) * width, width);
    }
    __m256 d = load_halves(d_at, half), m = _mm256_setzero_ps();
    if (f.m_at) m = load_halves(d_at + f.m_at / sizeof *d_at, half);
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
        __m256 d_x = broadcast_float(x + i * 4);
        __m256i sum = broadcast_dword(x + PANEL_32_SUM * width + i * 4);
        if (f.m_at) {
            __m256 value = _mm256_add_ps(_mm256_mul_ps(d, _mm256_cvtepi32_ps(isum[i])), _mm256_mul_ps(m, _mm256_cvtepi32_ps(sum)));
            acc[i] = _mm256_add_ps(acc[i], _mm256_mul_ps(d_x, value));
        } else {
            if (f.log2_offset) isum[i] = _mm256_sub_epi32(isum[i], _mm256_slli_epi32(sum, f.log2_offset));
            acc[i] = _mm256_add_ps(acc[i], _mm256_mul_ps(_mm256_mul_ps(d, d_x), _mm256_cvtepi32_ps(isum[i])));
        }
    }
}

/* Rows [first, first + n) of the panel. */
AVX2_BODY void rows_times_32(const tile_job *job, int width, int first, int n, format_32 f)
{
    const uint8_t *unit = job->tile, *block = job->panel + first * 4;
    const int half_lines = (int)f.unit_bytes / LINE_BYTES / 2;
    __m256 acc[N_HALVES * 4];
    begin_sums(job, acc, first, n);
    for (size_t u = 0; u < job->n_units; u++, unit += f.unit_bytes) {
#pragma GCC unroll 2
        for (int b = 0; b < 2; b++, block += width * PANEL_32_BYTES) {
            if (width == 1 || (job->from_memory && first == 0))
                prefetch_lines(unit + b * half_lines * LINE_BYTES, b ? (int)f.unit_bytes / LINE_BYTES - half_lines : half_lines,
                               width, f.near_width);
#pragma GCC unroll 2
            for (int h = 0; h < N_HALVES; h++) add_block(acc + h * n, n, unit, b, h, block, width, f);
        }
    }
    store_sums(job, acc, first, n);
}

AVX2_BODY void times_panel(const tile_job *job, int width, format_32 f)
{
    const int n = rows_at_a_time(width);
    for (int first = 0; (size_t)first < job->n_rows; first += n) rows_times_32(job, width, first, n, f);
}

AVX2_BODY void times_32(const tile_job *job, format_32 f)
{
    if (job->width == 1)
        times_panel(job, 1, f);
    else if (job->width == 2)
        times_panel(job, 2, f);
    else if (job->width == 4)
        times_panel(job, 4, f);
    else
        times_panel(job, 8, f);
}

void avx2_q8_0(const tile_job *job)
{
    times_32(job, (format_32){sizeof(tile_q8_0), weights_q8_0, GROUPS_SIGNED, 0, 0, 1});
}

void avx2_q4_0(const tile_job *job)
{
    times_32(job, (format_32){sizeof(tile_q4_0), weights_q4_0, GROUPS_4_BITS, 3, 0, 0});
}

void avx2_q5_0(const tile_job *job)
{
    times_32(job, (format_32){sizeof(tile_q5_0), weights_q5_0, GROUPS_5_BITS, 4, 0, 0});
}

void avx2_iq4_nl(const tile_job *job)
{
    times_32(job, (format_32){sizeof(tile_q4_0), weights_iq4_nl, GROUPS_SIGNED, 0, 0, 0});
}

void avx2_q4_1(const tile_job *job)
{
    times_32(job, (format_32){sizeof(tile_q4_1), weights_q4_1, GROUPS_4_BITS, 0, offsetof(tile_q4_1, m), 0});
}

void avx2_q5_1(const tile_job *job)
{
    times_32(job, (format_32){sizeof(tile_q5_1), weights_q5_1, GROUPS_5_BITS, 0, offsetof(tile_q5_1, m), 0});
}
