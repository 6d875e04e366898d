/* avx512_matmul_256.c: formats with blocks of 256: Q4_K, Q5_K, Q2_K (N5), Q6_K, Q3_K, IQ4_XS (N6).
 *
 * A unit is worked off sub-block by sub-block, 32 or 16 columns, in the order in which its bytes lie. Formats differ in how the
 * weights of a sub-block become eight or four registers of unsigned bytes, and in how the small scales are packed; both are given
 * as functions. Scales are brought into one form:
 * register i holds the scales of sub-blocks 4i ... 4i + 3 as the four bytes of a row.
 * N5 has minimums, times sums of activations. N6 has weights that are signed: an offset makes them unsigned, and offset times scale
 * times the same sums is taken off again. Both are products of pairs of 16 bits, one vpdpwssd for two sub-blocks. */
#include "avx512_matmul.h"

/* Which sub-block is at work, and where its bits are. 32 columns: s = 0 ... 7 in order, and only s is used. 16 columns: s = 8h + 2i
 * + c, where h and c say which part of the unit (tile.h), and i = 0 ... 3 which bits of its bytes. */
typedef struct sub_block {
    int s, h, c, i;
} sub_block;

/* Its weights 4g ... 4g + 3 in q[g]: eight registers or four. */
typedef void unpack_sub_block(__m512i *q, const uint8_t *unit, sub_block at);
/* The k-th of the 16 sub-blocks of 16 columns. */
typedef sub_block nth_sub_block(int k);

/* Scales (and minimums, if the format has any) of a unit's sub-blocks, packed; as many registers as there are. */
typedef void unpack_scales(__m512i sc[4], __m512i min[4], const uint8_t *unit);

AVX512_BODY __m512i bytes_and(__m512i v, int mask)
{
    return _mm512_and_si512(v, _mm512_set1_epi8((char)mask));
}

/* Bits [shift, shift + 2) of each byte, at bit 4. */
AVX512_BODY __m512i two_bits_at_4(__m512i v, int shift)
{
    return bytes_and(shift < 4 ? _mm512_slli_epi16(v, (unsigned)(4 - shift)) : _mm512_srli_epi16(v, (unsigned)(shift - 4)), 0x30);
}

/* Bit `bit` of each byte, at bit `to`, or-ed into q. */
AVX512_BODY __m512i add_bit(__m512i q, __m512i v, int bit, int to)
{
    __m512i moved = bit < to ? _mm512_slli_epi16(v, (unsigned)(to - bit)) : _mm512_srli_epi16(v, (unsigned)(bit - to));
    return _mm512_ternarylogic_epi32(q, moved, _mm512_set1_epi8((char)(1 << to)), 0xf8); /* q | (moved & bit) */
}

AVX512_BODY __m512i nibbles(__m512i v, int high)
{
    return bytes_and(high ? _mm512_srli_epi16(v, 4) : v, 15);
}

/* Q4_K, Q5_K: eight scales and eight minimums of 6 bits in three dwords (quant_k4_scale, quant_k4_min, four at a time). */
AVX512_BODY void unpack_k4_scales(__m512i sc[4], __m512i min[4], const tile_dwords scales[3])
{
    __m512i a = load_dwords(scales[0]), b = load_dwords(scales[1]), c = load_dwords(scales[2]);
    sc[0] = bytes_and(a, 63);
    min[0] = bytes_and(b, 63);
    sc[1] = _mm512_or_si512(bytes_and(c, 15), two_bits_at_4(a, 6));
    min[1] = _mm512_or_si512(nibbles(c, 1), two_bits_at_4(b, 6));
}

AVX512_BODY void scales_q4_K(__m512i sc[4], __m512i min[4], const uint8_t *unit)
{
    unpack_k4_scales(sc, min, ((const tile_q4_K *)unit)->scales);
}

AVX512_BODY void weights_q4_K(__m512i *q, const uint8_t *unit, sub_block at)
{
    const tile_q4_K *u = (const tile_q4_K *)unit;
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) q[g] = nibbles(load_dwords(u->qs[8 * (at.s / 2) + g]), at.s % 2);
}

