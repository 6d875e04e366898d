/* test_worker.c: a worker without a process: frames in, steps, frames out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "counting_allocator.h"
#include "model_maker.h"
#include "scratch_dir.h"
#include "sha256.h"
#include "worker.h"

enum { N_VOCAB = 320, N_EMBD = 256, N_CTX = 100, N_SEQ = 3, MAX_ROWS = 32, EPOCH = 7 };

/* A worker with a two-layer model, and what it said. */
typedef struct rig {
    scratch_dir dir;
    gguf *model;
    hparams hp;
    counting_allocator memory;
    uint64_t ticks;
    bool has_source;
    uint8_t id[FRAME_ID_BYTES];
    worker *worker;
    outbox outbox;
    frame_scratch *scratch;
    outbox_entry last; /* whose bytes `answer` views */
    frame answer;
    frame_tensor tensors[64];
    uint32_t n_tensors;
} rig;

static uint64_t tick(void *ctx)
{
    rig *r = ctx;
    return ++r->ticks;
}

static const uint8_t *find_tensor(void *ctx, const frame_tensor *t, uint64_t n_bytes)
{
    rig *r = ctx;
    char name[TENSOR_NAME_BYTES];
    const gguf_tensor *g = gguf_find_tensor(r->model, tensor_role_name(name, t->role, t->layer));
    return g && g->n_bytes == n_bytes ? g->data : NULL;
}

static void start_worker(rig *r, uint64_t memory_bytes)
{
    counting_allocator_init(&r->memory, 0);
    worker_env env = {.alloc = &r->memory.allocator,
                      .kernels = kernels_named("scalar"),
                      .counter = tick,
                      .counter_ctx = r,
                      .memory_bytes = memory_bytes};
    if (r->has_source) env.source = (weight_source){.model_id = {r->id, sizeof r->id}, .find = find_tensor, .ctx = r};
    assert_int_equal(worker_new(&r->worker, &env, NULL), YL_OK);
}

static int set_up(void **state)
{
    rig *r = calloc(1, sizeof *r);
    *state = r;
    if (!scratch_dir_init(&r->dir)) return -1;
    char path[SCRATCH_PATH_BYTES];
    model_spec spec = model_spec_default();
    yl_error err = {0};
    if (model_maker_write(scratch_dir_path(&r->dir, path, "m.gguf"), &spec, &err)) fail_msg("%s", err.msg);
    if (gguf_open(&r->model, path, &err) || hparams_read(&r->hp, r->model, &err)) fail_msg("%s", err.msg);
    r->has_source = true;
    assert_int_equal(frame_scratch_new(&r->scratch, NULL), YL_OK);
    start_worker(r, 0);
    return 0;
}

static int tear_down(void **state)
{
    rig *r = *state;
    worker_free(r->worker);
    assert_int_equal(r->memory.n_live, 0);
    outbox_clear(&r->outbox);
    frame_bytes_clear(&r->last.bytes);
    frame_scratch_free(r->scratch);
    gguf_free(r->model);
    scratch_dir_clear(&r->dir);
    free(r);
    return 0;
}

/* ---- talking to it ---- */

static void send_bytes(rig *r, const uint8_t *data, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1); /* of exact size, so that the address sanitizer sees a read beyond it */
    memcpy(copy, data, n);
    worker_message m = {.data = copy, .n_bytes = n, .release = free, .hint = copy};
    assert_int_equal(worker_receive(r->worker, m, &r->outbox, NULL), YL_OK);
}

static void send_frame(rig *r, const frame *f)
{
    frame_bytes bytes = {0};
    yl_error err = {0};
    if (frame_encode(&bytes, f, &err)) fail_msg("%s", err.msg);
    send_bytes(r, bytes.data, bytes.n);
    frame_bytes_clear(&bytes);
}

/* Steps until there is nothing to do; says that the link stands whenever it is asked for. */
static worker_progress step_all(rig *r)
{
    for (int i = 0; i < 100000; i++) {
        worker_progress progress;
        assert_int_equal(worker_step(r->worker, &r->outbox, &progress, NULL), YL_OK);
        if (progress == WORKER_REWIRE) worker_link_up(r->worker, worker_epoch(r->worker));
        if (progress == WORKER_IDLE || progress == WORKER_STOP) return progress;
    }
    fail_msg("the worker never comes to rest");
    return WORKER_STOP;
}

/* The next frame that it sent; fails when there is none. */
static const frame *next_answer(rig *r)
{
    frame_bytes_clear(&r->last.bytes);
    if (!outbox_pop(&r->outbox, &r->last)) fail_msg("the worker said nothing");
    yl_error err = {0};
    if (frame_decode(&r->answer, r->scratch, r->last.bytes.data, r->last.bytes.n, &err)) fail_msg("%s", err.msg);
    return &r->answer;
}

static void expect_silence(rig *r)
{
    assert_int_equal(r->outbox.n, 0);
}

static void expect_error(rig *r, const char *words)
{
    const frame *f = next_answer(r);
    if (f->kind != FRAME_ERROR) fail_msg("%s where an ERROR was due", frame_kind_name(f->kind));
    char text[FRAME_MAX_MESSAGE + 1] = {0};
    memcpy(text, f->error.message.data, f->error.message.n_bytes);
    if (!strstr(text, words)) fail_msg("'%s' does not say '%s'", text, words);
}

