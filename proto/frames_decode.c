/* frames_decode.c: from a stranger's bytes to structs.
 *
 * The code of a kind takes its fields in the order of FRAMES.md, each with its range, so that it reads like the specification.
 * Nothing here looks at the result of a take: a field reader remembers the first failure, and gives zeros and empty lists from then
 * on. Checks between fields see those zeros too, and what they field_refuse then is not told: the first sentence stays. */
#include "frames.h"

#include <stdlib.h>
#include <string.h>

#include "field_reader.h"

/* One frame is decoded at a time, so its arrays share one room. */
struct frame_scratch {
    union {
        struct {
            frame_segment segments[FRAME_MAX_SEGMENTS];
            frame_want wants[FRAME_MAX_ROWS];
            frame_fault faults[FRAME_MAX_ROWS];
        };
        frame_answer answers[FRAME_MAX_ROWS];
        frame_tensor tensors[FRAME_MAX_TENSORS];
        frame_chain_stage stages[FRAME_MAX_STAGES];
    };
};

yl_status frame_scratch_new(frame_scratch **out, yl_error *err)
{
    *out = malloc(sizeof **out);
    if (!*out) return yl_fail(err, YL_ENOMEM, "no memory for decoding frames (%zu bytes)", sizeof **out);
    return YL_OK;
}

void frame_scratch_free(frame_scratch *s)
{
    free(s);
}

static void take_hello(field_reader *r, frame_hello *h)
{
    h->name = field_str(r, "name", 1, FRAME_MAX_NAME);
    h->instance = field_u64(r, "instance", 0, UINT64_MAX);
    h->data_endpoint = field_str(r, "data_endpoint", 0, FRAME_MAX_ENDPOINT);
    h->n_threads = field_u32(r, "n_threads", 1, FRAME_MAX_THREADS);
    h->memory_bytes = field_u64(r, "memory_bytes", 0, UINT64_MAX);
    h->isa = field_str(r, "isa", 0, FRAME_MAX_NAME);
    h->model_id = field_bin(r, "model_id", 0, FRAME_ID_BYTES);
    if (h->model_id.n_bytes % FRAME_ID_BYTES) field_refuse(r, "model_id", "%zu bytes are neither 0 nor 32", h->model_id.n_bytes);
    h->version = field_str(r, "version", 0, FRAME_MAX_NAME);
    h->bytes_per_s = field_u64(r, "bytes_per_s", 0, FRAME_MAX_SPEED);
    h->macs_per_s = field_u64(r, "macs_per_s", 0, FRAME_MAX_SPEED);
}

static void take_hparams(field_reader *r, hparams *hp)
{
    uint32_t outer = field_open_array(r, "hparams");
    hp->n_vocab = field_u32(r, "n_vocab", 0, UINT32_MAX);
    hp->n_ctx_train = field_u32(r, "n_ctx_train", 0, UINT32_MAX);
    hp->n_embd = field_u32(r, "n_embd", 0, UINT32_MAX);
    hp->n_layer = field_u32(r, "n_layer", 0, UINT32_MAX);
    hp->n_ff = field_u32(r, "n_ff", 0, UINT32_MAX);
    hp->n_head = field_u32(r, "n_head", 0, UINT32_MAX);
    hp->n_head_kv = field_u32(r, "n_head_kv", 0, UINT32_MAX);
    hp->n_embd_head = field_u32(r, "n_embd_head", 0, UINT32_MAX);
    hp->n_rot = field_u32(r, "n_rot", 0, UINT32_MAX);
    hp->rms_eps = field_f32(r, "rms_eps");
    hp->rope_freq_base = field_f64(r, "rope_freq_base");
    hp->rope_type = field_u32(r, "rope_type", ROPE_SCALING_NONE, ROPE_SCALING_YARN);
    hp->rope_factor = field_f64(r, "rope_factor");
    hp->rope_orig_ctx = field_u32(r, "rope_orig_ctx", 0, UINT32_MAX);
    hp->rope_attn_factor = field_f64(r, "rope_attn_factor");
    hp->rope_ext_factor = field_f64(r, "rope_ext_factor");
    hp->rope_beta_fast = field_f64(r, "rope_beta_fast");
    hp->rope_beta_slow = field_f64(r, "rope_beta_slow");
    hp->tied_embeddings = field_bool(r, "tied_embeddings");
    field_close_array(r, outer);
}

