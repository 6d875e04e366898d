/* test_top.c: `yllama top` beside running chains: local ones, and one with a key. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cjson/cJSON.h>

#include "expect_child.h"
#include "key_file.h"
#include "model_maker.h"
#include "scratch_dir.h"

#define YLLAMA YLLAMA_BIN_DIR "/yllama"
#define WORKER YLLAMA_BIN_DIR "/yllama-worker"

enum { N_CHILDREN = 3, N_EMBD_BYTES = 4 };

typedef struct rig {
    scratch_dir dir;
    char model[SCRATCH_PATH_BYTES];
    uint32_t n_embd;
    child children[N_CHILDREN], top;
} rig;

static int set_up(void **state)
{
    rig *r = calloc(1, sizeof *r);
    *state = r;
    if (!scratch_dir_init(&r->dir)) return -1;
    model_spec spec = model_spec_default();
    spec.hp.n_layer = 4;
    spec.hp.n_ctx_train = 1 << 16;
    r->n_embd = spec.hp.n_embd;
    yl_error err = {0};
    if (model_maker_write(scratch_dir_path(&r->dir, r->model, "m.gguf"), &spec, &err)) fail_msg("%s", err.msg);
    return 0;
}

static int tear_down(void **state)
{
    rig *r = *state;
    child_end(&r->top);
    for (int i = 0; i < N_CHILDREN; i++) child_end(&r->children[i]);
    scratch_dir_clear(&r->dir);
    free(r);
    return 0;
}

static void start(rig *r, child *c, const char *program, ...)
{
    va_list args;
    va_start(args, program);
    start_child(c, r->dir.path, program, NULL, args);
    va_end(args);
}

/* Two local workers, which answer for longer than any test looks. */
static void start_local(rig *r, child *c)
{
    start(r, c, YLLAMA, "run", "-m", r->model, "--local", "2", "-t", "1", "-p", "abc", "-n", "60000", "--ignore-eos", "-c", "65536",
          "--draft", "none", "--no-cache", NULL);
    if (!child_wait_for_output(c, 20, PATIENCE_MS)) fail_msg("no answer: %s", c->err);
}

static double number(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItem(object, name);
    if (!cJSON_IsNumber(item)) fail_msg("'%s' is no number", name);
    return item->valuedouble;
}

/* A chain of two that decodes one sequence: what must hold of its figures at any speed. */
static void check_figures(const rig *r, const char *text)
{
    cJSON *root = cJSON_Parse(text);
    if (!root) fail_msg("no JSON: %s", text);
    assert_true(number(root, "turns_per_s") > 0);
    double turn_ms = number(root, "turn_ms"), busy_ms = 0;
    const cJSON *stages = cJSON_GetObjectItem(root, "stages");
    assert_int_equal(cJSON_GetArraySize(stages), 2);
    for (int i = 0; i < 2; i++) {
        const cJSON *s = cJSON_GetArrayItem(stages, i);
        assert_string_equal(cJSON_GetObjectItem(s, "state")->valuestring, "serving");
        assert_true(number(s, "rows_per_s") > 0);
        assert_true(number(s, "compute_ms") > 0);
        assert_true(number(s, "rss_bytes") > 0);
        assert_true(number(s, "round_trip_ms") > 0);
        busy_ms += number(s, "compute_ms") + number(s, "queue_ms");
    }
    assert_true(number(root, "wire_ms") <= turn_ms);
    assert_true(busy_ms > 0);
    /* One row of activations a micro-batch, and the rest of the frame. */
    const cJSON *first = cJSON_GetArrayItem(stages, 0);
    assert_true(number(first, "out_bytes_per_s") >= number(first, "rows_per_s") * N_EMBD_BYTES * r->n_embd);
    cJSON_Delete(root);
}

