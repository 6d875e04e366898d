/* worker_batch.c: FORWARD and SEQ: rows through the layers of the slice, and on to the next stage.
 *
 * A FORWARD is checked whole before it changes anything. Beginning it then truncates its sequences to their first positions, makes
 * room for the new ones and counts their steps; so the same frame again (a retry) computes the same again and is harmless. */
#include "worker_internal.h"

#include <inttypes.h>

static yl_status check_segment(const worker *w, const frame_segment *s, yl_error *err)
{
    const assignment *a = &w->a;
    if (s->seq >= a->n_seq) return yl_fail(err, YL_EFORMAT, "FORWARD: sequence %u, but there are %u", s->seq, a->n_seq);
    uint64_t last = a->steps[s->seq];
    if (s->step != last + 1 && s->step != last)
        return yl_fail(err, YL_EFORMAT, "FORWARD: sequence %u is at step %" PRIu64 ", not %" PRIu64 ": a frame was lost", s->seq,
                       last, s->step);
    uint32_t length = kv_cache_length(a->cache, s->seq);
    if (s->pos > length)
        return yl_fail(err, YL_EFORMAT, "FORWARD: sequence %u has %u positions, none at %u", s->seq, length, s->pos);
    if (s->n_rows > a->n_ctx || s->pos > a->n_ctx - s->n_rows)
        return yl_fail(err, YL_ELIMIT, "FORWARD: sequence %u would grow to %" PRIu64 " positions, the context has %u", s->seq,
                       (uint64_t)s->pos + s->n_rows, a->n_ctx);
    return YL_OK;
}

static yl_status check_payload(const worker *w, const frame_forward *f, yl_error *err)
{
    const hparams *hp = slice_hparams(w->a.slice);
    bool has_embd = slice_range_of(w->a.slice)->has_embd;
    if (f->is_tokens != has_embd)
        return yl_fail(err, YL_EFORMAT, "FORWARD: %s for a stage that %s the embedding", f->is_tokens ? "tokens" : "activations",
                       has_embd ? "has" : "has not");
    if (f->is_tokens) {
        for (uint32_t i = 0; i < f->n_rows; i++) {
            int32_t token = frame_i32_at(f->payload, i);
            if (token < 0 || (uint32_t)token >= hp->n_vocab)
                return yl_fail(err, YL_EFORMAT, "FORWARD: token %d, but the vocabulary has %u", token, hp->n_vocab);
        }
        return YL_OK;
    }
    if (f->payload.n_bytes != f->n_rows * wire_row_bytes(w->a.wire, hp->n_embd))
        return yl_fail(err, YL_EFORMAT, "FORWARD: %zu bytes of activations for %u rows of %u (%s)", f->payload.n_bytes, f->n_rows,
                       hp->n_embd, wire_type_name(w->a.wire));
    return YL_OK;
}

static yl_status check_forward(const worker *w, const frame_forward *f, yl_error *err)
{
    const assignment *a = &w->a;
    if (w->state != WORKER_SERVING) return yl_fail(err, YL_EFORMAT, "FORWARD before READY");
    if (f->n_rows > a->max_rows) return yl_fail(err, YL_ELIMIT, "FORWARD: %u rows, at most %u", f->n_rows, a->max_rows);
    for (uint32_t i = 0; i < f->n_segments; i++) {
        yl_status status = check_segment(w, &f->segments[i], err);
        if (status) return status;
    }
    for (uint32_t i = 0; i < f->n_faults; i++) {
        if (f->faults[i].layer >= slice_range_of(a->slice)->layer_begin)
            return yl_fail(err, YL_EFORMAT, "FORWARD: a fault in layer %u, which did not come before", f->faults[i].layer);
    }
    for (uint32_t i = 0; i < f->n_wants; i++) {
        yl_status status = worker_answer_check(w, &f->wants[i], err);
        if (status) return status;
    }
    return check_payload(w, f, err);
}

/* Room for the new positions; which row is whose. */
static yl_status take_positions(worker *w, const frame_forward *f, yl_error *err)
{
    assignment *a = &w->a;
    uint32_t row = 0;
    for (uint32_t i = 0; i < f->n_segments; i++) {
        const frame_segment *s = &f->segments[i];
        kv_cache_truncate(a->cache, s->seq, s->pos);
        yl_status status = kv_cache_append(a->cache, s->seq, s->n_rows, err);
        if (status) return status;
        a->steps[s->seq] = s->step;
        if (a->kept) a->kept[s->seq].n = 0;
        for (uint32_t j = 0; j < s->n_rows; j++) a->rows[row++] = (forward_row){.seq = s->seq, .pos = s->pos + j};
    }
    return YL_OK;
}

