/* sampler.c: the object, what it asks for, and how often it looks again.
 *
 * sampler_sample makes a ranking of what came and lets the chain choose from it. From candidates there is one try. From all logits
 * the same is tried with some of the largest, then with all in order, which always suffices: sorting 128,256 logits is only paid
 * for where the settings need it. */
#include "sampler.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "numerics.h"
#include "sampler_internal.h"
#include "top_logits.h"

static const double LN_2 = 0.69314718055994531;

bool key_buffer_reserve(key_buffer *b, size_t n)
{
    if (n <= b->capacity) return true;
    size_t capacity = n + n / 2;
    free(b->v);
    b->capacity = 0;
    b->v = malloc(capacity * sizeof *b->v);
    if (!b->v) return false;
    b->capacity = capacity;
    return true;
}

/* ---- life ---- */

/* A look back of n tokens; -1: as far as the context goes, and never beyond it. */
static size_t window_of(int32_t n, uint32_t n_ctx)
{
    return n < 0 || (uint32_t)n > n_ctx ? n_ctx : (size_t)n;
}

static bool penalties_are_on(const sampler_settings *set)
{
    return set->repeat_penalty != 1 || set->presence_penalty != 0 || set->frequency_penalty != 0;
}

static bool dry_is_on(const sampler_settings *set)
{
    return set->dry_multiplier > 0;
}

static bool in_vocabulary(int32_t token, uint32_t n_vocab)
{
    return token >= 0 && (uint32_t)token < n_vocab;
}

static yl_status check_tokens(const sampler_settings *set, uint32_t n_vocab, yl_error *err)
{
    for (size_t i = 0; i < set->n_logit_bias; i++) {
        if (in_vocabulary(set->logit_bias[i].token, n_vocab)) continue;
        return yl_fail(err, YL_EINVAL, "--logit-bias names token %d, the vocabulary has %u", (int)set->logit_bias[i].token,
                       (unsigned)n_vocab);
    }
    for (size_t i = 0; i < set->n_banned; i++) {
        if (in_vocabulary(set->banned[i], n_vocab)) continue;
        return yl_fail(err, YL_EINVAL, "token %d cannot be banned, the vocabulary has %u", (int)set->banned[i], (unsigned)n_vocab);
    }
    return YL_OK;
}

/* Settings as kept: their lists live in the sampler in other forms. */
static sampler_settings without_lists(const sampler_settings *set)
{
    sampler_settings s = *set;
    s.dry_breakers = NULL;
    s.dry_breaker_lens = NULL;
    s.logit_bias = NULL;
    s.banned = NULL;
    s.n_dry_breakers = s.n_logit_bias = s.n_banned = 0;
    return s;
}

yl_status sampler_new(sampler **out, const sampler_settings *set, uint32_t n_vocab, uint32_t n_ctx, yl_error *err)
{
    *out = NULL;
    if (!n_vocab || n_vocab > SAMPLER_MAX_VOCAB) {
        return yl_fail(err, n_vocab ? YL_ELIMIT : YL_EINVAL, "a vocabulary of %u tokens, from 1 to %d are possible",
                       (unsigned)n_vocab, SAMPLER_MAX_VOCAB);
    }
    if (n_ctx > INT32_MAX) return yl_fail(err, YL_ELIMIT, "a context of %u tokens, %d are possible", (unsigned)n_ctx, INT32_MAX);
    yl_status status = sampler_check_settings(set, err);
    if (!status) status = check_tokens(set, n_vocab, err);
    if (status) return status;
    sampler *s = calloc(1, sizeof *s);
    if (!s) return yl_fail(err, YL_ENOMEM, "no memory for a sampler");
    s->settings = without_lists(set);
    s->n_vocab = n_vocab;
    s->dry_window = dry_is_on(set) ? window_of(set->dry_penalty_last_n, n_ctx) : 0;
    token_history_init(&s->past, penalties_are_on(set) ? window_of(set->repeat_last_n, n_ctx) : 0, s->dry_window);
    s->mu = 2.0 * set->mirostat_tau;
    size_t n_breakers = s->dry_window ? set->n_dry_breakers : 0;
    if (!fixed_biases_init(&s->fixed, &s->n_fixed, set) ||
        !dry_breakers_init(&s->breakers, set->dry_breakers, set->dry_breaker_lens, n_breakers)) {
        sampler_free(s);
        return yl_fail(err, YL_ENOMEM, "no memory for a sampler's lists of tokens");
    }
    *out = s;
    return YL_OK;
}

