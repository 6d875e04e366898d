/* test_sampler_state.c: the sampler's life: settings, history, clones, memory, and logits that cannot be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "logit_rows.h"
#include "random_settings.h"
#include "sampler_internal.h"

enum { N_VOCAB = 500, N_CTX = 100 };

static float row[N_VOCAB];

static sampler *new_sampler(const sampler_settings *set)
{
    sampler *s;
    yl_error err = {0};
    if (sampler_new(&s, set, N_VOCAB, N_CTX, &err)) fail_msg("%s", err.msg);
    return s;
}

static int32_t sample_row(sampler *s, uint64_t index)
{
    sampler_logits l;
    int32_t token = -1;
    sampler_verdict verdict;
    describe_row(&l, row, N_VOCAB);
    assert_int_equal(sampler_sample(s, &l, index, &token, NULL, &verdict, NULL), YL_OK);
    return token;
}

/* Everything that has a state: penalties, DRY and mirostat. */
static sampler_settings eventful(void)
{
    sampler_settings set = sampler_default_settings();
    set.seed = 11;
    set.repeat_penalty = 1.3f;
    set.repeat_last_n = 20;
    set.dry_multiplier = 0.8f;
    set.mirostat = 2;
    return set;
}

/* ---- settings ---- */

static void defaults_are_accepted(void **state)
{
    (void)state;
    sampler_settings set = sampler_default_settings();
    assert_int_equal(sampler_check_settings(&set, NULL), YL_OK);
    assert_int_equal(set.top_k, 40);
    assert_true(set.temp == 0.8f && set.top_p == 0.95f && set.min_p == 0.05f && set.repeat_penalty == 1);
}

static void assert_refused(const sampler_settings *set, const char *flag)
{
    yl_error err = {0};
    assert_int_equal(sampler_check_settings(set, &err), YL_EINVAL);
    if (!strstr(err.msg, flag)) fail_msg("\"%s\" does not name %s", err.msg, flag);
}

static void what_cannot_be_meant_is_refused_by_its_flag(void **state)
{
    (void)state;
    const sampler_settings good = sampler_default_settings();
    const struct {
        const char *flag;
        size_t offset;
        float bad[3];
    } numbers[] = {
        {"--temp", offsetof(sampler_settings, temp), {NAN, INFINITY, -INFINITY}},
        {"--top-p", offsetof(sampler_settings, top_p), {NAN, -0.1f, 1.01f}},
        {"--min-p", offsetof(sampler_settings, min_p), {NAN, -0.1f, 1.01f}},
        {"--typical", offsetof(sampler_settings, typical_p), {NAN, -0.1f, 1.01f}},
        {"--top-nsigma", offsetof(sampler_settings, top_n_sigma), {NAN, INFINITY, INFINITY}},
        {"--xtc-probability", offsetof(sampler_settings, xtc_probability), {NAN, -1, 2}},
        {"--xtc-threshold", offsetof(sampler_settings, xtc_threshold), {NAN, -1, 2}},
        {"--dynatemp-range", offsetof(sampler_settings, dynatemp_range), {NAN, -1, INFINITY}},
        {"--dynatemp-exp", offsetof(sampler_settings, dynatemp_exponent), {NAN, -1, INFINITY}},
        {"--repeat-penalty", offsetof(sampler_settings, repeat_penalty), {NAN, 0, -1}},
        {"--presence-penalty", offsetof(sampler_settings, presence_penalty), {NAN, INFINITY, -INFINITY}},
        {"--frequency-penalty", offsetof(sampler_settings, frequency_penalty), {NAN, INFINITY, -INFINITY}},
        {"--dry-multiplier", offsetof(sampler_settings, dry_multiplier), {NAN, -1, INFINITY}},
        {"--mirostat-ent", offsetof(sampler_settings, mirostat_tau), {NAN, -1, INFINITY}},
        {"--mirostat-lr", offsetof(sampler_settings, mirostat_eta), {NAN, -1, INFINITY}},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        for (int j = 0; j < 3; j++) {
            sampler_settings set = good;
            memcpy((char *)&set + numbers[i].offset, &numbers[i].bad[j], sizeof(float));
            assert_refused(&set, numbers[i].flag);
        }
    }
    const struct {
        const char *flag;
        size_t offset;
        int32_t bad;
    } integers[] = {
        {"--mirostat", offsetof(sampler_settings, mirostat), 3},
        {"--mirostat", offsetof(sampler_settings, mirostat), -1},
        {"--repeat-last-n", offsetof(sampler_settings, repeat_last_n), -2},
        {"--dry-penalty-last-n", offsetof(sampler_settings, dry_penalty_last_n), -2},
        {"--dry-allowed-length", offsetof(sampler_settings, dry_allowed_length), -1},
    };
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++) {
        sampler_settings set = good;
        memcpy((char *)&set + integers[i].offset, &integers[i].bad, sizeof(int32_t));
        assert_refused(&set, integers[i].flag);
    }
    sampler_settings set = good;
    set.dry_base = 0.5f; /* matters only when DRY is on */
    assert_int_equal(sampler_check_settings(&set, NULL), YL_OK);
    set.dry_multiplier = 1;
    assert_refused(&set, "--dry-base");
}

