/* bench_cost.c: adding up tensors by what they are used for. */
#include "bench_cost.h"

/* What a row costs in a part of the model: layers, or the head. */
typedef struct part_cost {
    double bytes, macs_int8, macs_f32;
} part_cost;

static void add_tensor(part_cost *c, const gguf *g, const hparams *hp, tensor_role role, uint32_t layer)
{
    const gguf_tensor *t = NULL;
    if (hparams_find_tensor(&t, g, hp, role, layer, NULL) || !t) return;
    c->bytes += (double)t->n_bytes;
    if (t->n_dims < 2) return;
    double macs = (double)t->ne[0] * (double)t->ne[1];
    *(quant_traits_of(t->type)->act_block > 0 ? &c->macs_int8 : &c->macs_f32) += macs;
}

static part_cost layers_cost(const gguf *g, const hparams *hp)
{
    part_cost c = {0};
    for (uint32_t layer = 0; layer < hp->n_layer; layer++)
        for (int role = 0; role < TENSOR_LAYER_END; role++) add_tensor(&c, g, hp, (tensor_role)role, layer);
    return c;
}

static part_cost head_cost(const gguf *g, const hparams *hp)
{
    part_cost c = {0};
    add_tensor(&c, g, hp, hp->tied_embeddings ? TENSOR_TOKEN_EMBD : TENSOR_OUTPUT, 0);
    add_tensor(&c, g, hp, TENSOR_OUTPUT_NORM, 0);
    return c;
}

static double kv_bytes_a_position(const hparams *hp, const bench_setup *s)
{
    double page = (double)kv_run_bytes(s->type_k, hp->n_embd_head) + (double)kv_run_bytes(s->type_v, hp->n_embd_head);
    return (double)hp->n_layer * hp->n_head_kv * page / KV_PAGE_POSITIONS;
}

bench_cost bench_cost_of(const bench_test *t, const gguf *g, const hparams *hp)
{
    part_cost layers = layers_cost(g, hp), head = head_cost(g, hp);
    double n = t->n_tokens, n_seq = t->n_parallel, n_rows = n * n_seq;
    double n_past = t->n_depth + (n + 1) / 2; /* positions that a row attends to, on average */
    /* Generating, all sequences' rows go together, n times; rows of prompts go in micro-batches. */
    double n_passes = t->kind == BENCH_GENERATE ? n : (double)(((uint64_t)n_rows + t->setup.n_ubatch - 1) / t->setup.n_ubatch);
    double n_heads = t->kind == BENCH_GENERATE ? n_rows : n_seq; /* rows of logits */
    double n_head_passes = t->kind == BENCH_GENERATE ? n : 1;
    double n_kv_reads = t->kind == BENCH_GENERATE ? n_rows : n_passes;
    double attention_macs = 2.0 * hp->n_layer * hp->n_head * hp->n_embd_head * n_past * n_rows;
    return (bench_cost){.bytes = n_passes * layers.bytes + n_head_passes * head.bytes +
                                 n_kv_reads * n_past * kv_bytes_a_position(hp, &t->setup),
                        .macs_int8 = n_rows * layers.macs_int8 + n_heads * head.macs_int8,
                        .macs_f32 = n_rows * layers.macs_f32 + n_heads * head.macs_f32 + attention_macs};
}

uint32_t bench_cost_n_threads(const bench_test *t)
{
    uint64_t n_pieces = t->n_parallel; /* that may be in different workers */
    if (t->kind == BENCH_PROMPT) n_pieces = ((uint64_t)t->n_parallel * t->n_tokens + t->setup.n_ubatch - 1) / t->setup.n_ubatch;
    uint32_t n_busy = n_pieces < t->setup.n_local ? (uint32_t)n_pieces : t->setup.n_local;
    return n_busy * t->setup.n_threads;
}

bench_floor bench_cost_floor(const bench_cost *c, const machine_limits *limits, bench_pages pages)
{
    double bandwidth = pages == BENCH_PAGES_HUGE ? limits->read_huge_pages : limits->read_small_pages;
    double read = c->bytes / bandwidth, compute = c->macs_int8 / limits->dot_int8 + c->macs_f32 / limits->multiply_add_f32;
    if (read > compute) return (bench_floor){read, BENCH_BOUND_MEMORY, bandwidth};
    return (bench_floor){compute, BENCH_BOUND_ARITHMETIC, (c->macs_int8 + c->macs_f32) / compute};
}
