/* test_same_bits.c: the numerics contract, from outside: real worker processes, real sockets, compared with memcmp.
 *
 * One model with several formats, one prompt. Whatever changes (workers, threads, micro-batches, prefill or one token at a time,
 * mapped, cached, copied or streamed weights), the logits of every position are the same bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine.h"
#include "kernels.h"
#include "model_maker.h"
#include "scratch_dir.h"

enum { N_VOCAB = 320, N_LAYER = 4, N_TOKENS = 90 };

typedef struct rig {
    scratch_dir dir;
    char model[SCRATCH_PATH_BYTES];
    int32_t tokens[N_TOKENS];
    float *expected; /* [N_TOKENS, N_VOCAB]: scalar kernels, one worker, one thread, the whole prompt at once */
} rig;

static engine_options default_options(const rig *r)
{
    return (engine_options){.model_path = r->model,
                            .n_local = 1,
                            .n_threads = 1,
                            .n_ctx = 256,
                            .n_seq = 2,
                            .worker_program = YLLAMA_BIN_DIR "/yllama-worker"};
}

static yl_status keep_logits(void *ctx, const frame_answer *a, yl_error *err)
{
    (void)err;
    float *logits = ctx;
    assert_int_equal(a->data.n_bytes, N_VOCAB * 4);
    memcpy(logits + (size_t)a->row * N_VOCAB, a->data.data, a->data.n_bytes);
    return YL_OK;
}

/* Feeds tokens [first, first + n) of the rig at their positions; all their logits. */
static void eval(engine *e, const rig *r, uint32_t seq, size_t first, size_t n, float *logits)
{
    frame_want wants[N_TOKENS];
    for (size_t i = 0; i < n; i++) wants[i] = (frame_want){.row = (uint32_t)i, .kind = FRAME_WANT_ALL};
    yl_error err = {0};
    if (engine_eval(e, seq, (uint32_t)first, r->tokens + first, n, wants, n, keep_logits, logits + first * N_VOCAB, &err))
        fail_msg("%s", err.msg);
}

static engine *open_engine(const engine_options *o)
{
    engine *e;
    yl_error err = {0};
    if (engine_open(&e, o, &err)) fail_msg("%s", err.msg);
    return e;
}

/* Logits of the whole prompt, `step` tokens a call. */
static void run(const rig *r, const engine_options *o, size_t step, float *logits)
{
    engine *e = open_engine(o);
    for (size_t i = 0; i < N_TOKENS; i += step) eval(e, r, 0, i, step < N_TOKENS - i ? step : N_TOKENS - i, logits);
    engine_close(e);
}

static void expect_same_bits(const rig *r, const engine_options *o, size_t step)
{
    float *logits = calloc((size_t)N_TOKENS * N_VOCAB, sizeof *logits);
    assert_non_null(logits);
    run(r, o, step, logits);
    assert_memory_equal(logits, r->expected, (size_t)N_TOKENS * N_VOCAB * sizeof *logits);
    free(logits);
}

static int set_up(void **state)
{
    rig *r = calloc(1, sizeof *r);
    *state = r;
    if (!scratch_dir_init(&r->dir)) return -1;
    scratch_dir_path(&r->dir, r->model, "mixed.gguf");
    model_spec spec = model_spec_default();
    spec.hp.n_layer = N_LAYER;
    spec.types[TENSOR_ATTN_Q] = QUANT_Q8_0;
    spec.types[TENSOR_ATTN_K] = QUANT_F16;
    spec.types[TENSOR_ATTN_V] = QUANT_Q6_K;
    spec.types[TENSOR_ATTN_OUTPUT] = QUANT_Q4_0;
    spec.types[TENSOR_FFN_GATE] = QUANT_Q4_K;
    spec.types[TENSOR_FFN_UP] = QUANT_Q5_1;
    spec.types[TENSOR_FFN_DOWN] = QUANT_Q5_K;
    yl_error err = {0};
    if (model_maker_write(r->model, &spec, &err)) fail_msg("%s", err.msg);
    for (int i = 0; i < N_TOKENS; i++) r->tokens[i] = (i * 37 + 11) % N_VOCAB;
    r->expected = calloc((size_t)N_TOKENS * N_VOCAB, sizeof(float));
    engine_options o = default_options(r);
    o.isa = "scalar";
    run(r, &o, N_TOKENS, r->expected);
    return 0;
}

static int tear_down(void **state)
{
    rig *r = *state;
    scratch_dir_clear(&r->dir);
    free(r->expected);
    free(r);
    return 0;
}

static void any_number_of_workers(void **state)
{
    const rig *r = *state;
    for (uint32_t n = 2; n <= N_LAYER + 1; n++) {
        engine_options o = default_options(r);
        o.n_local = n;
        expect_same_bits(r, &o, N_TOKENS);
    }
}

