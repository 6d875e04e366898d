/* avx512_peak.c: the loops with vectors of 64 bytes, and VNNI's dot product. */
#include <immintrin.h>

#define PEAK_VECTOR_BYTES 64
#include "peak_body.h"

/* vpdpbusd: 64 products summed by fours into 16 int32. */
static uint64_t dot_int8(size_t n, size_t *done)
{
    const size_t n_a_step = (size_t)PEAK_CHAINS * 64, n_steps = n / n_a_step + 1;
    const __m512i weights = _mm512_set1_epi8(3), values = _mm512_set1_epi8(1);
    __m512i sums[PEAK_CHAINS];
    for (size_t i = 0; i < PEAK_CHAINS; i++) sums[i] = _mm512_set1_epi32((int)i);
    for (size_t step = 0; step < n_steps; step++)
        for (size_t i = 0; i < PEAK_CHAINS; i++) sums[i] = _mm512_dpbusd_epi32(sums[i], weights, values);
    __m512i all = sums[0];
    for (size_t i = 1; i < PEAK_CHAINS; i++) all = _mm512_add_epi32(all, sums[i]);
    *done += n_steps * n_a_step;
    return (uint64_t)(uint32_t)_mm512_reduce_add_epi32(all);
}

const peak_loops peak_loops_avx512 = {peak_read, peak_read_ahead, dot_int8, peak_multiply_add_f32};
