/* native_cache.c: from a slice's list of tensors to mapped files.
 *
 * The list is cut into units, a file each. Then, in bounded steps, so that the worker stays a worker that answers: tensors that
 * were never hashed are hashed (phase HASHING), all files that exist are opened (at once, so that making room for new ones finds
 * them in use), and those that are missing are made. When only a copy is wanted nothing is hashed or made, but what is there is
 * checked before it is copied (CHECKING): nobody would look at it afterwards. So it is too when a slice is assigned again:
 * something went wrong, and if it was the disk, no second answer shall stop for the next bad file. A cache that cannot be written
 * is told once and done without. */
#include "native_cache.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "native_hashes.h"
#include "native_maker.h"
#include "native_verifier.h"
#include "tile_cache_index.h"

enum { CHUNKS_A_STEP = 256 };

/* A file of the slice. */
typedef struct unit {
    tile_cache_head head;
    const gguf_tensor *sources[TILE_CACHE_MAX_TENSORS]; /* NULL: the model has not that tensor */
    bool has_key;
    bool was_made; /* in this process: it needs no checking */
    tile_file *file;
} unit;

/* Where a tensor of the list is. */
typedef struct place {
    uint32_t unit; /* UINT32_MAX: in none */
    tensor_role role;
} place;

typedef enum phase { HASHING, OPENING, MAKING, CHECKING, DONE } phase;

struct native_cache {
    native_cache_options o;
    tile_cache *dir;
    tile_cache_index *index;
    native_verifier *verifier;
    bool gave_up;  /* no file can be made */
    bool is_first; /* nothing was assigned before */

