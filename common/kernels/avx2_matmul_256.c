/* avx2_matmul_256.c: formats with blocks of 256: Q4_K, Q5_K, Q2_K (N5), Q6_K, Q3_K, IQ4_XS (N6).
 *
 * A unit is worked off sub-block by sub-block, 32 or 16 columns, in the order in which its bytes lie. Formats differ in how four
 * weights of 8 rows become a register of bytes, and in how the small scales are packed; both are given as functions. Scales are
 * brought into one form: register i holds the scales of sub-blocks 4i ... 4i + 3 as the four bytes of a row. N5 has minimums, times
 * sums of activations. N6 has weights that are signed: in Q6_K and Q3_K an offset makes them unsigned, and offset times scale times
 * the same sums is taken off again. Both are products of pairs of 16 bits, one vpmaddwd for two sub-blocks.
 *
 * For panels of 1 and 2 both halves of the tile go together, since memory likes to be read in one direction. For wider ones they go
 * one after the other, since 4 integers of each half and what they are made of do not fit into 16 registers. */
#include "avx2_matmul.h"

/* Which sub-block is at work, and where its bits are. 32 columns: s = 0 ... 7 in order, and only s is used. 16 columns: s = 8h + 2i
 * + c, where h and c say which part of the unit (tile.h), and i = 0 ... 3 which bits of its bytes. */
typedef struct sub_block {
    int s, h, c, i;
} sub_block;

/* Its weights 4g ... 4g + 3. */
typedef __m256i unpack_group(const uint8_t *unit, sub_block at, int g, int half);
/* The k-th of a unit's sub-blocks. */
typedef sub_block nth_sub_block(int k);

/* Scales (and minimums, if the format has any) of a unit's sub-blocks, packed; as many registers as there are. */
typedef void unpack_scales(__m256i sc[4], __m256i min[4], const uint8_t *unit, int half);

/* Bits [shift, shift + 2) of each byte, at bit 4. */
AVX2_BODY __m256i two_bits_at_4(__m256i v, int shift)
{
    return bytes_and(shift < 4 ? _mm256_slli_epi16(v, 4 - shift) : _mm256_srli_epi16(v, shift - 4), 0x30);
}

/* Bit `bit` of each byte, at bit `to`, or-ed into q. */
AVX2_BODY __m256i add_bit(__m256i q, __m256i v, int bit, int to)
{
    __m256i moved = bit < to ? _mm256_slli_epi16(v, to - bit) : _mm256_srli_epi16(v, bit - to);
    return _mm256_or_si256(q, bytes_and(moved, 1 << to));
}

/* Q4_K, Q5_K: eight scales and eight minimums of 6 bits in three dwords (quant_k4_scale, quant_k4_min, four at a time). */
AVX2_BODY void unpack_k4_scales(__m256i sc[4], __m256i min[4], const tile_dwords scales[3], int half)
{
    __m256i a = load_dwords(scales[0], half), b = load_dwords(scales[1], half), c = load_dwords(scales[2], half);
    sc[0] = bytes_and(a, 63);
    min[0] = bytes_and(b, 63);
    sc[1] = _mm256_or_si256(nibbles(c, 0), two_bits_at_4(a, 6));
    min[1] = _mm256_or_si256(nibbles(c, 1), two_bits_at_4(b, 6));
}

AVX2_BODY void scales_q4_K(__m256i sc[4], __m256i min[4], const uint8_t *unit, int half)
{
    unpack_k4_scales(sc, min, ((const tile_q4_K *)unit)->scales, half);
}

AVX2_BODY sub_block nth_of_32(int k)
{
    return (sub_block){k, 0, 0, 0};
}

AVX2_BODY __m256i weights_q4_K(const uint8_t *unit, sub_block at, int g, int half)
{
    const tile_q4_K *u = (const tile_q4_K *)unit;
    return nibbles(load_dwords(u->qs[8 * (at.s / 2) + g], half), at.s % 2);
}

AVX2_BODY void scales_q5_K(__m256i sc[4], __m256i min[4], const uint8_t *unit, int half)
{
    unpack_k4_scales(sc, min, ((const tile_q5_K *)unit)->scales, half);
}

AVX2_BODY __m256i weights_q5_K(const uint8_t *unit, sub_block at, int g, int half)
{
    const tile_q5_K *u = (const tile_q5_K *)unit;
    return add_bit(nibbles(load_dwords(u->qs[8 * (at.s / 2) + g], half), at.s % 2), load_dwords(u->qh[g], half), at.s, 4);
}

