/* rope.c: one frequency a pair of elements, with the scalings folded in.
 *
 * Pair i of n_rot / 2 turns by pos * freq_i, where freq_i = freq_base^(-2i / n_rot) / factor_i. Linear scaling divides all of them
 * by rope_factor, as if positions were that much closer. YaRN does so to slow pairs only: a pair that turned more than beta_fast
 * times within the context of training has seen all its angles and keeps its frequency, one that turned less than beta_slow times
 * is divided, and the pairs between go over linearly. All of that is a constant of the model, so rope_new does it once and an
 * angle is one product. YaRN and attn_factor also lengthen the turned vectors, which sharpens the softmax. */
#include "rope.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

#include "numerics.h"

struct rope {
    uint32_t n_pairs;
    double magnitude; /* of the turned pairs, relative to what they were */
    double freq[];    /* [n_pairs], radians a position */
};

static const double TWO_PI = 0x1.921fb54442d18p+2;

static bool is_positive(double x)
{
    return x > 0 && x <= 0x1p64; /* not NaN, and nothing below overflows */
}

static yl_status check(const hparams *hp, const float *factors, yl_error *err)
{
    if (hp->n_rot == 0 || hp->n_rot % 2 != 0 || hp->n_rot > HPARAMS_MAX_EMBD_HEAD) {
        return yl_fail(err, YL_EINVAL, "RoPE turns %u elements of a head; it must be an even number up to %d", hp->n_rot,
                       HPARAMS_MAX_EMBD_HEAD);
    }
    if (!is_positive(hp->rope_freq_base) || !is_positive(hp->rope_factor) || !is_positive(hp->rope_attn_factor)) {
        return yl_fail(err, YL_EINVAL, "RoPE: base %g, scaling factor %g and attention factor %g must be positive numbers",
                       hp->rope_freq_base, hp->rope_factor, hp->rope_attn_factor);
    }
    if ((unsigned)hp->rope_type > ROPE_SCALING_YARN) {
        return yl_fail(err, YL_EINVAL, "RoPE: there is no scaling type %d", (int)hp->rope_type);
    }
    if (hp->rope_type == ROPE_SCALING_YARN) {
        if (hp->rope_freq_base <= 1 || hp->rope_orig_ctx == 0) {
            return yl_fail(err, YL_EINVAL, "YaRN needs a RoPE base above 1 (it is %g) and the context of training (it is %u)",
                           hp->rope_freq_base, hp->rope_orig_ctx);
        }
        if (!is_positive(hp->rope_beta_fast) || !is_positive(hp->rope_beta_slow)) {
            return yl_fail(err, YL_EINVAL, "YaRN: beta_fast %g and beta_slow %g must be positive numbers", hp->rope_beta_fast,
                           hp->rope_beta_slow);
        }
        if (!(hp->rope_ext_factor >= 0 && hp->rope_ext_factor <= 1)) {
            return yl_fail(err, YL_EINVAL, "YaRN: ext_factor %g must lie within [0, 1]", hp->rope_ext_factor);
        }
    }
    for (uint32_t i = 0; factors && i < hp->n_rot / 2; i++) {
        if (!is_positive(factors[i])) {
            return yl_fail(err, YL_EINVAL, "RoPE: factor %u of rope_freqs.weight is %g; it must be a positive number", i,
                           (double)factors[i]);
        }
    }
    return YL_OK;
}

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

/* The whole number at or below x, for |x| < 2^31. */
static double whole_below(double x)
{
    double whole = (double)(int64_t)x;
    return whole > x ? whole - 1 : whole;
}

/* Which pair, as a real number, turns n_turns times within the context of training. */
static double pair_that_turns(const hparams *hp, double n_turns)
{
    return hp->n_rot * yl_log(hp->rope_orig_ctx / (n_turns * TWO_PI)) / (2 * yl_log(hp->rope_freq_base));
}

/* How much of pair i's frequency YaRN leaves unscaled, 0 to 1. The limits are rounded outwards to whole pairs, and cut to
 * [0, n_rot - 1], as llama.cpp does (ggml_rope_yarn_corr_dims: that is n_rot, not the number of pairs). */
static double yarn_share_kept(const hparams *hp, uint32_t i)
{
    double limit = hp->n_rot - 1;
    double low = whole_below(clamp(pair_that_turns(hp, hp->rope_beta_fast), 0, limit));
    double high = -whole_below(-clamp(pair_that_turns(hp, hp->rope_beta_slow), 0, limit));
    double width = high - low > 0.001 ? high - low : 0.001;
    return (1 - clamp((i - low) / width, 0, 1)) * hp->rope_ext_factor;
}

static double scaled_frequency(const hparams *hp, uint32_t i, double freq)
{
    switch (hp->rope_type) {
    case ROPE_SCALING_NONE: return freq;
    case ROPE_SCALING_LINEAR: return freq / hp->rope_factor;
    case ROPE_SCALING_YARN: break;
    }
    double kept = yarn_share_kept(hp, i);
    return freq / hp->rope_factor * (1 - kept) + freq * kept;
}

static double magnitude(const hparams *hp)
{
    bool lengthens = hp->rope_type == ROPE_SCALING_YARN && hp->rope_ext_factor != 0 && hp->rope_factor > 1;
    return lengthens ? hp->rope_attn_factor * (1 + 0.1 * yl_log(hp->rope_factor)) : hp->rope_attn_factor;
}

yl_status rope_new(rope **out, const hparams *hp, const float *factors, yl_error *err)
{
    *out = NULL;
    yl_status status = check(hp, factors, err);
    if (status) return status;
    uint32_t n_pairs = hp->n_rot / 2;
    rope *r = malloc(sizeof *r + n_pairs * sizeof r->freq[0]);
    if (!r) return yl_fail(err, YL_ENOMEM, "RoPE: no memory for %u frequencies", n_pairs);
    r->n_pairs = n_pairs;
    r->magnitude = magnitude(hp);
    for (uint32_t i = 0; i < n_pairs; i++) {
        double freq = yl_pow(hp->rope_freq_base, -2.0 * i / hp->n_rot);
        if (factors) freq = freq / (double)factors[i];
        r->freq[i] = scaled_frequency(hp, i, freq);
        if (!(r->freq[i] <= ROPE_MAX_FREQ)) {
            free(r);
            return yl_fail(err, YL_EINVAL, "RoPE: pair %u would turn by %g radians a position; base, factors or scaling are wrong",
                           i, scaled_frequency(hp, i, freq));
        }
    }
    *out = r;
    return YL_OK;
}

void rope_free(rope *r)
{
    free(r);
}

void rope_angles(const rope *r, uint32_t pos, float *cs)
{
    assert(pos < HPARAMS_MAX_CTX);
    for (uint32_t i = 0; i < r->n_pairs; i++) {
        double angle = pos * r->freq[i];
        cs[2 * i] = (float)(yl_cos(angle) * r->magnitude);
        cs[2 * i + 1] = (float)(yl_sin(angle) * r->magnitude);
    }
}
