/* worker.c: queues, and which work comes next.
 *
 * Frames wait in two queues: control (ASSIGN, TENSOR, LOGITS, STATS, SHUTDOWN), looked at first, and data (FORWARD, SEQ), in the
 * order of arrival, because frames of a sequence must not overtake each other. One FORWARD is under way at a time; its layers are
 * single steps, so a control frame waits for one layer at most. An ASSIGN drops the FORWARD under way: its epoch is over. */
#include "worker_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static yl_status queue_init(message_queue *q, yl_error *err)
{
    q->ring = calloc(WORKER_MAX_QUEUED, sizeof *q->ring);
    return q->ring ? YL_OK : yl_fail(err, YL_ENOMEM, "no memory for a queue of %d frames", WORKER_MAX_QUEUED);
}

static bool queue_push(message_queue *q, worker_message m)
{
    if (q->n == WORKER_MAX_QUEUED) return false;
    q->ring[(q->first + q->n) % WORKER_MAX_QUEUED] = m;
    q->n++;
    return true;
}

static bool queue_pop(message_queue *q, worker_message *out)
{
    if (!q->n) return false;
    *out = q->ring[q->first];
    q->first = (q->first + 1) % WORKER_MAX_QUEUED;
    q->n--;
    return true;
}

static void queue_drop_all(message_queue *q)
{
    worker_message m;
    while (queue_pop(q, &m)) worker_message_done(&m);
}

void worker_message_done(worker_message *m)
{
    if (m->release) m->release(m->hint);
    *m = (worker_message){0};
}

uint64_t worker_counter(const worker *w)
{
    return w->env.counter(w->env.counter_ctx);
}

yl_status worker_new(worker **out, const worker_env *env, yl_error *err)
{
    *out = NULL;
    worker *w = calloc(1, sizeof *w);
    if (!w) return yl_fail(err, YL_ENOMEM, "no memory for a worker");
    w->env = *env;
    yl_status status = queue_init(&w->control, err);
    if (!status) status = queue_init(&w->data, err);
    if (!status) status = frame_scratch_new(&w->scratch, err);
    if (!status) status = frame_scratch_new(&w->batch_scratch, err);
    if (!status) status = sha256_new(&w->hash, err);
    if (status) {
        worker_free(w);
        return status;
    }
    *out = w;
    return YL_OK;
}

void worker_free(worker *w)
{
    if (!w) return;
    worker_batch_end(w);
    worker_unassign(w);
    if (w->control.ring) queue_drop_all(&w->control);
    if (w->data.ring) queue_drop_all(&w->data);
    free(w->control.ring);
    free(w->data.ring);
    frame_scratch_free(w->scratch);
    frame_scratch_free(w->batch_scratch);
    sha256_free(w->hash);
    free(w);
}

yl_status worker_send(worker *w, outbox *out, worker_peer to, const frame *f, yl_error *err)
{
    frame_bytes *bytes;
    yl_status status = outbox_room(out, &bytes, err);
    if (!status) status = frame_encode(bytes, f, err);
    if (status) return status;
    if (f->kind == FRAME_RESULT || f->kind == FRAME_SEQ) w->stats.bytes_out += bytes->n;
    outbox_push(out, to);
    return YL_OK;
}

yl_status worker_send_error(worker *w, outbox *out, frame_kind about, uint64_t id, const yl_error *cause, yl_error *err)
{
    frame_bytes *bytes;
    yl_status status = outbox_room(out, &bytes, err);
    if (!status) status = frame_encode_error(bytes, w->epoch, about, id, cause, err);
    if (status) return status;
    outbox_push(out, WORKER_TO_COORDINATOR);
    return YL_OK;
}

/* The id that an ERROR about this frame repeats. */
static uint64_t frame_id(const frame *f)
{
    switch (f->kind) {
    case FRAME_FORWARD: return f->forward.id;
    case FRAME_SEQ: return f->seq.id;
    case FRAME_LOGITS: return f->logits.id;
    case FRAME_STATS: return f->stats.id;
    default: return 0;
    }
}

static bool is_data(unsigned kind)
{
    return kind == FRAME_FORWARD || kind == FRAME_SEQ;
}

static bool belongs_to_an_epoch(frame_kind kind)
{
    return is_data(kind) || kind == FRAME_LOGITS || kind == FRAME_TENSOR;
}

