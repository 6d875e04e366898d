/* worker_load.c: ASSIGN: memory, weights of this machine, READY.
 *
 * All memory is taken when a slice is assigned, and held against the limit first: a slice that does not fit is refused with figures
 * before a byte of it is loaded. Weights then come tensor by tensor, in bounded steps: from the shell's store of tiles, as far as
 * it has them; where the shell has the same model the store makes what is missing, or it is used in place or copied from the
 * source; else it comes over the network (worker_stream.c). */
#include "worker_internal.h"

#include <inttypes.h>
#include <string.h>

static const double MIB = 1024.0 * 1024.0;

/* Which buffers an assignment has, and how large: one place to take and to give them back. */
typedef struct buffer_plan {
    void **slot;
    size_t n, size;
} buffer_plan;

enum { N_BUFFERS = 9 };

static void plan_buffers(assignment *a, const hparams *hp, bool has_head, buffer_plan plan[N_BUFFERS])
{
    size_t n_embd = hp->n_embd, n_head_rows = has_head ? WORKER_HEAD_ROWS : 0;
    buffer_plan all[N_BUFFERS] = {
        {(void **)&a->steps, a->n_seq, sizeof *a->steps},
        {(void **)&a->rows, a->max_rows, sizeof *a->rows},
        {(void **)&a->faults, a->max_rows, sizeof *a->faults},
        {(void **)&a->x, (size_t)a->max_rows * n_embd, sizeof *a->x},
        {(void **)&a->kept, has_head ? a->n_seq : 0, sizeof *a->kept},
        {(void **)&a->kept_x, has_head ? (size_t)a->n_seq * WORKER_KEPT_ROWS * n_embd : 0, sizeof *a->kept_x},
        {(void **)&a->h, n_head_rows * n_embd, sizeof *a->h},
        {(void **)&a->logits, n_head_rows * hp->n_vocab, sizeof *a->logits},
        {(void **)&a->answer_bytes, has_head ? a->answer_capacity : 0, 1},
    };
    memcpy(plan, all, sizeof all);
}

void worker_release_memory(worker *w)
{
    assignment *a = &w->a;
    if (a->slice) {
        buffer_plan plan[N_BUFFERS];
        plan_buffers(a, slice_hparams(a->slice), slice_range_of(a->slice)->has_head, plan);
        for (int i = 0; i < N_BUFFERS; i++) {
            allocator_release_array(w->env.alloc, *plan[i].slot, plan[i].n, plan[i].size);
            *plan[i].slot = NULL;
        }
    }
    forward_free(a->forward);
    kv_cache_free(a->cache);
    a->forward = NULL;
    a->cache = NULL;
}

void worker_unassign(worker *w)
{
    assignment *a = &w->a;
    worker_release_memory(w);
    slice_free(a->slice);
    if (a->use_store) w->env.store.end(w->env.store.ctx);
    *a = (assignment){0};
    w->state = WORKER_UNASSIGNED;
    w->link_is_up = false;
}

static kv_cache_spec cache_spec(const frame_assign *f)
{
    return (kv_cache_spec){.n_layer = f->range.layer_end - f->range.layer_begin,
                           .n_head_kv = f->hp.n_head_kv,
                           .n_embd_head = f->hp.n_embd_head,
                           .n_ctx = f->n_ctx,
                           .n_seq = f->n_seq,
                           .type_k = f->kv_type_k,
                           .type_v = f->kv_type_v};
}

yl_status worker_check_memory(const worker *w, uint64_t own_weights, uint64_t in_place, yl_error *err)
{
    const assignment *a = &w->a;
    uint64_t limit = w->env.memory_bytes;
    if (!limit) return YL_OK;
    double needed = (double)own_weights + (double)a->kv_bytes + (double)a->scratch_bytes;
    if (needed <= (double)limit) return YL_OK;
    return yl_fail(
        err, YL_ENOMEM,
        "the slice needs %.0f MiB (weights %.0f%s, KV cache %.0f, scratch %.0f), but %.0f MiB are free: use more workers, "
        "a smaller quantization or a smaller context (-c)",
        needed / MIB, (double)(own_weights ? own_weights : in_place) / MIB, own_weights ? "" : " mapped, not counted",
        (double)a->kv_bytes / MIB, (double)a->scratch_bytes / MIB, (double)limit / MIB);
}

