/* ops_body.h: a table's kernels on vectors (norm, RoPE, SwiGLU, softmax over logits), written once over the vocabulary of
 * simd_f32.h.
 *
 * Included, with kv_store_body.h and attention_body.h, by one .c file an instruction set (avx2_ops.c, avx512_ops.c, neon.c,
 * wasm.c), which gives these functions their names. They compute the bits of scalar.c, the definition; what is done about order is
 * here, and NUMERICS.md says why it must be. Dead lanes behind the end of a vector are loaded as +0, which changes no sum (N9). */
#ifndef YL_KERNELS_OPS_BODY_H
#define YL_KERNELS_OPS_BODY_H

#include <float.h>
#include <string.h>

#include "kernels.h"
#include "numerics.h"
#include "simd_f32.h"

_Static_assert((int)VF_LANES == (int)YL_SUM_PARTIALS, "a vector is the partial sums of N10");

/* N10's tree. */
VF_INLINE float sum_lanes(vf partials)
{
    float p[VF_LANES];
    vf_store(p, partials);
    return yl_sum_partials(p);
}

VF_INLINE float max_lanes(vf x)
{
    float lanes[VF_LANES];
    vf_store(lanes, x);
    float m = lanes[0];
    for (size_t i = 1; i < VF_LANES; i++) m = lanes[i] > m ? lanes[i] : m;
    return m;
}

/* N12 between its two limits. */
VF_INLINE vf exp_within(vf x)
{
    vf magic = vf_set1(12582912.0f);
    vf t = vf_add(vf_mul(x, vf_set1(1.44269504088896341f)), magic);
    vf n = vf_sub(t, magic);
    vf r = vf_sub(vf_sub(x, vf_mul(n, vf_set1(0.693359375f))), vf_mul(n, vf_set1(-2.12194440e-4f)));
    vf p = vf_set1(1.9875691500e-4f);
    p = vf_add(vf_mul(p, r), vf_set1(1.3981999507e-3f));
    p = vf_add(vf_mul(p, r), vf_set1(8.3334519073e-3f));
    p = vf_add(vf_mul(p, r), vf_set1(4.1665795894e-2f));
    p = vf_add(vf_mul(p, r), vf_set1(1.6666665459e-1f));
    p = vf_add(vf_mul(p, r), vf_set1(5.0000001201e-1f));
    p = vf_add(vf_add(vf_mul(p, vf_mul(r, r)), r), vf_set1(1.0f));
    return vf_add_exponent(p, t);
}

/* N12. */
VF_INLINE vf exp_lanes(vf x)
{
    return vf_keep_from(exp_within(vf_min(x, vf_set1(88.0f))), x, -87.0f);
}

/* N2 for one block, n a multiple of 16; returns d. */
static float quantize_block(int8_t *q, const float *x, size_t n)
{
    vf m = vf_zero();
    for (size_t i = 0; i < n; i += VF_LANES) m = vf_max_magnitude(m, vf_load(x + i));
    float amax = vf_top_magnitude(m);
    if (amax < 0x1p-100f || !(amax <= FLT_MAX)) {
        memset(q, 0, n);
        return amax < 0x1p-100f ? 0.0f : amax;
    }
    vf id = vf_set1(127.0f / amax);
    for (size_t i = 0; i < n; i += VF_LANES) vf_store_i8(q + i, vf_mul(vf_load(x + i), id));
    return amax / 127.0f;
}

static void quantize(int8_t *q, float *d, const float *x, size_t n, size_t block)
{
    for (size_t i = 0; i < n / block; i++) d[i] = quantize_block(q + i * block, x + i * block, block);
}

