/* avx2_peak.c: the loops with vectors of 32 bytes. */
#include <immintrin.h>

#define PEAK_VECTOR_BYTES 32
#include "peak_body.h"

/* vpmaddubsw and an addition in int16, the least that 32 products cost. Its first operand is the last result, so that nothing can
 * be computed in advance. */
static uint64_t dot_int8(size_t n, size_t *done)
{
    const size_t n_a_step = (size_t)PEAK_CHAINS * 32, n_steps = n / n_a_step + 1;
    const __m256i weights = _mm256_set1_epi8(1), one = _mm256_set1_epi16(1);
    __m256i sums[PEAK_CHAINS];
    for (size_t i = 0; i < PEAK_CHAINS; i++) sums[i] = _mm256_set1_epi8((char)i);
    for (size_t step = 0; step < n_steps; step++)
        for (size_t i = 0; i < PEAK_CHAINS; i++) sums[i] = _mm256_add_epi16(_mm256_maddubs_epi16(sums[i], weights), one);
    __m256i all = sums[0];
    for (size_t i = 1; i < PEAK_CHAINS; i++) all = _mm256_add_epi16(all, sums[i]);
    *done += n_steps * n_a_step;
    return (uint64_t)_mm256_extract_epi64(all, 0) ^ (uint64_t)_mm256_extract_epi64(all, 3);
}

const peak_loops peak_loops_avx2 = {peak_read, peak_read_ahead, dot_int8, peak_multiply_add_f32};
