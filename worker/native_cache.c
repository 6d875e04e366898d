/* native_cache.c: from a slice's list of tensors to mapped files.
 *
 * The list is cut into units, a file each. Then, in bounded steps, so that the worker stays a worker that answers: tensors of its
 * own model that were never hashed are hashed (phase HASHING), all files that exist are opened (at once, so that making room for
 * new ones finds them in use), and those that are missing are made from that model. Without a model ASSIGN's hashes name the files,
 * and those that are missing are filled later, when the tensors have come and were found whole. When only a copy is wanted nothing
 * is hashed or made, but what is there is checked before it is copied (CHECKING): nobody would look at it afterwards. So it is too
 * when a slice is assigned again: something went wrong, and if it was the disk, no second answer shall stop for the next bad file.
 * A cache that cannot be written is told once and done without. */
#include "native_cache.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "native_keeper.h"
#include "native_maker.h"
#include "native_units.h"
#include "native_verifier.h"
#include "tensor_hashes.h"

enum { CHUNKS_A_STEP = 256 };

typedef enum phase { HASHING, OPENING, MAKING, CHECKING, DONE } phase;

struct native_cache {
    native_cache_options o;
    tile_cache *dir;
    tile_cache_index *index; /* of the worker's own model; NULL: it has none */
    native_verifier *verifier;
    bool gave_up;  /* no file can be made */
    bool is_first; /* nothing was assigned before */

    uint64_t epoch;
    bool may_make;
    phase phase;
    const gguf *model; /* that files are made from; NULL: their tensors come from elsewhere */
    native_units units;
    tensor_hash *to_hash; /* HASHING */
    size_t n_to_hash;
    tensor_hashes *hashes;
    uint32_t next;       /* unit that is made or checked next */
    uint64_t next_chunk; /* of it, CHECKING */
    native_maker *maker;
    native_keeper keeper;
};