AVX2_BODY void scales_q2_K(__m256i sc[4], __m256i min[4], const uint8_t *unit, int half)
{
    const tile_q2_K *u = (const tile_q2_K *)unit;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m256i v = load_dwords(u->scales[i], half);
        sc[i] = nibbles(v, 0);
        min[i] = nibbles(v, 1);
    }
}

/* Bits 2i and 2i + 1 of each byte. */
AVX2_BODY __m256i two_bits(const tile_dwords dwords, int i, int half)
{
    return bytes_and(_mm256_srli_epi16(load_dwords(dwords, half), 2 * i), 3);
}

AVX2_BODY sub_block nth_of_16(int k)
{
    const int h = k / 8, c = k / 4 % 2, i = k % 4;
    return (sub_block){8 * h + 2 * i + c, h, c, i};
}

AVX2_BODY __m256i weights_q2_K(const uint8_t *unit, sub_block at, int g, int half)
{
    return two_bits(((const tile_q2_K *)unit)->qs[8 * at.h + 4 * at.c + g], at.i, half);
}

/* quant_q3_k_scale, four at a time. */
AVX2_BODY void scales_q3_K(__m256i sc[4], __m256i min[4], const uint8_t *unit, int half)
{
    const tile_q3_K *u = (const tile_q3_K *)unit;
    const __m256i low[2] = {load_dwords(u->scales[0], half), load_dwords(u->scales[1], half)};
    __m256i high = load_dwords(u->scales[2], half);
    (void)min;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m256i six = _mm256_or_si256(nibbles(low[i % 2], i / 2), two_bits_at_4(high, 2 * i));
        sc[i] = _mm256_sub_epi8(six, _mm256_set1_epi8(32));
    }
}

AVX2_BODY sub_block nth_q3_K(int k)
{
    const int c = k / 8, h = k / 4 % 2, i = k % 4;
    return (sub_block){8 * h + 2 * i + c, h, c, i};
}

AVX2_BODY __m256i weights_q3_K(const uint8_t *unit, sub_block at, int g, int half)
{
    const struct tile_q3_K_part *p = &((const tile_q3_K *)unit)->part[at.c];
    return add_bit(two_bits(p->qs[at.h][g], at.i, half), load_dwords(p->hmask[g], half), 4 * at.h + at.i, 2); /* w + 4 */
}

AVX2_BODY void scales_q6_K(__m256i sc[4], __m256i min[4], const uint8_t *unit, int half)
{
    const tile_q6_K *u = (const tile_q6_K *)unit;
    (void)min;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) sc[i] = load_dwords(u->scales[i], half);
}

AVX2_BODY __m256i weights_q6_K(const uint8_t *unit, sub_block at, int g, int half)
{
    const struct tile_q6_K_part *p = &((const tile_q6_K *)unit)->part[at.h][at.c];
    __m256i low = nibbles(load_dwords(p->ql[at.i % 2][g], half), at.i / 2);
    return _mm256_or_si256(low, two_bits_at_4(load_dwords(p->qh[g], half), 2 * at.i)); /* w + 32 */
}

/* quant_iq4_xs_scale: the low nibble of sub-block s is bits 4s of a row's dword, its high bits are bits 2s of the row's half. */
AVX2_BODY void scales_iq4_xs(__m256i sc[4], __m256i min[4], const uint8_t *unit, int half)
{
    const tile_iq4_xs *u = (const tile_iq4_xs *)unit;
    const __m128i *halves = (const __m128i *)(const void *)(u->scales_h + half * HALF_ROWS);
    __m256i low = load_dwords(u->scales_l, half), high = _mm256_cvtepu16_epi32(_mm_load_si128(halves));
    (void)min;
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        /* The four nibbles, and the four pairs of bits, move apart by halves: first two of them, then one a byte. */
        __m256i four = i ? _mm256_srli_epi32(low, 16) : _mm256_and_si256(low, _mm256_set1_epi32(0xffff));
        __m256i two = i ? _mm256_srli_epi32(high, 8) : _mm256_and_si256(high, _mm256_set1_epi32(0xff));
        four = _mm256_and_si256(_mm256_or_si256(four, _mm256_slli_epi32(four, 8)), _mm256_set1_epi32(0x00ff00ff));
        four = _mm256_and_si256(_mm256_or_si256(four, _mm256_slli_epi32(four, 4)), _mm256_set1_epi32(0x0f0f0f0f));
        two = _mm256_and_si256(_mm256_or_si256(two, _mm256_slli_epi32(two, 12)), _mm256_set1_epi32(0x000f000f));
        two = _mm256_and_si256(_mm256_or_si256(two, _mm256_slli_epi32(two, 6)), _mm256_set1_epi32(0x03030303));
        sc[i] = _mm256_sub_epi8(_mm256_or_si256(four, _mm256_slli_epi32(two, 4)), _mm256_set1_epi8(32));
    }
}

