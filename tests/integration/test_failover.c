/* test_failover.c: workers that are lost in the middle of an answer, as real processes over TCP, and a text that must not show it.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "expect_child.h"
#include "model_maker.h"
#include "scratch_dir.h"

#define YLLAMA YLLAMA_BIN_DIR "/yllama"
#define WORKER YLLAMA_BIN_DIR "/yllama-worker"

/* Sanitizers make programs many times slower: shorter texts, more patience with who is silent, and of the stages the first and the
 * last. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SLOW 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SLOW 1
#endif
#endif
#ifdef IS_SLOW
#define TIMEOUT "4"
#define SIX_TIMEOUTS "24"
enum { N_PROMPT = 1500, STAGE_STEP = 2 };
static const char N_TOKENS[] = "300";
#else
#define TIMEOUT "2"
#define SIX_TIMEOUTS "12"
enum { N_PROMPT = 6000, STAGE_STEP = 1 };
static const char N_TOKENS[] = "1000";
#endif

enum { N_STAGES = 3, N_WORKERS = 5 };

static const char *const NAMES[N_WORKERS] = {"a", "b", "c", "d", "e"};

typedef struct rig {
    scratch_dir dir;
    char model[SCRATCH_PATH_BYTES], address[64];
    char short_text[CHILD_OUTPUT_BYTES], long_text[CHILD_OUTPUT_BYTES]; /* undisturbed answers to the two prompts */
    char prompt[N_PROMPT + 1];
    child coordinator, workers[N_WORKERS];
} rig;

static void new_address(rig *r)
{
    snprintf(r->address, sizeof r->address, "tcp://127.0.0.1:%u", free_port());
}

/* An answer that is sampled, so that one other bit would make another text soon. The chain's flags follow. */
static void start_answer(rig *r, int is_long, ...)
{
    const char *const first[] = {"run",
                                 "-m",
                                 r->model,
                                 "-p",
                                 is_long ? r->prompt : "abc",
                                 "-n",
                                 is_long ? "100" : N_TOKENS,
                                 "--ignore-eos",
                                 "--seed",
                                 "7",
                                 "--temp",
                                 "0.9",
                                 "-c",
                                 "8192",
                                 "-ub",
                                 "16",
                                 NULL};
    va_list args;
    va_start(args, is_long);
    start_child(&r->coordinator, r->dir.path, YLLAMA, first, args);
    va_end(args);
}

static void start_worker(rig *r, int i)
{
    const char *argv[] = {WORKER, "--connect", r->address, "--name", NAMES[i], "-t", "1", "--timeout", TIMEOUT, NULL};
    child_end(&r->workers[i]);
    assert_true(child_start(&r->workers[i], argv, NULL, r->dir.path));
}

/* Workers measure their machine before they join, which takes its time: they do so beforehand, and sleep until they shall join. */
static void start_workers(rig *r, int n)
{
    for (int i = 0; i < n; i++) start_worker(r, i);
    for (int i = 0; i < n; i++) {
        expect_words(&r->workers[i], "looks for the coordinator");
        kill(r->workers[i].pid, SIGSTOP);
    }
}

static void join(rig *r, int i)
{
    kill(r->workers[i].pid, SIGCONT);
}

static void expect_one_of(child *c, const char *first, const char *second)
{
    for (int ms = 0; ms < PATIENCE_MS; ms += 100) {
        if (child_wait_for_words(c, first, 50) || child_wait_for_words(c, second, 50)) return;
    }
    fail_msg("'%s' says neither '%s' nor '%s'", c->err, first, second);
}

static void expect_text(rig *r, bool is_long)
{
    expect_end(&r->coordinator, 0, "tokens/s");
    assert_string_equal(r->coordinator.out, is_long ? r->long_text : r->short_text);
}

static int set_up(void **state)
{
    rig *r = calloc(1, sizeof *r);
    *state = r;
    if (!scratch_dir_init(&r->dir)) return -1;
    model_spec spec = model_spec_default();
    spec.hp.n_layer = 6;
    spec.hp.n_ctx_train = 8192;
    yl_error err = {0};
    if (model_maker_write(scratch_dir_path(&r->dir, r->model, "m.gguf"), &spec, &err)) fail_msg("%s", err.msg);
    for (int i = 0; i < N_PROMPT; i++) r->prompt[i] = (char)('a' + i * i % 23);
    start_answer(r, false, "--local", "1", NULL);
    expect_end(&r->coordinator, 0, NULL);
    memcpy(r->short_text, r->coordinator.out, sizeof r->short_text);
    start_answer(r, true, "--local", "1", NULL);
    expect_end(&r->coordinator, 0, NULL);
    memcpy(r->long_text, r->coordinator.out, sizeof r->long_text);
    return 0;
}

static int tear_down(void **state)
{
    rig *r = *state;
    child_end(&r->coordinator);
    for (int i = 0; i < N_WORKERS; i++) child_end(&r->workers[i]);
    scratch_dir_clear(&r->dir);
    free(r);
    return 0;
}

typedef enum phase { WHILE_LOADING, IN_PROMPT, IN_ANSWER } phase;

