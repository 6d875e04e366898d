/* engine_open.c: from options to a chain that is ready.
 *
 * Read the model, hold it against the machine's memory, cut it into slices, start workers, wait for their HELLO, tell each its
 * slice, send weights to those that have none, wait until every one is READY. Whatever goes wrong ends in one sentence, and
 * everything that was started is stopped. */
#include "engine_internal.h"

#include "cpus.h"
#include "memory_use.h"
#include "model_identity.h"
#include "placement.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_TIMEOUT_MS = 10000, DEFAULT_BATCH = 2048, DEFAULT_UBATCH = 512, WAIT_MS = 20, N_ARGS = 32 };

static const double MIB = 1024.0 * 1024.0;

/* ---- what was asked for ---- */

static yl_status settle_options(engine *e, yl_error *err)
{
    engine_options *o = &e->o;
    if (!o->n_local) o->n_local = 1;
    if (!o->n_seq) o->n_seq = 1;
    if (!o->n_batch) o->n_batch = DEFAULT_BATCH;
    if (!o->n_ubatch) o->n_ubatch = DEFAULT_UBATCH;
    if (!o->timeout_ms) o->timeout_ms = DEFAULT_TIMEOUT_MS;
    /* A micro-batch of activations must fit into a frame, with room for the rest of it. */
    uint32_t max_rows = (FRAME_MAX_BYTES - (1 << 20)) / (4 * e->hp.n_embd);
    if (o->n_ubatch > max_rows) o->n_ubatch = max_rows;
    if (o->n_ubatch > FRAME_MAX_ROWS) return yl_fail(err, YL_EINVAL, "a micro-batch (-ub) has at most %d rows", FRAME_MAX_ROWS);
    if (o->n_ubatch > o->n_batch) o->n_ubatch = o->n_batch;
    if (o->n_join > ENGINE_MAX_WORKERS || o->n_local > ENGINE_MAX_WORKERS)
        return yl_fail(err, YL_EINVAL, "at most %d workers", ENGINE_MAX_WORKERS);
    uint32_t cores = cpus_usable();
    if (!o->n_threads) o->n_threads = cores > o->n_local ? cores / o->n_local : 1;
    if (o->n_threads > cores && !o->n_join)
        engine_log(e, ENGINE_LOG_WARN, "%u threads a worker, but only %u cores may be used: fewer threads (-t) are faster",
                   o->n_threads, cores);
    uint32_t trained = e->hp.n_ctx_train;
    e->n_ctx = o->n_ctx ? o->n_ctx : trained && trained < ENGINE_DEFAULT_CTX ? trained : ENGINE_DEFAULT_CTX;
    if (!kv_type_takes(o->type_k, e->hp.n_embd_head) || !kv_type_takes(o->type_v, e->hp.n_embd_head))
        return yl_fail(
            err, YL_EUNSUPPORTED,
            "%s: a KV cache of q8_0 has blocks of 32 elements, and the model's heads have %u, no multiple of that: use f16 "
            "(-ctk, -ctv)",
            o->model_path, e->hp.n_embd_head);
    if (!wire_type_takes(o->wire, e->hp.n_embd))
        return yl_fail(err, YL_EUNSUPPORTED,
                       "%s: --wire %s has blocks of 32 values, and rows of %u are no multiple of that: use f16", o->model_path,
                       wire_type_name(o->wire), e->hp.n_embd);
    if (e->n_ctx > HPARAMS_MAX_CTX)
        return yl_fail(err, YL_ELIMIT, "a context of %u positions: at most %d", e->n_ctx, HPARAMS_MAX_CTX);
    if (trained && e->n_ctx > trained)
        engine_log(e, ENGINE_LOG_WARN, "a context of %u positions, but the model was trained for %u: expect worse text beyond",
                   e->n_ctx, trained);
    return YL_OK;
}

/* ---- slices ---- */

static double tensor_bytes(const engine *e, tensor_role role, uint32_t layer)
{
    const gguf_tensor *t = NULL;
    hparams_find_tensor(&t, e->model, &e->hp, role, layer, NULL);
    return t ? (double)t->n_bytes : 0;
}

/* What a stage costs is the bytes that it reads. Of several sequences' tokens the head's count; one sequence's stages never decode
 * at the same time, only a prompt's micro-batches overlap, and those want the head for one row at most. */
