/* simd_f32_128.h: the vocabulary of simd_f32.h on NEON and wasm: a vf is four vectors of simd128.h. */
#ifndef YL_KERNELS_SIMD_F32_128_H
#define YL_KERNELS_SIMD_F32_128_H

#include "simd128.h"

enum { VF_PARTS = 4, VF_PART_LANES = VF_LANES / VF_PARTS };
typedef struct vf {
    f32x4 part[VF_PARTS]; /* lanes 0 ... 3, 4 ... 7, and so on */
} vf;
enum { VF_TILE = 4 };

/* One operation on each part. Compilers know the function and put it in place. */
typedef f32x4 f32_unary(f32x4 x);
typedef f32x4 f32_binary(f32x4 a, f32x4 b);

VF_INLINE vf vf_map(f32_unary *op, vf x)
{
    return (vf){{op(x.part[0]), op(x.part[1]), op(x.part[2]), op(x.part[3])}};
}

VF_INLINE vf vf_map_2(f32_binary *op, vf a, vf b)
{
    return (vf){{op(a.part[0], b.part[0]), op(a.part[1], b.part[1]), op(a.part[2], b.part[2]), op(a.part[3], b.part[3])}};
}

VF_INLINE vf vf_set1(float f)
{
    return (vf){{f32_set1(f), f32_set1(f), f32_set1(f), f32_set1(f)}};
}

VF_INLINE vf vf_zero(void)
{
    return vf_set1(0.0f);
}

VF_INLINE vf vf_load(const void *p)
{
    const float *x = p;
    return (vf){{f32_load(x), f32_load(x + 4), f32_load(x + 8), f32_load(x + 12)}};
}

VF_INLINE vf vf_load_n(const void *p, size_t n)
{
    if (n == VF_LANES) return vf_load(p);
    float x[VF_LANES] = {0};
    memcpy(x, p, n * sizeof *x);
    return vf_load(x);
}

VF_INLINE vf vf_load_f16(const void *p)
{
    const uint8_t *h = p;
    return (vf){{f32_load_f16(h), f32_load_f16(h + 8), f32_load_f16(h + 16), f32_load_f16(h + 24)}};
}

VF_INLINE vf vf_load_f16_n(const void *p, size_t n)
{
    uint16_t h[VF_LANES] = {0};
    memcpy(h, p, n * sizeof *h);
    return vf_load_f16(h);
}

VF_INLINE void vf_store(void *p, vf x)
{
    float *y = p;
    VF_UNROLL
    for (size_t i = 0; i < VF_PARTS; i++) f32_store(y + i * VF_PART_LANES, x.part[i]);
}

VF_INLINE void vf_store_n(void *p, vf x, size_t n)
{
    float y[VF_LANES];
    if (n == VF_LANES) {
        vf_store(p, x);
        return;
    }
    vf_store(y, x);
    memcpy(p, y, n * sizeof *y);
}

VF_INLINE vf vf_load_i8(const void *p)
{
    typedef int8_t i8x4 __attribute__((vector_size(4)));
    i8x4 bytes[VF_PARTS];
    memcpy(bytes, p, sizeof bytes);
    vf x;
    VF_UNROLL
    for (size_t i = 0; i < VF_PARTS; i++) x.part[i] = __builtin_convertvector(bytes[i], f32x4);
    return x;
}

VF_INLINE void vf_store_f16(void *p, vf x)
{
    uint8_t *h = p;
    VF_UNROLL
    for (size_t i = 0; i < VF_PARTS; i++) f32_store_f16(h + i * VF_PART_LANES * sizeof(uint16_t), x.part[i]);
}

/* By adding 1.5 * 2^23, which leaves the nearest integer in the low bits (N2). */
VF_INLINE void vf_store_i8(void *p, vf x)
{
    const f32x4 magic = f32_set1(12582912.0f);
    i32x4 integers[VF_PARTS];
    VF_UNROLL
    for (size_t i = 0; i < VF_PARTS; i++) integers[i] = (i32x4)(x.part[i] + magic) - (i32x4)magic;
    i8x16 bytes = bytes_of_ints(integers);
    memcpy(p, &bytes, sizeof bytes);
}

VF_INLINE f32x4 f32_add(f32x4 a, f32x4 b)
{
    return a + b;
}

VF_INLINE f32x4 f32_sub(f32x4 a, f32x4 b)
{
    return a - b;
}

