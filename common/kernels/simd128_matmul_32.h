/* simd128_matmul_32.h: formats with blocks of 32: Q8_0, Q4_0, Q5_0, IQ4_NL (N3, N4), Q4_1, Q5_1 (N7).
 *
 * They differ in how four weights of four rows come out of the tile, and in what is taken off again: nibbles and quints are left
 * as they are stored, 8 or 16 too large, and that times the sum of the activations is subtracted before the integer becomes a
 * float. */
#ifndef YL_KERNELS_SIMD128_MATMUL_32_H
#define YL_KERNELS_SIMD128_MATMUL_32_H

#include "simd128_matmul.h"

/* Weights 4g ... 4g + 3 of block b of a unit. */
typedef quads unpack_group_32(const uint8_t *unit, int b, int g, int v);

SIMD_INLINE quads weights_q8_0(const uint8_t *unit, int b, int g, int v)
{
    return quads_load(((const tile_q8_0 *)(const void *)unit)->qs[b][g][v * VECTOR_ROWS]);
}

SIMD_INLINE quads weights_q4_0(const uint8_t *unit, int b, int g, int v)
{
    return quads_of(nibbles(load_dwords(((const tile_q4_0 *)(const void *)unit)->qs[b][g % 4], v), g / 4));
}

SIMD_INLINE quads weights_q4_1(const uint8_t *unit, int b, int g, int v)
{
    return quads_of(nibbles(load_dwords(((const tile_q4_1 *)(const void *)unit)->qs[b][g % 4], v), g / 4));
}

/* 16 where a weight's fifth bit is set: weight i has bit i of its row's dword, so group g has the bits 4g ... 4g + 3, and each byte
 * tests one of them. */
SIMD_INLINE u8x16 fifth_bits(const tile_dwords qh, int g, int v)
{
    const u32x4 which = (const u32x4){0, 0x04040404, 0x08080808, 0x0c0c0c0c} + (uint32_t)(g / 2) * 0x01010101u;
    const uint32_t mask = g % 2 ? 0x80402010u : 0x08040201u;
    const u8x16 bit = (u8x16)(u32x4){mask, mask, mask, mask};
    u8x16 spread = bytes_lookup(load_dwords(qh, v), (u8x16)which);
    return (u8x16)((spread & bit) == bit) & 16;
}

SIMD_INLINE quads weights_q5_0(const uint8_t *unit, int b, int g, int v)
{
    const tile_q5_0 *u = (const tile_q5_0 *)(const void *)unit;
    return quads_of(nibbles(load_dwords(u->qs[b][g % 4], v), g / 4) | fifth_bits(u->qh[b], g, v));
}

SIMD_INLINE quads weights_q5_1(const uint8_t *unit, int b, int g, int v)
{
    const tile_q5_1 *u = (const tile_q5_1 *)(const void *)unit;
    return quads_of(nibbles(load_dwords(u->qs[b][g % 4], v), g / 4) | fifth_bits(u->qh[b], g, v));
}

SIMD_INLINE quads weights_iq4_nl(const uint8_t *unit, int b, int g, int v)
{
    const tile_q4_0 *u = (const tile_q4_0 *)(const void *)unit;
    return quads_of(iq4_values(nibbles(load_dwords(u->qs[b][g % 4], v), g / 4)));
}

/* What differs between formats, constant wherever a body is inlined. */
typedef struct format_32 {
    size_t unit_bytes;
    unpack_group_32 *weights;
    int max_weight;  /* largest magnitude */
    int log2_offset; /* 2 to that power was added to the weights; 0: nothing */
    size_t m_at;     /* where a unit has its minimums; 0: none */
} format_32;

/* acc[j] += what vector v of block b of the unit is worth with row j of the panel, for n rows. x: the block of the panel, at the
 * first row's lane. */
