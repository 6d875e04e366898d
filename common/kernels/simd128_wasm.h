/* simd128_wasm.h: the vocabulary of simd128.h on wasm's SIMD of 128 bits, without the relaxed instructions, whose bits a machine
 * may choose. Products are of 16 bits: bytes become that first. What an instruction costs is the count of them on some machines, so
 * orders of evaluation are such that sums stay on the stack. */
#ifndef YL_KERNELS_SIMD128_WASM_H
#define YL_KERNELS_SIMD128_WASM_H

#include <wasm_simd128.h>

/* The more, the fewer instructions a multiply-add. (One at a time is faster under Node on x86, which spills.) */
enum { BATCH_VECTORS = 4, BATCH_VECTORS_PLAIN = 4 };

/* There are as many locals as anybody likes. */
SIMD_INLINE const uint8_t *as_another_pointer(const uint8_t *p)
{
    return p;
}

/* pmin(x, y) is y < x ? y : x. */
SIMD_INLINE f32x4 f32_min(f32x4 a, f32x4 b)
{
    return (f32x4)wasm_f32x4_pmin((v128_t)b, (v128_t)a);
}

SIMD_INLINE f32x4 f32_max(f32x4 a, f32x4 b)
{
    return (f32x4)wasm_f32x4_pmax((v128_t)b, (v128_t)a);
}

SIMD_INLINE i32x4 i32_max(i32x4 a, i32x4 b)
{
    return (i32x4)wasm_i32x4_max((v128_t)a, (v128_t)b);
}

SIMD_INLINE u32x4 u32_load_u16(const void *p)
{
    return (u32x4)wasm_u32x4_load16x4(p);
}

/* The sign goes to bit 31 by itself when the number is widened with it, the other 15 bits to bit 13; times 2^112 that is the value.
 * What has exponent 31 has become 65536 or more; 2^112 once more makes it infinite, and the way back leaves it so. */
SIMD_INLINE f32x4 f32_load_f16(const void *p)
{
    f32x4 f = (f32x4)(((i32x4)wasm_i32x4_load16x4(p) << 13) & (int32_t)0x8fffe000);
    return f * f32_set1(0x1p112f) * f32_set1(0x1p112f) * f32_set1(0x1p-112f);
}

/* Four f32 to f16 in the lower halves of the lanes. Of a normal f16 the last bit that stays and half of what goes are added before
 * the cut, for ties to go to even; a subnormal one is what the addition of 0.5, whose last bit is worth 2^-24, rounds to. */
SIMD_INLINE u32x4 f16_of(f32x4 x)
{
    u32x4 bits = (u32x4)x & 0x7fffffff, sign = ((u32x4)x >> 16) & 0x8000;
    u32x4 normal = (bits + 0xfff + ((bits >> 13) & 1) - (112u << 23)) >> 13;
    u32x4 subnormal = (u32x4)((f32x4)bits + f32_set1(0.5f)) - 0x3f000000;
    return select_bits((u32x4)(bits < (u32x4)i32_set1(0x38800000)), subnormal, normal) | sign;
}

SIMD_INLINE void f32_store_f16(void *p, f32x4 x)
{
    v128_t h = wasm_u16x8_narrow_i32x4((v128_t)f16_of(x), wasm_i32x4_splat(0));
    wasm_v128_store64_lane(p, h, 0);
}

SIMD_INLINE f32x4 f32_even(f32x4 x)
{
    return (f32x4)wasm_i32x4_shuffle((v128_t)x, (v128_t)x, 0, 0, 2, 2);
}

SIMD_INLINE f32x4 f32_odd(f32x4 x)
{
    return (f32x4)wasm_i32x4_shuffle((v128_t)x, (v128_t)x, 1, 1, 3, 3);
}

SIMD_INLINE f32x4 f32_swap_pairs(f32x4 x)
{
    return (f32x4)wasm_i32x4_shuffle((v128_t)x, (v128_t)x, 1, 0, 3, 2);
}