static frame assign_frame(rig *r, uint64_t epoch, slice_range range)
{
    r->n_tensors = 0;
    for (uint32_t i = 0; i < slice_range_n_tensors(&range); i++) {
        slice_tensor st = slice_range_tensor_at(&range, &r->hp, i);
        const gguf_tensor *t;
        assert_int_equal(hparams_find_tensor(&t, r->model, &r->hp, st.role, st.layer, NULL), YL_OK);
        if (t)
            r->tensors[r->n_tensors++] =
                (frame_tensor){.role = st.role, .layer = st.layer, .type = t->type, .n_rows = t->ne[1], .n_cols = t->ne[0]};
    }
    frame f = {.kind = FRAME_ASSIGN, .epoch = epoch};
    f.assign = (frame_assign){.coordinator = 1,
                              .n_stages = 1,
                              .hp = r->hp,
                              .range = range,
                              .n_ctx = N_CTX,
                              .n_seq = N_SEQ,
                              .max_rows = MAX_ROWS,
                              .model_id = {r->id, sizeof r->id},
                              .next_endpoint = {(const uint8_t *)"ipc://next", 10},
                              .heartbeat_ms = 500,
                              .n_tensors = r->n_tensors,
                              .tensors = r->tensors};
    return f;
}

static slice_range whole_model(const rig *r)
{
    return (slice_range){.has_embd = true, .has_head = true, .layer_begin = 0, .layer_end = r->hp.n_layer};
}

static void make_ready(rig *r)
{
    frame f = assign_frame(r, EPOCH, whole_model(r));
    send_frame(r, &f);
    assert_int_equal(step_all(r), WORKER_IDLE);
    assert_int_equal(next_answer(r)->kind, FRAME_READY);
    expect_silence(r);
}

/* One FORWARD of one sequence, all logits of its last row wanted. Fields can be changed before it is sent. */
typedef struct forward_spec {
    frame f;
    frame_segment segment;
    frame_want want;
    uint8_t tokens[MAX_ROWS * 4 + 64];
} forward_spec;

static forward_spec *forward_of(forward_spec *s, uint32_t seq, uint64_t step, uint32_t pos, uint32_t n)
{
    *s = (forward_spec){.f = {.kind = FRAME_FORWARD, .epoch = EPOCH}};
    s->segment = (frame_segment){.seq = seq, .step = step, .pos = pos, .n_rows = n};
    s->want = (frame_want){.row = n - 1, .kind = FRAME_WANT_ALL};
    for (uint32_t i = 0; i < n; i++) s->tokens[4 * i] = (uint8_t)(17 * (pos + i) + 3);
    s->f.forward = (frame_forward){.id = 100 + step,
                                   .n_rows = n,
                                   .n_segments = 1,
                                   .segments = &s->segment,
                                   .n_wants = 1,
                                   .wants = &s->want,
                                   .is_tokens = true,
                                   .payload = {s->tokens, 4 * (size_t)n}};
    return s;
}

static void forward(rig *r, uint32_t seq, uint64_t step, uint32_t pos, uint32_t n, float logits[N_VOCAB])
{
    forward_spec s;
    send_frame(r, &forward_of(&s, seq, step, pos, n)->f);
    step_all(r);
    const frame *f = next_answer(r);
    if (f->kind != FRAME_RESULT) fail_msg("%.*s", (int)f->error.message.n_bytes, (const char *)f->error.message.data);
    assert_int_equal(f->result.n_answers, 1);
    assert_int_equal(f->result.id, 100 + step);
    assert_false(f->result.more);
    assert_int_equal(f->result.answers[0].data.n_bytes, N_VOCAB * 4);
    memcpy(logits, f->result.answers[0].data.data, N_VOCAB * 4);
}

/* ---- behaviours ---- */

static void ready_waits_for_the_link(void **state)
{
    rig *r = *state;
    frame f = assign_frame(r, EPOCH, whole_model(r));
    send_frame(r, &f);
    worker_progress progress = WORKER_MORE;
    bool rewired = false;
    for (int i = 0; i < 1000 && progress != WORKER_IDLE; i++) {
        assert_int_equal(worker_step(r->worker, &r->outbox, &progress, NULL), YL_OK);
        rewired |= progress == WORKER_REWIRE;
    }
    assert_true(rewired);
    assert_string_equal(worker_next_endpoint(r->worker), "ipc://next");
    expect_silence(r);
    worker_link_up(r->worker, EPOCH - 1); /* of another wiring */
    step_all(r);
    expect_silence(r);
    worker_link_up(r->worker, EPOCH);
    step_all(r);
    assert_int_equal(next_answer(r)->kind, FRAME_READY);
}

static void a_step_does_at_most_one_layer(void **state)
{
    rig *r = *state;
    make_ready(r);
    forward_spec s;
    send_frame(r, &forward_of(&s, 0, 1, 0, 4)->f);
    uint64_t before = worker_n_steps(r->worker);
    step_all(r);
    assert_true(worker_n_steps(r->worker) - before >= r->hp.n_layer);
}