/* Scratch is left behind: the clone makes its own when it samples. */
sampler *sampler_clone(const sampler *from)
{
    sampler *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->settings = from->settings;
    s->n_vocab = from->n_vocab;
    s->dry_window = from->dry_window;
    s->mu = from->mu;
    s->has_sampled = from->has_sampled;
    s->sampled_token = from->sampled_token;
    s->sampled_surprise = from->sampled_surprise;
    bool ok = token_history_copy(&s->past, &from->past) && dry_breakers_copy(&s->breakers, &from->breakers);
    if (ok && from->n_fixed) {
        s->fixed = malloc(from->n_fixed * sizeof *s->fixed);
        ok = s->fixed != NULL;
        if (ok) memcpy(s->fixed, from->fixed, from->n_fixed * sizeof *s->fixed);
        s->n_fixed = from->n_fixed;
    }
    if (ok) return s;
    sampler_free(s);
    return NULL;
}

void sampler_free(sampler *s)
{
    if (!s) return;
    free(s->fixed);
    dry_breakers_free(&s->breakers);
    token_history_free(&s->past);
    free(s->adjustments);
    free(s->listed);
    free(s->dry_z);
    free(s->dry_hits.v);
    free(s->top.v);
    free(s->by_token.v);
    free(s->ranked.v);
    free(s->chosen.v);
    free(s->tmp.v);
    free(s);
}

void sampler_reset(sampler *s)
{
    token_history_clear(&s->past);
    s->mu = 2.0 * s->settings.mirostat_tau;
    s->has_sampled = false;
    s->prepared = false;
}

yl_status sampler_accept(sampler *s, int32_t token, bool sampled, yl_error *err)
{
    if (!in_vocabulary(token, s->n_vocab)) {
        return yl_fail(err, YL_EINVAL, "token %d cannot be part of the history, the vocabulary has %u", (int)token,
                       (unsigned)s->n_vocab);
    }
    if (!token_history_push(&s->past, token)) return yl_fail(err, YL_ENOMEM, "no memory for the sampler's history");
    if (s->past.window) s->prepared = false;
    if (s->settings.mirostat && sampled && s->has_sampled && token == s->sampled_token) {
        s->mu -= s->settings.mirostat_eta * (s->sampled_surprise - s->settings.mirostat_tau);
    }
    s->has_sampled = false;
    return YL_OK;
}

void sampler_take_back(sampler *s, size_t n)
{
    assert(n <= SAMPLER_MAX_TAKE_BACK);
    for (size_t i = 0; i < n; i++) token_history_pop(&s->past);
    if (s->past.window && n) s->prepared = false;
}

/* ---- what to ask for ---- */

/* How many candidates, unless adjustments move some, are enough, or likely to be; 0: only all logits can prove anything. */
static uint32_t candidates_wanted(const sampler_settings *set, uint32_t n_vocab)
{
    if (chain_is_greedy(set)) return 1;
    bool at_temp_1 = set->temp == 1 && set->dynatemp_range == 0;
    if (set->mirostat) return set->mirostat == 1 || set->temp == 1 ? SAMPLER_MAX_TOP : 0;
    if (set->top_n_sigma > 0) return 0;
    if (set->top_k > 0 && set->top_k <= SAMPLER_MAX_TOP) return (uint32_t)set->top_k;
    bool whole = set->top_k <= 0 || (uint32_t)set->top_k >= n_vocab;
    if (set->typical_p < 1 || (!whole && set->top_p < 1)) return 0;
    if (set->top_p < 1 || set->min_p > 0) return SAMPLER_MAX_TOP;
    return whole && at_temp_1 && !xtc_is_on(set) ? SAMPLER_MAX_TOP : 0;
}

/* An adjusted token may fall out of the candidates, so each asks for one more. A candidate is 8 bytes where a logit of all is 4. */
sampler_request sampler_needs(sampler *s)
{
    const sampler_request all = {.all = true};
    uint32_t wanted = candidates_wanted(&s->settings, s->n_vocab);
    if (!wanted || !sampler_prepare(s) || s->n_adjustments > SAMPLER_MAX_LISTED) return all;
    size_t n_top = wanted + s->n_adjustments;
    if (n_top > SAMPLER_MAX_TOP) n_top = SAMPLER_MAX_TOP;
    if (2 * (n_top + s->n_adjustments) >= s->n_vocab) return all;
    return (sampler_request){.n_top = (uint32_t)n_top, .listed = s->listed, .n_listed = s->n_adjustments};
}

