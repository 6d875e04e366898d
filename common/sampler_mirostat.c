/* sampler_mirostat.c: cutting so that the text's surprise stays near a target (Basu et al. 2021, arXiv:2007.14966).
 *
 * mu is the largest surprise, in bits, that a token may have; it falls when what was sampled surprised more than tau and rises when
 * it surprised less. Version 2 cuts by that directly. Version 1 takes the tokens for Zipf distributed, estimates the exponent s
 * from the likeliest 100, and computes how many tokens k stay below mu. The estimate needs ratios of neighbours' probabilities
 * only, differences of logits, so version 1 is provable from few candidates at any temperature; version 2 compares with the sum
 * over all, which at other temperatures than 1 only the whole row tells. */
#include "sampler_internal.h"

#include "numerics.h"
#include "top_logits.h"

enum { N_ESTIMATE = 100 }; /* m in llama.cpp */

static const double LN_2 = 0.69314718055994531;

/* Least squares through the origin: ln(p_i / p_i+1) against ln((i + 2) / (i + 1)). */
static double estimate_exponent(const uint64_t *keys, size_t n, double temp)
{
    double sum_tb = 0, sum_tt = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        double t = yl_log((double)(i + 2) / (double)(i + 1));
        double b = ((double)top_logits_logit(keys[i]) - top_logits_logit(keys[i + 1])) / temp;
        sum_tb += t * b;
        sum_tt += t * t;
    }
    return sum_tb / sum_tt;
}

/* k = ((e * 2^mu) / (1 - n_vocab^-e))^(1/s) with e = s - 1, as logarithms; e = 0 is the limit 2^mu / ln(n_vocab). At least 1. */
static size_t tokens_below(double mu, double s, uint32_t n_vocab)
{
    double log_n = yl_log(n_vocab), e = s - 1;
    double ratio = e > -1e-9 && e < 1e-9 ? 1 / log_n : e / (1 - yl_exp(-e * log_n));
    double log_base = yl_log(ratio) + mu * LN_2;
    if (log_base <= 0) return 1;
    if (log_base >= s * log_n) return n_vocab; /* s may be 0: all logits the same */
    size_t k = (size_t)yl_exp(log_base / s);
    return k > 1 ? k : 1;
}

static bool cut_by_estimate(candidates *c, const sampler *s)
{
    if (c->n < N_ESTIMATE && c->partial) return false;
    if (c->n == 1) return true;
    size_t n = c->n < N_ESTIMATE ? c->n : N_ESTIMATE;
    size_t k = tokens_below(s->mu, estimate_exponent(c->keys, n, s->settings.temp), s->n_vocab);
    if (k > c->n) return !c->partial;
    c->n = k;
    c->partial = false;
    return true;
}

/* Surprise above mu: p < 2^-mu. The first stays in any case. */
static bool cut_by_surprise(candidates *c, const sampler *s, const ranking *r)
{
    double mass, temp = s->settings.temp;
    if (!ranking_mass(r, temp, &mass)) return false;
    double least = mass * yl_exp(-s->mu * LN_2);
    size_t n = 1;
    while (n < c->n && candidate_weight(c->keys[n], c->keys[0], temp) >= least) n++;
    if (n == c->n) return !c->partial;
    c->n = n;
    c->partial = false;
    return true;
}

bool mirostat_choose(const sampler *s, const ranking *r, uint64_t index, choice *out)
{
    candidates c = {.keys = r->keys, .n = r->n, .partial = !r->complete, .whole = true};
    bool proven = s->settings.mirostat == 1 ? cut_by_estimate(&c, s) : cut_by_surprise(&c, s, r);
    if (!proven) return false;
    double temp = s->settings.temp, reached;
    double u = sampler_uniform(s->settings.seed, index, DRAW_TOKEN);
    return candidates_draw(c.keys, c.n, temp, candidates_sum(&c, temp), u, out, &reached);
}
