/* forward_chain.h: a model cut into stages in this process, for the tests of the forward pass. */
#ifndef YL_FORWARD_CHAIN_H
#define YL_FORWARD_CHAIN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "forward.h"
#include "toy_model.h"

enum { N_CTX = 320, MAX_STAGES = 8, MAX_LIST = 100, N_PROMPT = 150 };

/* ---- models ---- */

/* Nothing is a power of two: 3 heads of 20 on one KV head, of which 12 turn; rows of 44 and 60. */
static inline toy_spec odd_spec(void)
{
    toy_spec spec = {.hp = {.n_vocab = 51,
                            .n_ctx_train = N_CTX,
                            .n_embd = 44,
                            .n_layer = 3,
                            .n_ff = 52,
                            .n_head = 3,
                            .n_head_kv = 1,
                            .n_embd_head = 20,
                            .n_rot = 12,
                            .rms_eps = 1e-5f,
                            .rope_freq_base = 10000,
                            .rope_type = ROPE_SCALING_LINEAR,
                            .rope_factor = 2,
                            .rope_orig_ctx = N_CTX,
                            .rope_attn_factor = 1,
                            .rope_ext_factor = 1,
                            .rope_beta_fast = 32,
                            .rope_beta_slow = 1,
                            .tied_embeddings = true},
                     .has_biases = true,
                     .has_rope_factors = true,
                     .seed = 11};
    toy_spec_set_types(&spec, QUANT_F32);
    return spec;
}

/* One type for all: 4 heads of 64 on two KV heads, rows of 256. */
static inline toy_spec square_spec(quant_type type)
{
    toy_spec spec = odd_spec();
    spec.hp.n_embd = spec.hp.n_ff = 256;
    spec.hp.n_head = 4;
    spec.hp.n_head_kv = 2;
    spec.hp.n_embd_head = spec.hp.n_rot = 64;
    spec.hp.n_layer = 2;
    spec.hp.tied_embeddings = false;
    spec.has_biases = false;
    toy_spec_set_types(&spec, type);
    return spec;
}

/* Matrices that share an input want it in different forms. */
static inline toy_spec mixed_spec(void)
{
    toy_spec spec = square_spec(QUANT_Q8_0);
    spec.types[TENSOR_ATTN_Q] = QUANT_Q4_K;
    spec.types[TENSOR_ATTN_V] = QUANT_F16;
    spec.types[TENSOR_ATTN_OUTPUT] = QUANT_Q5_1;
    spec.types[TENSOR_FFN_GATE] = QUANT_Q4_0;
    spec.types[TENSOR_FFN_UP] = QUANT_Q6_K;
    spec.types[TENSOR_FFN_DOWN] = QUANT_IQ4_XS;
    spec.types[TENSOR_OUTPUT] = QUANT_Q6_K;
    return spec;
}

static inline void make_tokens(int32_t *tokens, uint32_t n, uint32_t n_vocab, uint64_t seed)
{
    for (uint32_t i = 0; i < n; i++) tokens[i] = (int32_t)((i * 7919 + seed * 104729 + i * i * 31) % n_vocab);
}

/* ---- chains ---- */

typedef struct settings {
    uint32_t n_stages; /* 1, 2, or more: embedding, each layer and head are stages of their own */
    uint32_t n_threads;
    uint32_t n_batch, n_other; /* rows a batch of the sequence in question, and of another one that stands before it */
    kv_type kv;
    const char *isa; /* NULL: the best */
} settings;

static const settings plain = {.n_stages = 1, .n_threads = 1, .n_batch = N_PROMPT, .kv = KV_F16};

typedef struct stage {
    slice *slice;
    kv_cache *cache;
    forward *forward;
} stage;

typedef struct chain {
    const toy_model *m;
    thread_pool *pool;
    uint32_t n_stages;
    stage stages[MAX_STAGES];
} chain;

static inline slice_range range_of_stage(const hparams *hp, uint32_t n_stages, uint32_t i)
{
    uint32_t n = hp->n_layer;
    if (n_stages == 1) return (slice_range){true, true, 0, n};
    if (n_stages == 2) return i == 0 ? (slice_range){true, false, 0, 1} : (slice_range){false, true, 1, n};
    if (i == 0) return (slice_range){true, false, 0, 0};
    if (i == n_stages - 1) return (slice_range){false, true, n, n};
    return (slice_range){false, false, i - 1, i};
}