static void lists_are_checked(void **state)
{
    (void)state;
    sampler *s;
    sampler_settings set = sampler_default_settings();
    sampler_logit_bias bias = {.token = 3, .bias = NAN};
    set.logit_bias = &bias;
    set.n_logit_bias = 1;
    assert_refused(&set, "--logit-bias");
    bias.bias = INFINITY;
    assert_refused(&set, "--logit-bias");
    for (int i = 0; i < 2; i++) {
        bias = (sampler_logit_bias){.token = i ? -1 : N_VOCAB, .bias = 1};
        assert_int_equal(sampler_new(&s, &set, N_VOCAB, N_CTX, NULL), YL_EINVAL);
        assert_null(s);
    }
    set = sampler_default_settings();
    int32_t banned = N_VOCAB;
    set.banned = &banned;
    set.n_banned = 1;
    assert_int_equal(sampler_new(&s, &set, N_VOCAB, N_CTX, NULL), YL_EINVAL);
    set.banned = NULL;
    assert_refused(&set, "list");
    set = sampler_default_settings();
    int32_t tokens[SAMPLER_MAX_BREAKER + 1] = {0};
    const int32_t *sequence = tokens;
    size_t len = 0;
    set.dry_breakers = &sequence;
    set.dry_breaker_lens = &len;
    set.n_dry_breakers = 1;
    assert_refused(&set, "--dry-sequence-breaker");
    len = SAMPLER_MAX_BREAKER + 1;
    assert_refused(&set, "--dry-sequence-breaker");
    len = SAMPLER_MAX_BREAKER;
    assert_int_equal(sampler_check_settings(&set, NULL), YL_OK);
}

static void vocabularies_that_cannot_be_are_refused(void **state)
{
    (void)state;
    sampler *s;
    sampler_settings set = sampler_default_settings();
    assert_int_equal(sampler_new(&s, &set, 0, N_CTX, NULL), YL_EINVAL);
    assert_int_equal(sampler_new(&s, &set, SAMPLER_MAX_VOCAB + 1, N_CTX, NULL), YL_ELIMIT);
    assert_int_equal(sampler_new(&s, &set, N_VOCAB, UINT32_MAX, NULL), YL_ELIMIT);
    assert_null(s);
}

static void lists_are_copied(void **state)
{
    (void)state;
    prng r = prng_stream(1, 2, 3);
    make_row(row, N_VOCAB, ROW_NORMAL, &r);
    sampler_settings set = sampler_default_settings();
    sampler_logit_bias bias = {.token = 3, .bias = 100};
    int32_t banned = 3;
    set.logit_bias = &bias;
    set.n_logit_bias = 1;
    sampler *s = new_sampler(&set);
    bias.token = 4;
    assert_int_equal(sample_row(s, 0), 3);
    sampler_free(s);
    set.banned = &banned;
    set.n_banned = 1;
    s = new_sampler(&set);
    banned = 4;
    for (uint64_t i = 0; i < 100; i++) assert_int_not_equal(sample_row(s, i), 3);
    sampler_free(s);
}

/* ---- requests ---- */

static sampler_request needs_of(const sampler_settings *set, uint32_t n_vocab, sampler **s)
{
    assert_int_equal(sampler_new(s, set, n_vocab, N_CTX, NULL), YL_OK);
    return sampler_needs(*s);
}