/* What the cache was to hold and does not will be copied, or come over the network: does that fit? */
static yl_status check_uncached_memory(worker *w, yl_error *err)
{
    assignment *a = &w->a;
    uint64_t own = 0, in_place = slice_total_bytes(a->slice);
    if (a->load == FRAME_LOAD_HEAP) return YL_OK; /* all of it was counted */
    for (uint32_t i = 0; a->use_source && a->load == FRAME_LOAD_CACHE && i < slice_n_tensors(a->slice); i++)
        own += w->env.store.find(w->env.store.ctx, i) ? 0 : slice_tensor_memory_bytes(a->slice, i);
    if (!a->use_source) own = a->stream.own_bytes = w->env.store.own_bytes(w->env.store.ctx);
    return own ? worker_check_memory(w, own, in_place, err) : YL_OK;
}

/* Kernels that read rows use the model in place, or rows that were sent: tiles are for the others. */
static bool wants_store(const worker *w, const frame_assign *f)
{
    return w->env.store.begin && w->env.kernels->wants_tiles && f->load != FRAME_LOAD_MMAP;
}

static yl_status take_buffers(worker *w, const frame_assign *f, yl_error *err)
{
    assignment *a = &w->a;
    size_t top_bytes = (size_t)FRAME_MAX_TOP * 8 + (size_t)FRAME_MAX_LISTED * 4;
    size_t row_bytes = (size_t)(f->hp.n_vocab > f->hp.n_embd ? f->hp.n_vocab : f->hp.n_embd) * 4;
    /* What send_answers writes at a time: candidates of WORKER_HEAD_ROWS rows, or whole rows of logits. */
    a->answer_capacity = WORKER_HEAD_ROWS * (top_bytes > row_bytes ? top_bytes : row_bytes);
    buffer_plan plan[N_BUFFERS];
    plan_buffers(a, &f->hp, f->range.has_head, plan);
    a->scratch_bytes = forward_scratch_bytes(&f->hp, f->n_ctx, thread_pool_n_threads(w->env.pool));
    for (int i = 0; i < N_BUFFERS; i++) a->scratch_bytes += (uint64_t)plan[i].n * plan[i].size;
    if (a->kv_bytes == UINT64_MAX)
        return yl_fail(err, YL_ELIMIT, "a KV cache of %u x %u positions has no size", f->n_seq, f->n_ctx);
    /* Else the store finds out first how much will be the slice's own (below). */
    bool in_place = (a->use_source || wants_store(w, f)) && f->load != FRAME_LOAD_HEAP;
    yl_status status = worker_check_memory(w, in_place ? 0 : slice_memory_bytes(a->slice), slice_total_bytes(a->slice), err);
    if (status) return status;
    for (int i = 0; i < N_BUFFERS; i++) {
        if (!plan[i].n) continue;
        *plan[i].slot = allocator_array(w->env.alloc, plan[i].n, plan[i].size);
        if (!*plan[i].slot)
            return yl_fail(err, YL_ENOMEM, "no memory for %.1f MiB of scratch", (double)plan[i].n * (double)plan[i].size / MIB);
    }
    kv_cache_spec spec = cache_spec(f);
    return kv_cache_new(&a->cache, &spec, w->env.alloc, err);
}

static bool same_model(const frame_bin *a, const frame_bin *b)
{
    return a->n_bytes == FRAME_ID_BYTES && b->n_bytes == FRAME_ID_BYTES && !memcmp(a->data, b->data, FRAME_ID_BYTES);
}

static yl_status ask_store(worker *w, const frame_assign *f, yl_error *err)
{
    assignment *a = &w->a;
    if (!wants_store(w, f)) return YL_OK;
    weight_order order = {.epoch = w->epoch,
                          .model_id = f->model_id,
                          .tensors = f->tensors,
                          .n = f->n_tensors,
                          .from_source = a->use_source,
                          .may_make = f->load != FRAME_LOAD_HEAP};
    yl_status status = w->env.store.begin(w->env.store.ctx, &order, err);
    a->use_store = !status;
    return status;
}

/* A slice without a byte yet. */
static yl_status begin_weights(worker *w, const frame_assign *f, yl_error *err)
{
    assignment *a = &w->a;
    a->load = f->load;
    a->weights_epoch = w->epoch;
    a->use_source = w->env.source.find && same_model(&f->model_id, &w->env.source.model_id);
    memcpy(a->model_id, f->model_id.data, f->model_id.n_bytes); /* the decoder takes FRAME_ID_BYTES only */
    yl_status status = slice_new(&a->slice, &f->hp, &f->range, f->tensors, f->n_tensors, w->env.alloc, err);
    if (!status && w->env.kernels->wants_tiles) slice_set_tiles(a->slice, w->env.pool);
    return status;
}

