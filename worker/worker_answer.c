/* worker_answer.c: the last stage: norm, logits, candidates, RESULT; LOGITS.
 *
 * Wanted rows are answered a few at a time, so that logits of many rows (128,256 floats each for Llama 3) never lie in memory
 * together and no RESULT grows large. The normed rows stay until the sequence's next FORWARD: a sampler for which the candidates
 * proved nothing asks again by LOGITS, and the head is computed again, bit for bit. */
#include "top_logits.h"
#include "worker_internal.h"

#include <math.h>
#include <string.h>

yl_status worker_answer_check(const worker *w, const frame_want *want, yl_error *err)
{
    uint32_t n_vocab = slice_hparams(w->a.slice)->n_vocab;
    for (size_t i = 0; i < want->listed.n_bytes / 4; i++) {
        int32_t token = frame_i32_at(want->listed, i);
        if (token < 0 || (uint32_t)token >= n_vocab)
            return yl_fail(err, YL_EFORMAT, "token %d is asked for, but the vocabulary has %u", token, n_vocab);
    }
    return YL_OK;
}

static void put_f32(uint8_t *to, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)(bits >> (8 * i));
}

static void put_i32(uint8_t *to, int32_t value)
{
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)((uint32_t)value >> (8 * i));
}

/* Room in answer_bytes, handed out from the front. */
typedef struct answer_room {
    uint8_t *next;
} answer_room;

static frame_bin write_f32s(answer_room *room, const float *x, size_t n)
{
    frame_bin bin = {room->next, 4 * n};
    for (size_t i = 0; i < n; i++) put_f32(room->next + 4 * i, x[i]);
    room->next += bin.n_bytes;
    return bin;
}

/* The row is finite (forward_logits looked), so selecting cannot fail. */
static frame_bin write_top(answer_room *room, const float *logits, uint32_t n_vocab, uint32_t top, float max)
{
    uint64_t keys[FRAME_MAX_TOP], tmp[FRAME_MAX_TOP];
    uint32_t k = top < n_vocab ? top : n_vocab;
    frame_bin bin = {room->next, 8 * (size_t)k};
    if (k && top_logits_select(keys, k, logits, n_vocab, max, tmp, NULL)) return (frame_bin){room->next, 0};
    for (size_t i = 0; i < k; i++) {
        put_i32(room->next + 8 * i, top_logits_token(keys[i]));
        put_f32(room->next + 8 * i + 4, top_logits_logit(keys[i]));
    }
    room->next += bin.n_bytes;
    return bin;
}

static frame_bin write_listed(answer_room *room, const float *logits, frame_bin listed)
{
    size_t n = listed.n_bytes / 4;
    frame_bin bin = {room->next, 4 * n};
    for (size_t i = 0; i < n; i++) put_f32(room->next + 4 * i, logits[frame_i32_at(listed, i)]);
    room->next += bin.n_bytes;
    return bin;
}

/* One answer from a normed row (and its logits, unless the row itself is wanted). */
static void write_answer(const worker *w, frame_answer *out, const frame_want *want, const float *h, const float *logits,
                         int32_t fault, answer_room *room)
{
    const hparams *hp = slice_hparams(w->a.slice);
    out->kind = want->kind;
    out->is_fault = fault >= 0;
    if (out->is_fault) {
        out->fault_layer = (uint32_t)fault;
        return;
    }
    if (want->kind == FRAME_WANT_HIDDEN) {
        out->data = write_f32s(room, h, hp->n_embd);
        return;
    }
    w->env.kernels->max_sum_exp(logits, hp->n_vocab, &out->max, &out->sum_exp);
    if (want->kind == FRAME_WANT_ALL) {
        out->data = write_f32s(room, logits, hp->n_vocab);
    } else {
        out->data = write_top(room, logits, hp->n_vocab, want->top, out->max);
        out->listed = write_listed(room, logits, want->listed);
    }
}

static bool all_finite(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) return false;
    }
    return true;
}

static size_t answer_size(const hparams *hp, const frame_want *want)
{
    switch (want->kind) {
    case FRAME_WANT_ALL: return 4 * (size_t)hp->n_vocab;
    case FRAME_WANT_HIDDEN: return 4 * (size_t)hp->n_embd;
    case FRAME_WANT_TOP: break;
    }
    return 8 * (size_t)want->top + want->listed.n_bytes;
}

/* Sends answers as one RESULT; a single answer that is too long for one (a vocabulary beyond 262,144) in several. */
static yl_status send_result(worker *w, outbox *out, uint64_t id, bool more, frame_answer *answers, uint32_t n, yl_error *err)
{
    frame f = {.kind = FRAME_RESULT, .epoch = w->epoch};
    f.result = (frame_result){.id = id, .more = more, .n_answers = n, .answers = answers};
    frame_bin rest = n == 1 ? answers->data : (frame_bin){0};
    while (rest.n_bytes > FRAME_RESULT_BYTES) {
        f.result.more = true;
        answers->data = (frame_bin){rest.data, FRAME_RESULT_BYTES};
        yl_status status = worker_send(w, out, WORKER_TO_NEXT, &f, err);
        if (status) return status;
        answers->first += FRAME_RESULT_BYTES / 4;
        rest = (frame_bin){rest.data + FRAME_RESULT_BYTES, rest.n_bytes - FRAME_RESULT_BYTES};
        answers->data = rest;
        f.result.more = more;
    }
    return worker_send(w, out, WORKER_TO_NEXT, &f, err);
}

