/* test_replay.c: stages that lose what they hold, at chosen moments, and answers that must not show it.
 *
 * This program is also the stage: started by the engine as a worker it runs the real worker over real sockets, but forgets
 * everything when a plan says so, and tells with YL_EREPLAY. What the engine then answers is compared, bit for bit, with an
 * undisturbed run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <zmq.h>

#include "engine.h"
#include "model_maker.h"
#include "scratch_dir.h"
#include "worker.h"

/* ---- the stage ---- */

#define PLAN "YLLAMA_TEST_PLAN"

enum { SILENCE_MS = 20000 };

/* Moments of a loss: with which frame, counted since the process began. */
typedef enum moment {
    AT_ASSIGN,     /* while it loads */
    AT_FORWARD,    /* instead of the FORWARD, told about ASSIGN */
    AT_FRAME,      /* the same, told about the FORWARD */
    AFTER_FORWARD, /* when it was passed on and nothing else has come */
    AT_LOGITS,
    AT_SEQ,
    N_MOMENTS
} moment;
static const char *const MOMENTS[N_MOMENTS] = {"assign", "forward", "frame", "after", "logits", "seq"};

typedef struct forgetful {
    void *zmq, *control, *data, *next;
    const char *name, *data_endpoint;
    worker *w;
    outbox out;
    uint32_t n_seen[N_MOMENTS];
    uint64_t epoch;
    bool is_last;
    bool loses_after;
    bool has_forgotten; /* until the next ASSIGN: what comes belongs to an epoch that is over for us */
    frame_scratch *scratch;
    const char *plan; /* "worker-1:forward:3,worker-0:assign:1": what, and which of them */
} forgetful;