static void a_retry_gives_the_same_answer(void **state)
{
    rig *r = *state;
    float once[N_VOCAB], twice[N_VOCAB], next[N_VOCAB], next_again[N_VOCAB];
    make_ready(r);
    forward(r, 0, 1, 0, 5, once);
    forward(r, 0, 1, 0, 5, twice);
    assert_memory_equal(once, twice, sizeof once);
    forward(r, 0, 2, 5, 1, next);
    forward(r, 0, 2, 5, 1, next_again);
    assert_memory_equal(next, next_again, sizeof next);
    assert_int_equal(worker_n_past(r->worker, 0), 6);
}

static void a_lost_step_is_refused(void **state)
{
    rig *r = *state;
    float logits[N_VOCAB];
    make_ready(r);
    forward(r, 0, 1, 0, 5, logits);
    forward_spec s;
    send_frame(r, &forward_of(&s, 0, 3, 5, 1)->f);
    step_all(r);
    expect_error(r, "a frame was lost");
    assert_int_equal(worker_n_past(r->worker, 0), 5);
    forward(r, 0, 2, 5, 1, logits);
}

/* Each of these frames is refused with a sentence, and the sequence is as it was. */
static void bad_forwards_change_nothing(void **state)
{
    rig *r = *state;
    float logits[N_VOCAB];
    make_ready(r);
    forward(r, 1, 1, 0, 5, logits);
    forward_spec s;

    send_frame(r, &forward_of(&s, N_SEQ, 1, 0, 1)->f);
    step_all(r);
    expect_error(r, "sequence 3, but there are 3");

    send_frame(r, &forward_of(&s, 1, 2, 6, 1)->f);
    step_all(r);
    expect_error(r, "has 5 positions, none at 6");

    send_frame(r, &forward_of(&s, 0, 1, 0, 32)->f);
    step_all(r);
    assert_int_equal(next_answer(r)->kind, FRAME_RESULT);
    send_frame(r, &forward_of(&s, 0, 2, 32, 32)->f);
    send_frame(r, &forward_of(&s, 0, 3, 64, 32)->f);
    send_frame(r, &forward_of(&s, 0, 4, 96, 5)->f);
    step_all(r);
    assert_int_equal(next_answer(r)->kind, FRAME_RESULT);
    assert_int_equal(next_answer(r)->kind, FRAME_RESULT);
    expect_error(r, "would grow to 101 positions, the context has 100");

    forward_of(&s, 1, 2, 5, 1)->tokens[1] = 2; /* token 512 and something */
    send_frame(r, &s.f);
    step_all(r);
    expect_error(r, "but the vocabulary has 320");

    static const uint8_t LISTED[4] = {64, 1, 0, 0};
    forward_of(&s, 1, 2, 5, 1)->want = (frame_want){.kind = FRAME_WANT_TOP, .top = 1, .listed = {LISTED, 4}};
    send_frame(r, &s.f);
    step_all(r);
    expect_error(r, "token 320 is asked for");

    static uint8_t zeros[N_EMBD * 4];
    forward_of(&s, 1, 2, 5, 1)->f.forward.is_tokens = false;
    s.f.forward.payload = (frame_bin){zeros, sizeof zeros};
    send_frame(r, &s.f);
    step_all(r);
    expect_error(r, "activations for a stage that has the embedding");

    assert_int_equal(worker_n_past(r->worker, 1), 5);
    forward(r, 1, 2, 5, 1, logits);
}

static void frames_of_other_epochs(void **state)
{
    rig *r = *state;
    forward_spec s;
    send_frame(r, &forward_of(&s, 0, 1, 0, 1)->f);
    expect_error(r, "send ASSIGN first");
    make_ready(r);
    forward_of(&s, 0, 1, 0, 1)->f.epoch = EPOCH - 1;
    send_frame(r, &s.f);
    step_all(r);
    expect_silence(r);
    forward_of(&s, 0, 1, 0, 1)->f.epoch = EPOCH + 1;
    send_frame(r, &s.f);
    expect_error(r, "is at epoch 7");
}

/* An ASSIGN ends the FORWARD under way, drops all sequences, and old frames that wait are never heard of. */
static void a_new_epoch_forgets_everything(void **state)
{
    rig *r = *state;
    float before[N_VOCAB], after[N_VOCAB];
    make_ready(r);
    forward(r, 0, 1, 0, 5, before);
    forward_spec s;
    worker_progress progress;
    send_frame(r, &forward_of(&s, 0, 2, 5, 8)->f);
    assert_int_equal(worker_step(r->worker, &r->outbox, &progress, NULL), YL_OK);
    assert_int_equal(worker_step(r->worker, &r->outbox, &progress, NULL), YL_OK);
    send_frame(r, &forward_of(&s, 1, 1, 0, 8)->f);
    frame f = assign_frame(r, EPOCH + 1, whole_model(r));
    send_frame(r, &f);
    step_all(r);
    assert_int_equal(next_answer(r)->kind, FRAME_READY);
    expect_silence(r);
    assert_int_equal(worker_n_past(r->worker, 0), 0);
    send_frame(r, &f);
    step_all(r);
    expect_error(r, "is at epoch 8");

    forward_of(&s, 0, 1, 0, 5)->f.epoch = EPOCH + 1;
    send_frame(r, &s.f);
    step_all(r);
    memcpy(after, next_answer(r)->result.answers[0].data.data, sizeof after);
    assert_memory_equal(before, after, sizeof before);
}

