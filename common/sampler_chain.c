/* sampler_chain.c: the cutting samplers, one behind the other, and the draw.
 *
 * Each sampler keeps a prefix of the candidates (XTC drops a prefix, typical-p keeps some in between), so it can work on as much of
 * the order as is known, as long as it finds its cut there. It returns false where it would have to see more. Two flags tell what
 * the set is: `partial`, candidates follow that we do not know; `whole`, nothing has been cut so far. Whether a set is whole
 * depends on settings alone, never on how much is known: that is what lets few logits and all logits take the same steps.
 *
 * Samplers' sources: top-k Fan et al. 2018 (arXiv:1805.04833), top-p Holtzman et al. 2020 (1904.09751), typical-p Meister et al.
 * 2023 (2202.00666), min-p Nguyen et al. 2024 (2407.01082), top-n-sigma Tang et al. 2024 (2411.07641), XTC by p-e-w
 * (text-generation-webui pull request 6335); each in the form that llama.cpp gives it. */
#include "sampler_internal.h"

#include <string.h>

#include "numerics.h"
#include "radix_sort.h"
#include "top_logits.h"

static double logit_of(uint64_t key)
{
    return top_logits_logit(key);
}

double candidate_weight(uint64_t key, uint64_t first, double temp)
{
    return yl_exp((logit_of(key) - logit_of(first)) / temp);
}

double candidates_sum(const candidates *c, double temp)
{
    double sum = 0;
    for (size_t i = 0; i < c->n; i++) sum += candidate_weight(c->keys[i], c->keys[0], temp);
    return sum;
}

/* Keeps the first n. */
static void cut(candidates *c, size_t n)
{
    c->n = n;
    c->partial = false;
    c->whole = false;
}

/* The sum of all weights at temperature 1, relative to the first. */
static bool mass_of(const candidates *c, const ranking *r, double *mass)
{
    if (c->whole) return ranking_mass(r, 1.0, mass);
    *mass = candidates_sum(c, 1.0);
    return !c->partial;
}

/* ---- samplers ---- */

/* Not more than n standard deviations of all logits below the first. */
static bool cut_top_n_sigma(candidates *c, const ranking *r, double n_sigma)
{
    double distance_squared;
    if (!ranking_sigma_distance(r, n_sigma, &distance_squared)) return false;
    c->whole = false;
    for (size_t i = 1; i < c->n; i++) {
        double distance = logit_of(c->keys[0]) - logit_of(c->keys[i]);
        if (distance * distance > distance_squared) {
            cut(c, i);
            break;
        }
    }
    return true;
}

/* The k first. If fewer are known, a later sampler may still find its cut among them. */
static void cut_top_k(candidates *c, size_t k)
{
    c->whole = false;
    if (c->n >= k) cut(c, k);
}

/* Those whose surprise is closest to the expected surprise (the entropy), until they make up p. Ties: the likelier one. */
static bool cut_typical(candidates *c, sampler *s)
{
    if (c->partial) return false;
    uint64_t *order = s->by_token.v, first = c->keys[0];
    double total = candidates_sum(c, 1.0), log_total = yl_log(total), entropy = 0;
    for (size_t i = 0; i < c->n; i++) {
        double log_p = logit_of(c->keys[i]) - logit_of(first) - log_total;
        entropy -= yl_exp(log_p) * log_p;
    }
    for (size_t i = 0; i < c->n; i++) {
        double difference = entropy + (logit_of(c->keys[i]) - logit_of(first) - log_total);
        float score = (float)(difference < 0 ? -difference : difference);
        uint32_t bits; /* of a float that is not negative: ascending as the float */
        memcpy(&bits, &score, sizeof bits);
        order[i] = (uint64_t)bits << 32 | (uint32_t)i;
    }
    radix_sort(order, s->tmp.v, c->n);
    double sum = 0;
    size_t kept = 0;
    while (kept < c->n && !(kept >= s->settings.min_keep && sum > s->settings.typical_p * total)) {
        sum += candidate_weight(c->keys[(uint32_t)order[kept++]], first, 1.0);
    }
    for (size_t i = 0; i < kept; i++) s->chosen.v[i] = c->keys[(uint32_t)order[i]];
    radix_sort(s->chosen.v, s->tmp.v, kept);
    c->keys = s->chosen.v;
    cut(c, kept);
    return true;
}

/* The likeliest that together make up at least p. */
static bool cut_top_p(candidates *c, const ranking *r, double p, size_t min_keep)
{
    double mass, sum = 0;
    if (!mass_of(c, r, &mass)) return false;
    c->whole = false;
    for (size_t i = 0; i < c->n; i++) {
        sum += candidate_weight(c->keys[i], c->keys[0], 1.0);
        if (sum >= p * mass && i + 1 >= min_keep) {
            cut(c, i + 1);
            break;
        }
    }
    return !c->partial;
}

/* Those at least p times as likely as the first. */
static void cut_min_p(candidates *c, double p, size_t min_keep)
{
    double least = logit_of(c->keys[0]) + yl_log(p);
    c->whole = false;
    for (size_t i = 1; i < c->n; i++) {
        if (logit_of(c->keys[i]) < least && i >= min_keep) {
            cut(c, i);
            break;
        }
    }
}

