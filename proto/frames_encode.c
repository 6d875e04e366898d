/* frames_encode.c: from structs to bytes.
 *
 * msgpack-c packs; we give it the buffer. A write that fails is remembered in the packer's context and told once, at the end, so
 * that the packing of a kind reads straight down, in the order of FRAMES.md. */
#include "frames.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <msgpack/pack.h>

#include "frame_text.h"

/* Where msgpack-c's callback writes, and how that went. */
typedef struct sink {
    frame_bytes *out;
    yl_status status;
} sink;

enum { FIRST_CAPACITY = 4096 };

/* Makes room for n more bytes. */
static yl_status reserve(frame_bytes *b, size_t n)
{
    if (n > FRAME_MAX_BYTES - b->n) return YL_ELIMIT;
    size_t needed = b->n + n;
    if (needed <= b->capacity) return YL_OK;
    size_t capacity = b->capacity ? b->capacity : FIRST_CAPACITY;
    while (capacity < needed) capacity *= 2;
    uint8_t *data = realloc(b->data, capacity);
    if (!data) return YL_ENOMEM;
    b->data = data;
    b->capacity = capacity;
    return YL_OK;
}

/* msgpack_packer_write: appends, or remembers why not. */
static int append(void *context, const char *bytes, size_t n)
{
    sink *s = context;
    if (!s->status) s->status = reserve(s->out, n);
    if (s->status) return -1;
    if (n) memcpy(s->out->data + s->out->n, bytes, n);
    s->out->n += n;
    return 0;
}

void frame_bytes_clear(frame_bytes *b)
{
    free(b->data);
    *b = (frame_bytes){0};
}

static void pack_array(msgpack_packer *p, uint32_t n)
{
    msgpack_pack_array(p, n);
}

static void pack_u64(msgpack_packer *p, uint64_t u)
{
    msgpack_pack_uint64(p, u);
}

static void pack_f32(msgpack_packer *p, float f)
{
    msgpack_pack_float(p, f);
}

static void pack_f64(msgpack_packer *p, double f)
{
    msgpack_pack_double(p, f);
}

static void pack_bool(msgpack_packer *p, bool b)
{
    if (b) {
        msgpack_pack_true(p);
    } else {
        msgpack_pack_false(p);
    }
}

static void pack_str(msgpack_packer *p, frame_bin s)
{
    msgpack_pack_str(p, s.n_bytes);
    msgpack_pack_str_body(p, s.data, s.n_bytes);
}

static void pack_bin(msgpack_packer *p, frame_bin b)
{
    msgpack_pack_bin(p, b.n_bytes);
    msgpack_pack_bin_body(p, b.data, b.n_bytes);
}

/* The array's head and the three elements that every frame has. */
static void pack_start(msgpack_packer *p, const frame *f, uint32_t n_fields)
{
    pack_array(p, 3 + n_fields);
    pack_u64(p, FRAME_VERSION);
    pack_u64(p, f->kind);
    pack_u64(p, f->epoch);
}

static void pack_hello(msgpack_packer *p, const frame *f)
{
    const frame_hello *h = &f->hello;
    pack_start(p, f, 10);
    pack_str(p, h->name);
    pack_u64(p, h->instance);
    pack_str(p, h->data_endpoint);
    pack_u64(p, h->n_threads);
    pack_u64(p, h->memory_bytes);
    pack_str(p, h->isa);
    pack_bin(p, h->model_id);
    pack_str(p, h->version);
    pack_u64(p, h->bytes_per_s);
    pack_u64(p, h->macs_per_s);
}

static void pack_hparams(msgpack_packer *p, const hparams *hp)
{
    pack_array(p, 19);
    pack_u64(p, hp->n_vocab);
    pack_u64(p, hp->n_ctx_train);
    pack_u64(p, hp->n_embd);
    pack_u64(p, hp->n_layer);
    pack_u64(p, hp->n_ff);
    pack_u64(p, hp->n_head);
    pack_u64(p, hp->n_head_kv);
    pack_u64(p, hp->n_embd_head);
    pack_u64(p, hp->n_rot);
    pack_f32(p, hp->rms_eps);
    pack_f64(p, hp->rope_freq_base);
    pack_u64(p, hp->rope_type);
    pack_f64(p, hp->rope_factor);
    pack_u64(p, hp->rope_orig_ctx);
    pack_f64(p, hp->rope_attn_factor);
    pack_f64(p, hp->rope_ext_factor);
    pack_f64(p, hp->rope_beta_fast);
    pack_f64(p, hp->rope_beta_slow);
    pack_bool(p, hp->tied_embeddings);
}

