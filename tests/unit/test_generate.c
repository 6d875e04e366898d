/* The generation loop over an engine that is made up here: logits are a function of (position, token), so what must come out can be
 * computed beside it. The engine's symbols are defined in this file, the real ones are not linked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "generate.h"
#include "numerics.h"
#include "radix_sort.h"
#include "top_logits.h"

enum { N_VOCAB = 3000, END_TOKEN = 7, MAX_CALLS = 64, CIRCLE = 50 };

struct engine {
    hparams hp;
    uint32_t n_ctx;
    token_id tokens[4096]; /* what was fed, by position */
    size_t n_calls, n_again;
    size_t n_wants[MAX_CALLS];
    size_t cancel_at_call; /* 1-based; 0: never */
    bool never_ends;
    /* A text that returns: each token has a favourite successor, as a rule. */
    bool repeats;
    uint32_t n_fed; /* positions of the sequence */
    size_t n_rows;
    size_t n_failures; /* calls with a draft that fail still, as one with an infinite row does */
};

static float logit_of(const engine *e, uint32_t pos, token_id token, uint32_t candidate)
{
    uint32_t h = (uint32_t)token * 2654435761u ^ pos * 40503u ^ candidate * 2246822519u;
    h = (h ^ h >> 15) * 2246822519u;
    h ^= h >> 13;
    if (e->never_ends && candidate == END_TOKEN) return -50;
    bool is_favourite = e->repeats && candidate == (uint32_t)token % CIRCLE + 10 && h % 32 != 0;
    return (float)(h % 100000u) * 1e-4f + (is_favourite ? 14 : 0);
}

/* One want answered as the last stage would. */
static yl_status give_answer(engine *e, const frame_want *want, uint32_t pos, uint32_t row, engine_answer_fn *fn, void *ctx,
                             yl_error *err)
{
    static sampler_candidate sorted[N_VOCAB];
    static float all[N_VOCAB], listed[FRAME_MAX_LISTED];
    static uint64_t keys[N_VOCAB], tmp[N_VOCAB];
    frame_answer a = {.row = row, .pos = pos, .kind = want->kind, .max = -100};
    for (uint32_t i = 0; i < N_VOCAB; i++) {
        all[i] = logit_of(e, pos, e->tokens[pos], i);
        keys[i] = top_logits_key(all[i], (int32_t)i);
        if (all[i] > a.max) a.max = all[i];
    }
    radix_sort(keys, tmp, N_VOCAB);
    for (uint32_t i = 0; i < N_VOCAB; i++) sorted[i] = (sampler_candidate){top_logits_token(keys[i]), top_logits_logit(keys[i])};
    for (uint32_t i = 0; i < N_VOCAB; i++) a.sum_exp += yl_expf(all[i] - a.max);
    if (want->kind == FRAME_WANT_ALL)
        a.data = (frame_bin){(const uint8_t *)all, sizeof all};
    else
        a.data = (frame_bin){(const uint8_t *)sorted, want->top * sizeof *sorted};
    for (size_t i = 0; i < want->listed.n_bytes / 4; i++) listed[i] = all[frame_i32_at(want->listed, i)];
    a.listed = (frame_bin){(const uint8_t *)listed, want->listed.n_bytes};
    return fn(ctx, &a, err);
}

yl_status engine_eval(engine *e, uint32_t seq, uint32_t pos, const int32_t *tokens, size_t n, const frame_want *wants,
                      size_t n_wants, engine_answer_fn *on_answer, void *ctx, yl_error *err)
{
    assert_int_equal(seq, 0);
    assert_true(pos + n <= e->n_ctx && pos <= e->n_fed);
    e->n_calls++;
    if (e->n_calls <= MAX_CALLS) e->n_wants[e->n_calls - 1] = n_wants;
    if (e->n_calls == e->cancel_at_call) return yl_fail(err, YL_ECANCELED, "interrupted");
    memcpy(e->tokens + pos, tokens, n * sizeof *tokens);
    e->n_fed = pos + (uint32_t)n;
    e->n_rows += n;
    if (n_wants > 1 && pos > 0 && e->n_failures > 0) {
        e->n_failures--;
        return yl_fail(err, YL_EPEER, "position %u became infinite", (unsigned)pos + 1);
    }
    yl_status status = YL_OK;
    for (size_t i = 0; !status && i < n_wants; i++) {
        assert_true(i == 0 || wants[i].row > wants[i - 1].row);
        assert_true(wants[i].row < n);
        status = give_answer(e, &wants[i], pos + wants[i].row, wants[i].row, on_answer, ctx, err);
    }
    return status;
}

