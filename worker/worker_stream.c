/* worker_stream.c: weights that come over the network.
 *
 * The slice's tensors are asked for in their order, chunk by chunk, WORKER_OPEN_WANTS at a time; chunks come in the order in which
 * they were asked for, so that the SHA-256 of a tensor is made while it comes. They lie in memory of the slice's own, in tiles at
 * once, and it is from there that the store takes what is whole: nothing is written that was not checked, and a disk that is full
 * costs memory, no byte that came. When the store has a file together the slice uses that, and its own memory is free for what
 * comes next. A tensor that came damaged is asked for again when all others are there, once. */
#include "worker_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TOLD_BYTES = 64 << 10 }; /* RoPE's factors lie in no file and come every time: that is not worth a line */

static void say(const worker *w, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void say(const worker *w, int level, const char *format, ...)
{
    char line[1024];
    if (!w->env.say) return;
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    w->env.say(w->env.say_ctx, level, line);
}

/* ---- asking ---- */

static yl_status ask_for_chunk(worker *w, outbox *out, yl_error *err)
{
    assignment *a = &w->a;
    weight_stream *s = &a->stream;
    uint64_t n_bytes = slice_tensor_bytes(a->slice, a->load_tensor), rest = n_bytes - a->load_offset;
    frame f = {.kind = FRAME_WANT, .epoch = w->epoch};
    f.want = (frame_want_chunk){.tensor = a->load_tensor,
                                .offset = a->load_offset,
                                .n_bytes = rest < FRAME_CHUNK_BYTES ? (uint32_t)rest : FRAME_CHUNK_BYTES};
    yl_status status = worker_send(w, out, WORKER_TO_COORDINATOR, &f, err);
    if (status) return status;
    s->wants[(s->first_want + s->n_wants++) % WORKER_OPEN_WANTS] = f.want;
    a->load_offset += f.want.n_bytes;
    if (a->load_offset < n_bytes) return YL_OK;
    a->load_tensor++;
    a->load_offset = 0;
    return YL_OK;
}

/* Is there a tensor to be asked for? All were once: those that came damaged are next, once. */
static bool find_next(worker *w)
{
    assignment *a = &w->a;
    weight_stream *s = &a->stream;
    uint32_t n = slice_n_tensors(a->slice);
    if (a->load_tensor == n && !s->n_wants && !s->is_second_round) {
        s->is_second_round = true;
        a->load_tensor = 0;
    }
    while (a->load_tensor < n && slice_tensor_is_loaded(a->slice, a->load_tensor)) a->load_tensor++;
    return a->load_tensor < n;
}

static yl_status ask_for_chunks(worker *w, outbox *out, bool *did, yl_error *err)
{
    yl_status status = YL_OK;
    while (!status && w->a.stream.n_wants < WORKER_OPEN_WANTS && find_next(w)) {
        status = ask_for_chunk(w, out, err);
        *did = true;
    }
    return status;
}

/* ---- taking ---- */

static yl_status check_was_asked_for(const worker *w, const frame_chunk *c, yl_error *err)
{
    const weight_stream *s = &w->a.stream;
    if (w->state != WORKER_LOADING || !s->n_wants) return yl_fail(err, YL_EFORMAT, "TENSOR: no chunk was asked for");
    const frame_want_chunk *want = &s->wants[s->first_want];
    if (c->tensor == want->tensor && c->offset == want->offset && c->data.n_bytes == want->n_bytes) return YL_OK;
    return yl_fail(
        err, YL_EFORMAT,
        "TENSOR: %zu bytes of tensor %u from byte %llu on, but what is next of what was asked for are %u bytes of tensor "
        "%u from byte %llu on",
        c->data.n_bytes, c->tensor, (unsigned long long)c->offset, want->n_bytes, want->tensor, (unsigned long long)want->offset);
}

/* Is the tensor, whose last chunk this is, what ASSIGN announced? */
static bool is_whole(worker *w, const frame_chunk *c)
{
    uint8_t hash[SHA256_BYTES];
    sha256_add(w->hash, c->data.data, c->data.n_bytes);
    sha256_end(w->hash, hash);
    return memcmp(hash, slice_tensor_info(w->a.slice, c->tensor)->hash, sizeof hash) == 0;
}

static yl_status refuse_tensor(worker *w, uint32_t i, yl_error *err)
{
    assignment *a = &w->a;
    const frame_tensor *t = slice_tensor_info(a->slice, i);
    char name[TENSOR_NAME_BYTES];
    tensor_role_name(name, t->role, t->layer);
    slice_forget(a->slice, i);
    if (a->stream.is_second_round)
        return yl_fail(
            err, YL_EFORMAT,
            "tensor %s came from the coordinator with other bytes than it announced (by their SHA-256), twice: its model "
            "file was changed or is damaged",
            name);
    say(w, 0, "tensor %s came from the coordinator with other bytes than it announced (by their SHA-256): it is asked for again",
        name);
    return YL_OK;
}

/* A chunk that is not its tensor's last is hashed by one thread while another puts it into tiles. */
typedef struct arrival {
    worker *w;
    const frame_chunk *c;
    yl_status status;
    yl_error *err;
} arrival;

enum { HASHED, WRITTEN, N_PARTS };

static void do_parts(void *arg, size_t begin, size_t end, uint32_t thread)
{
    arrival *a = arg;
    const frame_chunk *c = a->c;
    (void)thread;
    for (size_t part = begin; part < end; part++) {
        if (part == HASHED) sha256_add(a->w->hash, c->data.data, c->data.n_bytes);
        if (part == WRITTEN)
            a->status = slice_write_alone(a->w->a.slice, c->tensor, c->offset, c->data.data, c->data.n_bytes, a->err);
    }
}

static yl_status take_chunk(worker *w, const frame_chunk *c, yl_error *err)
{
    assignment *a = &w->a;
    weight_stream *s = &a->stream;
    s->first_want = (s->first_want + 1) % WORKER_OPEN_WANTS;
    s->n_wants--;
    s->n_bytes += c->data.n_bytes;
    bool has_hash = slice_tensor_info(a->slice, c->tensor)->has_hash;
    if (has_hash && !c->offset) sha256_begin(w->hash);
    if (has_hash && c->offset + c->data.n_bytes < slice_tensor_bytes(a->slice, c->tensor)) {
        arrival parts = {.w = w, .c = c, .err = err};
        thread_pool_run(w->env.pool, N_PARTS, 1, do_parts, &parts);
        return parts.status;
    }
    if (has_hash && !is_whole(w, c)) return refuse_tensor(w, c->tensor, err);
    return slice_write(a->slice, c->tensor, c->offset, c->data.data, c->data.n_bytes, err);
}

yl_status worker_stream_chunk(worker *w, const frame *f, yl_error *err)
{
    yl_status status = check_was_asked_for(w, &f->tensor, err);
    if (status) return status;
    status = take_chunk(w, &f->tensor, err);
    if (status) worker_unassign(w);
    return status;
}

/* ---- keeping ---- */

/* What the store needs of memory is known to fit; but one that gave up leaves more to us. */
static yl_status check_memory_again(worker *w, yl_error *err)
{
    assignment *a = &w->a;
    uint64_t own = w->env.store.own_bytes(w->env.store.ctx);
    if (own <= a->stream.own_bytes) return YL_OK;
    a->stream.own_bytes = own;
    return worker_check_memory(w, own, slice_total_bytes(a->slice), err);
}

/* A piece of the first tensor that lies in memory and belongs into a file, or is in one now. */
static yl_status keep_some(worker *w, bool *did, yl_error *err)
{
    assignment *a = &w->a;
    const weight_store *store = &w->env.store;
    for (uint32_t i = 0; i < slice_n_tensors(a->slice); i++) {
        const uint8_t *bytes = slice_owned_tensor(a->slice, i);
        if (!bytes) continue;
        const uint8_t *tiles = store->find(store->ctx, i);
        if (!tiles && !store->wants(store->ctx, i)) continue;
        *did = true;
        if (!tiles) {
            store->keep(store->ctx, i, bytes);
            return check_memory_again(w, err);
        }
        slice_move(a->slice, i, tiles);
        yl_status status = worker_lock_bytes(w, tiles, slice_tensor_memory_bytes(a->slice, i), err);
        if (status) return status;
    }
    return YL_OK;
}

yl_status worker_stream_step(worker *w, outbox *out, bool *did, yl_error *err)
{
    yl_status status = ask_for_chunks(w, out, did, err);
    bool may_keep = w->a.use_store && w->a.load != FRAME_LOAD_HEAP;
    return !status && may_keep ? keep_some(w, did, err) : status;
}

void worker_stream_tell(const worker *w, uint64_t load_ns)
{
    const assignment *a = &w->a;
    double n_bytes = (double)a->stream.n_bytes, s = (double)load_ns / 1e9;
    if (a->stream.n_bytes >= TOLD_BYTES)
        say(w, 1, "%.2f GB of weights came in %.2f s (%.2f GB/s), %.2f GB were here", n_bytes / 1e9, s, n_bytes / 1e9 / s,
            ((double)slice_total_bytes(a->slice) - n_bytes) / 1e9);
}
