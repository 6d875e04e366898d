/* test_forward.c: the forward pass against a slow one in double, and against itself, run in every other way.
 *
 * A chain is a model cut into stages in this process. What it must give is the same bits: however many stages, threads and rows a
 * batch, alone or beside another sequence, whichever kernels. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "counting_allocator.h"
#include "forward.h"
#include "reference_forward.h"
#include "toy_model.h"

enum { N_CTX = 320, MAX_STAGES = 8, MAX_LIST = 100, N_PROMPT = 150 };

/* ---- models ---- */

/* Nothing is a power of two: 3 heads of 20 on one KV head, of which 12 turn; rows of 44 and 60. */
static toy_spec odd_spec(void)
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
static toy_spec square_spec(quant_type type)
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
static toy_spec mixed_spec(void)
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

static void make_tokens(int32_t *tokens, uint32_t n, uint32_t n_vocab, uint64_t seed)
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

static slice_range range_of_stage(const hparams *hp, uint32_t n_stages, uint32_t i)
{
    uint32_t n = hp->n_layer;
    if (n_stages == 1) return (slice_range){true, true, 0, n};
    if (n_stages == 2) return i == 0 ? (slice_range){true, false, 0, 1} : (slice_range){false, true, 1, n};
    if (i == 0) return (slice_range){true, false, 0, 0};
    if (i == n_stages - 1) return (slice_range){false, true, n, n};
    return (slice_range){false, false, i - 1, i};
}

