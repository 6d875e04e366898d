/* test_drafts.c: the model of this repository, real workers: drafts change how many steps an answer takes, and nothing else.
 *
 * What is counted are steps and the rows that the stages say they computed, never time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine.h"
#include "generate.h"
#include "sampler.h"

enum { N_CTX = 512, MAX_TOKENS = 512, MAX_STAGES = 2 };

/* The model goes on quoting it. */
static const char psalm[] =
    "Give thanks unto the LORD; for he is good: for his mercy endureth for ever. Give thanks unto the God of "
    "gods: for his mercy endureth for ever. Give thanks to the Lord of lords: for his mercy endureth for "
    "ever. To him";

typedef struct rig {
    gguf *model;
    tokenizer *t;
    engine *e;
} rig;

typedef struct answer {
    token_id tokens[MAX_TOKENS];
    size_t n;
    generate_result result;
    uint64_t n_rows; /* of the first stage */
} answer;

static int set_up(void **state)
{
    rig *r = calloc(1, sizeof *r);
    *state = r;
    yl_error err = {0};
    if (gguf_open(&r->model, YLLAMA_SOURCE_DIR "/deploy/local/model/kingjames.gguf", &err) || tokenizer_new(&r->t, r->model, &err))
        fail_msg("%s", err.msg);
    return 0;
}

static int tear_down(void **state)
{
    rig *r = *state;
    engine_close(r->e);
    tokenizer_free(r->t);
    gguf_free(r->model);
    free(r);
    return 0;
}

static void open_chain(rig *r, uint32_t n_workers, uint32_t n_ubatch)
{
    engine_close(r->e);
    r->e = NULL;
    engine_options o = {.model_path = YLLAMA_SOURCE_DIR "/deploy/local/model/kingjames.gguf",
                        .model = r->model,
                        .n_local = n_workers,
                        .n_threads = 1,
                        .n_ctx = N_CTX,
                        .n_ubatch = n_ubatch,
                        .worker_program = YLLAMA_BIN_DIR "/yllama-worker"};
    yl_error err = {0};
    if (engine_open(&r->e, &o, &err)) fail_msg("%s", err.msg);
}

static bool keep_token(void *ctx, token_id token, bool is_end)
{
    (void)is_end;
    answer *a = ctx;
    assert_true(a->n < MAX_TOKENS);
    a->tokens[a->n++] = token;
    return true;
}

static uint64_t rows_so_far(const rig *r)
{
    engine_stage stages[MAX_STAGES];
    yl_error err = {0};
    if (engine_stages(r->e, stages, &err)) fail_msg("%s", err.msg);
    return stages[0].stats.n_rows;
}

static void generate_answer(const rig *r, const char *text, const sampler_settings *settings, uint32_t n_draft, uint32_t n_tokens,
                            answer *a)
{
    token_list prompt = {0};
    sampler *s = NULL;
    drafter *d = NULL;
    yl_error err = {0};
    *a = (answer){0};
    yl_status status = tokenizer_encode(r->t, &prompt, text, strlen(text), TOKENIZE_ADD_SPECIAL, &err);
    if (!status) status = sampler_new(&s, settings, tokenizer_n_vocab(r->t), N_CTX, &err);
    if (!status && n_draft > 0) status = drafter_new(&d, N_CTX, n_draft, &err);
    if (!status) status = engine_release(r->e, 0, &err);
    if (status) fail_msg("%s", err.msg);
    uint64_t n_before = rows_so_far(r) + prompt.n;
    generate_options how = {.n_predict = n_tokens, .drafter = d, .on_token = keep_token, .ctx = a};
    if (generate(r->e, r->t, s, prompt.data, prompt.n, &how, &a->result, &err)) fail_msg("%s", err.msg);
    a->n_rows = rows_so_far(r) - n_before;
    drafter_free(d);
    sampler_free(s);
    token_list_clear(&prompt);
}

static void expect_the_same(const answer *plain, const answer *drafted)
{
    assert_int_equal(drafted->n, plain->n);
    assert_memory_equal(drafted->tokens, plain->tokens, plain->n * sizeof *plain->tokens);
    assert_int_equal(drafted->result.stop, plain->result.stop);
    assert_int_equal(drafted->result.n_past, plain->result.n_past);
}

