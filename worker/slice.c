/* slice.c: a checked list of tensors, and where the bytes of each one are.
 *
 * The list comes from a peer, so it is held against what the range must have before anything is allocated for it: every tensor that
 * a slice can have has a slot (16 a layer, then the four of the whole model), a slot is wanted or not, and a tensor of the list
 * takes its slot once. A slot that is wanted, taken by nobody and not optional is a missing tensor. A tensor then gets its bytes in
 * one of two ways, in place or by chunks, and when it has them all its view appears in layer_weights. Those views are all that the
 * forward pass ever sees.
 * Chunks of a matrix that shall lie in tiles are put in their place at once, whatever their order: no second copy is ever held. */
#include "slice.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "tile.h"

/* What a slot holds: one of these, or SLOT_TAKEN + index of a tensor. */
enum { SLOT_UNWANTED = 0, SLOT_WANTED = 1, SLOT_TAKEN = 2 };

typedef struct slice_entry {
    frame_tensor info;
    uint64_t n_bytes;
    size_t row_bytes;
    const uint8_t *data;  /* all of them; NULL until loaded */
    matrix_layout layout; /* of memory of the slice's own */
    size_t n_owned;       /* its bytes */
    uint8_t *owned;       /* NULL: none */
    uint8_t *arrived;     /* [n_chunks], 1 where a chunk is in; only between the first and the last */
    size_t n_chunks, n_arrived;
} slice_entry;

struct slice {
    const allocator *alloc;
    thread_pool *pool; /* that puts chunks into tiles */
    hparams hp;
    slice_range range;
    uint32_t n_tensors, n_slots, n_layers, n_loaded;
    slice_entry *entries;  /* [n_tensors] */
    uint32_t *slots;       /* [n_slots] */
    layer_weights *layers; /* [n_layers] */
    matrix token_embd, output;
    const float *output_norm, *rope_factors;
};

static bool is_layer_role(tensor_role role)
{
    return role < TENSOR_LAYER_END;
}

/* The slot of a role; for a layer's role the layer must be one of the slice's. */
static uint32_t slot_of(const slice *s, tensor_role role, uint32_t layer)
{
    if (is_layer_role(role)) return (layer - s->range.layer_begin) * TENSOR_LAYER_END + role;
    return s->n_layers * TENSOR_LAYER_END + (role - TENSOR_LAYER_END);
}

/* Does (role, layer) name a slot at all? Both may be anything. */
static bool has_slot(const slice *s, tensor_role role, uint32_t layer)
{
    if ((unsigned)role >= TENSOR_ROLE_END) return false;
    if (!is_layer_role(role)) return layer == 0;
    return layer >= s->range.layer_begin && layer < s->range.layer_end;
}

/* A range that has the embedding names `output` even when the model's embeddings are tied; such a model has none. */
static void mark_wanted(slice *s)
{
    uint32_t n = slice_range_n_tensors(&s->range);
    for (uint32_t i = 0; i < n; i++) {
        slice_tensor t = slice_range_tensor_at(&s->range, &s->hp, i);
        if (t.role == TENSOR_OUTPUT && s->hp.tied_embeddings) continue;
        s->slots[slot_of(s, t.role, t.layer)] = SLOT_WANTED;
    }
}

static yl_status check_shape_and_type(slice_entry *e, const hparams *hp, const char *name, yl_error *err)
{
    const frame_tensor *t = &e->info;
    tensor_spec spec = hparams_tensor_spec(hp, t->role);
    if (t->n_rows != spec.n_rows || t->n_cols != spec.n_cols)
        return yl_fail(err, YL_EFORMAT,
                       "the slice's tensor %s is announced as %" PRIu64 " x %" PRIu64 ", this model's has %" PRIu64 " x %" PRIu64,
                       name, t->n_rows, t->n_cols, spec.n_rows, spec.n_cols);
    if (spec.is_vector && t->type != QUANT_F32)
        return yl_fail(err, YL_EFORMAT, "the slice's tensor %s is announced as %s, it must be F32", name, quant_type_name(t->type));
    uint64_t row_bytes;
    if (!quant_row_bytes(t->type, t->n_cols, &row_bytes))
        return yl_fail(err, YL_EFORMAT, "the slice's tensor %s is announced as %s, which rows of %" PRIu64 " weights cannot be",
                       name, quant_type_name(t->type), t->n_cols);
    if (__builtin_mul_overflow(row_bytes, t->n_rows, &e->n_bytes) || e->n_bytes > SIZE_MAX)
        return yl_fail(err, YL_ELIMIT, "the slice's tensor %s is larger than this machine's addresses", name);
    e->row_bytes = (size_t)row_bytes;
    e->layout = MATRIX_ROWS;
    e->n_owned = (size_t)e->n_bytes;
    e->n_chunks = (size_t)((e->n_bytes - 1) / FRAME_CHUNK_BYTES + 1);
    return YL_OK;
}

