/* logit_rows.c: see the header. */
#include "logit_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "numerics.h"

/* Close to a normal distribution, of variance 1: the sum of twelve uniform numbers. */
static double bell(prng *r)
{
    double sum = -6;
    for (int i = 0; i < 12; i++) sum += prng_f32(r);
    return sum;
}

static void shuffle(float *row, uint32_t n, prng *r)
{
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = prng_int(r, 0, (int)i);
        float swap = row[i - 1];
        row[i - 1] = row[j];
        row[j] = swap;
    }
}

void make_row(float *row, uint32_t n_vocab, row_shape shape, prng *r)
{
    double s = 1 + 1.5 * prng_f32(r);
    for (uint32_t i = 0; i < n_vocab; i++) {
        switch (shape) {
        case ROW_NORMAL: row[i] = (float)(2.5 * bell(r)); break;
        case ROW_PEAKED: row[i] = (float)(2 * bell(r) + (prng_int(r, 0, (int)n_vocab) < 3 ? 15 : 0)); break;
        case ROW_FLAT: row[i] = (float)(0.01 * bell(r)); break;
        case ROW_TIES: row[i] = (float)prng_int(r, 0, 5) - 2; break;
        case ROW_ZIPF: row[i] = (float)(15 - s * yl_log(i + 1.0) + 0.3 * bell(r)); break;
        default: row[i] = prng_int(r, 0, 3) ? -INFINITY : (float)(3 * bell(r)); break;
        }
        if (row[i] == 0 && prng_int(r, 0, 2)) row[i] = -0.0f;
    }
    shuffle(row, n_vocab, r);
    if (shape == ROW_NEVERS) row[prng_int(r, 0, (int)n_vocab)] = 1;
}

void describe_row(sampler_logits *l, const float *row, uint32_t n_vocab)
{
    float p[YL_SUM_PARTIALS] = {0};
    *l = (sampler_logits){.n_vocab = n_vocab, .all = row, .max = row[0]};
    for (uint32_t i = 1; i < n_vocab; i++) l->max = row[i] > l->max ? row[i] : l->max;
    for (uint32_t i = 0; i < n_vocab; i++) p[i % YL_SUM_PARTIALS] += yl_expf(row[i] - l->max);
    l->sum_exp = yl_sum_partials(p);
}

static int by_candidate(const void *a, const void *b)
{
    const sampler_candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->token < y->token ? -1 : x->token > y->token;
}

void answer_request(sampler_logits *l, const float *row, uint32_t n_vocab, const sampler_request *request, sampler_candidate *top,
                    sampler_candidate *listed)
{
    describe_row(l, row, n_vocab);
    l->all = NULL;
    sampler_candidate *all = malloc(n_vocab * sizeof *all);
    for (uint32_t i = 0; i < n_vocab; i++) all[i] = (sampler_candidate){.token = (int32_t)i, .logit = row[i]};
    qsort(all, n_vocab, sizeof *all, by_candidate);
    memcpy(top, all, request->n_top * sizeof *top);
    free(all);
    for (size_t i = 0; i < request->n_listed; i++) {
        listed[i] = (sampler_candidate){.token = request->listed[i], .logit = row[request->listed[i]]};
    }
    l->top = top;
    l->n_top = request->n_top;
    l->listed = listed;
    l->n_listed = request->n_listed;
}
