/* simd128_neon.h: the vocabulary of simd128.h on AArch64. Products of bytes are one instruction where the file is compiled for
 * dotprod; without it, as many products as fit are summed up in 16 bits first. */
#ifndef YL_KERNELS_SIMD128_NEON_H
#define YL_KERNELS_SIMD128_NEON_H

#include <arm_neon.h>

/* Four accumulators of integers and what they are made of; of floats eight are needed to hide their latency. */
enum { BATCH_VECTORS = 1, BATCH_VECTORS_PLAIN = 2 };

SIMD_INLINE const uint8_t *as_another_pointer(const uint8_t *p)
{
    __asm__ volatile("" : "+r"(p));
    return p;
}

SIMD_INLINE f32x4 f32_min(f32x4 a, f32x4 b)
{
    return (f32x4)vbslq_f32(vcltq_f32((float32x4_t)a, (float32x4_t)b), (float32x4_t)a, (float32x4_t)b);
}

SIMD_INLINE f32x4 f32_max(f32x4 a, f32x4 b)
{
    return (f32x4)vbslq_f32(vcgtq_f32((float32x4_t)a, (float32x4_t)b), (float32x4_t)a, (float32x4_t)b);
}

SIMD_INLINE i32x4 i32_max(i32x4 a, i32x4 b)
{
    return (i32x4)vmaxq_s32((int32x4_t)a, (int32x4_t)b);
}

/* The instruction is exact, and so that of the other direction rounds as FPCR says: to nearest even (N0). */
SIMD_INLINE f32x4 f32_load_f16(const void *p)
{
    uint16x4_t h;
    memcpy(&h, p, sizeof h);
    return (f32x4)vcvt_f32_f16(vreinterpret_f16_u16(h));
}

SIMD_INLINE void f32_store_f16(void *p, f32x4 x)
{
    uint16x4_t h = vreinterpret_u16_f16(vcvt_f16_f32((float32x4_t)x));
    memcpy(p, &h, sizeof h);
}

SIMD_INLINE u32x4 u32_load_u16(const void *p)
{
    uint16x4_t h;
    memcpy(&h, p, sizeof h);
    return (u32x4)vmovl_u16(h);
}

SIMD_INLINE f32x4 f32_even(f32x4 x)
{
    return (f32x4)vtrn1q_f32((float32x4_t)x, (float32x4_t)x);
}

SIMD_INLINE f32x4 f32_odd(f32x4 x)
{
    return (f32x4)vtrn2q_f32((float32x4_t)x, (float32x4_t)x);
}

SIMD_INLINE f32x4 f32_swap_pairs(f32x4 x)
{
    return (f32x4)vrev64q_f32((float32x4_t)x);
}

SIMD_INLINE i8x16 bytes_of_ints(const i32x4 x[4])
{
    int16x8_t low = vcombine_s16(vmovn_s32((int32x4_t)x[0]), vmovn_s32((int32x4_t)x[1]));
    int16x8_t high = vcombine_s16(vmovn_s32((int32x4_t)x[2]), vmovn_s32((int32x4_t)x[3]));
    return (i8x16)vcombine_s8(vmovn_s16(low), vmovn_s16(high));
}

SIMD_INLINE u8x16 bytes_lookup(u8x16 table, u8x16 i)
{
    return (u8x16)vqtbl1q_u8((uint8x16_t)table, (uint8x16_t)i);
}

SIMD_INLINE u8x16 bytes_shift_right(u8x16 v, int n)
{
    return v >> (u8x16)vdupq_n_u8((uint8_t)n);
}

typedef int8x16_t quads;

SIMD_INLINE quads quads_of(u8x16 bytes)
{
    return vreinterpretq_s8_u8((uint8x16_t)bytes);
}

SIMD_INLINE quads quads_load(const void *p)
{
    return quads_of(bytes_load(p));
}

/* The four activations of row i of four; i is a constant. */
SIMD_INLINE int8x16_t quad_of_row(u8x16 x, int i)
{
    return vreinterpretq_s8_s32((int32x4_t)i32_set1(((i32x4)x)[i]));
}

#if defined(__ARM_FEATURE_DOTPROD)

SIMD_INLINE i32x4 dot_quads_1(const quads q[8], int n_groups, int max_weight, const uint8_t *x)
{
    (void)max_weight;
    int32x4_t sum = vdupq_n_s32(0);
    SIMD_UNROLL
    for (int g = 0; g < 8; g++) {
        if (g < n_groups) sum = vdotq_s32(sum, q[g], vreinterpretq_s8_s32((int32x4_t)i32_broadcast(x + g * 4)));
    }
    return (i32x4)sum;
}

SIMD_INLINE void dot_quads_2(i32x4 sum[2], const quads q[8], int n_groups, int max_weight, const uint8_t *x, size_t stride)
{
    (void)max_weight;
    int32x4_t sum_0 = vdupq_n_s32(0), sum_1 = sum_0;
    SIMD_UNROLL
    for (int g = 0; g < 8; g++, x += stride) {
        if (g >= n_groups) continue;
        sum_0 = vdotq_s32(sum_0, q[g], vreinterpretq_s8_s32((int32x4_t)i32_broadcast(x)));
        sum_1 = vdotq_s32(sum_1, q[g], vreinterpretq_s8_s32((int32x4_t)i32_broadcast(x + 4)));
    }
    sum[0] = (i32x4)sum_0, sum[1] = (i32x4)sum_1;
}