/* Gives tensor i its slot. */
static yl_status add_tensor(slice *s, uint32_t i, const frame_tensor *t, yl_error *err)
{
    char name[TENSOR_NAME_BYTES];
    if (!has_slot(s, t->role, t->layer))
        return yl_fail(err, YL_EFORMAT,
                       "tensor %" PRIu32 " of the slice's list has role %u and layer %" PRIu32 ", layers here are %" PRIu32
                       " to %" PRIu32,
                       i, (unsigned)t->role, t->layer, s->range.layer_begin, s->range.layer_end);
    tensor_role_name(name, t->role, t->layer);
    uint32_t *slot = &s->slots[slot_of(s, t->role, t->layer)];
    if (*slot == SLOT_UNWANTED) return yl_fail(err, YL_EFORMAT, "the slice's list has %s, which the slice does not use", name);
    if (*slot != SLOT_WANTED) return yl_fail(err, YL_EFORMAT, "the slice's list has %s twice", name);
    *slot = SLOT_TAKEN + i;
    s->entries[i].info = *t;
    return check_shape_and_type(&s->entries[i], &s->hp, name, err);
}

static yl_status check_none_missing(const slice *s, yl_error *err)
{
    uint32_t n = slice_range_n_tensors(&s->range);
    for (uint32_t i = 0; i < n; i++) {
        slice_tensor t = slice_range_tensor_at(&s->range, &s->hp, i);
        if (s->slots[slot_of(s, t.role, t.layer)] != SLOT_WANTED) continue;
        if (hparams_tensor_spec(&s->hp, t.role).optional) continue;
        char name[TENSOR_NAME_BYTES];
        return yl_fail(err, YL_EFORMAT, "the slice's list lacks %s", tensor_role_name(name, t.role, t.layer));
    }
    return YL_OK;
}

static yl_status allocate(slice *s, yl_error *err)
{
    s->entries = allocator_array(s->alloc, s->n_tensors, sizeof *s->entries);
    s->slots = allocator_array(s->alloc, s->n_slots, sizeof *s->slots);
    if (s->n_layers > 0) s->layers = allocator_array(s->alloc, s->n_layers, sizeof *s->layers);
    if (!s->entries || !s->slots || (s->n_layers > 0 && !s->layers))
        return yl_fail(err, YL_ENOMEM, "no memory for the list of the slice's %" PRIu32 " tensors", s->n_tensors);
    return YL_OK;
}

yl_status slice_new(slice **out, const hparams *hp, const slice_range *range, const frame_tensor *tensors, uint32_t n_tensors,
                    const allocator *alloc, yl_error *err)
{
    *out = NULL;
    yl_status status = hparams_check(hp, err);
    if (!status) status = slice_range_check(range, hp, err);
    if (status) return status;
    if (n_tensors == 0 || n_tensors > slice_range_n_tensors(range))
        return yl_fail(err, YL_EFORMAT, "the slice's list has %" PRIu32 " tensors, it must be 1 to %" PRIu32, n_tensors,
                       slice_range_n_tensors(range));
    slice *s = allocator_array(alloc, 1, sizeof *s);
    if (!s) return yl_fail(err, YL_ENOMEM, "no memory for a slice");
    s->alloc = alloc;
    s->hp = *hp;
    s->range = *range;
    s->n_tensors = n_tensors;
    s->n_layers = range->layer_end - range->layer_begin;
    s->n_slots = s->n_layers * TENSOR_LAYER_END + (TENSOR_ROLE_END - TENSOR_LAYER_END);
    status = allocate(s, err);
    if (!status) mark_wanted(s);
    for (uint32_t i = 0; !status && i < n_tensors; i++) status = add_tensor(s, i, &tensors[i], err);
    if (!status) status = check_none_missing(s, err);
    if (status) {
        slice_free(s);
        return status;
    }
    *out = s;
    return YL_OK;
}

