/* engine.c: calls on an open model: feed rows, wait for answers.
 *
 * One loop for everything that waits: send what the pipeline has credit for, poll the sockets, handle what came. A failure of the
 * chain is final for the engine: the state of the stages is not known any more. A listener's is its request's only: it is kept
 * aside while the frame that brought the answer is dealt with, for the others in it. */
#include "engine_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_MS = 100, STALL_FACTOR = 2, ENDING_MS = 100 };

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

void engine_note(const engine *e, const char *format, ...)
{
    if (!e->o.on_note) return;
    char line[YL_ERROR_MSG_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    e->o.on_note(e->o.ctx, line);
}

stage *engine_stage_of_worker(engine *e, int worker)
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

static yl_status tell(engine *e, const listener *l, const frame_answer *a, yl_error *err)
{
    if (!l->on_answer) return YL_OK;
    if (a->is_fault)
        return yl_fail(
            err, YL_EPEER,
            "position %u became infinite or not a number in %s %u: the model file may be damaged (or try -ctk f32 -ctv f32%s)",
            a->pos, a->fault_layer == e->hp.n_layer ? "the output head, after layer" : "layer", a->fault_layer,
            e->o.wire == WIRE_F16 ? " --wire f32" : "");
    if (a->kind == FRAME_WANT_TOP) return l->on_answer(l->ctx, a, err);
    frame_answer whole = *a;
    return join_pieces(e, &whole) ? l->on_answer(l->ctx, &whole, err) : YL_OK;
}

/* A listener that failed hears no more; why is for the call that waits. */
static bool tell_or_remember(engine *e, listener *l, const frame_answer *a)
{
    yl_error cause = {0};
    yl_status status = tell(e, l, a, &cause);
    if (!status) return true;
    *l = (listener){0};
    if (!e->unheard.status) {
        e->unheard = cause;
        e->unheard.status = status;
    }
    return false;
}

/* Between the pipeline and who asked. */
static void give_answer(void *ctx, const frame_answer *a)
{
    engine *e = ctx;
    if (!tell_or_remember(e, &e->listeners[a->seq], a)) pipeline_drop(e->pipeline, a->seq);
}

static void take_awaited(engine *e, const frame_result *r)
{
    for (uint32_t i = 0; i < r->n_answers; i++) tell_or_remember(e, &e->awaiting, &r->answers[i]);
    if (!r->more) e->awaited_id = 0;
}

static yl_status take_result(engine *e, const frame *f, yl_error *err)
{
    e->n_results++;
    e->moved_ms = cluster_now_ms();
    if (f->result.id == e->awaited_id) {
        take_awaited(e, &f->result);
        return YL_OK;
    }
    if (!f->result.more) {
        uint64_t now_ns = cluster_now_ns();
        credit_back(&e->credit, f->result.id, now_ns);
        engine_watch_returned(e, f->result.id, now_ns);
    }
    return pipeline_result(e->pipeline, f, give_answer, e, err);
}

/* Does an ERROR concern something that we asked for? A worker also answers so to bytes that a stranger sent it. */
static bool is_about_us(const engine *e, const frame_error *f)
{
    if (f->about == FRAME_ASSIGN || f->about == FRAME_TENSOR) return true;
    return f->id && (f->id == e->awaited_id || pipeline_has_in_flight(e->pipeline, f->id));
}

/* Whose fault is it that a stage complains? A link that does not stand is the next one's, who should take it; a frame that is wrong
 * came from the one before. */
static stage *culprit(engine *e, stage *s, const frame_error *f)
{
    bool is_last = s == &e->stages[e->n_stages - 1], is_first = s == e->stages;
    if (f->about == FRAME_ASSIGN && f->status == YL_EPEER && !is_last) return s + 1;
    if ((f->about == FRAME_FORWARD || f->about == FRAME_SEQ) && f->status == YL_EFORMAT && !is_first) return s - 1;
    return s;
}

static yl_status take_error(engine *e, stage *s, uint64_t epoch, const frame_error *f, yl_error *err)
{
    yl_error cause;
    bool is_loss = s && f->status == YL_EREPLAY;
    yl_fail(&cause, YL_EPEER, "worker '%s': %.*s", s ? s->name : "?", (int)f->message.n_bytes, (const char *)f->message.data);
    /* Of a wiring that is over; but whoever refuses an ASSIGN still is in the epoch before. */
    bool is_refusal = f->about == FRAME_ASSIGN && f->status != YL_EREPLAY && f->status != YL_EPEER;
    if (epoch < e->epoch && !is_refusal) return YL_OK;
    if (is_loss) return engine_lose(e, &cause, err);
    if (s && is_about_us(e, f)) return engine_lose_stage(e, culprit(e, s, f), &cause, err);
    engine_log(e, ENGINE_LOG_WARN, "%s (about a frame that we did not send)", cause.msg);
    return YL_OK;
}

/* A frame of our epoch. YL_EPEER: no stage should have sent it. */
static yl_status take_frame_of_epoch(engine *e, stage *s, const frame *f, yl_error *err)
{
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
        s->stats_ms = cluster_now_ms();
        return YL_OK;
    default:
        return yl_fail(err, YL_EPEER, "worker '%s' sent a %s, which is not for a coordinator", s ? s->name : "?",
                       frame_kind_name(f->kind));
    }
}

