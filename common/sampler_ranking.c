/* sampler_ranking.c: from the logits that came to candidates whose order is proven.
 *
 * The last stage sends the largest logits before adjustment, we want the largest after it. Let L be the last of the n_top that
 * came. Every token that did not come and is not listed comes after L, and keeps its logit. So of all that is known (the top and
 * the listed, after adjustment) those before L, or L itself, stand where they would stand among all; what fell behind L may have
 * unknown ones before it and is left out. Of n_top candidates at least n_top - n_listed are proven so.
 *
 * All logits go the same way: the largest n_top of them are picked, the listed are looked up, and the rest of the code cannot tell
 * which way they came. That is why the answers are the same bits.
 *
 * The mass, to normalise where nothing has been cut, is of that kind too: the row's sum_exp with the listed tokens' old weights
 * taken out and their new ones put in. If that leaves little of the sum (the likeliest token was banned), rounding would be most
 * of what is left; then the mass is added up from the row itself, with or without which the same rule decides so. */
#include "sampler_internal.h"

#include <float.h>
#include <math.h>

#include "numerics.h"
#include "radix_sort.h"
#include "top_logits.h"

static bool is_never(uint64_t key)
{
    return top_logits_logit(key) == -INFINITY;
}

static bool reserve_ranking(sampler *s, size_t n_top)
{
    size_t n = n_top + 2 * s->n_adjustments;
    size_t n_chosen = s->settings.typical_p < 1.0f ? n : 0;
    return key_buffer_reserve(&s->top, n_top) && key_buffer_reserve(&s->by_token, n) && key_buffer_reserve(&s->ranked, n) &&
           key_buffer_reserve(&s->tmp, n) && key_buffer_reserve(&s->chosen, n_chosen);
}

/* ---- merging ---- */

/* The keys of adjusted tokens, sorted: before adjustment, and after it but for the nevers. before, after: [n_adjustments] */
static size_t adjusted_keys(const sampler *s, uint64_t *before, uint64_t *after)
{
    size_t n_after = 0;
    for (size_t i = 0; i < s->n_adjustments; i++) {
        const adjustment *a = &s->adjustments[i];
        before[i] = top_logits_key(a->raw, a->token);
        if (a->adjusted != -INFINITY) after[n_after++] = top_logits_key(a->adjusted, a->token);
    }
    radix_sort(before, s->tmp.v, s->n_adjustments);
    radix_sort(after, s->tmp.v, n_after);
    return n_after;
}

/* Wants s->top and the adjustments' values. The top without what was adjusted, merged with what became of it. */
static void rank(ranking *r, sampler *s, const sampler_logits *logits, size_t n_top)
{
    uint64_t last = s->top.v[n_top - 1], *before = s->by_token.v, *after = before + s->n_adjustments, *out = s->ranked.v;
    size_t n_after = adjusted_keys(s, before, after), n = 0, next_before = 0, next_after = 0;
    bool complete = n_top == s->n_vocab || is_never(last);
    for (size_t i = 0; i < n_top && !is_never(s->top.v[i]); i++) {
        uint64_t key = s->top.v[i];
        while (next_after < n_after && after[next_after] < key) out[n++] = after[next_after++];
        if (next_before < s->n_adjustments && before[next_before] == key) {
            next_before++;
        } else {
            out[n++] = key;
        }
    }
    while (next_after < n_after && (complete || after[next_after] <= last)) out[n++] = after[next_after++];
    *r = (ranking){.keys = out,
                   .n = n,
                   .complete = complete,
                   .adjustments = s->adjustments,
                   .n_adjustments = s->n_adjustments,
                   .row = logits->all,
                   .n_vocab = s->n_vocab,
                   .max = logits->max,
                   .sum_exp = logits->sum_exp};
}

/* ---- from all logits ---- */