AVX512_BODY void scales_q5_K(__m512i sc[4], __m512i min[4], const uint8_t *unit)
{
    unpack_k4_scales(sc, min, ((const tile_q5_K *)unit)->scales);
}

AVX512_BODY void weights_q5_K(__m512i *q, const uint8_t *unit, sub_block at)
{
    const tile_q5_K *u = (const tile_q5_K *)unit;
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++)
        q[g] = add_bit(nibbles(load_dwords(u->qs[8 * (at.s / 2) + g]), at.s % 2), load_dwords(u->qh[g]), at.s, 4);
}

AVX512_BODY void scales_q2_K(__m512i sc[4], __m512i min[4], const uint8_t *unit)
{
    const tile_q2_K *u = (const tile_q2_K *)unit;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512i v = load_dwords(u->scales[i]);
        sc[i] = nibbles(v, 0);
        min[i] = nibbles(v, 1);
    }
}

/* Bits 2i and 2i + 1 of each byte. */
AVX512_BODY __m512i two_bits(const tile_dwords v, int i)
{
    return bytes_and(_mm512_srli_epi16(load_dwords(v), (unsigned)(2 * i)), 3);
}

AVX512_BODY sub_block nth_by_halves(int k)
{
    const int h = k / 8, c = k / 4 % 2, i = k % 4;
    return (sub_block){8 * h + 2 * i + c, h, c, i};
}

AVX512_BODY void weights_q2_K(__m512i *q, const uint8_t *unit, sub_block at)
{
    const tile_q2_K *u = (const tile_q2_K *)unit;
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) q[g] = two_bits(u->qs[8 * at.h + 4 * at.c + g], at.i);
}

/* quant_q3_k_scale, four at a time. */
AVX512_BODY void scales_q3_K(__m512i sc[4], __m512i min[4], const uint8_t *unit)
{
    const tile_q3_K *u = (const tile_q3_K *)unit;
    __m512i low[2] = {load_dwords(u->scales[0]), load_dwords(u->scales[1])}, high = load_dwords(u->scales[2]);
    (void)min;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512i six = _mm512_or_si512(nibbles(low[i % 2], i / 2), two_bits_at_4(high, 2 * i));
        sc[i] = _mm512_sub_epi8(six, _mm512_set1_epi8(32));
    }
}

AVX512_BODY sub_block nth_q3_K(int k)
{
    const int c = k / 8, h = k / 4 % 2, i = k % 4;
    return (sub_block){8 * h + 2 * i + c, h, c, i};
}

AVX512_BODY void weights_q3_K(__m512i *q, const uint8_t *unit, sub_block at)
{
    const struct tile_q3_K_part *p = &((const tile_q3_K *)unit)->part[at.c];
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) /* w + 4 */
        q[g] = add_bit(two_bits(p->qs[at.h][g], at.i), load_dwords(p->hmask[g]), 4 * at.h + at.i, 2);
}

AVX512_BODY void scales_q6_K(__m512i sc[4], __m512i min[4], const uint8_t *unit)
{
    const tile_q6_K *u = (const tile_q6_K *)unit;
    (void)min;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) sc[i] = load_dwords(u->scales[i]);
}

AVX512_BODY void weights_q6_K(__m512i *q, const uint8_t *unit, sub_block at)
{
    const struct tile_q6_K_part *p = &((const tile_q6_K *)unit)->part[at.h][at.c];
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) /* w + 32 */
        q[g] = _mm512_or_si512(nibbles(load_dwords(p->ql[at.i % 2][g]), at.i / 2), two_bits_at_4(load_dwords(p->qh[g]), 2 * at.i));
}