SIMD_INLINE void dot_quads_4(i32x4 sum[4], const quads q[8], int n_groups, int max_weight, const uint8_t *x, size_t stride)
{
    (void)max_weight;
    int32x4_t sum_0 = vdupq_n_s32(0), sum_1 = sum_0, sum_2 = sum_0, sum_3 = sum_0;
    SIMD_UNROLL
    for (int g = 0; g < 8; g++, x += stride) {
        if (g >= n_groups) continue;
        int8x16_t rows = quads_load(x);
        sum_0 = vdotq_laneq_s32(sum_0, q[g], rows, 0);
        sum_1 = vdotq_laneq_s32(sum_1, q[g], rows, 1);
        sum_2 = vdotq_laneq_s32(sum_2, q[g], rows, 2);
        sum_3 = vdotq_laneq_s32(sum_3, q[g], rows, 3);
    }
    sum[0] = (i32x4)sum_0, sum[1] = (i32x4)sum_1, sum[2] = (i32x4)sum_2, sum[3] = (i32x4)sum_3;
}

#else

/* Sums on their way: of 16 bits while they fit, then of 32; rows 0 and 1, rows 2 and 3. */
typedef struct products {
    int16x8_t low_16, high_16;
    int32x4_t low, high;
} products;

/* Adds the products of group g. `fit` groups fit into 16 bits: the first of as many begins anew, the last one hands over. */
SIMD_INLINE void add_group(products *p, quads q, int8x16_t x, int g, int n_groups, int fit)
{
    if (g % fit == 0) {
        p->low_16 = vmull_s8(vget_low_s8(q), vget_low_s8(x));
        p->high_16 = vmull_high_s8(q, x);
    } else {
        p->low_16 = vmlal_s8(p->low_16, vget_low_s8(q), vget_low_s8(x));
        p->high_16 = vmlal_high_s8(p->high_16, q, x);
    }
    if (g % fit != fit - 1 && g != n_groups - 1) return;
    p->low = g < fit ? vpaddlq_s16(p->low_16) : vpadalq_s16(p->low, p->low_16);
    p->high = g < fit ? vpaddlq_s16(p->high_16) : vpadalq_s16(p->high, p->high_16);
}

SIMD_INLINE i32x4 dot_quads_1(const quads q[8], int n_groups, int max_weight, const uint8_t *x)
{
    const int fit = INT16_MAX / (127 * max_weight);
    products p;
    SIMD_UNROLL
    for (int g = 0; g < 8; g++) {
        if (g < n_groups) add_group(&p, q[g], vreinterpretq_s8_s32((int32x4_t)i32_broadcast(x + g * 4)), g, n_groups, fit);
    }
    return (i32x4)vpaddq_s32(p.low, p.high);
}

SIMD_INLINE void dot_quads_2(i32x4 sum[2], const quads q[8], int n_groups, int max_weight, const uint8_t *x, size_t stride)
{
    const int fit = INT16_MAX / (127 * max_weight);
    products p[2];
    SIMD_UNROLL
    for (int g = 0; g < 8; g++, x += stride) {
        if (g >= n_groups) continue;
        SIMD_UNROLL
        for (int i = 0; i < 2; i++)
            add_group(&p[i], q[g], vreinterpretq_s8_s32((int32x4_t)i32_broadcast(x + i * 4)), g, n_groups, fit);
    }
    SIMD_UNROLL
    for (int i = 0; i < 2; i++) sum[i] = (i32x4)vpaddq_s32(p[i].low, p[i].high);
}

SIMD_INLINE void dot_quads_4(i32x4 sum[4], const quads q[8], int n_groups, int max_weight, const uint8_t *x, size_t stride)
{
    const int fit = INT16_MAX / (127 * max_weight);
    products p[4];
    SIMD_UNROLL
    for (int g = 0; g < 8; g++, x += stride) {
        if (g >= n_groups) continue;
        u8x16 rows = bytes_load(x);
        SIMD_UNROLL
        for (int i = 0; i < 4; i++) add_group(&p[i], q[g], quad_of_row(rows, i), g, n_groups, fit);
    }
    SIMD_UNROLL
    for (int i = 0; i < 4; i++) sum[i] = (i32x4)vpaddq_s32(p[i].low, p[i].high);
}

#endif

SIMD_INLINE i32x4 dot_pairs(const i16x8 *a, int n_pairs, const uint8_t *x, size_t stride)
{
    int32x4_t low = vdupq_n_s32(0), high = low;
    SIMD_UNROLL
    for (int p = 0; p < 8; p++) {
        if (p >= n_pairs) continue;
        int16x8_t pair = (int16x8_t)a[p], act = vreinterpretq_s16_s32((int32x4_t)i32_broadcast(x + (size_t)p * stride));
        low = vmlal_s16(low, vget_low_s16(pair), vget_low_s16(act));
        high = vmlal_high_s16(high, pair, act);
    }
    return (i32x4)vpaddq_s32(low, high);
}

#endif