yl_status ranking_from_row(ranking *r, sampler *s, const sampler_logits *logits, uint32_t n_top, yl_error *err)
{
    if (!reserve_ranking(s, n_top)) return yl_fail(err, YL_ENOMEM, "no memory for %u candidates", (unsigned)n_top);
    yl_status status = top_logits_select(s->top.v, n_top, logits->all, s->n_vocab, logits->max, s->tmp.v, err);
    if (status) return status;
    for (size_t i = 0; i < s->n_adjustments; i++) {
        adjustment_apply(&s->adjustments[i], &s->settings, logits->all[s->adjustments[i].token]);
    }
    rank(r, s, logits, n_top);
    return YL_OK;
}

/* ---- from candidates ---- */

static yl_status check_candidate(const sampler_candidate *c, const sampler *s, const sampler_logits *logits, yl_error *err)
{
    if (c->token < 0 || (uint32_t)c->token >= s->n_vocab) {
        return yl_fail(err, YL_EFORMAT, "a candidate is token %d, the vocabulary has %u", (int)c->token, (unsigned)s->n_vocab);
    }
    if (c->logit <= logits->max) return YL_OK;
    return yl_fail(err, YL_EFORMAT, "the logit of token %d is %g, but the largest of the row is said to be %g", (int)c->token,
                   (double)c->logit, (double)logits->max);
}

/* by_token sorts keys by id and keeps where each stands in the top. */
static void index_by_token(sampler *s, size_t n_top)
{
    for (size_t i = 0; i < n_top; i++) s->by_token.v[i] = (uint64_t)(uint32_t)top_logits_token(s->top.v[i]) << 32 | (uint32_t)i;
    radix_sort(s->by_token.v, s->tmp.v, n_top);
}

/* Fills s->top and s->by_token. */
static yl_status take_top(sampler *s, const sampler_logits *logits, yl_error *err)
{
    const sampler_candidate *c = logits->top;
    for (size_t i = 0; i < logits->n_top; i++) {
        yl_status status = check_candidate(&c[i], s, logits, err);
        if (status) return status;
        s->top.v[i] = top_logits_key(c[i].logit, c[i].token);
        if (i && s->top.v[i - 1] >= s->top.v[i]) {
            return yl_fail(err, YL_EFORMAT, "candidates %zu and %zu (tokens %d and %d) are not in order", i - 1, i,
                           (int)c[i - 1].token, (int)c[i].token);
        }
    }
    if (c[0].logit != logits->max) {
        return yl_fail(err, YL_EFORMAT, "the first candidate's logit is %g, but the largest of the row is said to be %g",
                       (double)c[0].logit, (double)logits->max);
    }
    index_by_token(s, logits->n_top);
    for (size_t i = 1; i < logits->n_top; i++) {
        if (s->by_token.v[i - 1] >> 32 != s->by_token.v[i] >> 32) continue;
        return yl_fail(err, YL_EFORMAT, "token %d is a candidate twice", (int)(s->by_token.v[i] >> 32));
    }
    return YL_OK;
}

/* A listed token is in the top with this logit, or it comes after the last of the top. */
static yl_status check_listed(const sampler *s, const sampler_logits *logits, yl_error *err)
{
    uint64_t last = s->top.v[logits->n_top - 1];
    size_t place = 0;
    for (size_t i = 0; i < logits->n_listed; i++) {
        const sampler_candidate *c = &logits->listed[i];
        yl_status status = check_candidate(c, s, logits, err);
        if (status) return status;
        if (i && c[-1].token >= c->token) {
            return yl_fail(err, YL_EFORMAT, "listed tokens %d and %d are not ascending", (int)c[-1].token, (int)c->token);
        }
        uint64_t key = top_logits_key(c->logit, c->token);
        while (place < logits->n_top && (int32_t)(s->by_token.v[place] >> 32) < c->token) place++;
        bool in_top = place < logits->n_top && (int32_t)(s->by_token.v[place] >> 32) == c->token;
        if (in_top ? s->top.v[(uint32_t)s->by_token.v[place]] != key : key < last) {
            return yl_fail(err, YL_EFORMAT, "listed token %d has a logit of %g, which contradicts the candidates", (int)c->token,
                           (double)c->logit);
        }
    }
    return YL_OK;
}