static void garbage_is_answered_and_forgotten(void **state)
{
    rig *r = *state;
    float logits[N_VOCAB];
    make_ready(r);
    static const uint8_t BYTES[][6] = {{0}, {0xc1}, {0x93, 1, 6, EPOCH}, {0xdd, 0xff, 0xff, 0xff, 0xff, 0}, {0x93, 2, 6, 7}};
    for (size_t i = 0; i < sizeof BYTES / sizeof *BYTES; i++) {
        send_bytes(r, BYTES[i], sizeof BYTES[i]);
        step_all(r);
        assert_int_equal(next_answer(r)->kind, FRAME_ERROR);
    }
    send_bytes(r, BYTES[0], 0);
    assert_int_equal(next_answer(r)->kind, FRAME_ERROR);
    frame f = {.kind = FRAME_READY, .epoch = EPOCH};
    send_frame(r, &f);
    expect_error(r, "READY is not a frame for a worker");
    yl_error cause = {.status = YL_EPEER, .msg = "no"};
    frame_bytes bytes = {0};
    assert_int_equal(frame_encode_error(&bytes, EPOCH, 0, 0, &cause, NULL), YL_OK);
    send_bytes(r, bytes.data, bytes.n); /* an ERROR is never answered */
    frame_bytes_clear(&bytes);
    step_all(r);
    expect_silence(r);
    forward(r, 0, 1, 0, 5, logits);
}

static void the_queue_has_a_limit(void **state)
{
    rig *r = *state;
    make_ready(r);
    forward_spec s;
    for (int i = 0; i < WORKER_MAX_QUEUED; i++) send_frame(r, &forward_of(&s, 0, 1, 0, 1)->f);
    expect_silence(r);
    send_frame(r, &forward_of(&s, 0, 1, 0, 1)->f);
    expect_error(r, "1024 frames are waiting already");
    assert_int_equal(r->answer.error.id, 101); /* of the frame that was refused, so that its sender knows */
    assert_int_equal(worker_n_pending(r->worker), WORKER_MAX_QUEUED);
}

static void sequences_fork_and_end(void **state)
{
    rig *r = *state;
    float original[N_VOCAB], forked[N_VOCAB];
    make_ready(r);
    forward(r, 0, 1, 0, 20, original);
    forward(r, 0, 2, 20, 1, original);
    frame f = {.kind = FRAME_SEQ, .epoch = EPOCH, .seq = {.id = 5, .op = FRAME_SEQ_FORK, .seq = 0, .other = 2, .pos = 20}};
    send_frame(r, &f);
    step_all(r);
    const frame *passed = next_answer(r);
    assert_int_equal(passed->kind, FRAME_SEQ);
    assert_int_equal(passed->seq.id, 5);
    assert_int_equal(r->last.to, WORKER_TO_NEXT);
    assert_int_equal(worker_n_past(r->worker, 2), 20);
    forward(r, 2, 1, 20, 1, forked);
    assert_memory_equal(original, forked, sizeof original);

    f.seq = (frame_seq){.id = 6, .op = FRAME_SEQ_TRUNCATE, .seq = 2, .pos = 3};
    send_frame(r, &f);
    f.seq = (frame_seq){.id = 7, .op = FRAME_SEQ_RELEASE, .seq = 0};
    send_frame(r, &f);
    step_all(r);
    assert_int_equal(next_answer(r)->seq.id, 6);
    assert_int_equal(next_answer(r)->seq.id, 7);
    assert_int_equal(worker_n_past(r->worker, 2), 3);
    assert_int_equal(worker_n_past(r->worker, 0), 0);
    f.seq = (frame_seq){.id = 8, .op = FRAME_SEQ_FORK, .seq = 2, .other = 1, .pos = 4};
    send_frame(r, &f);
    step_all(r);
    expect_error(r, "fewer than 4 positions");
}

static void logits_can_be_asked_again(void **state)
{
    rig *r = *state;
    float first[N_VOCAB];
    make_ready(r);
    forward(r, 0, 1, 0, 5, first);
    frame f = {.kind = FRAME_LOGITS, .epoch = EPOCH};
    f.logits = (frame_logits){.id = 9, .seq = 0, .pos = 4, .want = {.kind = FRAME_WANT_ALL}};
    send_frame(r, &f);
    step_all(r);
    const frame *again = next_answer(r);
    assert_int_equal(again->kind, FRAME_RESULT);
    assert_int_equal(again->result.id, 9);
    assert_memory_equal(again->result.answers[0].data.data, first, sizeof first);
    f.logits.pos = 3; /* nothing was wanted of that row */
    send_frame(r, &f);
    step_all(r);
    expect_error(r, "is not among the 16 last rows that were wanted");
}

