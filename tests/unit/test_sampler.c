/* test_sampler.c: each sampler by hand-worked numbers, the state, and what is refused.
 *
 * A sampler is seen from outside: which tokens come up over many indices, how often, and what probability is told with them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "logit_rows.h"
#include "numerics.h"
#include "sampler_internal.h"

enum { N_DRAWS = 4000, MOST_TOKENS = 16, N_CTX = 64 };

/* Probabilities to be met, in percent, by token: 0 means never. */
typedef struct outcome {
    double percent[MOST_TOKENS];
} outcome;

/* Nothing is cut or changed, temperature 1. */
static sampler_settings neutral(void)
{
    sampler_settings s = sampler_default_settings();
    s.temp = 1;
    s.top_k = 0;
    s.top_p = 1;
    s.min_p = 0;
    return s;
}

static sampler *new_sampler(const sampler_settings *set, uint32_t n_vocab)
{
    sampler *s;
    yl_error err = {0};
    if (sampler_new(&s, set, n_vocab, N_CTX, &err)) fail_msg("%s", err.msg);
    return s;
}

static void accept_all(sampler *s, const int32_t *tokens, size_t n)
{
    for (size_t i = 0; i < n; i++) assert_int_equal(sampler_accept(s, tokens[i], false, NULL), YL_OK);
}

/* A row whose softmax is percent / 100, shifted somewhere. */
static void row_of(float *row, const double *percent, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) row[i] = percent[i] > 0 ? (float)(log(percent[i] / 100) + 5) : -INFINITY;
}

/* Draws N_DRAWS times; every token must come as often as expected (within 5 standard deviations) and be told with that probability.
 */
static void assert_outcome(sampler *s, const float *row, uint32_t n_vocab, outcome expected)
{
    size_t seen[MOST_TOKENS] = {0};
    sampler_logits l;
    describe_row(&l, row, n_vocab);
    for (uint64_t index = 0; index < N_DRAWS; index++) {
        int32_t token;
        float p;
        sampler_verdict verdict;
        assert_int_equal(sampler_sample(s, &l, index, &token, &p, &verdict, NULL), YL_OK);
        seen[token]++;
        if (fabs(p * 100 - expected.percent[token]) > 0.001) {
            fail_msg("token %d is told to have %.5g %%, expected %.5g %%", (int)token, p * 100, expected.percent[token]);
        }
    }
    for (uint32_t i = 0; i < n_vocab; i++) {
        double p = expected.percent[i] / 100, deviation = sqrt(N_DRAWS * p * (1 - p));
        if (fabs((double)seen[i] - N_DRAWS * p) > 5 * deviation) fail_msg("token %u came %zu times, p = %g", i, seen[i], p);
    }
}

/* One sampler's settings, the row's percentages, what is left of them. */
static void assert_cut(sampler_settings set, uint32_t n_vocab, outcome row_percent, outcome expected)
{
    float row[MOST_TOKENS];
    row_of(row, row_percent.percent, n_vocab);
    sampler *s = new_sampler(&set, n_vocab);
    assert_outcome(s, row, n_vocab, expected);
    sampler_free(s);
}

static int32_t sample_one(sampler *s, const float *row, uint32_t n_vocab, uint64_t index)
{
    sampler_logits l;
    int32_t token;
    sampler_verdict verdict;
    describe_row(&l, row, n_vocab);
    assert_int_equal(sampler_sample(s, &l, index, &token, NULL, &verdict, NULL), YL_OK);
    return token;
}

static const outcome HALVES = {{40, 30, 20, 10}};

/* ---- random numbers ---- */

