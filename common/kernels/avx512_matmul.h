/* avx512_matmul.h: what the files of the AVX-512 matmul share.
 *
 * Everything here is one tile of weights times one panel of activations: 16 weight rows are the 16 lanes of a register, and each
 * activation row of the panel has an accumulator of its own. The product of four weights and four activations is one vpdpbusd,
 * whose first operand is unsigned: weights come as small unsigned integers, activations are broadcast out of the panel.
 *
 * Bound: one vpdpbusd a cycle (64 multiply-adds) for panels of 8; the weights' bytes from memory for panels of 1, where each line
 * of the tile is asked for ahead, into the second-level cache, beyond the tile's end into the next tile. */
#ifndef YL_KERNELS_AVX512_MATMUL_H
#define YL_KERNELS_AVX512_MATMUL_H

#include <immintrin.h>

#include "tile_matmul.h"

/* avx512_matmul_plain.c, avx512_matmul_32.c, avx512_matmul_256.c */
tile_times_panel avx512_f32, avx512_f16, avx512_bf16;
tile_times_panel avx512_q4_0, avx512_q4_1, avx512_q5_0, avx512_q5_1, avx512_q8_0, avx512_iq4_nl;
tile_times_panel avx512_q2_K, avx512_q3_K, avx512_q4_K, avx512_q5_K, avx512_q6_K, avx512_iq4_xs;
void avx512_widen(float *out, quant_type type, const uint8_t *tile, size_t n_cols);

/* Kernels are one always_inline body, compiled once a format and width. */
#define AVX512_BODY static inline __attribute__((always_inline))

/* How far ahead lines are asked for. Where little is done with a line, the processor's own prefetching does most of the work, and
 * needs little help; with more work, time passes between two lines, and it gives up: then all of it has to be asked for, in time (8
 * rows from memory: Q8_0 112 to 171 GMAC/s, Q6_K 82 to 152). Up to which width a format leaves it to the processor is measured, one
 * thread: Q3_K of one row 20.7 GB/s near and 24.8 far, Q4_0 29.6 and 21.5; of two rows Q5_K 12.3 and 23.7, Q8_0 25.9 and 19.7. From
 * 1 to 4 KiB is worse than either. */
enum { PREFETCH_NEAR = 512, PREFETCH_FAR = 6144, PREFETCH_FAR_WIDE = 8192, LINE_BYTES = 64 };

/* Asks for `n` lines, so far behind p. near_width: of the widest panel for which little is done with a line. */
AVX512_BODY void prefetch_lines(const uint8_t *p, int n, int width, int near_width)
{
    p += width <= near_width ? PREFETCH_NEAR : width <= 2 ? PREFETCH_FAR : PREFETCH_FAR_WIDE;
#pragma GCC unroll 32
    for (int i = 0; i < 32; i++) {
        if (i < n) _mm_prefetch((const char *)p + i * LINE_BYTES, _MM_HINT_T1);
    }
}

/* The same four bytes of 16 rows. */
AVX512_BODY __m512i load_dwords(const void *p)
{
    return _mm512_load_si512(p);
}

/* 16 f16 as f32: exact (N1). */
AVX512_BODY __m512 load_halves(const void *p)
{
    return _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)p));
}

AVX512_BODY __m512i broadcast_dword(const uint8_t *p)
{
    int32_t i;
    memcpy(&i, p, sizeof i);
    return _mm512_set1_epi32(i);
}

/* sum + the products of four unsigned weights and four activations. The broadcast is part of the instruction, where it costs
 * nothing; gcc (12) would give it one of its own, which takes a pipe of the arithmetic. */
AVX512_BODY __m512i add_products(__m512i sum, __m512i weights, const uint8_t *act)
{
#if defined(__clang__)
    return _mm512_dpbusd_epi32(sum, weights, broadcast_dword(act));
#else
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(weights), "m"(*(const uint8_t(*)[4])act));
    return sum;
#endif
}

/* The same of pairs of 16 bits. */
AVX512_BODY __m512i add_pair_products(__m512i sum, __m512i pairs, const uint8_t *act)
{
#if defined(__clang__)
    return _mm512_dpwssd_epi32(sum, pairs, broadcast_dword(act));
#else
    __asm__("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(pairs), "m"(*(const uint8_t(*)[4])act));
    return sum;
#endif
}

AVX512_BODY __m512 broadcast_float(const uint8_t *p)
{
    float f;
    memcpy(&f, p, sizeof f);
    return _mm512_set1_ps(f);
}

/* The tile's rows that are wanted. */
AVX512_BODY __mmask16 wanted_lanes(const tile_job *job)
{
    return (__mmask16)((1u << job->row_end) - (1u << job->row_begin));
}

AVX512_BODY void begin_sums(const tile_job *job, __m512 *acc, int width)
{
    const __mmask16 lanes = wanted_lanes(job);
#pragma GCC unroll 16
    for (int n = 0; n < width; n++) acc[n] = _mm512_setzero_ps();
    if (!job->continues) return;
#pragma GCC unroll 16
    for (int n = 0; n < width; n++) {
        if ((size_t)n < job->n_rows) acc[n] = _mm512_maskz_loadu_ps(lanes, job->y + n * job->y_stride);
    }
}

AVX512_BODY void store_sums(const tile_job *job, const __m512 *acc, int width)
{
    const __mmask16 lanes = wanted_lanes(job);
    if (lanes == 0xffff && job->n_rows == (size_t)width) { /* a store without a mask is several times as fast */
#pragma GCC unroll 16
        for (int n = 0; n < width; n++) _mm512_storeu_ps(job->y + n * job->y_stride, acc[n]);
        return;
    }
#pragma GCC unroll 16
    for (int n = 0; n < width; n++) {
        if ((size_t)n < job->n_rows) _mm512_mask_storeu_ps(job->y + n * job->y_stride, lanes, acc[n]);
    }
}

#endif