yl_status engine_again(engine *e, uint32_t seq, uint32_t pos, const frame_want *want, engine_answer_fn *on_answer, void *ctx,
                       yl_error *err)
{
    assert_int_equal(seq, 0);
    assert_int_equal(pos + 1, e->n_fed); /* of an earlier row nothing is promised */
    e->n_again++;
    return give_answer(e, want, pos, 0, on_answer, ctx, err);
}

const hparams *engine_hparams(const engine *e)
{
    return &e->hp;
}

uint32_t engine_n_ctx(const engine *e)
{
    return e->n_ctx;
}

bool tokenizer_is_end(const tokenizer *t, token_id token)
{
    (void)t;
    return token == END_TOKEN;
}

typedef struct heard {
    token_id tokens[512];
    size_t n, stop_after; /* 0: never */
    size_t n_progress, last_progress;
    bool ended;
} heard;

static bool hear(void *ctx, token_id token, bool is_end)
{
    heard *h = ctx;
    assert_false(h->ended);
    h->ended = is_end;
    h->tokens[h->n++] = token;
    return h->n != h->stop_after;
}

static void hear_progress(void *ctx, size_t n_done, size_t n_prompt)
{
    heard *h = ctx;
    assert_true(n_done > h->last_progress && n_done <= n_prompt);
    h->last_progress = n_done;
    h->n_progress++;
}

static engine *new_engine(uint32_t n_ctx)
{
    engine *e = calloc(1, sizeof *e);
    assert_non_null(e);
    e->n_ctx = n_ctx;
    e->hp.n_vocab = N_VOCAB;
    e->never_ends = true;
    return e;
}

static yl_status run_drafting(engine *e, const sampler_settings *settings, drafter *d, const token_id *prompt, size_t n,
                              int64_t n_predict, heard *h, generate_result *result, yl_error *err)
{
    sampler *s;
    assert_int_equal(sampler_new(&s, settings, N_VOCAB, e->n_ctx, err), YL_OK);
    e->n_fed = 0;
    generate_options how = {.n_predict = n_predict, .drafter = d, .on_token = hear, .on_prompt = hear_progress, .ctx = h};
    yl_status status = generate(e, NULL, s, prompt, n, &how, result, err);
    sampler_free(s);
    return status;
}

static yl_status run(engine *e, const sampler_settings *settings, const token_id *prompt, size_t n, int64_t n_predict, heard *h,
                     generate_result *result, yl_error *err)
{
    return run_drafting(e, settings, NULL, prompt, n, n_predict, h, result, err);
}

static const token_id short_prompt[] = {1, 20, 300};

static token_id likeliest(const engine *e, uint32_t pos, token_id token)
{
    token_id best = 0;
    for (uint32_t i = 1; i < N_VOCAB; i++)
        if (logit_of(e, pos, token, i) > logit_of(e, pos, token, (uint32_t)best)) best = (token_id)i;
    return best;
}

static void greedy_text_is_the_likeliest_token_after_each(void **state)
{
    (void)state;
    engine *e = new_engine(256);
    sampler_settings settings = sampler_default_settings();
    settings.temp = 0;
    heard h = {0};
    generate_result r;
    yl_error err = {0};
    assert_int_equal(run(e, &settings, short_prompt, 3, 20, &h, &r, &err), YL_OK);
    assert_int_equal(h.n, 20);
    token_id last = short_prompt[2];
    for (uint32_t i = 0; i < 20; i++) {
        last = likeliest(e, 2 + i, last);
        assert_int_equal(h.tokens[i], last);
    }
    assert_int_equal(r.stop, GENERATE_STOP_LIMIT);
    assert_int_equal(r.n_generated, 20);
    assert_int_equal(r.n_past, 3 + 19); /* the last token is not fed */
    assert_int_equal(e->n_calls, 20);
    free(e);
}