/* No model file of its own: it asks for chunks, in order, a few at a time, and computes the same. */
static void weights_can_be_streamed(void **state)
{
    rig *r = *state;
    float mapped[N_VOCAB], streamed[N_VOCAB];
    make_ready(r);
    forward(r, 0, 1, 0, 5, mapped);
    worker_free(r->worker);
    r->has_source = false;
    start_worker(r, 0);
    frame f = assign_frame(r, EPOCH, whole_model(r));
    send_frame(r, &f);
    step_all(r);
    size_t n_open = r->outbox.n, n_wants = 0;
    assert_in_range(n_open, 1, 8);
    for (;; n_wants++) {
        const frame *want = next_answer(r);
        if (want->kind == FRAME_READY) break;
        assert_int_equal(want->kind, FRAME_WANT);
        char name[TENSOR_NAME_BYTES];
        const frame_tensor *ft = &r->tensors[want->want.tensor];
        const gguf_tensor *t = gguf_find_tensor(r->model, tensor_role_name(name, ft->role, ft->layer));
        frame chunk = {.kind = FRAME_TENSOR, .epoch = EPOCH};
        chunk.tensor = (frame_chunk){.tensor = want->want.tensor,
                                     .offset = want->want.offset,
                                     .data = {t->data + want->want.offset, want->want.n_bytes}};
        send_frame(r, &chunk);
        step_all(r);
        assert_true(r->outbox.n <= 8);
    }
    assert_true(n_wants >= r->n_tensors);
    forward(r, 0, 1, 0, 5, streamed);
    assert_memory_equal(mapped, streamed, sizeof mapped);
    frame chunk = {.kind = FRAME_TENSOR, .epoch = EPOCH, .tensor = {.data = {r->id, 4}}};
    send_frame(r, &chunk);
    step_all(r);
    expect_error(r, "no chunk was asked for");

    /* The next epoch with the same slice, even of another coordinator and with another context, asks for nothing. */
    f = assign_frame(r, EPOCH + 1, whole_model(r));
    f.assign.coordinator++;
    f.assign.n_ctx = N_CTX / 2;
    send_frame(r, &f);
    step_all(r);
    assert_int_equal(next_answer(r)->kind, FRAME_READY);
    expect_silence(r);
    assert_int_equal(worker_n_past(r->worker, 0), 0);
    forward_spec s;
    forward_of(&s, 0, 1, 0, 5)->f.epoch = EPOCH + 1;
    send_frame(r, &s.f);
    step_all(r);
    assert_memory_equal(mapped, next_answer(r)->result.answers[0].data.data, sizeof mapped);
    /* Another model does, though its slice looks the same. */
    static const uint8_t OTHER_ID[FRAME_ID_BYTES] = {1};
    f = assign_frame(r, EPOCH + 2, whole_model(r));
    f.assign.coordinator++;
    f.assign.model_id.data = OTHER_ID;
    send_frame(r, &f);
    step_all(r);
    assert_int_equal(next_answer(r)->kind, FRAME_WANT);
}

/* ---- weights that are checked ---- */

static void announce_hashes(rig *r)
{
    sha256 *h;
    assert_int_equal(sha256_new(&h, NULL), YL_OK);
    for (uint32_t i = 0; i < r->n_tensors; i++) {
        char name[TENSOR_NAME_BYTES];
        const gguf_tensor *t = gguf_find_tensor(r->model, tensor_role_name(name, r->tensors[i].role, r->tensors[i].layer));
        sha256_begin(h);
        sha256_add(h, t->data, (size_t)t->n_bytes);
        sha256_end(h, r->tensors[i].hash);
        r->tensors[i].has_hash = true;
    }
    sha256_free(h);
}

/* Answers the WANTs that it sends, until it sends something else, which is returned. The first n_bad times that tensor `bad` is
 * sent a bit in its last chunk is wrong. n_sent: chunks, [n_tensors]. */
static const frame *serve_chunks(rig *r, uint32_t bad, int n_bad, size_t *n_sent)
{
    for (;;) {
        const frame *f = next_answer(r);
        if (f->kind != FRAME_WANT) return f;
        char name[TENSOR_NAME_BYTES];
        frame_want_chunk want = f->want;
        const frame_tensor *ft = &r->tensors[want.tensor];
        const gguf_tensor *t = gguf_find_tensor(r->model, tensor_role_name(name, ft->role, ft->layer));
        uint8_t *bytes = malloc(want.n_bytes);
        memcpy(bytes, t->data + want.offset, want.n_bytes);
        if (want.tensor == bad && n_bad > 0 && want.offset + want.n_bytes == t->n_bytes) {
            bytes[want.n_bytes / 2] ^= 1;
            n_bad--;
        }
        frame chunk = {.kind = FRAME_TENSOR, .epoch = f->epoch};
        chunk.tensor = (frame_chunk){.tensor = want.tensor, .offset = want.offset, .data = {bytes, want.n_bytes}};
        send_frame(r, &chunk);
        free(bytes);
        step_all(r);
        if (n_sent) n_sent[want.tensor]++;
    }
}

static uint32_t tensor_of_role(const rig *r, tensor_role role)
{
    uint32_t i = 0;
    while (r->tensors[i].role != role) i++;
    return i;
}