/* Answers n <= WORKER_HEAD_ROWS wants whose normed rows lie in a->h. */
static yl_status send_answers(worker *w, outbox *out, uint64_t id, bool more, const frame_want *wants, frame_answer *answers,
                              int32_t *faults, uint32_t n, yl_error *err)
{
    assignment *a = &w->a;
    const hparams *hp = slice_hparams(a->slice);
    bool need_logits = false;
    for (uint32_t i = 0; i < n; i++) need_logits |= wants[i].kind != FRAME_WANT_HIDDEN;
    if (need_logits) forward_logits(a->forward, a->logits, a->h, faults, n);
    for (uint32_t i = 0; i < n; i++) {
        bool is_row = wants[i].kind == FRAME_WANT_HIDDEN && faults[i] < 0;
        if (is_row && !all_finite(a->h + (size_t)i * hp->n_embd, hp->n_embd)) faults[i] = (int32_t)hp->n_layer;
    }
    answer_room room = {a->answer_bytes};
    for (uint32_t i = 0; i < n; i++)
        write_answer(w, &answers[i], &wants[i], a->h + (size_t)i * hp->n_embd, a->logits + (size_t)i * hp->n_vocab, faults[i],
                     &room);
    return send_result(w, out, id, more, answers, n, err);
}

/* Remembers a normed row of a sequence for LOGITS: the last WORKER_KEPT_ROWS that were wanted. */
static void keep_row(assignment *a, forward_row row, const float *h, uint32_t n_embd)
{
    kept_rows *kept = &a->kept[row.seq];
    float *base = a->kept_x + (size_t)row.seq * WORKER_KEPT_ROWS * n_embd;
    uint32_t slot = kept->n % WORKER_KEPT_ROWS;
    kept->pos[slot] = row.pos;
    memcpy(base + (size_t)slot * n_embd, h, n_embd * sizeof *h);
    kept->n++;
}

/* How many of the wants from `first` on go into one RESULT. */
static uint32_t count_answers(const worker *w, uint32_t first)
{
    const hparams *hp = slice_hparams(w->a.slice);
    const frame_forward *f = &w->batch.forward;
    size_t bytes = 0;
    uint32_t n = 0;
    while (n < WORKER_HEAD_ROWS && first + n < f->n_wants) {
        bytes += answer_size(hp, &f->wants[first + n]);
        if (n && bytes > FRAME_RESULT_BYTES) break;
        n++;
    }
    return n;
}

yl_status worker_answer_step(worker *w, outbox *out, yl_error *err)
{
    assignment *a = &w->a;
    const frame_forward *f = &w->batch.forward;
    uint32_t n_embd = slice_hparams(a->slice)->n_embd;
    uint32_t first = w->batch.next_want, n = count_answers(w, first);
    frame_answer answers[WORKER_HEAD_ROWS] = {0};
    int32_t faults[WORKER_HEAD_ROWS];
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = f->wants[first + i].row;
        float *h = a->h + (size_t)i * n_embd;
        forward_norm(a->forward, h, a->x + (size_t)row * n_embd, 1);
        faults[i] = a->faults[row];
        if (faults[i] < 0) keep_row(a, a->rows[row], h, n_embd);
        answers[i].row = row;
        answers[i].seq = a->rows[row].seq;
        answers[i].pos = a->rows[row].pos;
    }
    bool more = first + n < f->n_wants;
    w->batch.next_want = first + n;
    yl_status status = send_answers(w, out, f->id, more, f->wants + first, answers, faults, n, err);
    if (!more || status) worker_batch_end(w);
    return status;
}

yl_status worker_answer_again(worker *w, const frame *f, outbox *out, yl_error *err)
{
    assignment *a = &w->a;
    const frame_logits *l = &f->logits;
    if (w->state != WORKER_SERVING || !slice_range_of(a->slice)->has_head)
        return yl_fail(err, YL_EFORMAT, "LOGITS for a stage that has no output head");
    if (l->seq >= a->n_seq) return yl_fail(err, YL_EFORMAT, "LOGITS: sequence %u, but there are %u", l->seq, a->n_seq);
    yl_status status = worker_answer_check(w, &l->want, err);
    if (status) return status;
    uint32_t n_embd = slice_hparams(a->slice)->n_embd;
    const kept_rows *kept = &a->kept[l->seq];
    uint32_t n_kept = kept->n < WORKER_KEPT_ROWS ? kept->n : WORKER_KEPT_ROWS, slot = 0;
    while (slot < n_kept && kept->pos[slot] != l->pos) slot++;
    if (slot == n_kept)
        return yl_fail(err, YL_EFORMAT, "LOGITS: position %u of sequence %u is not among the %d last rows that were wanted", l->pos,
                       l->seq, WORKER_KEPT_ROWS);
    memcpy(a->h, a->kept_x + ((size_t)l->seq * WORKER_KEPT_ROWS + slot) * n_embd, n_embd * sizeof *a->h);
    frame_answer answer = {.row = 0, .seq = l->seq, .pos = l->pos};
    int32_t fault = FORWARD_NO_FAULT;
    return send_answers(w, out, l->id, false, &l->want, &answer, &fault, 1, err);
}
