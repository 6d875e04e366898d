/* sampler_adjust.c: whose logit changes before candidates are compared, and to what.
 *
 * Three sources name tokens: logit_bias and banned (always the same), the penalties (what occurred in the window), DRY (what would
 * prolong a repetition). Their union, ascending, is the list that goes to the last stage: only for these tokens does the sampler
 * need a logit that may lie far down. The order of changes is llama.cpp's: bias, repetition, frequency and presence, DRY; all in
 * double, rounded to f32 once. */
#include "sampler_internal.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "numerics.h"
#include "radix_sort.h"

/* ---- what does not change ---- */

static uint64_t token_and_place(int32_t token, size_t place)
{
    return (uint64_t)(uint32_t)token << 32 | (uint32_t)place;
}

/* Adds one entry to the last of the list, or opens a new one behind it. Entries come by token. */
static void add_fixed(fixed_bias *fixed, size_t *n, int32_t token, double bias)
{
    if (!*n || fixed[*n - 1].token != token) fixed[(*n)++] = (fixed_bias){.token = token};
    if (bias == -INFINITY) {
        fixed[*n - 1].never = true;
    } else {
        fixed[*n - 1].bias += bias;
    }
}

bool fixed_biases_init(fixed_bias **out, size_t *n, const sampler_settings *set)
{
    *out = NULL;
    *n = 0;
    size_t n_all = set->n_logit_bias + set->n_banned;
    if (!n_all) return true;
    fixed_bias *fixed = malloc(n_all * sizeof *fixed);
    uint64_t *order = malloc(2 * n_all * sizeof *order);
    if (!fixed || !order) {
        free(fixed);
        free(order);
        return false;
    }
    for (size_t i = 0; i < set->n_logit_bias; i++) order[i] = token_and_place(set->logit_bias[i].token, i);
    for (size_t i = 0; i < set->n_banned; i++) {
        order[set->n_logit_bias + i] = token_and_place(set->banned[i], set->n_logit_bias + i);
    }
    radix_sort(order, order + n_all, n_all);
    for (size_t i = 0; i < n_all; i++) {
        size_t place = (uint32_t)order[i];
        double bias = place < set->n_logit_bias ? set->logit_bias[place].bias : -INFINITY;
        add_fixed(fixed, n, (int32_t)(order[i] >> 32), bias);
    }
    free(order);
    *out = fixed;
    return true;
}

/* ---- what the history says ---- */

static size_t find_repetitions(sampler *s)
{
    size_t n = s->past.n < s->dry_window ? s->past.n : s->dry_window;
    if (!n) return 0;
    return dry_find(s->past.tokens + (s->past.n - n), n, (uint32_t)s->settings.dry_allowed_length, &s->breakers, s->dry_z,
                    s->dry_hits.v, s->tmp.v);
}

/* Room for every token that the three sources can name, and for finding them. */
static bool reserve_for_prepare(sampler *s)
{
    size_t n_dry = s->past.n < s->dry_window ? s->past.n : s->dry_window;
    size_t n = s->n_fixed + s->past.counts.n_used + n_dry;
    if (n_dry > s->dry_z_capacity) {
        free(s->dry_z);
        s->dry_z_capacity = 0;
        s->dry_z = malloc(2 * n_dry * sizeof *s->dry_z);
        if (!s->dry_z) return false;
        s->dry_z_capacity = 2 * n_dry;
    }
    return key_buffer_reserve(&s->dry_hits, n_dry) && key_buffer_reserve(&s->ranked, n) && key_buffer_reserve(&s->tmp, n);
}

static bool reserve_adjustments(sampler *s, size_t n)
{
    if (n <= s->adjustments_capacity) return true;
    free(s->adjustments);
    free(s->listed);
    s->adjustments = malloc(2 * n * sizeof *s->adjustments);
    s->listed = malloc(2 * n * sizeof *s->listed);
    s->adjustments_capacity = s->adjustments && s->listed ? 2 * n : 0;
    return s->adjustments_capacity != 0;
}

/* All tokens that are named, ascending, each once; returns how many. out has room for all of them and for those named twice. */
static size_t collect_tokens(const sampler *s, size_t n_dry, uint64_t *out, uint64_t *tmp)
{
    size_t n = 0;
    const token_counts *c = &s->past.counts;
    for (size_t i = 0; i < s->n_fixed; i++) out[n++] = (uint32_t)s->fixed[i].token;
    for (size_t i = 0; i < n_dry; i++) out[n++] = (uint32_t)dry_hit_token(s->dry_hits.v[i]);
    if (c->n_used) {
        for (size_t i = 0; i < c->n_slots; i++) {
            if (c->counts[i]) out[n++] = (uint32_t)c->tokens[i];
        }
    }
    radix_sort(out, tmp, n);
    size_t n_unique = 0;
    for (size_t i = 0; i < n; i++) {
        if (!n_unique || out[i] != out[n_unique - 1]) out[n_unique++] = out[i];
    }
    return n_unique;
}

/* A power that would not fit f32 is cut there, as in llama.cpp. */
static double dry_penalty(const sampler_settings *set, uint32_t length)
{
    enum { LARGEST_EXPONENT = 88 };
    double exponent = (double)(length - (uint32_t)set->dry_allowed_length) * yl_log(set->dry_base);
    return set->dry_multiplier * yl_exp(exponent < LARGEST_EXPONENT ? exponent : LARGEST_EXPONENT);
}

static double count_penalty(const sampler_settings *set, uint32_t count)
{
    return count ? (double)count * set->frequency_penalty + set->presence_penalty : 0.0;
}

bool sampler_prepare(sampler *s)
{
    if (s->prepared) return true;
    if (!reserve_for_prepare(s)) return false;
    size_t n_dry = find_repetitions(s);
    uint64_t *tokens = s->ranked.v;
    size_t n = collect_tokens(s, n_dry, tokens, s->tmp.v);
    if (!reserve_adjustments(s, n)) return false;
    size_t fixed = 0, dry = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t token = (int32_t)tokens[i];
        uint32_t count = token_history_count(&s->past, token);
        adjustment a = {.token = token, .repeated = count > 0, .subtrahend = count_penalty(&s->settings, count)};
        if (fixed < s->n_fixed && s->fixed[fixed].token == token) {
            a.bias = s->fixed[fixed].bias;
            a.never = s->fixed[fixed++].never;
        }
        if (dry < n_dry && dry_hit_token(s->dry_hits.v[dry]) == token) {
            a.subtrahend += dry_penalty(&s->settings, dry_hit_length(s->dry_hits.v[dry++]));
        }
        s->adjustments[i] = a;
        s->listed[i] = token;
    }
    s->n_adjustments = n;
    s->prepared = true;
    return true;
}

/* ---- one logit ---- */

/* The repetition penalty divides what speaks for a token and multiplies what speaks against it, so that it always loses. */
static double penalised(double logit, double penalty)
{
    return logit > 0 ? logit / penalty : logit * penalty;
}

void adjustment_apply(adjustment *a, const sampler_settings *set, float raw)
{
    a->raw = raw;
    a->adjusted = -INFINITY;
    if (a->never || raw == -INFINITY) return;
    double logit = (double)raw + a->bias;
    if (a->repeated) logit = penalised(logit, set->repeat_penalty);
    logit -= a->subtrahend;
    if (logit < -(double)FLT_MAX) return;
    a->adjusted = logit > FLT_MAX ? FLT_MAX : (float)logit;
}