static uint64_t now_ns(void *ctx)
{
    (void)ctx;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Is this frame the one that the plan names? */
static bool is_planned(forgetful *s, moment m)
{
    char entry[64];
    int n = snprintf(entry, sizeof entry, "%s:%s:%u", s->name, MOMENTS[m], ++s->n_seen[m]);
    const char *at = strstr(s->plan, entry);
    return at && (at[n] == ',' || !at[n]);
}

static void send_frame(void *socket, const frame *f)
{
    frame_bytes bytes = {0};
    if (!frame_encode(&bytes, f, NULL)) zmq_send(socket, bytes.data, bytes.n, 0);
    frame_bytes_clear(&bytes);
}

static void *connect_to(forgetful *s, int type, const char *endpoint)
{
    void *socket = zmq_socket(s->zmq, type);
    int linger = 0;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    if (zmq_connect(socket, endpoint)) exit(1);
    return socket;
}

static void begin(forgetful *s)
{
    worker_env env = {.alloc = allocator_heap(), .kernels = kernels_best(), .counter = now_ns};
    if (worker_new(&s->w, &env, NULL)) exit(1);
}

/* All of it: sequences, weights, the epoch. */
static void lose(forgetful *s, frame_kind about, uint64_t id)
{
    outbox_clear(&s->out);
    s->out = (outbox){0};
    worker_free(s->w);
    begin(s);
    s->has_forgotten = true;
    frame f = {.kind = FRAME_ERROR, .epoch = s->epoch};
    f.error = (frame_error){.about = about, .id = id, .status = YL_EREPLAY, .message = {(const uint8_t *)"forgot it all", 13}};
    send_frame(s->control, &f);
}

static void flush(forgetful *s)
{
    outbox_entry entry = {0};
    while (outbox_pop(&s->out, &entry)) {
        zmq_send(entry.to == WORKER_TO_NEXT ? s->next : s->control, entry.bytes.data, entry.bytes.n, 0);
    }
    frame_bytes_clear(&entry.bytes);
}

/* Works until there is nothing to do. False: SHUTDOWN. */
static bool work(forgetful *s)
{
    worker_progress progress = WORKER_MORE;
    while (progress != WORKER_IDLE) {
        if (worker_step(s->w, &s->out, &progress, NULL)) exit(1);
        if (progress == WORKER_STOP) return false;
        if (progress == WORKER_REWIRE) {
            if (s->next) zmq_close(s->next);
            s->next = connect_to(s, ZMQ_PUSH, worker_next_endpoint(s->w));
            worker_link_up(s->w, worker_epoch(s->w));
        }
        flush(s);
    }
    return true;
}

/* What was on its way when the new epoch began: it must mean nothing. */
static void send_late_frames(forgetful *s)
{
    frame late = {.kind = FRAME_ERROR, .epoch = s->epoch};
    late.error = (frame_error){.about = FRAME_ASSIGN, .status = YL_EREPLAY, .message = {(const uint8_t *)"late", 4}};
    send_frame(s->control, &late);
    late.error.about = FRAME_FORWARD;
    late.error.id = 1;
    late.error.status = YL_EFORMAT;
    send_frame(s->control, &late);
    late = (frame){.kind = FRAME_READY, .epoch = s->epoch};
    send_frame(s->control, &late);
    late = (frame){.kind = FRAME_WANT, .epoch = s->epoch, .want = {.tensor = 9999, .n_bytes = 1}};
    send_frame(s->control, &late);
    for (uint64_t id = 1; s->next && s->is_last && id < 100; id++) {
        late = (frame){.kind = FRAME_RESULT, .epoch = s->epoch, .result = {.id = id}};
        send_frame(s->next, &late);
    }
}

/* Looks at a frame before the worker does. True: it is lost, with all else. */
static bool forgets(forgetful *s, const uint8_t *data, size_t n)
{
    frame f;
    if (frame_decode(&f, s->scratch, data, n, NULL)) return false;
    if (f.kind == FRAME_ASSIGN) {
        if (s->has_forgotten) send_late_frames(s);
        s->epoch = f.epoch;
        s->is_last = f.assign.range.has_head;
        s->has_forgotten = false;
        if (!is_planned(s, AT_ASSIGN)) return false;
        lose(s, FRAME_ASSIGN, 0);
        return true;
    }
    if (s->has_forgotten) return false;
    if (f.kind == FRAME_FORWARD) {
        bool now = is_planned(s, AT_FORWARD), about_it = is_planned(s, AT_FRAME);
        s->loses_after |= is_planned(s, AFTER_FORWARD);
        if (!now && !about_it) return false;
        lose(s, about_it ? FRAME_FORWARD : FRAME_ASSIGN, about_it ? f.forward.id : 0);
        return true;
    }
    if ((f.kind != FRAME_LOGITS || !is_planned(s, AT_LOGITS)) && (f.kind != FRAME_SEQ || !is_planned(s, AT_SEQ))) return false;
    lose(s, FRAME_ASSIGN, 0);
    return true;
}

static void release(void *hint)
{
    zmq_msg_close(hint);
    free(hint);
}

static void receive_all(forgetful *s, void *socket)
{
    for (;;) {
        zmq_msg_t *msg = malloc(sizeof *msg);
        zmq_msg_init(msg);
        bool got = zmq_msg_recv(msg, socket, ZMQ_DONTWAIT) >= 0;
        if (!got || forgets(s, zmq_msg_data(msg), zmq_msg_size(msg))) {
            release(msg);
            if (!got) return;
            continue;
        }
        worker_message m = {zmq_msg_data(msg), zmq_msg_size(msg), release, msg};
        if (worker_receive(s->w, m, &s->out, NULL)) exit(1);
    }
}

static int stage_main(int argc, char **argv)
{
    forgetful s = {.zmq = zmq_ctx_new(), .plan = getenv(PLAN)};
    const char *control = NULL;
    for (int i = 1; i + 1 < argc; i++) {
        if (!strcmp(argv[i], "--connect")) control = argv[i + 1];
        if (!strcmp(argv[i], "--data")) s.data_endpoint = argv[i + 1];
        if (!strcmp(argv[i], "--name")) s.name = argv[i + 1];
    }
    s.data = zmq_socket(s.zmq, ZMQ_PULL);
    if (!s.plan || frame_scratch_new(&s.scratch, NULL) || zmq_bind(s.data, s.data_endpoint)) return 1;
    s.control = connect_to(&s, ZMQ_DEALER, control);
    begin(&s);
    frame hello = {.kind = FRAME_HELLO};
    hello.hello = (frame_hello){.name = {(const uint8_t *)s.name, strlen(s.name)},
                                .instance = now_ns(NULL),
                                .data_endpoint = {(const uint8_t *)s.data_endpoint, strlen(s.data_endpoint)},
                                .n_threads = 1};
    send_frame(s.control, &hello);
    zmq_pollitem_t items[] = {{.socket = s.control, .events = ZMQ_POLLIN}, {.socket = s.data, .events = ZMQ_POLLIN}};
    while (zmq_poll(items, 2, s.loses_after ? 20 : SILENCE_MS) > 0 || s.loses_after) {
        bool is_quiet = !(items[0].revents | items[1].revents);
        receive_all(&s, s.control);
        receive_all(&s, s.data);
        if (!work(&s)) break;
        if (!is_quiet) continue;
        s.loses_after = false;
        lose(&s, FRAME_ASSIGN, 0);
    }
    outbox_clear(&s.out);
    worker_free(s.w);
    frame_scratch_free(s.scratch);
    if (s.next) zmq_close(s.next);
    zmq_close(s.data);
    zmq_close(s.control);
    zmq_ctx_term(s.zmq);
    return 0;
}

/* ---- what is asked of the engine ---- */

enum { N_VOCAB = 320, N_SEQ = 3, N_STAGES = 3, MAX_ANSWERS = 120, MAX_TOKENS = 64 };

/* All answers of a run, in the order of each sequence. */
typedef struct run {
    float logits[N_SEQ][MAX_ANSWERS][N_VOCAB];
    uint32_t positions[N_SEQ][MAX_ANSWERS];
    uint32_t n[N_SEQ];
} run;

typedef struct rig {
    scratch_dir dir;
    char model[SCRATCH_PATH_BYTES];
    run expected;
    run heard;
    uint32_t n_losses; /* told in the log */
    char last_line[YL_ERROR_MSG_BYTES];
    bool interrupts; /* the next time that somebody asks while a loss is made up for */
} rig;

static void take_line(void *ctx, engine_log_level level, const char *line)
{
    rig *r = ctx;
    if (level != ENGINE_LOG_WARN) return;
    r->n_losses++;
    snprintf(r->last_line, sizeof r->last_line, "%s", line);
}

static bool interrupts(void *ctx)
{
    rig *r = ctx;
    bool now = r->interrupts && r->n_losses > 0;
    if (now) r->interrupts = false;
    return now;
}

static yl_status hear(void *ctx, const frame_answer *a, yl_error *err)
{
    (void)err;
    run *heard = ctx;
    uint32_t n = heard->n[a->seq]++;
    assert_true(n < MAX_ANSWERS);
    assert_int_equal(a->data.n_bytes, N_VOCAB * 4);
    heard->positions[a->seq][n] = a->pos;
    memcpy(heard->logits[a->seq][n], a->data.data, a->data.n_bytes);
    return YL_OK;
}

static int32_t token_at(uint32_t seq, uint32_t pos)
{
    return (int32_t)((pos * 37 + seq * 101 + 11) % N_VOCAB);
}

/* A request for the logits of every third row and of the last; its arrays. */
typedef struct feeding {
    int32_t tokens[MAX_TOKENS];
    frame_want wants[MAX_TOKENS];
    engine_request r;
} feeding;

static const engine_request *prepare(feeding *f, run *heard, uint32_t seq, uint32_t pos, uint32_t n)
{
    f->r =
        (engine_request){.seq = seq, .pos = pos, .tokens = f->tokens, .n = n, .wants = f->wants, .on_answer = hear, .ctx = heard};
    for (uint32_t i = 0; i < n; i++) {
        f->tokens[i] = token_at(seq, pos + i);
        if (i % 3 == 2 || i + 1 == n) f->wants[f->r.n_wants++] = (frame_want){.row = i, .kind = FRAME_WANT_ALL};
    }
    return &f->r;
}

static yl_status eval(engine *e, run *heard, uint32_t seq, uint32_t pos, uint32_t n, yl_error *err)
{
    feeding f;
    const engine_request *r = prepare(&f, heard, seq, pos, n);
    return engine_eval(e, r->seq, r->pos, r->tokens, r->n, r->wants, r->n_wants, hear, heard, err);
}

/* n tokens one after the other, of all sequences at the same time. */
static yl_status decode_all(engine *e, run *heard, uint32_t pos[N_SEQ], uint32_t n, yl_error *err)
{
    feeding f[N_SEQ];
    uint32_t n_sent[N_SEQ] = {0}, n_done = 0;
    while (n_done < N_SEQ) {
        n_done = 0;
        for (uint32_t i = 0; i < N_SEQ; i++) {
            if (!engine_is_done(e, i)) continue;
            if (n_sent[i] == n) {
                n_done++;
                continue;
            }
            n_sent[i]++;
            yl_status status = engine_submit(e, prepare(&f[i], heard, i, pos[i]++, 1), err);
            if (status) return status;
        }
        yl_status status = n_done < N_SEQ ? engine_poll(e, 1000, err) : YL_OK;
        if (status) return status;
    }
    return YL_OK;
}

static yl_status again(engine *e, run *heard, uint32_t seq, uint32_t pos, yl_error *err)
{
    frame_want all = {.kind = FRAME_WANT_ALL};
    return engine_again(e, seq, pos, &all, hear, heard, err);
}

/* A bit of everything: prompts, streams, asking again, going back, letting go. */
static yl_status talk(engine *e, run *heard, yl_error *err)
{
    uint32_t pos[N_SEQ] = {60, 40, 33};
    *heard = (run){0};
    yl_status status = YL_OK;
    for (uint32_t i = 0; i < N_SEQ && !status; i++) status = eval(e, heard, i, 0, pos[i], err);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL); /* somebody thinks: a stage has time for AFTER_FORWARD */
    if (!status) status = again(e, heard, 2, pos[2] - 1, err);
    if (!status) status = decode_all(e, heard, pos, 12, err);
    if (!status) status = again(e, heard, 0, pos[0] - 1, err);
    if (!status) status = eval(e, heard, 0, 50, 14, err);
    if (!status) status = engine_release(e, 1, err);
    if (!status) status = eval(e, heard, 1, 0, 20, err);
    engine_stage stages[N_STAGES];
    if (!status) status = engine_stages(e, stages, err);
    if (!status) status = eval(e, heard, 2, pos[2], 5, err);
    return status;
}