static inline yl_status stage_init(stage *s, const toy_model *m, slice_range range, kv_type kv, const kernels *k, thread_pool *pool,
                                   const allocator *alloc)
{
    frame_tensor list[MAX_LIST];
    const toy_tensor *sources[MAX_LIST];
    uint32_t n = 0;
    for (uint32_t i = 0; i < slice_range_n_tensors(&range); i++) {
        slice_tensor wanted = slice_range_tensor_at(&range, &m->hp, i);
        const toy_tensor *t = toy_model_find(m, wanted.role, wanted.layer);
        if (!t) continue;
        sources[n] = t;
        list[n++] = (frame_tensor){.role = t->role, .layer = t->layer, .type = t->type, .n_rows = t->n_rows, .n_cols = t->n_cols};
    }
    kv_cache_spec spec = {.n_layer = range.layer_end - range.layer_begin,
                          .n_head_kv = m->hp.n_head_kv,
                          .n_embd_head = m->hp.n_embd_head,
                          .n_ctx = N_CTX,
                          .n_seq = 3,
                          .type_k = kv,
                          .type_v = kv};
    *s = (stage){NULL, NULL, NULL};
    yl_status status = slice_new(&s->slice, &m->hp, &range, list, n, alloc, NULL);
    for (uint32_t i = 0; !status && i < n; i++) status = slice_use(s->slice, i, sources[i]->data, NULL);
    if (!status) status = kv_cache_new(&s->cache, &spec, alloc, NULL);
    if (!status) status = forward_new(&s->forward, s->slice, s->cache, N_CTX, k, pool, alloc, NULL);
    return status;
}

static inline void stage_clear(stage *s)
{
    forward_free(s->forward);
    kv_cache_free(s->cache);
    slice_free(s->slice);
}

static inline chain *new_chain(const toy_model *m, settings how)
{
    chain *c = calloc(1, sizeof *c);
    c->m = m;
    c->n_stages = how.n_stages <= 2 ? how.n_stages : m->hp.n_layer + 2;
    if (how.n_threads > 1) assert_int_equal(thread_pool_new(&c->pool, how.n_threads, NULL), YL_OK);
    const kernels *k = how.isa ? kernels_named(how.isa) : kernels_best();
    for (uint32_t i = 0; i < c->n_stages; i++) {
        slice_range range = range_of_stage(&m->hp, how.n_stages <= 2 ? how.n_stages : c->n_stages, i);
        assert_int_equal(stage_init(&c->stages[i], m, range, how.kv, k, c->pool, allocator_heap()), YL_OK);
    }
    return c;
}

static inline void free_chain(chain *c)
{
    for (uint32_t i = 0; i < c->n_stages; i++) stage_clear(&c->stages[i]);
    thread_pool_free(c->pool);
    free(c);
}

/* Rows through one stage. Room in the cache was made. */
static inline void run_stage(const stage *s, float *x, const forward_row *rows, const int32_t *tokens, int32_t *faults, uint32_t n)
{
    const slice_range *range = slice_range_of(s->slice);
    if (range->has_embd) forward_embed(s->forward, x, tokens, n);
    for (uint32_t layer = range->layer_begin; layer < range->layer_end; layer++)
        forward_layer(s->forward, layer, x, rows, faults, n);
}

/* What each row becomes. logits: [n, n_vocab]; faults: [n], FORWARD_NO_FAULT where none is known. */
static inline void run_rows(chain *c, const forward_row *rows, const int32_t *tokens, uint32_t n, float *logits, int32_t *faults)
{
    size_t n_embd = c->m->hp.n_embd, n_vocab = c->m->hp.n_vocab;
    float *x = calloc(n * n_embd, sizeof *x);
    for (uint32_t i = 0; i < c->n_stages; i++) {
        for (uint32_t r = 0; r < n; r++) assert_int_equal(kv_cache_append(c->stages[i].cache, rows[r].seq, 1, NULL), YL_OK);
        run_stage(&c->stages[i], x, rows, tokens, faults, n);
    }
    const stage *last = &c->stages[c->n_stages - 1];
    forward_norm(last->forward, x, x, n);
    for (uint32_t i = 0; i < n; i += FORWARD_TILE_ROWS) {
        uint32_t n_rows = n - i < FORWARD_TILE_ROWS ? n - i : FORWARD_TILE_ROWS;
        forward_logits(last->forward, logits + i * n_vocab, x + i * n_embd, faults + i, n_rows);
    }
    free(x);
}

