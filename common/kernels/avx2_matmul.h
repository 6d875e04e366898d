/* avx2_matmul.h: what the files of the AVX2 matmul share.
 *
 * Everything here is one tile of weights times one panel of activations. The tile's 16 rows are two halves of 8, the lanes of a
 * register, and the panel is worked off 4 rows at a time: so the accumulators of both halves are 8 of the 16 registers.
 *
 * The product of four weights and four activations begins with vpmaddubsw: unsigned bytes times signed ones, added in pairs to 16
 * bits, which saturate. What keeps them from that: an activation is at most 127 in magnitude (never -128, N2). So a pair of
 * products is at most 254 times the largest weight, and before one vpmaddwd by the sub-block's scale (or by 1) makes it 32 bits, a
 * 16-bit number holds the sum of
 * - 8 groups of four columns, of weights up to 15 (30480): Q4_0, Q4_1, Q4_K
 * - 4 groups, of weights up to 31 (31496): Q5_0, Q5_1, Q5_K; Q2_K and Q3_K, whose sub-blocks are no longer
 * - 2 groups, of weights up to 63 (32004): Q6_K
 * - 1 group, of weights up to 128 (32512): Q8_0, IQ4_NL, IQ4_XS, with a sign, which is given to the activation instead
 *
 * Bound: the multiplications, vpmaddubsw and vpmaddwd, and as many additions, for panels of 4 and 8; the weights' bytes from memory
 * for panels of 1, where each line of the tile is asked for ahead, into the second-level cache, beyond the tile's
 * end into the next tile. */
#ifndef YL_KERNELS_AVX2_MATMUL_H
#define YL_KERNELS_AVX2_MATMUL_H

#include <immintrin.h>

#include "tile_matmul.h"

/* avx2_matmul_plain.c, avx2_matmul_32.c, avx2_matmul_256.c */
tile_times_panel avx2_f32, avx2_f16, avx2_bf16;
tile_times_panel avx2_q4_0, avx2_q4_1, avx2_q5_0, avx2_q5_1, avx2_q8_0, avx2_iq4_nl;
tile_times_panel avx2_q2_K, avx2_q3_K, avx2_q4_K, avx2_q5_K, avx2_q6_K, avx2_iq4_xs;
void avx2_widen(float *out, quant_type type, const uint8_t *tile, size_t n_cols);

/* Kernels are one always_inline body, compiled once a format and width. Loops whose length is a parameter run to the largest and
 * skip: clang unrolls before it inlines, and what is left of a shorter one would stay a loop. */
#define AVX2_BODY static inline __attribute__((always_inline))

enum { HALF_ROWS = 8, N_HALVES = TILE_ROWS / HALF_ROWS };

/* Rows of a panel that are worked on together. */
AVX2_BODY int rows_at_a_time(int width)
{
    return width < 4 ? width : 4;
}

/* How far ahead lines are asked for. Where little is done with a line, the processor's own prefetching does most of the work, and
 * needs little help; with more work, time passes between two lines, and it gives up: then all of it has to be asked for, in time.
 * Up to which width a format leaves it to the processor is measured, one thread of an AMD Zen 4: one row of Q4_K 21 GB/s near and
 * 32 far, of F16 29 and 33, but of F32 33 and 23. From 1 to 4 KiB is worse than either. */
enum { PREFETCH_NEAR = 512, PREFETCH_FAR = 8192, LINE_BYTES = 64 };

/* Asks for `n` lines, so far behind p. near_width: of the widest panel for which little is done with a line. */
AVX2_BODY void prefetch_lines(const uint8_t *p, int n, int width, int near_width)
{
    p += width <= near_width ? PREFETCH_NEAR : PREFETCH_FAR;
#pragma GCC unroll 32
    for (int i = 0; i < 32; i++) {
        if (i < n) _mm_prefetch((const char *)p + i * LINE_BYTES, _MM_HINT_T1);
    }
}

/* The same four bytes of the 8 rows of a half. */
AVX2_BODY __m256i load_dwords(const tile_dwords dwords, int half)
{
    return _mm256_load_si256((const __m256i *)(const void *)dwords[half * HALF_ROWS]);
}

/* 8 f16 as f32: exact (N1). */
AVX2_BODY __m256 load_halves(const uint16_t *halves, int half)
{
    return _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)(halves + half * HALF_ROWS)));
}

