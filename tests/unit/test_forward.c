/* test_forward.c: the forward pass against a slow one in double, and against itself, run in every other way.
 *
 * What a chain gives must be the same bits: however many stages, threads and rows a batch, alone or beside another sequence,
 * whichever kernels. */
#include <math.h>

#include "counting_allocator.h"
#include "forward_chain.h"
#include "reference_forward.h"

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
    const row_errors close = {1e-5, 1e-5}, f16_close = {3e-3, 3e-3}, q8_0_close = {3e-2, 3e-2};
    toy_spec odd = odd_spec(), square = square_spec(QUANT_F32), plain_heads = square_spec(QUANT_F32);
    plain_heads.hp.n_head_kv = plain_heads.hp.n_head;
    plain_heads.has_rope_factors = false;
    assert_close_to_reference(&odd, KV_F32, N_PROMPT, close, "F32, odd sizes");
    assert_close_to_reference(&odd, KV_F16, N_PROMPT, f16_close, "F32, odd sizes, f16 cache");
    assert_close_to_reference(&square, KV_F32, 40, close, "F32");
    assert_close_to_reference(&plain_heads, KV_F32, 40, close, "F32, as many KV heads");
    assert_close_to_reference(&square, KV_F16, 40, f16_close, "F32, f16 cache");
    assert_close_to_reference(&square, KV_Q8_0, 40, q8_0_close, "F32, q8_0 cache");
}

/* The reference rounds activations to 8 bits as we do, so most rows are as close as f32 can be. Here and there a value lies so near
 * the middle between two integers that it falls to the other side; that row, and a little those that attend to it, are off by one
 * step of 8 bits. */
static void quantized_models_agree_with_double(void **state)
{
    (void)state;
    const row_errors close = {1e-5, 5e-2};
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
    assert_same_however_it_is_run(&mixed, KV_Q8_0, "mixed types, q8_0 cache");
}

/* Logits of the last N_LAST tokens of a long sequence, decoded one by one beside two short sequences. */
enum { N_LONG = 319, N_LAST = 12, N_SHORT = 20 };

static float *decode_beside_others(const toy_model *m, settings how)
{
    size_t n_vocab = m->hp.n_vocab;
    int32_t tokens[N_LONG], faults[N_LONG];
    make_tokens(tokens, N_LONG, m->hp.n_vocab, 1);
    float *logits = calloc(N_LONG * n_vocab, sizeof *logits), *last = calloc(3 * N_LAST * n_vocab, sizeof *last);
    chain *c = new_chain(m, how);
    run_tokens(c, 0, 0, tokens, N_LONG - N_LAST, logits, faults);
    for (uint32_t seq = 1; seq < 3; seq++) run_tokens(c, seq, 0, tokens + seq, N_SHORT, logits, faults);
    for (uint32_t i = 0; i < N_LAST; i++) {
        int32_t token = tokens[N_LONG - N_LAST + i], same[3] = {token, token, token};
        const forward_row rows[3] = {{1, N_SHORT + i}, {0, N_LONG - N_LAST + i}, {2, N_SHORT + i}};
        run_rows(c, rows, same, 3, last + 3 * i * n_vocab, faults);
    }
    free_chain(c);
    free(logits);
    return last;
}

/* Contexts so long that one KV head is worked on by several threads: more threads than heads, and as many as leave some over. */
static void bits_do_not_depend_on_threads_in_long_contexts(void **state)
{
    (void)state;
    toy_spec specs[] = {odd_spec(), square_spec(QUANT_F32), square_spec(QUANT_Q8_0)};
    specs[1].hp.n_head = specs[1].hp.n_head_kv = 3;
    for (size_t s = 0; s < sizeof specs / sizeof specs[0]; s++) {
        toy_model *m = toy_model_new(&specs[s]);
        settings how = plain;
        how.kv = s == 2 ? KV_Q8_0 : KV_F16;
        float *want = decode_beside_others(m, how);
        for (how.n_threads = 2; how.n_threads <= 5; how.n_threads++) {
            float *got = decode_beside_others(m, how);
            assert_memory_equal(got, want, 3 * N_LAST * m->hp.n_vocab * sizeof *want);
            free(got);
        }
        free(want);
        toy_model_free(m);
    }
}

static void bits_do_not_depend_on_the_kernels(void **state)
{
    (void)state;
    static const char *const names[] = {"avx2", "avx512", "neon", "dotprod", "wasm"};
    toy_spec specs[] = {odd_spec(), mixed_spec(), square_spec(QUANT_Q4_K), square_spec(QUANT_BF16)};
    for (size_t s = 0; s < sizeof specs / sizeof specs[0]; s++) {
        toy_model *m = toy_model_new(&specs[s]);
        settings how = plain;
        how.isa = "scalar";
        how.kv = s == 1 ? KV_Q8_0 : KV_F16;
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
        cmocka_unit_test(bits_do_not_depend_on_threads_in_long_contexts),
        cmocka_unit_test(bits_do_not_depend_on_the_kernels),
        cmocka_unit_test(a_fork_goes_on_as_if_alone),
        cmocka_unit_test(scratch_is_told_exactly_and_taken_once),
        cmocka_unit_test(scratch_of_the_largest_model_does_not_overflow),
        cmocka_unit_test(failing_memory_leaves_nothing_behind),
        cmocka_unit_test(bad_rope_factors_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
