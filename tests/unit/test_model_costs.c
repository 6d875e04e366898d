/* What a model costs, held against what a worker says that it takes: the coordinator may not ask it before it is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "forward.h"
#include "kv_cache.h"
#include "model_costs.h"
#include "model_maker.h"
#include "scratch_dir.h"
#include "tile.h"

enum { N_CTX = 1000, N_SEQ = 3, N_THREADS = 4 };

typedef struct rig {
    scratch_dir dir;
    gguf *g;
    hparams hp;
    model_costs costs;
} rig;

static int set_up(void **state)
{
    rig *r = calloc(1, sizeof *r);
    *state = r;
    return scratch_dir_init(&r->dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    rig *r = *state;
    model_costs_clear(&r->costs);
    gguf_free(r->g);
    scratch_dir_clear(&r->dir);
    free(r);
    return 0;
}

static void read_model(rig *r, bool tied)
{
    model_spec spec = model_spec_default();
    spec.hp.tied_embeddings = tied;
    spec.hp.n_layer = 3;
    spec.rope_freqs = true;
    model_spec_set_type(&spec, QUANT_Q3_K); /* its tiles are larger than its blocks */
    char path[SCRATCH_PATH_BYTES];
    yl_error err = {0};
    model_use use = {.n_ctx = N_CTX, .n_seq = N_SEQ, .type_k = KV_F32, .type_v = KV_F16, .n_threads = N_THREADS};
    yl_status status = model_maker_write(scratch_dir_path(&r->dir, path, "m.gguf"), &spec, &err);
    if (!status) status = gguf_open(&r->g, path, &err);
    if (!status) status = hparams_read(&r->hp, r->g, &err);
    if (!status) status = model_costs_read(&r->costs, r->g, &r->hp, &use, &err);
    if (status) fail_msg("%s", err.msg);
}

/* Every tensor of a slice, in a worker's memory. */
static uint64_t bytes_of_slice(const rig *r, const slice_range *range)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < slice_range_n_tensors(range); i++) {
        slice_tensor st = slice_range_tensor_at(range, &r->hp, i);
        const gguf_tensor *t;
        assert_int_equal(hparams_find_tensor(&t, r->g, &r->hp, st.role, st.layer, NULL), YL_OK);
        if (!t) continue;
        uint64_t n = t->n_bytes;
        if (!hparams_tensor_spec(&r->hp, st.role).is_vector) assert_true(tile_matrix_bytes(t->type, t->ne[1], t->ne[0], &n));
        sum += n;
    }
    return sum;
}

static void check_slices(const rig *r)
{
    for (int has_embd = 0; has_embd < 2; has_embd++)
        for (int has_head = 0; has_head < 2; has_head++)
            for (uint32_t begin = 0; begin <= 3; begin++)
                for (uint32_t end = begin; end <= 3; end++) {
                    slice_range range = {.has_embd = has_embd, .has_head = has_head, .layer_begin = begin, .layer_end = end};
                    if (slice_range_check(&range, &r->hp, NULL)) continue;
                    assert_int_equal(placement_weight_bytes(&r->costs.model, &range), bytes_of_slice(r, &range));
                }
}

static void weights_of_every_slice_are_a_workers(void **state)
{
    read_model(*state, false);
    check_slices(*state);
}

static void tied_embeddings_count_once_on_one_worker(void **state)
{
    rig *r = *state;
    read_model(r, true);
    assert_true(r->costs.model.tied_embeddings);
    check_slices(r);
}

static void multiply_adds_are_those_of_the_matrices(void **state)
{
    rig *r = *state;
    read_model(r, false);
    const hparams *hp = &r->hp;
    uint64_t n_q = (uint64_t)hp->n_head * hp->n_embd_head, n_kv = (uint64_t)hp->n_head_kv * hp->n_embd_head;
    assert_int_equal(r->costs.layers[1].macs, hp->n_embd * (2 * n_q + 2 * n_kv + 3 * (uint64_t)hp->n_ff));
    assert_int_equal(r->costs.model.head.macs, (uint64_t)hp->n_embd * hp->n_vocab);
    assert_int_equal(r->costs.model.embd.macs, 0);
    uint64_t row;
    assert_true(quant_row_bytes(QUANT_Q3_K, hp->n_embd, &row));
    assert_int_equal(r->costs.model.embd.read_bytes, row);
}

/* Scratch may be estimated too high, by little, and never too low. */
static void cache_and_scratch_are_enough_for_a_worker(void **state)
{
    rig *r = *state;
    read_model(r, false);
    for (uint32_t n_layer = 0; n_layer <= 3; n_layer++) {
        kv_cache_spec spec = {.n_layer = n_layer,
                              .n_head_kv = r->hp.n_head_kv,
                              .n_embd_head = r->hp.n_embd_head,
                              .n_ctx = N_CTX,
                              .n_seq = N_SEQ,
                              .type_k = KV_F32,
                              .type_v = KV_F16};
        slice_range range = {.layer_end = n_layer};
        uint64_t kv = placement_kv_bytes(&r->costs.model, &range), takes = kv_cache_bytes(&spec);
        assert_true(kv <= takes && takes - kv < 4096);
    }
    assert_true(r->costs.fixed_bytes >= forward_scratch_bytes(&r->hp, N_CTX, N_THREADS));
}

static void scratch_of_real_shapes_is_estimated_closely(void **state)
{
    (void)state;
    static const char *const shapes[] = {"llama-3.2-1b", "llama-3.2-3b", "llama-3-8b", "tinyllama-1.1b"};
    static const uint32_t contexts[] = {128, 4096, 131072};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t k = 0; k < sizeof contexts / sizeof *contexts; k++) {
            model_spec spec = model_spec_default();
            assert_true(model_spec_parse_shape(&spec, shapes[i]));
            hparams hp = spec.hp;
            if (!hp.n_head_kv) hp.n_head_kv = hp.n_head;
            if (!hp.n_embd_head) hp.n_embd_head = hp.n_embd / hp.n_head;
            if (!hp.n_rot) hp.n_rot = hp.n_embd_head;
            model_use use = {.n_ctx = contexts[k], .n_seq = 1, .n_threads = 8};
            uint64_t worker = forward_scratch_bytes(&hp, contexts[k], 8), estimate = model_costs_fixed_bytes(&hp, &use);
            if (estimate < worker || estimate > worker * 3 / 2 + (48u << 20))
                fail_msg("%s, %u positions: %llu, a worker takes %llu", shapes[i], contexts[k], (unsigned long long)estimate,
                         (unsigned long long)worker);
        }
}

static void sizes_that_overflow_are_refused(void **state)
{
    rig *r = *state;
    read_model(r, false);
    model_costs huge;
    yl_error err;
    model_use use = {.n_ctx = UINT32_MAX, .n_seq = UINT32_MAX, .type_k = KV_F32, .type_v = KV_F32};
    assert_int_equal(model_costs_read(&huge, r->g, &r->hp, &use, &err), YL_ELIMIT);
    assert_non_null(strstr(err.msg, "KV cache"));
    model_costs_clear(&huge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(weights_of_every_slice_are_a_workers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tied_embeddings_count_once_on_one_worker, set_up, tear_down),
        cmocka_unit_test_setup_teardown(multiply_adds_are_those_of_the_matrices, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cache_and_scratch_are_enough_for_a_worker, set_up, tear_down),
        cmocka_unit_test_setup_teardown(scratch_of_real_shapes_is_estimated_closely, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sizes_that_overflow_are_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