yl_status worker_assign(worker *w, const frame *f, yl_error *err)
{
    const frame_assign *as = &f->assign;
    if (f->epoch <= w->epoch && as->coordinator == w->a.coordinator)
        return yl_fail(err, YL_EFORMAT, "ASSIGN of epoch %" PRIu64 ", but this worker is at epoch %" PRIu64, f->epoch, w->epoch);
    worker_batch_end(w);
    bool is_kept = worker_keep_weights(w, as);
    if (!is_kept) worker_unassign(w);
    assignment *a = &w->a;
    w->epoch = f->epoch;
    w->link_is_up = false;
    w->stats = (frame_stats){0};
    a->coordinator = as->coordinator;
    a->stage = as->stage;
    a->n_stages = as->n_stages;
    a->n_ctx = as->n_ctx;
    a->n_seq = as->n_seq;
    a->max_rows = as->max_rows;
    a->wire = as->wire;
    a->started = worker_counter(w);
    memcpy(a->next_endpoint, as->next_endpoint.data, as->next_endpoint.n_bytes); /* the decoder bounds it by FRAME_MAX_ENDPOINT */
    kv_cache_spec spec = cache_spec(as);
    a->kv_bytes = kv_cache_bytes(&spec);
    yl_status status = is_kept ? YL_OK : begin_weights(w, as, err);
    if (!status) status = take_buffers(w, as, err);
    if (!status && !is_kept) status = ask_store(w, as, err);
    if (status) {
        worker_unassign(w);
        return status;
    }
    w->state = WORKER_LOADING;
    return YL_OK;
}

/* Copies a part of the tensor from the source to memory of the slice's own. */
static yl_status copy_part(worker *w, const uint8_t *data, uint64_t n_bytes, yl_error *err)
{
    assignment *a = &w->a;
    for (int i = 0; i < WORKER_CHUNKS_A_STEP && a->load_offset < n_bytes; i++) {
        uint64_t rest = n_bytes - a->load_offset;
        size_t n = rest < FRAME_CHUNK_BYTES ? (size_t)rest : FRAME_CHUNK_BYTES;
        yl_status status = slice_write(a->slice, a->load_tensor, a->load_offset, data + a->load_offset, n, err);
        if (status) return status;
        a->load_offset += n;
    }
    if (a->load_offset == n_bytes && w->env.source.done) w->env.source.done(w->env.source.ctx, data, n_bytes);
    return YL_OK;
}

/* A matrix that the cache should have and could not: a copy is better than plain rows. Locking is for what is mapped. */
static bool is_copied(const worker *w)
{
    const assignment *a = &w->a;
    tensor_role role = slice_tensor_info(a->slice, a->load_tensor)->role;
    if (a->load == FRAME_LOAD_HEAP) return true;
    return a->load == FRAME_LOAD_CACHE && a->use_store && !hparams_tensor_spec(slice_hparams(a->slice), role).is_vector;
}

yl_status worker_lock_bytes(const worker *w, const uint8_t *data, uint64_t n_bytes, yl_error *err)
{
    const weight_source *source = &w->env.source;
    return w->a.load == FRAME_LOAD_MLOCK && source->lock ? source->lock(source->ctx, data, n_bytes, err) : YL_OK;
}

static yl_status load_from_source(worker *w, const uint8_t *data, uint64_t n_bytes, yl_error *err)
{
    assignment *a = &w->a;
    if (is_copied(w)) {
        yl_status status = copy_part(w, data, n_bytes, err);
        if (!status && a->load_offset < n_bytes) return YL_OK;
        if (status) return status;
    } else {
        yl_status status = slice_use(a->slice, a->load_tensor, data, err);
        if (!status) status = worker_lock_bytes(w, data, n_bytes, err);
        if (status) return status;
    }
    a->load_tensor++;
    a->load_offset = 0;
    return YL_OK;
}

static yl_status load_from_store(worker *w, uint32_t i, const uint8_t *tiles, yl_error *err)
{
    assignment *a = &w->a;
    yl_status status =
        a->load == FRAME_LOAD_HEAP ? slice_copy_tiles(a->slice, i, tiles, err) : slice_use_tiles(a->slice, i, tiles, err);
    if (!status) status = worker_lock_bytes(w, tiles, slice_tensor_memory_bytes(a->slice, i), err);
    return status;
}