static void any_number_of_threads(void **state)
{
    const rig *r = *state;
    for (uint32_t n = 2; n <= 4; n++) {
        engine_options o = default_options(r);
        o.n_threads = n;
        o.n_local = n % 2 + 1;
        expect_same_bits(r, &o, N_TOKENS);
    }
}

static void any_micro_batch(void **state)
{
    const rig *r = *state;
    static const uint32_t ROWS[] = {1, 7, 64};
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
        engine_options o = default_options(r);
        o.n_ubatch = ROWS[i];
        o.n_local = 2;
        expect_same_bits(r, &o, N_TOKENS);
    }
}

static void prefill_and_decode(void **state)
{
    const rig *r = *state;
    engine_options o = default_options(r);
    expect_same_bits(r, &o, 1);
    o.n_local = 3;
    expect_same_bits(r, &o, 1);
    expect_same_bits(r, &o, 7);
}

static void mapped_cached_copied_and_streamed(void **state)
{
    const rig *r = *state;
    engine_options o = default_options(r);
    o.n_local = 2;
    o.load = FRAME_LOAD_CACHE;
    expect_same_bits(r, &o, N_TOKENS); /* made */
    expect_same_bits(r, &o, N_TOKENS); /* found */
    o.load = FRAME_LOAD_MLOCK;
    expect_same_bits(r, &o, N_TOKENS);
    o.load = FRAME_LOAD_HEAP;
    expect_same_bits(r, &o, N_TOKENS);
    o.load = FRAME_LOAD_MMAP;
    o.stream_weights = true;
    expect_same_bits(r, &o, N_TOKENS);
}

/* Each table of kernels that this machine can run, on weights in tiles and in rows, for batches of every width. */
static void any_instruction_set(void **state)
{
    const rig *r = *state;
    static const char *const ISAS[] = {"scalar", "avx2", "avx512", "neon", "dotprod"};
    static const size_t STEPS[] = {N_TOKENS, 1, 3, 11};
    for (size_t i = 0; i < sizeof ISAS / sizeof *ISAS; i++) {
        if (!kernels_named(ISAS[i])) continue;
        engine_options o = default_options(r);
        o.isa = ISAS[i];
        expect_same_bits(r, &o, N_TOKENS);
        o.load = FRAME_LOAD_CACHE;
        expect_same_bits(r, &o, N_TOKENS);
        o.load = FRAME_LOAD_HEAP;
        o.n_threads = 2;
        for (size_t k = 0; k < sizeof STEPS / sizeof *STEPS; k++) expect_same_bits(r, &o, STEPS[k]);
        o.stream_weights = true;
        o.n_local = 2;
        expect_same_bits(r, &o, N_TOKENS);
    }
}

/* Keys and values in any format: other bits, but again the same however it is run. */
static void any_cache_type(void **state)
{
    const rig *r = *state;
    static const kv_type TYPES[][2] = {{KV_Q8_0, KV_Q8_0}, {KV_F32, KV_Q8_0}, {KV_Q8_0, KV_F16}, {KV_F32, KV_F32}};
    float *expected = calloc((size_t)N_TOKENS * N_VOCAB, sizeof *expected),
          *logits = calloc((size_t)N_TOKENS * N_VOCAB, sizeof *logits);
    assert_true(expected && logits);
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++) {
        engine_options o = default_options(r);
        o.type_k = TYPES[i][0];
        o.type_v = TYPES[i][1];
        o.isa = "scalar";
        run(r, &o, N_TOKENS, expected);
        assert_memory_not_equal(expected, r->expected, (size_t)N_TOKENS * N_VOCAB * sizeof *expected);
        o.isa = NULL;
        o.n_local = 2;
        o.n_threads = 2;
        for (size_t step = 1; step <= N_TOKENS; step += 12) {
            run(r, &o, step, logits);
            assert_memory_equal(logits, expected, (size_t)N_TOKENS * N_VOCAB * sizeof *logits);
        }
    }
    free(expected);
    free(logits);
}

/* A sequence is not disturbed by another that is fed in between, nor by what it was before it was released. */
static void sequences_do_not_meet(void **state)
{
    const rig *r = *state;
    engine_options o = default_options(r);
    o.n_local = 2;
    engine *e = open_engine(&o);
    float *logits = calloc((size_t)N_TOKENS * N_VOCAB, sizeof *logits), *other = calloc((size_t)N_TOKENS * N_VOCAB, sizeof *other);
    yl_error err = {0};
    int32_t noise[20];
    for (int i = 0; i < 20; i++) noise[i] = (i * 91) % N_VOCAB;
    assert_int_equal(engine_eval(e, 0, 0, noise, 20, NULL, 0, NULL, NULL, &err), YL_OK);
    assert_int_equal(engine_release(e, 0, &err), YL_OK);
    for (size_t i = 0; i < N_TOKENS; i += 30) {
        eval(e, r, 0, i, 30, logits);
        eval(e, r, 1, i, 30, other);
    }
    engine_close(e);
    assert_memory_equal(logits, r->expected, (size_t)N_TOKENS * N_VOCAB * sizeof *logits);
    assert_memory_equal(other, r->expected, (size_t)N_TOKENS * N_VOCAB * sizeof *other);
    free(logits);
    free(other);
}