/* The model and the slice have rules of their own. */
static void check_model(field_reader *r, const frame_assign *a)
{
    if (r->status) return;
    r->status = hparams_check(&a->hp, r->err);
    if (!r->status) r->status = slice_range_check(&a->range, &a->hp, r->err);
    if (!r->status) return;
    r->status = YL_EFORMAT;
    yl_error_context(r->err, "ASSIGN: ");
    if (r->err) r->err->status = YL_EFORMAT;
}

static void take_range(field_reader *r, slice_range *range)
{
    uint32_t outer = field_open_array(r, "slice");
    range->has_embd = field_bool(r, "has_embd");
    range->has_head = field_bool(r, "has_head");
    range->layer_begin = field_u32(r, "layer_begin", 0, HPARAMS_MAX_LAYER);
    range->layer_end = field_u32(r, "layer_end", 0, HPARAMS_MAX_LAYER);
    field_close_array(r, outer);
}

/* The largest dimension that hparams_check lets through: a vocabulary, or the heads of a layer side by side. */
#define MAX_DIMENSION (1 << 22)
_Static_assert(HPARAMS_MAX_VOCAB <= MAX_DIMENSION && HPARAMS_MAX_HEAD * HPARAMS_MAX_EMBD_HEAD <= MAX_DIMENSION &&
                   HPARAMS_MAX_FF <= MAX_DIMENSION && HPARAMS_MAX_EMBD <= MAX_DIMENSION,
               "a tensor of a model that is allowed must be allowed");

static void take_tensor(field_reader *r, const slice_range *range, frame_tensor *t)
{
    t->role = field_u32(r, "role", 0, TENSOR_ROLE_END - 1);
    bool in_layer = t->role < TENSOR_LAYER_END && range->layer_begin < range->layer_end;
    if (t->role < TENSOR_LAYER_END && !in_layer) field_refuse(r, "role", "%u is of a layer, and the slice has none", t->role);
    t->layer = field_u32(r, "layer", in_layer ? range->layer_begin : 0, in_layer ? range->layer_end - 1 : 0);
    uint32_t type = field_u32(r, "type", 0, UINT32_MAX);
    if (!quant_traits_of(type)) field_refuse(r, "type", "%u (%s) cannot be computed with", type, quant_type_name(type));
    t->type = (quant_type)type;
    t->n_rows = field_u64(r, "n_rows", 1, MAX_DIMENSION);
    t->n_cols = field_u64(r, "n_cols", 1, MAX_DIMENSION);
    frame_bin hash = field_bin(r, "hash", 0, FRAME_ID_BYTES);
    if (hash.n_bytes % FRAME_ID_BYTES) field_refuse(r, "hash", "%zu bytes are neither 0 nor 32", hash.n_bytes);
    t->has_hash = hash.n_bytes == FRAME_ID_BYTES;
    memset(t->hash, 0, sizeof t->hash);
    if (t->has_hash) memcpy(t->hash, hash.data, sizeof t->hash);
}

static void take_tensors(field_reader *r, frame_scratch *scratch, frame_assign *a)
{
    uint32_t outer;
    uint32_t n = field_open_list(r, "tensors", 1, FRAME_MAX_TENSORS, &outer);
    for (uint32_t i = 0; i < n && !r->status; i++) {
        uint32_t list = field_open_element(r, i);
        take_tensor(r, &a->range, &scratch->tensors[i]);
        field_close_array(r, list);
    }
    field_close_list(r, outer);
    a->n_tensors = n;
    a->tensors = scratch->tensors;
}

static kv_type take_kv_type(field_reader *r, const char *field, const hparams *hp)
{
    kv_type type = field_u32(r, field, 0, KV_TYPE_LAST);
    if (!kv_type_takes(type, hp->n_embd_head))
        field_refuse(r, field, "%s has blocks of 32 elements, heads of %u are no multiple", kv_type_name(type), hp->n_embd_head);
    return type;
}

static wire_type take_wire(field_reader *r, const hparams *hp)
{
    wire_type type = field_u32(r, "wire", 0, WIRE_TYPE_LAST);
    if (!wire_type_takes(type, hp->n_embd))
        field_refuse(r, "wire", "%s has blocks of 32 values, rows of %u are no multiple", wire_type_name(type), hp->n_embd);
    return type;
}