static yl_status open_engine(rig *r, const char *plan, engine **e, yl_error *err)
{
    setenv(PLAN, plan, 1);
    r->n_losses = 0;
    engine_options o = {.model_path = r->model,
                        .n_local = N_STAGES,
                        .n_threads = 1,
                        .n_ctx = 128,
                        .n_seq = N_SEQ,
                        .stream_weights = true,
                        .worker_program = "/proc/self/exe",
                        .on_log = take_line,
                        .is_interrupted = interrupts,
                        .ctx = r};
    return engine_open(e, &o, err);
}

static void expect_same(const run *a, const run *b)
{
    assert_memory_equal(a->n, b->n, sizeof a->n);
    assert_memory_equal(a->positions, b->positions, sizeof a->positions);
    assert_memory_equal(a->logits, b->logits, sizeof a->logits);
}

static int set_up(void **state)
{
    rig *r = calloc(1, sizeof *r);
    *state = r;
    if (!scratch_dir_init(&r->dir)) return -1;
    scratch_dir_path(&r->dir, r->model, "small.gguf");
    model_spec spec = model_spec_default();
    spec.hp.n_layer = 4;
    yl_error err = {0};
    if (model_maker_write(r->model, &spec, &err)) fail_msg("%s", err.msg);
    engine *e;
    if (open_engine(r, "", &e, &err) || talk(e, &r->expected, &err)) fail_msg("%s", err.msg);
    engine_close(e);
    assert_int_equal(r->n_losses, 0);
    return 0;
}

