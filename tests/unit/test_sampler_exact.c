/* test_sampler_exact.c: what candidates prove is what all logits give, bit for bit.
 *
 * Each row is sampled from all logits, from exactly what sampler_needs asked for, and from other numbers of candidates. Where the
 * verdict is ENOUGH, token and probability must have the same bits. Prints how often it was not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "logit_rows.h"
#include "random_settings.h"

enum { MOST_VOCAB = 40000, MOST_HISTORY = 200, N_CTX = 256 };

static float row[MOST_VOCAB];
static sampler_candidate top[MOST_VOCAB], listed[MOST_VOCAB];

typedef struct sampled {
    yl_status status;
    sampler_verdict verdict;
    int32_t token;
    float probability;
} sampled;

static sampled sample(sampler *s, const sampler_logits *l, uint64_t index)
{
    sampled out = {.token = -1, .probability = -1};
    out.status = sampler_sample(s, l, index, &out.token, &out.probability, &out.verdict, NULL);
    return out;
}

static void assert_same(sampled from_few, sampled from_all, int round, size_t n_top)
{
    if (from_few.status == from_all.status && from_few.token == from_all.token &&
        !memcmp(&from_few.probability, &from_all.probability, sizeof(float))) {
        return;
    }
    fail_msg("round %d, %zu candidates: token %d of %a, from all %d of %a", round, n_top, from_few.token, from_few.probability,
             from_all.token, from_all.probability);
}

/* Returns whether n_top candidates were enough. */
static bool try_candidates(sampler *s, uint32_t n_vocab, const sampler_request *request, uint64_t index, sampled from_all,
                           int round)
{
    sampler_logits l;
    answer_request(&l, row, n_vocab, request, top, listed);
    sampled from_few = sample(s, &l, index);
    if (from_few.status == YL_OK && from_few.verdict == SAMPLER_MORE) {
        assert_int_equal(from_few.token, -1);
        return false;
    }
    assert_same(from_few, from_all, round, request->n_top);
    return true;
}

/* What must be listed, also where the sampler would ask for all logits: a greedy sampler of a large vocabulary asks for it. */
static size_t tokens_needed(const random_settings *set, const int32_t *history, size_t n, int32_t *out)
{
    sampler_settings greedy = set->s;
    greedy.temp = 0;
    greedy.typical_p = 1;
    greedy.xtc_probability = 0;
    sampler *s;
    assert_int_equal(sampler_new(&s, &greedy, SAMPLER_MAX_VOCAB, N_CTX, NULL), YL_OK);
    for (size_t i = 0; i < n; i++) assert_int_equal(sampler_accept(s, history[i], false, NULL), YL_OK);
    sampler_request request = sampler_needs(s);
    assert_false(request.all);
    if (request.n_listed) memcpy(out, request.listed, request.n_listed * sizeof *out);
    size_t n_listed = request.n_listed;
    sampler_free(s);
    return n_listed;
}