static void requests_are_as_small_as_the_settings_allow(void **state)
{
    (void)state;
    const sampler_settings good = sampler_default_settings();
    const struct {
        float temp, top_p, min_p, typical, n_sigma, xtc, range;
        int32_t top_k, mirostat;
        uint32_t n_top; /* 0: all */
    } cases[] = {
        {0.8f, 0.95f, 0.05f, 1, -1, 0, 0, 40, 0, 40},
        {0, 0.95f, 0.05f, 1, -1, 0, 0, 40, 0, 1},
        {0, 0.95f, 0.05f, 1, 1, 0, 1, 0, 2, 1},
        {0, 0.95f, 0.05f, 0.9f, -1, 0, 0, 40, 0, 40},
        {0.8f, 0.95f, 0, 1, -1, 0, 0, 0, 0, 1024},
        {0.8f, 1, 0.05f, 1, -1, 0.5f, 0.5f, 0, 0, 1024},
        {1, 1, 0, 1, -1, 0, 0, 0, 0, 1024},
        {0.8f, 1, 0, 1, -1, 0, 0, 0, 0, 0},
        {1, 1, 0, 1, -1, 0, 0.5f, 0, 0, 0},
        {1, 1, 0, 1, -1, 0.5f, 0, 0, 0, 0},
        {0.8f, 0.95f, 0.05f, 0.9f, -1, 0, 0, 0, 0, 0},
        {0.8f, 0.95f, 0.05f, 1, 1, 0, 0, 40, 0, 0},
        {0.8f, 0.95f, 0.05f, 1, -1, 0, 0, 2000, 0, 0},
        {0.8f, 1, 0.05f, 1, -1, 0, 0, 2000, 0, 1024},
        {0.8f, 0.95f, 0.05f, 1, -1, 0, 0, 40, 1, 1024},
        {0.8f, 0.95f, 0.05f, 1, -1, 0, 0, 40, 2, 0},
        {1, 0.95f, 0.05f, 1, -1, 0, 0, 40, 2, 1024},
        {0.8f, 0.95f, 0.05f, 1, -1, 1, 1, 1024, 0, 1024},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sampler_settings set = good;
        set.temp = cases[i].temp;
        set.top_p = cases[i].top_p;
        set.min_p = cases[i].min_p;
        set.typical_p = cases[i].typical;
        set.top_n_sigma = cases[i].n_sigma;
        set.xtc_probability = cases[i].xtc;
        set.dynatemp_range = cases[i].range;
        set.top_k = cases[i].top_k;
        set.mirostat = cases[i].mirostat;
        sampler *s;
        sampler_request q = needs_of(&set, 128256, &s);
        if (q.n_top != cases[i].n_top || q.all != !cases[i].n_top || q.n_listed) fail_msg("case %zu: %u", i, (unsigned)q.n_top);
        sampler_free(s);
        q = needs_of(&set, 64, &s);
        if (cases[i].n_top != 1) assert_true(q.all); /* candidates would be more bytes than all logits */
        sampler_free(s);
    }
}

static void every_changed_token_is_listed_once_in_order(void **state)
{
    (void)state;
    sampler_settings set = sampler_default_settings();
    const sampler_logit_bias bias[] = {{90, 1}, {7, -INFINITY}};
    const int32_t banned[] = {499, 7}, history[] = {30, 8, 30, 90, 30, 8};
    const int32_t expected[] = {7, 8, 30, 90, 499};
    set.logit_bias = bias;
    set.n_logit_bias = 2;
    set.banned = banned;
    set.n_banned = 2;
    set.presence_penalty = 1;
    set.dry_multiplier = 1;
    sampler *s;
    sampler_request q = needs_of(&set, N_VOCAB, &s);
    assert_int_equal(q.n_listed, 3);
    for (size_t i = 0; i < 6; i++) assert_int_equal(sampler_accept(s, history[i], false, NULL), YL_OK);
    q = sampler_needs(s);
    assert_int_equal(q.n_listed, 5);
    assert_memory_equal(q.listed, expected, sizeof expected);
    assert_int_equal(q.n_top, 45);
    sampler_reset(s);
    assert_int_equal(sampler_needs(s).n_listed, 3);
    sampler_free(s);
}