static void pack_range(msgpack_packer *p, const slice_range *r)
{
    pack_array(p, 4);
    pack_bool(p, r->has_embd);
    pack_bool(p, r->has_head);
    pack_u64(p, r->layer_begin);
    pack_u64(p, r->layer_end);
}

static void pack_tensors(msgpack_packer *p, const frame_tensor *tensors, uint32_t n)
{
    pack_array(p, n);
    for (uint32_t i = 0; i < n; i++) {
        pack_array(p, 6);
        pack_u64(p, tensors[i].role);
        pack_u64(p, tensors[i].layer);
        pack_u64(p, tensors[i].type);
        pack_u64(p, tensors[i].n_rows);
        pack_u64(p, tensors[i].n_cols);
        pack_bin(p, (frame_bin){tensors[i].hash, tensors[i].has_hash ? FRAME_ID_BYTES : 0});
    }
}

static void pack_assign(msgpack_packer *p, const frame *f)
{
    const frame_assign *a = &f->assign;
    pack_start(p, f, 16);
    pack_u64(p, a->coordinator);
    pack_u64(p, a->stage);
    pack_u64(p, a->n_stages);
    pack_hparams(p, &a->hp);
    pack_range(p, &a->range);
    pack_u64(p, a->n_ctx);
    pack_u64(p, a->n_seq);
    pack_u64(p, a->max_rows);
    pack_u64(p, a->kv_type_k);
    pack_u64(p, a->kv_type_v);
    pack_u64(p, a->load);
    pack_bin(p, a->model_id);
    pack_str(p, a->next_endpoint);
    pack_u64(p, a->heartbeat_ms);
    pack_tensors(p, a->tensors, a->n_tensors);
    pack_u64(p, a->wire);
}

static void pack_want_chunk(msgpack_packer *p, const frame *f)
{
    pack_start(p, f, 3);
    pack_u64(p, f->want.tensor);
    pack_u64(p, f->want.offset);
    pack_u64(p, f->want.n_bytes);
}

static void pack_chunk(msgpack_packer *p, const frame *f)
{
    pack_start(p, f, 3);
    pack_u64(p, f->tensor.tensor);
    pack_u64(p, f->tensor.offset);
    pack_bin(p, f->tensor.data);
}

static void pack_ready(msgpack_packer *p, const frame *f)
{
    pack_start(p, f, 4);
    pack_u64(p, f->ready.weight_bytes);
    pack_u64(p, f->ready.kv_bytes);
    pack_u64(p, f->ready.scratch_bytes);
    pack_u64(p, f->ready.load_ns);
}

static void pack_segments(msgpack_packer *p, const frame_segment *segments, uint32_t n)
{
    pack_array(p, n);
    for (uint32_t i = 0; i < n; i++) {
        pack_array(p, 4);
        pack_u64(p, segments[i].seq);
        pack_u64(p, segments[i].step);
        pack_u64(p, segments[i].pos);
        pack_u64(p, segments[i].n_rows);
    }
}

static void pack_wants(msgpack_packer *p, const frame_want *wants, uint32_t n)
{
    pack_array(p, n);
    for (uint32_t i = 0; i < n; i++) {
        pack_array(p, 4);
        pack_u64(p, wants[i].row);
        pack_u64(p, wants[i].kind);
        pack_u64(p, wants[i].top);
        pack_bin(p, wants[i].listed);
    }
}

static void pack_faults(msgpack_packer *p, const frame_fault *faults, uint32_t n)
{
    pack_array(p, n);
    for (uint32_t i = 0; i < n; i++) {
        pack_array(p, 2);
        pack_u64(p, faults[i].row);
        pack_u64(p, faults[i].layer);
    }
}