static void candidates_never_disagree_with_all_logits(void **state)
{
    (void)state;
    const uint32_t sizes[] = {1, 3, 30, 200, 3000, MOST_VOCAB};
    size_t n_asked = 0, n_more = 0, n_all = 0, n_tries = 0, n_enough = 0;
    for (int round = 0; round < 2500; round++) {
        prng r = prng_stream(4, (uint64_t)round, 0);
        uint32_t n_vocab = sizes[prng_int(&r, 0, round % 20 ? 5 : 6)];
        random_settings set;
        make_settings(&set, n_vocab, &r);
        int32_t history[MOST_HISTORY], needed[MOST_HISTORY + RANDOM_MAX_BIAS + RANDOM_MAX_BANNED];
        size_t n = (size_t)prng_int(&r, 0, MOST_HISTORY);
        make_history(history, n, n_vocab, &r);
        sampler *s;
        assert_int_equal(sampler_new(&s, &set.s, n_vocab, N_CTX, NULL), YL_OK);
        for (size_t i = 0; i < n; i++) assert_int_equal(sampler_accept(s, history[i], false, NULL), YL_OK);
        make_row(row, n_vocab, (row_shape)prng_int(&r, 0, N_ROW_SHAPES), &r);
        sampler_logits all;
        describe_row(&all, row, n_vocab);
        uint64_t index = prng_u64(&r);
        sampled from_all = sample(s, &all, index);
        assert_int_equal(from_all.status ? SAMPLER_ENOUGH : from_all.verdict, SAMPLER_ENOUGH);
        assert_same(sample(s, &all, index), from_all, round, 0); /* twice is the same */

        sampler_request request = sampler_needs(s);
        assert_true(request.n_top <= SAMPLER_MAX_TOP && request.n_top <= n_vocab);
        n_all += request.all;
        if (!request.all) {
            n_asked++;
            n_more += !try_candidates(s, n_vocab, &request, index, from_all, round);
        }
        size_t n_needed = tokens_needed(&set, history, n, needed);
        for (int i = 0; i < 5; i++) {
            uint32_t n_top = i == 0 ? n_vocab : 1 + (uint32_t)prng_int(&r, 0, i < 3 && n_vocab > 50 ? 50 : (int)n_vocab);
            sampler_request other = {.n_top = n_top, .listed = needed, .n_listed = n_needed};
            n_tries++;
            n_enough += try_candidates(s, n_vocab, &other, index, from_all, round);
        }
        sampler_free(s);
    }
    printf("%zu requests for candidates (%zu answers were not enough), %zu for all; %zu other numbers of candidates, %zu enough\n",
           n_asked, n_more, n_all, n_tries, n_enough);
    assert_true(n_asked > 500 && n_enough > n_tries / 4 && n_enough < n_tries);
}

/* Where top-k cuts, the request is always enough, whatever penalties do. */
static void top_k_never_asks_again(void **state)
{
    (void)state;
    const uint32_t n_vocab = 3000;
    for (int round = 0; round < 500; round++) {
        prng r = prng_stream(5, (uint64_t)round, 0);
        random_settings set;
        make_settings(&set, n_vocab, &r);
        set.s.top_k = 1 + prng_int(&r, 0, 200);
        set.s.top_n_sigma = 0;
        set.s.mirostat = 0;
        int32_t history[MOST_HISTORY];
        make_history(history, MOST_HISTORY, n_vocab, &r);
        sampler *s;
        assert_int_equal(sampler_new(&s, &set.s, n_vocab, N_CTX, NULL), YL_OK);
        for (size_t i = 0; i < MOST_HISTORY; i++) assert_int_equal(sampler_accept(s, history[i], false, NULL), YL_OK);
        make_row(row, n_vocab, (row_shape)prng_int(&r, 0, N_ROW_SHAPES), &r);
        sampler_logits all;
        describe_row(&all, row, n_vocab);
        sampled from_all = sample(s, &all, 7);
        sampler_request request = sampler_needs(s);
        assert_false(request.all);
        assert_true(try_candidates(s, n_vocab, &request, 7, from_all, round));
        sampler_free(s);
    }
}

/* A token that stands out and is banned takes nearly all of the row's sum with it: what is left must come from the row. */
static void a_banned_favourite_asks_for_all_logits(void **state)
{
    (void)state;
    const uint32_t n_vocab = 1000;
    const int32_t favourite = 500;
    sampler_settings set = sampler_default_settings();
    set.top_k = 0;
    set.min_p = 0;
    set.banned = &favourite;
    set.n_banned = 1;
    sampler *s;
    assert_int_equal(sampler_new(&s, &set, n_vocab, N_CTX, NULL), YL_OK);
    for (uint32_t i = 0; i < n_vocab; i++) row[i] = i < 4 ? 1 : -20;
    row[favourite] = 30;
    sampler_request request = {.n_top = 400, .listed = &favourite, .n_listed = 1};
    sampler_logits all, few;
    answer_request(&few, row, n_vocab, &request, top, listed);
    describe_row(&all, row, n_vocab);
    int seen[4] = {0};
    for (uint64_t index = 0; index < 400; index++) {
        assert_int_equal(sample(s, &few, index).verdict, SAMPLER_MORE);
        sampled got = sample(s, &all, index);
        assert_in_range(got.token, 0, 3);
        assert_true(got.probability == 0.25f);
        seen[got.token]++;
    }
    for (int i = 0; i < 4; i++) assert_in_range(seen[i], 60, 140);
    sampler_free(s);
}

