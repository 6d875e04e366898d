/* test_uneven.c: workers that join with less memory, or slower, than others: who gets which layers, by real processes over TCP, and
 * that the bits do not show it.
 *
 * The model's weights are small; the KV cache of 32,768 positions is what fills memory, 16 MiB a layer. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <zmq.h>

#include "expect_child.h"
#include "frames.h"
#include "kernels.h"
#include "model_maker.h"
#include "scratch_dir.h"

#define YLLAMA YLLAMA_BIN_DIR "/yllama"
#define WORKER YLLAMA_BIN_DIR "/yllama-worker"

enum { N_WORKERS = 3, LOGIT_BYTES = 7 * 320 * 4 };

/* MiB that are enough for one layer and for three: a worker takes some 37, a layer 17. */
#define FOR_NONE "30"
#define FOR_ONE "60"
#define FOR_THREE "100"
#define MUCH_CONTEXT "32768"

typedef struct rig {
    scratch_dir dir;
    char model[SCRATCH_PATH_BYTES], address[64];
    child coordinator, workers[N_WORKERS];
} rig;

static int set_up(void **state)
{
    rig *r = calloc(1, sizeof *r);
    *state = r;
    if (!scratch_dir_init(&r->dir)) return -1;
    model_spec spec = model_spec_default();
    model_spec_set_type(&spec, QUANT_Q8_0);
    spec.hp.n_layer = 4;
    spec.hp.n_ctx_train = 32768;
    yl_error err = {0};
    if (model_maker_write(scratch_dir_path(&r->dir, r->model, "m.gguf"), &spec, &err)) fail_msg("%s", err.msg);
    snprintf(r->address, sizeof r->address, "tcp://127.0.0.1:%u", free_port());
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

static void start_worker(rig *r, int i, const char *name, ...)
{
    const char *const first[] = {"--connect", r->address, "--name", name, "-t", "1", NULL};
    va_list args;
    va_start(args, name);
    start_child(&r->workers[i], r->dir.path, WORKER, first, args);
    va_end(args);
}

static void start_answer(rig *r, ...)
{
    const char *const first[] = {"run",    "-m", r->model,  "-p",   "abc", "-n",        "300", "--ignore-eos",
                                 "--seed", "7",  "--draft", "none", "-v",  "--timeout", "2",   NULL};
    va_list args;
    va_start(args, r);
    start_child(&r->coordinator, r->dir.path, YLLAMA, first, args);
    va_end(args);
}

/* The logits of the same tokens, however they are computed: the coordinator's arguments follow. */
static void compute_logits(rig *r, uint8_t logits[LOGIT_BYTES], ...)
{
    char path[SCRATCH_PATH_BYTES];
    scratch_dir_path(&r->dir, path, "logits");
    const char *const first[] = {"logits", "-m", r->model, "--tokens", "1 5 9 200 31 7 300", "-o", path, "-v", NULL};
    va_list args;
    va_start(args, logits);
    start_child(&r->coordinator, r->dir.path, YLLAMA, first, args);
    va_end(args);
    expect_end(&r->coordinator, 0, NULL);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(logits, 1, LOGIT_BYTES, f);
    fclose(f);
    assert_int_equal(n, LOGIT_BYTES);
}

static bool says(const child *c, const char *words)
{
    return strstr(c->err, words) != NULL;
}

/* Which of the two comes first depends on what they measured. */
static void each_gets_what_its_memory_holds(void **state)
{
    rig *r = *state;
    static uint8_t local[LOGIT_BYTES], joined[LOGIT_BYTES];
    compute_logits(r, local, "--local", "1", "-c", MUCH_CONTEXT, NULL);
    start_worker(r, 0, "a", "--memory", FOR_ONE, NULL);
    start_worker(r, 1, "b", "--memory", FOR_THREE, NULL);
    compute_logits(r, joined, "--workers", "2", "--listen", r->address, "-c", MUCH_CONTEXT, NULL);
    const child *c = &r->coordinator;
    bool small_first = says(c, "'a' gets embedding, layer 0") && says(c, "'b' gets layers 1-3, head");
    bool small_last = says(c, "'b' gets embedding, layers 0-2") && says(c, "'a' gets layer 3, head");
    if (!small_first && !small_last) fail_msg("not one and three layers: %s", c->err);
    assert_memory_equal(local, joined, LOGIT_BYTES);
}

static void too_little_memory_is_one_sentence(void **state)
{
    rig *r = *state;
    start_worker(r, 0, "a", "--memory", FOR_ONE, NULL);
    start_worker(r, 1, "b", "--memory", FOR_NONE, NULL);
    start_answer(r, "--workers", "2", "--listen", r->address, "-c", MUCH_CONTEXT, NULL);
    expect_end(&r->coordinator, 1, "m.gguf: needs ");
    assert_true(says(&r->coordinator, "add a worker, or take a smaller quantization or -c"));
    start_answer(r, "--workers", "2", "--listen", r->address, "-c", "512", NULL);
    expect_end(&r->coordinator, 0, "tokens/s");
}

static void who_would_make_it_slower_stands_by(void **state)
{
    rig *r = *state;
    char expected[CHILD_OUTPUT_BYTES];
    if (strcmp(kernels_best()->isa, "scalar") == 0) {
        print_message("left out: this machine has no kernels but scalar ones\n");
        skip();
    }
    start_answer(r, "-c", MUCH_CONTEXT, NULL);
    expect_end(&r->coordinator, 0, NULL);
    memcpy(expected, r->coordinator.out, sizeof expected);
    start_worker(r, 0, "fast", NULL);
    start_worker(r, 1, "slow", "--isa", "scalar", NULL);
    start_answer(r, "--workers", "2", "--listen", r->address, "-c", MUCH_CONTEXT, NULL);
    expect_words(&r->coordinator, "worker 'slow' stands by: not faster with it (");
    assert_true(says(&r->coordinator, "'fast' gets embedding, layers 0-3, head"));
    kill(r->workers[0].pid, SIGKILL);
    expect_end(&r->coordinator, 0, "its layers go to 'slow'");
    assert_string_equal(expected, r->coordinator.out);
    assert_true(says(&r->coordinator, "slow: foreseen "));
}

/* One worker less, and the model does not fit those that are left. */
static void a_worker_is_waited_for_when_memory_is_short(void **state)
{
    rig *r = *state;
    char expected[CHILD_OUTPUT_BYTES];
    start_answer(r, "-c", MUCH_CONTEXT, NULL);
    expect_end(&r->coordinator, 0, NULL);
    memcpy(expected, r->coordinator.out, sizeof expected);
    start_worker(r, 0, "a", "--memory", FOR_ONE, NULL);
    start_worker(r, 1, "b", "--memory", FOR_THREE, NULL);
    start_answer(r, "--workers", "2", "--listen", r->address, "-c", MUCH_CONTEXT, NULL);
    expect_words(&r->coordinator, "2 of 2 workers are here");
    assert_true(child_wait_for_output(&r->coordinator, 10, PATIENCE_MS));
    kill(r->workers[1].pid, SIGKILL);
    expect_words(&r->coordinator, "waiting 12 s for one to join");
    start_worker(r, 2, "c", NULL);
    expect_end(&r->coordinator, 0, "worker 'b' was lost (its connection was closed): the layers are shared out over 1 worker");
    assert_true(says(&r->coordinator, "worker 'c' gets embedding, layers 0-3, head"));
    assert_true(says(&r->coordinator, "worker 'a' stands by: "));
    assert_string_equal(expected, r->coordinator.out);

    start_worker(r, 1, "b", "--memory", FOR_THREE, NULL);
    child_end(&r->workers[2]);
    start_answer(r, "--workers", "2", "--listen", r->address, "-c", MUCH_CONTEXT, NULL);
    assert_true(child_wait_for_output(&r->coordinator, 10, PATIENCE_MS));
    kill(r->workers[1].pid, SIGKILL);
    expect_end(&r->coordinator, 3, "yllama: worker 'b' was lost (its connection was closed), and ");
    assert_true(says(&r->coordinator, "add a worker, or take a smaller quantization or -c"));
}

static void layers_are_placed_by_hand(void **state)
{
    rig *r = *state;
    static uint8_t local[LOGIT_BYTES], joined[LOGIT_BYTES];
    compute_logits(r, local, "--local", "1", NULL);
    start_worker(r, 0, "a", NULL);
    start_worker(r, 1, "b", NULL);
    start_worker(r, 2, "c", NULL);
    compute_logits(r, joined, "--workers", "3", "--listen", r->address, "--layers", "b=0,a=1-3", NULL);
    const child *c = &r->coordinator;
    assert_true(says(c, "'b' gets embedding, layer 0") && says(c, "'a' gets layers 1-3, head"));
    assert_true(says(c, "worker 'c' stands by: as asked for"));
    assert_memory_equal(local, joined, LOGIT_BYTES);
    compute_logits(r, joined, "--workers", "3", "--listen", r->address, "--layers", "c=embedding,b=0-3,a=head", NULL);
    assert_true(says(c, "'c' gets embedding\n") && says(c, "'b' gets layers 0-3\n") && says(c, "'a' gets head\n"));
    assert_memory_equal(local, joined, LOGIT_BYTES);
    compute_logits(r, joined, "--workers", "3", "--listen", r->address, "--layers", "even", NULL);
    assert_true(says(c, "'a' gets embedding, layers 0-1") && says(c, "'b' gets layer 2") && says(c, "'c' gets layer 3, head"));
    assert_memory_equal(local, joined, LOGIT_BYTES);

    /* One alone is faster than a chain of equal ones, and by -v that is said. */
    start_answer(r, "--workers", "3", "--listen", r->address, "--layers", "b=0,a=1-3", NULL);
    expect_end(&r->coordinator, 0, "alone would be faster: ");
    assert_true(says(c, "b: foreseen ") && says(c, "a: foreseen "));

    start_answer(r, "--workers", "3", "--listen", r->address, "--layers", "a=0-1,d=2-3", NULL);
    expect_end(&r->coordinator, 2, "--layers: there is no machine 'd', there is a, b, c");
    start_answer(r, "--workers", "3", "--listen", r->address, NULL);
    expect_end(&r->coordinator, 0, "tokens/s"); /* nobody minded */
}

/* Said at once: nobody is there to wait for. */
static void mistakes_by_hand_are_told_before_anybody_joins(void **state)
{
    rig *r = *state;
    static const char *const CASES[][2] = {
        {"a=0-1", "nobody has layers 2 to 3"},
        {"a=0-1,b=1-3", "'b=1-3': the next layer is 2"},
        {"a=0-1,b=3", "'b=3': the next layer is 2"},
        {"a=0-1,b=2-4", "the last one 3"},
        {"a=0-1,a=2-3", "'a' comes twice"},
        {"a=0-1,b=x", "'x' is not FIRST-LAST"},
        {"", "is not NAME=FIRST-LAST"},
        {"a,b", "is not NAME=FIRST-LAST"},
        {"a=0,b=1,c=2-3", "--layers names 3 workers: wait for as many (--workers 3)"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        start_answer(r, "--workers", "2", "--listen", r->address, "--layers", CASES[i][0], NULL);
        expect_end(&r->coordinator, 2, CASES[i][1]);
    }
    start_answer(r, "--local", "2", "--layers", "a=0-3", NULL);
    expect_end(&r->coordinator, 2, "--layers is for workers that join");
}

/* Says HELLO with this claim; *f is what comes back. */
static void claim(rig *r, uint64_t bytes_per_s, frame *f, frame_scratch *scratch)
{
    static uint8_t answer[1024];
    void *zmq = zmq_ctx_new(), *socket = zmq_socket(zmq, ZMQ_DEALER);
    int linger_ms = 0, wait_ms = PATIENCE_MS;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms);
    assert_int_equal(zmq_connect(socket, r->address), 0);
    frame hello = {.kind = FRAME_HELLO};
    hello.hello = (frame_hello){.name = {(const uint8_t *)"x", 1},
                                .data_endpoint = {(const uint8_t *)"tcp://127.0.0.1:9", 17},
                                .n_threads = 1,
                                .bytes_per_s = bytes_per_s,
                                .macs_per_s = 1};
    frame_bytes bytes = {0};
    assert_int_equal(frame_encode(&bytes, &hello, NULL), YL_OK);
    zmq_send(socket, bytes.data, bytes.n, 0);
    frame_bytes_clear(&bytes);
    int n = zmq_recv(socket, answer, sizeof answer, 0);
    assert_true(n > 0);
    assert_int_equal(frame_decode(f, scratch, answer, (size_t)n, NULL), YL_OK);
    zmq_close(socket);
    zmq_ctx_term(zmq);
}

static void claims_of_speed_that_cannot_be(void **state)
{
    rig *r = *state;
    frame f;
    frame_scratch *scratch;
    assert_int_equal(frame_scratch_new(&scratch, NULL), YL_OK);
    start_answer(r, "--workers", "2", "--listen", r->address, NULL);
    expect_words(&r->coordinator, "waiting for 2 workers");
    claim(r, FRAME_MAX_SPEED + 1, &f, scratch);
    assert_int_equal(f.kind, FRAME_ERROR);
    assert_non_null(memmem(f.error.message.data, f.error.message.n_bytes, "bytes_per_s", 11));
    start_worker(r, 0, "a", NULL);
    expect_words(&r->workers[0], "has joined");
    claim(r, 1, &f, scratch); /* a byte a second: no computer, but no reason to fail */
    assert_int_equal(f.kind, FRAME_HEARTBEAT);
    expect_words(&r->coordinator, "worker 'x' has joined");
    start_worker(r, 1, "b", NULL);
    expect_end(&r->coordinator, 0, "tokens/s");
    frame_scratch_free(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_gets_what_its_memory_holds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_little_memory_is_one_sentence, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_would_make_it_slower_stands_by, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_worker_is_waited_for_when_memory_is_short, set_up, tear_down),
        cmocka_unit_test_setup_teardown(layers_are_placed_by_hand, set_up, tear_down),
        cmocka_unit_test_setup_teardown(mistakes_by_hand_are_told_before_anybody_joins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(claims_of_speed_that_cannot_be, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