/* Samplers of all kinds, gentle enough that the text quotes. */
static sampler_settings settings_of(size_t kind)
{
    sampler_settings s = sampler_default_settings();
    s.seed = 7;
    s.temp = 0;
    switch (kind) {
    case 0: break;
    case 1: s.temp = 0.3f; break;
    case 2: s.temp = 0.8f; break;
    case 3: s.temp = 0.8f, s.repeat_penalty = 1.05f; break;
    case 4: s.presence_penalty = 0.1f, s.frequency_penalty = 0.01f, s.repeat_last_n = -1; break;
    case 5: s.dry_multiplier = 0.05f, s.dry_allowed_length = 12; break;
    case 6: s.temp = 1, s.mirostat = 1, s.mirostat_tau = 1; break;
    case 7: s.temp = 1, s.mirostat = 2, s.mirostat_tau = 1; break;
    case 8: s.temp = 0.3f, s.top_k = 0; break;
    default: s.temp = 0.5f, s.xtc_probability = 0.2f, s.typical_p = 0.9f; break;
    }
    return s;
}

enum { N_KINDS = 10 };

static void the_same_tokens_over_any_chain(void **state)
{
    rig *r = *state;
    static answer plain[N_KINDS], drafted;
    open_chain(r, 1, 0);
    for (size_t i = 0; i < N_KINDS; i++) {
        sampler_settings s = settings_of(i);
        generate_answer(r, psalm, &s, 0, 160, &plain[i]);
        assert_int_equal(plain[i].n_rows, plain[i].n - 1);
    }
    uint64_t n_kept = 0, n_vain = 0;
    for (uint32_t chain = 0; chain < 3; chain++) {
        if (chain > 0) open_chain(r, 2, chain == 1 ? 0 : 3); /* 3 rows a frame: a draft is cut */
        for (size_t i = 0; i < N_KINDS; i++) {
            sampler_settings s = settings_of(i);
            generate_answer(r, psalm, &s, chain == 1 ? DRAFTER_MOST : DRAFTER_DEFAULT_MAX, 160, &drafted);
            expect_the_same(&plain[i], &drafted);
            n_kept += drafted.result.n_kept;
            n_vain += drafted.n_rows - (drafted.n - 1);
        }
    }
    assert_true(n_kept > 500 && n_vain > 20);
}

static void text_that_quotes_takes_few_steps(void **state)
{
    rig *r = *state;
    static answer plain, drafted;
    open_chain(r, 2, 0);
    sampler_settings s = settings_of(0);
    generate_answer(r, psalm, &s, 0, 200, &plain);
    generate_answer(r, psalm, &s, DRAFTER_DEFAULT_MAX, 200, &drafted);
    expect_the_same(&plain, &drafted);
    assert_int_equal(plain.result.n_steps, 199);
    assert_true(drafted.result.n_steps * 4 < 199);
    assert_int_equal(drafted.n_rows, drafted.result.n_steps + drafted.result.n_drafted);
}

static void other_text_takes_three_percent_more_rows_at_most(void **state)
{
    rig *r = *state;
    static answer plain, drafted;
    uint64_t n_tokens = 0, n_rows = 0;
    open_chain(r, 1, 0);
    for (uint64_t seed = 0; seed < 8; seed++) {
        sampler_settings s = sampler_default_settings();
        s.seed = seed;
        s.temp = 1;
        generate_answer(r, "In the beginning", &s, 0, 450, &plain);
        generate_answer(r, "In the beginning", &s, DRAFTER_DEFAULT_MAX, 450, &drafted);
        expect_the_same(&plain, &drafted);
        n_tokens += plain.n_rows;
        n_rows += drafted.n_rows;
    }
    if ((double)n_rows > 1.03 * (double)n_tokens)
        fail_msg("%llu rows for %llu", (unsigned long long)n_rows, (unsigned long long)n_tokens);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_tokens_over_any_chain),
        cmocka_unit_test(text_that_quotes_takes_few_steps),
        cmocka_unit_test(other_text_takes_three_percent_more_rows_at_most),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