AVX2_BODY __m256i weights_iq4_xs(const uint8_t *unit, sub_block at, int g, int half)
{
    const tile_iq4_xs *u = (const tile_iq4_xs *)unit;
    return iq4_values(nibbles(load_dwords(u->qs[4 * at.s + g % 4], half), g / 4));
}

/* Scale of sub-block s as a number of 16 bits, twice in each dword. Scales are signed bytes, or unsigned ones below 128. */
AVX2_BODY __m256i scale_of(const __m256i sc[4], int s)
{
    /* The byte to the upper half of both numbers, zeros below (0x80), then down with its sign. Shuffles work on four rows. */
    const int k = 0x00800080 + s % 4 * 0x01000100;
    const __m128i which = _mm_setr_epi32(k, k + 0x04000400, k + 0x08000800, k + 0x0c000c00);
    return _mm256_srai_epi16(_mm256_shuffle_epi8(sc[s / 4], _mm256_broadcastsi128_si256(which)), 8);
}

/* Signed bytes 0 and 2, or 1 and 3, of each dword as a pair of 16 bits. */
AVX2_BODY __m256i pair_of(__m256i bytes, int odd)
{
    return _mm256_srai_epi16(odd ? bytes : _mm256_slli_epi16(bytes, 8), 8);
}

/* What differs between formats, constant wherever a body is inlined. */
typedef struct format_256 {
    size_t unit_bytes;
    unpack_scales *scales;
    unpack_group *weights;
    nth_sub_block *nth;
    int n_sub;       /* sub-blocks: 8 of 32 columns or 16 of 16 */
    int groups;      /* of add_products */
    int log2_offset; /* 2 to that power was added to the weights; 0: nothing */
    bool has_min;
} format_256;

/* Scales or minimums times sums of the sub-blocks' activations, pair by pair as they lie in the panel. */
AVX2_BODY __m256i times_sums(const __m256i by[4], const uint8_t *sums, int width, int n_pairs)
{
    __m256i total = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int p = 0; p < n_pairs; p++) {
        __m256i act = broadcast_dword(sums + p * width * 4);
        total = _mm256_add_epi32(total, _mm256_madd_epi16(pair_of(by[p / 2], p % 2), act));
    }
    return total;
}

/* acc[i] += what isum[i], the minimums or the offset make of one half of a unit. x: the block of the panel, at the first row's
 * lane. */
AVX2_BODY void add_scaled(__m256 *acc, int n, const __m256i *isum, const uint8_t *unit, int half, const __m256i sc[4],
                          const __m256i min[4], const uint8_t *x, int width, format_256 f)
{
    const uint8_t *sums = x + (f.n_sub == 16 ? PANEL_256_SUM16 : PANEL_256_SUM32) * width;
    const uint16_t *d_at = (const uint16_t *)(const void *)unit;
    __m256 d = load_halves(d_at, half), dmin = _mm256_setzero_ps();
    if (f.has_min) dmin = load_halves(d_at + TILE_ROWS, half);
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
        __m256 d_x = broadcast_float(x + i * 4), value = _mm256_cvtepi32_ps(isum[i]);
        if (f.has_min) {
            __m256i msum = times_sums(min, sums + i * 4, width, f.n_sub / 2);
            value = _mm256_sub_ps(_mm256_mul_ps(d, value), _mm256_mul_ps(dmin, _mm256_cvtepi32_ps(msum)));
            acc[i] = _mm256_add_ps(acc[i], _mm256_mul_ps(d_x, value));
        } else {
            if (f.log2_offset) {
                __m256i offset = _mm256_slli_epi32(times_sums(sc, sums + i * 4, width, f.n_sub / 2), f.log2_offset);
                value = _mm256_cvtepi32_ps(_mm256_sub_epi32(isum[i], offset));
            }
            acc[i] = _mm256_add_ps(acc[i], _mm256_mul_ps(_mm256_mul_ps(d, d_x), value));
        }
    }
}

/* Adds the products of sub-block `at` to isum. x: its activations in the panel, at the first row's lane. */
AVX2_BODY void add_sub_block(__m256i *isum, int n, const uint8_t *unit, sub_block at, int half, __m256i scale, const uint8_t *x,
                             int width, format_256 f)
{
#pragma GCC unroll 8
    for (int first = 0; first < 8; first++) {
        if (first >= 64 / f.n_sub || first % f.groups != 0) continue;
        __m256i q[8];
        unit = as_another_pointer(unit);
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
            if (g < f.groups) q[g] = f.weights(unit, at, first + g, half);
        }
        add_products(isum, n, q, f.groups, scale, x + first * 4 * width, width);
    }
}