SIMD_INLINE i8x16 bytes_of_ints(const i32x4 x[4])
{
    v128_t low = wasm_i16x8_narrow_i32x4((v128_t)x[0], (v128_t)x[1]), high = wasm_i16x8_narrow_i32x4((v128_t)x[2], (v128_t)x[3]);
    return (i8x16)wasm_i8x16_narrow_i16x8(low, high);
}

SIMD_INLINE u8x16 bytes_lookup(u8x16 table, u8x16 i)
{
    return (u8x16)wasm_i8x16_swizzle((v128_t)table, (v128_t)i);
}

SIMD_INLINE u8x16 bytes_shift_right(u8x16 v, int n)
{
    return (u8x16)wasm_u8x16_shr((v128_t)v, (uint32_t)n);
}

/* As numbers of 16 bits, rows 0 and 1, rows 2 and 3. */
typedef struct quads {
    v128_t low, high;
} quads;

SIMD_INLINE quads quads_of(u8x16 bytes)
{
    return (quads){wasm_i16x8_extend_low_i8x16((v128_t)bytes), wasm_i16x8_extend_high_i8x16((v128_t)bytes)};
}

SIMD_INLINE quads quads_load(const void *p)
{
    return (quads){wasm_i16x8_load8x8(p), wasm_i16x8_load8x8((const uint8_t *)p + 8)};
}

/* Four activations, twice. */
SIMD_INLINE v128_t quad_broadcast(const uint8_t *x)
{
    return wasm_i16x8_extend_low_i8x16(wasm_v128_load32_splat(x));
}

/* Products with the activations of one row; the next group's are `stride` bytes further. */
SIMD_INLINE i32x4 dot_quads_of_row(const quads q[8], int n_groups, const uint8_t *x, size_t stride)
{
    v128_t act = quad_broadcast(x), low = wasm_i32x4_dot_i16x8(q[0].low, act), high = wasm_i32x4_dot_i16x8(q[0].high, act);
    SIMD_UNROLL
    for (int g = 1; g < 8; g++) {
        if (g >= n_groups) continue;
        act = quad_broadcast(x + (size_t)g * stride);
        low = wasm_i32x4_add(low, wasm_i32x4_dot_i16x8(q[g].low, act));
        high = wasm_i32x4_add(high, wasm_i32x4_dot_i16x8(q[g].high, act));
    }
    return (i32x4)wasm_i32x4_add(wasm_i32x4_shuffle(low, high, 0, 2, 4, 6), wasm_i32x4_shuffle(low, high, 1, 3, 5, 7));
}

SIMD_INLINE i32x4 dot_quads_1(const quads q[8], int n_groups, int max_weight, const uint8_t *x)
{
    (void)max_weight;
    return dot_quads_of_row(q, n_groups, x, 4);
}

SIMD_INLINE void dot_quads_2(i32x4 sum[2], const quads q[8], int n_groups, int max_weight, const uint8_t *x, size_t stride)
{
    (void)max_weight;
    SIMD_UNROLL
    for (int i = 0; i < 2; i++) sum[i] = dot_quads_of_row(q, n_groups, x + i * 4, stride);
}

SIMD_INLINE void dot_quads_4(i32x4 sum[4], const quads q[8], int n_groups, int max_weight, const uint8_t *x, size_t stride)
{
    (void)max_weight;
    SIMD_UNROLL
    for (int i = 0; i < 4; i++) sum[i] = dot_quads_of_row(q, n_groups, x + i * 4, stride);
}

SIMD_INLINE i32x4 dot_pairs(const i16x8 *a, int n_pairs, const uint8_t *x, size_t stride)
{
    v128_t sum = wasm_i32x4_dot_i16x8((v128_t)a[0], wasm_v128_load32_splat(x));
    SIMD_UNROLL
    for (int p = 1; p < 8; p++) {
        if (p >= n_pairs) continue;
        sum = wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8((v128_t)a[p], wasm_v128_load32_splat(x + (size_t)p * stride)));
    }
    return (i32x4)sum;
}

#endif