static yl_status stage_init(stage *s, const toy_model *m, slice_range range, kv_type kv, const kernels *k, thread_pool *pool,
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

static void stage_clear(stage *s)
{
    forward_free(s->forward);
    kv_cache_free(s->cache);
    slice_free(s->slice);
}

static chain *new_chain(const toy_model *m, settings how)
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

static void free_chain(chain *c)
{
    for (uint32_t i = 0; i < c->n_stages; i++) stage_clear(&c->stages[i]);
    thread_pool_free(c->pool);
    free(c);
}

/* Rows through one stage. Room in the cache was made. */
static void run_stage(const stage *s, float *x, const forward_row *rows, const int32_t *tokens, int32_t *faults, uint32_t n)
{
    const slice_range *range = slice_range_of(s->slice);
    if (range->has_embd) forward_embed(s->forward, x, tokens, n);
    for (uint32_t layer = range->layer_begin; layer < range->layer_end; layer++)
        forward_layer(s->forward, layer, x, rows, faults, n);
}

/* What each row becomes. logits: [n, n_vocab]; faults: [n], FORWARD_NO_FAULT where none is known. */
static void run_rows(chain *c, const forward_row *rows, const int32_t *tokens, uint32_t n, float *logits, int32_t *faults)
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
static void run_tokens(chain *c, uint32_t seq, uint32_t n_past, const int32_t *tokens, uint32_t n, float *logits, int32_t *faults)
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

static answer *new_answer(const toy_model *m, settings how)
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

static void free_answer(answer *a)
{
    free(a->logits);
    free(a);
}

static void assert_same_answer(const toy_model *m, const answer *want, settings how, const char *what)
{
    answer *got = new_answer(m, how);
    if (memcmp(got->logits, want->logits, N_PROMPT * m->hp.n_vocab * sizeof(float)) != 0 ||
        memcmp(got->faults, want->faults, sizeof want->faults) != 0)
        fail_msg("%s: stages %u, threads %u, batch %u, beside %u, isa %s: other bits", what, how.n_stages, how.n_threads,
                 how.n_batch, how.n_other, how.isa ? how.isa : "best");
    free_answer(got);
}

/* ---- the truth ---- */

/* Errors of rows, each relative to the row's length. */
typedef struct row_errors {
    double best, worst;
} row_errors;

static row_errors errors_of(const float *got, const double *want, uint32_t n, size_t n_vocab)
{
    row_errors errors = {INFINITY, 0};
    for (uint32_t i = 0; i < n; i++) {
        double error = 0, length = 0;
        for (size_t j = 0; j < n_vocab; j++) {
            double w = want[i * n_vocab + j], e = (double)got[i * n_vocab + j] - w;
            error += e * e;
            length += w * w;
        }
        double relative = sqrt(error / length);
        if (!(relative <= errors.worst)) errors.worst = relative; /* a NaN stays */
        if (relative < errors.best) errors.best = relative;
    }
    return errors;
}

static void assert_close_to_reference(const toy_spec *spec, kv_type kv, uint32_t n, row_errors limit, const char *what)
{
    toy_model *m = toy_model_new(spec);
    int32_t tokens[N_PROMPT], faults[N_PROMPT];
    make_tokens(tokens, n, m->hp.n_vocab, 3);
    settings how = plain;
    how.kv = kv;
    chain *c = new_chain(m, how);
    float *logits = calloc(n * m->hp.n_vocab, sizeof *logits);
    run_tokens(c, 0, 0, tokens, n, logits, faults);
    double *want = reference_forward(m, tokens, n);
    row_errors errors = errors_of(logits, want, n, m->hp.n_vocab);
    print_message("%-28s relative error %.1e to %.1e\n", what, errors.best, errors.worst);
    assert_true(errors.best < limit.best && errors.worst < limit.worst);
    free(want);
    free(logits);
    free_chain(c);
    toy_model_free(m);
}

static void f32_models_agree_with_double(void **state)
{
    (void)state;
    const row_errors close = {1e-5, 1e-5}, f16_close = {3e-3, 3e-3};
    toy_spec odd = odd_spec(), square = square_spec(QUANT_F32), plain_heads = square_spec(QUANT_F32);
    plain_heads.hp.n_head_kv = plain_heads.hp.n_head;
    plain_heads.has_rope_factors = false;
    assert_close_to_reference(&odd, KV_F32, N_PROMPT, close, "F32, odd sizes");
    assert_close_to_reference(&odd, KV_F16, N_PROMPT, f16_close, "F32, odd sizes, f16 cache");
    assert_close_to_reference(&square, KV_F32, 40, close, "F32");
    assert_close_to_reference(&plain_heads, KV_F32, 40, close, "F32, as many KV heads");
}

/* The reference rounds activations to 8 bits as we do, so most rows are as close as f32 can be. Here and there a value lies so near
 * the middle between two integers that it falls to the other side; that row, and a little those that attend to it, are off by one
 * step of 8 bits. */
static void quantized_models_agree_with_double(void **state)
{
    (void)state;
    const row_errors close = {1e-5, 2e-2};
    for (uint32_t type = 0; type < QUANT_TYPE_END; type++) {
        if (!quant_traits_of(type)) continue;
        toy_spec spec = square_spec((quant_type)type);
        assert_close_to_reference(&spec, KV_F32, 20, close, quant_type_name(type));
    }
    toy_spec mixed = mixed_spec();
    assert_close_to_reference(&mixed, KV_F32, 20, close, "mixed types");
}

/* ---- the same bits ---- */

static void assert_same_however_it_is_run(const toy_spec *spec, kv_type kv, const char *what)
{
    static const uint32_t threads[] = {2, 3, 7}, batches[] = {1, 3, 128, 129, 70}, stages[] = {2, 3};
    toy_model *m = toy_model_new(spec);
    settings how = plain;
    how.kv = kv;
    answer *want = new_answer(m, how);
    for (int i = 0; i < N_PROMPT; i++) assert_int_equal(want->faults[i], FORWARD_NO_FAULT);
    for (size_t i = 0; i < 3; i++) {
        how.n_threads = threads[i];
        assert_same_answer(m, want, how, what);
        how.n_batch = 1;
        assert_same_answer(m, want, how, what);
        how.n_batch = N_PROMPT;
    }
    how.n_threads = 2;
    for (size_t i = 0; i < 5; i++) {
        how.n_batch = batches[i];
        assert_same_answer(m, want, how, what);
    }
    for (size_t i = 0; i < 2; i++) {
        how.n_stages = stages[i];
        how.n_batch = batches[i];
        assert_same_answer(m, want, how, what);
    }
    how.n_other = 2;
    assert_same_answer(m, want, how, what);
    how.n_batch = 100;
    how.n_other = 77;
    assert_same_answer(m, want, how, what);
    free_answer(want);
    toy_model_free(m);
}

static void bits_do_not_depend_on_how_a_model_is_run(void **state)
{
    (void)state;
    toy_spec odd = odd_spec(), mixed = mixed_spec();
    assert_same_however_it_is_run(&odd, KV_F32, "odd sizes, f32 cache");
    assert_same_however_it_is_run(&odd, KV_F16, "odd sizes, f16 cache");
    assert_same_however_it_is_run(&mixed, KV_F16, "mixed types");
}

static void bits_do_not_depend_on_the_kernels(void **state)
{
    (void)state;
    static const char *const names[] = {"avx2", "avx512", "neon", "wasm"};
    toy_spec specs[] = {odd_spec(), mixed_spec(), square_spec(QUANT_Q4_K), square_spec(QUANT_BF16)};
    for (size_t s = 0; s < sizeof specs / sizeof specs[0]; s++) {
        toy_model *m = toy_model_new(&specs[s]);
        settings how = plain;
        how.isa = "scalar";
        answer *want = new_answer(m, how);
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            if (!kernels_named(names[i])) continue;
            how.isa = names[i];
            assert_same_answer(m, want, how, "kernels");
        }
        free_answer(want);
        toy_model_free(m);
    }
}

