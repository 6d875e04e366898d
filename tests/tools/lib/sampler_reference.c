/* sampler_reference.c: see the header. */
#include "sampler_reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sampler_internal.h" /* sampler_uniform */

typedef struct entry {
    int32_t token;
    float logit;
    double p;
} entry;

typedef struct pool {
    entry *e;
    size_t n;
} pool;

static int by_logit(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->token < y->token ? -1 : 1;
}

static void softmax(pool *c, double temp)
{
    double sum = 0;
    for (size_t i = 0; i < c->n; i++) sum += c->e[i].p = exp(((double)c->e[i].logit - c->e[0].logit) / temp);
    for (size_t i = 0; i < c->n; i++) c->e[i].p /= sum;
}

static double entropy_of(const pool *c)
{
    double h = 0;
    for (size_t i = 0; i < c->n; i++) h -= c->e[i].p > 0 ? c->e[i].p * log(c->e[i].p) : 0;
    return h;
}

/* ---- changes of single logits ---- */

static double bias_of(const sampler_settings *s, int32_t token)
{
    double bias = 0;
    for (size_t i = 0; i < s->n_logit_bias; i++) bias += s->logit_bias[i].token == token ? s->logit_bias[i].bias : 0;
    for (size_t i = 0; i < s->n_banned; i++) {
        if (s->banned[i] == token) return -INFINITY;
    }
    return bias;
}

static size_t window(int32_t n, const reference_input *in)
{
    size_t w = n < 0 || (uint32_t)n > in->n_ctx ? in->n_ctx : (size_t)n;
    return w < in->n_history ? w : in->n_history;
}

static bool ends_with(const int32_t *text, size_t n, const int32_t *end, size_t len)
{
    return len <= n && !memcmp(text + n - len, end, len * sizeof *end);
}

/* The longest repetition that `token` would prolong; -1: none of the allowed length. */
static long repetition_before(const reference_input *in, int32_t token)
{
    const sampler_settings *s = in->settings;
    size_t n = window(s->dry_penalty_last_n, in), limit = 0;
    const int32_t *text = in->history + in->n_history - n;
    for (bool ended = false; limit < n && !ended;) {
        for (size_t b = 0; b < s->n_dry_breakers; b++)
            ended |= ends_with(text, n - limit, s->dry_breakers[b], s->dry_breaker_lens[b]);
        if (!ended) limit++;
    }
    for (size_t b = 0; b < s->n_dry_breakers; b++) {
        if (s->dry_breaker_lens[b] == 1 && s->dry_breakers[b][0] == token) return -1;
    }
    long longest = -1;
    for (size_t next = 1; next < n; next++) { /* text[next] is what followed an earlier end */
        if (text[next] != token) continue;
        size_t len = 0;
        while (len < next && len < limit && text[next - 1 - len] == text[n - 1 - len]) len++;
        if (len >= (size_t)s->dry_allowed_length && (long)len > longest) longest = (long)len;
    }
    if (n <= (size_t)s->dry_allowed_length) return -1;
    return longest;
}

static float adjusted(const reference_input *in, int32_t token)
{
    const sampler_settings *s = in->settings;
    double logit = in->row[token] + bias_of(s, token);
    size_t n = window(s->repeat_last_n, in), count = 0;
    for (size_t i = in->n_history - n; i < in->n_history; i++) count += in->history[i] == token;
    if (count) logit = logit > 0 ? logit / s->repeat_penalty : logit * s->repeat_penalty;
    double minus = count ? count * (double)s->frequency_penalty + s->presence_penalty : 0;
    if (s->dry_multiplier > 0) {
        long length = repetition_before(in, token);
        if (length >= 0) minus += s->dry_multiplier * fmin(pow(s->dry_base, (double)(length - s->dry_allowed_length)), exp(88));
    }
    return (float)(logit - minus);
}

/* ---- cutting ---- */

static void keep_top_n_sigma(pool *c, double n)
{
    double mean = 0, variance = 0;
    for (size_t i = 0; i < c->n; i++) mean += (double)c->e[i].logit / c->n;
    for (size_t i = 0; i < c->n; i++) variance += pow(c->e[i].logit - mean, 2) / c->n;
    size_t kept = 0;
    while (kept < c->n && c->e[kept].logit >= c->e[0].logit - n * sqrt(variance)) kept++;
    if (c->n > 1) c->n = kept;
}

typedef struct scored {
    float score;
    size_t place;
} scored;

static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? -1 : 1;
    return x->place < y->place ? -1 : 1;
}

