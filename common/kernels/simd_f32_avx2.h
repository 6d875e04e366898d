/* simd_f32_avx2.h: the vocabulary of simd_f32.h on AVX2 with F16C: a vf is two ymm. */
#ifndef YL_KERNELS_SIMD_F32_AVX2_H
#define YL_KERNELS_SIMD_F32_AVX2_H

#include <immintrin.h>
#include <string.h>

typedef struct vf {
    __m256 lo, hi; /* lanes 0 ... 7, 8 ... 15 */
} vf;
enum { VF_TILE = 6 };

/* Ones in the first n of eight lanes. */
VF_INLINE __m256i vf_lanes(size_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* How many of n lanes are in the upper half. */
VF_INLINE size_t vf_upper(size_t n)
{
    return n > 8 ? n - 8 : 0;
}

VF_INLINE vf vf_zero(void)
{
    return (vf){_mm256_setzero_ps(), _mm256_setzero_ps()};
}

VF_INLINE vf vf_set1(float f)
{
    return (vf){_mm256_set1_ps(f), _mm256_set1_ps(f)};
}

VF_INLINE vf vf_load(const void *p)
{
    return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps((const float *)p + 8)};
}

/* By a copy and not by maskload: ends are rare, and there are emulators whose maskload touches what it masks. */
VF_INLINE vf vf_load_n(const void *p, size_t n)
{
    if (n == VF_LANES) return vf_load(p);
    float x[VF_LANES] = {0};
    memcpy(x, p, n * sizeof *x);
    return vf_load(x);
}

VF_INLINE vf vf_load_f16(const void *p)
{
    const __m128i *half = p;
    return (vf){_mm256_cvtph_ps(_mm_loadu_si128(half)), _mm256_cvtph_ps(_mm_loadu_si128(half + 1))};
}

VF_INLINE vf vf_load_f16_n(const void *p, size_t n)
{
    uint16_t h[VF_LANES] = {0};
    memcpy(h, p, n * sizeof *h);
    return vf_load_f16(h);
}

VF_INLINE vf vf_load_i8(const void *p)
{
    __m128i q = _mm_loadu_si128(p);
    __m256i lo = _mm256_cvtepi8_epi32(q), hi = _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(q, q));
    return (vf){_mm256_cvtepi32_ps(lo), _mm256_cvtepi32_ps(hi)};
}

VF_INLINE void vf_store(void *p, vf x)
{
    _mm256_storeu_ps(p, x.lo);
    _mm256_storeu_ps((float *)p + 8, x.hi);
}

VF_INLINE void vf_store_n(void *p, vf x, size_t n)
{
    float lanes[VF_LANES];
    if (n == VF_LANES) {
        vf_store(p, x);
        return;
    }
    vf_store(lanes, x);
    memcpy(p, lanes, n * sizeof *lanes);
}

VF_INLINE void vf_store_f16(void *p, vf x)
{
    __m128i *half = p;
    _mm_storeu_si128(half, _mm256_cvtps_ph(x.lo, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128(half + 1, _mm256_cvtps_ph(x.hi, _MM_FROUND_TO_NEAREST_INT));
}

VF_INLINE void vf_store_i8(void *p, vf x)
{
    __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(x.lo), _mm256_cvtps_epi32(x.hi)); /* 0-3 8-11 | 4-7 12-15 */
    words = _mm256_permute4x64_epi64(words, _MM_SHUFFLE(3, 1, 2, 0));
    _mm_storeu_si128(p, _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}

VF_INLINE vf vf_add(vf a, vf b)
{
    return (vf){_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}

VF_INLINE vf vf_sub(vf a, vf b)
{
    return (vf){_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}

VF_INLINE vf vf_mul(vf a, vf b)
{
    return (vf){_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}

VF_INLINE vf vf_div(vf a, vf b)
{
    return (vf){_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}

VF_INLINE vf vf_min(vf a, vf b)
{
    return (vf){_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}

VF_INLINE vf vf_max(vf a, vf b)
{
    return (vf){_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}

VF_INLINE vf vf_neg(vf x)
{
    __m256 sign = _mm256_set1_ps(-0.0f);
    return (vf){_mm256_xor_ps(x.lo, sign), _mm256_xor_ps(x.hi, sign)};
}

VF_INLINE vf vf_abs(vf x)
{
    __m256 sign = _mm256_set1_ps(-0.0f);
    return (vf){_mm256_andnot_ps(sign, x.lo), _mm256_andnot_ps(sign, x.hi)};
}

VF_INLINE int vf_all_less(vf x, float limit)
{
    __m256 l = _mm256_set1_ps(limit);
    __m256 less = _mm256_and_ps(_mm256_cmp_ps(x.lo, l, _CMP_LT_OQ), _mm256_cmp_ps(x.hi, l, _CMP_LT_OQ));
    return _mm256_movemask_ps(less) == 0xff;
}

VF_INLINE vf vf_keep_from(vf x, vf y, float limit)
{
    __m256 l = _mm256_set1_ps(limit);
    return (vf){_mm256_and_ps(x.lo, _mm256_cmp_ps(y.lo, l, _CMP_GE_OQ)), _mm256_and_ps(x.hi, _mm256_cmp_ps(y.hi, l, _CMP_GE_OQ))};
}

VF_INLINE vf vf_first_n(vf x, size_t n)
{
    __m256 lo = _mm256_castsi256_ps(vf_lanes(n)), hi = _mm256_castsi256_ps(vf_lanes(vf_upper(n)));
    return (vf){_mm256_and_ps(x.lo, lo), _mm256_and_ps(x.hi, hi)};
}

VF_INLINE __m256 vf_half_add_exponent(__m256 p, __m256 t)
{
    __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
}

VF_INLINE vf vf_add_exponent(vf p, vf t)
{
    return (vf){vf_half_add_exponent(p.lo, t.lo), vf_half_add_exponent(p.hi, t.hi)};
}

VF_INLINE __m256 vf_half_max_bits(__m256 a, __m256 b)
{
    return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)));
}

VF_INLINE vf vf_max_magnitude(vf m, vf x)
{
    x = vf_abs(x);
    return (vf){vf_half_max_bits(m.lo, x.lo), vf_half_max_bits(m.hi, x.hi)};
}

VF_INLINE float vf_top_magnitude(vf m)
{
    __m256i a = _mm256_castps_si256(vf_half_max_bits(m.lo, m.hi));
    __m128i b = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    b = _mm_max_epi32(b, _mm_shuffle_epi32(b, _MM_SHUFFLE(1, 0, 3, 2)));
    b = _mm_max_epi32(b, _mm_shuffle_epi32(b, _MM_SHUFFLE(2, 3, 0, 1)));
    return _mm_cvtss_f32(_mm_castsi128_ps(b));
}

VF_INLINE vf vf_even(vf x)
{
    return (vf){_mm256_moveldup_ps(x.lo), _mm256_moveldup_ps(x.hi)};
}

VF_INLINE vf vf_odd(vf x)
{
    return (vf){_mm256_movehdup_ps(x.lo), _mm256_movehdup_ps(x.hi)};
}

VF_INLINE vf vf_swap_pairs(vf x)
{
    return (vf){_mm256_permute_ps(x.lo, _MM_SHUFFLE(2, 3, 0, 1)), _mm256_permute_ps(x.hi, _MM_SHUFFLE(2, 3, 0, 1))};
}

VF_INLINE vf vf_sub_add(vf a, vf b)
{
    return (vf){_mm256_addsub_ps(a.lo, b.lo), _mm256_addsub_ps(a.hi, b.hi)};
}

#endif