SIMD_INLINE void add_block(f32x4 *acc, int n, const uint8_t *unit, int b, int v, const uint8_t *x, size_t width, format_32 f)
{
    const uint16_t *d_at = (const uint16_t *)(const void *)unit + b * TILE_ROWS;
    quads q[8];
    i32x4 isum[BATCH_ROWS];
    unit = as_another_pointer(unit);
    SIMD_UNROLL
    for (int g = 0; g < 8; g++) q[g] = f.weights(unit, b, g, v);
    dot_quads(isum, n, q, 8, f.max_weight, x + PANEL_32_Q * width, width);
    f32x4 d = load_halves(d_at, v);
    SIMD_UNROLL
    for (int j = 0; j < n; j++) {
        f32x4 d_x = f32_broadcast(x + j * 4);
        i32x4 sum = i32_broadcast(x + PANEL_32_SUM * width + j * 4);
        if (f.m_at) {
            f32x4 m = load_halves(d_at + f.m_at / sizeof *d_at, v);
            acc[j] = acc[j] + d_x * (d * f32_of_ints(isum[j]) + m * f32_of_ints(sum));
        } else {
            if (f.log2_offset) isum[j] = isum[j] - (sum << f.log2_offset);
            acc[j] = acc[j] + (d * d_x) * f32_of_ints(isum[j]);
        }
    }
}

SIMD_INLINE void times_32(const tile_job *job, int v, int n_v, int first, int n, size_t width, format_32 f)
{
    const uint8_t *unit = job->tile, *block = job->panel + first * 4;
    f32x4 acc[TILE_VECTORS * BATCH_ROWS];
    SIMD_UNROLL
    for (int i = 0; i < n_v * n; i++) acc[i] = f32_set1(0.0f);
    for (size_t u = 0; u < job->n_units; u++, unit += f.unit_bytes) {
        SIMD_UNROLL
        for (int b = 0; b < 2; b++, block += width * PANEL_32_BYTES) {
            SIMD_UNROLL
            for (int i = 0; i < n_v; i++) add_block(acc + i * n, n, unit, b, v + i, block, width, f);
        }
    }
    store_results(job, acc, v, n_v, first, n);
}

SIMD_INLINE void vectors_q8_0(const tile_job *job, int v, int n_v, int first, int n, size_t width)
{
    times_32(job, v, n_v, first, n, width, (format_32){sizeof(tile_q8_0), weights_q8_0, 128, 0, 0});
}

SIMD_INLINE void vectors_q4_0(const tile_job *job, int v, int n_v, int first, int n, size_t width)
{
    times_32(job, v, n_v, first, n, width, (format_32){sizeof(tile_q4_0), weights_q4_0, 15, 3, 0});
}

SIMD_INLINE void vectors_q5_0(const tile_job *job, int v, int n_v, int first, int n, size_t width)
{
    times_32(job, v, n_v, first, n, width, (format_32){sizeof(tile_q5_0), weights_q5_0, 31, 4, 0});
}

SIMD_INLINE void vectors_iq4_nl(const tile_job *job, int v, int n_v, int first, int n, size_t width)
{
    times_32(job, v, n_v, first, n, width, (format_32){sizeof(tile_q4_0), weights_iq4_nl, 127, 0, 0});
}

SIMD_INLINE void vectors_q4_1(const tile_job *job, int v, int n_v, int first, int n, size_t width)
{
    times_32(job, v, n_v, first, n, width, (format_32){sizeof(tile_q4_1), weights_q4_1, 15, 0, offsetof(tile_q4_1, m)});
}

SIMD_INLINE void vectors_q5_1(const tile_job *job, int v, int n_v, int first, int n, size_t width)
{
    times_32(job, v, n_v, first, n, width, (format_32){sizeof(tile_q5_1), weights_q5_1, 31, 0, offsetof(tile_q5_1, m)});
}

static void tile_times_q8_0(const tile_job *job, size_t width)
{
    tile_times(job, width, vectors_q8_0);
}

static void tile_times_q4_0(const tile_job *job, size_t width)
{
    tile_times(job, width, vectors_q4_0);
}

static void tile_times_q5_0(const tile_job *job, size_t width)
{
    tile_times(job, width, vectors_q5_0);
}

static void tile_times_iq4_nl(const tile_job *job, size_t width)
{
    tile_times(job, width, vectors_iq4_nl);
}

static void tile_times_q4_1(const tile_job *job, size_t width)
{
    tile_times(job, width, vectors_q4_1);
}

static void tile_times_q5_1(const tile_job *job, size_t width)
{
    tile_times(job, width, vectors_q5_1);
}

#endif