/* Without a list the sampler cannot know what a penalised token has; with more than it needs it can. */
static void a_missing_listed_token_is_more_and_a_spare_one_does_no_harm(void **state)
{
    (void)state;
    const uint32_t n_vocab = 1000;
    sampler_settings set = sampler_default_settings();
    set.repeat_penalty = 1.5f;
    sampler *s;
    assert_int_equal(sampler_new(&s, &set, n_vocab, N_CTX, NULL), YL_OK);
    for (uint32_t i = 0; i < n_vocab; i++) row[i] = 20.0f - (float)i * 0.01f;
    assert_int_equal(sampler_accept(s, 3, false, NULL), YL_OK);
    assert_int_equal(sampler_accept(s, 900, false, NULL), YL_OK);
    const int32_t spare[] = {3, 77, 800, 900, 999};
    sampler_logits all, few;
    describe_row(&all, row, n_vocab);
    sampled from_all = sample(s, &all, 0);
    sampler_request request = {.n_top = 60, .listed = spare, .n_listed = 5};
    assert_true(try_candidates(s, n_vocab, &request, 0, from_all, 0));
    answer_request(&few, row, n_vocab, &request, top, listed);
    few.listed += 1; /* token 3 is in the top anyway */
    few.n_listed = 3;
    assert_same(sample(s, &few, 0), from_all, 0, 60);
    few.n_listed = 2; /* 900 is not */
    assert_int_equal(sample(s, &few, 0).verdict, SAMPLER_MORE);
    sampler_free(s);
}

/* Row 0, -1, -2 ... without its rest, as n_top candidates. */
static sampled sample_slope(const sampler_settings *set, uint32_t n_vocab, uint32_t n_finite, uint32_t n_top)
{
    sampler *s;
    assert_int_equal(sampler_new(&s, set, n_vocab, N_CTX, NULL), YL_OK);
    for (uint32_t i = 0; i < n_vocab; i++) row[i] = i < n_finite ? -0.1f * (float)i : -INFINITY;
    sampler_request request = {.n_top = n_top};
    sampler_logits few;
    answer_request(&few, row, n_vocab, &request, top, listed);
    sampled got = sample(s, &few, 0);
    assert_int_equal(got.status, YL_OK);
    sampler_free(s);
    return got;
}

/* Greedy needs only the first of what XTC leaves, but XTC has to see where the likely ones end. */
static void xtc_waits_for_the_end_of_the_likely(void **state)
{
    (void)state;
    sampler_settings set = sampler_default_settings();
    set.temp = 0;
    set.xtc_probability = 1;
    set.xtc_threshold = 0.05f; /* 0.095 * exp(-0.1 i): seven are likely, token 6 stays first */
    set.top_k = 0;
    set.top_p = 1;
    set.min_p = 0;
    assert_int_equal(sample_slope(&set, 1000, 1000, 6).verdict, SAMPLER_MORE);
    assert_int_equal(sample_slope(&set, 1000, 1000, 8).token, 6);
    set.min_keep = 20; /* whether so many are left */
    assert_int_equal(sample_slope(&set, 1000, 1000, 8).verdict, SAMPLER_MORE);
    assert_int_equal(sample_slope(&set, 1000, 1000, 26).token, 6);
    assert_int_equal(sample_slope(&set, 1000, 25, 26).token, 0);
}

/* Where the candidates end in -infinity nothing can follow. */
static void a_candidate_that_is_never_ends_the_row(void **state)
{
    (void)state;
    sampler_settings set = sampler_default_settings();
    assert_int_equal(sample_slope(&set, 1000, 10, 10).verdict, SAMPLER_MORE);
    assert_int_equal(sample_slope(&set, 1000, 10, 11).verdict, SAMPLER_ENOUGH);
}

