/* test_forward_faults.c: what is not a number is found where it arises, and spoils nothing beside it. */
#include <math.h>

#include "forward_chain.h"

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
    static const char *const isas[] = {"scalar", "avx2", "avx512", "neon", "dotprod", "wasm"};
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

/* q8_0 takes much larger ones: what does not fit there is a scale, of the 127th part. */
static void a_key_whose_scale_does_not_fit_the_cache_is_found(void **state)
{
    (void)state;
    static const tensor_role roles[] = {TENSOR_ATTN_K_BIAS, TENSOR_ATTN_V_BIAS};
    for (int i = 0; i < 2; i++) {
        toy_spec spec = square_spec(QUANT_F32);
        spec.has_biases = true;
        toy_model *m = toy_model_new(&spec);
        settings how = plain;
        how.kv = KV_Q8_0;
        vector_of(m, roles[i], 1)[19] = 70000;
        answer *fits = new_answer(m, how);
        vector_of(m, roles[i], 1)[19] = 2e7f;
        answer *fails = new_answer(m, how);
        for (int r = 0; r < N_PROMPT; r++) assert_int_equal(fits->faults[r], FORWARD_NO_FAULT);
        for (int r = 0; r < N_PROMPT; r++) assert_int_equal(fails->faults[r], 1);
        free_answer(fits);
        free_answer(fails);
        toy_model_free(m);
    }
}

/* The last norm reports nothing itself: what overflows there, in one element of a row, makes every logit of the row not finite,
 * whatever the head's type; also an element whose weights are all 0. */
static void an_overflow_in_the_last_norm_is_found_in_the_head(void **state)
{
    (void)state;
    static const quant_type types[] = {QUANT_F32,  QUANT_F16,  QUANT_BF16, QUANT_Q8_0,
                                       QUANT_Q4_0, QUANT_Q5_1, QUANT_Q4_K, QUANT_Q6_K};
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        toy_spec spec = square_spec(types[t]);
        for (int zeros = 0; zeros < 2; zeros++) {
            toy_model *m = toy_model_new(&spec);
            const toy_tensor *head = toy_model_find(m, TENSOR_OUTPUT, 0);
            if (zeros) memset(head->data, 0, head->n_bytes);
            for (size_t i = 0; i < m->hp.n_embd; i++) vector_of(m, TENSOR_OUTPUT_NORM, 0)[i] = 3e38f;
            answer *a = new_answer(m, plain);
            for (int r = 0; r < N_PROMPT; r++) assert_int_equal(a->faults[r], m->hp.n_layer);
            assert_true(all_zero(a->logits, N_PROMPT * m->hp.n_vocab));
            free_answer(a);
            toy_model_free(m);
        }
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_embedding_spoils_its_own_rows_only),
        cmocka_unit_test(a_bad_row_leaves_other_sequences_alone),
        cmocka_unit_test(a_nan_in_a_weight_is_found_in_its_layer),
        cmocka_unit_test(a_nan_in_the_head_is_found_in_the_head),
        cmocka_unit_test(a_key_that_does_not_fit_the_cache_is_found),
        cmocka_unit_test(a_key_whose_scale_does_not_fit_the_cache_is_found),
        cmocka_unit_test(an_overflow_in_the_last_norm_is_found_in_the_head),
        cmocka_unit_test(a_row_that_comes_with_a_fault_stays_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