yl_status engine_cut_evenly(const engine *e, slice_range *ranges, uint32_t n, yl_error *err)
{
    placement_costs costs = {.embd = 0};
    for (int role = 0; role < TENSOR_LAYER_END; role++) costs.layer += tensor_bytes(e, (tensor_role)role, 0);
    if (e->o.n_seq > 1) costs.head = tensor_bytes(e, e->hp.tied_embeddings ? TENSOR_TOKEN_EMBD : TENSOR_OUTPUT, 0);
    yl_status status = placement_even(ranges, n, e->hp.n_layer, &costs, err);
    if (status) yl_error_context(err, "%s: ", e->o.model_path);
    return status;
}

yl_status engine_list_tensors(const engine *e, stage *s, yl_error *err)
{
    uint32_t n = slice_range_n_tensors(&s->range);
    free(s->tensors);
    free(s->sources);
    s->n_tensors = 0;
    s->weight_bytes = 0;
    s->tensors = calloc(n, sizeof *s->tensors);
    s->sources = calloc(n, sizeof *s->sources);
    if (!s->tensors || !s->sources) return yl_fail(err, YL_ENOMEM, "no memory for a list of %u tensors", n);
    for (uint32_t i = 0; i < n; i++) {
        slice_tensor st = slice_range_tensor_at(&s->range, &e->hp, i);
        const gguf_tensor *t;
        yl_status status = hparams_find_tensor(&t, e->model, &e->hp, st.role, st.layer, err);
        if (status) return status;
        if (!t) continue;
        s->tensors[s->n_tensors] = (frame_tensor){
            .role = st.role, .layer = st.layer, .type = t->type, .n_rows = t->n_dims > 1 ? t->ne[1] : 1, .n_cols = t->ne[0]};
        s->sources[s->n_tensors++] = t;
        s->weight_bytes += t->n_bytes;
    }
    return YL_OK;
}

/* Local workers share a machine: equal parts. */
static yl_status cut_for_locals(engine *e, yl_error *err)
{
    slice_range ranges[ENGINE_MAX_WORKERS];
    e->n_stages = e->max_stages;
    yl_status status = engine_cut_evenly(e, ranges, e->n_stages, err);
    for (uint32_t i = 0; i < e->n_stages && !status; i++) {
        stage *s = &e->stages[i];
        s->worker = -1;
        s->range = ranges[i];
        snprintf(s->name, sizeof s->name, "worker-%u", i);
        status = engine_list_tensors(e, s, err);
    }
    return status;
}

static yl_status make_stages(engine *e, yl_error *err)
{
    uint32_t n_units = e->hp.n_layer + 2, n_workers = e->o.n_join + ENGINE_MAX_STANDBY;
    e->max_stages = !e->o.n_join ? e->o.n_local : n_workers < n_units ? n_workers : n_units;
    e->stages = calloc(e->max_stages, sizeof *e->stages);
    if (!e->stages) return yl_fail(err, YL_ENOMEM, "no memory for %u stages", e->max_stages);
    return e->o.n_join ? engine_places_prepare(e, err) : cut_for_locals(e, err);
}

/* All local workers share this machine, so their sum is held against it before any starts. */
static yl_status check_memory(const engine *e, yl_error *err)
{
    const engine_options *o = &e->o;
    double weights = 0, n_heads = (double)e->hp.n_head_kv * e->hp.n_layer;
    for (uint32_t i = 0; i < e->n_stages; i++) weights += (double)e->stages[i].weight_bytes;
    uint64_t page = kv_run_bytes(o->type_k, e->hp.n_embd_head) + kv_run_bytes(o->type_v, e->hp.n_embd_head);
    double kv = n_heads * (double)page / KV_PAGE_POSITIONS * e->n_ctx * o->n_seq;
    bool copied = o->stream_weights || o->load == FRAME_LOAD_HEAP;
    double needed = kv + (copied ? weights : 0), available = (double)memory_use_available();
    if (available > 0 && needed > available)
        return yl_fail(err, YL_ENOMEM,
                       "%s: needs %.0f MiB (weights %.0f%s, KV cache for %u positions %.0f), but %.0f MiB are free: use a smaller "
                       "quantization, a smaller context (-c)%s",
                       o->model_path, needed / MIB, weights / MIB, copied ? "" : " mapped, not counted", e->n_ctx, kv / MIB,
                       available / MIB, copied && !o->stream_weights ? ", or leave --no-mmap out" : "");
    if (available > 0 && weights + kv > available)
        engine_log(e, ENGINE_LOG_WARN,
                   "the model (%.0f MiB) and its KV cache (%.0f MiB) are larger than the free memory (%.0f MiB): it will be slow",
                   weights / MIB, kv / MIB, available / MIB);
    return YL_OK;
}

/* ---- processes ---- */