static void keep_typical(pool *c, const sampler_settings *s)
{
    softmax(c, 1);
    scored *order = malloc(c->n * sizeof *order);
    entry *kept = malloc(c->n * sizeof *kept);
    double sum = 0, h = entropy_of(c);
    for (size_t i = 0; i < c->n; i++) order[i] = (scored){(float)fabs(-log(c->e[i].p) - h), i};
    qsort(order, c->n, sizeof *order, by_score);
    size_t n = 0;
    do {
        kept[n] = c->e[order[n].place];
        sum += kept[n++].p;
    } while (n < c->n && (sum <= s->typical_p || n < s->min_keep));
    memcpy(c->e, kept, n * sizeof *kept);
    c->n = n;
    qsort(c->e, c->n, sizeof *c->e, by_logit);
    free(order);
    free(kept);
}

static void keep_top_p(pool *c, double p, size_t min_keep)
{
    softmax(c, 1);
    double sum = 0;
    for (size_t i = 0; i < c->n; i++) {
        sum += c->e[i].p;
        if (sum >= p && i + 1 >= min_keep) c->n = i + 1;
    }
}

static void keep_min_p(pool *c, double p, size_t min_keep)
{
    softmax(c, 1);
    size_t n = 1;
    while (n < c->n && (c->e[n].p >= p * c->e[0].p || n < min_keep)) n++;
    c->n = n;
}

static void drop_top_choices(pool *c, const sampler_settings *s, uint64_t index)
{
    if (c->n < 2 || sampler_uniform(s->seed, index, DRAW_XTC) >= s->xtc_probability) return;
    softmax(c, 1);
    size_t likely = 0;
    while (likely < c->n && c->e[likely].p >= s->xtc_threshold) likely++;
    if (likely < 2 || c->n - (likely - 1) < s->min_keep) return;
    memmove(c->e, c->e + likely - 1, (c->n - (likely - 1)) * sizeof *c->e);
    c->n -= likely - 1;
}

static double dynamic_temp(pool *c, const sampler_settings *s)
{
    if (s->temp <= 0 || s->dynatemp_range <= 0 || c->n < 2) return s->temp;
    softmax(c, 1);
    double low = fmax(0, (double)s->temp - s->dynatemp_range), high = (double)s->temp + s->dynatemp_range;
    return low + (high - low) * pow(fmin(1, entropy_of(c) / log((double)c->n)), s->dynatemp_exponent);
}

static void keep_mirostat_1(pool *c, const reference_input *in)
{
    softmax(c, in->settings->temp);
    double tb = 0, tt = 0;
    for (size_t i = 0; i + 1 < c->n && i < 99; i++) {
        double t = log((i + 2.0) / (i + 1.0));
        tb += t * ((double)c->e[i].logit - c->e[i + 1].logit) / in->settings->temp;
        tt += t * t;
    }
    if (c->n < 2) return;
    double s = tb / tt, e = s - 1;
    double k = pow(e * pow(2, in->mu) / (1 - pow(in->n_vocab, -e)), 1 / s);
    if (k < c->n) c->n = k < 1 ? 1 : (size_t)k;
}

static void keep_mirostat_2(pool *c, const reference_input *in)
{
    softmax(c, in->settings->temp);
    size_t n = 1;
    while (n < c->n && -log2(c->e[n].p) <= in->mu) n++;
    c->n = n;
}

static double cut_all(pool *c, const reference_input *in)
{
    const sampler_settings *s = in->settings;
    if (s->mirostat) {
        if (s->temp <= 0) return s->temp;
        if (s->mirostat == 1) keep_mirostat_1(c, in);
        if (s->mirostat == 2) keep_mirostat_2(c, in);
        return s->temp;
    }
    if (s->top_n_sigma > 0) keep_top_n_sigma(c, s->top_n_sigma);
    if (s->top_k > 0 && (size_t)s->top_k < c->n) c->n = (size_t)s->top_k;
    if (s->typical_p < 1) keep_typical(c, s);
    if (s->top_p < 1) keep_top_p(c, s->top_p, s->min_keep);
    if (s->min_p > 0) keep_min_p(c, s->min_p, s->min_keep);
    if (s->xtc_probability > 0 && s->xtc_threshold <= 0.5f) drop_top_choices(c, s, in->index);
    return dynamic_temp(c, s);
}

int32_t reference_sample(const reference_input *in, double *probability)
{
    pool c = {.e = malloc(in->n_vocab * sizeof *c.e)};
    for (uint32_t i = 0; i < in->n_vocab; i++) {
        float logit = adjusted(in, (int32_t)i);
        if (logit != -INFINITY) c.e[c.n++] = (entry){.token = (int32_t)i, .logit = logit};
    }
    int32_t token = -1;
    if (c.n) {
        qsort(c.e, c.n, sizeof *c.e, by_logit);
        double temp = cut_all(&c, in), u = sampler_uniform(in->settings->seed, in->index, DRAW_TOKEN), sum = 0;
        if (temp <= 0) c.n = 1;
        softmax(&c, temp <= 0 ? 1 : temp);
        size_t i = 0;
        while (i + 1 < c.n && (sum += c.e[i].p) <= u) i++;
        token = c.e[i].token;
        *probability = c.e[i].p;
    }
    free(c.e);
    return token;
}