/* Gives back what the entry owns, so that it is as it was before its first byte. */
static void drop_bytes(const slice *s, slice_entry *e)
{
    allocator_release_array(s->alloc, e->owned, 1, e->n_owned);
    allocator_release_array(s->alloc, e->arrived, e->n_chunks, 1);
    e->owned = e->arrived = NULL;
    e->n_arrived = 0;
}

void slice_free(slice *s)
{
    if (!s) return;
    for (uint32_t i = 0; s->entries && i < s->n_tensors; i++) drop_bytes(s, &s->entries[i]);
    allocator_release_array(s->alloc, s->entries, s->n_tensors, sizeof *s->entries);
    allocator_release_array(s->alloc, s->slots, s->n_slots, sizeof *s->slots);
    allocator_release_array(s->alloc, s->layers, s->n_layers, sizeof *s->layers);
    allocator_release_array(s->alloc, s, 1, sizeof *s);
}

uint32_t slice_n_tensors(const slice *s)
{
    return s->n_tensors;
}

const frame_tensor *slice_tensor_info(const slice *s, uint32_t i)
{
    assert(i < s->n_tensors);
    return &s->entries[i].info;
}

uint64_t slice_tensor_bytes(const slice *s, uint32_t i)
{
    assert(i < s->n_tensors);
    return s->entries[i].n_bytes;
}

uint64_t slice_total_bytes(const slice *s)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < s->n_tensors; i++) {
        if (__builtin_add_overflow(total, s->entries[i].n_bytes, &total)) return UINT64_MAX;
    }
    return total;
}

uint64_t slice_memory_bytes(const slice *s)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < s->n_tensors; i++) {
        if (__builtin_add_overflow(total, s->entries[i].n_owned, &total)) return UINT64_MAX;
    }
    return total;
}

uint64_t slice_tensor_memory_bytes(const slice *s, uint32_t i)
{
    assert(i < s->n_tensors);
    return s->entries[i].n_owned;
}

void slice_set_tiles(slice *s, thread_pool *pool)
{
    s->pool = pool;
    for (uint32_t i = 0; i < s->n_tensors; i++) {
        slice_entry *e = &s->entries[i];
        assert(!e->data && !e->owned);
        uint64_t n_bytes;
        if (hparams_tensor_spec(&s->hp, e->info.role).is_vector) continue;
        if (!tile_matrix_bytes(e->info.type, e->info.n_rows, e->info.n_cols, &n_bytes) || n_bytes > SIZE_MAX) continue;
        e->layout = MATRIX_TILES;
        e->n_owned = (size_t)n_bytes;
    }
}

uint64_t slice_owned_bytes(const slice *s)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < s->n_tensors; i++) total += s->entries[i].owned ? s->entries[i].n_owned : 0;
    return total;
}

/* Where the view of a role's matrix belongs; NULL for the roles of vectors. */
static matrix *matrix_place(slice *s, tensor_role role, layer_weights *w)
{
    switch (role) {
    case TENSOR_ATTN_Q: return &w->attn_q;
    case TENSOR_ATTN_K: return &w->attn_k;
    case TENSOR_ATTN_V: return &w->attn_v;
    case TENSOR_ATTN_OUTPUT: return &w->attn_output;
    case TENSOR_FFN_GATE: return &w->ffn_gate;
    case TENSOR_FFN_UP: return &w->ffn_up;
    case TENSOR_FFN_DOWN: return &w->ffn_down;
    case TENSOR_TOKEN_EMBD: return &s->token_embd;
    case TENSOR_OUTPUT: return &s->output;
    default: return NULL;
    }
}

/* Where the view of a role's vector belongs. */
static const float **vector_place(slice *s, tensor_role role, layer_weights *w)
{
    switch (role) {
    case TENSOR_ATTN_NORM: return &w->attn_norm;
    case TENSOR_FFN_NORM: return &w->ffn_norm;
    case TENSOR_ATTN_Q_BIAS: return &w->bias_q;
    case TENSOR_ATTN_K_BIAS: return &w->bias_k;
    case TENSOR_ATTN_V_BIAS: return &w->bias_v;
    case TENSOR_ATTN_OUTPUT_BIAS: return &w->bias_output;
    case TENSOR_FFN_GATE_BIAS: return &w->bias_gate;
    case TENSOR_FFN_UP_BIAS: return &w->bias_up;
    case TENSOR_FFN_DOWN_BIAS: return &w->bias_down;
    case TENSOR_OUTPUT_NORM: return &s->output_norm;
    case TENSOR_ROPE_FREQS: return &s->rope_factors;
    default: return NULL;
    }
}