/* A sequence that was forked in the middle of a page, or cut back, goes on as if it had always been alone. */
static void a_fork_goes_on_as_if_alone(void **state)
{
    (void)state;
    toy_spec spec = odd_spec();
    toy_model *m = toy_model_new(&spec);
    size_t n_vocab = m->hp.n_vocab;
    answer *want = new_answer(m, plain);
    float *logits = calloc(N_PROMPT * n_vocab, sizeof *logits);
    int32_t tokens[N_PROMPT], others[N_PROMPT], faults[N_PROMPT];
    make_tokens(tokens, N_PROMPT, m->hp.n_vocab, 1);
    make_tokens(others, N_PROMPT, m->hp.n_vocab, 9);
    chain *c = new_chain(m, plain);
    kv_cache *cache = c->stages[0].cache;
    run_tokens(c, 0, 0, tokens, 100, logits, faults);
    assert_int_equal(kv_cache_fork(cache, 0, 1, 90, NULL), YL_OK);
    run_tokens(c, 0, 100, others, 20, logits, faults); /* the original goes another way */
    run_tokens(c, 1, 90, others, 30, logits, faults);  /* so does the fork, */
    kv_cache_truncate(cache, 1, 80);                   /* but thinks better of it */
    run_tokens(c, 1, 80, tokens + 80, N_PROMPT - 80, logits, faults);
    assert_memory_equal(logits, want->logits + 80 * n_vocab, (N_PROMPT - 80) * n_vocab * sizeof *logits);
    free_chain(c);
    free(logits);
    free_answer(want);
    toy_model_free(m);
}

/* ---- non-finite numbers ---- */

static float *vector_of(const toy_model *m, tensor_role role, uint32_t layer)
{
    return (float *)(void *)toy_model_find(m, role, layer)->data;
}

static bool all_zero(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (x[i] != 0) return false;
    }
    return true;
}

/* A token whose embedding is not finite: its rows are named and zero, rows before have the bits that they would have had, rows
 * after are finite, and again nothing depends on how the prompt is cut. */
static void a_bad_embedding_spoils_its_own_rows_only(void **state)
{
    (void)state;
    static const float bad_values[] = {INFINITY, -INFINITY, NAN};
    toy_spec spec = odd_spec();
    spec.hp.tied_embeddings = false;
    toy_model *m = toy_model_new(&spec);
    int32_t tokens[N_PROMPT];
    make_tokens(tokens, N_PROMPT, m->hp.n_vocab, 1);
    const int32_t bad_token = tokens[5];
    answer *clean = new_answer(m, plain);
    for (size_t v = 0; v < 3; v++) {
        vector_of(m, TENSOR_TOKEN_EMBD, 0)[(uint32_t)bad_token * m->hp.n_embd + 17] = bad_values[v];
        answer *a = new_answer(m, plain);
        bool before = true;
        for (uint32_t i = 0; i < N_PROMPT; i++) {
            const float *row = a->logits + i * m->hp.n_vocab, *clean_row = clean->logits + i * m->hp.n_vocab;
            before = before && tokens[i] != bad_token;
            assert_int_equal(a->faults[i], tokens[i] == bad_token ? 0 : FORWARD_NO_FAULT);
            assert_int_equal(all_zero(row, m->hp.n_vocab), tokens[i] == bad_token);
            if (before) assert_memory_equal(row, clean_row, m->hp.n_vocab * sizeof *row);
        }
        settings how = {.n_stages = 3, .n_threads = 3, .n_batch = 1, .kv = KV_F16};
        assert_same_answer(m, a, how, "bad embedding");
        how.n_batch = 128;
        assert_same_answer(m, a, how, "bad embedding");
        free_answer(a);
    }
    free_answer(clean);
    toy_model_free(m);
}

