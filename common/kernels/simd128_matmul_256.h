/* simd128_matmul_256.h: formats with blocks of 256: Q4_K, Q5_K, Q2_K (N5), Q6_K, Q3_K, IQ4_XS (N6).
 *
 * A unit is worked off sub-block by sub-block, 32 or 16 columns, in the order in which its bytes lie. Formats differ in how four
 * weights of four rows come out of the tile, and in how the small scales are packed; both are given as functions. Scales are
 * brought into one form: register i holds the scales of sub-blocks 4i ... 4i + 3 as the four bytes of a row. N5 has minimums, times
 * the panel's sums of activations, pair by pair as they lie there. */
#ifndef YL_KERNELS_SIMD128_MATMUL_256_H
#define YL_KERNELS_SIMD128_MATMUL_256_H

#include "simd128_matmul.h"

/* Which sub-block is at work, and where its bits are. 32 columns: s = 0 ... 7 in order, and only s is used. 16 columns: s = 8h + 2i
 * + c, where h and c say which part of the unit (tile.h), and i = 0 ... 3 which bits of its bytes. */
typedef struct sub_block {
    int s, h, c, i;
} sub_block;

/* Its weights 4g ... 4g + 3. */
typedef quads unpack_group_256(const uint8_t *unit, sub_block at, int g, int v);
/* The k-th of a unit's sub-blocks. */
typedef sub_block nth_sub_block(int k);

/* Scales, signed bytes or below 128, and minimums (if the format has any) of a unit's sub-blocks; as many registers as there are.
 */
typedef void unpack_scales(u8x16 sc[4], u8x16 min[4], const uint8_t *unit, int v);

/* Bits [shift, shift + 2) of each byte. */
SIMD_INLINE u8x16 two_bits(u8x16 v, int shift)
{
    return shift == 6 ? bytes_shift_right(v, 6) : (shift ? bytes_shift_right(v, shift) : v) & 3;
}

/* The same, at bit 4. Bits that cross into a neighbour are those that the mask drops. */
SIMD_INLINE u8x16 two_bits_at_4(u8x16 v, int shift)
{
    return (u8x16)(shift < 4 ? (u16x8)v << (4 - shift) : (u16x8)v >> (shift - 4)) & 0x30;
}

/* Bit `bit` of each byte, at bit `to`. */
SIMD_INLINE u8x16 bit_at(u8x16 v, int bit, int to)
{
    return (u8x16)(bit < to ? (u16x8)v << (to - bit) : (u16x8)v >> (bit - to)) & (uint8_t)(1 << to);
}

SIMD_INLINE sub_block nth_of_32(int k)
{
    return (sub_block){k, 0, 0, 0};
}

SIMD_INLINE sub_block nth_of_16(int k)
{
    const int h = k / 8, c = k / 4 % 2, i = k % 4;
    return (sub_block){8 * h + 2 * i + c, h, c, i};
}

/* Q3_K: the parts lie the other way round. */
SIMD_INLINE sub_block nth_q3_K(int k)
{
    const int c = k / 8, h = k / 4 % 2, i = k % 4;
    return (sub_block){8 * h + 2 * i + c, h, c, i};
}

/* Q4_K, Q5_K: eight scales and eight minimums of 6 bits in three dwords (quant_k4_scale, quant_k4_min, four at a time). */
SIMD_INLINE void unpack_k4_scales(u8x16 sc[4], u8x16 min[4], const tile_dwords scales[3], int v)
{
    u8x16 a = load_dwords(scales[0], v), b = load_dwords(scales[1], v), c = load_dwords(scales[2], v);
    sc[0] = a & 63;
    min[0] = b & 63;
    sc[1] = nibbles(c, 0) | two_bits_at_4(a, 6);
    min[1] = nibbles(c, 1) | two_bits_at_4(b, 6);
}

SIMD_INLINE void scales_q4_K(u8x16 sc[4], u8x16 min[4], const uint8_t *unit, int v)
{
    unpack_k4_scales(sc, min, ((const tile_q4_K *)(const void *)unit)->scales, v);
}