static yl_status take_frame(void *ctx, int worker, const frame *f, yl_error *err)
{
    engine *e = ctx;
    stage *s = engine_stage_of_worker(e, worker);
    if (f->kind == FRAME_ERROR) return take_error(e, s, f->epoch, &f->error, err);
    if (f->epoch != e->epoch || !e->n_stages) return YL_OK; /* of a wiring that is over, or none of ours */
    yl_error cause;
    yl_status status = take_frame_of_epoch(e, s, f, &cause);
    if (status == YL_EPEER)
        return engine_lose_stage(e, s ? s : &e->stages[e->n_stages - 1], &cause, err); /* results: the last one's */
    if (status && err) *err = cause;
    return status;
}

static yl_status take_loss(void *ctx, uint32_t worker, const char *why, yl_error *err)
{
    return engine_lose_worker(ctx, worker, why, err);
}

/* Rows are on their way, nothing comes back, and no stage has anything to do: a frame was lost between two of them. */
static bool is_stalled(const engine *e, uint64_t now)
{
    if (e->is_lost || (!e->awaited_id && !pipeline_n_in_flight(e->pipeline))) return false;
    uint64_t last = e->moved_ms;
    for (uint32_t i = 0; i < e->n_stages; i++) {
        if (e->stages[i].worker < 0) return false; /* another is looked for */
        const cluster_worker *w = cluster_worker_at(e->cluster, (uint32_t)e->stages[i].worker);
        if (w && w->busy_ms > last) last = w->busy_ms;
    }
    return now > last && now - last > STALL_FACTOR * (uint64_t)e->o.timeout_ms;
}

static yl_status check_chain(engine *e, yl_error *err)
{
    yl_error cause;
    if (!is_stalled(e, cluster_now_ms())) return YL_OK;
    yl_fail(&cause, YL_EREPLAY, "rows were lost between two workers: none has any, and none came back");
    return engine_lose(e, &cause, err);
}

yl_status engine_pump(engine *e, uint32_t wait_ms, yl_error *err)
{
    bool idle;
    cluster_handlers handlers = {take_frame, take_loss, engine_watch_answer, e};
    yl_status status = cluster_poll(e->cluster, wait_ms, &handlers, &idle, err);
    if (!status) status = check_chain(e, err);
    /* That a process ended is a better reason than the silence it led to; its connection closes a moment before it is gone. */
    uint64_t now = cluster_now_ms();
    if (status == YL_EPEER || (!status && now - e->checked_ms >= WAIT_MS)) {
        e->checked_ms = now;
        yl_error died;
        if (e->locals && local_workers_check(e->locals, status ? ENDING_MS : 0, &died)) {
            *err = died;
            return YL_EPEER;
        }
    }
    return status;
}

/* Down the chain. */
static yl_status send_data(engine *e, const frame *f, yl_error *err)
{
    yl_error cause;
    yl_status status = cluster_send_data(e->cluster, f, &cause);
    if (status == YL_EPEER) return engine_lose_stage(e, e->stages, &cause, err);
    if (status && err) *err = cause;
    e->moved_ms = cluster_now_ms();
    return status;
}