AVX2_BODY __m256i broadcast_dword(const uint8_t *p)
{
    int32_t i;
    memcpy(&i, p, sizeof i);
    return _mm256_set1_epi32(i);
}

AVX2_BODY __m256 broadcast_float(const uint8_t *p)
{
    float f;
    memcpy(&f, p, sizeof f);
    return _mm256_set1_ps(f);
}

AVX2_BODY __m256i bytes_and(__m256i v, int mask)
{
    return _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
}

AVX2_BODY __m256i nibbles(__m256i v, int high)
{
    return bytes_and(high ? _mm256_srli_epi16(v, 4) : v, 15);
}

/* quant_iq4_values of the bytes' low nibbles. */
AVX2_BODY __m256i iq4_values(__m256i bytes)
{
    const __m128i table = _mm_loadu_si128((const __m128i *)(const void *)quant_iq4_values);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), bytes);
}

/* The same pointer; the compiler cannot know. Both halves of a tile meet the same activations, and sub-blocks share bytes: gcc
 * would load and broadcast all of them once, and put them into memory, for there are ten times as many as registers. */
AVX2_BODY const uint8_t *as_another_pointer(const uint8_t *p)
{
    __asm__ volatile("" : "+r"(p));
    return p;
}

/* How many groups' products a 16-bit number holds, for weights of so many bits. */
enum { GROUPS_4_BITS = 8, GROUPS_5_BITS = 4, GROUPS_6_BITS = 2, GROUPS_SIGNED = 1 };

/* Adds the products of weights of 8 rows, in `groups` groups of four columns, and the activations of n rows of a panel to isum[n],
 * times a scale (16 bits, the same twice in each dword). The groups' products make one 16-bit sum: see above. q[g]: four weights of
 * each row, with GROUPS_SIGNED signed, else unsigned. x: the four bytes of the first group and row; `width` is the panel's. */
AVX2_BODY void add_products(__m256i *isum, int n, const __m256i q[8], int groups, __m256i scale, const uint8_t *x, int width)
{
    __m256i size = _mm256_abs_epi8(q[0]); /* 128 as unsigned, of -128 */
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
        __m256i sum = _mm256_setzero_si256();
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
            if (g >= groups) continue;
            __m256i act = broadcast_dword(x + (g * width + i) * 4);
            __m256i pairs =
                groups == GROUPS_SIGNED ? _mm256_maddubs_epi16(size, _mm256_sign_epi8(act, q[g])) : _mm256_maddubs_epi16(q[g], act);
            sum = g == 0 ? pairs : _mm256_add_epi16(sum, pairs);
        }
        isum[i] = _mm256_add_epi32(isum[i], _mm256_madd_epi16(sum, scale));
    }
}

/* All bits of the lanes of half h whose rows are wanted. */
AVX2_BODY __m256i wanted_lanes(const tile_job *job, int h)
{
    __m256i row = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(h * HALF_ROWS));
    return _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32((int)job->row_begin), row),
                               _mm256_cmpgt_epi32(_mm256_set1_epi32((int)job->row_end), row));
}

/* The sums of the panel's rows [first, first + n). acc[h * n + i]: half h, row first + i. */
AVX2_BODY void begin_sums(const tile_job *job, __m256 *acc, int first, int n)
{
#pragma GCC unroll 2
    for (int h = 0; h < N_HALVES; h++) {
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) {
            const size_t x_row = (size_t)first + (size_t)i;
            const float *y = job->y + x_row * job->y_stride + h * HALF_ROWS;
            bool is_there = job->continues && x_row < job->n_rows;
            acc[h * n + i] = is_there ? _mm256_maskload_ps(y, wanted_lanes(job, h)) : _mm256_setzero_ps();
        }
    }
}

AVX2_BODY void store_sums(const tile_job *job, const __m256 *acc, int first, int n)
{
    const bool all = job->row_end - job->row_begin == TILE_ROWS; /* a store without a mask is many times as fast */
#pragma GCC unroll 2
    for (int h = 0; h < N_HALVES; h++) {
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) {
            const size_t x_row = (size_t)first + (size_t)i;
            float *y = job->y + x_row * job->y_stride + h * HALF_ROWS;
            if (x_row >= job->n_rows) continue;
            if (all)
                _mm256_storeu_ps(y, acc[h * n + i]);
            else
                _mm256_maskstore_ps(y, wanted_lanes(job, h), acc[h * n + i]);
        }
    }
}

#endif