static void say(const native_cache *c, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void say(const native_cache *c, int level, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    c->o.say(c->o.ctx, level, line);
}

/* ---- hashing ---- */

static yl_status list_unhashed(native_cache *c, yl_error *err)
{
    c->to_hash = calloc(c->units.n_tensors, sizeof *c->to_hash);
    if (!c->to_hash) return yl_fail(err, YL_ENOMEM, "no memory to hash tensors");
    for (uint32_t i = 0; i < c->units.n; i++) {
        const native_unit *u = &c->units.list[i];
        for (uint32_t k = 0; k < u->head.n_tensors && native_unit_is_complete(u); k++) {
            if (tile_cache_index_get(c->index, gguf_tensor_number(c->model, u->sources[k]))) continue;
            c->to_hash[c->n_to_hash++] = (tensor_hash){.model = c->model, .tensor = u->sources[k]};
        }
    }
    if (!c->n_to_hash) return YL_OK;
    return tensor_hashes_new(&c->hashes, c->to_hash, c->n_to_hash, c->o.pool, err);
}

/* Some more hashes; when all are there, keeps them. */
static void step_hashing(native_cache *c)
{
    if (!tensor_hashes_step(c->hashes)) return;
    for (size_t i = 0; i < c->n_to_hash; i++)
        tile_cache_index_set(c->index, gguf_tensor_number(c->model, c->to_hash[i].tensor), c->to_hash[i].hash);
    yl_error cause;
    if (tile_cache_index_save(c->index, &cause)) say(c, 2, "%s", cause.msg); /* making a file will tell */
    c->phase = OPENING;
}

/* ---- opening ---- */

static void open_unit(const native_cache *c, native_unit *u)
{
    yl_error cause;
    yl_status status = tile_file_find(&u->file, c->dir, &u->head, &cause);
    if (status) say(c, 2, "%s%s", cause.msg, c->may_make ? ": it is made anew" : "");
}

static yl_status open_units(native_cache *c, yl_error *err)
{
    yl_status status = YL_OK;
    for (uint32_t i = 0; i < c->units.n && !status; i++) {
        status = native_unit_set_key(&c->units.list[i], c->model, c->model ? c->index : NULL, err);
        if (!status && c->units.list[i].has_key) open_unit(c, &c->units.list[i]);
    }
    c->next = 0;
    c->phase = c->may_make && c->is_first ? MAKING : CHECKING;
    return status;
}

/* ---- making ---- */

/* The cache takes no file. */
static void stop_making(native_cache *c, const yl_error *cause)
{
    c->gave_up = true;
    if (c->model)
        say(c, 0, "%s; weights are copied to memory instead, at every start (--no-cache uses the model file in place, slower)",
            cause->msg);
    else
        say(c, 0, "%s; weights stay in memory instead, and come over the network again at the next start", cause->msg);
}

/* Ends the file under way. A cache that takes no file is not worth failing for, a model with a bad number is. */
static yl_status give_up(native_cache *c, yl_status status, const yl_error *cause, yl_error *err)
{
    native_maker_free(c->maker);
    c->maker = NULL;
    if (status == YL_EFORMAT) {
        if (err) *err = *cause;
        return status;
    }
    stop_making(c, cause);
    return YL_OK;
}

static yl_status step_making(native_cache *c, yl_error *err)
{
    yl_error cause;
    yl_status status = YL_OK;
    native_unit *u = &c->units.list[c->next];
    if (!c->maker) {
        for (; c->next < c->units.n && (u->file || !u->has_key || !native_unit_is_complete(u) || c->gave_up);
             u = &c->units.list[c->next])
            c->next++;
        if (c->next == c->units.n) {
            c->phase = DONE;
            return YL_OK;
        }
        open_unit(c, u); /* another worker may have made it since */
        if (u->file) return YL_OK;
        status = native_maker_new(&c->maker, c->dir, &u->head, u->sources, c->o.pool, &cause);
        return status ? give_up(c, status, &cause, err) : YL_OK;
    }
    bool is_done;
    status = native_maker_step(c->maker, &is_done, &cause);
    if (status) return give_up(c, status, &cause, err);
    if (!is_done) return YL_OK;
    u->file = native_maker_take(c->maker);
    u->was_made = true;
    native_maker_free(c->maker);
    c->maker = NULL;
    return YL_OK;
}

/* ---- damage ---- */

static void describe_damage(yl_error *cause, const tile_file *f, uint64_t chunk, bool may_make)
{
    const tile_cache_head *h = tile_file_head(f);
    char what[32];
    if (h->unit == TILE_CACHE_LAYER)
        snprintf(what, sizeof what, "layer %" PRIu32, h->layer);
    else
        snprintf(what, sizeof what, "%s", h->unit == TILE_CACHE_HEAD ? "the output head" : "the embedding");
    yl_fail(cause, YL_EREPLAY, "%s's cache file %s is damaged (chunk %" PRIu64 "): it is %s", what, tile_file_path(f), chunk,
            may_make ? "made anew" : "removed");
}

static void on_damage(void *ctx, uint64_t epoch, const tile_file *f, uint64_t chunk)
{
    native_cache *c = ctx;
    yl_error cause;
    describe_damage(&cause, f, chunk, true);
    c->o.on_damage(c->o.ctx, epoch, &cause);
}

typedef struct checking {
    const tile_file *file;
    uint64_t first;
    uint8_t is_bad[CHUNKS_A_STEP];
} checking;

static void check_chunks(void *arg, size_t begin, size_t end, uint32_t thread)
{
    (void)thread;
    checking *k = arg;
    for (size_t i = begin; i < end; i++) k->is_bad[i] = !tile_file_chunk_is_whole(k->file, k->first + i);
}

/* Some chunks of a file that is about to be copied. */
static void step_checking(native_cache *c)
{
    for (; c->next < c->units.n && !c->units.list[c->next].file; c->next++) c->next_chunk = 0;
    if (c->next == c->units.n) {
        c->next = 0;
        c->phase = c->may_make ? MAKING : DONE;
        return;
    }
    native_unit *u = &c->units.list[c->next];
    uint64_t left = tile_file_head(u->file)->n_chunks - c->next_chunk;
    checking k = {.file = u->file, .first = c->next_chunk};
    size_t n = left < CHUNKS_A_STEP ? (size_t)left : CHUNKS_A_STEP;
    thread_pool_run(c->o.pool, n, 1, check_chunks, &k);
    const uint8_t *bad = memchr(k.is_bad, 1, n);
    if (bad) {
        yl_error cause;
        describe_damage(&cause, u->file, k.first + (uint64_t)(bad - k.is_bad), c->may_make);
        say(c, c->may_make ? 2 : 0, "%s", cause.msg);
        tile_file_unlink(u->file);
        tile_file_close(u->file);
        u->file = NULL;
    }
    c->next_chunk += n;
    if (bad || n == left) {
        c->next++;
        c->next_chunk = 0;
    }
}

/* ---- the store ---- */

static void end(void *ctx)
{
    native_cache *c = ctx;
    native_verifier_begin(c->verifier, 0, NULL, 0);
    tensor_hashes_free(c->hashes);
    native_maker_free(c->maker);
    native_units_clear(&c->units);
    free(c->to_hash);
    c->hashes = NULL;
    c->maker = NULL;
    c->to_hash = NULL;
    c->n_to_hash = 0;
    c->next = 0;
    c->next_chunk = 0;
    c->keeper.unit = NULL;
}

static yl_status begin(void *ctx, const weight_order *order, yl_error *err)
{
    native_cache *c = ctx;
    const native_source *source = order->from_source ? c->o.source : NULL;
    c->epoch = order->epoch;
    c->may_make = order->may_make;
    c->model = source ? native_source_model(source) : NULL;
    c->phase = OPENING;
    yl_status status = native_units_make(&c->units, order, source, err);
    if (!status && c->model && c->may_make) status = list_unhashed(c, err);
    if (!status && c->hashes) c->phase = HASHING;
    if (status) end(c);
    return status;
}

/* All is there that will be: says so, and has checked what was neither just made nor checked already. */
static void begin_use(native_cache *c)
{
    tile_file **files = calloc(c->units.n + 1, sizeof *files); /* NULL: they go unchecked */
    size_t n = 0, n_found = 0, n_made = 0;
    uint64_t n_bytes = 0;
    for (uint32_t i = 0; i < c->units.n; i++) {
        const native_unit *u = &c->units.list[i];
        if (!u->file) continue;
        n_bytes += u->head.file_bytes;
        n_made += u->was_made;
        n_found += !u->was_made;
        if (files && !u->was_made) files[n++] = u->file;
    }
    if (c->may_make && c->is_first) native_verifier_begin(c->verifier, c->epoch, files, n);
    free(files);
    c->is_first = false;
    say(c, 2, "weight cache %s: %zu files found, %zu made, %.1f MiB", tile_cache_path(c->dir), n_found, n_made,
        (double)n_bytes / (1 << 20));
}

/* Of the work, 0 to 1. To hash a file takes about half as long as to make it; to check all of them comes before that, if at all. */
static double share_done(const native_cache *c)
{
    uint64_t n_bytes = 0, all = 0;
    double begins_at = c->hashes ? 1.0 / 3 : 0;
    if (c->phase == DONE || !c->units.n) return 1;
    if (c->phase == HASHING) return begins_at * tensor_hashes_share(c->hashes);
    for (uint32_t i = 0; i < c->units.n; i++) {
        all += c->units.list[i].head.file_bytes;
        if (i < c->next) n_bytes += c->units.list[i].head.file_bytes;
    }
    double pass = (double)n_bytes / (double)all;
    if (c->phase == CHECKING && c->may_make) pass /= 2;
    if (c->phase == MAKING && !c->is_first) pass = (1 + pass) / 2;
    return begins_at + (1 - begins_at) * pass;
}

static yl_status step(void *ctx, bool *is_done, double *share, yl_error *err)
{
    native_cache *c = ctx;
    yl_status status = YL_OK;
    *is_done = false;
    switch (c->phase) {
    case HASHING: step_hashing(c); break;
    case OPENING: status = open_units(c, err); break;
    case MAKING: status = step_making(c, err); break;
    case CHECKING: step_checking(c); break;
    case DONE:
        begin_use(c);
        *is_done = true;
        break;
    }
    *share = share_done(c);
    return status;
}

/* The unit of tensor i; NULL: in none. */
static native_unit *unit_of(const native_cache *c, uint32_t i)
{
    uint32_t unit = c->units.places[i].unit;
    return unit == UINT32_MAX ? NULL : &c->units.list[unit];
}

static const uint8_t *find(void *ctx, uint32_t i)
{
    const native_cache *c = ctx;
    const native_unit *u = unit_of(c, i);
    return u && u->file ? tile_file_tensor(u->file, native_unit_tensor(u, c->units.places[i].role)) : NULL;
}

static bool is_to_be_kept(const native_cache *c, const native_unit *u)
{
    return c->may_make && !c->gave_up && u->has_key && !u->file;
}

static bool wants(void *ctx, uint32_t i)
{
    const native_cache *c = ctx;
    const native_unit *u = unit_of(c, i);
    return u && is_to_be_kept(c, u) && !(u->kept_bits >> native_unit_tensor(u, c->units.places[i].role) & 1);
}

static void keep(void *ctx, uint32_t i, const uint8_t *bytes)
{
    native_cache *c = ctx;
    native_unit *u = unit_of(c, i);
    yl_error cause;
    if (!u->begun) open_unit(c, u); /* another worker may have got it since */
    if (u->file || !native_keeper_step(&c->keeper, u, native_unit_tensor(u, c->units.places[i].role), bytes, &cause)) return;
    stop_making(c, &cause);
    for (uint32_t k = 0; k < c->units.n; k++) {
        tile_file_close(c->units.list[k].begun);
        c->units.list[k].begun = NULL;
    }
}

static uint64_t own_bytes(void *ctx)
{
    const native_cache *c = ctx;
    uint64_t largest = 0, rest = 0;
    for (uint32_t i = 0; i < c->units.n; i++) {
        const native_unit *u = &c->units.list[i];
        uint64_t n_bytes = u->head.file_bytes - u->head.head_bytes;
        if (u->file) continue;
        if (!is_to_be_kept(c, u))
            rest += n_bytes;
        else if (n_bytes > largest)
            largest = n_bytes;
    }
    return largest + rest;
}

yl_status native_cache_new(native_cache **out, const native_cache_options *options, yl_error *err)
{
    *out = NULL;
    native_cache *c = calloc(1, sizeof *c);
    if (!c) return yl_fail(err, YL_ENOMEM, "no memory for the weight cache");
    c->o = *options;
    c->is_first = true;
    yl_status status = tile_cache_open(&c->dir, options->dir, options->max_bytes, err);
    if (!status && options->source)
        status =
            tile_cache_index_open(&c->index, c->dir, native_source_model(options->source), native_source_id(options->source), err);
    c->keeper = (native_keeper){.cache = c->dir, .pool = options->pool};
    if (!status) status = native_verifier_new(&c->verifier, on_damage, c, err);
    if (status) {
        native_cache_free(c);
        return status;
    }
    *out = c;
    return YL_OK;
}

void native_cache_free(native_cache *c)
{
    if (!c) return;
    if (c->verifier) end(c);
    native_verifier_free(c->verifier);
    tile_cache_index_free(c->index);
    tile_cache_free(c->dir);
    free(c);
}

weight_store native_cache_view(native_cache *c)
{
    return (weight_store){
        .begin = begin, .step = step, .find = find, .wants = wants, .keep = keep, .own_bytes = own_bytes, .end = end, .ctx = c};
}