/* Mirostat's mu and the history follow what was sampled, so one difference would show in all that comes after. */
static void a_text_is_the_same_from_candidates_and_from_all_logits(void **state)
{
    (void)state;
    const uint32_t n_vocab = 5000;
    for (int round = 0; round < 60; round++) {
        prng r = prng_stream(6, (uint64_t)round, 0);
        random_settings set;
        make_settings(&set, n_vocab, &r);
        set.s.mirostat = round % 3;
        sampler *from_few, *from_all;
        assert_int_equal(sampler_new(&from_few, &set.s, n_vocab, N_CTX, NULL), YL_OK);
        assert_int_equal(sampler_new(&from_all, &set.s, n_vocab, N_CTX, NULL), YL_OK);
        for (uint64_t index = 0; index < 30; index++) {
            make_row(row, n_vocab, ROW_ZIPF, &r);
            sampler_logits all, few;
            describe_row(&all, row, n_vocab);
            sampler_request request = sampler_needs(from_few);
            sampled a = sample(from_all, &all, index), b = {.verdict = SAMPLER_MORE};
            if (!request.all) {
                answer_request(&few, row, n_vocab, &request, top, listed);
                b = sample(from_few, &few, index);
            }
            if (b.verdict == SAMPLER_MORE) b = sample(from_few, &all, index);
            assert_same(b, a, round, request.n_top);
            assert_int_equal(sampler_accept(from_few, b.token, true, NULL), YL_OK);
            assert_int_equal(sampler_accept(from_all, a.token, true, NULL), YL_OK);
        }
        sampler_free(from_few);
        sampler_free(from_all);
    }
}

/* FNV-1a */
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t n)
{
    const unsigned char *b = bytes;
    for (size_t i = 0; i < n; i++) hash = (hash ^ b[i]) * 0x100000001b3;
    return hash;
}

/* The same bits with every compiler, on x86, ARM and wasm: no value here comes from the C library's mathematics. If a definition
 * changes on purpose, the number changes. */
static void every_machine_samples_the_same_bits(void **state)
{
    (void)state;
    const uint32_t n_vocab = 2000;
    uint64_t hash = 0xcbf29ce484222325;
    for (int round = 0; round < 500; round++) {
        prng r = prng_stream(12, (uint64_t)round, 0);
        random_settings set;
        make_settings(&set, n_vocab, &r);
        sampler *s;
        assert_int_equal(sampler_new(&s, &set.s, n_vocab, N_CTX, NULL), YL_OK);
        for (uint64_t index = 0; index < 3; index++) {
            make_row(row, n_vocab, (row_shape)prng_int(&r, 0, N_ROW_SHAPES), &r);
            sampler_logits all;
            describe_row(&all, row, n_vocab);
            sampled got = sample(s, &all, index);
            assert_int_equal(got.status, YL_OK);
            hash = hash_bytes(hash, &got.token, sizeof got.token);
            hash = hash_bytes(hash, &got.probability, sizeof got.probability);
            assert_int_equal(sampler_accept(s, got.token, true, NULL), YL_OK);
        }
        sampler_free(s);
    }
    if (hash != 0x905ccde7ad9cdb84) fail_msg("the hash is 0x%016llx", (unsigned long long)hash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(candidates_never_disagree_with_all_logits),
        cmocka_unit_test(top_k_never_asks_again),
        cmocka_unit_test(a_banned_favourite_asks_for_all_logits),
        cmocka_unit_test(xtc_waits_for_the_end_of_the_likely),
        cmocka_unit_test(a_candidate_that_is_never_ends_the_row),
        cmocka_unit_test(a_text_is_the_same_from_candidates_and_from_all_logits),
        cmocka_unit_test(a_missing_listed_token_is_more_and_a_spare_one_does_no_harm),
        cmocka_unit_test(every_machine_samples_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