/* The other sequence of the batch has the bad token; this one must not notice. */
static void a_bad_row_leaves_other_sequences_alone(void **state)
{
    (void)state;
    toy_spec spec = odd_spec();
    spec.hp.n_vocab = 500; /* then the prompt does not have every token */
    spec.hp.tied_embeddings = false;
    toy_model *m = toy_model_new(&spec);
    int32_t mine[N_PROMPT], others[N_CTX];
    make_tokens(mine, N_PROMPT, m->hp.n_vocab, 1);
    make_tokens(others, N_CTX, m->hp.n_vocab, 2);
    bool is_mine = false;
    for (int i = 0; i < N_PROMPT; i++) is_mine |= mine[i] == others[0];
    assert_false(is_mine);
    answer *clean = new_answer(m, plain);
    vector_of(m, TENSOR_TOKEN_EMBD, 0)[(uint32_t)others[0] * m->hp.n_embd] = NAN;
    settings how = {.n_stages = 1, .n_threads = 3, .n_batch = 40, .n_other = 30, .kv = KV_F16};
    assert_same_answer(m, clean, how, "beside a bad sequence");
    free_answer(clean);
    toy_model_free(m);
}

/* Makes the first scale or number of a tensor a NaN. */
static void poison(const toy_tensor *t)
{
    static const uint8_t d_offset[QUANT_TYPE_END] = {[QUANT_Q2_K] = 80, [QUANT_Q3_K] = 108, [QUANT_Q6_K] = 208};
    memset(t->data + d_offset[t->type], 0xff, t->type == QUANT_F32 ? 4 : 2);
}

/* Wherever the NaN is in layer 1, every row is found out there, and not later: no quantizing, no maximum and no exp hides it. */
static void assert_every_row_is_found_out(const toy_spec *spec, tensor_role role, const char *isa)
{
    toy_model *m = toy_model_new(spec);
    settings how = plain;
    how.isa = isa;
    poison(toy_model_find(m, role, 1));
    chain *c = new_chain(m, how);
    int32_t tokens[4], faults[4];
    make_tokens(tokens, 4, m->hp.n_vocab, 1);
    float *logits = calloc(4 * m->hp.n_vocab, sizeof *logits);
    memset(logits, 0x55, 4 * m->hp.n_vocab * sizeof *logits);
    run_tokens(c, 0, 0, tokens, 4, logits, faults);
    char name[TENSOR_NAME_BYTES];
    for (int i = 0; i < 4; i++) {
        if (faults[i] != 1)
            fail_msg("%s, %s: a NaN in %s was not found in row %d", isa, quant_type_name(spec->types[role]),
                     tensor_role_name(name, role, 1), i);
    }
    assert_true(all_zero(logits, 4 * m->hp.n_vocab));
    free(logits);
    free_chain(c);
    toy_model_free(m);
}

static void a_nan_in_a_weight_is_found_in_its_layer(void **state)
{
    (void)state;
    static const char *const isas[] = {"scalar", "avx2", "avx512", "neon", "wasm"};
    static const quant_type types[] = {QUANT_F32,  QUANT_F16,  QUANT_BF16, QUANT_Q4_0, QUANT_Q8_0,
                                       QUANT_Q4_1, QUANT_Q2_K, QUANT_Q3_K, QUANT_Q4_K, QUANT_Q6_K};
    for (size_t i = 0; i < sizeof isas / sizeof isas[0]; i++) {
        if (!kernels_named(isas[i])) continue;
        for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
            toy_spec spec = square_spec(types[t]);
            spec.has_biases = true;
            for (int role = 0; role < TENSOR_LAYER_END; role++) assert_every_row_is_found_out(&spec, (tensor_role)role, isas[i]);
        }
    }
}