static void too_many_listed_tokens_ask_for_all(void **state)
{
    (void)state;
    sampler_settings set = sampler_default_settings();
    set.presence_penalty = 1;
    set.repeat_last_n = -1;
    sampler *s;
    assert_int_equal(sampler_new(&s, &set, 128256, 10000, NULL), YL_OK);
    for (int32_t i = 0; i < SAMPLER_MAX_LISTED; i++) assert_int_equal(sampler_accept(s, 3 * i, false, NULL), YL_OK);
    sampler_request q = sampler_needs(s);
    assert_int_equal(q.n_listed, SAMPLER_MAX_LISTED);
    assert_int_equal(q.n_top, SAMPLER_MAX_TOP);
    assert_int_equal(sampler_accept(s, 1, false, NULL), YL_OK);
    assert_true(sampler_needs(s).all);
    sampler_free(s);
}

/* ---- history ---- */

/* Counts, window and memory, against a plain array, long after the buffer has turned over. */
static void history_forgets_beyond_its_window(void **state)
{
    (void)state;
    const size_t windows[][2] = {{1, 0}, {1, 1}, {2, 7}, {64, 0}, {64, 10}, {10, 64}, {0, 5}, {100, 100}};
    for (size_t w = 0; w < sizeof windows / sizeof windows[0]; w++) {
        static int32_t all[5000];
        token_history h;
        token_history_init(&h, windows[w][0], windows[w][1]);
        prng r = prng_stream(9, w, 0);
        for (size_t n = 0; n < 5000; n++) {
            all[n] = prng_int(&r, 0, n % 1000 < 500 ? 20 : 2000000);
            assert_true(token_history_push(&h, all[n]));
            size_t kept = n + 1 < h.window ? n + 1 : h.window;
            assert_memory_equal(h.tokens + h.n - kept, all + n + 1 - kept, kept * sizeof *all);
            uint32_t count = 0;
            size_t counted = n + 1 < windows[w][0] ? n + 1 : windows[w][0];
            for (size_t i = 0; i < counted; i++) count += all[n - i] == all[n];
            assert_int_equal(token_history_count(&h, all[n]), count);
            if (n >= counted && count == 0) assert_int_equal(token_history_count(&h, all[n - counted]), 0);
        }
        assert_true(h.capacity <= 2 * (h.window + SAMPLER_MAX_TAKE_BACK));
        assert_true(h.counts.n_used <= windows[w][0] && h.counts.n_slots <= 512);
        token_history_free(&h);
    }
}

static void accept_refuses_what_is_no_token(void **state)
{
    (void)state;
    sampler_settings set = eventful();
    sampler *s = new_sampler(&set);
    assert_int_equal(sampler_accept(s, -1, false, NULL), YL_EINVAL);
    assert_int_equal(sampler_accept(s, N_VOCAB, true, NULL), YL_EINVAL);
    assert_int_equal(sampler_accept(s, N_VOCAB - 1, true, NULL), YL_OK);
    sampler_free(s);
}

static void same_seed_same_text_and_other_seed_other_text(void **state)
{
    (void)state;
    int32_t text[3][60];
    for (int run = 0; run < 3; run++) {
        sampler_settings set = eventful();
        set.seed += run == 2;
        sampler *s = new_sampler(&set);
        for (uint64_t i = 0; i < 60; i++) {
            prng r = prng_stream(5, i, 0);
            make_row(row, N_VOCAB, ROW_ZIPF, &r);
            text[run][i] = sample_row(s, i);
            assert_int_equal(sampler_accept(s, text[run][i], true, NULL), YL_OK);
        }
        sampler_free(s);
    }
    assert_memory_equal(text[0], text[1], sizeof text[0]);
    assert_memory_not_equal(text[0], text[2], sizeof text[0]);
}

/* A clone goes on as the original does, even between a sample and its accept, and neither sees what the other accepts. */
static void a_clone_goes_on_alike_and_alone(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < 50; round++) {
        prng r = prng_stream(7, round, 0);
        random_settings set;
        make_settings(&set, N_VOCAB, &r);
        if (round < 10) set.s = eventful();
        sampler *s = new_sampler(&set.s);
        int32_t history[150];
        make_history(history, 150, N_VOCAB, &r);
        size_t n = (size_t)prng_int(&r, 0, 150);
        for (size_t i = 0; i < n; i++) assert_int_equal(sampler_accept(s, history[i], false, NULL), YL_OK);
        make_row(row, N_VOCAB, ROW_ZIPF, &r);
        int32_t token = sample_row(s, 0);
        sampler *clone = sampler_clone(s);
        assert_non_null(clone);
        sampler *other = sampler_clone(clone);
        for (size_t i = 0; i < 20; i++) assert_int_equal(sampler_accept(other, history[i], true, NULL), YL_OK);
        for (uint64_t i = 1; i < 12; i++) {
            assert_int_equal(sampler_accept(s, token, true, NULL), YL_OK);
            assert_int_equal(sampler_accept(clone, token, true, NULL), YL_OK);
            make_row(row, N_VOCAB, ROW_ZIPF, &r);
            token = sample_row(s, i);
            assert_int_equal(sample_row(clone, i), token);
            assert_true(s->mu == clone->mu);
        }
        sampler_free(other);
        sampler_free(clone);
        sampler_free(s);
    }
    sampler_free(NULL);
}

