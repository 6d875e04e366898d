/* test_decode_allocations.c: a decode step allocates nothing, and copies a row once on its way in and once on its way out.
 *
 * Three stages on one thread, joined by ZeroMQ sockets as in worker processes: what comes from a socket goes through a letter, the
 * worker and its outbox to the next socket. The linker sends our own calls of malloc and memcpy through this file; those of
 * ZeroMQ, which is a library of its own, are its business. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model_maker.h"
#include "native_letter.h"
#include "scratch_dir.h"

enum { N_STAGES = 3, N_PROMPT = 20, N_WARM = 3, N_STEPS = 50, N_CTX = 100, EPOCH = 1 };

/* ---- counting ---- */

/* What the thread that steps does, while it is told to count. */
static _Thread_local bool counting;
static _Thread_local size_t n_heap_calls, n_row_copies, row_bytes;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t alignment, size_t n);
void __real_free(void *p);
void *__real_memcpy(void *to, const void *from, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t alignment, size_t n);
void __wrap_free(void *p);
void *__wrap_memcpy(void *to, const void *from, size_t n);

void *__wrap_malloc(size_t n)
{
    n_heap_calls += counting;
    return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    n_heap_calls += counting;
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    n_heap_calls += counting;
    return __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t alignment, size_t n)
{
    n_heap_calls += counting;
    return __real_aligned_alloc(alignment, n);
}

void __wrap_free(void *p)
{
    n_heap_calls += counting;
    __real_free(p);
}

void *__wrap_memcpy(void *to, const void *from, size_t n)
{
    n_row_copies += counting && n == row_bytes;
    return __real_memcpy(to, from, n);
}

/* ---- a chain ---- */

typedef struct stage {
    worker *worker;
    outbox outbox;
    slice_range range;
    void *in, *out, *control; /* control: what the worker says to the coordinator */
} stage;

typedef struct rig {
    scratch_dir dir;
    gguf *model;
    hparams hp;
    uint8_t id[FRAME_ID_BYTES];
    thread_pool *pool;
    letter_pool *letters;
    frame_scratch *scratch;
    void *zmq, *first, *results, *control;
    stage stages[N_STAGES];
    uint64_t step;
    uint32_t pos;
} rig;

static uint64_t tick(void *ctx)
{
    return ++*(uint64_t *)ctx;
}

static const uint8_t *find_tensor(void *ctx, const frame_tensor *t, uint64_t n_bytes)
{
    const rig *r = ctx;
    char name[TENSOR_NAME_BYTES];
    const gguf_tensor *g = gguf_find_tensor(r->model, tensor_role_name(name, t->role, t->layer));
    return g && g->n_bytes == n_bytes ? g->data : NULL;
}

static void *open_socket(rig *r, int type, const char *bind, const char *connect)
{
    void *socket = zmq_socket(r->zmq, type);
    int linger = 0;
    assert_non_null(socket);
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    if (bind) assert_int_equal(zmq_bind(socket, bind), 0);
    if (connect) assert_int_equal(zmq_connect(socket, connect), 0);
    return socket;
}

static void open_sockets(rig *r)
{
    static const char *const ADDRESS[N_STAGES + 1] = {"inproc://stage-0", "inproc://stage-1", "inproc://stage-2",
                                                      "inproc://results"};
    r->zmq = zmq_ctx_new();
    r->control = open_socket(r, ZMQ_PULL, "inproc://control", NULL);
    for (int i = 0; i < N_STAGES; i++) r->stages[i].in = open_socket(r, ZMQ_PULL, ADDRESS[i], NULL);
    r->results = open_socket(r, ZMQ_PULL, ADDRESS[N_STAGES], NULL);
    r->first = open_socket(r, ZMQ_PUSH, NULL, ADDRESS[0]);
    for (int i = 0; i < N_STAGES; i++) {
        r->stages[i].out = open_socket(r, ZMQ_PUSH, NULL, ADDRESS[i + 1]);
        r->stages[i].control = open_socket(r, ZMQ_PUSH, NULL, "inproc://control");
    }
}

static void send_frame(void *socket, const frame *f)
{
    frame_bytes bytes = {0};
    assert_int_equal(frame_encode(&bytes, f, NULL), YL_OK);
    assert_int_equal(zmq_send(socket, bytes.data, bytes.n, 0), bytes.n);
    frame_bytes_clear(&bytes);
}