/* Going back: feeding at an earlier position forgets what came after, whatever that was. */
static void a_sequence_can_be_cut_back(void **state)
{
    const rig *r = *state;
    engine_options o = default_options(r);
    o.n_local = 3;
    engine *e = open_engine(&o);
    float *logits = calloc((size_t)N_TOKENS * N_VOCAB, sizeof *logits);
    eval(e, r, 0, 0, 80, logits);
    int32_t wrong[30];
    for (int i = 0; i < 30; i++) wrong[i] = (i * 7) % N_VOCAB;
    yl_error err = {0};
    assert_int_equal(engine_eval(e, 0, 60, wrong, 30, NULL, 0, NULL, NULL, &err), YL_OK);
    eval(e, r, 0, 60, N_TOKENS - 60, logits);
    engine_close(e);
    assert_memory_equal(logits, r->expected, (size_t)N_TOKENS * N_VOCAB * sizeof *logits);
    free(logits);
}

typedef struct top_answer {
    uint8_t data[64 * 8], listed[3 * 4];
    float max, sum_exp;
} top_answer;

static yl_status keep_top(void *ctx, const frame_answer *a, yl_error *err)
{
    (void)err;
    top_answer *t = ctx;
    assert_int_equal(a->data.n_bytes, sizeof t->data);
    assert_int_equal(a->listed.n_bytes, sizeof t->listed);
    memcpy(t->data, a->data.data, sizeof t->data);
    memcpy(t->listed, a->listed.data, sizeof t->listed);
    t->max = a->max;
    t->sum_exp = a->sum_exp;
    return YL_OK;
}

/* The candidates are the largest of all logits in order, and asking again for all of them gives the same bits. */
static void candidates_are_the_largest_logits(void **state)
{
    const rig *r = *state;
    engine_options o = default_options(r);
    o.n_local = 2;
    engine *e = open_engine(&o);
    yl_error err = {0};
    static const uint8_t LISTED[] = {5, 0, 0, 0, 63, 1, 0, 0, 0, 0, 0, 0}; /* 5, 319, 0 */
    frame_want want = {.row = N_TOKENS - 1, .kind = FRAME_WANT_TOP, .top = 64, .listed = {LISTED, sizeof LISTED}};
    top_answer top;
    if (engine_eval(e, 0, 0, r->tokens, N_TOKENS, &want, 1, keep_top, &top, &err)) fail_msg("%s", err.msg);
    float again[N_VOCAB];
    frame_want all = {.kind = FRAME_WANT_ALL};
    if (engine_again(e, 0, N_TOKENS - 1, &all, keep_logits, again, &err)) fail_msg("%s", err.msg);
    engine_close(e);
    const float *expected = r->expected + (size_t)(N_TOKENS - 1) * N_VOCAB;
    assert_memory_equal(again, expected, sizeof again);
    frame_bin data = {top.data, sizeof top.data}, listed = {top.listed, sizeof top.listed};
    for (size_t i = 0; i < 64; i++) {
        int32_t token = frame_i32_at(data, 2 * i);
        float logit = frame_f32_at(data, 2 * i + 1);
        assert_memory_equal(&logit, &expected[token], 4);
        size_t n_before = 0;
        for (int32_t t = 0; t < N_VOCAB; t++) n_before += expected[t] > logit || (expected[t] == logit && t < token);
        assert_int_equal(n_before, i);
    }
    float five = frame_f32_at(listed, 0), last = frame_f32_at(listed, 1), first = frame_f32_at(listed, 2);
    assert_true(five == expected[5] && last == expected[319] && first == expected[0]);
    assert_true(top.max == frame_f32_at(data, 1) && top.sum_exp >= 1.0f && top.sum_exp <= (float)N_VOCAB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_workers),
        cmocka_unit_test(any_number_of_threads),
        cmocka_unit_test(any_micro_batch),
        cmocka_unit_test(prefill_and_decode),
        cmocka_unit_test(mapped_cached_copied_and_streamed),
        cmocka_unit_test(any_instruction_set),
        cmocka_unit_test(any_cache_type),
        cmocka_unit_test(sequences_do_not_meet),
        cmocka_unit_test(a_sequence_can_be_cut_back),
        cmocka_unit_test(candidates_are_the_largest_logits),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
