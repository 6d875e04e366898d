/* random_settings.c: see the header. */
#include "random_settings.h"

#include <math.h>
#include <string.h>

static bool one_in(prng *r, int n)
{
    return prng_int(r, 0, n) == 0;
}

static float between(prng *r, float low, float high)
{
    return low + (high - low) * prng_f32(r);
}

/* Few different tokens, so that lists, history and breakers meet. */
static int32_t frequent_token(uint32_t n_vocab, prng *r)
{
    int n = n_vocab < 12 ? (int)n_vocab : 12;
    return prng_int(r, 0, one_in(r, 4) ? (int)n_vocab : n);
}

static void make_lists(random_settings *out, uint32_t n_vocab, prng *r)
{
    sampler_settings *s = &out->s;
    s->n_logit_bias = (size_t)prng_int(r, 0, RANDOM_MAX_BIAS + 1);
    s->n_banned = (size_t)prng_int(r, 0, RANDOM_MAX_BANNED + 1);
    s->n_dry_breakers = (size_t)prng_int(r, 0, RANDOM_MAX_BREAKERS + 1);
    s->logit_bias = out->bias;
    s->banned = out->banned;
    s->dry_breakers = out->breakers;
    s->dry_breaker_lens = out->breaker_lens;
    for (size_t i = 0; i < s->n_logit_bias; i++) {
        float bias = one_in(r, 4) ? -INFINITY : between(r, -5, 5);
        out->bias[i] = (sampler_logit_bias){.token = frequent_token(n_vocab, r), .bias = bias};
    }
    for (size_t i = 0; i < s->n_banned; i++) out->banned[i] = frequent_token(n_vocab, r);
    for (size_t i = 0; i < s->n_dry_breakers; i++) {
        out->breaker_lens[i] = (size_t)prng_int(r, 1, RANDOM_MAX_BREAKER_LEN + 1);
        out->breakers[i] = out->breaker_tokens[i];
        for (size_t j = 0; j < out->breaker_lens[i]; j++) out->breaker_tokens[i][j] = frequent_token(n_vocab, r);
    }
}

static void make_cuts(sampler_settings *s, prng *r)
{
    const int32_t top_k[] = {40, 40, 40, 0, 0, -1, 1, 5, 100, 600, 2000};
    const float temps[] = {0.8f, 0.8f, 1, 1, 1, 0.3f, 1.7f, 0, -1};
    s->top_k = top_k[prng_int(r, 0, 11)];
    s->temp = temps[prng_int(r, 0, 9)];
    if (one_in(r, 3)) s->top_p = one_in(r, 2) ? 1 : prng_f32(r);
    if (one_in(r, 3)) s->min_p = one_in(r, 2) ? 0 : between(r, 0, 0.4f);
    if (one_in(r, 4)) s->typical_p = prng_f32(r);
    if (one_in(r, 4)) s->top_n_sigma = between(r, 0.1f, 4);
    if (one_in(r, 4)) s->xtc_probability = one_in(r, 2) ? 1 : prng_f32(r);
    if (one_in(r, 2)) s->xtc_threshold = between(r, 0, 0.6f);
    if (one_in(r, 4)) s->dynatemp_range = between(r, 0, 1.5f);
    if (one_in(r, 2)) s->dynatemp_exponent = between(r, 0, 3);
    if (one_in(r, 5)) s->min_keep = (size_t)prng_int(r, 0, 20);
}

void make_settings(random_settings *out, uint32_t n_vocab, prng *r)
{
    memset(out, 0, sizeof *out);
    sampler_settings *s = &out->s;
    *s = sampler_default_settings();
    s->seed = prng_u64(r);
    make_cuts(s, r);
    if (one_in(r, 2)) {
        s->repeat_penalty = between(r, 0.8f, 1.6f);
        if (one_in(r, 2)) s->presence_penalty = between(r, -1, 2);
        if (one_in(r, 2)) s->frequency_penalty = between(r, -0.5f, 1);
        s->repeat_last_n = prng_int(r, -1, 100);
    }
    if (one_in(r, 2)) {
        s->dry_multiplier = between(r, 0, 2);
        s->dry_base = between(r, 1, 3);
        s->dry_allowed_length = prng_int(r, 0, 4);
        s->dry_penalty_last_n = prng_int(r, -1, 200);
    }
    if (one_in(r, 4)) {
        s->mirostat = prng_int(r, 1, 3);
        s->mirostat_tau = between(r, 0, 8);
        s->mirostat_eta = between(r, 0, 0.5f);
    }
    if (one_in(r, 2)) make_lists(out, n_vocab, r);
}

void make_history(int32_t *tokens, size_t n, uint32_t n_vocab, prng *r)
{
    for (size_t i = 0; i < n;) {
        size_t len = (size_t)prng_int(r, 1, 9);
        bool again = i > 0 && one_in(r, 2);
        size_t from = again ? (size_t)prng_int(r, 0, (int)i) : 0;
        for (; len > 0 && i < n; len--, i++) tokens[i] = again ? tokens[from++] : frequent_token(n_vocab, r);
    }
}