/* What was accepted and taken back leaves no trace: the sampler asks, samples and goes on as one that never heard of it. */
static void tokens_taken_back_never_were(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < 60; round++) {
        prng r = prng_stream(17, round, 0);
        random_settings set;
        make_settings(&set, N_VOCAB, &r);
        if (round < 10) set.s = eventful();
        sampler *s = new_sampler(&set.s), *plain = new_sampler(&set.s);
        int32_t history[400];
        make_history(history, 400, N_VOCAB, &r);
        for (uint64_t i = 0; i < 330; i++) {
            if (i % 5 == 0) {
                make_row(row, N_VOCAB, ROW_ZIPF, &r);
                history[i] = sample_row(s, i);
                assert_int_equal(sample_row(plain, i), history[i]);
            }
            assert_int_equal(sampler_accept(s, history[i], i % 5 == 0, NULL), YL_OK);
            assert_int_equal(sampler_accept(plain, history[i], i % 5 == 0, NULL), YL_OK);
            assert_true(s->mu == plain->mu);
            size_t n_ahead = i % 7 == 0 ? (size_t)prng_int(&r, 0, SAMPLER_MAX_TAKE_BACK + 1) : 0;
            for (size_t k = 0; k < n_ahead; k++) {
                int32_t token = prng_int(&r, 0, 2) ? history[k] : prng_int(&r, 0, N_VOCAB);
                assert_int_equal(sampler_accept(s, token, false, NULL), YL_OK);
                if (k % 3 == 0) sampler_needs(s);
            }
            sampler_take_back(s, n_ahead);
            sampler_request a = sampler_needs(s), b = sampler_needs(plain);
            assert_int_equal(a.all, b.all);
            assert_int_equal(a.n_top, b.n_top);
            assert_int_equal(a.n_listed, b.n_listed);
            if (b.n_listed) assert_memory_equal(a.listed, b.listed, b.n_listed * sizeof *b.listed);
        }
        sampler_free(plain);
        sampler_free(s);
    }
}

static void reset_is_as_new(void **state)
{
    (void)state;
    sampler_settings set = eventful();
    sampler *s = new_sampler(&set), *fresh = new_sampler(&set);
    for (int32_t i = 0; i < 90; i++) assert_int_equal(sampler_accept(s, i % 7, false, NULL), YL_OK);
    prng r = prng_stream(8, 0, 0);
    make_row(row, N_VOCAB, ROW_ZIPF, &r);
    assert_int_equal(sampler_accept(s, sample_row(s, 0), true, NULL), YL_OK);
    sampler_reset(s);
    assert_int_equal(s->past.counts.n_used, 0);
    for (uint64_t i = 0; i < 30; i++) {
        make_row(row, N_VOCAB, ROW_ZIPF, &r);
        int32_t token = sample_row(fresh, i);
        assert_int_equal(sample_row(s, i), token);
        assert_int_equal(sampler_accept(s, token, true, NULL), YL_OK);
        assert_int_equal(sampler_accept(fresh, token, true, NULL), YL_OK);
    }
    sampler_free(s);
    sampler_free(fresh);
}

/* ---- memory ---- */

typedef struct memory_use {
    const void *blocks[12];
} memory_use;

static memory_use memory_of(const sampler *s)
{
    return (memory_use){{s->past.tokens, s->past.counts.tokens, s->past.counts.counts, s->adjustments, s->listed, s->dry_z,
                         s->dry_hits.v, s->top.v, s->by_token.v, s->ranked.v, s->chosen.v, s->tmp.v}};
}

