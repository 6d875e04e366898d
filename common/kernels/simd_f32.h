/* simd_f32.h: the vector vocabulary of ops_body.h: sixteen f32 lanes, one name an operation, one file an instruction set.
 *
 * Sixteen is the contract's own number (N10 sums by index modulo 16, a block of the KV cache has 16 positions), so it stays sixteen
 * where registers are narrower: a vf is one zmm, two ymm, four NEON or wasm vectors. Every function is one correctly rounded IEEE
 * operation a lane, or moves bits. Lanes never meet, but in vf_swap_pairs and in the maximum that vf_top_magnitude takes.
 *
 *   vf                          the type
 *   VF_LANES                    16
 *   VF_TILE                     how many vf an inner loop may accumulate in, beside three others: 4, 6, 8 or 12
 *
 *   vf_zero() vf_set1(f)        all lanes the same
 *   vf_load(p) vf_store(p, x)   16 floats, at any address
 *   vf_load_n vf_store_n        the first n lanes, n <= 16; other lanes load as +0; no byte behind n is touched
 *   vf_load_f16(p)              16 f16 to f32 (N1), vf_load_f16_n likewise
 *   vf_load_i8(p)               16 int8 to f32
 *   vf_store_f16(p, x)          f32 to 16 f16, nearest even (N1); x is finite
 *   vf_store_i8(p, x)           to 16 int8, nearest even; |x| <= 127.5
 *   vf_add sub mul div          a op b
 *   vf_min max                  a < b ? a : b, a > b ? a : b: b if one is NaN
 *   vf_neg vf_abs               the sign bit alone
 *   vf_all_less(x, limit)       whether x < limit in each lane; false for NaN
 *   vf_keep_from(x, y, limit)   x where y >= limit, +0 elsewhere (y NaN too)
 *   vf_first_n(x, n)            x in the first n lanes, +0 in the others
 *   vf_add_exponent(p, t)       as integers: bits(p) + (bits(t) << 23), the last step of exp (N12)
 *   vf_max_magnitude(m, x)      as integers: max(bits(m), bits(|x|)): m is such a maximum or +0; NaN is the largest
 *   vf_top_magnitude(m)         the largest lane of such a maximum
 *   vf_even vf_odd              each pair of neighbours as its first (second) lane twice
 *   vf_swap_pairs(x)            each pair the other way round
 *   vf_sub_add(a, b)            a - b in even lanes, a + b in odd ones */
#ifndef YL_KERNELS_SIMD_F32_H
#define YL_KERNELS_SIMD_F32_H

#include <stddef.h>
#include <stdint.h>

enum { VF_LANES = 16 };
#define VF_INLINE static inline __attribute__((always_inline))

/* In front of a loop of at most 16 rounds, a constant number: written out, so that an array of vf that it indexes is registers.
 * Each compiler must be told in its own way; clang takes the other's pragma, but acts on it too late for that. */
#if defined(__clang__)
#define VF_UNROLL _Pragma("clang loop unroll(full)")
#else
#define VF_UNROLL _Pragma("GCC unroll 16")
#endif

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#include "simd_f32_avx512.h"
#elif defined(__AVX2__) && defined(__F16C__)
#include "simd_f32_avx2.h"
#elif defined(__aarch64__) || defined(__wasm_simd128__)
#include "simd_f32_128.h"
#else
#error "no vector vocabulary for what this file is compiled for"
#endif

#endif