static void begin_streaming(rig *r, uint64_t epoch)
{
    frame f = assign_frame(r, epoch, whole_model(r));
    announce_hashes(r);
    send_frame(r, &f);
    step_all(r);
}

static void what_comes_damaged_is_asked_for_again_once(void **state)
{
    rig *r = *state;
    float mapped[N_VOCAB], streamed[N_VOCAB];
    size_t n_sent[64] = {0};
    make_ready(r);
    forward(r, 0, 1, 0, 5, mapped);
    worker_free(r->worker);
    r->has_source = false;
    start_worker(r, 0);
    begin_streaming(r, EPOCH);
    uint32_t bad = tensor_of_role(r, TENSOR_FFN_UP);
    assert_int_equal(serve_chunks(r, bad, 1, n_sent)->kind, FRAME_READY);
    for (uint32_t i = 0; i < r->n_tensors; i++) {
        uint64_t n_bytes = r->tensors[i].n_rows * r->tensors[i].n_cols * 4; /* F32 */
        assert_int_equal(n_sent[i], ((n_bytes - 1) / FRAME_CHUNK_BYTES + 1) * (i == bad ? 2 : 1));
    }
    forward(r, 0, 1, 0, 5, streamed);
    assert_memory_equal(mapped, streamed, sizeof mapped);
}

static void what_comes_damaged_twice_is_refused(void **state)
{
    rig *r = *state;
    worker_free(r->worker);
    r->has_source = false;
    start_worker(r, 0);
    begin_streaming(r, EPOCH);
    const frame *f = serve_chunks(r, tensor_of_role(r, TENSOR_ATTN_NORM), 2, NULL);
    assert_int_equal(f->kind, FRAME_ERROR);
    assert_int_equal(f->error.about, FRAME_TENSOR);
    assert_int_equal(f->error.status, YL_EFORMAT);
    char text[FRAME_MAX_MESSAGE + 1] = {0};
    memcpy(text, f->error.message.data, f->error.message.n_bytes);
    assert_non_null(strstr(text, "tensor blk.0.attn_norm.weight came from the coordinator with other bytes"));
    assert_int_equal(r->memory.n_live, 0);
    begin_streaming(r, EPOCH + 1); /* it can be assigned again */
    assert_int_equal(serve_chunks(r, 0, 0, NULL)->kind, FRAME_READY);
}

static void chunks_come_as_they_were_asked_for(void **state)
{
    rig *r = *state;
    worker_free(r->worker);
    r->has_source = false;
    start_worker(r, 0);
    begin_streaming(r, EPOCH);
    frame_want_chunk want = next_answer(r)->want;
    static const uint8_t ZEROS[FRAME_CHUNK_BYTES];
    frame chunk = {.kind = FRAME_TENSOR, .epoch = EPOCH};
    chunk.tensor = (frame_chunk){.tensor = want.tensor, .offset = want.offset, .data = {ZEROS, want.n_bytes - 1}};
    size_t n_open = r->outbox.n;
    for (int i = 0; i < 3; i++) {
        if (i == 1) chunk.tensor.data.n_bytes++, chunk.tensor.tensor++;
        if (i == 2) chunk.tensor.tensor--, chunk.tensor.offset += FRAME_CHUNK_BYTES;
        send_frame(r, &chunk);
        step_all(r);
        assert_int_equal(r->outbox.n, n_open + i + 1); /* an ERROR each, behind the WANTs */
    }
    for (size_t i = 0; i < n_open; i++) assert_int_equal(next_answer(r)->kind, FRAME_WANT);
    for (int i = 0; i < 3; i++) expect_error(r, "but what is next of what was asked for");
}

/* Hashes tell what is kept, whatever else is said of the model. */
static void a_slice_is_kept_by_its_hashes(void **state)
{
    rig *r = *state;
    static const uint8_t OTHER_ID[FRAME_ID_BYTES] = {1};
    worker_free(r->worker);
    r->has_source = false;
    start_worker(r, 0);
    begin_streaming(r, EPOCH);
    assert_int_equal(serve_chunks(r, 0, 0, NULL)->kind, FRAME_READY);
    frame f = assign_frame(r, EPOCH + 1, whole_model(r));
    announce_hashes(r);
    f.assign.model_id.data = OTHER_ID;
    send_frame(r, &f);
    step_all(r);
    assert_int_equal(next_answer(r)->kind, FRAME_READY);
    f = assign_frame(r, EPOCH + 2, whole_model(r));
    announce_hashes(r);
    r->tensors[r->n_tensors - 1].hash[31] ^= 1;
    send_frame(r, &f);
    step_all(r);
    assert_int_equal(next_answer(r)->kind, FRAME_WANT);
}

/* Damage is found in the background, maybe when the slice is on its second epoch. */
static void weights_that_were_kept_can_be_lost(void **state)
{
    rig *r = *state;
    make_ready(r);
    frame f = assign_frame(r, EPOCH + 1, whole_model(r));
    send_frame(r, &f);
    step_all(r);
    assert_int_equal(next_answer(r)->kind, FRAME_READY);
    yl_error cause;
    yl_fail(&cause, YL_EREPLAY, "layer 1's cache file is damaged");
    assert_int_equal(worker_lose_weights(r->worker, EPOCH, &cause, &r->outbox, NULL), YL_OK);
    const frame *answer = next_answer(r);
    assert_int_equal(answer->kind, FRAME_ERROR);
    assert_int_equal(answer->epoch, EPOCH + 1);
    assert_int_equal(answer->error.status, YL_EREPLAY);
    assert_int_equal(r->memory.n_live, 0);
}