/* Once the windows are full, each block stays where it is. What is accepted repeats itself, so that as many tokens as can be are
 * punished right away. */
static void nothing_is_allocated_after_the_first_tokens(void **state)
{
    (void)state;
    sampler_settings set = eventful();
    set.mirostat = 0;
    set.typical_p = 0.9f;
    sampler *s = new_sampler(&set);
    memory_use warm = {{0}};
    for (uint64_t i = 0; i < 1000; i++) {
        prng r = prng_stream(10, i, 0);
        make_row(row, N_VOCAB, ROW_ZIPF, &r);
        (void)sampler_needs(s);
        (void)sample_row(s, i);
        assert_int_equal(sampler_accept(s, (int32_t)(i % 31), true, NULL), YL_OK);
        if (i == 2 * (N_CTX + SAMPLER_MAX_TAKE_BACK)) warm = memory_of(s);
    }
    memory_use after = memory_of(s);
    assert_memory_equal(&warm, &after, sizeof warm);
    sampler_free(s);
}

/* ---- logits that cannot be ---- */

static sampler_candidate top[20], listed[4];

static yl_status sample_hostile(const sampler_logits *l)
{
    sampler_settings set = sampler_default_settings();
    set.top_k = 5;
    sampler *s = new_sampler(&set);
    int32_t token = -7;
    sampler_verdict verdict;
    yl_error err = {0};
    yl_status status = sampler_sample(s, l, 0, &token, NULL, &verdict, &err);
    if (status) {
        assert_int_equal(token, -7);
        assert_true(err.msg[0] && err.status == status);
    }
    sampler_free(s);
    return status;
}

/* Twenty candidates from 10 downwards, four listed: two of them in the top, two below. */
static sampler_logits good_logits(void)
{
    for (int i = 0; i < 20; i++) top[i] = (sampler_candidate){.token = i * 5, .logit = 10 - (float)(i / 2)};
    listed[0] = (sampler_candidate){.token = 5, .logit = 10};
    listed[1] = (sampler_candidate){.token = 6, .logit = -3};
    listed[2] = (sampler_candidate){.token = 20, .logit = 8};
    listed[3] = (sampler_candidate){.token = N_VOCAB - 1, .logit = -INFINITY};
    return (
        sampler_logits){.n_vocab = N_VOCAB, .top = top, .n_top = 20, .listed = listed, .n_listed = 4, .max = 10, .sum_exp = 3.2f};
}

static void candidates_that_contradict_themselves_are_refused(void **state)
{
    (void)state;
    sampler_logits l = good_logits();
    assert_int_equal(sample_hostile(&l), YL_OK);
    const float logits[] = {NAN, INFINITY, -INFINITY, 10.5f, 1e30f};
    for (int place = 0; place < 19; place++) {
        for (int i = 0; i < 5; i++) {
            l = good_logits();
            top[place].logit = logits[i];
            assert_int_equal(sample_hostile(&l), YL_EFORMAT);
        }
    }
    const int32_t ids[] = {-1, N_VOCAB, INT32_MAX, INT32_MIN, 10, 7}; /* 10 is there already; 7 before a lower id */
    for (int i = 0; i < 6; i++) {
        l = good_logits();
        top[0].token = ids[i];
        assert_int_equal(sample_hostile(&l), YL_EFORMAT);
    }
    l = good_logits();
    top[19].token = 0; /* a duplicate in order */
    top[19].logit = -5;
    assert_int_equal(sample_hostile(&l), YL_EFORMAT);
}

static void listed_tokens_that_contradict_the_candidates_are_refused(void **state)
{
    (void)state;
    sampler_logits l;
    for (int i = 0; i < 4; i++) {
        const float logits[] = {NAN, INFINITY, 9.5f, 11}; /* 9.5 would be a candidate, and the first's logit is 10 */
        for (int j = 0; j < 4; j++) {
            l = good_logits();
            listed[i].logit = logits[j];
            assert_int_equal(sample_hostile(&l), YL_EFORMAT);
        }
        const int32_t ids[] = {-1, N_VOCAB};
        for (int j = 0; j < 2; j++) {
            l = good_logits();
            listed[i].token = ids[j];
            assert_int_equal(sample_hostile(&l), YL_EFORMAT);
        }
    }
    l = good_logits();
    listed[1].token = 5; /* twice */
    assert_int_equal(sample_hostile(&l), YL_EFORMAT);
    l = good_logits();
    l.listed = listed + 1;
    l.n_listed = SIZE_MAX;
    assert_int_equal(sample_hostile(&l), YL_EFORMAT);
}