/* Receives the next frame of a socket into r->scratch; what it views is gone afterwards, so only numbers in it are of use. */
static frame receive_frame(rig *r, void *socket)
{
    zmq_msg_t msg;
    frame f;
    zmq_msg_init(&msg);
    if (zmq_msg_recv(&msg, socket, ZMQ_DONTWAIT) < 0) fail_msg("nothing came");
    assert_int_equal(frame_decode(&f, r->scratch, zmq_msg_data(&msg), zmq_msg_size(&msg), NULL), YL_OK);
    if (f.kind == FRAME_ERROR) fail_msg("%.*s", (int)f.error.message.n_bytes, (const char *)f.error.message.data);
    zmq_msg_close(&msg);
    return f;
}

/* What the two threads of a worker process do, one after the other. */
static void run_stage(rig *r, stage *s)
{
    for (letter *l; (l = letter_receive(r->letters, s->in));)
        assert_int_equal(worker_receive(s->worker, letter_message(l), &s->outbox, NULL), YL_OK);
    worker_progress progress = WORKER_MORE;
    while (progress != WORKER_IDLE) {
        assert_int_equal(worker_step(s->worker, &s->outbox, &progress, NULL), YL_OK);
        if (progress == WORKER_REWIRE) worker_link_up(s->worker, worker_epoch(s->worker));
        while (s->outbox.n) {
            letter *l = letter_new(r->letters, LETTER_TO_NEXT);
            outbox_entry entry = {.bytes = l->bytes};
            outbox_pop(&s->outbox, &entry);
            l->bytes = entry.bytes;
            assert_true(letter_send(l, entry.to == WORKER_TO_NEXT ? s->out : s->control));
        }
    }
}

static void assign(rig *r, uint32_t i)
{
    static frame_tensor tensors[64];
    stage *s = &r->stages[i];
    frame f = {.kind = FRAME_ASSIGN, .epoch = EPOCH};
    f.assign = (frame_assign){.coordinator = 1,
                              .stage = i,
                              .n_stages = N_STAGES,
                              .hp = r->hp,
                              .range = s->range,
                              .n_ctx = N_CTX,
                              .n_seq = 2,
                              .max_rows = N_PROMPT,
                              .model_id = {r->id, sizeof r->id},
                              .tensors = tensors};
    for (uint32_t t = 0; t < slice_range_n_tensors(&s->range); t++) {
        slice_tensor st = slice_range_tensor_at(&s->range, &r->hp, t);
        const gguf_tensor *g;
        assert_int_equal(hparams_find_tensor(&g, r->model, &r->hp, st.role, st.layer, NULL), YL_OK);
        if (g)
            tensors[f.assign.n_tensors++] =
                (frame_tensor){.role = st.role, .layer = st.layer, .type = g->type, .n_rows = g->ne[1], .n_cols = g->ne[0]};
    }
    frame_bytes bytes = {0};
    assert_int_equal(frame_encode(&bytes, &f, NULL), YL_OK);
    worker_message m = {.data = bytes.data, .n_bytes = bytes.n, .release = free, .hint = bytes.data};
    assert_int_equal(worker_receive(s->worker, m, &s->outbox, NULL), YL_OK);
    run_stage(r, s);
    assert_int_equal(receive_frame(r, r->control).kind, FRAME_READY);
}

/* n rows, the candidates of the last wanted; and a list of ids, as penalties ask for it. */
static void send_forward(rig *r, uint32_t n)
{
    static uint8_t tokens[4 * N_PROMPT], listed[4 * 8];
    frame_segment segment = {.seq = 1, .step = ++r->step, .pos = r->pos, .n_rows = n};
    frame_want want = {.row = n - 1, .kind = FRAME_WANT_TOP, .top = 40, .listed = {listed, sizeof listed}};
    for (uint32_t i = 0; i < n; i++) tokens[4 * i] = (uint8_t)(r->pos + i);
    frame f = {.kind = FRAME_FORWARD, .epoch = EPOCH};
    f.forward = (frame_forward){.id = r->step,
                                .n_rows = n,
                                .n_segments = 1,
                                .segments = &segment,
                                .n_wants = 1,
                                .wants = &want,
                                .is_tokens = true,
                                .payload = {tokens, 4 * (size_t)n}};
    send_frame(r->first, &f);
    r->pos += n;
}

/* One stage does its part of a step, and is counted. */
static void run_counted(rig *r, stage *s)
{
    n_heap_calls = n_row_copies = 0;
    row_bytes = r->hp.n_embd * sizeof(float);
    counting = true;
    run_stage(r, s);
    counting = false;
}