static void a_nan_in_the_head_is_found_in_the_head(void **state)
{
    (void)state;
    static const tensor_role roles[] = {TENSOR_OUTPUT_NORM, TENSOR_OUTPUT};
    for (int i = 0; i < 2; i++) {
        toy_spec spec = mixed_spec();
        toy_model *m = toy_model_new(&spec);
        poison(toy_model_find(m, roles[i], 0));
        answer *a = new_answer(m, plain);
        for (int r = 0; r < N_PROMPT; r++) assert_int_equal(a->faults[r], m->hp.n_layer);
        assert_true(all_zero(a->logits, N_PROMPT * m->hp.n_vocab));
        free_answer(a);
        toy_model_free(m);
    }
}

/* A key that is too large for f16 is a fault there, and none in an f32 cache. */
static void a_key_that_does_not_fit_the_cache_is_found(void **state)
{
    (void)state;
    static const tensor_role roles[] = {TENSOR_ATTN_K_BIAS, TENSOR_ATTN_V_BIAS};
    for (int i = 0; i < 2; i++) {
        toy_spec spec = odd_spec();
        toy_model *m = toy_model_new(&spec);
        vector_of(m, roles[i], 2)[19] = 70000;
        settings how = plain;
        answer *f16 = new_answer(m, how);
        how.kv = KV_F32;
        answer *f32 = new_answer(m, how);
        for (int r = 0; r < N_PROMPT; r++) assert_int_equal(f16->faults[r], 2);
        for (int r = 0; r < N_PROMPT; r++) assert_int_equal(f32->faults[r], FORWARD_NO_FAULT);
        free_answer(f16);
        free_answer(f32);
        toy_model_free(m);
    }
}

/* A row that a stage before gave up: zeros in, zeros out, its fault unchanged, in spite of biases. */
static void a_row_that_comes_with_a_fault_stays_as_it_is(void **state)
{
    (void)state;
    toy_spec spec = odd_spec();
    toy_model *m = toy_model_new(&spec);
    chain *c = new_chain(m, (settings){.n_stages = 2, .n_threads = 1, .kv = KV_F16});
    const stage *second = &c->stages[1];
    size_t n_embd = m->hp.n_embd;
    float *x = calloc(3 * n_embd, sizeof *x);
    for (size_t i = 0; i < 3 * n_embd; i++) x[i] = i / n_embd == 1 ? 0 : (float)(i % 7) - 3;
    const forward_row rows[] = {{0, 0}, {0, 1}, {0, 2}};
    int32_t faults[] = {FORWARD_NO_FAULT, 0, FORWARD_NO_FAULT};
    assert_int_equal(kv_cache_append(second->cache, 0, 3, NULL), YL_OK);
    for (uint32_t layer = 1; layer < m->hp.n_layer; layer++) forward_layer(second->forward, layer, x, rows, faults, 3);
    assert_int_equal(faults[0], FORWARD_NO_FAULT);
    assert_int_equal(faults[1], 0);
    assert_int_equal(faults[2], FORWARD_NO_FAULT);
    assert_true(all_zero(x + n_embd, n_embd));
    assert_false(all_zero(x + 2 * n_embd, n_embd));
    free(x);
    free_chain(c);
    toy_model_free(m);
}

/* ---- memory ---- */