VF_INLINE f32x4 f32_mul(f32x4 a, f32x4 b)
{
    return a * b;
}

VF_INLINE f32x4 f32_div(f32x4 a, f32x4 b)
{
    return a / b;
}

VF_INLINE vf vf_add(vf a, vf b)
{
    return vf_map_2(f32_add, a, b);
}

VF_INLINE vf vf_sub(vf a, vf b)
{
    return vf_map_2(f32_sub, a, b);
}

VF_INLINE vf vf_mul(vf a, vf b)
{
    return vf_map_2(f32_mul, a, b);
}

VF_INLINE vf vf_div(vf a, vf b)
{
    return vf_map_2(f32_div, a, b);
}

VF_INLINE vf vf_min(vf a, vf b)
{
    return vf_map_2(f32_min, a, b);
}

VF_INLINE vf vf_max(vf a, vf b)
{
    return vf_map_2(f32_max, a, b);
}

VF_INLINE f32x4 f32_neg(f32x4 x)
{
    return (f32x4)((u32x4)x ^ 0x80000000u);
}

VF_INLINE f32x4 f32_abs(f32x4 x)
{
    return (f32x4)((u32x4)x & 0x7fffffffu);
}

VF_INLINE vf vf_neg(vf x)
{
    return vf_map(f32_neg, x);
}

VF_INLINE vf vf_abs(vf x)
{
    return vf_map(f32_abs, x);
}

VF_INLINE int vf_all_less(vf x, float limit)
{
    f32x4 l = f32_set1(limit);
    i32x4 less = (x.part[0] < l) & (x.part[1] < l) & (x.part[2] < l) & (x.part[3] < l);
    return (less[0] & less[1] & less[2] & less[3]) != 0;
}

VF_INLINE vf vf_keep_from(vf x, vf y, float limit)
{
    f32x4 l = f32_set1(limit);
    VF_UNROLL
    for (size_t i = 0; i < VF_PARTS; i++) x.part[i] = (f32x4)((i32x4)x.part[i] & (y.part[i] >= l));
    return x;
}

VF_INLINE vf vf_first_n(vf x, size_t n)
{
    const i32x4 lanes = {0, 1, 2, 3};
    VF_UNROLL
    for (size_t i = 0; i < VF_PARTS; i++) {
        i32x4 n_left = i32_set1((int32_t)n - (int32_t)(i * VF_PART_LANES));
        x.part[i] = (f32x4)((i32x4)x.part[i] & (lanes < n_left));
    }
    return x;
}

VF_INLINE f32x4 f32_add_exponent(f32x4 p, f32x4 t)
{
    return (f32x4)((u32x4)p + ((u32x4)t << 23));
}

VF_INLINE vf vf_add_exponent(vf p, vf t)
{
    return vf_map_2(f32_add_exponent, p, t);
}

VF_INLINE f32x4 f32_max_bits(f32x4 a, f32x4 b)
{
    return (f32x4)i32_max((i32x4)a, (i32x4)b);
}

VF_INLINE vf vf_max_magnitude(vf m, vf x)
{
    return vf_map_2(f32_max_bits, m, vf_abs(x));
}

VF_INLINE float vf_top_magnitude(vf m)
{
    f32x4 top = f32_max_bits(f32_max_bits(m.part[0], m.part[1]), f32_max_bits(m.part[2], m.part[3]));
    i32x4 bits = (i32x4)top;
    int lane = 0;
    for (int i = 1; i < VF_PART_LANES; i++) lane = bits[i] > bits[lane] ? i : lane;
    return top[lane];
}

VF_INLINE vf vf_even(vf x)
{
    return vf_map(f32_even, x);
}

VF_INLINE vf vf_odd(vf x)
{
    return vf_map(f32_odd, x);
}

VF_INLINE vf vf_swap_pairs(vf x)
{
    return vf_map(f32_swap_pairs, x);
}

/* a - b is a + (-b). */
VF_INLINE f32x4 f32_sub_add(f32x4 a, f32x4 b)
{
    const u32x4 even = {0x80000000u, 0, 0x80000000u, 0};
    return a + (f32x4)((u32x4)b ^ even);
}

VF_INLINE vf vf_sub_add(vf a, vf b)
{
    return vf_map_2(f32_sub_add, a, b);
}

#endif