static void take_assign(field_reader *r, frame_scratch *scratch, frame_assign *a)
{
    a->coordinator = field_u64(r, "coordinator", 0, UINT64_MAX);
    a->stage = field_u32(r, "stage", 0, FRAME_MAX_STAGES - 1);
    a->n_stages = field_u32(r, "n_stages", 1, FRAME_MAX_STAGES);
    if (a->stage >= a->n_stages) field_refuse(r, "stage", "%u of %u", a->stage, a->n_stages);
    take_hparams(r, &a->hp);
    take_range(r, &a->range);
    check_model(r, a);
    a->n_ctx = field_u32(r, "n_ctx", 1, HPARAMS_MAX_CTX);
    a->n_seq = field_u32(r, "n_seq", 1, FRAME_MAX_SEQ);
    a->max_rows = field_u32(r, "max_rows", 1, FRAME_MAX_ROWS);
    a->kv_type_k = take_kv_type(r, "kv_type_k", &a->hp);
    a->kv_type_v = take_kv_type(r, "kv_type_v", &a->hp);
    a->load = field_u32(r, "load", FRAME_LOAD_MMAP, FRAME_LOAD_CACHE);
    a->model_id = field_bin(r, "model_id", FRAME_ID_BYTES, FRAME_ID_BYTES);
    a->next_endpoint = field_str(r, "next_endpoint", 0, FRAME_MAX_ENDPOINT);
    a->heartbeat_ms = field_u32(r, "heartbeat_ms", 0, FRAME_MAX_HEARTBEAT_MS);
    take_tensors(r, scratch, a);
    a->wire = take_wire(r, &a->hp);
}

/* No tensor is longer: 2^44 elements of at most 4 bytes. */
#define MAX_OFFSET (UINT64_C(1) << 46)

static void take_want_chunk(field_reader *r, frame_want_chunk *w)
{
    w->tensor = field_u32(r, "tensor", 0, FRAME_MAX_TENSORS - 1);
    w->offset = field_u64(r, "offset", 0, MAX_OFFSET);
    w->n_bytes = field_u32(r, "n_bytes", 1, FRAME_CHUNK_BYTES);
}

static void take_chunk(field_reader *r, frame_chunk *c)
{
    c->tensor = field_u32(r, "tensor", 0, FRAME_MAX_TENSORS - 1);
    c->offset = field_u64(r, "offset", 0, MAX_OFFSET);
    c->data = field_bin(r, "data", 1, FRAME_CHUNK_BYTES);
}

static void take_ready(field_reader *r, frame_ready *ready)
{
    ready->weight_bytes = field_u64(r, "weight_bytes", 0, UINT64_MAX);
    ready->kv_bytes = field_u64(r, "kv_bytes", 0, UINT64_MAX);
    ready->scratch_bytes = field_u64(r, "scratch_bytes", 0, UINT64_MAX);
    ready->load_ns = field_u64(r, "load_ns", 0, UINT64_MAX);
}

/* Ids mostly come rising, and one above all before it needs no search. */
static bool is_listed_before(const frame_segment *segments, uint32_t i, uint32_t largest)
{
    if (i == 0 || segments[i].seq > largest) return false;
    for (uint32_t j = 0; j < i; j++) {
        if (segments[j].seq == segments[i].seq) return true;
    }
    return false;
}

static void take_segment(field_reader *r, uint32_t n_rows, frame_segment *s)
{
    s->seq = field_u32(r, "seq", 0, FRAME_MAX_SEQ - 1);
    s->step = field_u64(r, "step", 1, UINT64_MAX);
    s->pos = field_u32(r, "pos", 0, HPARAMS_MAX_CTX - 1);
    s->n_rows = field_u32(r, "n_rows", 1, n_rows);
    if (s->n_rows > HPARAMS_MAX_CTX - s->pos)
        field_refuse(r, "pos", "%u rows from %u on end beyond %d", s->n_rows, s->pos, HPARAMS_MAX_CTX);
}