/* acc[h * n + i] += what half `half` + h of the unit is worth with row i of the panel, for n_h halves and n rows. asks: for
 * lines ahead of the unit's. */
AVX2_BODY void add_unit(__m256 *acc, int n_h, int n, const uint8_t *unit, int half, const uint8_t *x, int width, bool asks,
                        format_256 f)
{
    const int n_lines = (int)f.unit_bytes / LINE_BYTES;
    __m256i sc[N_HALVES][4], min[N_HALVES][4], isum[4];
    x = as_another_pointer(x);
#pragma GCC unroll 2
    for (int h = 0; h < n_h; h++) f.scales(sc[h], min[h], unit, half + h);
#pragma GCC unroll 4
    for (int i = 0; i < n_h * n; i++) isum[i] = _mm256_setzero_si256();
#pragma GCC unroll 16
    for (int k = 0; k < f.n_sub; k++) {
        const sub_block at = f.nth(k);
        if (asks)
            prefetch_lines(unit + k * n_lines / f.n_sub * LINE_BYTES, (k + 1) * n_lines / f.n_sub - k * n_lines / f.n_sub, width,
                           0);
#pragma GCC unroll 2
        for (int h = 0; h < n_h; h++) {
            const uint8_t *x_at = x + (PANEL_256_Q + at.s * (256 / f.n_sub)) * width;
            add_sub_block(isum + h * n, n, unit, at, half + h, scale_of(sc[h], at.s), x_at, width, f);
        }
    }
#pragma GCC unroll 2
    for (int h = 0; h < n_h; h++) add_scaled(acc + h * n, n, isum + h * n, unit, half + h, sc[h], min[h], x, width, f);
}

/* Rows [first, first + n) of the panel. */
AVX2_BODY void rows_times_256(const tile_job *job, int width, int first, int n, format_256 f)
{
    const uint8_t *unit = job->tile, *block = job->panel + first * 4;
    const int half_begin = (int)job->row_begin / HALF_ROWS, half_end = ((int)job->row_end - 1) / HALF_ROWS + 1;
    const bool asks = job->from_memory && first == 0;
    __m256 acc[N_HALVES * 4];
    begin_sums(job, acc, first, n);
    for (size_t u = 0; u < job->n_units; u++, unit += f.unit_bytes, block += width * PANEL_256_BYTES) {
        if (width <= 2)
            add_unit(acc, N_HALVES, n, unit, 0, block, width, width == 1 || asks, f);
        else
            for (int h = half_begin; h < half_end; h++)
                add_unit(acc + h * n, 1, n, unit, h, block, width, asks && h == half_begin, f);
    }
    store_sums(job, acc, first, n);
}

AVX2_BODY void times_panel(const tile_job *job, int width, format_256 f)
{
    const int n = rows_at_a_time(width);
    for (int first = 0; (size_t)first < job->n_rows; first += n) rows_times_256(job, width, first, n, f);
}

AVX2_BODY void times_256(const tile_job *job, format_256 f)
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

void avx2_q2_K(const tile_job *job)
{
    times_256(job, (format_256){sizeof(tile_q2_K), scales_q2_K, weights_q2_K, nth_of_16, 16, GROUPS_5_BITS, 0, true});
}

void avx2_q3_K(const tile_job *job)
{
    times_256(job, (format_256){sizeof(tile_q3_K), scales_q3_K, weights_q3_K, nth_q3_K, 16, GROUPS_5_BITS, 2, false});
}

void avx2_q4_K(const tile_job *job)
{
    times_256(job, (format_256){sizeof(tile_q4_K), scales_q4_K, weights_q4_K, nth_of_32, 8, GROUPS_4_BITS, 0, true});
}

void avx2_q5_K(const tile_job *job)
{
    times_256(job, (format_256){sizeof(tile_q5_K), scales_q5_K, weights_q5_K, nth_of_32, 8, GROUPS_5_BITS, 0, true});
}

void avx2_q6_K(const tile_job *job)
{
    times_256(job, (format_256){sizeof(tile_q6_K), scales_q6_K, weights_q6_K, nth_of_16, 16, GROUPS_6_BITS, 5, false});
}

void avx2_iq4_xs(const tile_job *job)
{
    times_256(job, (format_256){sizeof(tile_iq4_xs), scales_iq4_xs, weights_iq4_xs, nth_of_32, 8, GROUPS_SIGNED, 0, false});
}