/* What is asked of the last stage changes nothing: candidates, listed tokens, or all logits again, the text is the same. */
static void a_few_candidates_give_the_text_of_all_logits(void **state)
{
    (void)state;
    sampler_settings settings = sampler_default_settings();
    settings.seed = 5;
    settings.temp = 3;
    settings.top_k = 0; /* top-p alone cuts: some candidates prove it, some do not */
    settings.top_p = 0.965f;
    settings.min_p = 0;
    settings.repeat_penalty = 1.3f;
    heard h = {0};
    generate_result r;
    yl_error err = {0};
    engine *e = new_engine(512);
    assert_int_equal(run(e, &settings, short_prompt, 3, 100, &h, &r, &err), YL_OK);
    assert_int_equal(e->n_again, r.n_asked_again);
    assert_in_range(e->n_again, 1, 99); /* else one of the two ways was not taken */

    /* The reference: a sampler that is given all logits for each token. */
    sampler *s;
    assert_int_equal(sampler_new(&s, &settings, N_VOCAB, 512, &err), YL_OK);
    for (size_t i = 0; i < 3; i++) assert_int_equal(sampler_accept(s, short_prompt[i], false, &err), YL_OK);
    token_id last = short_prompt[2];
    for (uint32_t i = 0; i < 100; i++) {
        static float all[N_VOCAB];
        float max = -100, sum = 0;
        for (uint32_t k = 0; k < N_VOCAB; k++) {
            all[k] = logit_of(e, 2 + i, last, k);
            if (all[k] > max) max = all[k];
        }
        for (uint32_t k = 0; k < N_VOCAB; k++) sum += yl_expf(all[k] - max);
        sampler_logits logits = {.n_vocab = N_VOCAB, .all = all, .max = max, .sum_exp = sum};
        sampler_verdict verdict;
        assert_int_equal(sampler_sample(s, &logits, i, &last, NULL, &verdict, &err), YL_OK);
        assert_int_equal(sampler_accept(s, last, true, &err), YL_OK);
        assert_int_equal(h.tokens[i], last);
    }
    sampler_free(s);
    free(e);
}

static void generation_stops_at_an_end_token_and_says_so(void **state)
{
    (void)state;
    engine *e = new_engine(4096);
    e->never_ends = false;
    sampler_settings settings = sampler_default_settings();
    sampler_logit_bias bias = {END_TOKEN, 9};
    settings.logit_bias = &bias;
    settings.n_logit_bias = 1;
    heard h = {0};
    generate_result r;
    yl_error err = {0};
    assert_int_equal(run(e, &settings, short_prompt, 3, 500, &h, &r, &err), YL_OK);
    assert_int_equal(r.stop, GENERATE_STOP_END);
    assert_true(h.ended);
    assert_int_equal(h.tokens[h.n - 1], END_TOKEN);
    assert_int_equal(r.n_generated, h.n);
    free(e);
}

static void a_full_context_a_caller_and_a_limit_stop_it(void **state)
{
    (void)state;
    sampler_settings settings = sampler_default_settings();
    generate_result r;
    yl_error err = {0};
    engine *e = new_engine(8);
    heard h = {0};
    assert_int_equal(run(e, &settings, short_prompt, 3, -1, &h, &r, &err), YL_OK);
    assert_int_equal(r.stop, GENERATE_STOP_CONTEXT);
    assert_int_equal(r.n_past, 8);
    assert_int_equal(r.n_generated, 6); /* five are fed behind the prompt, the sixth needs no position */

    h = (heard){.stop_after = 2};
    assert_int_equal(run(e, &settings, short_prompt, 3, -1, &h, &r, &err), YL_OK);
    assert_int_equal(r.stop, GENERATE_STOP_CALLER);
    assert_int_equal(r.n_generated, 2);

    h = (heard){0};
    assert_int_equal(run(e, &settings, short_prompt, 3, 0, &h, &r, &err), YL_OK);
    assert_int_equal(r.stop, GENERATE_STOP_LIMIT);
    assert_int_equal(h.n, 0);
    assert_int_equal(r.n_past, 3);

    assert_int_equal(run(e, &settings, (const token_id[9]){1}, 9, 1, &h, &r, &err), YL_ELIMIT);
    assert_int_equal(run(e, &settings, short_prompt, 0, 1, &h, &r, &err), YL_EINVAL);
    free(e);
}

static void a_canceled_call_leaves_what_was_done(void **state)
{
    (void)state;
    sampler_settings settings = sampler_default_settings();
    generate_result r;
    yl_error err = {0};
    engine *e = new_engine(256);
    e->cancel_at_call = 4;
    heard h = {0};
    assert_int_equal(run(e, &settings, short_prompt, 3, -1, &h, &r, &err), YL_ECANCELED);
    assert_int_equal(h.n, 3);
    assert_int_equal(r.n_generated, 3);
    assert_int_equal(r.n_past, 3 + 2);

    e->n_calls = 0;
    e->cancel_at_call = 1;
    h = (heard){0};
    assert_int_equal(run(e, &settings, short_prompt, 3, -1, &h, &r, &err), YL_ECANCELED);
    assert_int_equal(r.n_past, 0);
    assert_int_equal(r.n_generated, 0);
    free(e);
}