/* Shows a tensor's bytes to the forward pass. layout: of a matrix. */
static void show(slice *s, slice_entry *e, const uint8_t *data, matrix_layout layout)
{
    const frame_tensor *t = &e->info;
    layer_weights *w = is_layer_role(t->role) ? &s->layers[t->layer - s->range.layer_begin] : NULL;
    matrix *m = matrix_place(s, t->role, w);
    if (m)
        *m = (matrix){.type = t->type,
                      .n_rows = (uint32_t)t->n_rows,
                      .n_cols = (uint32_t)t->n_cols,
                      .row_bytes = e->row_bytes,
                      .data = data,
                      .layout = layout};
    else
        *vector_place(s, t->role, w) = (const float *)(const void *)data;
    e->data = data;
}

/* All bytes of the tensor are there. */
static void set_loaded(slice *s, slice_entry *e, const uint8_t *data, matrix_layout layout)
{
    show(s, e, data, layout);
    s->n_loaded++;
}

static yl_status check_has_no_bytes(const slice *s, uint32_t i, yl_error *err)
{
    if (i >= s->n_tensors) return yl_fail(err, YL_EINVAL, "there is no tensor %" PRIu32 " in a slice of %" PRIu32, i, s->n_tensors);
    const slice_entry *e = &s->entries[i];
    char name[TENSOR_NAME_BYTES];
    if (!e->data && !e->owned) return YL_OK;
    return yl_fail(err, YL_EINVAL, "the slice's tensor %s has bytes already", tensor_role_name(name, e->info.role, e->info.layer));
}

static yl_status take_memory(const slice *s, slice_entry *e, yl_error *err)
{
    char name[TENSOR_NAME_BYTES];
    e->owned = allocator_array(s->alloc, 1, e->n_owned);
    if (e->owned) return YL_OK;
    return yl_fail(err, YL_ENOMEM, "no memory for %" PRIu64 " bytes of tensor %s", e->n_bytes,
                   tensor_role_name(name, e->info.role, e->info.layer));
}

yl_status slice_use(slice *s, uint32_t i, const uint8_t *data, yl_error *err)
{
    yl_status status = check_has_no_bytes(s, i, err);
    if (status) return status;
    slice_entry *e = &s->entries[i];
    bool is_vector = hparams_tensor_spec(&s->hp, e->info.role).is_vector;
    if (is_vector && (uintptr_t)data % sizeof(float) != 0) {
        status = take_memory(s, e, err);
        if (status) return status;
        data = memcpy(e->owned, data, (size_t)e->n_bytes);
    }
    set_loaded(s, e, data, MATRIX_ROWS);
    return YL_OK;
}

yl_status slice_use_tiles(slice *s, uint32_t i, const uint8_t *tiles, yl_error *err)
{
    yl_status status = check_has_no_bytes(s, i, err);
    assert((uintptr_t)tiles % TILE_ALIGNMENT == 0);
    if (!status) set_loaded(s, &s->entries[i], tiles, s->entries[i].layout);
    return status;
}

enum { COPY_BYTES = 1 << 20 };

/* A copy under way: what the threads are handed. */
typedef struct tile_copy {
    uint8_t *to;
    const uint8_t *from;
    size_t n_bytes;
} tile_copy;

static void copy_some(void *arg, size_t begin, size_t end, uint32_t thread)
{
    (void)thread;
    const tile_copy *c = arg;
    size_t from = begin * COPY_BYTES, to = end * COPY_BYTES;
    if (to > c->n_bytes) to = c->n_bytes;
    memcpy(c->to + from, c->from + from, to - from);
}