static void take_segments(field_reader *r, frame_scratch *scratch, frame_forward *f)
{
    frame_segment *segments = scratch->segments;
    uint32_t outer, largest = 0, n_rows = 0;
    uint32_t n = field_open_list(r, "segments", 1, FRAME_MAX_SEGMENTS, &outer);
    for (uint32_t i = 0; i < n && !r->status; i++) {
        uint32_t list = field_open_element(r, i);
        take_segment(r, f->n_rows, &segments[i]);
        if (is_listed_before(segments, i, largest)) field_refuse(r, "seq", "%u is in this frame already", segments[i].seq);
        if (segments[i].seq > largest) largest = segments[i].seq;
        n_rows += segments[i].n_rows; /* at most 256 x 2048 */
        field_close_array(r, list);
    }
    field_close_list(r, outer);
    if (n_rows != f->n_rows) field_refuse(r, "segments", "%u rows in all, the frame has %u", n_rows, f->n_rows);
    f->n_segments = n;
    f->segments = segments;
}

/* What is wanted of a row; the row itself stands before it, if anywhere. */
static void take_want(field_reader *r, frame_want *w)
{
    w->kind = field_u32(r, "kind", FRAME_WANT_TOP, FRAME_WANT_HIDDEN);
    bool is_top = w->kind == FRAME_WANT_TOP;
    w->top = field_u32(r, "top", 0, is_top ? FRAME_MAX_TOP : 0);
    w->listed = field_bin(r, "listed", 0, is_top ? 4 * FRAME_MAX_LISTED : 0);
    if (w->listed.n_bytes % 4) field_refuse(r, "listed", "%zu bytes are no whole number of ids", w->listed.n_bytes);
}

/* Rows of a list rise: the i-th comes after the one before it. */
static uint32_t take_row(field_reader *r, uint32_t i, uint32_t row_before, uint32_t n_rows)
{
    uint32_t row = field_u32(r, "row", 0, n_rows - 1);
    if (i > 0 && row <= row_before) field_refuse(r, "row", "%u after %u, rows must rise", row, row_before);
    return row;
}

static void take_wants(field_reader *r, frame_scratch *scratch, frame_forward *f)
{
    frame_want *wants = scratch->wants;
    uint32_t outer;
    uint32_t n = field_open_list(r, "wants", 0, f->n_rows, &outer);
    for (uint32_t i = 0; i < n && !r->status; i++) {
        uint32_t list = field_open_element(r, i);
        wants[i].row = take_row(r, i, i ? wants[i - 1].row : 0, f->n_rows);
        take_want(r, &wants[i]);
        field_close_array(r, list);
    }
    field_close_list(r, outer);
    f->n_wants = n;
    f->wants = wants;
}

static void take_faults(field_reader *r, frame_scratch *scratch, frame_forward *f)
{
    frame_fault *faults = scratch->faults;
    uint32_t outer;
    uint32_t n = field_open_list(r, "faults", 0, f->n_rows, &outer);
    for (uint32_t i = 0; i < n && !r->status; i++) {
        uint32_t list = field_open_element(r, i);
        faults[i].row = take_row(r, i, i ? faults[i - 1].row : 0, f->n_rows);
        faults[i].layer = field_u32(r, "layer", 0, HPARAMS_MAX_LAYER);
        field_close_array(r, list);
    }
    field_close_list(r, outer);
    f->n_faults = n;
    f->faults = faults;
}

static void take_payload(field_reader *r, frame_forward *f)
{
    f->payload = field_bin(r, "payload", 1, FRAME_MAX_BYTES);
    if (r->status) return;
    size_t n_bytes = f->payload.n_bytes, n_rows = f->n_rows;
    if (f->is_tokens && n_bytes != 4 * n_rows)
        field_refuse(r, "payload", "%zu bytes, %u tokens have %zu", n_bytes, f->n_rows, 4 * n_rows);
    if (n_bytes % n_rows || n_bytes / n_rows > 4 * (size_t)HPARAMS_MAX_EMBD)
        field_refuse(r, "payload", "%zu bytes are not %u rows of at most %d values", n_bytes, f->n_rows, HPARAMS_MAX_EMBD);
}

static void take_forward(field_reader *r, frame_scratch *scratch, frame_forward *f)
{
    f->id = field_u64(r, "id", 0, UINT64_MAX);
    f->n_rows = field_u32(r, "n_rows", 1, FRAME_MAX_ROWS);
    take_segments(r, scratch, f);
    take_wants(r, scratch, f);
    take_faults(r, scratch, f);
    f->is_tokens = field_bool(r, "is_tokens");
    take_payload(r, f);
}

/* A fault has nothing but its layer. */
static void check_fault(field_reader *r, const frame_answer *a)
{
    if (a->data.n_bytes || a->listed.n_bytes) field_refuse(r, "data", "a fault has none");
    if (a->first || a->max != 0 || a->sum_exp != 0) field_refuse(r, "max", "a fault has no numbers");
}

