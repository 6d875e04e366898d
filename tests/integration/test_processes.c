/* test_processes.c: the programs as users start them: what they print, how they end, and that nothing stays behind. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "expect_child.h"
#include "model_maker.h"
#include "scratch_dir.h"

#define YLLAMA YLLAMA_BIN_DIR "/yllama"
#define WORKER YLLAMA_BIN_DIR "/yllama-worker"

typedef struct rig {
    scratch_dir dir;
    char model[SCRATCH_PATH_BYTES]; /* slow enough that a signal finds it at work */
    child child;
} rig;

static int set_up(void **state)
{
    rig *r = calloc(1, sizeof *r);
    *state = r;
    if (!scratch_dir_init(&r->dir)) return -1;
    model_spec spec = model_spec_default();
    spec.hp.n_layer = 4;
    spec.hp.n_ctx_train = 4096;
    yl_error err = {0};
    if (model_maker_write(scratch_dir_path(&r->dir, r->model, "m.gguf"), &spec, &err)) fail_msg("%s", err.msg);
    return 0;
}

static int tear_down(void **state)
{
    rig *r = *state;
    child_end(&r->child);
    scratch_dir_clear(&r->dir);
    free(r);
    return 0;
}

/* Starts yllama with these arguments (the last one NULL). */
static child *start(rig *r, ...)
{
    va_list args;
    va_start(args, r);
    start_child(&r->child, r->dir.path, YLLAMA, NULL, args);
    va_end(args);
    return &r->child;
}

/* Two local workers, an answer that goes on until it is stopped. Without a cache: the thread that checks one runs only when nothing
 * else does, and a process that was killed is gone only when its last thread is. */
static child *start_long_answer(rig *r)
{
    child *c = start(r, "run", "-m", r->model, "--local", "2", "-t", "1", "-p", "abc", "-n", "-1", "--ignore-eos", "--timeout", "2",
                     "-c", "4096", "--no-cache", NULL);
    if (!child_wait_for_output(c, 20, PATIENCE_MS)) fail_msg("no answer: %s", c->err);
    return c;
}

/* It ends with this code, says this, and leaves no process and no socket. */
static void expect_clean_end(rig *r, int code, const char *words)
{
    expect_end(&r->child, code, words);
    char sockets[SCRATCH_PATH_BYTES];
    scratch_dir_path(&r->dir, sockets, "yllama-");
    assert_true(processes_gone(sockets, 5000));
}

static pid_t a_worker(const rig *r)
{
    char name[SCRATCH_PATH_BYTES];
    pid_t pids[8];
    scratch_dir_path(&r->dir, name, "yllama-");
    int n = processes_with(name, pids, 8);
    assert_int_equal(n, 2);
    return pids[1];
}

static void a_finished_answer_leaves_nothing(void **state)
{
    rig *r = *state;
    start(r, "run", "-m", r->model, "--local", "3", "-p", "abc", "-n", "8", "--ignore-eos", NULL);
    expect_clean_end(r, 0, "tokens/s");
    assert_non_null(strstr(r->child.err, "worker-2"));
    start(r, "run", "-m", r->model, "--local", "2", "--pin", "-p", "abc", "-n", "8", "--ignore-eos", NULL);
    expect_clean_end(r, 0, "tokens/s");
}

static void an_interrupted_answer_leaves_nothing(void **state)
{
    rig *r = *state;
    static const int SIGNALS[] = {SIGINT, SIGTERM};
    for (int i = 0; i < 2; i++) {
        child *c = start_long_answer(r);
        kill(c->pid, SIGNALS[i]);
        expect_clean_end(r, 130, NULL);
    }
}

static void workers_die_with_their_coordinator(void **state)
{
    rig *r = *state;
    child *c = start_long_answer(r);
    kill(c->pid, SIGKILL);
    expect_clean_end(r, 128 + SIGKILL, NULL);
}

static void a_killed_worker_is_named(void **state)
{
    rig *r = *state;
    start_long_answer(r);
    kill(a_worker(r), SIGKILL);
    expect_clean_end(r, 3, "was killed by signal 9");
}

static void a_worker_that_hangs_is_named(void **state)
{
    rig *r = *state;
    start_long_answer(r);
    pid_t pid = a_worker(r);
    kill(pid, SIGSTOP);
    expect_clean_end(r, 3, "has been silent for");
}

/* Same seed, same text, over any number of workers. */
static void seeds_reproduce(void **state)
{
    rig *r = *state;
    char first[CHILD_OUTPUT_BYTES];
    static const char *const LOCAL[] = {"1", "2", "4"};
    for (int i = 0; i < 3; i++) {
        start(r, "run", "-m", r->model, "--local", LOCAL[i], "-p", "abc", "-n", "40", "--ignore-eos", "--seed", "42", "--temp",
              "1.5", NULL);
        expect_clean_end(r, 0, NULL);
        if (i == 0) memcpy(first, r->child.out, sizeof first);
        assert_string_equal(first, r->child.out);
    }
    start(r, "run", "-m", r->model, "-p", "abc", "-n", "40", "--ignore-eos", "--seed", "43", "--temp", "1.5", NULL);
    expect_clean_end(r, 0, NULL);
    assert_string_not_equal(first, r->child.out);
}