/* Is this a kind that a worker takes, of an epoch that it may act on? *drop: of an older epoch, say nothing. */
static yl_status check_kind_and_epoch(const worker *w, const frame *f, bool *drop, yl_error *err)
{
    *drop = false;
    switch (f->kind) {
    case FRAME_ASSIGN:
    case FRAME_TENSOR:
    case FRAME_LOGITS:
    case FRAME_STATS:
    case FRAME_HEARTBEAT:
    case FRAME_SHUTDOWN:
    case FRAME_FORWARD:
    case FRAME_SEQ: break;
    default: return yl_fail(err, YL_EFORMAT, "%s is not a frame for a worker", frame_kind_name(f->kind));
    }
    if (!belongs_to_an_epoch(f->kind)) return YL_OK;
    if (f->epoch < w->epoch) {
        *drop = true;
        return YL_OK;
    }
    if (f->epoch > w->epoch)
        return yl_fail(err, YL_EFORMAT, "%s of epoch %" PRIu64 ", but this worker is at epoch %" PRIu64 ": send ASSIGN first",
                       frame_kind_name(f->kind), f->epoch, w->epoch);
    return YL_OK;
}

/* The id of a frame that is refused. */
static uint64_t refused_id(const worker *w, const worker_message *m)
{
    frame f;
    return frame_decode(&f, w->scratch, m->data, m->n_bytes, NULL) ? 0 : frame_id(&f);
}

yl_status worker_receive(worker *w, worker_message message, outbox *out, yl_error *err)
{
    frame f = {0};
    yl_error cause = {0};
    bool drop = false;
    yl_status status = YL_OK;
    f.kind = frame_peek(message.data, message.n_bytes, &f.epoch);
    if (!is_data(f.kind)) status = frame_decode(&f, w->scratch, message.data, message.n_bytes, &cause);
    if (!status) status = check_kind_and_epoch(w, &f, &drop, &cause);
    if (!status && !drop) {
        if (!message.arrived) message.arrived = worker_counter(w);
        if (queue_push(is_data(f.kind) ? &w->data : &w->control, message)) {
            if (is_data(f.kind)) w->stats.bytes_in += message.n_bytes;
            return YL_OK;
        }
        status = yl_fail(&cause, YL_ELIMIT, "%d frames are waiting already", WORKER_MAX_QUEUED);
    }
    uint64_t id = status ? refused_id(w, &message) : 0;
    worker_message_done(&message);
    /* An ERROR is never answered: two peers would talk for ever. */
    if (!status || f.kind == FRAME_ERROR) return YL_OK;
    return worker_send_error(w, out, f.kind, id, &cause, err);
}

void worker_link_up(worker *w, uint64_t epoch)
{
    if (epoch == w->epoch) w->link_is_up = true;
}

yl_status worker_lose_weights(worker *w, uint64_t epoch, const yl_error *cause, outbox *out, yl_error *err)
{
    if (w->state == WORKER_UNASSIGNED || epoch != w->a.weights_epoch) return YL_OK;
    worker_batch_end(w);
    worker_unassign(w);
    queue_drop_all(&w->data); /* rows of sequences that are gone */
    return worker_send_error(w, out, FRAME_ASSIGN, 0, cause, err);
}

/* One frame from the control queue. */
static yl_status step_control(worker *w, worker_message *m, outbox *out, worker_progress *progress, yl_error *err)
{
    frame f;
    yl_error cause = {0};
    yl_status status = frame_decode(&f, w->scratch, m->data, m->n_bytes, &cause);
    *progress = WORKER_MORE;
    bool drop = false;
    if (!status) status = check_kind_and_epoch(w, &f, &drop, &cause); /* again: an ASSIGN may have come in between */
    if (!status && !drop) {
        switch (f.kind) {
        case FRAME_ASSIGN:
            status = worker_assign(w, &f, &cause);
            if (!status) *progress = WORKER_REWIRE;
            break;
        case FRAME_TENSOR: status = worker_stream_chunk(w, &f, &cause); break;
        case FRAME_LOGITS: status = worker_answer_again(w, &f, out, &cause); break;
        case FRAME_STATS: {
            frame answer = {.kind = FRAME_STATS, .epoch = w->epoch, .stats = w->stats};
            answer.stats.id = f.stats.id;
            if (w->env.resident) answer.stats.rss_bytes = w->env.resident(w->env.counter_ctx, &answer.stats.peak_rss_bytes);
            status = worker_send(w, out, WORKER_TO_COORDINATOR, &answer, &cause);
            break;
        }
        case FRAME_HEARTBEAT: {
            frame answer = {.kind = FRAME_HEARTBEAT, .epoch = w->epoch};
            answer.heartbeat.steps = w->n_steps;
            answer.heartbeat.pending = worker_n_pending(w);
            answer.heartbeat.loaded = worker_loaded_bytes(w);
            status = worker_send(w, out, WORKER_TO_COORDINATOR, &answer, &cause);
            break;
        }
        case FRAME_SHUTDOWN:
            w->stop = true;
            *progress = WORKER_STOP;
            break;
        default: break; /* check_kind_and_epoch let nothing else through */
        }
    }
    uint64_t id = frame_id(&f);
    frame_kind kind = f.kind;
    worker_message_done(m);
    return status ? worker_send_error(w, out, kind, id, &cause, err) : YL_OK;
}