/* Gives every adjustment the logit that was listed, or that it has in the top. false: one is missing. */
static bool apply_adjustments(sampler *s, const sampler_logits *logits)
{
    size_t place = 0, list = 0;
    for (size_t i = 0; i < s->n_adjustments; i++) {
        adjustment *a = &s->adjustments[i];
        while (place < logits->n_top && (int32_t)(s->by_token.v[place] >> 32) < a->token) place++;
        while (list < logits->n_listed && logits->listed[list].token < a->token) list++;
        if (list < logits->n_listed && logits->listed[list].token == a->token) {
            adjustment_apply(a, &s->settings, logits->listed[list].logit);
        } else if (place < logits->n_top && (int32_t)(s->by_token.v[place] >> 32) == a->token) {
            adjustment_apply(a, &s->settings, top_logits_logit(s->top.v[(uint32_t)s->by_token.v[place]]));
        } else {
            return false;
        }
    }
    return true;
}

yl_status ranking_from_candidates(ranking *r, sampler *s, const sampler_logits *logits, bool *enough, yl_error *err)
{
    if (!logits->n_top || logits->n_top > s->n_vocab || logits->n_listed > s->n_vocab) {
        return yl_fail(err, YL_EFORMAT, "%zu candidates and %zu listed tokens of a vocabulary of %u", logits->n_top,
                       logits->n_listed, (unsigned)s->n_vocab);
    }
    if (!reserve_ranking(s, logits->n_top)) return yl_fail(err, YL_ENOMEM, "no memory for %zu candidates", logits->n_top);
    yl_status status = take_top(s, logits, err);
    if (!status) status = check_listed(s, logits, err);
    if (status) return status;
    *enough = apply_adjustments(s, logits);
    if (*enough) rank(r, s, logits, logits->n_top);
    return YL_OK;
}

/* ---- what only the whole row tells ---- */

/* The adjusted logit of token i, for a walk over the row by ascending i. */
static float walk(const ranking *r, uint32_t i, size_t *next)
{
    if (*next == r->n_adjustments || (uint32_t)r->adjustments[*next].token != i) return r->row[i];
    return r->adjustments[(*next)++].adjusted;
}

static double row_mass(const ranking *r, double temp)
{
    double first = top_logits_logit(r->keys[0]), sum = 0;
    size_t next = 0;
    for (uint32_t i = 0; i < r->n_vocab; i++) sum += yl_exp((walk(r, i, &next) - first) / temp);
    return sum;
}

/* A sixteenth: at most four bits of the f32 sum are lost. */
static bool adjusted_mass(const ranking *r, double *mass)
{
    double first = top_logits_logit(r->keys[0]);
    double before = r->sum_exp * yl_exp(r->max - first), change = 0;
    for (size_t i = 0; i < r->n_adjustments; i++) {
        change += yl_exp(r->adjustments[i].adjusted - first) - yl_exp(r->adjustments[i].raw - first);
    }
    *mass = before + change;
    return *mass >= before / 16 && *mass <= DBL_MAX;
}

bool ranking_mass(const ranking *r, double temp, double *mass)
{
    if (temp == 1.0 && adjusted_mass(r, mass)) return true;
    if (!r->row) return false;
    *mass = row_mass(r, temp);
    return true;
}

bool ranking_sigma_distance(const ranking *r, double n_sigma, double *distance_squared)
{
    if (!r->row) return false;
    double sum = 0, squares = 0;
    size_t n = 0, next = 0;
    for (uint32_t i = 0; i < r->n_vocab; i++) {
        float logit = walk(r, i, &next);
        if (logit == -INFINITY) continue;
        sum += logit;
        n++;
    }
    double mean = sum / (double)n;
    next = 0;
    for (uint32_t i = 0; i < r->n_vocab; i++) {
        float logit = walk(r, i, &next);
        if (logit != -INFINITY) squares += (logit - mean) * (logit - mean);
    }
    *distance_squared = n_sigma * n_sigma * (squares / (double)n);
    return true;
}