static yl_status start_worker(engine *e, uint32_t i, yl_error *err)
{
    const engine_options *o = &e->o;
    const char *dir = local_workers_dir(e->locals);
    char control[160], data[160], threads[16], timeout[16], cache_size[24];
    snprintf(control, sizeof control, "ipc://%s/control", dir);
    snprintf(data, sizeof data, "ipc://%s/data-%u", dir, i);
    snprintf(threads, sizeof threads, "%u", o->n_threads);
    snprintf(timeout, sizeof timeout, "%.3f", o->timeout_ms / 1e3);
    const char *argv[N_ARGS] = {o->worker_program, "--connect", control, "--data",    data,    "--name",
                                e->stages[i].name, "--threads", threads, "--timeout", timeout, "--once"};
    size_t n = 12;
    if (!o->stream_weights) {
        argv[n++] = "--model";
        argv[n++] = o->model_path;
    }
    if (o->no_cache) argv[n++] = "--no-cache";
    if (o->cache_dir) {
        argv[n++] = "--cache-dir";
        argv[n++] = o->cache_dir;
    }
    if (o->cache_size) {
        snprintf(cache_size, sizeof cache_size, "%" PRIu64, o->cache_size);
        argv[n++] = "--cache-size";
        argv[n++] = cache_size;
    }
    if (o->isa) {
        argv[n++] = "--isa";
        argv[n++] = o->isa;
    }
    char cpus[1024];
    if (o->pin) {
        cpus_share(cpus, sizeof cpus, i, o->n_threads);
        argv[n++] = "--cpus";
        argv[n++] = cpus;
    }
    if (o->verbose) argv[n++] = "--verbose";
    return local_workers_start(e->locals, e->stages[i].name, argv, o->log_path, err);
}

yl_status engine_wait_a_moment(engine *e, yl_error *err)
{
    if (e->is_canceled || (e->o.is_interrupted && e->o.is_interrupted(e->o.ctx))) return yl_fail(err, YL_ECANCELED, "interrupted");
    return engine_pump(e, WAIT_MS, err);
}

/* Until every local worker has said HELLO. */
static yl_status wait_for_workers(engine *e, yl_error *err)
{
    uint64_t deadline = cluster_now_ms() + e->o.timeout_ms;
    for (uint32_t i = 0; i < e->n_stages;) {
        e->stages[i].worker = cluster_find(e->cluster, e->stages[i].name);
        if (e->stages[i].worker >= 0) {
            i++;
            continue;
        }
        if (cluster_now_ms() > deadline)
            return yl_fail(err, YL_EPEER, "worker '%s' did not come within %u ms (-v shows what it does)", e->stages[i].name,
                           e->o.timeout_ms);
        yl_status status = engine_wait_a_moment(e, err);
        if (status) return status;
    }
    return YL_OK;
}

static yl_status start_workers(engine *e, yl_error *err)
{
    yl_status status = local_workers_new(&e->locals, err);
    if (status) return status;
    char control[160], results[160];
    snprintf(control, sizeof control, "ipc://%s/control", local_workers_dir(e->locals));
    snprintf(results, sizeof results, "ipc://%s/results", local_workers_dir(e->locals));
    cluster_options o = {.timeout_ms = e->o.timeout_ms, .n_wanted = e->n_stages, .n_places = e->n_stages};
    status = endpoint_parse(&o.control, control, 0, err);
    if (!status) status = endpoint_parse(&o.results, results, 0, err);
    if (!status) status = cluster_new(&e->cluster, &o, err);
    for (uint32_t i = 0; i < e->n_stages && !status; i++) status = start_worker(e, i, err);
    return status ? status : wait_for_workers(e, err);
}

/* ---- the chain ---- */

static const char *data_endpoint(const engine *e, uint32_t i)
{
    return i < e->n_stages ? cluster_worker_at(e->cluster, (uint32_t)e->stages[i].worker)->data_endpoint
                           : cluster_result_endpoint(e->cluster);
}

static void set_hashes(const engine *e, const stage *s)
{
    for (uint32_t i = 0; e->hashes && i < s->n_tensors; i++) {
        const uint8_t *hash = weight_hashes_get(e->hashes, s->sources[i]);
        s->tensors[i].has_hash = hash != NULL;
        if (hash) memcpy(s->tensors[i].hash, hash, FRAME_ID_BYTES);
    }
}