static void the_chain_of_this_machine_is_found(void **state)
{
    rig *r = *state;
    start_local(r, &r->children[0]);
    start(r, &r->top, YLLAMA, "top", "--once", "--json", NULL);
    expect_end(&r->top, 0, NULL);
    check_figures(r, r->top.out);
    start(r, &r->top, YLLAMA, "top", "--once", NULL);
    expect_end(&r->top, 0, NULL);
    assert_non_null(strstr(r->top.out, "worker-1"));
    assert_non_null(strstr(r->top.out, "micro-batches a second"));
    assert_null(strchr(r->top.out, '\033'));
}

static void of_several_one_must_be_named(void **state)
{
    rig *r = *state;
    start_local(r, &r->children[0]);
    start_local(r, &r->children[1]);
    start(r, &r->top, YLLAMA, "top", "--once", NULL);
    expect_end(&r->top, 2, "you run 2 coordinators");
    const char *address = strstr(r->top.err, "--connect ipc://");
    assert_non_null(address);
    char first[SCRATCH_PATH_BYTES];
    assert_int_equal(sscanf(address, "--connect %255[^, ]", first), 1);
    start(r, &r->top, YLLAMA, "top", "--once", "--json", "--connect", first, NULL);
    expect_end(&r->top, 0, NULL);
    check_figures(r, r->top.out);
}

/* It goes on until the chain ends, which is no failure of the chain's. */
static void it_ends_with_the_chain(void **state)
{
    rig *r = *state;
    start_local(r, &r->children[0]);
    start(r, &r->top, YLLAMA, "top", "--interval", "0.2", NULL);
    if (!child_wait_for_output(&r->top, 1000, PATIENCE_MS)) fail_msg("nothing: %s", r->top.err);
    kill(r->children[0].pid, SIGINT);
    expect_end(&r->children[0], 130, NULL);
    expect_end(&r->top, 3, "has ended");
    start(r, &r->top, YLLAMA, "top", NULL);
    expect_end(&r->top, 3, "you run no coordinator");
}

static void a_chain_with_a_key_shows_itself_to_who_has_it(void **state)
{
    rig *r = *state;
    char key[SCRATCH_PATH_BYTES], other[SCRATCH_PATH_BYTES], address[64];
    write_key(scratch_dir_path(&r->dir, key, "key"));
    write_key(scratch_dir_path(&r->dir, other, "other"));
    snprintf(address, sizeof address, "tcp://127.0.0.1:%u", free_port());
    start(r, &r->children[0], YLLAMA, "run", "-m", r->model, "--workers", "2", "--listen", address, "--key-file", key, "-p", "abc",
          "-n", "60000", "--ignore-eos", "-c", "65536", "--draft", "none", NULL);
    start(r, &r->children[1], WORKER, "--connect", address, "--key-file", key, "--name", "desk", "-t", "1", NULL);
    start(r, &r->children[2], WORKER, "--connect", address, "--key-file", key, "--name", "attic", "-t", "1", NULL);
    if (!child_wait_for_output(&r->children[0], 20, PATIENCE_MS)) fail_msg("no answer: %s", r->children[0].err);
    start(r, &r->top, YLLAMA, "top", "--once", "--json", "--connect", address, "--key-file", key, NULL);
    expect_end(&r->top, 0, NULL);
    check_figures(r, r->top.out);
    assert_non_null(strstr(r->top.out, "attic"));
    start(r, &r->top, YLLAMA, "top", "--once", "--connect", address, "--key-file", other, NULL);
    expect_end(&r->top, 3, "does not know this key");
    start(r, &r->top, YLLAMA, "top", "--once", "--connect", address, NULL);
    expect_end(&r->top, 3, "lets in only who has its key");
    char text[64];
    snprintf(text, sizeof text, "tcp://127.0.0.1:%u", free_port());
    start(r, &r->top, YLLAMA, "top", "--once", "--connect", text, "--key-file", key, NULL);
    expect_end(&r->top, 3, "no coordinator answers at");
}

int main(void)
{
    setenv("YLLAMA_LAYERS", "even", 1); /* these models are so small that one worker alone would be fastest */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_chain_of_this_machine_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(of_several_one_must_be_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_ends_with_the_chain, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_chain_with_a_key_shows_itself_to_who_has_it, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