/* The next step of what the store finds or makes, and then has. */
static yl_status load_stored(worker *w, yl_error *err)
{
    assignment *a = &w->a;
    if (!a->store_is_ready) {
        yl_status status = w->env.store.step(w->env.store.ctx, &a->store_is_ready, &a->store_share, err);
        return !status && a->store_is_ready ? check_uncached_memory(w, err) : status;
    }
    uint32_t i = a->store_tensor++;
    const uint8_t *tiles = w->env.store.find(w->env.store.ctx, i);
    return tiles ? load_from_store(w, i, tiles, err) : YL_OK;
}

/* The next step of what the source has. */
static yl_status load_locally(worker *w, yl_error *err)
{
    assignment *a = &w->a;
    if (slice_tensor_is_loaded(a->slice, a->load_tensor)) {
        a->load_tensor++;
        return YL_OK;
    }
    const frame_tensor *t = slice_tensor_info(a->slice, a->load_tensor);
    uint64_t n_bytes = slice_tensor_bytes(a->slice, a->load_tensor);
    const uint8_t *data = w->env.source.find(w->env.source.ctx, t, n_bytes);
    if (data) return load_from_source(w, data, n_bytes, err);
    char name[TENSOR_NAME_BYTES];
    return yl_fail(err, YL_EFORMAT, "the worker's model file has no tensor '%s' of the type and shape that the coordinator's has",
                   tensor_role_name(name, t->role, t->layer));
}

static uint64_t count_loaded(const worker *w)
{
    const assignment *a = &w->a;
    if (!a->slice) return 0;
    if (w->state != WORKER_LOADING) return slice_total_bytes(a->slice);
    bool is_making = a->use_source && a->use_store && !a->store_is_ready;
    if (is_making) return (uint64_t)(a->store_share * (double)slice_total_bytes(a->slice));
    uint64_t n_bytes = a->load_offset;
    for (uint32_t i = 0; i < slice_n_tensors(a->slice); i++)
        n_bytes += slice_tensor_is_loaded(a->slice, i) || i < a->load_tensor ? slice_tensor_bytes(a->slice, i) : 0;
    return n_bytes;
}

uint64_t worker_loaded_bytes(const worker *w)
{
    return w->a.loaded;
}

uint64_t worker_weight_bytes(const worker *w)
{
    return w->a.slice ? slice_total_bytes(w->a.slice) : 0;
}

static yl_status say_ready(worker *w, outbox *out, yl_error *err)
{
    assignment *a = &w->a;
    frame f = {.kind = FRAME_READY, .epoch = w->epoch};
    f.ready = (frame_ready){.weight_bytes = slice_total_bytes(a->slice),
                            .kv_bytes = a->kv_bytes,
                            .scratch_bytes = a->scratch_bytes,
                            .load_ns = worker_counter(w) - a->started};
    w->state = WORKER_SERVING;
    worker_stream_tell(w, f.ready.load_ns);
    return worker_send(w, out, WORKER_TO_COORDINATOR, &f, err);
}

static yl_status load_some(worker *w, outbox *out, bool *did, yl_error *err)
{
    assignment *a = &w->a;
    if (w->state == WORKER_LINKING) {
        if (!w->link_is_up) return YL_OK;
        *did = true;
        return say_ready(w, out, err);
    }
    if (a->use_store && (!a->store_is_ready || a->store_tensor < slice_n_tensors(a->slice))) {
        *did = true;
        return load_stored(w, err);
    }
    if (!a->use_source) {
        yl_status status = worker_stream_step(w, out, did, err);
        if (status || *did) return status;
    }
    if (slice_is_loaded(a->slice)) {
        *did = true;
        if (a->use_store && a->load == FRAME_LOAD_HEAP) { /* all is copied */
            w->env.store.end(w->env.store.ctx);
            a->use_store = false;
        }
        w->state = WORKER_LINKING;
        return forward_new(&a->forward, a->slice, a->cache, a->n_ctx, w->env.kernels, w->env.pool, w->env.alloc, err);
    }
    if (!a->use_source) return YL_OK;
    *did = true;
    return load_locally(w, err);
}

yl_status worker_load_step(worker *w, outbox *out, bool *did, yl_error *err)
{
    yl_status status = load_some(w, out, did, err);
    w->a.loaded = count_loaded(w);
    return status;
}