static yl_status assign(engine *e, uint32_t i, yl_error *err)
{
    const stage *s = &e->stages[i];
    set_hashes(e, s);
    const char *next = data_endpoint(e, i + 1);
    frame f = {.kind = FRAME_ASSIGN, .epoch = e->epoch};
    f.assign = (frame_assign){.coordinator = cluster_instance(e->cluster),
                              .stage = i,
                              .n_stages = e->n_stages,
                              .hp = e->hp,
                              .range = s->range,
                              .n_ctx = e->n_ctx,
                              .n_seq = e->o.n_seq,
                              .max_rows = e->o.n_ubatch,
                              .kv_type_k = e->o.type_k,
                              .kv_type_v = e->o.type_v,
                              .wire = e->o.wire,
                              .load = e->o.load,
                              .model_id = {e->model_id, sizeof e->model_id},
                              .next_endpoint = {(const uint8_t *)next, strlen(next)},
                              .heartbeat_ms = CLUSTER_HEARTBEAT_MS,
                              .n_tensors = s->n_tensors,
                              .tensors = s->tensors};
    return cluster_send(e->cluster, (uint32_t)s->worker, &f, err);
}

yl_status engine_send_chunk(engine *e, stage *s, const frame_want_chunk *want, yl_error *err)
{
    if (want->tensor >= s->n_tensors)
        return yl_fail(err, YL_EPEER, "worker '%s' wants tensor %u of %u", s->name, want->tensor, s->n_tensors);
    const gguf_tensor *t = s->sources[want->tensor];
    if (want->offset > t->n_bytes || want->n_bytes > t->n_bytes - want->offset)
        return yl_fail(err, YL_EPEER, "worker '%s' wants bytes beyond the end of '%s'", s->name, t->name);
    if (!want->offset) gguf_advise_needed(e->model, t);
    frame f = {.kind = FRAME_TENSOR, .epoch = e->epoch};
    f.tensor = (frame_chunk){.tensor = want->tensor, .offset = want->offset, .data = {t->data + want->offset, want->n_bytes}};
    yl_status status = cluster_send(e->cluster, (uint32_t)s->worker, &f, err);
    s->sent_bytes += want->n_bytes;
    if (want->offset + want->n_bytes == t->n_bytes) gguf_advise_done(e->model, t);
    return status;
}

static void show_progress(const engine *e)
{
    if (!e->o.on_progress) return;
    double done = 0, all = 0, sent = 0;
    for (uint32_t i = 0; i < e->n_stages; i++) {
        const stage *s = &e->stages[i];
        all += (double)s->weight_bytes;
        uint64_t loaded = cluster_worker_at(e->cluster, (uint32_t)s->worker)->loaded;
        sent += (double)s->sent_bytes;
        if (loaded < s->sent_bytes) loaded = s->sent_bytes; /* what was sent is known earlier */
        done += (double)(s->is_ready || loaded > s->weight_bytes ? s->weight_bytes : loaded);
    }
    char what[64] = "loading weights";
    double seconds = (double)(cluster_now_ms() - e->assigned_ms) / 1e3;
    if (sent > 0 && seconds > 0) snprintf(what, sizeof what, "sending weights at %.2f GB/s", sent / 1e9 / seconds);
    e->o.on_progress(e->o.ctx, what, all > 0 ? done / all : 1);
}

static bool all_ready(const engine *e)
{
    for (uint32_t i = 0; i < e->n_stages; i++) {
        if (!e->stages[i].is_ready) return false;
    }
    return true;
}

yl_status engine_assign(engine *e, yl_error *err)
{
    e->epoch++;
    e->assigned_ms = cluster_now_ms();
    e->credit = credit_begin(e->n_stages);
    for (uint32_t i = 0; i < e->n_stages; i++) {
        e->stages[i].is_ready = false;
        e->stages[i].sent_bytes = 0;
        e->stages[i].stats_id = e->stages[i].stats_ms = 0; /* they begin anew */
    }
    yl_status status = cluster_connect_first(e->cluster, data_endpoint(e, 0), err);
    for (uint32_t i = 0; i < e->n_stages && !status; i++) status = assign(e, i, err);
    return status;
}

yl_status engine_wait_until_ready(engine *e, yl_error *err)
{
    yl_status status = YL_OK;
    while (!status && !all_ready(e)) {
        show_progress(e);
        status = engine_wait_a_moment(e, err);
    }
    if (status) return status;
    show_progress(e);
    e->was_ready = true;
    e->moved_ms = cluster_now_ms();
    return YL_OK;
}