/* Three workers and n that stand by; they join one after the other, so that the first three are the stages. */
static void start_cluster(rig *r, phase when, int n_standby)
{
    new_address(r);
    start_workers(r, N_STAGES + n_standby);
    start_answer(r, when == IN_PROMPT, "--workers", "3", "--listen", r->address, "--timeout", TIMEOUT, NULL);
    expect_words(&r->coordinator, "waiting for 3 workers");
    for (int i = 0; i < N_STAGES - 1; i++) {
        char words[64];
        join(r, i);
        snprintf(words, sizeof words, "worker '%s' has joined", NAMES[i]);
        expect_words(&r->coordinator, words);
    }
    join(r, N_STAGES - 1);
    expect_words(&r->coordinator, "3 of 3 workers are here");
    for (int i = N_STAGES; i < N_STAGES + n_standby && when != WHILE_LOADING; i++) {
        join(r, i);
        expect_words(&r->coordinator, "it stands by");
    }
    if (when == IN_PROMPT) pause_ms(50);
    if (when == IN_ANSWER) assert_true(child_wait_for_output(&r->coordinator, 40, PATIENCE_MS));
}

/* Ends or stops a stage's worker; the text must come to its end as if nothing had been. */
static void lose_a_stage(rig *r, int stage, phase when, int how, int n_standby)
{
    print_message("stage %d, phase %d, signal %d, %d standing by\n", stage, (int)when, how, n_standby);
    start_cluster(r, when, n_standby);
    kill(r->workers[stage].pid, how);
    if (when == WHILE_LOADING && n_standby) join(r, N_STAGES);
    char lost[64], left[64];
    snprintf(lost, sizeof lost, "worker '%s' was lost", NAMES[stage]);
    snprintf(left, sizeof left, "worker '%s' has left", NAMES[stage]); /* before it was given a part */
    if (when == WHILE_LOADING)
        expect_one_of(&r->coordinator, lost, left);
    else
        expect_words(&r->coordinator, lost);
    expect_text(r, when == IN_PROMPT);
    if (n_standby && when != WHILE_LOADING) assert_non_null(strstr(r->coordinator.err, "its layers go to 'd'"));
    if (!n_standby) assert_non_null(strstr(r->coordinator.err, "the layers are shared out over 2 workers"));
    for (int i = 0; i < N_WORKERS; i++) child_end(&r->workers[i]);
}

static void a_worker_that_was_killed_is_replaced(void **state)
{
    for (int stage = 0; stage < N_STAGES; stage += STAGE_STEP) {
        lose_a_stage(*state, stage, IN_ANSWER, SIGKILL, 1);
        lose_a_stage(*state, stage, IN_PROMPT, SIGKILL, 1);
        lose_a_stage(*state, stage, WHILE_LOADING, SIGKILL, 1);
    }
}

static void a_worker_that_hangs_is_replaced(void **state)
{
    for (int stage = 0; stage < N_STAGES; stage += STAGE_STEP) {
        lose_a_stage(*state, stage, IN_ANSWER, SIGSTOP, 1);
        lose_a_stage(*state, stage, IN_PROMPT, SIGSTOP, 1);
    }
}

static void those_that_are_left_share_the_layers(void **state)
{
    for (int stage = 0; stage < N_STAGES; stage += STAGE_STEP) {
        lose_a_stage(*state, stage, IN_ANSWER, stage == 1 ? SIGSTOP : SIGKILL, 0);
        lose_a_stage(*state, stage, IN_PROMPT, SIGKILL, 0);
    }
}

/* One is lost after another, and those that wake up again, or are started again, stand by for the next. */
static void who_comes_back_stands_by(void **state)
{
    rig *r = *state;
    start_cluster(r, IN_ANSWER, 1);
    kill(r->workers[1].pid, SIGSTOP);
    expect_words(&r->coordinator, "worker 'b' was lost");
    expect_words(&r->coordinator, "its layers go to 'd'");
    size_t n_out = r->coordinator.n_out;
    kill(r->workers[1].pid, SIGCONT);
    expect_one_of(&r->workers[1], "has taken us out", "is silent: waiting for it"); /* which of it b notices first */
    assert_true(child_wait_for_output(&r->coordinator, n_out + 10, PATIENCE_MS));
    expect_text(r, false);
}

static void a_worker_is_waited_for_when_none_is_left(void **state)
{
    rig *r = *state;
    start_cluster(r, IN_ANSWER, 0);
    for (int i = 0; i < N_STAGES; i++) kill(r->workers[i].pid, SIGKILL);
    expect_words(&r->coordinator, "none is left: waiting " SIX_TIMEOUTS " s for one to join");
    start_worker(r, 4);
    expect_words(&r->coordinator, "worker 'e' has joined");
    expect_text(r, false);

    start_cluster(r, IN_ANSWER, 0);
    for (int i = 0; i < N_STAGES; i++) kill(r->workers[i].pid, SIGKILL);
    expect_end(&r->coordinator, 3, "within " SIX_TIMEOUTS " s (6 times --timeout) none has joined");
}

int main(void)
{
    setenv("YLLAMA_LAYERS", "even", 1); /* these models are so small that one worker alone would be fastest */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_that_was_killed_is_replaced),     cmocka_unit_test(a_worker_that_hangs_is_replaced),
        cmocka_unit_test(those_that_are_left_share_the_layers),     cmocka_unit_test(who_comes_back_stands_by),
        cmocka_unit_test(a_worker_is_waited_for_when_none_is_left),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
