/* test_rounded_wire.c: activations that travel as f16 or q8_0 between real workers: half the bytes and less, and what comes out
 * depends on where the model was cut, but on nothing else. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine.h"
#include "expect_child.h"
#include "kernels.h"
#include "model_maker.h"
#include "scratch_dir.h"

#define YLLAMA YLLAMA_BIN_DIR "/yllama"

enum { N_VOCAB = 320, N_EMBD = 256, N_LAYER = 4, N_TOKENS = 60, N_STAGES = 3 };

typedef struct rig {
    scratch_dir dir;
    char model[SCRATCH_PATH_BYTES];
    int32_t tokens[N_TOKENS];
    char warning[YL_ERROR_MSG_BYTES]; /* the last one */
} rig;

/* What a chain gave. */
typedef struct outcome {
    float logits[N_TOKENS * N_VOCAB];
    uint64_t bytes_out;
    wire_loss loss; /* both of the first stage */
} outcome;

static int set_up(void **state)
{
    rig *r = calloc(1, sizeof *r);
    *state = r;
    if (!scratch_dir_init(&r->dir)) return -1;
    model_spec spec = model_spec_default();
    spec.hp.n_layer = N_LAYER;
    yl_error err = {0};
    if (model_maker_write(scratch_dir_path(&r->dir, r->model, "m.gguf"), &spec, &err)) fail_msg("%s", err.msg);
    for (int i = 0; i < N_TOKENS; i++) r->tokens[i] = (i * 7919 + i * i * 31) % N_VOCAB;
    return 0;
}

static int tear_down(void **state)
{
    rig *r = *state;
    scratch_dir_clear(&r->dir);
    free(r);
    return 0;
}

static void keep_warning(void *ctx, engine_log_level level, const char *line)
{
    rig *r = ctx;
    if (level == ENGINE_LOG_WARN) snprintf(r->warning, sizeof r->warning, "%s", line);
}

static yl_status keep_logits(void *ctx, const frame_answer *a, yl_error *err)
{
    (void)err;
    assert_int_equal(a->data.n_bytes, N_VOCAB * 4);
    memcpy((float *)ctx + (size_t)a->row * N_VOCAB, a->data.data, a->data.n_bytes);
    return YL_OK;
}

/* All tokens, `step` at a call. */
static void run(rig *r, wire_type wire, uint32_t n_stages, const char *isa, uint32_t step, outcome *out)
{
    engine_options o = {.model_path = r->model,
                        .n_local = n_stages,
                        .n_threads = 1,
                        .n_ctx = 256,
                        .wire = wire,
                        .isa = isa,
                        .worker_program = YLLAMA_BIN_DIR "/yllama-worker",
                        .on_log = keep_warning,
                        .ctx = r};
    engine *e;
    yl_error err = {0};
    r->warning[0] = 0;
    if (engine_open(&e, &o, &err)) fail_msg("%s", err.msg);
    for (uint32_t i = 0; i < N_TOKENS; i += step) {
        frame_want wants[N_TOKENS];
        for (uint32_t row = 0; row < step; row++) wants[row] = (frame_want){.row = row, .kind = FRAME_WANT_ALL};
        if (engine_eval(e, 0, i, r->tokens + i, step, wants, step, keep_logits, out->logits + (size_t)i * N_VOCAB, &err))
            fail_msg("%s", err.msg);
    }
    engine_stage stages[N_STAGES];
    if (engine_stages(e, stages, &err)) fail_msg("%s", err.msg);
    out->bytes_out = stages[0].stats.bytes_out;
    out->loss = stages[0].stats.loss;
    engine_close(e);
}

static double relative_distance(const float *a, const float *b)
{
    double power = 0, error = 0;
    for (size_t i = 0; i < N_TOKENS * N_VOCAB; i++) {
        power += (double)a[i] * a[i];
        error += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    }
    return sqrt(error / power);
}

static void check_type(rig *r, wire_type wire, double bytes_left, double most_lost)
{
    static outcome exact, rounded, again;
    static const char *const ISAS[] = {"scalar", "avx2", "avx512", "neon"};
    run(r, WIRE_F32, N_STAGES, NULL, N_TOKENS, &exact);
    assert_true(exact.loss.power == 0);
    assert_string_equal(r->warning, "");
    run(r, wire, N_STAGES, NULL, N_TOKENS, &rounded);
    assert_non_null(strstr(r->warning, "depends on where the model is cut"));
    double share = (double)rounded.bytes_out / (double)exact.bytes_out;
    assert_true(share < bytes_left + 0.02 && share > bytes_left - 0.02); /* the rest of a FORWARD is as long as ever */
    double lost = sqrt(rounded.loss.error / rounded.loss.power);
    assert_true(lost > 0 && lost < most_lost);
    double distance = relative_distance(exact.logits, rounded.logits);
    assert_true(distance > 0 && distance < 50 * most_lost);

    run(r, wire, N_STAGES, NULL, 20, &again); /* other micro-batches */
    assert_memory_equal(again.logits, rounded.logits, sizeof again.logits);
    for (size_t i = 0; i < sizeof ISAS / sizeof *ISAS; i++) {
        if (!kernels_named(ISAS[i])) continue;
        run(r, wire, N_STAGES, ISAS[i], N_TOKENS, &again);
        assert_memory_equal(again.logits, rounded.logits, sizeof again.logits);
        assert_int_equal(again.bytes_out, rounded.bytes_out);
    }
    run(r, wire, 1, NULL, N_TOKENS, &again); /* nothing travels */
    assert_memory_equal(again.logits, exact.logits, sizeof again.logits);
    assert_string_equal(r->warning, "");
}

static void f16_halves_the_bytes(void **state)
{
    check_type(*state, WIRE_F16, 0.5, 5e-4);
}

static void q8_0_leaves_28_percent_of_them(void **state)
{
    check_type(*state, WIRE_Q8_0, 36.0 / 128, 1e-2);
}

static void the_command_line_takes_it_and_says_what_was_lost(void **state)
{
    rig *r = *state;
    child c = {0};
    const char *argv[] = {YLLAMA, "run", "-m", r->model, "--local", "2", "--wire",       "f16",
                          "-p",   "abc", "-n", "8",      "--seed",  "7", "--ignore-eos", NULL};
    assert_true(child_start(&c, argv, NULL, r->dir.path));
    expect_end(&c, 0, "--wire f16: what travels between workers is rounded");
    expect_words(&c, "out, rounded by ");
    child_end(&c);
    argv[7] = "f8";
    assert_true(child_start(&c, argv, NULL, r->dir.path));
    expect_end(&c, 2, "is not f32, f16 or q8_0");
    child_end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(f16_halves_the_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(q8_0_leaves_28_percent_of_them, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_command_line_takes_it_and_says_what_was_lost, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