/* quant_iq4_xs_scale: the low nibble of sub-block s is bits 4s of a row's dword, its high bits are bits 2s of the row's half. */
AVX512_BODY void scales_iq4_xs(__m512i sc[4], __m512i min[4], const uint8_t *unit)
{
    const tile_iq4_xs *u = (const tile_iq4_xs *)unit;
    __m512i low = load_dwords(u->scales_l);
    __m512i high = _mm512_cvtepu16_epi32(_mm256_load_si256((const __m256i *)u->scales_h));
    (void)min;
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        /* The four nibbles, and the four pairs of bits, move apart by halves: first two of them, then one a byte. */
        __m512i four = i ? _mm512_srli_epi32(low, 16) : _mm512_and_si512(low, _mm512_set1_epi32(0xffff));
        __m512i two = i ? _mm512_srli_epi32(high, 8) : _mm512_and_si512(high, _mm512_set1_epi32(0xff));
        four = _mm512_and_si512(_mm512_or_si512(four, _mm512_slli_epi32(four, 8)), _mm512_set1_epi32(0x00ff00ff));
        four = _mm512_and_si512(_mm512_or_si512(four, _mm512_slli_epi32(four, 4)), _mm512_set1_epi32(0x0f0f0f0f));
        two = _mm512_and_si512(_mm512_or_si512(two, _mm512_slli_epi32(two, 12)), _mm512_set1_epi32(0x000f000f));
        two = _mm512_and_si512(_mm512_or_si512(two, _mm512_slli_epi32(two, 6)), _mm512_set1_epi32(0x03030303));
        sc[i] = _mm512_sub_epi8(_mm512_or_si512(four, _mm512_slli_epi32(two, 4)), _mm512_set1_epi8(32));
    }
}

AVX512_BODY void weights_iq4_xs(__m512i *q, const uint8_t *unit, sub_block at)
{
    const tile_iq4_xs *u = (const tile_iq4_xs *)unit;
    const __m512i table = _mm512_xor_si512(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)quant_iq4_values)),
                                           _mm512_set1_epi8(-128));
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) { /* w + 128 */
        __m512i v = load_dwords(u->qs[4 * at.s + g]);
        q[g] = _mm512_shuffle_epi8(table, nibbles(v, 0));
        q[g + 4] = _mm512_shuffle_epi8(table, nibbles(v, 1));
    }
}

/* Scale of sub-block s as 32 bits; scales are signed bytes, or unsigned ones below 128. */
AVX512_BODY __m512i scale_of(const __m512i sc[4], int s)
{
    return _mm512_srai_epi32(_mm512_slli_epi32(sc[s / 4], (unsigned)(24 - 8 * (s % 4))), 24);
}

/* Signed bytes 0 and 2, or 1 and 3, of each dword as a pair of 16 bits. */
AVX512_BODY __m512i pair_of(__m512i bytes, int odd)
{
    return _mm512_srai_epi16(odd ? bytes : _mm512_slli_epi16(bytes, 8), 8);
}

/* What differs between formats, constant wherever a body is inlined. */
typedef struct format_256 {
    size_t unit_bytes;
    unpack_scales *scales;
    unpack_sub_block *weights;
    nth_sub_block *nth; /* of sub-blocks of 16 columns; NULL: they have 32 */
    int log2_offset;    /* 2 to that power was added to the weights; HAS_MIN: nothing was, and there are minimums */
    int near_width;     /* of prefetch_lines */
    /* A sub-block's loads stay behind those of the one before. gcc would load a unit's lines long before their use, and so before
     * their prefetch: one row of Q6_K 22 GB/s and in order 30, of Q4_K 22 and 26. Q5_K and IQ4_XS gain nothing. */
    bool in_order;
} format_256;
enum { HAS_MIN = -1 };