static void a_slice_that_does_not_fit_is_refused_with_figures(void **state)
{
    rig *r = *state;
    worker_free(r->worker);
    start_worker(r, 100000);
    frame f = assign_frame(r, EPOCH, whole_model(r));
    send_frame(r, &f);
    step_all(r);
    expect_error(r, "MiB are free: use more workers");
    expect_silence(r);
}

/* The k-th allocation fails, for every k until none does: an ERROR, no leak, and the worker can be assigned again. */
static void every_allocation_may_fail(void **state)
{
    rig *r = *state;
    float logits[N_VOCAB];
    uint64_t epoch = EPOCH;
    for (size_t k = 1;; k++, epoch++) {
        assert_true(k < 1000);
        r->memory.n_calls = 0;
        r->memory.fail_at = k;
        frame f = assign_frame(r, epoch, whole_model(r));
        send_frame(r, &f);
        step_all(r);
        const frame *answer = next_answer(r);
        if (answer->kind == FRAME_READY) break;
        assert_int_equal(answer->kind, FRAME_ERROR);
        assert_int_equal(answer->error.status, YL_ENOMEM);
        assert_int_equal(r->memory.n_live, 0);
    }
    r->memory.fail_at = 0;
    /* From here on nothing is allocated. */
    size_t before = r->memory.n_calls;
    forward_spec s;
    forward_of(&s, 0, 1, 0, 5)->f.epoch = epoch;
    send_frame(r, &s.f);
    step_all(r);
    memcpy(logits, next_answer(r)->result.answers[0].data.data, sizeof logits);
    assert_int_equal(r->memory.n_calls, before);
}

/* The shell's word that weights are damaged: the slice goes, rows that wait are dropped without a word, an ASSIGN begins anew. */
static void lost_weights_are_told_and_assigned_again(void **state)
{
    rig *r = *state;
    float before[N_VOCAB], after[N_VOCAB];
    make_ready(r);
    forward(r, 0, 1, 0, 5, before);
    yl_error cause;
    yl_fail(&cause, YL_EREPLAY, "layer 1's cache file is damaged");
    assert_int_equal(worker_lose_weights(r->worker, EPOCH - 1, &cause, &r->outbox, NULL), YL_OK); /* of a slice that is gone */
    expect_silence(r);
    assert_int_equal(worker_n_past(r->worker, 0), 5);
    forward_spec s;
    send_frame(r, &forward_of(&s, 0, 2, 5, 3)->f);
    worker_progress progress;
    assert_int_equal(worker_step(r->worker, &r->outbox, &progress, NULL), YL_OK); /* begun */
    send_frame(r, &forward_of(&s, 0, 3, 8, 3)->f);                                /* and one that waits */
    assert_int_equal(worker_lose_weights(r->worker, EPOCH, &cause, &r->outbox, NULL), YL_OK);
    const frame *f = next_answer(r);
    assert_int_equal(f->kind, FRAME_ERROR);
    assert_int_equal(f->epoch, EPOCH);
    assert_int_equal(f->error.status, YL_EREPLAY);
    assert_int_equal(f->error.about, FRAME_ASSIGN);
    assert_int_equal(step_all(r), WORKER_IDLE);
    expect_silence(r);
    assert_int_equal(r->memory.n_live, 0);
    assert_int_equal(worker_lose_weights(r->worker, EPOCH, &cause, &r->outbox, NULL), YL_OK); /* said already */
    expect_silence(r);
    frame again = assign_frame(r, EPOCH + 1, whole_model(r));
    send_frame(r, &again);
    step_all(r);
    assert_int_equal(next_answer(r)->kind, FRAME_READY);
    forward_of(&s, 0, 1, 0, 5)->f.epoch = EPOCH + 1;
    send_frame(r, &s.f);
    step_all(r);
    memcpy(after, next_answer(r)->result.answers[0].data.data, sizeof after);
    assert_memory_equal(before, after, sizeof before);
}