/* "Exclude top choices": with some probability, of those that are each likely enough only the least likely stays. */
static bool cut_xtc(candidates *c, const ranking *r, const sampler_settings *set, uint64_t index)
{
    if (c->n < 2) return !c->partial;
    if (sampler_uniform(set->seed, index, DRAW_XTC) >= set->xtc_probability) return true;
    double mass;
    if (!mass_of(c, r, &mass)) return false;
    size_t n_likely = 0;
    while (n_likely < c->n && candidate_weight(c->keys[n_likely], c->keys[0], 1.0) >= set->xtc_threshold * mass) n_likely++;
    if (n_likely == c->n && c->partial) return false;
    if (n_likely < 2) return true;
    size_t n_dropped = n_likely - 1;
    if (c->n - n_dropped < set->min_keep) return !c->partial;
    c->keys += n_dropped;
    c->n -= n_dropped;
    c->whole = false;
    return true;
}

/* Temperature between temp - range and temp + range, the higher the closer the entropy is to its maximum, as seen at temperature 1.
 */
static double dynamic_temperature(const candidates *c, const sampler_settings *set)
{
    double low = (double)set->temp - set->dynatemp_range, high = (double)set->temp + set->dynatemp_range;
    if (low < 0) low = 0;
    double total = candidates_sum(c, 1.0), log_total = yl_log(total), entropy = 0;
    for (size_t i = 0; i < c->n; i++) {
        double log_p = logit_of(c->keys[i]) - logit_of(c->keys[0]) - log_total;
        entropy -= yl_exp(log_p) * log_p;
    }
    double share = entropy / yl_log((double)c->n);
    if (share > 1) share = 1;
    double power = set->dynatemp_exponent == 0 ? 1 : share > 0 ? yl_pow(share, set->dynatemp_exponent) : 0;
    return low + (high - low) * power;
}

/* ---- the draw ---- */

bool candidates_draw(const uint64_t *keys, size_t n, double temp, double total, double u, choice *out, double *reached)
{
    double sum = 0, target = u * total;
    for (size_t i = 0; i < n; i++) {
        double weight = candidate_weight(keys[i], keys[0], temp);
        sum += weight;
        if (sum > target) {
            *out = (choice){.token = top_logits_token(keys[i]), .probability = weight / total};
            return true;
        }
    }
    *reached = sum;
    return false;
}

/* The row's mass was added up in another order and with fewer bits than the candidates' own sum, so that a draw at its very end may
 * find no candidate. It is then repeated within what the sum of all of them reached, which always finds one. */
static bool draw(const candidates *c, const ranking *r, double temp, double u, choice *out)
{
    double total = 0, reached;
    if (c->whole) {
        if (!ranking_mass(r, temp, &total)) return false;
    } else {
        if (c->partial) return false;
        total = candidates_sum(c, temp);
    }
    if (candidates_draw(c->keys, c->n, temp, total, u, out, &reached)) return true;
    if (c->partial) return false;
    return candidates_draw(c->keys, c->n, temp, reached, u, out, &reached);
}

/* ---- the chain ---- */

bool xtc_is_on(const sampler_settings *set)
{
    return set->xtc_probability > 0 && set->xtc_threshold <= 0.5f;
}

/* Typical-p and XTC are the only ones that may drop the first. */
bool chain_is_greedy(const sampler_settings *set)
{
    return set->temp <= 0 && (set->mirostat || (set->typical_p >= 1 && !xtc_is_on(set)));
}

static bool cut_all(candidates *c, sampler *s, const ranking *r, uint64_t index)
{
    const sampler_settings *set = &s->settings;
    if (set->top_n_sigma > 0 && !cut_top_n_sigma(c, r, set->top_n_sigma)) return false;
    if (set->top_k > 0 && (uint32_t)set->top_k < s->n_vocab) cut_top_k(c, (size_t)set->top_k);
    if (set->typical_p < 1 && !cut_typical(c, s)) return false;
    if (set->top_p < 1 && !cut_top_p(c, r, set->top_p, set->min_keep)) return false;
    if (set->min_p > 0) cut_min_p(c, set->min_p, set->min_keep);
    return !xtc_is_on(set) || cut_xtc(c, r, set, index);
}

bool chain_choose(sampler *s, const ranking *r, uint64_t index, choice *out)
{
    const sampler_settings *set = &s->settings;
    candidates c = {.keys = r->keys, .n = r->n, .partial = !r->complete, .whole = true};
    if (!cut_all(&c, s, r, index)) return false;
    double temp = set->temp;
    if (temp > 0 && set->dynatemp_range > 0) {
        if (c.partial) return false;
        c.whole = false;
        if (c.n > 1) temp = dynamic_temperature(&c, set);
    }
    if (temp <= 0) {
        *out = (choice){.token = top_logits_token(c.keys[0]), .probability = 1};
        return true;
    }
    return draw(&c, r, temp, sampler_uniform(set->seed, index, DRAW_TOKEN), out);
}
