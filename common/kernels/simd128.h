/* simd128.h: vectors of 16 bytes, on NEON and wasm: what their kernels are written in.
 *
 * The types are the compiler's own vectors, so that + - * & | << >> and comparisons mean what they mean in C, a lane at a time,
 * each rounded once. What a compiler cannot be told that way is a function, one file an instruction set (simd128_neon.h,
 * simd128_wasm.h):
 *
 *   as_another_pointer(p)     p, where registers are few; the compiler cannot know, and loads again. gcc would keep what sub-blocks
 *                             and rows share in registers, and then most of it in memory, for there is many times as much
 *   f32_min f32_max(a, b)     a < b ? a : b, a > b ? a : b: b if one is NaN
 *   i32_max(a, b)
 *   u32_load_u16(p)           four numbers of 16 bits
 *   f32_load_f16(p), f32_store_f16(p, x)
 *                             four f16 to f32 and back (N1); x is finite; an f16 that is not finite
 *                             becomes something that is not
 *   f32_even f32_odd          each pair of neighbours as its first (second) lane twice
 *   f32_swap_pairs            each pair the other way round
 *   bytes_of_ints(x)          x[0] ... x[3], each lane within [-128, 127], as 16 bytes
 *   bytes_lookup(table, i)    table[i] for each of 16 bytes, i < 16
 *   bytes_shift_right(v, n)   each byte, unsigned
 *
 * A product of matrices multiplies four bytes of each of four rows by the same four bytes of activations, and sums them in the
 * row's lane. Instruction sets want weights in forms of their own for that:
 *
 *   quads                     four weights of each of four rows: signed bytes, made ready to be multiplied
 *   quads_of(bytes)           lane r holds those of row r
 *   quads_load(p)             the same from memory
 *   dot_quads_1(q, n_groups, max_weight, x)
 *                             the products of q[0] ... q[n_groups - 1] and of as many times four activations of one row, which lie
 *                             at x one after the other. No weight is larger in magnitude than max_weight, no activation than 127
 *                             (N2). n_groups <= 8 and max_weight are constants.
 *   dot_quads_2(sum, q, n_groups, max_weight, x, stride)
 *                             the same with two rows, sum[i] with row i: x has the first four activations of row 0, then of row 1;
 *                             the next ones lie `stride` bytes further.
 *   dot_quads_4(sum, q, n_groups, max_weight, x, stride)
 *                             the same with four rows.
 *   dot_pairs(a, n_pairs, x, stride)
 *                             the sum over p < n_pairs of a[p][2r] * x0 + a[p][2r + 1] * x1 for each row r, of numbers of 16 bits;
 *                             x0 and x1 lie at x + p * stride. n_pairs <= 8 is a constant.
 *   BATCH_VECTORS, BATCH_VECTORS_PLAIN
 *                             vectors of rows that go together when there are four rows of activations: what registers hold; the
 *                             second for formats that are not quantized */
#ifndef YL_KERNELS_SIMD128_H
#define YL_KERNELS_SIMD128_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef float f32x4 __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef int16_t i16x8 __attribute__((vector_size(16)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));
typedef int8_t i8x16 __attribute__((vector_size(16)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));

#define SIMD_INLINE static inline __attribute__((always_inline))

/* In front of a loop of at most 16 rounds, a constant number: written out, so that an array of vectors that it indexes is
 * registers. Each compiler must be told in its own way. */
#if defined(__clang__)
#define SIMD_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SIMD_UNROLL _Pragma("GCC unroll 16")
#endif

SIMD_INLINE f32x4 f32_set1(float f)
{
    return (f32x4){f, f, f, f};
}

SIMD_INLINE i32x4 i32_set1(int32_t i)
{
    return (i32x4){i, i, i, i};
}

SIMD_INLINE f32x4 f32_load(const void *p)
{
    f32x4 x;
    memcpy(&x, p, sizeof x);
    return x;
}

SIMD_INLINE void f32_store(void *p, f32x4 x)
{
    memcpy(p, &x, sizeof x);
}

SIMD_INLINE f32x4 f32_broadcast(const void *p)
{
    float f;
    memcpy(&f, p, sizeof f);
    return f32_set1(f);
}

SIMD_INLINE i32x4 i32_broadcast(const void *p)
{
    int32_t i;
    memcpy(&i, p, sizeof i);
    return i32_set1(i);
}

SIMD_INLINE u8x16 bytes_load(const void *p)
{
    u8x16 v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* To the nearest f32, ties to even. */
SIMD_INLINE f32x4 f32_of_ints(i32x4 i)
{
    return __builtin_convertvector(i, f32x4);
}

/* a where the mask has ones, b where it has zeros. */
SIMD_INLINE u32x4 select_bits(u32x4 mask, u32x4 a, u32x4 b)
{
    return (a & mask) | (b & ~mask);
}

#if defined(__aarch64__)
#include "simd128_neon.h"
#elif defined(__wasm_simd128__)
#include "simd128_wasm.h"
#else
#error "no vectors of 16 bytes for what this file is compiled for"
#endif

#endif