/* Weights that are streamed, copied or mapped give the same text. */
static void weights_come_either_way(void **state)
{
    rig *r = *state;
    char first[CHILD_OUTPUT_BYTES];
    static const char *const HOW[] = {"--mmap", "--no-mmap", "--no-cache", "--stream-weights"};
    for (int i = 0; i < 4; i++) {
        start(r, "run", "-m", r->model, "--local", "2", "-p", "abc", "-n", "20", "--ignore-eos", "--temp", "0", HOW[i], NULL);
        expect_clean_end(r, 0, NULL);
        if (i == 0) memcpy(first, r->child.out, sizeof first);
        assert_string_equal(first, r->child.out);
    }
}

/* Nobody types for several times as long as a worker waits for its coordinator. */
static void a_chat_survives_its_pauses(void **state)
{
    rig *r = *state;
    char command[1024];
    snprintf(command, sizeof command,
             "(sleep 3; echo abc; sleep 3; echo def) | " YLLAMA
             " chat -m %s --chat-template chatml -n 3 --ignore-eos --timeout 1.5",
             r->model);
    const char *const argv[] = {"/bin/sh", "-c", command, NULL};
    assert_true(child_start(&r->child, argv, NULL, r->dir.path));
    expect_clean_end(r, 0, NULL);
    assert_null(strstr(r->child.err, "silent"));
}

static void models_that_cannot_be_opened(void **state)
{
    rig *r = *state;
    start(r, "run", "-m", "/nowhere/model.gguf", "-p", "abc", NULL);
    expect_clean_end(r, 1, "/nowhere/model.gguf");
    start(r, "run", "-p", "abc", NULL);
    expect_clean_end(r, 2, "-m");
    struct stat st;
    assert_int_equal(stat(r->model, &st), 0);
    assert_int_equal(truncate(r->model, st.st_size / 2), 0);
    start(r, "run", "-m", r->model, "-p", "abc", NULL);
    expect_clean_end(r, 1, "Was the download cut short?");
}

static void a_context_that_overflows(void **state)
{
    rig *r = *state;
    start(r, "run", "-m", r->model, "-p", "abcdefghijklmnopqrstuvwxyz abcdefghijklmnopqrstuvwxyz", "-c", "16", "-n", "4", NULL);
    expect_clean_end(r, 1, "-c");
    start(r, "run", "-m", r->model, "-p", "abc", "-c", "16", "-n", "-1", "--ignore-eos", NULL);
    expect_clean_end(r, 0, "context");
    start(r, "run", "-m", r->model, "-p", "abc", "-c", "8192", "-n", "1", NULL);
    expect_clean_end(r, 0, "the model was trained for 4096");
}

static void more_workers_than_layers(void **state)
{
    rig *r = *state;
    start(r, "run", "-m", r->model, "-p", "abc", "--local", "6", NULL);
    expect_clean_end(r, 2, "take at most 5");
}

static void a_worker_explains_itself(void **state)
{
    rig *r = *state;
    const char *const alone[] = {WORKER, NULL};
    assert_true(child_start(&r->child, alone, NULL, r->dir.path));
    expect_clean_end(r, 2, "--connect is missing");
    const char *const nobody[] = {WORKER, "--connect", "tcp://127.0.0.1:9", "--once", "--timeout", "0.3", NULL};
    child_end(&r->child);
    assert_true(child_start(&r->child, nobody, NULL, r->dir.path));
    expect_clean_end(r, 3, "has been silent for");
    const char *const bad[] = {WORKER, "--connect", "tcp://127.0.0.1:9", "--data", "tcp://256.0.0.1:99", "--insecure", NULL};
    child_end(&r->child);
    assert_true(child_start(&r->child, bad, NULL, r->dir.path));
    expect_clean_end(r, 1, "there is no machine '256.0.0.1'");
    const char *const cores[] = {WORKER, "--connect", "tcp://127.0.0.1:9", "--cpus", "3-1", NULL};
    child_end(&r->child);
    assert_true(child_start(&r->child, cores, NULL, r->dir.path));
    expect_clean_end(r, 2, "'3-1' is no list of cores");
    const char *const isa[] = {WORKER, "--connect", "tcp://127.0.0.1:9", "--isa", "mmx", NULL};
    child_end(&r->child);
    assert_true(child_start(&r->child, isa, NULL, r->dir.path));
    expect_clean_end(r, 2, "scalar, and not: mmx");
    const char *const crowd[] = {WORKER,   "--connect", "tcp://127.0.0.1:9", "--once", "--timeout", "0.1",
                                 "--cpus", "0-1023",    "--threads",         "256",    NULL};
    child_end(&r->child);
    assert_true(child_start(&r->child, crowd, NULL, r->dir.path));
    expect_clean_end(r, 3, "has been silent for"); /* more threads than cores work */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_finished_answer_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_interrupted_answer_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(workers_die_with_their_coordinator, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_killed_worker_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_worker_that_hangs_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(seeds_reproduce, set_up, tear_down),
        cmocka_unit_test_setup_teardown(weights_come_either_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_chat_survives_its_pauses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(models_that_cannot_be_opened, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_context_that_overflows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(more_workers_than_layers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_worker_explains_itself, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