yl_status slice_copy_tiles(slice *s, uint32_t i, const uint8_t *tiles, yl_error *err)
{
    yl_status status = check_has_no_bytes(s, i, err);
    slice_entry *e = status ? NULL : &s->entries[i];
    if (!status) status = take_memory(s, e, err);
    if (status) return status;
    tile_copy c = {e->owned, tiles, e->n_owned};
    thread_pool_run(s->pool, (e->n_owned - 1) / COPY_BYTES + 1, 1, copy_some, &c);
    set_loaded(s, e, e->owned, e->layout);
    return YL_OK;
}

static yl_status check_chunk(const slice_entry *e, const char *name, uint64_t offset, size_t n_bytes, yl_error *err)
{
    if (e->data) return yl_fail(err, YL_EFORMAT, "a chunk of tensor %s came, which has all its bytes", name);
    if (offset % FRAME_CHUNK_BYTES != 0 || offset >= e->n_bytes)
        return yl_fail(err, YL_EFORMAT,
                       "a chunk of tensor %s came for byte %" PRIu64 ", the tensor has %" PRIu64 " in chunks of %d", name, offset,
                       e->n_bytes, FRAME_CHUNK_BYTES);
    uint64_t rest = e->n_bytes - offset, want = rest < FRAME_CHUNK_BYTES ? rest : FRAME_CHUNK_BYTES;
    if (n_bytes != want)
        return yl_fail(err, YL_EFORMAT, "a chunk of tensor %s at byte %" PRIu64 " has %zu bytes, it must have %" PRIu64, name,
                       offset, n_bytes, want);
    if (e->arrived && e->arrived[offset / FRAME_CHUNK_BYTES])
        return yl_fail(err, YL_EFORMAT, "the chunk of tensor %s at byte %" PRIu64 " came twice", name, offset);
    return YL_OK;
}

/* Memory for a tensor whose first chunk is here. */
static yl_status begin_chunks(const slice *s, slice_entry *e, const char *name, yl_error *err)
{
    yl_status status = take_memory(s, e, err);
    if (status) return status;
    e->arrived = allocator_array(s->alloc, e->n_chunks, 1);
    if (e->arrived) return YL_OK;
    drop_bytes(s, e);
    return yl_fail(err, YL_ENOMEM, "no memory for %" PRIu64 " bytes of tensor %s", e->n_bytes, name);
}

/* A chunk on its way into tiles: what the threads are handed. Each does some of the tiles that the chunk touches. */
typedef struct tile_write {
    const slice_entry *e;
    size_t offset, n_bytes; /* of the matrix's bytes as GGUF has them */
    const uint8_t *data;
} tile_write;

static void write_tiles(void *arg, size_t begin, size_t end, uint32_t thread)
{
    const tile_write *w = arg;
    const frame_tensor *t = &w->e->info;
    (void)thread;
    size_t tile_rows_bytes = TILE_ROWS * w->e->row_bytes, first = w->offset / tile_rows_bytes, chunk_end = w->offset + w->n_bytes;
    size_t from = (first + begin) * tile_rows_bytes, to = (first + end) * tile_rows_bytes;
    if (from < w->offset) from = w->offset;
    if (to > chunk_end) to = chunk_end;
    tile_put(w->e->owned, t->type, (size_t)t->n_rows, (size_t)t->n_cols, from, w->data + (from - w->offset), to - from);
}

static void write_bytes(thread_pool *pool, const slice_entry *e, size_t offset, const uint8_t *data, size_t n_bytes)
{
    if (e->layout == MATRIX_ROWS) {
        memcpy(e->owned + offset, data, n_bytes);
        return;
    }
    tile_write w = {e, offset, n_bytes, data};
    size_t tile_rows_bytes = TILE_ROWS * e->row_bytes;
    size_t n_tiles = (offset + n_bytes - 1) / tile_rows_bytes - offset / tile_rows_bytes + 1;
    thread_pool_run(pool, n_tiles, 1, write_tiles, &w);
}

/* Index of the first block with a scale that is not finite, or n_blocks, by the order of GGUF. */
static size_t find_bad_block(const slice_entry *e, size_t n_blocks)
{
    const frame_tensor *t = &e->info;
    if (e->layout == MATRIX_ROWS) return quant_check_finite(t->type, e->owned, n_blocks);
    size_t one = tile_bytes(t->type, (size_t)t->n_cols), n_tiles = e->n_owned / one, a_row = n_blocks / (size_t)t->n_rows;
    size_t bad = tile_check_finite(t->type, e->owned, n_tiles, (size_t)t->n_cols);
    if (bad == n_tiles) return n_blocks;
    for (size_t i = bad * TILE_ROWS * a_row; i < n_blocks; i++) {
        uint8_t block[QUANT_BLOCK_MAX];
        tile_get_block(block, t->type, e->owned + bad * one, i / a_row - bad * TILE_ROWS, i % a_row);
        if (quant_check_finite(t->type, block, 1) == 0) return i;
    }
    return n_blocks;
}