/* Sends as many micro-batches as there is credit for. */
static yl_status send_rows(engine *e, yl_error *err)
{
    frame f;
    yl_status status = YL_OK;
    pipeline_set_depth(e->pipeline, credit_depth(&e->credit));
    while (!status && pipeline_next(e->pipeline, &f)) {
        f.epoch = e->epoch;
        uint64_t now_ns = cluster_now_ns();
        engine_watch_sent(e, f.forward.id, now_ns);
        if (f.forward.n_rows > PIPELINE_SHORT_ROWS) credit_sent(&e->credit, f.forward.id, now_ns);
        status = send_data(e, &f, err);
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

/* What a call returns: a failure of the chain, which is remembered, or else what a listener had against an answer. */
static yl_status finish(engine *e, yl_status status, yl_error *err)
{
    if (!status && e->unheard.status) {
        status = e->unheard.status;
        if (err) *err = e->unheard;
    } else if (status && status != YL_ECANCELED) {
        e->broken.status = status;
        if (err) e->broken = *err;
    }
    e->unheard.status = YL_OK;
    return status;
}

/* One round: what can be sent is sent, what comes is handled. A loss is made up for in the next one. */
static yl_status advance(engine *e, uint32_t wait_ms, yl_error *err)
{
    yl_status status = e->is_canceled ? yl_fail(err, YL_ECANCELED, "interrupted") : engine_recover(e, err);
    if (!status) status = send_rows(e, err);
    if (!status) status = engine_pump(e, wait_ms, err);
    if (status == YL_ECANCELED) {
        for (uint32_t i = 0; i < e->o.n_seq; i++) pipeline_drop(e->pipeline, i);
    }
    return status == YL_EREPLAY ? YL_OK : status;
}

yl_status engine_submit(engine *e, const engine_request *r, yl_error *err)
{
    yl_status status = check_usable(e, err);
    if (status) return status;
    pipeline_request rows = {
        .seq = r->seq, .pos = r->pos, .tokens = r->tokens, .n = r->n, .wants = r->wants, .n_wants = r->n_wants};
    status = pipeline_submit(e->pipeline, &rows, err);
    if (!status) e->listeners[r->seq] = (listener){r->on_answer, r->ctx};
    return status;
}

bool engine_is_done(const engine *e, uint32_t seq)
{
    return seq >= e->o.n_seq || pipeline_is_done(e->pipeline, seq);
}

yl_status engine_poll(engine *e, uint32_t wait_ms, yl_error *err)
{
    yl_error local;
    if (!err) err = &local;
    yl_status status = check_usable(e, err);
    if (status) return status;
    uint64_t n_results = e->n_results, now = cluster_now_ms(), deadline = now + wait_ms;
    do {
        uint64_t left = deadline > now ? deadline - now : 0;
        status = advance(e, left < WAIT_MS ? (uint32_t)left : WAIT_MS, err);
        now = cluster_now_ms();
    } while (!status && e->n_results == n_results && now < deadline);
    return finish(e, status, err);
}

yl_status engine_eval(engine *e, uint32_t seq, uint32_t pos, const int32_t *tokens, size_t n, const frame_want *wants,
                      size_t n_wants, engine_answer_fn *on_answer, void *ctx, yl_error *err)
{
    engine_request r = {seq, pos, tokens, n, wants, n_wants, on_answer, ctx};
    yl_status status = engine_submit(e, &r, err);
    if (status) return status;
    while (!status && !engine_is_done(e, seq)) status = engine_poll(e, WAIT_MS, err);
    if (status) pipeline_drop(e->pipeline, seq);
    return status;
}

/* Sends a frame by the data chain (worker < 0) or to a worker, and waits until its id came back. YL_EREPLAY: it never will. */
static yl_status send_and_wait(engine *e, frame *f, uint64_t id, int worker, yl_error *err)
{
    e->awaited_id = id;
    f->epoch = e->epoch;
    yl_status status = worker < 0 ? send_data(e, f, err) : cluster_send(e->cluster, (uint32_t)worker, f, err);
    while (!status && e->awaited_id) status = engine_pump(e, WAIT_MS, err);
    if (status == YL_EREPLAY && !e->awaited_id) status = YL_OK; /* it came in the same moment: the loss is the next call's */
    e->awaited_id = 0;
    return status;
}

static yl_status ask_again(engine *e, uint32_t seq, uint32_t pos, const frame_want *want, yl_error *err)
{
    frame f = {.kind = FRAME_LOGITS};
    f.logits = (frame_logits){.id = pipeline_take_id(e->pipeline), .seq = seq, .pos = pos, .want = *want};
    f.logits.want.row = 0;
    return send_and_wait(e, &f, f.logits.id, e->stages[e->n_stages - 1].worker, err);
}

yl_status engine_again(engine *e, uint32_t seq, uint32_t pos, const frame_want *want, engine_answer_fn *on_answer, void *ctx,
                       yl_error *err)
{
    yl_error local;
    if (!err) err = &local;
    yl_status status = check_usable(e, err);
    if (status) return status;
    e->awaiting = (listener){on_answer, ctx};
    do {
        status = engine_recover(e, err);
        if (status) break;
        status = pipeline_restore(e->pipeline, seq, pos, err);
        if (status) return status;
        e->listeners[seq] = (listener){0};
        while (!status && !pipeline_is_done(e->pipeline, seq)) status = advance(e, WAIT_MS, err);
        if (!status) status = ask_again(e, seq, pos, want, err);
    } while (status == YL_EREPLAY);
    return finish(e, status, err);
}

yl_status engine_release(engine *e, uint32_t seq, yl_error *err)
{
    yl_error local;
    if (!err) err = &local;
    yl_status status = check_usable(e, err);
    if (status) return status;
    if (seq >= e->o.n_seq) return yl_fail(err, YL_EINVAL, "sequence %u of %u", seq, e->o.n_seq);
    pipeline_drop(e->pipeline, seq);
    frame f = {.kind = FRAME_SEQ};
    f.seq = (frame_seq){.id = pipeline_take_id(e->pipeline), .op = FRAME_SEQ_RELEASE, .seq = seq};
    if (!e->is_lost) status = send_and_wait(e, &f, f.seq.id, -1, err);
    if (status == YL_EREPLAY) status = YL_OK; /* a chain that begins anew has forgotten the sequence, too */
    if (!status) pipeline_forget_seq(e->pipeline, seq);
    return finish(e, status, err);
}

void engine_cancel(engine *e)
{
    e->is_canceled = true;
}

void engine_resume(engine *e)
{
    e->is_canceled = false;
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

uint32_t engine_max_stages(const engine *e)
{
    return e->max_stages;
}

static bool stats_are_owed(const engine *e)
{
    for (uint32_t i = 0; i < e->n_stages; i++) {
        if (e->stages[i].stats_id) return true;
    }
    return false;
}

static yl_status ask_for_stats(engine *e, yl_error *err)
{
    yl_status status = YL_OK;
    for (uint32_t i = 0; i < e->n_stages && !status; i++) {
        stage *s = &e->stages[i];
        s->stats_id = pipeline_take_id(e->pipeline);
        frame f = {.kind = FRAME_STATS, .epoch = e->epoch, .stats = {.id = s->stats_id}};
        status = cluster_send(e->cluster, (uint32_t)s->worker, &f, err);
    }
    while (!status && stats_are_owed(e)) status = engine_pump(e, WAIT_MS, err);
    return status;
}

yl_status engine_stages(engine *e, engine_stage *stages, yl_error *err)
{
    yl_error local;
    if (!err) err = &local;
    yl_status status = check_usable(e, err);
    if (status) return status;
    do {
        status = engine_recover(e, err);
        if (!status) status = ask_for_stats(e, err);
    } while (status == YL_EREPLAY);
    if (status) return finish(e, status, err);
    for (uint32_t i = 0; i < e->n_stages; i++) {
        const stage *s = &e->stages[i];
        stages[i] = (engine_stage){.name = s->name,
                                   .range = s->range,
                                   .wiring = e->epoch,
                                   .weight_bytes = s->ready.weight_bytes,
                                   .kv_bytes = s->ready.kv_bytes,
                                   .scratch_bytes = s->ready.scratch_bytes,
                                   .load_ns = s->ready.load_ns,
                                   .stats = s->stats};
    }
    return YL_OK;
}