static void a_long_prompt_tells_how_far_it_is(void **state)
{
    (void)state;
    sampler_settings settings = sampler_default_settings();
    generate_result r;
    yl_error err = {0};
    engine *e = new_engine(4096);
    token_id *prompt = calloc(2000, sizeof *prompt);
    assert_non_null(prompt);
    heard h = {0};
    assert_int_equal(run(e, &settings, prompt, 2000, 1, &h, &r, &err), YL_OK);
    assert_int_equal(h.n_progress, 4); /* 512, 1024, 1536, 2000 */
    assert_int_equal(h.last_progress, 2000);
    assert_int_equal(e->n_wants[0], 4);
    assert_int_equal(e->n_calls, 1);
    free(prompt);
    free(e);
}

/* --- drafts ------------------------------------------------------------------------------------------------------------------- */

/* Twice with the same settings, without drafts and with them: the same tokens, the same end. Both engines are left for a look. */
static void expect_the_same_text(engine *plain, engine *drafting, const sampler_settings *settings, int64_t n_predict,
                                 size_t stop_after, generate_result *result)
{
    static heard a, b;
    generate_result expected;
    yl_error err = {0};
    drafter *d;
    a = b = (heard){.stop_after = stop_after};
    assert_int_equal(drafter_new(&d, drafting->n_ctx, DRAFTER_DEFAULT_MAX, &err), YL_OK);
    plain->n_calls = plain->n_rows = plain->n_again = drafting->n_calls = drafting->n_rows = drafting->n_again = 0;
    assert_int_equal(run(plain, settings, short_prompt, 3, n_predict, &a, &expected, &err), YL_OK);
    yl_status status = run_drafting(drafting, settings, d, short_prompt, 3, n_predict, &b, result, &err);
    if (status) fail_msg("%s", err.msg);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.tokens, b.tokens, a.n * sizeof *a.tokens);
    assert_int_equal(result->stop, expected.stop);
    assert_int_equal(result->n_past, expected.n_past);
    assert_int_equal(result->n_generated, expected.n_generated);
    assert_memory_equal(drafting->tokens, plain->tokens, expected.n_past * sizeof *plain->tokens);
    assert_int_equal(expected.n_drafted, 0);
    assert_int_equal(result->n_steps + 1, drafting->n_calls);
    drafter_free(d);
}

static engine *new_repeating_engine(uint32_t n_ctx)
{
    engine *e = new_engine(n_ctx);
    e->repeats = true;
    return e;
}

/* Everything that looks back at the text, and everything that may need all logits. */
static void drafts_change_no_token(void **state)
{
    (void)state;
    static const struct {
        float temp, repeat_penalty, presence, frequency, dry, top_p, n_sigma;
        int32_t top_k, mirostat;
    } cases[] = {
        {0, 1, 0, 0, 0, 0.95f, -1, 40, 0},        {0.5f, 1, 0, 0, 0, 0.95f, -1, 40, 0},     {0.8f, 1, 0, 0, 0, 0.95f, -1, 40, 0},
        {0.5f, 1.02f, 0, 0, 0, 0.95f, -1, 40, 0}, {0, 1, 0.1f, 0.01f, 0, 0.95f, -1, 40, 0}, {0, 1, 0, 0, 0.01f, 0.95f, -1, 40, 0},
        {1, 1, 0, 0, 0, 0.95f, -1, 40, 1},        {1, 1, 0, 0, 0, 0.95f, -1, 40, 2},        {0.6f, 1, 0, 0, 0, 0.95f, -1, 40, 2},
        {0.9f, 1, 0, 0, 0, 0.9f, -1, 0, 0},       {0.5f, 1, 0, 0, 0, 0.95f, 2, 40, 0},      {1, 1, 0, 0, 0, 1, -1, 0, 0},
    };
    size_t n_kept = 0, n_again = 0, n_rejected = 0;
    engine *plain = new_repeating_engine(512), *drafting = new_repeating_engine(512);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (uint64_t seed = 0; seed < 3; seed++) {
            sampler_settings settings = sampler_default_settings();
            settings.seed = seed;
            settings.temp = cases[i].temp;
            settings.repeat_penalty = cases[i].repeat_penalty;
            settings.presence_penalty = cases[i].presence;
            settings.frequency_penalty = cases[i].frequency;
            settings.dry_multiplier = cases[i].dry;
            settings.top_p = cases[i].top_p;
            settings.min_p = cases[i].top_k ? 0.05f : 0;
            settings.top_n_sigma = cases[i].n_sigma;
            settings.top_k = cases[i].top_k;
            settings.mirostat = cases[i].mirostat;
            generate_result r;
            expect_the_same_text(plain, drafting, &settings, 400, 0, &r);
            n_kept += r.n_kept;
            n_rejected += r.n_drafted - r.n_kept;
            n_again += r.n_asked_again;
            if (i == 0) assert_true(r.n_steps * 2 < 400);
        }
    }
    assert_true(n_kept > 2000 && n_rejected > 100 && n_again > 50);
    free(plain);
    free(drafting);
}

