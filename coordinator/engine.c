/* engine.c: calls on an open model: feed rows, wait for answers.
 *
 * One loop for everything that waits: send what the pipeline has credit for, poll the sockets, handle what came. A failure of the
 * chain is final for the engine: the state of the stages is not known any more. */
#include "engine_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_MS = 100 };

void engine_log(const engine *e, engine_log_level level, const char *format, ...)
{
    if (!e->o.on_log) return;
    char line[YL_ERROR_MSG_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    e->o.on_log(e->o.ctx, level, line);
}

static stage *stage_of_worker(engine *e, int worker)
{
    for (uint32_t i = 0; i < e->n_stages; i++) {
        if (worker >= 0 && e->stages[i].worker == worker) return &e->stages[i];
    }
    return NULL;
}

/* A long row of values comes in pieces, in order. True: a is whole now. */
static bool join_pieces(engine *e, frame_answer *a)
{
    size_t n_whole = 4 * (size_t)(a->kind == FRAME_WANT_ALL ? e->hp.n_vocab : e->hp.n_embd), at = 4 * (size_t)a->first;
    if (a->data.n_bytes == n_whole) return true;
    if (at > n_whole || a->data.n_bytes > n_whole - at) return false;
    memcpy((uint8_t *)e->row + at, a->data.data, a->data.n_bytes);
    bool is_last = at + a->data.n_bytes == n_whole;
    a->data = (frame_bin){(const uint8_t *)e->row, n_whole};
    a->first = 0;
    return is_last;
}

/* Between the pipeline and the caller: a row that became non-finite has no answer. */
static yl_status give_answer(void *ctx, const frame_answer *a, yl_error *err)
{
    engine *e = ctx;
    if (!e->on_answer) return YL_OK;
    if (a->is_fault)
        return yl_fail(
            err, YL_EPEER,
            "position %u became infinite or not a number in %s %u: the model file may be damaged (or try -ctk f32 -ctv f32)",
            a->pos, a->fault_layer == e->hp.n_layer ? "the output head, after layer" : "layer", a->fault_layer);
    if (a->kind == FRAME_WANT_TOP) return e->on_answer(e->answer_ctx, a, err);
    frame_answer whole = *a;
    return join_pieces(e, &whole) ? e->on_answer(e->answer_ctx, &whole, err) : YL_OK;
}

static yl_status take_result(engine *e, const frame *f, yl_error *err)
{
    if (f->result.id != e->awaited_id) return pipeline_result(e->pipeline, f, give_answer, e, err);
    for (uint32_t i = 0; i < f->result.n_answers; i++) {
        yl_status status = give_answer(e, &f->result.answers[i], err);
        if (status) return status;
    }
    if (!f->result.more) e->awaited_id = 0;
    return YL_OK;
}

/* Does an ERROR concern something that we asked for? A worker also answers so to bytes that a stranger sent it. */
static bool is_about_us(const engine *e, const frame_error *f)
{
    if (f->about == FRAME_ASSIGN || f->about == FRAME_TENSOR) return true;
    return f->id && (f->id == e->awaited_id || pipeline_has_in_flight(e->pipeline, f->id));
}

static yl_status take_error(engine *e, const stage *s, const frame_error *f, yl_error *err)
{
    const char *name = s ? s->name : "?", *text = (const char *)f->message.data;
    int n = (int)f->message.n_bytes;
    if (is_about_us(e, f)) return yl_fail(err, YL_EPEER, "worker '%s': %.*s", name, n, text);
    engine_log(e, ENGINE_LOG_WARN, "worker '%s' refused a frame that we did not send: %.*s", name, n, text);
    return YL_OK;
}

static yl_status take_frame(void *ctx, int worker, const frame *f, yl_error *err)
{
    engine *e = ctx;
    stage *s = stage_of_worker(e, worker);
    if (f->kind == FRAME_ERROR) return take_error(e, s, &f->error, err);
    if (f->epoch != e->epoch) return YL_OK; /* of a wiring that is over */
    switch (f->kind) {
    case FRAME_RESULT: return take_result(e, f, err);
    case FRAME_SEQ:
        if (f->seq.id == e->awaited_id) e->awaited_id = 0;
        return YL_OK;
    case FRAME_WANT: return s ? engine_send_chunk(e, s, &f->want, err) : YL_OK;
    case FRAME_READY:
        if (!s) return YL_OK;
        s->is_ready = true;
        s->ready = f->ready;
        return YL_OK;
    case FRAME_STATS:
        if (!s || f->stats.id != s->stats_id) return YL_OK;
        s->stats = f->stats;
        s->stats_id = 0;
        return YL_OK;
    default:
        return yl_fail(err, YL_EPEER, "worker '%s' sent a %s, which is not for a coordinator", s ? s->name : "?",
                       frame_kind_name(f->kind));
    }
}

yl_status engine_pump(engine *e, uint32_t wait_ms, yl_error *err)
{
    bool idle;
    yl_status status = cluster_poll(e->cluster, wait_ms, take_frame, e, &idle, err);
    /* That a process ended is a better reason than the silence it led to. */
    uint64_t now = cluster_now_ms();
    if (status == YL_EPEER || (!status && now - e->checked_ms >= WAIT_MS)) {
        e->checked_ms = now;
        yl_error died;
        if (local_workers_check(e->locals, &died)) {
            *err = died;
            return YL_EPEER;
        }
    }
    return status;
}

/* Sends as many micro-batches as there is credit for. */
static yl_status send_rows(engine *e, yl_error *err)
{
    frame f;
    yl_status status = YL_OK;
    while (!status && pipeline_next(e->pipeline, &f)) {
        f.epoch = e->epoch;
        status = cluster_send_data(e->cluster, &f, err);
    }
    return status;
}

static yl_status check_usable(const engine *e, yl_error *err)
{
    if (e->broken.status) {
        if (err) *err = e->broken;
        return e->broken.status;
    }
    return YL_OK;
}

/* Remembers a failure of the chain. A callback's own failure leaves the chain whole. */
static yl_status finish(engine *e, yl_status status, const yl_error *err)
{
    e->on_answer = NULL;
    if (status == YL_EPEER || status == YL_EIO || status == YL_EFORMAT) {
        e->broken.status = status;
        if (err) e->broken = *err;
    }
    return status;
}

/* Rows of a call that was given up are still on their way: their answers are nobody's. */
static yl_status wait_for_stale_rows(engine *e, yl_error *err)
{
    yl_status status = YL_OK;
    while (!status && pipeline_n_in_flight(e->pipeline)) {
        if (e->is_canceled) return yl_fail(err, YL_ECANCELED, "interrupted");
        status = engine_pump(e, WAIT_MS, err);
    }
    return status;
}

yl_status engine_eval(engine *e, uint32_t seq, uint32_t pos, const int32_t *tokens, size_t n, const frame_want *wants,
                      size_t n_wants, engine_answer_fn *on_answer, void *ctx, yl_error *err)
{
    yl_error local;
    if (!err) err = &local;
    yl_status status = check_usable(e, err);
    if (!status) status = wait_for_stale_rows(e, err);
    if (status) return finish(e, status, err);
    pipeline_request r = {.seq = seq, .pos = pos, .tokens = tokens, .n = n, .wants = wants, .n_wants = n_wants};
    status = pipeline_submit(e->pipeline, &r, err);
    if (status) return status;
    e->on_answer = on_answer;
    e->answer_ctx = ctx;
    while (!status && !pipeline_is_done(e->pipeline, seq)) {
        if (e->is_canceled) {
            status = yl_fail(err, YL_ECANCELED, "interrupted");
            break;
        }
        status = send_rows(e, err);
        if (!status) status = engine_pump(e, WAIT_MS, err);
    }
    if (status) pipeline_drop(e->pipeline, seq);
    return finish(e, status, err);
}

/* Sends a frame by `send` and waits until its id came back. */
static yl_status send_and_wait(engine *e, frame *f, uint64_t id, int worker, yl_error *err)
{
    e->awaited_id = id;
    f->epoch = e->epoch;
    yl_status status = worker < 0 ? cluster_send_data(e->cluster, f, err) : cluster_send(e->cluster, (uint32_t)worker, f, err);
    while (!status && e->awaited_id) status = engine_pump(e, WAIT_MS, err);
    e->awaited_id = 0;
    return finish(e, status, err);
}

yl_status engine_again(engine *e, uint32_t seq, uint32_t pos, const frame_want *want, engine_answer_fn *on_answer, void *ctx,
                       yl_error *err)
{
    yl_error local;
    if (!err) err = &local;
    yl_status status = check_usable(e, err);
    if (status) return status;
    e->on_answer = on_answer;
    e->answer_ctx = ctx;
    frame f = {.kind = FRAME_LOGITS};
    f.logits = (frame_logits){.id = pipeline_take_id(e->pipeline), .seq = seq, .pos = pos, .want = *want};
    f.logits.want.row = 0;
    return send_and_wait(e, &f, f.logits.id, e->stages[e->n_stages - 1].worker, err);
}

yl_status engine_release(engine *e, uint32_t seq, yl_error *err)
{
    yl_error local;
    if (!err) err = &local;
    yl_status status = check_usable(e, err);
    if (!status) status = wait_for_stale_rows(e, err);
    if (status) return finish(e, status, err);
    frame f = {.kind = FRAME_SEQ};
    f.seq = (frame_seq){.id = pipeline_take_id(e->pipeline), .op = FRAME_SEQ_RELEASE, .seq = seq};
    status = send_and_wait(e, &f, f.seq.id, -1, err);
    if (!status) pipeline_forget_seq(e->pipeline, seq);
    return status;
}

void engine_cancel(engine *e)
{
    e->is_canceled = true;
}

void engine_resume(engine *e)
{
    e->is_canceled = false;
}

const gguf *engine_gguf(const engine *e)
{
    return e->model;
}

const hparams *engine_hparams(const engine *e)
{
    return &e->hp;
}

uint32_t engine_n_ctx(const engine *e)
{
    return e->n_ctx;
}

uint32_t engine_n_stages(const engine *e)
{
    return e->n_stages;
}

static bool stats_are_owed(const engine *e)
{
    for (uint32_t i = 0; i < e->n_stages; i++) {
        if (e->stages[i].stats_id) return true;
    }
    return false;
}

yl_status engine_stages(engine *e, engine_stage *stages, yl_error *err)
{
    yl_error local;
    if (!err) err = &local;
    yl_status status = check_usable(e, err);
    for (uint32_t i = 0; i < e->n_stages && !status; i++) {
        stage *s = &e->stages[i];
        s->stats_id = pipeline_take_id(e->pipeline);
        frame f = {.kind = FRAME_STATS, .epoch = e->epoch, .stats = {.id = s->stats_id}};
        status = cluster_send(e->cluster, (uint32_t)s->worker, &f, err);
    }
    while (!status && stats_are_owed(e)) status = engine_pump(e, WAIT_MS, err);
    if (status) return finish(e, status, err);
    for (uint32_t i = 0; i < e->n_stages; i++) {
        const stage *s = &e->stages[i];
        stages[i] = (engine_stage){.name = s->name,
                                   .range = s->range,
                                   .weight_bytes = s->ready.weight_bytes,
                                   .kv_bytes = s->ready.kv_bytes,
                                   .scratch_bytes = s->ready.scratch_bytes,
                                   .load_ns = s->ready.load_ns,
                                   .stats = s->stats};
    }
    return YL_OK;
}