    uint64_t epoch;
    bool may_make;
    phase phase;
    unit *units;
    uint32_t n_units;
    place *places; /* [n_tensors] */
    uint32_t n_tensors;
    native_hash *to_hash; /* HASHING */
    size_t n_to_hash;
    native_hashes *hashes;
    uint32_t next;       /* unit that is made or checked next */
    uint64_t next_chunk; /* of it, CHECKING */
    native_maker *maker;
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

/* ---- units ---- */

static unit *find_unit(native_cache *c, tile_cache_unit kind, uint32_t layer)
{
    for (uint32_t i = c->n_units; i-- > 0;) {
        if (c->units[i].head.unit == kind && c->units[i].head.layer == layer) return &c->units[i];
    }
    unit *u = &c->units[c->n_units++];
    *u = (unit){.head = {.unit = kind, .layer = layer}};
    const char *path = gguf_path(native_source_model(c->o.source)), *slash = strrchr(path, '/');
    snprintf(u->head.label, sizeof u->head.label, "%s", slash ? slash + 1 : path);
    return u;
}

/* Puts a tensor among its unit's by its role. */
static void add_to_unit(const native_cache *c, unit *u, const frame_tensor *t)
{
    uint32_t at = u->head.n_tensors++;
    for (; at > 0 && u->head.tensors[at - 1].role > t->role; at--) {
        u->head.tensors[at] = u->head.tensors[at - 1];
        u->sources[at] = u->sources[at - 1];
    }
    u->head.tensors[at] = (tile_cache_tensor){.role = t->role, .type = t->type, .n_rows = t->n_rows, .n_cols = t->n_cols};
    u->sources[at] = native_source_tensor(c->o.source, t);
}

static yl_status make_units(native_cache *c, const frame_tensor *tensors, uint32_t n, yl_error *err)
{
    c->units = calloc(n, sizeof *c->units);
    c->places = calloc(n, sizeof *c->places);
    if (!c->units || !c->places) return yl_fail(err, YL_ENOMEM, "no memory for a list of cache files");
    c->n_tensors = n;
    for (uint32_t i = 0; i < n; i++) {
        tile_cache_unit kind;
        c->places[i] = (place){UINT32_MAX, tensors[i].role};
        if (!tile_cache_unit_of(tensors[i].role, &kind)) continue;
        unit *u = find_unit(c, kind, tensors[i].layer);
        add_to_unit(c, u, &tensors[i]);
        c->places[i].unit = (uint32_t)(u - c->units);
    }
    for (uint32_t i = 0; i < c->n_units; i++) {
        yl_status status = tile_cache_plan(&c->units[i].head, err);
        if (status) return status;
    }
    return YL_OK;
}

static bool is_complete(const unit *u)
{
    for (uint32_t i = 0; i < u->head.n_tensors; i++) {
        if (!u->sources[i]) return false;
    }
    return true;
}

static size_t tensor_number(const native_cache *c, const gguf_tensor *t)
{
    const gguf *model = native_source_model(c->o.source);
    size_t i = 0;
    while (gguf_tensor_at(model, i) != t) i++;
    return i;
}

/* ---- hashing ---- */

static yl_status list_unhashed(native_cache *c, yl_error *err)
{
    c->to_hash = calloc(c->n_tensors, sizeof *c->to_hash);
    if (!c->to_hash) return yl_fail(err, YL_ENOMEM, "no memory to hash tensors");
    for (uint32_t i = 0; i < c->n_units; i++) {
        const unit *u = &c->units[i];
        for (uint32_t k = 0; k < u->head.n_tensors && is_complete(u); k++) {
            if (tile_cache_index_get(c->index, tensor_number(c, u->sources[k]))) continue;
            c->to_hash[c->n_to_hash++] = (native_hash){.model = native_source_model(c->o.source), .tensor = u->sources[k]};
        }
    }
    if (!c->n_to_hash) return YL_OK;
    return native_hashes_new(&c->hashes, c->to_hash, c->n_to_hash, c->o.pool, err);
}

/* Some more hashes; when all are there, keeps them. */
static void step_hashing(native_cache *c)
{
    if (!native_hashes_step(c->hashes)) return;
    for (size_t i = 0; i < c->n_to_hash; i++)
        tile_cache_index_set(c->index, tensor_number(c, c->to_hash[i].tensor), c->to_hash[i].hash);
    yl_error cause;
    if (tile_cache_index_save(c->index, &cause)) say(c, 2, "%s", cause.msg); /* making a file will tell */
    c->phase = OPENING;
}

/* ---- opening ---- */

static yl_status set_key(const native_cache *c, unit *u, yl_error *err)
{
    uint8_t hashes[TILE_CACHE_MAX_TENSORS][TILE_CACHE_HASH_BYTES];
    if (!is_complete(u)) return YL_OK;
    for (uint32_t i = 0; i < u->head.n_tensors; i++) {
        const uint8_t *hash = tile_cache_index_get(c->index, tensor_number(c, u->sources[i]));
        if (!hash) return YL_OK;
        memcpy(hashes[i], hash, sizeof hashes[i]);
    }
    yl_status status = tile_cache_set_key(&u->head, hashes, err);
    u->has_key = !status;
    return status;
}

static void open_unit(const native_cache *c, unit *u)
{
    yl_error cause;
    yl_status status = tile_file_find(&u->file, c->dir, &u->head, &cause);
    if (status) say(c, 2, "%s%s", cause.msg, c->may_make ? ": it is made anew" : "");
}

static yl_status open_units(native_cache *c, yl_error *err)
{
    yl_status status = YL_OK;
    for (uint32_t i = 0; i < c->n_units && !status; i++) {
        status = set_key(c, &c->units[i], err);
        if (!status && c->units[i].has_key) open_unit(c, &c->units[i]);
    }
    c->next = 0;
    c->phase = c->may_make && c->is_first ? MAKING : CHECKING;
    return status;
}

/* ---- making ---- */

/* Ends the file under way. A cache that takes no file is not worth failing for, a model with a bad number is. */
static yl_status give_up(native_cache *c, yl_status status, const yl_error *cause, yl_error *err)
{
    native_maker_free(c->maker);
    c->maker = NULL;
    if (status == YL_EFORMAT) {
        if (err) *err = *cause;
        return status;
    }
    c->gave_up = true;
    say(c, 0, "%s; weights are copied to memory instead, at every start (--no-cache uses the model file in place, slower)",
        cause->msg);
    return YL_OK;
}

static yl_status step_making(native_cache *c, yl_error *err)
{
    yl_error cause;
    yl_status status = YL_OK;
    unit *u = &c->units[c->next];
    if (!c->maker) {
        for (; c->next < c->n_units && (u->file || !u->has_key || c->gave_up); u = &c->units[c->next]) c->next++;
        if (c->next == c->n_units) {
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
    for (; c->next < c->n_units && !c->units[c->next].file; c->next++) c->next_chunk = 0;
    if (c->next == c->n_units) {
        c->next = 0;
        c->phase = c->may_make ? MAKING : DONE;
        return;
    }
    unit *u = &c->units[c->next];
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
    native_hashes_free(c->hashes);
    native_maker_free(c->maker);
    for (uint32_t i = 0; i < c->n_units; i++) tile_file_close(c->units[i].file);
    free(c->to_hash);
    free(c->units);
    free(c->places);
    c->hashes = NULL;
    c->maker = NULL;
    c->to_hash = NULL;
    c->units = NULL;
    c->places = NULL;
    c->n_to_hash = 0;
    c->n_units = c->n_tensors = c->next = 0;
    c->next_chunk = 0;
}

static yl_status begin(void *ctx, uint64_t epoch, const frame_tensor *tensors, uint32_t n, bool may_make, yl_error *err)
{
    native_cache *c = ctx;
    c->epoch = epoch;
    c->may_make = may_make;
    c->phase = OPENING;
    yl_status status = make_units(c, tensors, n, err);
    if (!status && may_make) status = list_unhashed(c, err);
    if (!status && c->hashes) c->phase = HASHING;
    if (status) end(c);
    return status;
}

/* All is there that will be: says so, and has checked what was neither just made nor checked already. */
static void begin_use(native_cache *c)
{
    tile_file **files = calloc(c->n_units + 1, sizeof *files); /* NULL: they go unchecked */
    size_t n = 0, n_found = 0, n_made = 0;
    uint64_t n_bytes = 0;
    for (uint32_t i = 0; i < c->n_units; i++) {
        const unit *u = &c->units[i];
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
    if (c->phase == DONE || !c->n_units) return 1;
    if (c->phase == HASHING) return begins_at * native_hashes_share(c->hashes);
    for (uint32_t i = 0; i < c->n_units; i++) {
        all += c->units[i].head.file_bytes;
        if (i < c->next) n_bytes += c->units[i].head.file_bytes;
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

static const uint8_t *find(void *ctx, uint32_t i)
{
    const native_cache *c = ctx;
    const place *p = &c->places[i];
    if (p->unit == UINT32_MAX || !c->units[p->unit].file) return NULL;
    const unit *u = &c->units[p->unit];
    uint32_t k = 0;
    while (u->head.tensors[k].role != p->role) k++;
    return tile_file_tensor(u->file, k);
}

yl_status native_cache_new(native_cache **out, const native_cache_options *options, yl_error *err)
{
    *out = NULL;
    native_cache *c = calloc(1, sizeof *c);
    if (!c) return yl_fail(err, YL_ENOMEM, "no memory for the weight cache");
    c->o = *options;
    c->is_first = true;
    yl_status status = tile_cache_open(&c->dir, options->dir, options->max_bytes, err);
    if (!status)
        status =
            tile_cache_index_open(&c->index, c->dir, native_source_model(options->source), native_source_id(options->source), err);
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
    return (weight_store){.begin = begin, .step = step, .find = find, .end = end, .ctx = c};
}