/* Begins the next FORWARD, or does a SEQ. */
static yl_status step_data(worker *w, worker_message *m, outbox *out, yl_error *err)
{
    frame f;
    yl_error cause = {0};
    yl_status status = frame_decode(&f, w->batch_scratch, m->data, m->n_bytes, &cause);
    if (f.epoch != w->epoch) { /* an ASSIGN came since it was queued */
        worker_message_done(m);
        return YL_OK;
    }
    uint64_t id = status ? 0 : frame_id(&f);
    frame_kind kind = f.kind;
    if (!status && kind == FRAME_FORWARD) {
        uint64_t arrived = m->arrived;
        status = worker_batch_begin(w, &f.forward, m, &cause);
        if (!status) w->stats.queue_ns += worker_counter(w) - arrived;
    } else if (!status) {
        status = worker_seq(w, &f, &cause);
        if (!status) status = worker_send(w, out, WORKER_TO_NEXT, &f, &cause);
    }
    worker_message_done(m);
    return status ? worker_send_error(w, out, kind, id, &cause, err) : YL_OK;
}

/* The next part of the FORWARD under way. */
static yl_status step_batch(worker *w, outbox *out, yl_error *err)
{
    uint64_t id = w->batch.forward.id;
    uint64_t start = worker_counter(w);
    yl_error cause = {0};
    yl_status status = worker_batch_step(w, out, &cause);
    w->stats.compute_ns += worker_counter(w) - start;
    if (!status) return YL_OK;
    worker_batch_end(w);
    return worker_send_error(w, out, FRAME_FORWARD, id, &cause, err);
}

yl_status worker_step(worker *w, outbox *out, worker_progress *progress, yl_error *err)
{
    worker_message m;
    if (w->stop) {
        *progress = WORKER_STOP;
        return YL_OK;
    }
    *progress = WORKER_MORE;
    if (queue_pop(&w->control, &m)) {
        w->n_steps++;
        return step_control(w, &m, out, progress, err);
    }
    if (w->state == WORKER_LOADING || w->state == WORKER_LINKING) {
        bool did = false;
        yl_error cause = {0};
        yl_status status = worker_load_step(w, out, &did, &cause);
        if (status) {
            worker_unassign(w);
            return worker_send_error(w, out, FRAME_ASSIGN, 0, &cause, err);
        }
        w->n_steps += did;
        if (!did) *progress = WORKER_IDLE;
        return YL_OK;
    }
    if (w->batch.is_active) {
        w->n_steps++;
        return step_batch(w, out, err);
    }
    if (queue_pop(&w->data, &m)) {
        w->n_steps++;
        return step_data(w, &m, out, err);
    }
    *progress = WORKER_IDLE;
    return YL_OK;
}

uint64_t worker_epoch(const worker *w)
{
    return w->epoch;
}

const char *worker_next_endpoint(const worker *w)
{
    return w->a.next_endpoint;
}

const slice_range *worker_range(const worker *w)
{
    return w->a.slice ? slice_range_of(w->a.slice) : NULL;
}

uint64_t worker_n_steps(const worker *w)
{
    return w->n_steps;
}

uint64_t worker_n_pending(const worker *w)
{
    return w->control.n + w->data.n + w->batch.is_active;
}

uint32_t worker_n_past(const worker *w, uint32_t seq)
{
    return w->a.cache && seq < w->a.n_seq ? kv_cache_length(w->a.cache, seq) : 0;
}