/* A limit, a full context and a caller that stops, each in the middle of drafts, too. */
static void drafts_change_no_end(void **state)
{
    (void)state;
    sampler_settings settings = sampler_default_settings();
    settings.temp = 0.3f;
    generate_result r;
    size_t n_kept = 0;
    for (uint32_t i = 100; i < 200; i++) {
        engine *plain = new_repeating_engine(512), *drafting = new_repeating_engine(512);
        expect_the_same_text(plain, drafting, &settings, i, 0, &r);
        assert_int_equal(r.stop, GENERATE_STOP_LIMIT);
        assert_true(drafting->n_fed == r.n_past || r.n_kept < r.n_drafted); /* no draft beyond the limit */
        expect_the_same_text(plain, drafting, &settings, -1, i, &r);
        assert_int_equal(r.stop, GENERATE_STOP_CALLER);
        plain->n_ctx = drafting->n_ctx = i;
        expect_the_same_text(plain, drafting, &settings, -1, 0, &r);
        assert_int_equal(r.stop, GENERATE_STOP_CONTEXT);
        n_kept += r.n_kept;
        free(plain);
        free(drafting);
    }
    assert_true(n_kept > 1000);
}

/* An infinite row that may not be of the text is not the text's failure. */
static void a_draft_that_fails_is_done_without(void **state)
{
    (void)state;
    sampler_settings settings = sampler_default_settings();
    settings.temp = 0;
    generate_result r;
    engine *plain = new_repeating_engine(512), *drafting = new_repeating_engine(512);
    drafting->n_failures = 3;
    expect_the_same_text(plain, drafting, &settings, 300, 0, &r);
    assert_int_equal(drafting->n_failures, 0);
    assert_true(r.n_kept > 0 && r.n_kept + 3 <= r.n_drafted);
    free(plain);
    free(drafting);
}

/* A second call goes on where the first one ended, or earlier, as a conversation does. */
static void a_drafter_follows_a_conversation(void **state)
{
    (void)state;
    yl_error err = {0};
    generate_result first, r;
    static heard h;
    sampler_settings settings = sampler_default_settings();
    settings.temp = 0;
    engine *e = new_repeating_engine(1000);
    drafter *d;
    sampler *s;
    assert_int_equal(drafter_new(&d, 1000, DRAFTER_DEFAULT_MAX, &err), YL_OK);
    h = (heard){0};
    assert_int_equal(run_drafting(e, &settings, d, short_prompt, 3, 150, &h, &first, &err), YL_OK);
    assert_int_equal(sampler_new(&s, &settings, N_VOCAB, 1000, &err), YL_OK);
    for (uint32_t n_past = first.n_past; n_past >= first.n_past - 20; n_past -= 10) {
        h = (heard){0};
        generate_options how = {.n_past = n_past, .n_predict = 100, .drafter = d, .on_token = hear, .ctx = &h};
        assert_int_equal(generate(e, NULL, s, short_prompt, 3, &how, &r, &err), YL_OK);
        token_id last = short_prompt[2];
        for (uint32_t i = 0; i < 100; i++) {
            last = likeliest(e, n_past + 2 + i, last);
            assert_int_equal(h.tokens[i], last);
        }
        assert_true(r.n_steps < 60); /* the first answer is quoted from the beginning */
    }
    generate_options beyond = {.n_past = 900, .n_predict = 1, .drafter = d, .on_token = hear, .ctx = &h};
    assert_int_equal(generate(e, NULL, s, short_prompt, 3, &beyond, &r, &err), YL_EINVAL);
    sampler_free(s);
    drafter_free(d);
    free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_text_is_the_likeliest_token_after_each),
        cmocka_unit_test(a_few_candidates_give_the_text_of_all_logits),
        cmocka_unit_test(generation_stops_at_an_end_token_and_says_so),
        cmocka_unit_test(a_full_context_a_caller_and_a_limit_stop_it),
        cmocka_unit_test(a_canceled_call_leaves_what_was_done),
        cmocka_unit_test(a_long_prompt_tells_how_far_it_is),
        cmocka_unit_test(drafts_change_no_token),
        cmocka_unit_test(drafts_change_no_end),
        cmocka_unit_test(a_draft_that_fails_is_done_without),
        cmocka_unit_test(a_drafter_follows_a_conversation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