static void check_answer(field_reader *r, const frame_answer *a)
{
    size_t n_bytes = a->data.n_bytes;
    if (a->kind == FRAME_WANT_TOP) {
        if (n_bytes % 8 || n_bytes / 8 > FRAME_MAX_TOP)
            field_refuse(r, "data", "%zu bytes are not 0 to %d candidates", n_bytes, FRAME_MAX_TOP);
        if (a->listed.n_bytes % 4) field_refuse(r, "listed", "%zu bytes are no whole number of logits", a->listed.n_bytes);
        if (a->first) field_refuse(r, "first", "candidates start at 0");
    } else {
        if (n_bytes == 0 || n_bytes % 4) field_refuse(r, "data", "%zu bytes are no whole number of floats, at least 1", n_bytes);
        if (n_bytes / 4 > HPARAMS_MAX_VOCAB - a->first) field_refuse(r, "first", "values beyond %d", HPARAMS_MAX_VOCAB);
        if (a->listed.n_bytes) field_refuse(r, "listed", "only candidates have listed ids beside them");
    }
    bool has_softmax = a->kind != FRAME_WANT_HIDDEN;
    if (has_softmax && !(a->sum_exp > 0)) field_refuse(r, "sum_exp", "it counts the largest logit, so it is above 0");
    if (!has_softmax && (a->max != 0 || a->sum_exp != 0)) field_refuse(r, "max", "a hidden row has no logits");
}

static void take_answer(field_reader *r, frame_answer *a)
{
    a->seq = field_u32(r, "seq", 0, FRAME_MAX_SEQ - 1);
    a->pos = field_u32(r, "pos", 0, HPARAMS_MAX_CTX - 1);
    a->kind = field_u32(r, "kind", FRAME_WANT_TOP, FRAME_WANT_HIDDEN);
    a->is_fault = field_bool(r, "is_fault");
    a->fault_layer = field_u32(r, "fault_layer", 0, a->is_fault ? HPARAMS_MAX_LAYER : 0);
    a->first = field_u32(r, "first", 0, HPARAMS_MAX_VOCAB - 1);
    a->max = field_f32(r, "max");
    a->sum_exp = field_f32(r, "sum_exp");
    a->data = field_bin(r, "data", 0, FRAME_RESULT_BYTES);
    a->listed = field_bin(r, "listed", 0, 4 * FRAME_MAX_LISTED);
    if (r->status) return;
    if (a->is_fault) {
        check_fault(r, a);
    } else {
        check_answer(r, a);
    }
}

static void take_result(field_reader *r, frame_scratch *scratch, frame_result *result)
{
    frame_answer *answers = scratch->answers;
    result->id = field_u64(r, "id", 0, UINT64_MAX);
    result->more = field_bool(r, "more");
    uint32_t outer;
    size_t n_bytes = 0; /* at most 2048 x (2^20 + 2^14) */
    uint32_t n = field_open_list(r, "answers", 0, FRAME_MAX_ROWS, &outer);
    for (uint32_t i = 0; i < n && !r->status; i++) {
        uint32_t list = field_open_element(r, i);
        answers[i].row = take_row(r, i, i ? answers[i - 1].row : 0, FRAME_MAX_ROWS);
        take_answer(r, &answers[i]);
        n_bytes += answers[i].data.n_bytes + answers[i].listed.n_bytes;
        if (n_bytes > FRAME_RESULT_BYTES)
            field_refuse(r, "data", "more than %d bytes of answers in one RESULT", FRAME_RESULT_BYTES);
        field_close_array(r, list);
    }
    field_close_list(r, outer);
    result->n_answers = n;
    result->answers = answers;
}

static void take_logits(field_reader *r, frame_logits *l)
{
    l->id = field_u64(r, "id", 0, UINT64_MAX);
    l->seq = field_u32(r, "seq", 0, FRAME_MAX_SEQ - 1);
    l->pos = field_u32(r, "pos", 0, HPARAMS_MAX_CTX - 1);
    take_want(r, &l->want);
}