static void rmsnorm(float *y, const float *x, const float *w, size_t n, float eps)
{
    size_t whole = n - n % VF_LANES, rest = n % VF_LANES;
    vf p = vf_zero();
    for (size_t i = 0; i < whole; i += VF_LANES) {
        vf xi = vf_load(x + i);
        p = vf_add(p, vf_mul(xi, xi));
    }
    vf last = vf_load_n(x + whole, rest);
    p = vf_add(p, vf_mul(last, last));
    vf r = vf_set1(1.0f / __builtin_sqrtf(sum_lanes(p) / (float)n + eps));
    for (size_t i = 0; i < whole; i += VF_LANES) vf_store(y + i, vf_mul(vf_mul(vf_load(x + i), r), vf_load(w + i)));
    vf_store_n(y + whole, vf_mul(vf_mul(last, r), vf_load_n(w + whole, rest)), rest);
}

/* N13 for eight pairs: x0 * c - x1 * s in even lanes, x1 * c + x0 * s in odd ones. */
VF_INLINE vf turn_pairs(vf x, vf cs)
{
    return vf_sub_add(vf_mul(x, vf_even(cs)), vf_mul(vf_swap_pairs(x), vf_odd(cs)));
}

static void rope(float *x, const float *cs, size_t n_head, size_t n_embd_head, size_t n_rot)
{
    size_t whole = n_rot - n_rot % VF_LANES, rest = n_rot % VF_LANES;
    for (size_t h = 0; h < n_head; h++, x += n_embd_head) {
        for (size_t i = 0; i < whole; i += VF_LANES) vf_store(x + i, turn_pairs(vf_load(x + i), vf_load(cs + i)));
        if (rest) vf_store_n(x + whole, turn_pairs(vf_load_n(x + whole, rest), vf_load_n(cs + whole, rest)), rest);
    }
}

VF_INLINE vf swiglu_lanes(vf g, vf u)
{
    vf silu = vf_div(g, vf_add(vf_set1(1.0f), exp_lanes(vf_neg(g))));
    return vf_mul(silu, u);
}

static void swiglu(float *g, const float *u, size_t n)
{
    size_t whole = n - n % VF_LANES, rest = n % VF_LANES;
    for (size_t i = 0; i < whole; i += VF_LANES) vf_store(g + i, swiglu_lanes(vf_load(g + i), vf_load(u + i)));
    if (rest) vf_store_n(g + whole, swiglu_lanes(vf_load_n(g + whole, rest), vf_load_n(u + whole, rest)), rest);
}

static void add(float *y, const float *x, size_t n)
{
    size_t whole = n - n % VF_LANES, rest = n % VF_LANES;
    for (size_t i = 0; i < whole; i += VF_LANES) vf_store(y + i, vf_add(vf_load(y + i), vf_load(x + i)));
    if (rest) vf_store_n(y + whole, vf_add(vf_load_n(y + whole, rest), vf_load_n(x + whole, rest)), rest);
}

/* ---- softmax over logits ---- */

/* The largest; of equals, which zeros of both signs are, the first; a NaN counts only as the first of all. */
static float max_of(const float *x, size_t n)
{
    size_t whole = n - n % VF_LANES;
    vf lanes = vf_set1(x[0]);
    for (size_t i = 0; i < whole; i += VF_LANES) lanes = vf_max(vf_load(x + i), lanes);
    float m = max_lanes(lanes);
    for (size_t i = whole; i < n; i++) m = x[i] > m ? x[i] : m;
    if (m != 0) return m;
    size_t i = 0;
    while (x[i] != 0) i++;
    return x[i];
}

static void max_sum_exp(const float *x, size_t n, float *max, float *sum_exp)
{
    size_t whole = n - n % VF_LANES, rest = n % VF_LANES;
    float top = max_of(x, n);
    vf m = vf_set1(top), p = vf_zero();
    for (size_t i = 0; i < whole; i += VF_LANES) p = vf_add(p, exp_lanes(vf_sub(vf_load(x + i), m)));
    if (rest) p = vf_add(p, vf_first_n(exp_lanes(vf_sub(vf_load_n(x + whole, rest), m)), rest));
    *max = top;
    *sum_exp = sum_lanes(p);
}

#endif
