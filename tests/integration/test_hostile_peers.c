/* test_hostile_peers.c: strangers write to every socket of a chain, and the chain goes on as if nothing had been. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <glob.h>
#include <zmq.h>

#include "engine.h"
#include "expect_child.h"
#include "model_maker.h"
#include "prng.h"
#include "scratch_dir.h"

enum { N_VOCAB = 320, N_TOKENS = 40, N_STAGES = 2 };

typedef struct rig {
    scratch_dir dir;
    char model[SCRATCH_PATH_BYTES];
    engine *engine;
    int n_warnings;
    void *zmq;
} rig;

static void count_warnings(void *ctx, engine_log_level level, const char *line)
{
    (void)line;
    rig *r = ctx;
    r->n_warnings += level == ENGINE_LOG_WARN;
}

static int set_up(void **state)
{
    rig *r = calloc(1, sizeof *r);
    *state = r;
    if (!scratch_dir_init(&r->dir)) return -1;
    model_spec spec = model_spec_default();
    yl_error err = {0};
    if (model_maker_write(scratch_dir_path(&r->dir, r->model, "m.gguf"), &spec, &err)) fail_msg("%s", err.msg);
    setenv("TMPDIR", r->dir.path, 1); /* where the sockets will be */
    char log[SCRATCH_PATH_BYTES];
    engine_options o = {.model_path = r->model,
                        .n_local = N_STAGES,
                        .n_threads = 2,
                        .n_ctx = 128,
                        .worker_program = YLLAMA_BIN_DIR "/yllama-worker",
                        .log_path = scratch_dir_path(&r->dir, log, "workers.log"),
                        .on_log = count_warnings,
                        .ctx = r};
    if (engine_open(&r->engine, &o, &err)) fail_msg("%s", err.msg);
    r->zmq = zmq_ctx_new();
    return 0;
}

static int tear_down(void **state)
{
    rig *r = *state;
    zmq_ctx_term(r->zmq);
    engine_close(r->engine);
    scratch_dir_clear(&r->dir);
    free(r);
    return 0;
}

static yl_status keep_logits(void *ctx, const frame_answer *a, yl_error *err)
{
    (void)err;
    assert_int_equal(a->data.n_bytes, N_VOCAB * 4);
    memcpy(ctx, a->data.data, a->data.n_bytes);
    return YL_OK;
}

static void eval(rig *r, float logits[N_VOCAB])
{
    int32_t tokens[N_TOKENS];
    for (int i = 0; i < N_TOKENS; i++) tokens[i] = (i * 29 + 5) % N_VOCAB;
    frame_want want = {.row = N_TOKENS - 1, .kind = FRAME_WANT_ALL};
    yl_error err = {0};
    if (engine_eval(r->engine, 0, 0, tokens, N_TOKENS, &want, 1, keep_logits, logits, &err)) fail_msg("%s", err.msg);
}

/* A stranger's socket, connected to one of the chain's by the name of its file. */
static void *connect_to(rig *r, int type, const char *name)
{
    char pattern[SCRATCH_PATH_BYTES], endpoint[SCRATCH_PATH_BYTES + 8];
    snprintf(pattern, sizeof pattern, "%s/yllama-*/%s", r->dir.path, name);
    glob_t found;
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    snprintf(endpoint, sizeof endpoint, "ipc://%s", found.gl_pathv[0]);
    globfree(&found);
    void *socket = zmq_socket(r->zmq, type);
    int linger = 1000;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    assert_int_equal(zmq_connect(socket, endpoint), 0);
    return socket;
}

/* Frames that are none, and frames that should not be there. */
static void send_rubbish(void *socket)
{
    prng p = prng_stream(7, 0, 0);
    uint8_t bytes[200];
    for (int i = 0; i < 200; i++) {
        size_t n = (size_t)i;
        for (size_t j = 0; j < n; j++) bytes[j] = (uint8_t)prng_u64(&p);
        if (n > 3 && i % 3) memcpy(bytes, (uint8_t[]){0x9f, 1, (uint8_t)(i % 16), 1}, 4); /* looks like a frame of epoch 1 */
        zmq_send(socket, bytes, n, 0);
    }
    frame_bytes frame_out = {0};
    static const frame_kind KINDS[] = {FRAME_READY, FRAME_SHUTDOWN, FRAME_HEARTBEAT, FRAME_RESULT, FRAME_STATS};
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        frame f = {.kind = KINDS[i], .epoch = 0};
        if (KINDS[i] == FRAME_SHUTDOWN) continue; /* a worker obeys that, until links are authenticated */
        if (!frame_encode(&frame_out, &f, NULL)) zmq_send(socket, frame_out.data, frame_out.n, 0);
    }
    frame_bytes_clear(&frame_out);
    zmq_send(socket, "many", 4, ZMQ_SNDMORE);
    zmq_send(socket, "parts", 5, 0);
}

static void strangers_change_nothing(void **state)
{
    rig *r = *state;
    float before[N_VOCAB], after[N_VOCAB];
    eval(r, before);
    static const struct {
        int type;
        const char *name;
    } SOCKETS[] = {{ZMQ_DEALER, "control"}, {ZMQ_PUSH, "results"}, {ZMQ_PUSH, "data-0"}, {ZMQ_PUSH, "data-1"}};
    for (size_t i = 0; i < sizeof SOCKETS / sizeof *SOCKETS; i++) {
        void *socket = connect_to(r, SOCKETS[i].type, SOCKETS[i].name);
        send_rubbish(socket);
        pause_ms(200); /* some of it arrives while nobody computes, some while somebody does */
        eval(r, after);
        assert_memory_equal(before, after, sizeof before);
        zmq_close(socket);
    }
    eval(r, after);
    assert_memory_equal(before, after, sizeof before);
    assert_true(r->n_warnings > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(strangers_change_nothing)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
