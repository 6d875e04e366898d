/* model_costs.c: the tensors of each part, added up.
 *
 * Workers compute their own memory exactly. What is said here of weights and KV cache is the same to the byte; of scratch it is an
 * upper estimate by the dimensions that matter, because how a worker lays it out is the worker's business. */
#include "model_costs.h"

#include "attention.h"

#include <inttypes.h>
#include <stdlib.h>

#include "tile.h"

enum {
    TILE_OF_ROWS = 128,          /* rows that a worker works on at a time */
    PROCESS_BYTES = 24 << 20,    /* of a worker without a slice, and of frames on their way */
    PAGE_BOOKKEEPING_BYTES = 16, /* of the KV cache, a page */
    WORST_THREADS = 256
};

static bool multiply(uint64_t *product, uint64_t factor)
{
    return !__builtin_mul_overflow(*product, factor, product);
}

static bool add(uint64_t *sum, uint64_t n)
{
    return !__builtin_add_overflow(*sum, n, sum);
}

/* Adds a tensor to what a unit costs; one that is optional and absent costs nothing. */
static yl_status add_tensor(placement_unit *unit, const gguf *g, const hparams *hp, tensor_role role, uint32_t layer, yl_error *err)
{
    const gguf_tensor *t;
    yl_status status = hparams_find_tensor(&t, g, hp, role, layer, err);
    if (status || !t) return status;
    uint64_t memory = t->n_bytes, macs = 0;
    if (!hparams_tensor_spec(hp, role).is_vector) {
        macs = t->ne[0] * t->ne[1];
        if (!tile_matrix_bytes(t->type, t->ne[1], t->ne[0], &memory)) memory = t->n_bytes;
    }
    if (!add(&unit->memory_bytes, memory) || !add(&unit->read_bytes, t->n_bytes) || !add(&unit->macs, macs))
        return yl_fail(err, YL_ELIMIT, "tensor '%s' is larger than can be counted", t->name);
    return YL_OK;
}

static yl_status read_layers(model_costs *c, const gguf *g, const hparams *hp, yl_error *err)
{
    c->layers = calloc(hp->n_layer, sizeof *c->layers);
    if (!c->layers) return yl_fail(err, YL_ENOMEM, "no memory for the costs of %" PRIu32 " layers", hp->n_layer);
    c->model.layers = c->layers;
    yl_status status = YL_OK;
    for (uint32_t i = 0; i < hp->n_layer && !status; i++) {
        for (int role = 0; role < TENSOR_LAYER_END && !status; role++)
            status = add_tensor(&c->layers[i], g, hp, (tensor_role)role, i, err);
    }
    placement_unit shared = {0};
    if (!status) status = add_tensor(&shared, g, hp, TENSOR_ROPE_FREQS, 0, err);
    c->model.shared_bytes = shared.memory_bytes;
    return status;
}

/* Of the embedding one row is read for each row. */
static yl_status read_ends(model_costs *c, const gguf *g, const hparams *hp, yl_error *err)
{
    placement_unit *embd = &c->model.embd, *head = &c->model.head;
    yl_status status = add_tensor(embd, g, hp, TENSOR_TOKEN_EMBD, 0, err);
    embd->read_bytes /= hp->n_vocab;
    embd->macs = 0;
    if (!status) status = add_tensor(head, g, hp, TENSOR_OUTPUT_NORM, 0, err);
    if (!status) status = add_tensor(head, g, hp, hp->tied_embeddings ? TENSOR_TOKEN_EMBD : TENSOR_OUTPUT, 0, err);
    return status;
}

static yl_status read_kv(model_costs *c, const hparams *hp, const model_use *use, yl_error *err)
{
    uint64_t page = kv_run_bytes(use->type_k, hp->n_embd_head) + kv_run_bytes(use->type_v, hp->n_embd_head);
    uint64_t row = hp->n_head_kv * (page / KV_PAGE_POSITIONS);
    uint64_t n_pages = ((uint64_t)use->n_ctx + KV_PAGE_POSITIONS - 1) / KV_PAGE_POSITIONS * use->n_seq, whole = n_pages;
    c->model.kv_row_bytes = row;
    c->model.kv_row_macs = 2 * (uint64_t)hp->n_head * hp->n_embd_head;
    if (!multiply(&whole, KV_PAGE_POSITIONS) || !multiply(&whole, row))
        return yl_fail(err, YL_ELIMIT, "a KV cache of %" PRIu32 " sequences of %" PRIu32 " positions is larger than can be counted",
                       use->n_seq, use->n_ctx);
    c->model.kv_layer_bytes = whole;
    c->fixed_bytes += n_pages * PAGE_BOOKKEEPING_BYTES;
    return YL_OK;
}

/* The process; activations of a tile of rows in the forms that kernels read, attention's scores, RoPE's angles. */
uint64_t model_costs_fixed_bytes(const hparams *hp, const model_use *use)
{
    uint64_t n_q = (uint64_t)hp->n_head * hp->n_embd_head, n_kv = (uint64_t)hp->n_head_kv * hp->n_embd_head;
    uint64_t n_input = n_q > hp->n_ff ? n_q : hp->n_ff;
    if (hp->n_embd > n_input) n_input = hp->n_embd;
    uint64_t row = 4 * (2 * (uint64_t)hp->n_embd + 2 * n_q + 2 * n_kv + 2 * (uint64_t)hp->n_ff) + 10 * n_input;
    uint64_t n_threads = use->n_threads && use->n_threads < WORST_THREADS ? use->n_threads : WORST_THREADS;
    uint64_t n_positions = (uint64_t)use->n_ctx + KV_PAGE_POSITIONS;
    uint64_t n_group = hp->n_head / hp->n_head_kv;
    uint64_t scores =
        n_threads * 4 * attention_scratch_floats(n_group * attention_rows((uint32_t)n_group), n_positions, hp->n_embd_head);
    return PROCESS_BYTES + TILE_OF_ROWS * row + scores + n_positions * (4 * (uint64_t)hp->n_rot + 1);
}

yl_status model_costs_read(model_costs *out, const gguf *g, const hparams *hp, const model_use *use, yl_error *err)
{
    *out = (model_costs){.model = {.n_layer = hp->n_layer, .n_embd = hp->n_embd, .tied_embeddings = hp->tied_embeddings},
                         .fixed_bytes = model_costs_fixed_bytes(hp, use)};
    yl_status status = read_layers(out, g, hp, err);
    if (!status) status = read_ends(out, g, hp, err);
    if (!status) status = read_kv(out, hp, use, err);
    return status;
}

void model_costs_clear(model_costs *c)
{
    free(c->layers);
    *c = (model_costs){0};
}