SIMD_INLINE quads weights_q4_K(const uint8_t *unit, sub_block at, int g, int v)
{
    const tile_q4_K *u = (const tile_q4_K *)(const void *)unit;
    return quads_of(nibbles(load_dwords(u->qs[8 * (at.s / 2) + g], v), at.s % 2));
}

SIMD_INLINE void scales_q5_K(u8x16 sc[4], u8x16 min[4], const uint8_t *unit, int v)
{
    unpack_k4_scales(sc, min, ((const tile_q5_K *)(const void *)unit)->scales, v);
}

SIMD_INLINE quads weights_q5_K(const uint8_t *unit, sub_block at, int g, int v)
{
    const tile_q5_K *u = (const tile_q5_K *)(const void *)unit;
    u8x16 low = nibbles(load_dwords(u->qs[8 * (at.s / 2) + g], v), at.s % 2);
    return quads_of(low | bit_at(load_dwords(u->qh[g], v), at.s, 4));
}

SIMD_INLINE void scales_q2_K(u8x16 sc[4], u8x16 min[4], const uint8_t *unit, int v)
{
    const tile_q2_K *u = (const tile_q2_K *)(const void *)unit;
    SIMD_UNROLL
    for (int i = 0; i < 4; i++) {
        u8x16 both = load_dwords(u->scales[i], v);
        sc[i] = nibbles(both, 0);
        min[i] = nibbles(both, 1);
    }
}

SIMD_INLINE quads weights_q2_K(const uint8_t *unit, sub_block at, int g, int v)
{
    const tile_q2_K *u = (const tile_q2_K *)(const void *)unit;
    return quads_of(two_bits(load_dwords(u->qs[8 * at.h + 4 * at.c + g], v), 2 * at.i));
}

/* quant_q3_k_scale, four at a time. */
SIMD_INLINE void scales_q3_K(u8x16 sc[4], u8x16 min[4], const uint8_t *unit, int v)
{
    const tile_q3_K *u = (const tile_q3_K *)(const void *)unit;
    const u8x16 low[2] = {load_dwords(u->scales[0], v), load_dwords(u->scales[1], v)};
    u8x16 high = load_dwords(u->scales[2], v);
    (void)min;
    SIMD_UNROLL
    for (int i = 0; i < 4; i++) sc[i] = (nibbles(low[i % 2], i / 2) | two_bits_at_4(high, 2 * i)) - 32;
}

SIMD_INLINE quads weights_q3_K(const uint8_t *unit, sub_block at, int g, int v)
{
    const struct tile_q3_K_part *p = &((const tile_q3_K *)(const void *)unit)->part[at.c];
    u8x16 low = two_bits(load_dwords(p->qs[at.h][g], v), 2 * at.i);
    return quads_of((low | bit_at(load_dwords(p->hmask[g], v), 4 * at.h + at.i, 2)) - 4);
}

SIMD_INLINE void scales_q6_K(u8x16 sc[4], u8x16 min[4], const uint8_t *unit, int v)
{
    const tile_q6_K *u = (const tile_q6_K *)(const void *)unit;
    (void)min;
    SIMD_UNROLL
    for (int i = 0; i < 4; i++) sc[i] = load_dwords(u->scales[i], v);
}

SIMD_INLINE quads weights_q6_K(const uint8_t *unit, sub_block at, int g, int v)
{
    const struct tile_q6_K_part *p = &((const tile_q6_K *)(const void *)unit)->part[at.h][at.c];
    u8x16 low = nibbles(load_dwords(p->ql[at.i % 2][g], v), at.i / 2);
    return quads_of((low | two_bits_at_4(load_dwords(p->qh[g], v), 2 * at.i)) - 32);
}

/* quant_iq4_xs_scale: the low nibble of sub-block s is bits 4s of a row's dword, its high bits are bits 2s of the row's half. */
SIMD_INLINE void scales_iq4_xs(u8x16 sc[4], u8x16 min[4], const uint8_t *unit, int v)
{
    const tile_iq4_xs *u = (const tile_iq4_xs *)(const void *)unit;
    u32x4 low = (u32x4)load_dwords(u->scales_l, v), high = u32_load_u16(u->scales_h + v * VECTOR_ROWS);
    (void)min;
    SIMD_UNROLL
    for (int i = 0; i < 2; i++) {
        u32x4 packed = {0};
        SIMD_UNROLL
        for (int k = 0; k < 4; k++) {
            const int s = 4 * i + k;
            u32x4 six = (low >> (4 * s) & 15) | (high >> (2 * s) & 3) << 4;
            packed = packed | six << (8 * k);
        }
        sc[i] = (u8x16)packed - 32;
    }
}