static void take_seq(field_reader *r, frame_seq *s)
{
    s->id = field_u64(r, "id", 0, UINT64_MAX);
    s->op = field_u32(r, "op", FRAME_SEQ_RELEASE, FRAME_SEQ_FORK);
    s->seq = field_u32(r, "seq", 0, FRAME_MAX_SEQ - 1);
    s->other = field_u32(r, "other", 0, s->op == FRAME_SEQ_FORK ? FRAME_MAX_SEQ - 1 : 0);
    if (s->op == FRAME_SEQ_FORK && s->other == s->seq) field_refuse(r, "other", "%u would become a copy of itself", s->seq);
    s->pos = field_u32(r, "pos", 0, s->op == FRAME_SEQ_RELEASE ? 0 : HPARAMS_MAX_CTX);
}

static void take_heartbeat(field_reader *r, frame_heartbeat *h)
{
    h->instance = field_u64(r, "instance", 0, UINT64_MAX);
    h->steps = field_u64(r, "steps", 0, UINT64_MAX);
    h->pending = field_u64(r, "pending", 0, UINT64_MAX);
    h->loaded = field_u64(r, "loaded", 0, UINT64_MAX);
}

static void take_counts(field_reader *r, frame_stats *s)
{
    s->n_frames = field_u64(r, "n_frames", 0, UINT64_MAX);
    s->n_rows = field_u64(r, "n_rows", 0, UINT64_MAX);
    s->compute_ns = field_u64(r, "compute_ns", 0, UINT64_MAX);
    s->queue_ns = field_u64(r, "queue_ns", 0, UINT64_MAX);
    s->bytes_in = field_u64(r, "bytes_in", 0, UINT64_MAX);
    s->bytes_out = field_u64(r, "bytes_out", 0, UINT64_MAX);
    s->rss_bytes = field_u64(r, "rss_bytes", 0, UINT64_MAX);
    s->peak_rss_bytes = field_u64(r, "peak_rss_bytes", 0, UINT64_MAX);
    s->loss.power = field_f64(r, "power");
    s->loss.error = field_f64(r, "error");
    if (s->loss.power < 0 || s->loss.error < 0) field_refuse(r, "error", "sums of squares are not negative");
}

static void take_stats(field_reader *r, frame_stats *s)
{
    s->id = field_u64(r, "id", 0, UINT64_MAX);
    take_counts(r, s);
}

static void take_chain_stage(field_reader *r, frame_chain_stage *s)
{
    *s = (frame_chain_stage){0};
    s->name = field_str(r, "name", 0, FRAME_MAX_NAME);
    s->state = field_u32(r, "state", FRAME_STAGE_MISSING, FRAME_STAGE_SERVING);
    take_range(r, &s->range);
    s->isa = field_str(r, "isa", 0, FRAME_MAX_NAME);
    s->n_threads = field_u32(r, "n_threads", 0, FRAME_MAX_THREADS);
    s->memory_bytes = field_u64(r, "memory_bytes", 0, UINT64_MAX);
    s->loaded = field_u64(r, "loaded", 0, UINT64_MAX);
    s->weight_bytes = field_u64(r, "weight_bytes", 0, UINT64_MAX);
    s->kv_bytes = field_u64(r, "kv_bytes", 0, UINT64_MAX);
    s->scratch_bytes = field_u64(r, "scratch_bytes", 0, UINT64_MAX);
    s->pending = field_u64(r, "pending", 0, UINT64_MAX);
    s->rtt_us = field_u64(r, "rtt_us", 0, UINT64_MAX);
    s->at_ms = field_u64(r, "at_ms", 0, UINT64_MAX);
    take_counts(r, &s->stats);
}

static void take_chain(field_reader *r, frame_scratch *scratch, frame_chain *c)
{
    c->id = field_u64(r, "id", 0, UINT64_MAX);
    c->now_ms = field_u64(r, "now_ms", 0, UINT64_MAX);
    c->n_ctx = field_u32(r, "n_ctx", 0, HPARAMS_MAX_CTX);
    c->n_seq = field_u32(r, "n_seq", 0, FRAME_MAX_SEQ);
    c->frames_in_flight = field_u64(r, "frames_in_flight", 0, UINT64_MAX);
    c->rows_in_flight = field_u64(r, "rows_in_flight", 0, UINT64_MAX);
    c->n_turns = field_u64(r, "n_turns", 0, UINT64_MAX);
    c->turn_ns = field_u64(r, "turn_ns", 0, UINT64_MAX);
    c->n_standby = field_u32(r, "n_standby", 0, UINT32_MAX);
    uint32_t outer;
    uint32_t n = field_open_list(r, "stages", 0, FRAME_MAX_STAGES, &outer);
    for (uint32_t i = 0; i < n && !r->status; i++) {
        uint32_t list = field_open_element(r, i);
        take_chain_stage(r, &scratch->stages[i]);
        field_close_array(r, list);
    }
    field_close_list(r, outer);
    c->n_stages = n;
    c->stages = scratch->stages;
}

