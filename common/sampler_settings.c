/* sampler_settings.c: what is meant when nothing is said, and what cannot be meant. */
#include "sampler.h"

#include <float.h>

sampler_settings sampler_default_settings(void)
{
    return (sampler_settings){.temp = 0.8f,
                              .dynatemp_exponent = 1.0f,
                              .top_k = 40,
                              .top_p = 0.95f,
                              .min_p = 0.05f,
                              .typical_p = 1.0f,
                              .top_n_sigma = -1.0f,
                              .xtc_threshold = 0.1f,
                              .repeat_last_n = 64,
                              .repeat_penalty = 1.0f,
                              .dry_base = 1.75f,
                              .dry_allowed_length = 2,
                              .dry_penalty_last_n = -1,
                              .mirostat_tau = 5.0f,
                              .mirostat_eta = 0.1f};
}

typedef struct number_rule {
    const char *flag;
    float value, least, most;
} number_rule;

typedef struct integer_rule {
    const char *flag;
    int32_t value, least, most;
} integer_rule;

static yl_status check_numbers(const sampler_settings *s, yl_error *err)
{
    const number_rule rules[] = {
        {"--temp", s->temp, -FLT_MAX, FLT_MAX},
        {"--dynatemp-range", s->dynatemp_range, 0, FLT_MAX},
        {"--dynatemp-exp", s->dynatemp_exponent, 0, FLT_MAX},
        {"--top-p", s->top_p, 0, 1},
        {"--min-p", s->min_p, 0, 1},
        {"--typical", s->typical_p, 0, 1},
        {"--top-nsigma", s->top_n_sigma, -FLT_MAX, FLT_MAX},
        {"--xtc-probability", s->xtc_probability, 0, 1},
        {"--xtc-threshold", s->xtc_threshold, 0, 1},
        {"--repeat-penalty", s->repeat_penalty, FLT_MIN, FLT_MAX},
        {"--presence-penalty", s->presence_penalty, -FLT_MAX, FLT_MAX},
        {"--frequency-penalty", s->frequency_penalty, -FLT_MAX, FLT_MAX},
        {"--dry-multiplier", s->dry_multiplier, 0, FLT_MAX},
        {"--dry-base", s->dry_base, s->dry_multiplier > 0 ? 1 : -FLT_MAX, FLT_MAX},
        {"--mirostat-ent", s->mirostat_tau, 0, FLT_MAX},
        {"--mirostat-lr", s->mirostat_eta, 0, FLT_MAX},
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const number_rule *r = &rules[i];
        if (r->value >= r->least && r->value <= r->most) continue; /* NaN is not */
        if (r->most < FLT_MAX) {
            return yl_fail(err, YL_EINVAL, "%s must be between %g and %g, it is %g", r->flag, (double)r->least, (double)r->most,
                           (double)r->value);
        }
        if (r->least == -FLT_MAX) return yl_fail(err, YL_EINVAL, "%s must be a finite number, it is %g", r->flag, (double)r->value);
        return yl_fail(err, YL_EINVAL, "%s must be a finite number not below %g, it is %g", r->flag, (double)r->least,
                       (double)r->value);
    }
    return YL_OK;
}

static yl_status check_integers(const sampler_settings *s, yl_error *err)
{
    const integer_rule rules[] = {
        {"--repeat-last-n", s->repeat_last_n, -1, INT32_MAX},
        {"--dry-allowed-length", s->dry_allowed_length, 0, INT32_MAX},
        {"--dry-penalty-last-n", s->dry_penalty_last_n, -1, INT32_MAX},
        {"--mirostat", s->mirostat, 0, 2},
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const integer_rule *r = &rules[i];
        if (r->value >= r->least && r->value <= r->most) continue;
        return yl_fail(err, YL_EINVAL, "%s must be between %d and %d, it is %d", r->flag, (int)r->least, (int)r->most,
                       (int)r->value);
    }
    return YL_OK;
}

static yl_status check_lists(const sampler_settings *s, yl_error *err)
{
    if ((s->n_logit_bias && !s->logit_bias) || (s->n_banned && !s->banned) ||
        (s->n_dry_breakers && (!s->dry_breakers || !s->dry_breaker_lens))) {
        return yl_fail(err, YL_EINVAL, "a list of the sampler's settings has a length but no content");
    }
    for (size_t i = 0; i < s->n_logit_bias; i++) {
        float bias = s->logit_bias[i].bias;
        if (bias <= FLT_MAX) continue; /* -infinity too, NaN not */
        return yl_fail(err, YL_EINVAL, "--logit-bias of token %d must be a number or -inf, it is %g", (int)s->logit_bias[i].token,
                       (double)bias);
    }
    for (size_t i = 0; i < s->n_dry_breakers; i++) {
        size_t len = s->dry_breaker_lens[i];
        if (len >= 1 && len <= SAMPLER_MAX_BREAKER && s->dry_breakers[i]) continue;
        return yl_fail(err, YL_EINVAL, "--dry-sequence-breaker number %zu has %zu tokens, from 1 to %d are possible", i + 1, len,
                       SAMPLER_MAX_BREAKER);
    }
    return YL_OK;
}

yl_status sampler_check_settings(const sampler_settings *s, yl_error *err)
{
    yl_status status = check_numbers(s, err);
    if (!status) status = check_integers(s, err);
    if (!status) status = check_lists(s, err);
    return status;
}