/* All of a FORWARD but the bytes of its payload, which come last. */
static void pack_forward_head(msgpack_packer *p, const frame *f)
{
    const frame_forward *fw = &f->forward;
    pack_start(p, f, 7);
    pack_u64(p, fw->id);
    pack_u64(p, fw->n_rows);
    pack_segments(p, fw->segments, fw->n_segments);
    pack_wants(p, fw->wants, fw->n_wants);
    pack_faults(p, fw->faults, fw->n_faults);
    pack_bool(p, fw->is_tokens);
    msgpack_pack_bin(p, fw->payload.n_bytes);
}

static void pack_forward(msgpack_packer *p, const frame *f)
{
    pack_forward_head(p, f);
    msgpack_pack_bin_body(p, f->forward.payload.data, f->forward.payload.n_bytes);
}

static void pack_result(msgpack_packer *p, const frame *f)
{
    const frame_result *r = &f->result;
    pack_start(p, f, 3);
    pack_u64(p, r->id);
    pack_bool(p, r->more);
    pack_array(p, r->n_answers);
    for (uint32_t i = 0; i < r->n_answers; i++) {
        const frame_answer *a = &r->answers[i];
        pack_array(p, 11);
        pack_u64(p, a->row);
        pack_u64(p, a->seq);
        pack_u64(p, a->pos);
        pack_u64(p, a->kind);
        pack_bool(p, a->is_fault);
        pack_u64(p, a->is_fault ? a->fault_layer : 0);
        pack_u64(p, a->first);
        pack_f32(p, a->max);
        pack_f32(p, a->sum_exp);
        pack_bin(p, a->data);
        pack_bin(p, a->listed);
    }
}

static void pack_logits(msgpack_packer *p, const frame *f)
{
    const frame_logits *l = &f->logits;
    pack_start(p, f, 6);
    pack_u64(p, l->id);
    pack_u64(p, l->seq);
    pack_u64(p, l->pos);
    pack_u64(p, l->want.kind);
    pack_u64(p, l->want.top);
    pack_bin(p, l->want.listed);
}

static void pack_seq(msgpack_packer *p, const frame *f)
{
    pack_start(p, f, 5);
    pack_u64(p, f->seq.id);
    pack_u64(p, f->seq.op);
    pack_u64(p, f->seq.seq);
    pack_u64(p, f->seq.other);
    pack_u64(p, f->seq.pos);
}

static void pack_heartbeat(msgpack_packer *p, const frame *f)
{
    pack_start(p, f, 4);
    pack_u64(p, f->heartbeat.instance);
    pack_u64(p, f->heartbeat.steps);
    pack_u64(p, f->heartbeat.pending);
    pack_u64(p, f->heartbeat.loaded);
}

static void pack_counts(msgpack_packer *p, const frame_stats *s)
{
    pack_u64(p, s->n_frames);
    pack_u64(p, s->n_rows);
    pack_u64(p, s->compute_ns);
    pack_u64(p, s->queue_ns);
    pack_u64(p, s->bytes_in);
    pack_u64(p, s->bytes_out);
    pack_u64(p, s->rss_bytes);
    pack_u64(p, s->peak_rss_bytes);
    pack_f64(p, s->loss.power);
    pack_f64(p, s->loss.error);
}

static void pack_stats(msgpack_packer *p, const frame *f)
{
    pack_start(p, f, 11);
    pack_u64(p, f->stats.id);
    pack_counts(p, &f->stats);
}

static void pack_chain_stage(msgpack_packer *p, const frame_chain_stage *s)
{
    pack_array(p, 23);
    pack_str(p, s->name);
    pack_u64(p, s->state);
    pack_range(p, &s->range);
    pack_str(p, s->isa);
    pack_u64(p, s->n_threads);
    pack_u64(p, s->memory_bytes);
    pack_u64(p, s->loaded);
    pack_u64(p, s->weight_bytes);
    pack_u64(p, s->kv_bytes);
    pack_u64(p, s->scratch_bytes);
    pack_u64(p, s->pending);
    pack_u64(p, s->rtt_us);
    pack_u64(p, s->at_ms);
    pack_counts(p, &s->stats);
}