static void numbers_about_the_row_are_checked(void **state)
{
    (void)state;
    sampler_logits l = good_logits();
    const float maxima[] = {NAN, INFINITY, -INFINITY, 9, 11};
    for (int i = 0; i < 5; i++) {
        l.max = maxima[i];
        assert_int_equal(sample_hostile(&l), YL_EFORMAT);
    }
    const float sums[] = {NAN, INFINITY, 0, 0.5f, -1, N_VOCAB + 1};
    for (int i = 0; i < 6; i++) {
        l = good_logits();
        l.sum_exp = sums[i];
        assert_int_equal(sample_hostile(&l), YL_EFORMAT);
    }
    const size_t counts[] = {0, N_VOCAB + 1, SIZE_MAX};
    for (int i = 0; i < 3; i++) {
        l = good_logits();
        l.n_top = counts[i];
        assert_int_equal(sample_hostile(&l), YL_EFORMAT);
    }
    l = good_logits();
    l.n_vocab = N_VOCAB + 1;
    assert_int_equal(sample_hostile(&l), YL_EFORMAT);
}

static void rows_with_nan_are_refused_wherever_it_is(void **state)
{
    (void)state;
    for (int i = 0; i < N_VOCAB; i++) {
        for (int j = 0; j < N_VOCAB; j++) row[j] = (float)(j % 9);
        sampler_logits l;
        describe_row(&l, row, N_VOCAB);
        assert_int_equal(sample_hostile(&l), YL_OK);
        row[i] = i % 2 ? NAN : INFINITY;
        assert_int_equal(sample_hostile(&l), YL_EFORMAT);
    }
}

static void a_row_without_any_token_left_says_so(void **state)
{
    (void)state;
    const float never[2] = {-INFINITY, -INFINITY}, one[2] = {-INFINITY, 3};
    const int32_t banned = 1;
    sampler_settings set = sampler_default_settings();
    set.banned = &banned;
    for (size_t n_banned = 0; n_banned < 2; n_banned++) {
        set.n_banned = n_banned;
        sampler *s;
        assert_int_equal(sampler_new(&s, &set, 2, N_CTX, NULL), YL_OK);
        sampler_logits l = {.n_vocab = 2, .all = never, .max = -INFINITY, .sum_exp = 1};
        int32_t token = -1;
        sampler_verdict verdict;
        yl_error err;
        assert_int_equal(sampler_sample(s, &l, 0, &token, NULL, &verdict, &err), YL_EFORMAT);
        describe_row(&l, one, 2);
        assert_int_equal(sampler_sample(s, &l, 0, &token, NULL, &verdict, &err), n_banned ? YL_EINVAL : YL_OK);
        assert_int_equal(token, n_banned ? -1 : 1);
        sampler_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_accepted),
        cmocka_unit_test(what_cannot_be_meant_is_refused_by_its_flag),
        cmocka_unit_test(lists_are_checked),
        cmocka_unit_test(vocabularies_that_cannot_be_are_refused),
        cmocka_unit_test(lists_are_copied),
        cmocka_unit_test(requests_are_as_small_as_the_settings_allow),
        cmocka_unit_test(every_changed_token_is_listed_once_in_order),
        cmocka_unit_test(too_many_listed_tokens_ask_for_all),
        cmocka_unit_test(history_forgets_beyond_its_window),
        cmocka_unit_test(accept_refuses_what_is_no_token),
        cmocka_unit_test(same_seed_same_text_and_other_seed_other_text),
        cmocka_unit_test(a_clone_goes_on_alike_and_alone),
        cmocka_unit_test(tokens_taken_back_never_were),
        cmocka_unit_test(reset_is_as_new),
        cmocka_unit_test(nothing_is_allocated_after_the_first_tokens),
        cmocka_unit_test(candidates_that_contradict_themselves_are_refused),
        cmocka_unit_test(listed_tokens_that_contradict_the_candidates_are_refused),
        cmocka_unit_test(numbers_about_the_row_are_checked),
        cmocka_unit_test(rows_with_nan_are_refused_wherever_it_is),
        cmocka_unit_test(a_row_without_any_token_left_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