static yl_status make_pipeline(engine *e, yl_error *err)
{
    pipeline_spec spec = {.n_stages = e->max_stages,
                          .n_seq = e->o.n_seq,
                          .n_ctx = e->n_ctx,
                          .n_vocab = e->hp.n_vocab,
                          .n_embd = e->hp.n_embd,
                          .max_rows = e->o.n_ubatch,
                          .max_rows_in_flight = e->o.n_batch};
    e->row = calloc(e->hp.n_vocab > e->hp.n_embd ? e->hp.n_vocab : e->hp.n_embd, sizeof *e->row);
    e->listeners = calloc(e->o.n_seq, sizeof *e->listeners);
    if (!e->row || !e->listeners) return yl_fail(err, YL_ENOMEM, "no memory for %u sequences", e->o.n_seq);
    return pipeline_new(&e->pipeline, &spec, err);
}

static yl_status read_model(engine *e, yl_error *err)
{
    yl_status status = e->o.model ? YL_OK : gguf_open(&e->own_model, e->o.model_path, err);
    if (status) return status;
    e->model = e->o.model ? e->o.model : e->own_model;
    status = hparams_read(&e->hp, e->model, err);
    if (!status) status = model_identity(e->model_id, e->model, err);
    return status;
}

static void warn_of_rounding(const engine *e)
{
    if (e->o.wire != WIRE_F32 && e->n_stages > 1)
        engine_log(e, ENGINE_LOG_WARN,
                   "--wire %s: what travels between workers is rounded, so the text depends on where the model is cut",
                   wire_type_name(e->o.wire));
}

yl_status engine_begin(engine **out, const engine_options *options, yl_error *err)
{
    *out = NULL;
    engine *e = calloc(1, sizeof *e);
    if (!e) return yl_fail(err, YL_ENOMEM, "no memory for an engine");
    e->o = *options;
    yl_status status = read_model(e, err);
    if (!status) status = settle_options(e, err);
    if (!status) status = make_stages(e, err);
    if (!status && !e->o.n_join) status = check_memory(e, err);
    if (!status) status = make_pipeline(e, err);
    if (!status) status = engine_watch_init(e, err);
    if (!status) status = e->o.n_join ? engine_gather(e, err) : start_workers(e, err);
    if (!status) warn_of_rounding(e);
    if (!status) pipeline_restart(e->pipeline, e->n_stages);
    if (!status) status = engine_assign(e, err);
    if (status) {
        engine_close(e);
        return status;
    }
    *out = e;
    return YL_OK;
}

yl_status engine_wait(engine *e, yl_error *err)
{
    yl_status status = engine_wait_until_ready(e, err);
    if (status == YL_EREPLAY) status = engine_recover(e, err);
    for (uint32_t i = 0; i < e->n_stages && !status; i++) {
        const stage *s = &e->stages[i];
        engine_log(e, ENGINE_LOG_DEBUG,
                   "%s: layers %u to %u%s%s, %.1f MiB of weights (%.1f sent), %.1f MiB of KV cache, ready after %.0f ms", s->name,
                   s->range.layer_begin, s->range.layer_end, s->range.has_embd ? ", embedding" : "",
                   s->range.has_head ? ", output head" : "", (double)s->ready.weight_bytes / MIB, (double)s->sent_bytes / MIB,
                   (double)s->ready.kv_bytes / MIB, (double)s->ready.load_ns / 1e6);
    }
    return status;
}

yl_status engine_open(engine **out, const engine_options *options, yl_error *err)
{
    yl_status status = engine_begin(out, options, err);
    if (!status) status = engine_wait(*out, err);
    if (status) {
        engine_close(*out);
        *out = NULL;
    }
    return status;
}

void engine_close(engine *e)
{
    if (!e) return;
    frame f = {.kind = FRAME_SHUTDOWN, .epoch = e->epoch};
    /* Those of other machines were not started by us: they wait for the next coordinator. */
    for (uint32_t i = 0; e->locals && e->cluster && i < cluster_n_places(e->cluster); i++) {
        if (cluster_worker_at(e->cluster, i)) cluster_send(e->cluster, i, &f, NULL);
    }
    /* Workers that serve end by themselves; in another state they may not have heard it. */
    if (e->locals && e->cluster && all_ready(e) && !e->broken.status) local_workers_wait(e->locals, 1000);
    weight_hashes_free(e->hashes);
    cluster_free(e->cluster);
    local_workers_free(e->locals);
    pipeline_free(e->pipeline);
    for (uint32_t i = 0; e->stages && i < e->max_stages; i++) {
        free(e->stages[i].tensors);
        free(e->stages[i].sources);
    }
    free(e->stages);
    model_costs_clear(&e->costs);
    free(e->row);
    free(e->listeners);
    engine_watch_clear(e);
    gguf_free(e->own_model);
    free(e);
}