static void pack_chain(msgpack_packer *p, const frame *f)
{
    const frame_chain *c = &f->chain;
    pack_start(p, f, 10);
    pack_u64(p, c->id);
    pack_u64(p, c->now_ms);
    pack_u64(p, c->n_ctx);
    pack_u64(p, c->n_seq);
    pack_u64(p, c->frames_in_flight);
    pack_u64(p, c->rows_in_flight);
    pack_u64(p, c->n_turns);
    pack_u64(p, c->turn_ns);
    pack_u64(p, c->n_standby);
    pack_array(p, c->n_stages);
    for (uint32_t i = 0; i < c->n_stages; i++) pack_chain_stage(p, &c->stages[i]);
}

static void pack_error(msgpack_packer *p, const frame *f)
{
    pack_start(p, f, 4);
    pack_u64(p, f->error.about);
    pack_u64(p, f->error.id);
    pack_u64(p, f->error.status);
    pack_str(p, f->error.message);
}

static void pack_frame(msgpack_packer *p, const frame *f)
{
    switch (f->kind) {
    case FRAME_HELLO: pack_hello(p, f); return;
    case FRAME_ASSIGN: pack_assign(p, f); return;
    case FRAME_WANT: pack_want_chunk(p, f); return;
    case FRAME_TENSOR: pack_chunk(p, f); return;
    case FRAME_READY: pack_ready(p, f); return;
    case FRAME_FORWARD: pack_forward(p, f); return;
    case FRAME_RESULT: pack_result(p, f); return;
    case FRAME_LOGITS: pack_logits(p, f); return;
    case FRAME_SEQ: pack_seq(p, f); return;
    case FRAME_HEARTBEAT: pack_heartbeat(p, f); return;
    case FRAME_STATS: pack_stats(p, f); return;
    case FRAME_ERROR: pack_error(p, f); return;
    case FRAME_SHUTDOWN: pack_start(p, f, 0); return;
    case FRAME_CHAIN: pack_chain(p, f); return;
    }
    assert(!"a kind that is none");
}

/* Says how it ended; a frame that is not whole is not left behind. */
static yl_status finish(sink *s, const frame *f, yl_error *err)
{
    if (!s->status) return YL_OK;
    s->out->n = 0;
    if (s->status == YL_ENOMEM) return yl_fail(err, YL_ENOMEM, "%s: no memory for the frame", frame_kind_name(f->kind));
    return yl_fail(err, YL_ELIMIT, "%s: the frame would be longer than %d bytes; send fewer rows at a time",
                   frame_kind_name(f->kind), FRAME_MAX_BYTES);
}

yl_status frame_encode(frame_bytes *out, const frame *f, yl_error *err)
{
    sink s = {out, YL_OK};
    msgpack_packer p;
    msgpack_packer_init(&p, &s, append);
    out->n = 0;
    pack_frame(&p, f);
    return finish(&s, f, err);
}

yl_status frame_encode_forward(frame_bytes *out, const frame *f, uint8_t **payload, yl_error *err)
{
    assert(f->kind == FRAME_FORWARD);
    *payload = NULL;
    sink s = {out, YL_OK};
    msgpack_packer p;
    msgpack_packer_init(&p, &s, append);
    out->n = 0;
    pack_forward_head(&p, f);
    if (!s.status) s.status = reserve(out, f->forward.payload.n_bytes);
    if (s.status) return finish(&s, f, err);
    *payload = out->data + out->n;
    out->n += f->forward.payload.n_bytes;
    return YL_OK;
}

yl_status frame_encode_error(frame_bytes *out, uint64_t epoch, unsigned about, uint64_t id, const yl_error *cause, yl_error *err)
{
    assert(cause->status != YL_OK);
    uint8_t message[FRAME_MAX_MESSAGE];
    size_t n = frame_text_clean(message, sizeof message, cause->msg);
    frame f = {.kind = FRAME_ERROR,
               .epoch = epoch,
               .error = {.about = about, .id = id, .status = cause->status, .message = {message, n}}};
    return frame_encode(out, &f, err);
}