/* A middle stage and a last one give what the whole gives; a fault that came in goes out. */
static void stages_pass_rows_on(void **state)
{
    rig *r = *state;
    float whole[N_VOCAB];
    make_ready(r);
    forward(r, 0, 1, 0, 5, whole);

    frame f = assign_frame(r, EPOCH + 1, (slice_range){.has_embd = true, .layer_begin = 0, .layer_end = 1});
    send_frame(r, &f);
    step_all(r);
    assert_int_equal(next_answer(r)->kind, FRAME_READY);
    forward_spec s;
    forward_of(&s, 0, 1, 0, 5)->f.epoch = EPOCH + 1;
    send_frame(r, &s.f);
    step_all(r);
    assert_int_equal(next_answer(r)->kind, FRAME_FORWARD);
    assert_int_equal(r->last.to, WORKER_TO_NEXT);
    frame_bytes passed = r->last.bytes;
    r->last.bytes = (frame_bytes){0};

    f = assign_frame(r, EPOCH + 2, (slice_range){.has_head = true, .layer_begin = 1, .layer_end = 2});
    send_frame(r, &f);
    step_all(r);
    assert_int_equal(next_answer(r)->kind, FRAME_READY);
    frame in;
    assert_int_equal(frame_decode(&in, r->scratch, passed.data, passed.n, NULL), YL_OK);
    assert_false(in.forward.is_tokens);
    in.epoch = EPOCH + 2;
    frame_fault fault = {.row = 4, .layer = 0};
    send_frame(r, &in);
    in.forward.segments = &(frame_segment){.seq = 1, .step = 1, .pos = 0, .n_rows = 5};
    in.forward.n_faults = 1;
    in.forward.faults = &fault;
    send_frame(r, &in);
    step_all(r);
    assert_memory_equal(next_answer(r)->result.answers[0].data.data, whole, sizeof whole);
    const frame_answer *answer = next_answer(r)->result.answers;
    assert_true(answer->is_fault);
    assert_int_equal(answer->fault_layer, 0);
    assert_int_equal(answer->data.n_bytes, 0);
    frame_bytes_clear(&passed);
}

/* The same five rows from a stage that sends them as f32, and from one that rounds them; then a stage that takes what was rounded,
 * and nothing of another size. */
static void rows_are_rounded_as_they_leave(void **state)
{
    static const struct {
        wire_type type;
        size_t row_bytes;
    } CASES[] = {{WIRE_F32, 4 * N_EMBD}, {WIRE_F16, 2 * N_EMBD}, {WIRE_Q8_0, 36 * N_EMBD / 32}};
    rig *r = *state;
    static float exact[5 * N_EMBD], rounded[5 * N_EMBD];
    forward_spec s;
    for (uint64_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        uint64_t epoch = EPOCH + 2 * i;
        frame f = assign_frame(r, epoch, (slice_range){.has_embd = true, .layer_begin = 0, .layer_end = 1});
        f.assign.wire = CASES[i].type;
        send_frame(r, &f);
        step_all(r);
        assert_int_equal(next_answer(r)->kind, FRAME_READY);
        forward_of(&s, 0, 1, 0, 5)->f.epoch = epoch;
        send_frame(r, &s.f);
        step_all(r);
        frame_bin payload = next_answer(r)->forward.payload;
        assert_int_equal(payload.n_bytes, 5 * CASES[i].row_bytes);
        float *rows = CASES[i].type == WIRE_F32 ? exact : rounded;
        wire_read(rows, CASES[i].type, payload.data, 5 * N_EMBD);
        wire_loss unused = {0};
        static uint8_t bytes[5 * N_EMBD * 4];
        wire_write(bytes, CASES[i].type, exact, 5 * N_EMBD, kernels_named("scalar"), &unused);
        assert_memory_equal(payload.data, bytes, payload.n_bytes);

        frame in = r->answer;
        f = assign_frame(r, epoch + 1, (slice_range){.has_head = true, .layer_begin = 1, .layer_end = 2});
        f.assign.wire = CASES[i].type;
        frame_bytes passed = r->last.bytes;
        r->last.bytes = (frame_bytes){0};
        send_frame(r, &f);
        step_all(r);
        assert_int_equal(next_answer(r)->kind, FRAME_READY);
        assert_int_equal(frame_decode(&in, r->scratch, passed.data, passed.n, NULL), YL_OK);
        in.epoch = epoch + 1;
        in.forward.payload.n_bytes -= 5;
        send_frame(r, &in);
        step_all(r);
        expect_error(r, "bytes of activations for 5 rows of 256");
        assert_int_equal(frame_decode(&in, r->scratch, passed.data, passed.n, NULL), YL_OK);
        in.epoch = epoch + 1;
        send_frame(r, &in);
        step_all(r);
        assert_int_equal(next_answer(r)->kind, FRAME_RESULT);
        frame_bytes_clear(&passed);
    }
}

static void shutdown_stops(void **state)
{
    rig *r = *state;
    frame f = {.kind = FRAME_SHUTDOWN};
    send_frame(r, &f);
    assert_int_equal(step_all(r), WORKER_STOP);
    assert_int_equal(step_all(r), WORKER_STOP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ready_waits_for_the_link, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_step_does_at_most_one_layer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_retry_gives_the_same_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_lost_step_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_forwards_change_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(frames_of_other_epochs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_epoch_forgets_everything, set_up, tear_down),
        cmocka_unit_test_setup_teardown(garbage_is_answered_and_forgotten, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_queue_has_a_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sequences_fork_and_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(logits_can_be_asked_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_comes_damaged_is_asked_for_again_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_comes_damaged_twice_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(chunks_come_as_they_were_asked_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_slice_is_kept_by_its_hashes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(weights_can_be_streamed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_slice_that_does_not_fit_is_refused_with_figures, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_allocation_may_fail, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lost_weights_are_told_and_assigned_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(weights_that_were_kept_can_be_lost, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stages_pass_rows_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_are_rounded_as_they_leave, set_up, tear_down),
        cmocka_unit_test_setup_teardown(shutdown_stops, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