AVX512_BODY void times_panel(const tile_job *job, int width, format_256 f)
{
    const uint8_t *unit = job->tile, *block = job->panel;
    const int n_sub = f.nth ? 16 : 8, n_groups = 64 / n_sub, n_lines = (int)f.unit_bytes / LINE_BYTES;
    const int sums_at = f.nth ? PANEL_256_SUM16 : PANEL_256_SUM32;
    __m512 acc[8];
    begin_sums(job, acc, width);
    for (size_t u = 0; u < job->n_units; u++, unit += f.unit_bytes, block += width * PANEL_256_BYTES) {
        __m512i sc[4], min[4], isum[8];
        f.scales(sc, min, unit);
#pragma GCC unroll 8
        for (int n = 0; n < width; n++) isum[n] = _mm512_setzero_si512();
#pragma GCC unroll 16
        for (int k = 0; k < 16; k++) { /* clang unrolls before it inlines: only loops whose length is no parameter */
            if (k >= n_sub) continue;
            if (f.in_order) __asm__ volatile("" : : : "memory");
            const sub_block at = f.nth ? f.nth(k) : (sub_block){k, 0, 0, 0};
            if (width == 1 || job->from_memory)
                prefetch_lines(unit + k * n_lines / n_sub * LINE_BYTES, (k + 1) * n_lines / n_sub - k * n_lines / n_sub, width,
                               f.near_width);
            __m512i q[8], scale = scale_of(sc, at.s);
            f.weights(q, unit, at);
#pragma GCC unroll 8
            for (int n = 0; n < width; n++) {
                const uint8_t *x = block + PANEL_256_Q * width + (at.s * n_groups * width + n) * 4;
                __m512i sum = _mm512_setzero_si512();
#pragma GCC unroll 8
                for (int g = 0; g < 8; g++) {
                    if (g < n_groups) sum = add_products(sum, q[g], x + g * width * 4);
                }
                isum[n] = _mm512_add_epi32(isum[n], _mm512_mullo_epi32(sum, scale));
            }
        }
        __m512i pairs[8];
#pragma GCC unroll 8
        for (int p = 0; p < n_sub / 2; p++) {
            pairs[p] = pair_of(f.log2_offset == HAS_MIN ? min[p / 2] : sc[p / 2], p % 2);
            if (f.log2_offset != HAS_MIN)
                pairs[p] = _mm512_sub_epi16(_mm512_setzero_si512(), _mm512_slli_epi16(pairs[p], (unsigned)f.log2_offset));
        }
        __m512 d = load_halves(unit), dmin = load_halves(unit + sizeof(tile_halves)); /* zeros where the format has none */
#pragma GCC unroll 8
        for (int n = 0; n < width; n++) {
            __m512i rest = f.log2_offset == HAS_MIN ? _mm512_setzero_si512() : isum[n];
#pragma GCC unroll 8
            for (int p = 0; p < n_sub / 2; p++)
                rest = add_pair_products(rest, pairs[p], block + sums_at * width + (p * width + n) * 4);
            __m512 d_x = broadcast_float(block + n * 4);
            if (f.log2_offset == HAS_MIN) {
                __m512 value =
                    _mm512_sub_ps(_mm512_mul_ps(d, _mm512_cvtepi32_ps(isum[n])), _mm512_mul_ps(dmin, _mm512_cvtepi32_ps(rest)));
                acc[n] = _mm512_add_ps(acc[n], _mm512_mul_ps(d_x, value));
            } else {
                acc[n] = _mm512_add_ps(acc[n], _mm512_mul_ps(_mm512_mul_ps(d, d_x), _mm512_cvtepi32_ps(rest)));
            }
        }
    }
    store_sums(job, acc, width);
}

AVX512_BODY void times_256(const tile_job *job, format_256 f)
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

void avx512_q2_K(const tile_job *job)
{
    times_256(job, (format_256){sizeof(tile_q2_K), scales_q2_K, weights_q2_K, nth_by_halves, HAS_MIN, 1, true});
}

void avx512_q3_K(const tile_job *job)
{
    times_256(job, (format_256){sizeof(tile_q3_K), scales_q3_K, weights_q3_K, nth_q3_K, 2, 0, true});
}

void avx512_q4_K(const tile_job *job)
{
    times_256(job, (format_256){sizeof(tile_q4_K), scales_q4_K, weights_q4_K, NULL, HAS_MIN, 1, true});
}

void avx512_q5_K(const tile_job *job)
{
    times_256(job, (format_256){sizeof(tile_q5_K), scales_q5_K, weights_q5_K, NULL, HAS_MIN, 1, false});
}

void avx512_q6_K(const tile_job *job)
{
    times_256(job, (format_256){sizeof(tile_q6_K), scales_q6_K, weights_q6_K, nth_by_halves, 5, 1, true});
}

void avx512_iq4_xs(const tile_job *job)
{
    times_256(job, (format_256){sizeof(tile_iq4_xs), scales_iq4_xs, weights_iq4_xs, NULL, 7, 1, false});
}
