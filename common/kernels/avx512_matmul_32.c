/* avx512_matmul_32.c: formats with blocks of 32: Q8_0, Q4_0, Q5_0, IQ4_NL (N3, N4), Q4_1, Q5_1 (N7).
 *
 * They differ in how 32 weights of 16 rows become eight registers of unsigned bytes, and in what was added to make them unsigned:
 * `offset` of it times the sum of the activations is taken off again, before the integer becomes a float. */
#include "avx512_matmul.h"

/* Weights 4g ... 4g + 3 of block b of a unit in q[g]. */
typedef void unpack_32(__m512i q[8], const uint8_t *unit, int b);

AVX512_BODY __m512i low_nibbles(__m512i v)
{
    return _mm512_and_si512(v, _mm512_set1_epi8(15));
}

AVX512_BODY __m512i high_nibbles(__m512i v)
{
    return _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15));
}

AVX512_BODY void unpack_q8_0(__m512i q[8], const uint8_t *unit, int b)
{
    const tile_q8_0 *u = (const tile_q8_0 *)unit;
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) q[g] = _mm512_xor_si512(load_dwords(u->qs[b][g]), _mm512_set1_epi8(-128)); /* w + 128 */
}

AVX512_BODY void unpack_nibbles(__m512i q[8], const tile_dwords qs[4])
{
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) {
        __m512i v = load_dwords(qs[g]);
        q[g] = low_nibbles(v);
        q[g + 4] = high_nibbles(v);
    }
}

AVX512_BODY void unpack_q4_0(__m512i q[8], const uint8_t *unit, int b)
{
    unpack_nibbles(q, ((const tile_q4_0 *)unit)->qs[b]);
}

AVX512_BODY void unpack_q4_1(__m512i q[8], const uint8_t *unit, int b)
{
    unpack_nibbles(q, ((const tile_q4_1 *)unit)->qs[b]);
}

/* Adds 16 where a row's bit is set: weight i has bit i, so group g has the bits 4g ... 4g + 3, and each byte of a dword tests one
 * of them. */
AVX512_BODY void add_fifth_bits(__m512i q[8], const tile_dwords qh)
{
    __m512i bits = load_dwords(qh);
    /* Byte g / 2 of each dword, four times: shuffles work on 16 bytes, four rows. */
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        const char i = (char)(g / 2);
        __m512i which = _mm512_set4_epi32(0x0c0c0c0c + i * 0x01010101, 0x08080808 + i * 0x01010101, 0x04040404 + i * 0x01010101,
                                          i * 0x01010101);
        __m512i spread = _mm512_shuffle_epi8(bits, which);
        __mmask64 set = _mm512_test_epi8_mask(spread, _mm512_set1_epi32(g % 2 ? (int)0x80402010 : 0x08040201));
        q[g] = _mm512_mask_add_epi8(q[g], set, q[g], _mm512_set1_epi8(16));
    }
}

AVX512_BODY void unpack_q5_0(__m512i q[8], const uint8_t *unit, int b)
{
    const tile_q5_0 *u = (const tile_q5_0 *)unit;
    unpack_nibbles(q, u->qs[b]);
    add_fifth_bits(q, u->qh[b]);
}

AVX512_BODY void unpack_q5_1(__m512i q[8], const uint8_t *unit, int b)
{
    const tile_q5_1 *u = (const tile_q5_1 *)unit;
    unpack_nibbles(q, u->qs[b]);
    add_fifth_bits(q, u->qh[b]);
}

AVX512_BODY void unpack_iq4_nl(__m512i q[8], const uint8_t *unit, int b)
{
    const __m512i table = _mm512_xor_si512(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)quant_iq4_values)),
                                           _mm512_set1_epi8(-128));
    unpack_nibbles(q, ((const tile_q4_0 *)unit)->qs[b]);
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) q[g] = _mm512_shuffle_epi8(table, q[g]);
}

/* What differs between formats, constant wherever a body is inlined. */
typedef struct format_32 {
    size_t unit_bytes;
    unpack_32 *unpack;
    int log2_offset; /* 2 to that power was added to the weights; 0: nothing */
    size_t m_at;     /* where a unit has its minimums; 0: none */
    int near_width;  /* of prefetch_lines */
} format_32;

AVX512_BODY void times_panel(const tile_job *job, int width, format_32 f)
{
    const uint8_t *unit = job->tile, *block = job->panel;
    const int half_lines = (int)f.unit_bytes / LINE_BYTES / 2;
    __m512 acc[8];
    begin_sums(job, acc, width);
    for (size_t u = 0; u < job->n_units; u++, unit += f.unit_bytes) {
#pragma GCC unroll 2
        for (int b = 0; b < 2; b++, block += width * PANEL_32_BYTES) {
            if (width == 1 || job->from_memory)
                prefetch_lines(unit + b * half_lines * LINE_BYTES, b ? (int)f.unit_bytes / LINE_BYTES - half_lines : half_lines,
                               width, f.near_width);
            __m512i q[8];
            f.unpack(q, unit, b);
            __m512 d = load_halves(unit + b * sizeof(tile_halves)), m = _mm512_setzero_ps();
            if (f.m_at) m = load_halves(unit + f.m_at + b * sizeof(tile_halves));
#pragma GCC unroll 8
            for (int n = 0; n < width; n++) {
                const uint8_t *x = block + PANEL_32_Q * width + n * 4;
                __m512i sum = broadcast_dword(block + PANEL_32_SUM * width + n * 4), isum = _mm512_setzero_si512();
                if (f.log2_offset) isum = _mm512_sub_epi32(isum, _mm512_slli_epi32(sum, (unsigned)f.log2_offset));
#pragma GCC unroll 8
                for (int g = 0; g < 8; g++) isum = add_products(isum, q[g], x + g * width * 4);
                __m512 d_x = broadcast_float(block + n * 4);
                if (f.m_at) {
                    __m512 value =
                        _mm512_add_ps(_mm512_mul_ps(d, _mm512_cvtepi32_ps(isum)), _mm512_mul_ps(m, _mm512_cvtepi32_ps(sum)));
                    acc[n] = _mm512_add_ps(acc[n], _mm512_mul_ps(d_x, value));
                } else {
                    acc[n] = _mm512_add_ps(acc[n], _mm512_mul_ps(_mm512_mul_ps(d, d_x), _mm512_cvtepi32_ps(isum)));
                }
            }
        }
    }
    store_sums(job, acc, width);
}

AVX512_BODY void times_32(const tile_job *job, format_32 f)
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

void avx512_q8_0(const tile_job *job)
{
    times_32(job, (format_32){sizeof(tile_q8_0), unpack_q8_0, 7, 0, 2});
}

void avx512_q4_0(const tile_job *job)
{
    times_32(job, (format_32){sizeof(tile_q4_0), unpack_q4_0, 3, 0, 1});
}

void avx512_q5_0(const tile_job *job)
{
    times_32(job, (format_32){sizeof(tile_q5_0), unpack_q5_0, 4, 0, 1});
}

void avx512_iq4_nl(const tile_job *job)
{
    times_32(job, (format_32){sizeof(tile_q4_0), unpack_iq4_nl, 7, 0, 1});
}

void avx512_q4_1(const tile_job *job)
{
    times_32(job, (format_32){sizeof(tile_q4_1), unpack_q4_1, 0, offsetof(tile_q4_1, m), 1});
}

void avx512_q5_1(const tile_job *job)
{
    times_32(job, (format_32){sizeof(tile_q5_1), unpack_q5_1, 0, offsetof(tile_q5_1, m), 1});
}