static int tear_down(void **state)
{
    rig *r = *state;
    scratch_dir_clear(&r->dir);
    free(r);
    return 0;
}

/* ---- tests ---- */

typedef struct disturbance {
    const char *plan;
    uint32_t n_losses;
} disturbance;

static void expect_no_trace(rig *r, const disturbance *d)
{
    engine *e;
    yl_error err = {0};
    if (open_engine(r, d->plan, &e, &err)) fail_msg("%s: %s", d->plan, err.msg);
    if (talk(e, &r->heard, &err)) fail_msg("%s: %s", d->plan, err.msg);
    engine_close(e);
    if (r->n_losses != d->n_losses) fail_msg("%s: %u losses were told", d->plan, r->n_losses);
    expect_same(&r->heard, &r->expected);
}

static void lost_while_opening(void **state)
{
    rig *r = *state;
    static const disturbance D[] = {{"worker-0:assign:1", 1},
                                    {"worker-2:assign:1", 1},
                                    {"worker-1:assign:1,worker-1:assign:2,worker-0:assign:3", 3}};
    for (size_t i = 0; i < sizeof D / sizeof *D; i++) expect_no_trace(r, &D[i]);
    assert_non_null(strstr(r->last_line, "worker 'worker-0': forgot it all"));
}

static void lost_while_a_prompt_is_read(void **state)
{
    rig *r = *state;
    static const disturbance D[] = {{"worker-0:forward:1", 1},
                                    {"worker-0:frame:2", 1},
                                    {"worker-2:forward:3", 1},
                                    {"worker-1:frame:4", 1}};
    for (size_t i = 0; i < sizeof D / sizeof *D; i++) expect_no_trace(r, &D[i]);
    assert_non_null(strstr(r->last_line, "tokens are computed again"));
}

