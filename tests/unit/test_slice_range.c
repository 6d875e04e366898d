/* test_slice_range.c: which tensors a slice lists, and which ranges are slices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "slice_range.h"

static const hparams model = {.n_layer = 4};
static const hparams tied_model = {.n_layer = 4, .tied_embeddings = true};

static void assert_tensor(slice_tensor got, tensor_role role, uint32_t layer)
{
    assert_int_equal(got.role, role);
    assert_int_equal(got.layer, layer);
}

static void the_embedding_alone_is_one_tensor(void **state)
{
    (void)state;
    slice_range r = {.has_embd = true};
    assert_int_equal(slice_range_n_tensors(&r), 1);
    assert_tensor(slice_range_tensor_at(&r, &model, 0), TENSOR_TOKEN_EMBD, 0);
    assert_tensor(slice_range_tensor_at(&r, &tied_model, 0), TENSOR_TOKEN_EMBD, 0);
}

static void the_head_alone_has_norm_and_matrix(void **state)
{
    (void)state;
    slice_range r = {.has_head = true, .layer_begin = 4, .layer_end = 4};
    assert_int_equal(slice_range_n_tensors(&r), 2);
    assert_tensor(slice_range_tensor_at(&r, &model, 0), TENSOR_OUTPUT_NORM, 0);
    assert_tensor(slice_range_tensor_at(&r, &model, 1), TENSOR_OUTPUT, 0);
    assert_tensor(slice_range_tensor_at(&r, &tied_model, 1), TENSOR_TOKEN_EMBD, 0);
}

static void layers_come_in_the_order_of_the_forward_pass(void **state)
{
    static const tensor_role order[] = {
        TENSOR_ATTN_NORM,        TENSOR_ATTN_Q,      TENSOR_ATTN_Q_BIAS, TENSOR_ATTN_K,
        TENSOR_ATTN_K_BIAS,      TENSOR_ATTN_V,      TENSOR_ATTN_V_BIAS, TENSOR_ATTN_OUTPUT,
        TENSOR_ATTN_OUTPUT_BIAS, TENSOR_FFN_NORM,    TENSOR_FFN_GATE,    TENSOR_FFN_GATE_BIAS,
        TENSOR_FFN_UP,           TENSOR_FFN_UP_BIAS, TENSOR_FFN_DOWN,    TENSOR_FFN_DOWN_BIAS,
    };
    (void)state;
    slice_range r = {.layer_begin = 1, .layer_end = 3};
    assert_int_equal(slice_range_n_tensors(&r), 1 + 2 * 16);
    assert_tensor(slice_range_tensor_at(&r, &model, 0), TENSOR_ROPE_FREQS, 0);
    for (uint32_t i = 0; i < 32; i++) assert_tensor(slice_range_tensor_at(&r, &model, 1 + i), order[i % 16], 1 + i / 16);
}

/* Whatever the slice, no tensor is listed twice, and nothing of a layer that is not in it. */
static void no_tensor_is_listed_twice(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 8; bits++) {
        const hparams *hp = bits & 4 ? &tied_model : &model;
        slice_range r = {.has_embd = bits & 1, .has_head = bits & 2, .layer_begin = 0, .layer_end = 4};
        bool seen[TENSOR_ROLE_END][4] = {{false}};
        uint32_t n = slice_range_n_tensors(&r);
        for (uint32_t i = 0; i < n; i++) {
            slice_tensor t = slice_range_tensor_at(&r, hp, i);
            assert_true(t.role < TENSOR_ROLE_END && t.layer < 4);
            assert_false(seen[t.role][t.layer]);
            seen[t.role][t.layer] = true;
        }
        assert_int_equal(seen[TENSOR_OUTPUT_NORM][0], r.has_head);
        assert_true(!r.has_head || seen[TENSOR_OUTPUT][0] || seen[TENSOR_TOKEN_EMBD][0]);
    }
}

/* A whole tied model: token_embd comes first, and `output`, which it does not have, keeps its place at the end. */
static void a_whole_tied_model_lists_its_embedding_once(void **state)
{
    (void)state;
    slice_range r = {.has_embd = true, .has_head = true, .layer_end = 4};
    uint32_t n = slice_range_n_tensors(&r);
    assert_int_equal(n, 1 + 1 + 4 * 16 + 2);
    assert_tensor(slice_range_tensor_at(&r, &tied_model, 0), TENSOR_TOKEN_EMBD, 0);
    assert_tensor(slice_range_tensor_at(&r, &tied_model, n - 2), TENSOR_OUTPUT_NORM, 0);
    assert_tensor(slice_range_tensor_at(&r, &tied_model, n - 1), TENSOR_OUTPUT, 0);
}

static void slices_are_taken_and_what_is_none_is_refused(void **state)
{
    static const struct {
        slice_range range;
        yl_status status;
    } cases[] = {
        {{true, true, 0, 4}, YL_OK},        {{true, false, 0, 0}, YL_OK},
        {{false, true, 4, 4}, YL_OK},       {{false, false, 3, 4}, YL_OK},
        {{true, false, 0, 1}, YL_OK},       {{false, true, 2, 4}, YL_OK},
        {{false, false, 0, 0}, YL_EFORMAT}, {{false, false, 4, 4}, YL_EFORMAT},
        {{false, false, 3, 2}, YL_EFORMAT}, {{false, false, 0, 5}, YL_EFORMAT},
        {{true, false, 5, 5}, YL_EFORMAT},  {{true, false, 1, 2}, YL_EFORMAT},
        {{false, true, 1, 3}, YL_EFORMAT},  {{false, false, 0, UINT32_MAX}, YL_EFORMAT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        yl_error err = {0};
        assert_int_equal(slice_range_check(&cases[i].range, &model, &err), cases[i].status);
        if (cases[i].status) assert_true(strlen(err.msg) > 0);
    }
}

static void slices_are_told_in_words(void **state)
{
    (void)state;
    static const struct {
        slice_range range;
        const char *words;
    } CASES[] = {{{.has_embd = true, .has_head = true, .layer_end = 16}, "embedding, layers 0-15, head"},
                 {{.layer_begin = 4, .layer_end = 5}, "layer 4"},
                 {{.has_embd = true}, "embedding"},
                 {{.has_head = true, .layer_begin = 3, .layer_end = 3}, "head"},
                 {{.has_embd = true, .has_head = true, .layer_begin = UINT32_MAX - 10, .layer_end = UINT32_MAX},
                  "embedding, layers 4294967285-4294967294, head"}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char text[SLICE_RANGE_TEXT_BYTES];
        assert_string_equal(slice_range_format(text, &CASES[i].range), CASES[i].words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_embedding_alone_is_one_tensor),
        cmocka_unit_test(the_head_alone_has_norm_and_matrix),
        cmocka_unit_test(layers_come_in_the_order_of_the_forward_pass),
        cmocka_unit_test(no_tensor_is_listed_twice),
        cmocka_unit_test(a_whole_tied_model_lists_its_embedding_once),
        cmocka_unit_test(slices_are_taken_and_what_is_none_is_refused),
        cmocka_unit_test(slices_are_told_in_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