static void take_error(field_reader *r, frame_error *e)
{
    e->about = field_u32(r, "about", 0, FRAME_MAX_KIND);
    e->id = field_u64(r, "id", 0, UINT64_MAX);
    e->status = field_u32(r, "status", YL_OK + 1, FRAME_MAX_STATUS);
    e->message = field_str(r, "message", 0, FRAME_MAX_MESSAGE);
}

static void take_fields(field_reader *r, frame_scratch *scratch, frame *f)
{
    switch (f->kind) {
    case FRAME_HELLO: take_hello(r, &f->hello); return;
    case FRAME_ASSIGN: take_assign(r, scratch, &f->assign); return;
    case FRAME_WANT: take_want_chunk(r, &f->want); return;
    case FRAME_TENSOR: take_chunk(r, &f->tensor); return;
    case FRAME_READY: take_ready(r, &f->ready); return;
    case FRAME_FORWARD: take_forward(r, scratch, &f->forward); return;
    case FRAME_RESULT: take_result(r, scratch, &f->result); return;
    case FRAME_LOGITS: take_logits(r, &f->logits); return;
    case FRAME_SEQ: take_seq(r, &f->seq); return;
    case FRAME_HEARTBEAT: take_heartbeat(r, &f->heartbeat); return;
    case FRAME_STATS: take_stats(r, &f->stats); return;
    case FRAME_ERROR: take_error(r, &f->error); return;
    case FRAME_SHUTDOWN: return;
    case FRAME_CHAIN: take_chain(r, scratch, &f->chain); return;
    }
    r->frame = "frame";
    field_refuse(r, "kind", "%u is none that version %d knows", f->kind, FRAME_VERSION);
}

/* In every version a frame begins with version, kind and epoch, so that a stranger can be answered, and an ERROR told from the
 * rest. */
static void take_start(field_reader *r, frame *f)
{
    uint64_t version = field_u64(r, "version", 0, UINT64_MAX);
    if (r->status) return;
    f->kind = field_u32(r, "kind", 1, FRAME_MAX_KIND);
    f->epoch = field_u64(r, "epoch", 0, UINT64_MAX);
    if (r->status) f->kind = 0;
    if (version == FRAME_VERSION) return;
    r->status = yl_fail(r->err, YL_EUNSUPPORTED,
                        "frame: it is of protocol version %llu, this program speaks version %d; update the older of the two",
                        (unsigned long long)version, FRAME_VERSION);
}

unsigned frame_peek(const uint8_t *bytes, size_t n_bytes, uint64_t *epoch)
{
    frame f = {0};
    field_reader r = {.in = {bytes, n_bytes ? bytes + n_bytes : bytes}, .frame = "frame", .n_left = 1};
    field_open_array(&r, "array");
    take_start(&r, &f);
    *epoch = f.epoch;
    return r.status ? 0 : (unsigned)f.kind;
}

yl_status frame_decode(frame *out, frame_scratch *scratch, const uint8_t *bytes, size_t n_bytes, yl_error *err)
{
    memset(out, 0, sizeof *out);
    if (n_bytes > FRAME_MAX_BYTES)
        return yl_fail(err, YL_EFORMAT, "frame: %zu bytes, at most %d are allowed", n_bytes, FRAME_MAX_BYTES);
    msgpack_cursor in = {bytes, n_bytes ? bytes + n_bytes : bytes}; /* NULL + 0 is undefined */
    field_reader r = {.in = in, .err = err, .frame = "frame", .n_left = 1};
    uint32_t outer = field_open_array(&r, "array");
    take_start(&r, out);
    if (!r.status) {
        r.frame = frame_kind_name(out->kind);
        take_fields(&r, scratch, out);
    }
    field_close_array(&r, outer);
    if (!r.status && r.in.at != r.in.end) field_refuse(&r, "end", "%zu bytes follow the array", (size_t)(r.in.end - r.in.at));
    return r.status;
}