static yl_status finish_chunks(slice *s, slice_entry *e, const char *name, yl_error *err)
{
    const quant_traits *traits = quant_traits_of(e->info.type);
    size_t n_blocks = (size_t)e->n_bytes / traits->block_bytes;
    size_t bad = find_bad_block(e, n_blocks);
    if (bad < n_blocks) {
        drop_bytes(s, e);
        return yl_fail(err, YL_EFORMAT, "tensor %s: block %zu of %zu is not a finite number. Is the model file damaged?", name, bad,
                       n_blocks);
    }
    allocator_release_array(s->alloc, e->arrived, e->n_chunks, 1);
    e->arrived = NULL;
    set_loaded(s, e, e->owned, e->layout);
    return YL_OK;
}

static yl_status write_chunk(slice *s, thread_pool *pool, uint32_t i, uint64_t offset, const uint8_t *data, size_t n_bytes,
                             yl_error *err)
{
    if (i >= s->n_tensors)
        return yl_fail(err, YL_EFORMAT, "a chunk of tensor %" PRIu32 " came, the slice has %" PRIu32 " tensors", i, s->n_tensors);
    slice_entry *e = &s->entries[i];
    char name[TENSOR_NAME_BYTES];
    tensor_role_name(name, e->info.role, e->info.layer);
    yl_status status = check_chunk(e, name, offset, n_bytes, err);
    if (!status && !e->owned) status = begin_chunks(s, e, name, err);
    if (status) return status;
    write_bytes(pool, e, (size_t)offset, data, n_bytes);
    e->arrived[offset / FRAME_CHUNK_BYTES] = 1;
    return ++e->n_arrived == e->n_chunks ? finish_chunks(s, e, name, err) : YL_OK;
}

yl_status slice_write(slice *s, uint32_t i, uint64_t offset, const uint8_t *data, size_t n_bytes, yl_error *err)
{
    return write_chunk(s, s->pool, i, offset, data, n_bytes, err);
}

yl_status slice_write_alone(slice *s, uint32_t i, uint64_t offset, const uint8_t *data, size_t n_bytes, yl_error *err)
{
    return write_chunk(s, NULL, i, offset, data, n_bytes, err);
}

void slice_forget(slice *s, uint32_t i)
{
    assert(i < s->n_tensors && !s->entries[i].data);
    drop_bytes(s, &s->entries[i]);
}

const uint8_t *slice_owned_tensor(const slice *s, uint32_t i)
{
    assert(i < s->n_tensors);
    return s->entries[i].data ? s->entries[i].owned : NULL;
}

void slice_move(slice *s, uint32_t i, const uint8_t *tiles)
{
    slice_entry *e = &s->entries[i];
    assert(slice_owned_tensor(s, i) && (uintptr_t)tiles % TILE_ALIGNMENT == 0);
    show(s, e, tiles, e->layout);
    drop_bytes(s, e);
}

bool slice_tensor_is_loaded(const slice *s, uint32_t i)
{
    assert(i < s->n_tensors);
    return s->entries[i].data != NULL;
}

bool slice_is_loaded(const slice *s)
{
    return s->n_loaded == s->n_tensors;
}

const hparams *slice_hparams(const slice *s)
{
    return &s->hp;
}

const slice_range *slice_range_of(const slice *s)
{
    return &s->range;
}

const layer_weights *slice_layer(const slice *s, uint32_t layer)
{
    assert(layer >= s->range.layer_begin && layer < s->range.layer_end);
    return &s->layers[layer - s->range.layer_begin];
}

const matrix *slice_token_embd(const slice *s)
{
    return &s->token_embd;
}

const float *slice_output_norm(const slice *s)
{
    return s->output_norm;
}

const matrix *slice_output(const slice *s)
{
    return s->hp.tied_embeddings ? &s->token_embd : &s->output;
}

const float *slice_rope_factors(const slice *s)
{
    return s->rope_factors;
}