/* ---- sampling ---- */

static yl_status check_row(const sampler *s, const sampler_logits *l, yl_error *err)
{
    if (l->n_vocab != s->n_vocab) {
        return yl_fail(err, YL_EFORMAT, "logits are of a vocabulary of %u, the sampler's has %u", (unsigned)l->n_vocab,
                       (unsigned)s->n_vocab);
    }
    if (!(l->max >= -FLT_MAX && l->max <= FLT_MAX)) {
        return yl_fail(err, YL_EFORMAT, "the largest logit is %g, which is not a finite number", (double)l->max);
    }
    if (!(l->sum_exp >= 1 && l->sum_exp <= (float)l->n_vocab)) { /* the largest adds exp(0), no other adds more */
        return yl_fail(err, YL_EFORMAT, "the sum of exp(logit - largest) over %u logits is said to be %g", (unsigned)l->n_vocab,
                       (double)l->sum_exp);
    }
    return YL_OK;
}

/* From a ranking to the verdict, and what accept will want to know. */
static yl_status choose(sampler *s, const ranking *r, uint64_t index, choice *c, sampler_verdict *verdict, yl_error *err)
{
    *verdict = SAMPLER_MORE;
    if (!r->n) {
        if (!r->complete) return YL_OK;
        return yl_fail(err, YL_EINVAL, "no token is left to choose from: all %u are banned or have a logit of -inf",
                       (unsigned)s->n_vocab);
    }
    if (chain_is_greedy(&s->settings)) {
        *c = (choice){.token = top_logits_token(r->keys[0]), .probability = 1};
        *verdict = SAMPLER_ENOUGH;
    } else if (s->settings.mirostat ? mirostat_choose(s, r, index, c) : chain_choose(s, r, index, c)) {
        *verdict = SAMPLER_ENOUGH;
    }
    return YL_OK;
}

static yl_status sample_candidates(sampler *s, const sampler_logits *logits, uint64_t index, choice *c, sampler_verdict *verdict,
                                   yl_error *err)
{
    ranking r;
    bool enough;
    yl_status status = ranking_from_candidates(&r, s, logits, &enough, err);
    if (status) return status;
    *verdict = SAMPLER_MORE;
    return enough ? choose(s, &r, index, c, verdict, err) : YL_OK;
}

/* How many are likely to be enough. What asks for all logits mostly needs their sum, not their order. */
static uint32_t first_look(const sampler *s)
{
    const sampler_settings *set = &s->settings;
    size_t n = candidates_wanted(set, s->n_vocab);
    if (!n) n = set->top_k > 0 ? (size_t)set->top_k : set->typical_p < 1 && !set->mirostat ? s->n_vocab : SAMPLER_MAX_TOP;
    n += s->n_adjustments;
    return n < s->n_vocab ? (uint32_t)n : s->n_vocab;
}

static yl_status sample_row(sampler *s, const sampler_logits *logits, uint64_t index, choice *c, sampler_verdict *verdict,
                            yl_error *err)
{
    for (uint32_t n_top = first_look(s);; n_top = s->n_vocab) {
        ranking r;
        yl_status status = ranking_from_row(&r, s, logits, n_top, err);
        if (!status) status = choose(s, &r, index, c, verdict, err);
        if (status || *verdict == SAMPLER_ENOUGH) return status;
        assert(n_top < s->n_vocab);
    }
}

yl_status sampler_sample(sampler *s, const sampler_logits *logits, uint64_t index, int32_t *token, float *probability,
                         sampler_verdict *verdict, yl_error *err)
{
    yl_status status = check_row(s, logits, err);
    if (status) return status;
    if (!sampler_prepare(s)) return yl_fail(err, YL_ENOMEM, "no memory for the penalties of %zu tokens", s->past.n);
    choice c;
    status = logits->all ? sample_row(s, logits, index, &c, verdict, err) : sample_candidates(s, logits, index, &c, verdict, err);
    if (status || *verdict == SAMPLER_MORE) return status;
    *token = c.token;
    if (probability) *probability = (float)c.probability;
    s->has_sampled = true;
    s->sampled_token = c.token;
    s->sampled_surprise = s->settings.mirostat ? -yl_log(c.probability) / LN_2 : 0;
    return YL_OK;
}