/* n more tokens of a sequence that has n_past. */
static inline void run_tokens(chain *c, uint32_t seq, uint32_t n_past, const int32_t *tokens, uint32_t n, float *logits,
                              int32_t *faults)
{
    forward_row *rows = calloc(n, sizeof *rows);
    for (uint32_t i = 0; i < n; i++) rows[i] = (forward_row){seq, n_past + i};
    for (uint32_t i = 0; i < n; i++) faults[i] = FORWARD_NO_FAULT;
    run_rows(c, rows, tokens, n, logits, faults);
    free(rows);
}

/* A prompt of sequence 1 in batches, each behind n_other rows of sequence 0. */
typedef struct answer {
    float *logits; /* [N_PROMPT, n_vocab] */
    int32_t faults[N_PROMPT];
} answer;

static inline answer *new_answer(const toy_model *m, settings how)
{
    size_t n_vocab = m->hp.n_vocab;
    answer *a = calloc(1, sizeof *a);
    a->logits = calloc(N_PROMPT * n_vocab, sizeof *a->logits);
    int32_t tokens[N_PROMPT], other_tokens[N_CTX], batch_tokens[N_PROMPT + N_CTX], faults[N_PROMPT + N_CTX];
    forward_row rows[N_PROMPT + N_CTX];
    float *logits = calloc((N_PROMPT + N_CTX) * n_vocab, sizeof *logits);
    make_tokens(tokens, N_PROMPT, m->hp.n_vocab, 1);
    make_tokens(other_tokens, N_CTX, m->hp.n_vocab, 2);
    chain *c = new_chain(m, how);
    for (uint32_t at = 0, other_at = 0; at < N_PROMPT; at += how.n_batch) {
        uint32_t n = 0, n_mine = N_PROMPT - at < how.n_batch ? N_PROMPT - at : how.n_batch;
        for (uint32_t i = 0; i < how.n_other && other_at < N_CTX; i++, n++) {
            batch_tokens[n] = other_tokens[other_at];
            rows[n] = (forward_row){0, other_at++};
        }
        uint32_t n_before = n;
        for (uint32_t i = 0; i < n_mine; i++, n++) {
            batch_tokens[n] = tokens[at + i];
            rows[n] = (forward_row){1, at + i};
        }
        for (uint32_t i = 0; i < n; i++) faults[i] = FORWARD_NO_FAULT;
        run_rows(c, rows, batch_tokens, n, logits, faults);
        memcpy(a->logits + at * n_vocab, logits + n_before * n_vocab, n_mine * n_vocab * sizeof *logits);
        memcpy(a->faults + at, faults + n_before, n_mine * sizeof *faults);
    }
    free_chain(c);
    free(logits);
    return a;
}

static inline void free_answer(answer *a)
{
    free(a->logits);
    free(a);
}

static inline void assert_same_answer(const toy_model *m, const answer *want, settings how, const char *what)
{
    answer *got = new_answer(m, how);
    if (memcmp(got->logits, want->logits, N_PROMPT * m->hp.n_vocab * sizeof(float)) != 0 ||
        memcmp(got->faults, want->faults, sizeof want->faults) != 0)
        fail_msg("%s: stages %u, threads %u, batch %u, beside %u, isa %s: other bits", what, how.n_stages, how.n_threads,
                 how.n_batch, how.n_other, how.isa ? how.isa : "best");
    free_answer(got);
}

static inline float *vector_of(const toy_model *m, tensor_role role, uint32_t layer)
{
    return (float *)(void *)toy_model_find(m, role, layer)->data;
}

static inline bool all_zero(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (x[i] != 0) return false;
    }
    return true;
}

#endif