static void scratch_is_told_exactly_and_taken_once(void **state)
{
    (void)state;
    toy_spec spec = odd_spec();
    toy_model *m = toy_model_new(&spec);
    thread_pool *pool;
    assert_int_equal(thread_pool_new(&pool, 3, NULL), YL_OK);
    counting_allocator count;
    counting_allocator_init(&count, 0);
    stage s;
    assert_int_equal(stage_init(&s, m, (slice_range){true, true, 0, 3}, KV_F16, kernels_best(), pool, &count.allocator), YL_OK);
    forward *f;
    size_t n_bytes = count.n_bytes, n_calls = count.n_calls;
    assert_int_equal(forward_new(&f, s.slice, s.cache, N_CTX, kernels_best(), pool, &count.allocator, NULL), YL_OK);
    assert_int_equal(count.n_bytes - n_bytes, forward_scratch_bytes(&m->hp, N_CTX, 3));
    assert_int_equal(count.n_calls - n_calls, 1);
    forward_free(f);

    n_calls = count.n_calls;
    chain c = {.m = m, .n_stages = 1, .stages = {s}};
    int32_t tokens[N_PROMPT], faults[N_PROMPT];
    make_tokens(tokens, N_PROMPT, m->hp.n_vocab, 1);
    float *logits = calloc(N_PROMPT * m->hp.n_vocab, sizeof *logits);
    run_tokens(&c, 0, 0, tokens, N_PROMPT, logits, faults);
    run_tokens(&c, 0, N_PROMPT, tokens, 1, logits, faults);
    assert_int_equal(count.n_calls, n_calls); /* nothing is allocated while tokens pass */
    free(logits);
    stage_clear(&s);
    assert_int_equal(count.n_live, 0);
    thread_pool_free(pool);
    toy_model_free(m);
}

static void scratch_of_the_largest_model_does_not_overflow(void **state)
{
    (void)state;
    toy_spec spec = odd_spec();
    spec.hp.n_head = HPARAMS_MAX_HEAD;
    spec.hp.n_embd_head = HPARAMS_MAX_EMBD_HEAD;
    assert_true(forward_scratch_bytes(&spec.hp, HPARAMS_MAX_CTX, THREAD_POOL_MAX) < UINT64_MAX);
    assert_true(forward_scratch_bytes(&spec.hp, UINT32_MAX, UINT32_MAX) == UINT64_MAX);
}

static void failing_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    toy_spec spec = odd_spec();
    toy_model *m = toy_model_new(&spec);
    yl_status status = YL_ENOMEM;
    for (size_t k = 1; status; k++) {
        counting_allocator count;
        counting_allocator_init(&count, k);
        stage s;
        status = stage_init(&s, m, (slice_range){true, true, 0, 3}, KV_F16, kernels_best(), NULL, &count.allocator);
        assert_int_equal(status, status ? YL_ENOMEM : YL_OK);
        assert_int_equal(s.forward == NULL, status != YL_OK);
        assert_in_range(k, 1, 20);
        stage_clear(&s);
        assert_int_equal(count.n_live, 0);
    }
    toy_model_free(m);
}

static void bad_rope_factors_are_refused(void **state)
{
    (void)state;
    toy_spec spec = odd_spec();
    toy_model *m = toy_model_new(&spec);
    vector_of(m, TENSOR_ROPE_FREQS, 0)[1] = 0;
    counting_allocator count;
    counting_allocator_init(&count, 0);
    stage s;
    assert_int_not_equal(stage_init(&s, m, (slice_range){true, true, 0, 3}, KV_F16, kernels_best(), NULL, &count.allocator), YL_OK);
    assert_null(s.forward);
    stage_clear(&s);
    assert_int_equal(count.n_live, 0);
    toy_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f32_models_agree_with_double),
        cmocka_unit_test(quantized_models_agree_with_double),
        cmocka_unit_test(bits_do_not_depend_on_how_a_model_is_run),
        cmocka_unit_test(bits_do_not_depend_on_the_kernels),
        cmocka_unit_test(a_fork_goes_on_as_if_alone),
        cmocka_unit_test(a_bad_embedding_spoils_its_own_rows_only),
        cmocka_unit_test(a_bad_row_leaves_other_sequences_alone),
        cmocka_unit_test(a_nan_in_a_weight_is_found_in_its_layer),
        cmocka_unit_test(a_nan_in_the_head_is_found_in_the_head),
        cmocka_unit_test(a_key_that_does_not_fit_the_cache_is_found),
        cmocka_unit_test(a_row_that_comes_with_a_fault_stays_as_it_is),
        cmocka_unit_test(scratch_is_told_exactly_and_taken_once),
        cmocka_unit_test(scratch_of_the_largest_model_does_not_overflow),
        cmocka_unit_test(failing_memory_leaves_nothing_behind),
        cmocka_unit_test(bad_rope_factors_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