SIMD_INLINE quads weights_iq4_xs(const uint8_t *unit, sub_block at, int g, int v)
{
    const tile_iq4_xs *u = (const tile_iq4_xs *)(const void *)unit;
    return quads_of(iq4_values(nibbles(load_dwords(u->qs[4 * at.s + g % 4], v), g / 4)));
}

/* Scale of sub-block s as a number of 32 bits. */
SIMD_INLINE i32x4 scale_of(const u8x16 sc[4], int s)
{
    return (i32x4)((u32x4)sc[s / 4] << (24 - s % 4 * 8)) >> 24;
}

/* Bytes below 128 number 0 and 2, or 1 and 3, of each dword as a pair of 16 bits. */
SIMD_INLINE i16x8 pair_of(u8x16 bytes, int odd)
{
    return (i16x8)(odd ? (u16x8)bytes >> 8 : (u16x8)bytes & 255);
}

/* What differs between formats, constant wherever a body is inlined. */
typedef struct format_256 {
    size_t unit_bytes;
    unpack_scales *scales;
    unpack_group_256 *weights;
    nth_sub_block *nth;
    int n_sub;      /* sub-blocks: 8 of 32 columns or 16 of 16 */
    int max_weight; /* largest magnitude */
    bool has_min;
} format_256;

/* isum[i * n + j] = what the sub-blocks of vector v + i of the unit are worth with row j of the panel, for n_v vectors and n rows.
 */
SIMD_INLINE void sum_sub_blocks(i32x4 *isum, int n_v, int n, const uint8_t *unit, int v, const u8x16 sc[][4], const uint8_t *x,
                                size_t width, format_256 f)
{
    const int n_groups = 64 / f.n_sub;
    SIMD_UNROLL
    for (int i = 0; i < n_v * n; i++) isum[i] = i32_set1(0);
    SIMD_UNROLL
    for (int k = 0; k < f.n_sub; k++) {
        const sub_block at = f.nth(k);
        const uint8_t *x_at = x + (size_t)(PANEL_256_Q + at.s * n_groups * 4) * width;
        SIMD_UNROLL
        for (int i = 0; i < n_v; i++) {
            quads q[8];
            i32x4 sum[BATCH_ROWS], scale = scale_of(sc[i], at.s);
            unit = as_another_pointer(unit);
            SIMD_UNROLL
            for (int g = 0; g < 8; g++) {
                if (g < n_groups) q[g] = f.weights(unit, at, g, v + i);
            }
            dot_quads(sum, n, q, n_groups, f.max_weight, x_at, width);
            SIMD_UNROLL
            for (int j = 0; j < n; j++) isum[i * n + j] = isum[i * n + j] + sum[j] * scale;
        }
    }
}

/* acc[j] += what isum[j] and the minimums of vector v of the unit make with row j of the panel, for n rows. x: the block of the
 * panel, at the first row's lane. */
SIMD_INLINE void add_scaled(f32x4 *acc, const i32x4 *isum, int n, const uint8_t *unit, int v, const u8x16 min[4], const uint8_t *x,
                            size_t width, format_256 f)
{
    const uint8_t *sums = x + (f.n_sub == 16 ? PANEL_256_SUM16 : PANEL_256_SUM32) * width;
    const uint16_t *d_at = (const uint16_t *)(const void *)unit;
    const int n_pairs = f.n_sub / 2;
    i16x8 pairs[8];
    if (f.has_min) {
        SIMD_UNROLL
        for (int p = 0; p < n_pairs; p++) pairs[p] = pair_of(min[p / 2], p % 2);
    }
    f32x4 d = load_halves(d_at, v);
    SIMD_UNROLL
    for (int j = 0; j < n; j++) {
        f32x4 d_x = f32_broadcast(x + j * 4), value = f32_of_ints(isum[j]);
        if (f.has_min) {
            f32x4 dmin = load_halves(d_at + TILE_ROWS, v);
            i32x4 msum = dot_pairs(pairs, n_pairs, sums + j * 4, width * 4);
            acc[j] = acc[j] + d_x * (d * value - dmin * f32_of_ints(msum));
        } else {
            acc[j] = acc[j] + (d * d_x) * value;
        }
    }
}