/* The vectors of Random123's kat_vectors for philox4x32 with 10 rounds. */
static void philox_gives_its_known_answers(void **state)
{
    (void)state;
    const struct {
        uint32_t counter[4], key[2], expected[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < 3; i++) {
        uint32_t out[4];
        philox(vectors[i].counter, vectors[i].key, out);
        assert_memory_equal(out, vectors[i].expected, sizeof out);
    }
}

static void uniform_numbers_depend_on_seed_index_and_draw(void **state)
{
    (void)state;
    double mean = 0;
    for (uint64_t i = 0; i < 10000; i++) {
        double u = sampler_uniform(1, i, 0);
        assert_true(u >= 0 && u < 1);
        mean += u / 10000;
    }
    assert_true(fabs(mean - 0.5) < 0.015);
    double u = sampler_uniform(1, 2, 3);
    assert_true(u == sampler_uniform(1, 2, 3));
    assert_true(u != sampler_uniform(2, 2, 3) && u != sampler_uniform(1, 3, 3) && u != sampler_uniform(1, 2, 4));
    assert_true(u != sampler_uniform(1 + (1ull << 32), 2, 3) && u != sampler_uniform(1, 2 + (1ull << 32), 3));
    assert_true(sampler_uniform(0, 0, 0) == (double)(0x6627e8d5e169c58d >> 11) * 0x1p-53);
}

/* ---- cutting ---- */

static void nothing_set_samples_the_softmax(void **state)
{
    (void)state;
    assert_cut(neutral(), 4, HALVES, HALVES);
}

static void temperature_sharpens_and_flattens(void **state)
{
    (void)state;
    sampler_settings set = neutral();
    set.temp = 0.5f; /* squares: 16 9 4 1 of 30 */
    assert_cut(set, 4, HALVES, (outcome){{1600 / 30.0, 900 / 30.0, 400 / 30.0, 100 / 30.0}});
    set.temp = 2; /* roots: 8 : 4 : 2 of 14 */
    assert_cut(set, 3, (outcome){{6400 / 84.0, 1600 / 84.0, 400 / 84.0}}, (outcome){{800 / 14.0, 400 / 14.0, 200 / 14.0}});
}

static void top_k_keeps_k(void **state)
{
    (void)state;
    sampler_settings set = neutral();
    set.top_k = 2;
    assert_cut(set, 4, HALVES, (outcome){{400 / 7.0, 300 / 7.0}});
    set.top_k = 4;
    assert_cut(set, 4, HALVES, HALVES);
    set.top_k = 1;
    assert_cut(set, 4, HALVES, (outcome){{100}});
}

static void of_equals_the_lower_id_is_first(void **state)
{
    (void)state;
    sampler_settings set = neutral();
    set.top_k = 2;
    assert_cut(set, 5, (outcome){{20, 20, 20, 20, 20}}, (outcome){{50, 50}});
    assert_cut(set, 4, (outcome){{10, 30, 30, 30}}, (outcome){{0, 50, 50}});
    set.temp = 0;
    assert_cut(set, 4, (outcome){{10, 30, 30, 30}}, (outcome){{0, 100}});
    float zeros[2] = {-0.0f, 0.0f};
    sampler *s = new_sampler(&set, 2);
    assert_int_equal(sample_one(s, zeros, 2, 0), 0);
    sampler_free(s);
}

static void top_p_keeps_the_likeliest_that_reach_p(void **state)
{
    (void)state;
    sampler_settings set = neutral();
    set.top_p = 0.65f;
    assert_cut(set, 4, HALVES, (outcome){{400 / 7.0, 300 / 7.0}});
    set.top_p = 0.75f;
    assert_cut(set, 4, HALVES, (outcome){{400 / 9.0, 300 / 9.0, 200 / 9.0}});
    set.top_p = 0;
    assert_cut(set, 4, HALVES, (outcome){{100}});
    set.min_keep = 2;
    assert_cut(set, 4, HALVES, (outcome){{400 / 7.0, 300 / 7.0}});
}

/* After top-k the sums are over what it left: 40 of 70 is more than 0.5. */
static void top_p_counts_what_top_k_left(void **state)
{
    (void)state;
    sampler_settings set = neutral();
    set.top_k = 2;
    set.top_p = 0.5f;
    assert_cut(set, 4, HALVES, (outcome){{100}});
}

static void min_p_is_relative_to_the_likeliest(void **state)
{
    (void)state;
    sampler_settings set = neutral();
    set.min_p = 0.7f; /* at least 28 */
    assert_cut(set, 4, HALVES, (outcome){{400 / 7.0, 300 / 7.0}});
    set.min_p = 0.3f;
    assert_cut(set, 4, HALVES, (outcome){{400 / 9.0, 300 / 9.0, 200 / 9.0}});
    set.min_p = 1;
    assert_cut(set, 4, HALVES, (outcome){{100}});
    set.min_keep = 3;
    assert_cut(set, 4, HALVES, (outcome){{400 / 9.0, 300 / 9.0, 200 / 9.0}});
}

/* Entropy 1.168 nats; surprises 0.693, 1.386, 2.303, 2.526: the second is nearest (0.218), then the first (0.475). */
static void typical_p_prefers_the_expected_surprise(void **state)
{
    (void)state;
    const outcome row = {{50, 25, 10, 8, 7}};
    sampler_settings set = neutral();
    set.typical_p = 0.2f;
    assert_cut(set, 5, row, (outcome){{0, 100}});
    set.typical_p = 0.3f;
    assert_cut(set, 5, row, (outcome){{200 / 3.0, 100 / 3.0}});
    set.typical_p = 0.2f;
    set.min_keep = 2;
    assert_cut(set, 5, row, (outcome){{200 / 3.0, 100 / 3.0}});
    set.min_keep = 0;
    set.temp = 0; /* greedy among what is left */
    assert_cut(set, 5, row, (outcome){{0, 100}});
}

/* Logits 3, 2, 1, 0 (and never): mean 1.5, variance 1.25, deviation 1.118. */
static void top_n_sigma_counts_deviations_below_the_largest(void **state)
{
    (void)state;
    const float row[] = {1, 3, 0, 2, -INFINITY};
    const double e = exp(-1), ee = exp(-2);
    sampler_settings set = neutral();
    set.top_n_sigma = 0.8f;
    sampler *s = new_sampler(&set, 5);
    assert_outcome(s, row, 5, (outcome){{0, 100}});
    sampler_free(s);
    set.top_n_sigma = 1; /* above 1.882 */
    s = new_sampler(&set, 5);
    assert_outcome(s, row, 5, (outcome){{0, 100 / (1 + e), 0, 100 * e / (1 + e)}});
    sampler_free(s);
    set.top_n_sigma = 1.8f; /* above 0.987 */
    s = new_sampler(&set, 5);
    assert_outcome(s, row, 5, (outcome){{100 * ee / (1 + e + ee), 100 / (1 + e + ee), 0, 100 * e / (1 + e + ee)}});
    sampler_free(s);
}

static void xtc_leaves_the_least_likely_of_the_likely(void **state)
{
    (void)state;
    sampler_settings set = neutral();
    set.xtc_probability = 1;
    set.xtc_threshold = 0.15f; /* 40 30 20 are likely: 20 stays */
    assert_cut(set, 4, HALVES, (outcome){{0, 0, 200 / 3.0, 100 / 3.0}});
    set.xtc_threshold = 0.35f; /* one likely: nothing happens */
    assert_cut(set, 4, HALVES, HALVES);
    set.xtc_threshold = 0.15f;
    set.min_keep = 3;
    assert_cut(set, 4, HALVES, HALVES);
}

/* With probability 1/2 the draws mix two outcomes; the probability that is told says which it was. */
static void xtc_happens_with_its_probability(void **state)
{
    (void)state;
    sampler_settings set = neutral();
    set.xtc_probability = 0.5f;
    set.xtc_threshold = 0.15f;
    float row[4];
    row_of(row, HALVES.percent, 4);
    sampler *s = new_sampler(&set, 4);
    sampler_logits l;
    describe_row(&l, row, 4);
    size_t n_dropped = 0;
    for (uint64_t index = 0; index < N_DRAWS; index++) {
        int32_t token;
        float p;
        sampler_verdict verdict;
        assert_int_equal(sampler_sample(s, &l, index, &token, &p, &verdict, NULL), YL_OK);
        bool dropped = fabs(p - (4 - token) / 10.0) > 0.001;
        if (dropped) assert_true(token >= 2);
        n_dropped += dropped;
    }
    assert_in_range(n_dropped, N_DRAWS / 2 - 160, N_DRAWS / 2 + 160);
    sampler_free(s);
}

/* Two equal candidates: entropy is as large as it can be, temperature too. One holds all: the lowest. */
static void dynamic_temperature_follows_the_entropy(void **state)
{
    (void)state;
    sampler_settings set = neutral();
    set.dynatemp_range = 0.5f;
    assert_cut(set, 2, (outcome){{50, 50}}, (outcome){{50, 50}});
    const double h = -(0.8 * log(0.8) + 0.2 * log(0.2)) / log(2), temp = 0.5 + 1.0 * h * h, w = pow(0.25, 1 / temp);
    set.dynatemp_exponent = 2;
    assert_cut(set, 2, (outcome){{80, 20}}, (outcome){{100 / (1 + w), 100 * w / (1 + w)}});
    set.temp = 0; /* greedy whatever the range */
    assert_cut(set, 2, (outcome){{80, 20}}, (outcome){{100}});
}

/* ---- bias, bans, penalties ---- */

static void bias_and_bans_change_logits_first(void **state)
{
    (void)state;
    const sampler_logit_bias bias[] = {{2, 0.5f}, {3, -INFINITY}, {2, (float)0.19314718}, {3, 9}}; /* token 2: ln 2 in two parts */
    const int32_t banned[] = {0, 0};
    sampler_settings set = neutral();
    set.logit_bias = bias;
    set.n_logit_bias = 4;
    assert_cut(set, 4, HALVES, (outcome){{400 / 11.0, 300 / 11.0, 400 / 11.0}});
    set.banned = banned;
    set.n_banned = 2;
    assert_cut(set, 4, HALVES, (outcome){{0, 300 / 7.0, 400 / 7.0}});
    set.temp = 0;
    assert_cut(set, 4, HALVES, (outcome){{0, 0, 100}});
}

/* Logits 2, -1, 1: after a penalty of 2 they are 1, -2; the tokens occurred twice and once. */
static void penalties_count_what_the_window_holds(void **state)
{
    (void)state;
    const float row[] = {2, -1, 1};
    const int32_t history[] = {2, 2, 0, 0, 1};
    sampler_settings set = neutral();
    set.repeat_penalty = 2;
    set.frequency_penalty = 0.25f;
    set.presence_penalty = 0.5f;
    set.repeat_last_n = 3;
    const double a = exp(2 / 2.0 - 0.5 - 0.5), b = exp(-1 * 2.0 - 0.25 - 0.5), c = exp(1), sum = a + b + c;
    sampler *s = new_sampler(&set, 3);
    accept_all(s, history, 5);
    assert_outcome(s, row, 3, (outcome){{100 * a / sum, 100 * b / sum, 100 * c / sum}});
    sampler_free(s);
}

static void windows_of_nothing_and_of_the_whole_context(void **state)
{
    (void)state;
    const float row[] = {1, 0.9f};
    const int32_t history[] = {0, 0};
    sampler_settings set = neutral();
    set.temp = 0;
    set.presence_penalty = 1;
    const struct {
        int32_t last_n;
        size_t since; /* other tokens after the first */
        int32_t expected;
    } cases[] = {{0, 0, 0}, {-1, N_CTX - 2, 1}, {-1, N_CTX, 0}, {INT32_MAX, N_CTX, 0}, {3, 1, 1}, {3, 3, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        set.repeat_last_n = cases[i].last_n;
        sampler *s = new_sampler(&set, 3);
        accept_all(s, history, 2);
        for (size_t j = 0; j < cases[i].since; j++) assert_int_equal(sampler_accept(s, 2, false, NULL), YL_OK);
        const float three[] = {row[0], row[1], -5};
        assert_int_equal(sample_one(s, three, 3, 0), cases[i].expected);
        sampler_free(s);
    }
}

/* ---- DRY ---- */

/* The penalty of each token that dry_find names, by a hand-worked history. */
static void assert_repetitions(const int32_t *history, size_t n, uint32_t allowed, const dry_breakers *b, const uint32_t *expected,
                               size_t n_tokens)
{
    uint32_t z[32];
    uint64_t hits[32], tmp[32];
    uint32_t found[MOST_TOKENS] = {0};
    size_t n_hits = dry_find(history, n, allowed, b, z, hits, tmp);
    for (size_t i = 0; i < n_hits; i++) {
        if (i) assert_true(dry_hit_token(hits[i]) > dry_hit_token(hits[i - 1]));
        found[dry_hit_token(hits[i])] = dry_hit_length(hits[i]);
    }
    assert_memory_equal(found, expected, n_tokens * sizeof *found);
}

static void dry_finds_the_longest_repetition_of_each_token(void **state)
{
    (void)state;
    const dry_breakers none = {0};
    /* a b c d a b e b c a b: "a b" was followed by c and e, "b" by c too */
    const int32_t text[] = {0, 1, 2, 3, 0, 1, 4, 1, 2, 0, 1};
    assert_repetitions(text, 11, 1, &none, (uint32_t[]){0, 0, 2, 0, 2}, 5);
    assert_repetitions(text, 11, 2, &none, (uint32_t[]){0, 0, 2, 0, 2}, 5);
    assert_repetitions(text, 11, 3, &none, (uint32_t[]){0, 0, 0, 0, 0}, 5);
    const int32_t same[] = {5, 5, 5, 5, 5};
    assert_repetitions(same, 5, 2, &none, (uint32_t[]){0, 0, 0, 0, 0, 4}, 6);
    assert_repetitions(same, 2, 2, &none, (uint32_t[]){0, 0, 0, 0, 0, 0}, 6);
    assert_repetitions(same, 0, 0, &none, (uint32_t[]){0}, 1);
}

static void dry_repetitions_end_at_breakers(void **state)
{
    (void)state;
    const int32_t one[] = {2}, two[] = {0, 1}, *sequences[] = {one, two};
    const size_t lens[] = {1, 2};
    dry_breakers b;
    /* 0 1 2 3 4 5 | 0 1 2 3 4: all five are repeated, but only 3 4 since the breaker 2 */
    const int32_t text[] = {0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4};
    assert_true(dry_breakers_init(&b, sequences, lens, 1));
    assert_repetitions(text, 11, 2, &b, (uint32_t[]){0, 0, 0, 0, 0, 2}, 6);
    assert_repetitions(text, 11, 3, &b, (uint32_t[]){0, 0, 0, 0, 0, 0}, 6);
    assert_repetitions(text, 8, 2, &b, (uint32_t[]){0, 0, 0, 0, 0, 0},
                       6); /* 0 1 again: 2 would follow, and it is a breaker itself */
    dry_breakers_free(&b);
    assert_true(dry_breakers_init(&b, sequences + 1, lens + 1, 1)); /* 0 1 as a sequence */
    assert_repetitions(text, 11, 2, &b, (uint32_t[]){0, 0, 0, 0, 0, 3}, 6);
    assert_repetitions(text, 7, 1, &b, (uint32_t[]){0, 1, 0, 0, 0, 0}, 6); /* half a breaker is none */
    dry_breakers_free(&b);
    assert_true(dry_breakers_init(&b, sequences, lens, 2)); /* the one that ends last counts */
    assert_repetitions(text, 11, 2, &b, (uint32_t[]){0, 0, 0, 0, 0, 2}, 6);
    dry_breakers_free(&b);
}

/* multiplier * base^(length - allowed): 0.5 * 2^(3 - 2) = 1 off the logit of what would go on. */
static void dry_punishes_by_length(void **state)
{
    (void)state;
    const int32_t history[] = {0, 1, 2, 3, 0, 1, 2};
    float row[4];
    row_of(row, (double[]){25, 25, 25, 25}, 4);
    sampler_settings set = neutral();
    set.dry_multiplier = 0.5f;
    set.dry_base = 2;
    const double w = exp(-1), sum = 3 + w;
    sampler *s = new_sampler(&set, 4);
    accept_all(s, history, 7);
    assert_outcome(s, row, 4, (outcome){{100 / sum, 100 / sum, 100 / sum, 100 * w / sum}});
    sampler_free(s);
    set.dry_penalty_last_n = 3;
    s = new_sampler(&set, 4);
    accept_all(s, history, 7);
    assert_outcome(s, row, 4, (outcome){{25, 25, 25, 25}});
    sampler_free(s);
}

/* ---- mirostat ---- */

/* mu starts at 2 tau. Version 2, tau 1: surprises up to 2 bits stay, 40 and 30 percent (1.3 and 1.7 bits). */
static void mirostat_2_cuts_by_surprise_and_learns(void **state)
{
    (void)state;
    sampler_settings set = neutral();
    set.mirostat = 2;
    set.mirostat_tau = 1;
    set.mirostat_eta = 0.5f;
    float row[4];
    row_of(row, HALVES.percent, 4);
    sampler *s = new_sampler(&set, 4);
    assert_outcome(s, row, 4, (outcome){{400 / 7.0, 300 / 7.0}});
    int32_t token = sample_one(s, row, 4, 0);
    double surprise = -log2(token == 0 ? 4 / 7.0 : 3 / 7.0);
    assert_int_equal(sampler_accept(s, token, true, NULL), YL_OK);
    assert_true(fabs(s->mu - (2 - 0.5 * (surprise - 1))) < 1e-6);
    double mu = s->mu;
    assert_int_equal(sampler_accept(s, token, true, NULL), YL_OK); /* sampled by somebody else */
    token = sample_one(s, row, 4, 1);
    assert_int_equal(sampler_accept(s, token, false, NULL), YL_OK);
    token = sample_one(s, row, 4, 2);
    assert_int_equal(sampler_accept(s, 1 - token, true, NULL), YL_OK);
    assert_true(s->mu == mu);
    s->mu = -3; /* nothing is that unsurprising: the first stays */
    assert_outcome(s, row, 4, (outcome){{100}});
    sampler_reset(s);
    assert_true(s->mu == 2);
    sampler_free(s);
}

/* A Zipf row with exponent 2 is estimated exactly: e = 1, k = sqrt(2^mu / (1 - 1/16)); mu = 4 gives 4.13. */
static void mirostat_1_estimates_zipf(void **state)
{
    (void)state;
    float row[16];
    double sum4 = 1 + 1 / 4.0 + 1 / 9.0 + 1 / 16.0;
    outcome expected = {{0}};
    for (int i = 0; i < 16; i++) row[i] = (float)(-2 * log(i + 1.0));
    for (int i = 0; i < 4; i++) expected.percent[i] = 100 / (sum4 * (i + 1) * (i + 1));
    sampler_settings set = neutral();
    set.mirostat = 1;
    set.mirostat_tau = 2;
    sampler *s = new_sampler(&set, 16);
    assert_outcome(s, row, 16, expected);
    s->mu = 100; /* all */
    double sum = 0;
    for (int i = 0; i < 16; i++) sum += 1 / ((i + 1.0) * (i + 1.0));
    for (int i = 0; i < 16; i++) expected.percent[i] = 100 / (sum * (i + 1) * (i + 1));
    assert_outcome(s, row, 16, expected);
    s->mu = -100;
    assert_outcome(s, row, 16, (outcome){{100}});
    sampler_free(s);
}

static void mirostat_1_survives_rows_without_slope(void **state)
{
    (void)state;
    float row[16] = {0};
    sampler_settings set = neutral();
    set.mirostat = 1;
    for (uint32_t n = 1; n <= 16; n++) {
        for (float tau = 0; tau < 3; tau += 0.5f) {
            set.mirostat_tau = tau;
            sampler *s = new_sampler(&set, n);
            assert_in_range(sample_one(s, row, n, 3), 0, n - 1);
            sampler_free(s);
        }
    }
    for (int i = 0; i < 16; i++) row[i] = (float)-log(i + 1.0); /* exponent 1: e = 0 */
    sampler *s = new_sampler(&set, 16);
    assert_in_range(sample_one(s, row, 16, 3), 0, 15);
    sampler_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_its_known_answers),
        cmocka_unit_test(uniform_numbers_depend_on_seed_index_and_draw),
        cmocka_unit_test(nothing_set_samples_the_softmax),
        cmocka_unit_test(temperature_sharpens_and_flattens),
        cmocka_unit_test(top_k_keeps_k),
        cmocka_unit_test(of_equals_the_lower_id_is_first),
        cmocka_unit_test(top_p_keeps_the_likeliest_that_reach_p),
        cmocka_unit_test(top_p_counts_what_top_k_left),
        cmocka_unit_test(min_p_is_relative_to_the_likeliest),
        cmocka_unit_test(typical_p_prefers_the_expected_surprise),
        cmocka_unit_test(top_n_sigma_counts_deviations_below_the_largest),
        cmocka_unit_test(xtc_leaves_the_least_likely_of_the_likely),
        cmocka_unit_test(xtc_happens_with_its_probability),
        cmocka_unit_test(dynamic_temperature_follows_the_entropy),
        cmocka_unit_test(bias_and_bans_change_logits_first),
        cmocka_unit_test(penalties_count_what_the_window_holds),
        cmocka_unit_test(windows_of_nothing_and_of_the_whole_context),
        cmocka_unit_test(dry_finds_the_longest_repetition_of_each_token),
        cmocka_unit_test(dry_repetitions_end_at_breakers),
        cmocka_unit_test(dry_punishes_by_length),
        cmocka_unit_test(mirostat_2_cuts_by_surprise_and_learns),
        cmocka_unit_test(mirostat_1_estimates_zipf),
        cmocka_unit_test(mirostat_1_survives_rows_without_slope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
