/* test_sampler_reference.c: random rows, settings and histories, against the slow reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "logit_rows.h"
#include "random_settings.h"
#include "sampler_reference.h"

enum { MOST_VOCAB = 3000, MOST_HISTORY = 300, N_CTX = 256 };

static uint32_t random_vocab(prng *r)
{
    const uint32_t sizes[] = {1, 2, 7, 50, 300, MOST_VOCAB};
    return sizes[prng_int(r, 0, 6)];
}

/* The sum as near as f32 comes: the reference adds up in double, and where ties are many a cut at p of the sum is a matter of the
 * last bits. */
static void describe_exactly(sampler_logits *l, const float *row, uint32_t n_vocab)
{
    describe_row(l, row, n_vocab);
    double sum = 0;
    for (uint32_t i = 0; i < n_vocab; i++) sum += exp((double)row[i] - l->max);
    l->sum_exp = (float)sum;
}

/* The reference's mu follows what it sampled itself. */
static double moved_mu(double mu, const sampler_settings *s, double probability)
{
    return mu - s->mirostat_eta * (-log2(probability) - s->mirostat_tau);
}

static void every_combination_of_settings_gives_what_the_reference_gives(void **state)
{
    (void)state;
    static float row[MOST_VOCAB];
    int32_t history[MOST_HISTORY + 4];
    for (int round = 0; round < 3000; round++) {
        prng r = prng_stream(3, (uint64_t)round, 0);
        uint32_t n_vocab = random_vocab(&r);
        random_settings set;
        make_settings(&set, n_vocab, &r);
        size_t n = (size_t)prng_int(&r, 0, MOST_HISTORY);
        make_history(history, n, n_vocab, &r);
        sampler *s;
        assert_int_equal(sampler_new(&s, &set.s, n_vocab, N_CTX, NULL), YL_OK);
        for (size_t i = 0; i < n; i++) assert_int_equal(sampler_accept(s, history[i], false, NULL), YL_OK);
        double mu = 2 * (double)set.s.mirostat_tau;
        for (int step = 0; step < 3; step++) {
            make_row(row, n_vocab, (row_shape)prng_int(&r, 0, N_ROW_SHAPES), &r);
            reference_input in = {&set.s, n_vocab, N_CTX, history, n, mu, row, (uint64_t)step};
            double expected_p = 0;
            int32_t token = -1, expected = reference_sample(&in, &expected_p);
            float p = 0;
            sampler_verdict verdict;
            sampler_logits l;
            describe_exactly(&l, row, n_vocab);
            yl_status status = sampler_sample(s, &l, (uint64_t)step, &token, &p, &verdict, NULL);
            if (expected < 0) {
                assert_int_equal(status, YL_EINVAL);
                continue;
            }
            assert_int_equal(status, YL_OK);
            assert_int_equal(verdict, SAMPLER_ENOUGH);
            if (token != expected || fabs(p - expected_p) > 1e-5 * expected_p + 1e-30) {
                fail_msg("round %d step %d: token %d of %.9g, the reference has %d of %.9g", round, step, token, p, expected,
                         expected_p);
            }
            assert_int_equal(sampler_accept(s, token, true, NULL), YL_OK);
            history[n++] = token;
            mu = moved_mu(mu, &set.s, expected_p);
        }
        sampler_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_combination_of_settings_gives_what_the_reference_gives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