static int set_up(void **state)
{
    rig *r = calloc(1, sizeof *r);
    *state = r;
    if (!scratch_dir_init(&r->dir)) return -1;
    char path[SCRATCH_PATH_BYTES];
    model_spec spec = model_spec_default();
    model_spec_set_type(&spec, QUANT_Q8_0); /* so that no kernel copies rows, as those of F32 do */
    yl_error err = {0};
    if (model_maker_write(scratch_dir_path(&r->dir, path, "m.gguf"), &spec, &err)) fail_msg("%s", err.msg);
    if (gguf_open(&r->model, path, &err) || hparams_read(&r->hp, r->model, &err)) fail_msg("%s", err.msg);
    assert_int_equal(frame_scratch_new(&r->scratch, NULL), YL_OK);
    assert_int_equal(letter_pool_new(&r->letters, NULL), YL_OK);
    assert_int_equal(thread_pool_new(&r->pool, 2, NULL), YL_OK);
    open_sockets(r);
    r->stages[0].range = (slice_range){.has_embd = true, .layer_begin = 0, .layer_end = 1};
    r->stages[1].range = (slice_range){.layer_begin = 1, .layer_end = r->hp.n_layer};
    r->stages[2].range = (slice_range){.has_head = true, .layer_begin = r->hp.n_layer, .layer_end = r->hp.n_layer};
    static uint64_t ticks;
    worker_env env = {.alloc = allocator_heap(),
                      .kernels = kernels_best(),
                      .pool = r->pool,
                      .counter = tick,
                      .counter_ctx = &ticks,
                      .source = {.model_id = {r->id, sizeof r->id}, .find = find_tensor, .ctx = r}};
    for (uint32_t i = 0; i < N_STAGES; i++) {
        assert_int_equal(worker_new(&r->stages[i].worker, &env, NULL), YL_OK);
        assign(r, i);
    }
    return 0;
}

static int tear_down(void **state)
{
    rig *r = *state;
    for (int i = 0; i < N_STAGES; i++) {
        stage *s = &r->stages[i];
        worker_free(s->worker);
        outbox_clear(&s->outbox);
        zmq_close(s->in);
        zmq_close(s->out);
        zmq_close(s->control);
    }
    zmq_close(r->first);
    zmq_close(r->results);
    zmq_close(r->control);
    zmq_ctx_term(r->zmq);
    letter_pool_free(r->letters);
    thread_pool_free(r->pool);
    frame_scratch_free(r->scratch);
    gguf_free(r->model);
    scratch_dir_clear(&r->dir);
    free(r);
    return 0;
}

static void steps_allocate_nothing(void **state)
{
    rig *r = *state;
    send_forward(r, N_PROMPT);
    for (int i = 0; i < N_STAGES; i++) {
        run_counted(r, &r->stages[i]);
        assert_true(i > 0 || n_heap_calls > 0); /* a frame longer than any before: the count works */
    }
    assert_int_equal(receive_frame(r, r->results).kind, FRAME_RESULT);
    for (int step = 0; step < N_WARM + N_STEPS; step++) {
        send_forward(r, 1);
        for (int i = 0; i < N_STAGES; i++) {
            run_counted(r, &r->stages[i]);
            if (step < N_WARM) continue;
            assert_int_equal(n_heap_calls, 0);
            /* In and out; the first stage's row comes from the embedding, the last one keeps its row for LOGITS. */
            assert_true(n_row_copies <= (i == 0 ? 1 : 2));
        }
        frame f = receive_frame(r, r->results);
        assert_int_equal(f.kind, FRAME_RESULT);
        assert_int_equal(f.result.id, r->step);
        assert_int_equal(f.result.n_answers, 1);
    }
    assert_int_equal(worker_n_past(r->stages[1].worker, 1), N_PROMPT + N_WARM + N_STEPS);
}

/* A sequence that forks goes on without an allocation: it takes pages of the pool. */
static void forks_allocate_nothing(void **state)
{
    rig *r = *state;
    send_forward(r, N_PROMPT);
    for (int i = 0; i < N_STAGES; i++) run_stage(r, &r->stages[i]);
    assert_int_equal(receive_frame(r, r->results).kind, FRAME_RESULT);
    for (int round = 0; round < 5; round++) {
        frame f = {.kind = FRAME_SEQ, .epoch = EPOCH};
        f.seq = (frame_seq){.id = 1000 + (uint64_t)round, .op = FRAME_SEQ_FORK, .seq = 1, .other = 0, .pos = r->pos};
        send_frame(r->first, &f);
        send_forward(r, 1);
        for (int i = 0; i < N_STAGES; i++) {
            run_counted(r, &r->stages[i]);
            if (round > 2) assert_int_equal(n_heap_calls, 0);
        }
        assert_int_equal(receive_frame(r, r->results).kind, FRAME_SEQ);
        assert_int_equal(receive_frame(r, r->results).kind, FRAME_RESULT);
        assert_int_equal(worker_n_past(r->stages[1].worker, 0), r->pos - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(steps_allocate_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(forks_allocate_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