static void take_payload(worker *w, const frame_forward *f)
{
    assignment *a = &w->a;
    for (uint32_t i = 0; i < f->n_rows; i++) a->faults[i] = FORWARD_NO_FAULT;
    for (uint32_t i = 0; i < f->n_faults; i++) a->faults[f->faults[i].row] = (int32_t)f->faults[i].layer;
    uint32_t n_embd = slice_hparams(a->slice)->n_embd;
    if (!f->is_tokens) {
        wire_read(a->x, a->wire, f->payload.data, (size_t)f->n_rows * n_embd);
        return;
    }
    for (uint32_t i = 0; i < f->n_rows; i++) {
        int32_t token = frame_i32_at(f->payload, i);
        forward_embed(a->forward, a->x + (size_t)i * n_embd, &token, 1);
    }
}

yl_status worker_batch_begin(worker *w, const frame_forward *f, worker_message *m, yl_error *err)
{
    yl_status status = check_forward(w, f, err);
    if (!status) status = take_positions(w, f, err);
    if (status) return status;
    take_payload(w, f);
    w->batch = (batch){.is_active = true, .message = *m, .forward = *f, .next_layer = slice_range_of(w->a.slice)->layer_begin};
    *m = (worker_message){0};
    w->stats.n_frames++;
    w->stats.n_rows += f->n_rows;
    return YL_OK;
}

void worker_batch_end(worker *w)
{
    worker_message_done(&w->batch.message);
    w->batch = (batch){0};
}

/* The rows leave for the next stage, with what became of them. */
static yl_status pass_on(worker *w, outbox *out, yl_error *err)
{
    const assignment *a = &w->a;
    const frame_forward *in = &w->batch.forward;
    uint32_t n_embd = slice_hparams(a->slice)->n_embd;
    frame_fault faults[FRAME_MAX_ROWS];
    frame f = {.kind = FRAME_FORWARD, .epoch = w->epoch, .forward = *in};
    f.forward.faults = faults;
    f.forward.n_faults = 0;
    for (uint32_t i = 0; i < in->n_rows; i++) {
        if (a->faults[i] >= 0) faults[f.forward.n_faults++] = (frame_fault){.row = i, .layer = (uint32_t)a->faults[i]};
    }
    f.forward.is_tokens = false;
    f.forward.payload = (frame_bin){.n_bytes = in->n_rows * wire_row_bytes(a->wire, n_embd)};
    frame_bytes *bytes;
    uint8_t *payload;
    yl_status status = outbox_room(out, &bytes, err);
    if (!status) status = frame_encode_forward(bytes, &f, &payload, err);
    if (status) return status;
    wire_write(payload, a->wire, a->x, (size_t)in->n_rows * n_embd, w->env.kernels, &w->stats.loss);
    w->stats.bytes_out += bytes->n;
    outbox_push(out, WORKER_TO_NEXT);
    worker_batch_end(w);
    return YL_OK;
}

yl_status worker_batch_step(worker *w, outbox *out, yl_error *err)
{
    const assignment *a = &w->a;
    const slice_range *range = slice_range_of(a->slice);
    batch *b = &w->batch;
    if (b->next_layer < range->layer_end) {
        forward_layer(a->forward, b->next_layer, a->x, a->rows, a->faults, b->forward.n_rows);
        b->next_layer++;
        if (b->next_layer < range->layer_end) return YL_OK;
    }
    return range->has_head ? worker_answer_step(w, out, err) : pass_on(w, out, err);
}

yl_status worker_seq(worker *w, const frame *f, yl_error *err)
{
    assignment *a = &w->a;
    const frame_seq *s = &f->seq;
    if (w->state != WORKER_SERVING) return yl_fail(err, YL_EFORMAT, "SEQ before READY");
    if (s->seq >= a->n_seq) return yl_fail(err, YL_EFORMAT, "SEQ: sequence %u, but there are %u", s->seq, a->n_seq);
    switch (s->op) {
    case FRAME_SEQ_RELEASE:
        kv_cache_truncate(a->cache, s->seq, 0);
        a->steps[s->seq] = 0;
        if (a->kept) a->kept[s->seq].n = 0;
        return YL_OK;
    case FRAME_SEQ_TRUNCATE: kv_cache_truncate(a->cache, s->seq, s->pos); return YL_OK;
    case FRAME_SEQ_FORK:
        if (s->other >= a->n_seq || s->other == s->seq)
            return yl_fail(err, YL_EFORMAT, "SEQ: sequence %u cannot be forked to %u of %u", s->seq, s->other, a->n_seq);
        if (s->pos > kv_cache_length(a->cache, s->seq))
            return yl_fail(err, YL_EFORMAT, "SEQ: sequence %u has fewer than %u positions", s->seq, s->pos);
        a->steps[s->other] = 0;
        if (a->kept) a->kept[s->other].n = 0;
        return kv_cache_fork(a->cache, s->seq, s->other, s->pos, err);
    }
    return yl_fail(err, YL_EFORMAT, "SEQ: unknown operation %d", (int)s->op);
}