SIMD_INLINE void times_256(const tile_job *job, int v, int n_v, int first, int n, size_t width, format_256 f)
{
    const uint8_t *unit = job->tile, *x = job->panel + first * 4;
    f32x4 acc[TILE_VECTORS * BATCH_ROWS];
    SIMD_UNROLL
    for (int i = 0; i < n_v * n; i++) acc[i] = f32_set1(0.0f);
    for (size_t u = 0; u < job->n_units; u++, unit += f.unit_bytes, x += width * PANEL_256_BYTES) {
        u8x16 sc[TILE_VECTORS][4], min[TILE_VECTORS][4];
        i32x4 isum[TILE_VECTORS * BATCH_ROWS];
        SIMD_UNROLL
        for (int i = 0; i < n_v; i++) f.scales(sc[i], min[i], unit, v + i);
        sum_sub_blocks(isum, n_v, n, unit, v, sc, x, width, f);
        SIMD_UNROLL
        for (int i = 0; i < n_v; i++) add_scaled(acc + i * n, isum + i * n, n, unit, v + i, min[i], x, width, f);
    }
    store_results(job, acc, v, n_v, first, n);
}

SIMD_INLINE void vectors_q2_K(const tile_job *job, int v, int n_v, int first, int n, size_t width)
{
    times_256(job, v, n_v, first, n, width, (format_256){sizeof(tile_q2_K), scales_q2_K, weights_q2_K, nth_of_16, 16, 3, true});
}

SIMD_INLINE void vectors_q3_K(const tile_job *job, int v, int n_v, int first, int n, size_t width)
{
    times_256(job, v, n_v, first, n, width, (format_256){sizeof(tile_q3_K), scales_q3_K, weights_q3_K, nth_q3_K, 16, 4, false});
}

SIMD_INLINE void vectors_q4_K(const tile_job *job, int v, int n_v, int first, int n, size_t width)
{
    times_256(job, v, n_v, first, n, width, (format_256){sizeof(tile_q4_K), scales_q4_K, weights_q4_K, nth_of_32, 8, 15, true});
}

SIMD_INLINE void vectors_q5_K(const tile_job *job, int v, int n_v, int first, int n, size_t width)
{
    times_256(job, v, n_v, first, n, width, (format_256){sizeof(tile_q5_K), scales_q5_K, weights_q5_K, nth_of_32, 8, 31, true});
}

SIMD_INLINE void vectors_q6_K(const tile_job *job, int v, int n_v, int first, int n, size_t width)
{
    times_256(job, v, n_v, first, n, width, (format_256){sizeof(tile_q6_K), scales_q6_K, weights_q6_K, nth_of_16, 16, 32, false});
}

SIMD_INLINE void vectors_iq4_xs(const tile_job *job, int v, int n_v, int first, int n, size_t width)
{
    times_256(job, v, n_v, first, n, width,
              (format_256){sizeof(tile_iq4_xs), scales_iq4_xs, weights_iq4_xs, nth_of_32, 8, 127, false});
}

static void tile_times_q2_K(const tile_job *job, size_t width)
{
    tile_times(job, width, vectors_q2_K);
}

static void tile_times_q3_K(const tile_job *job, size_t width)
{
    tile_times(job, width, vectors_q3_K);
}

static void tile_times_q4_K(const tile_job *job, size_t width)
{
    tile_times(job, width, vectors_q4_K);
}

static void tile_times_q5_K(const tile_job *job, size_t width)
{
    tile_times(job, width, vectors_q5_K);
}

static void tile_times_q6_K(const tile_job *job, size_t width)
{
    tile_times(job, width, vectors_q6_K);
}

static void tile_times_iq4_xs(const tile_job *job, size_t width)
{
    tile_times(job, width, vectors_iq4_xs);
}

#endif
