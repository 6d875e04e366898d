/* simd_f32_avx512.h: the vocabulary of simd_f32.h on AVX-512 (F, BW, DQ, VL): a vf is one zmm. */
#ifndef YL_KERNELS_SIMD_F32_AVX512_H
#define YL_KERNELS_SIMD_F32_AVX512_H

#include <immintrin.h>

typedef __m512 vf;
enum { VF_TILE = 12 };

VF_INLINE __mmask16 vf_lanes(size_t n)
{
    return (__mmask16)((1u << n) - 1);
}

VF_INLINE vf vf_zero(void)
{
    return _mm512_setzero_ps();
}

VF_INLINE vf vf_set1(float f)
{
    return _mm512_set1_ps(f);
}

VF_INLINE vf vf_load(const void *p)
{
    return _mm512_loadu_ps(p);
}

VF_INLINE vf vf_load_n(const void *p, size_t n)
{
    return _mm512_maskz_loadu_ps(vf_lanes(n), p);
}

VF_INLINE vf vf_load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}

VF_INLINE vf vf_load_f16_n(const void *p, size_t n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(vf_lanes(n), p));
}

VF_INLINE vf vf_load_i8(const void *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p)));
}

VF_INLINE void vf_store(void *p, vf x)
{
    _mm512_storeu_ps(p, x);
}

VF_INLINE void vf_store_n(void *p, vf x, size_t n)
{
    _mm512_mask_storeu_ps(p, vf_lanes(n), x);
}

VF_INLINE void vf_store_f16(void *p, vf x)
{
    _mm256_storeu_si256(p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

VF_INLINE void vf_store_i8(void *p, vf x)
{
    _mm_storeu_si128(p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x)));
}

VF_INLINE vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}

VF_INLINE vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}

VF_INLINE vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}

VF_INLINE vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}

VF_INLINE vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}

VF_INLINE vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}

VF_INLINE vf vf_neg(vf x)
{
    return _mm512_xor_ps(x, _mm512_set1_ps(-0.0f));
}

VF_INLINE vf vf_abs(vf x)
{
    return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), x);
}

VF_INLINE int vf_all_less(vf x, float limit)
{
    return _mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_LT_OQ) == 0xffff;
}

VF_INLINE vf vf_keep_from(vf x, vf y, float limit)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(y, _mm512_set1_ps(limit), _CMP_GE_OQ), x);
}

VF_INLINE vf vf_first_n(vf x, size_t n)
{
    return _mm512_maskz_mov_ps(vf_lanes(n), x);
}

VF_INLINE vf vf_add_exponent(vf p, vf t)
{
    __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(t), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), exponent));
}

VF_INLINE vf vf_max_magnitude(vf m, vf x)
{
    return _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(m), _mm512_castps_si512(vf_abs(x))));
}

VF_INLINE float vf_top_magnitude(vf m)
{
    __m512i bits = _mm512_castps_si512(m);
    __m256i a = _mm256_max_epi32(_mm512_castsi512_si256(bits), _mm512_extracti64x4_epi64(bits, 1));
    __m128i b = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    b = _mm_max_epi32(b, _mm_shuffle_epi32(b, _MM_SHUFFLE(1, 0, 3, 2)));
    b = _mm_max_epi32(b, _mm_shuffle_epi32(b, _MM_SHUFFLE(2, 3, 0, 1)));
    return _mm_cvtss_f32(_mm_castsi128_ps(b));
}

VF_INLINE vf vf_even(vf x)
{
    return _mm512_moveldup_ps(x);
}

VF_INLINE vf vf_odd(vf x)
{
    return _mm512_movehdup_ps(x);
}

VF_INLINE vf vf_swap_pairs(vf x)
{
    return _mm512_permute_ps(x, _MM_SHUFFLE(2, 3, 0, 1));
}

VF_INLINE vf vf_sub_add(vf a, vf b)
{
    return _mm512_mask_sub_ps(_mm512_add_ps(a, b), 0x5555, a, b);
}

#endif