static void lost_while_sequences_decode(void **state)
{
    rig *r = *state;
    static const disturbance D[] = {{"worker-0:forward:16", 1}, {"worker-1:frame:25", 1}, {"worker-2:forward:31", 1}};
    for (size_t i = 0; i < sizeof D / sizeof *D; i++) expect_no_trace(r, &D[i]);
}

/* Nobody asks for anything, or for something that is no row. */
static void lost_between_rows(void **state)
{
    rig *r = *state;
    static const disturbance D[] = {{"worker-0:after:4", 1},
                                    {"worker-2:after:8", 1},
                                    {"worker-2:logits:1", 1},
                                    {"worker-2:logits:2", 1},
                                    {"worker-1:seq:1", 1}};
    for (size_t i = 0; i < sizeof D / sizeof *D; i++) expect_no_trace(r, &D[i]);
}

/* A second loss while the first is made up for, or later. */
static void lost_twice(void **state)
{
    rig *r = *state;
    static const disturbance D[] = {{"worker-0:forward:3,worker-2:assign:2", 2},
                                    {"worker-1:forward:14,worker-2:forward:17", 2},
                                    {"worker-0:forward:5,worker-0:forward:12,worker-2:logits:2", 3}};
    for (size_t i = 0; i < sizeof D / sizeof *D; i++) expect_no_trace(r, &D[i]);
}

static void lost_too_often(void **state)
{
    rig *r = *state;
    engine *e;
    yl_error err = {0};
    assert_int_equal(open_engine(r, "worker-1:assign:1,worker-1:assign:2,worker-1:assign:3,worker-1:assign:4", &e, &err), YL_EPEER);
    assert_non_null(strstr(err.msg, "worker-1"));
    assert_non_null(strstr(err.msg, "giving up"));
    assert_int_equal(r->n_losses, 3);
    if (open_engine(r, "worker-1:forward:1,worker-1:forward:2,worker-1:forward:3,worker-1:forward:4", &e, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(eval(e, &r->heard, 0, 0, 20, &err), YL_EPEER);
    assert_int_equal(r->n_losses, 3);
    memset(&err, 0, sizeof err);
    assert_int_equal(eval(e, &r->heard, 0, 0, 20, &err), YL_EPEER); /* that was final */
    assert_non_null(strstr(err.msg, "giving up"));
    engine_close(e);
}

/* Who interrupts a chain that is wired again gets his call back; the next call wires it. */
static void interrupted_on_the_way(void **state)
{
    rig *r = *state;
    engine *e;
    yl_error err = {0};
    if (open_engine(r, "worker-1:forward:2", &e, &err)) fail_msg("%s", err.msg);
    r->interrupts = true;
    assert_int_equal(eval(e, &r->heard, 0, 0, 60, &err), YL_ECANCELED);
    assert_true(engine_is_done(e, 0));
    if (talk(e, &r->heard, &err)) fail_msg("%s", err.msg);
    engine_close(e);
    assert_int_equal(r->n_losses, 1);
    expect_same(&r->heard, &r->expected);
}

int main(int argc, char **argv)
{
    if (argc > 1) return stage_main(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lost_while_opening),
        cmocka_unit_test(lost_while_a_prompt_is_read),
        cmocka_unit_test(lost_while_sequences_decode),
        cmocka_unit_test(lost_between_rows),
        cmocka_unit_test(lost_twice),
        cmocka_unit_test(lost_too_often),
        cmocka_unit_test(interrupted_on_the_way),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
