/* test_hparams.c: the dimensions of a model, from keys that are there, missing, contradictory or another architecture's.
 *
 * A small model's keys are written in memory; a test leaves some out and puts its own in their place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gguf_writer.h"
#include "hparams.h"
#include "model_maker.h"
#include "scratch_dir.h"

typedef void add_fn(gguf_writer *w);

/* How a model differs from the usual one. */
typedef struct difference {
    const char *without[4]; /* keys and tensors left out */
    add_fn *keys;           /* more keys */
    add_fn *tensors;        /* more tensors, of less than 64 KiB data */
} difference;

/* A file in memory and the model in it. */
typedef struct opened {
    char *bytes;
    gguf *g;
} opened;

static bool is_left_out(const difference *d, const char *name)
{
    for (size_t i = 0; i < 4 && d->without[i]; i++) {
        if (strcmp(d->without[i], name) == 0) return true;
    }
    return false;
}

static void add_u32(gguf_writer *w, const difference *d, const char *key, uint32_t v)
{
    if (!is_left_out(d, key)) gguf_writer_u32(w, key, v);
}

static void add_tensor(gguf_writer *w, const difference *d, const char *name, uint64_t n_cols, uint64_t n_rows)
{
    uint64_t ne[2] = {n_cols, n_rows};
    if (!is_left_out(d, name)) gguf_writer_tensor(w, name, QUANT_F32, n_rows == 0 ? 1 : 2, ne);
}

/* 8 tokens, 16 wide, 2 layers of 4 heads over 2; of the layers' tensors only one norm and one matrix. */
static opened make(difference d)
{
    opened o = {0};
    size_t n;
    FILE *file = open_memstream(&o.bytes, &n);
    gguf_writer *w;
    yl_error err = {0};
    assert_int_equal(gguf_writer_new(&w, file, 32, &err), YL_OK);
    if (!is_left_out(&d, "general.architecture")) gguf_writer_str(w, "general.architecture", "llama");
    add_u32(w, &d, "llama.context_length", 128);
    add_u32(w, &d, "llama.embedding_length", 16);
    add_u32(w, &d, "llama.block_count", 2);
    add_u32(w, &d, "llama.feed_forward_length", 24);
    add_u32(w, &d, "llama.attention.head_count", 4);
    add_u32(w, &d, "llama.attention.head_count_kv", 2);
    if (!is_left_out(&d, "llama.attention.layer_norm_rms_epsilon")) {
        gguf_writer_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    }
    if (d.keys) d.keys(w);
    add_tensor(w, &d, "token_embd.weight", 16, 8);
    add_tensor(w, &d, "output.weight", 16, 8);
    add_tensor(w, &d, "blk.1.attn_norm.weight", 16, 0);
    add_tensor(w, &d, "blk.1.attn_k.weight", 16, 8);
    if (d.tensors) d.tensors(w);
    assert_int_equal(gguf_writer_begin_data(w, &err), YL_OK);
    static const uint8_t zeros[1 << 16];
    gguf_writer_data(w, zeros, sizeof zeros, &err); /* more than enough: the rest is refused */
    assert_int_equal(gguf_writer_finish(w, &err), YL_OK);
    gguf_writer_free(w);
    fclose(file);
    if (gguf_open_memory(&o.g, (uint8_t *)o.bytes, n, &err) != YL_OK) fail_msg("%s", err.msg);
    return o;
}

static void release(opened *o)
{
    gguf_free(o->g);
    free(o->bytes);
}

static hparams accepted(difference d)
{
    opened o = make(d);
    hparams hp;
    yl_error err = {0};
    if (hparams_read(&hp, o.g, &err) != YL_OK) fail_msg("%s", err.msg);
    assert_int_equal(hparams_check(&hp, &err), YL_OK);
    release(&o);
    return hp;
}

static void refused(difference d, yl_status status, const char *words)
{
    opened o = make(d);
    hparams hp;
    yl_error err = {0};
    assert_int_equal(hparams_read(&hp, o.g, &err), status);
    if (!strstr(err.msg, words)) fail_msg("'%s' is not in '%s'", words, err.msg);
    assert_non_null(strstr(err.msg, "(memory): "));
    release(&o);
}

static void dimensions_are_read_and_the_rest_has_defaults(void **state)
{
    (void)state;
    hparams hp = accepted((difference){0});
    assert_int_equal(hp.n_vocab, 8);
    assert_int_equal(hp.n_ctx_train, 128);
    assert_int_equal(hp.n_embd, 16);
    assert_int_equal(hp.n_layer, 2);
    assert_int_equal(hp.n_ff, 24);
    assert_int_equal(hp.n_head, 4);
    assert_int_equal(hp.n_head_kv, 2);
    assert_int_equal(hp.n_embd_head, 4);
    assert_int_equal(hp.n_rot, 4);
    assert_true(hp.rms_eps == 1e-5f);
    assert_true(hp.rope_freq_base == 10000);
    assert_int_equal(hp.rope_type, ROPE_SCALING_NONE);
    assert_true(hp.rope_factor == 1 && hp.rope_attn_factor == 1 && hp.rope_ext_factor == 1);
    assert_true(hp.rope_beta_fast == 32 && hp.rope_beta_slow == 1);
    assert_int_equal(hp.rope_orig_ctx, 128);
    assert_false(hp.tied_embeddings);
    hp = accepted((difference){.without = {"llama.attention.head_count_kv", "output.weight"}});
    assert_int_equal(hp.n_head_kv, 4);
    assert_true(hp.tied_embeddings);
}

static void add_head_sizes(gguf_writer *w)
{
    gguf_writer_u32(w, "llama.attention.key_length", 6);
    gguf_writer_u32(w, "llama.attention.value_length", 6);
    gguf_writer_u32(w, "llama.rope.dimension_count", 2);
    gguf_writer_f32(w, "llama.rope.freq_base", 500000);
}

static void heads_may_have_a_size_of_their_own(void **state)
{
    (void)state;
    hparams hp = accepted((difference){.keys = add_head_sizes});
    assert_int_equal(hp.n_embd_head, 6);
    assert_int_equal(hp.n_rot, 2);
    assert_true(hp.rope_freq_base == 500000);
    assert_int_equal(hparams_tensor_spec(&hp, TENSOR_ATTN_Q).n_rows, 24);
    assert_int_equal(hparams_tensor_spec(&hp, TENSOR_ATTN_OUTPUT).n_cols, 24);
    assert_int_equal(hparams_tensor_spec(&hp, TENSOR_ATTN_V).n_rows, 12);
    assert_int_equal(hparams_tensor_spec(&hp, TENSOR_ROPE_FREQS).n_cols, 1);
}

static void every_missing_key_is_named(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "general.architecture",
        "llama.context_length",
        "llama.embedding_length",
        "llama.block_count",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.layer_norm_rms_epsilon",
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char words[100];
        snprintf(words, sizeof words, "key '%s' is missing", keys[i]);
        refused((difference){.without = {keys[i]}}, YL_EFORMAT, words);
    }
    refused((difference){.without = {"token_embd.weight"}}, YL_EFORMAT, "'token_embd.weight': it is not a whole language model");
}

static void add_qwen2(gguf_writer *w)
{
    gguf_writer_str(w, "general.architecture", "qwen2");
}

static void add_hostile_architecture(gguf_writer *w)
{
    char long_name[1000];
    memset(long_name, 0x1b, sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    gguf_writer_str(w, "general.architecture", long_name);
}

static void another_architecture_is_named(void **state)
{
    (void)state;
    refused((difference){.without = {"general.architecture"}, .keys = add_qwen2}, YL_EUNSUPPORTED,
            "is a model of architecture 'qwen2', only 'llama' can be run");
    refused((difference){.without = {"general.architecture"}, .keys = add_hostile_architecture}, YL_EUNSUPPORTED, "'??????");
}

static void add_experts(gguf_writer *w)
{
    gguf_writer_u32(w, "llama.expert_count", 8);
}
static void add_no_experts(gguf_writer *w)
{
    gguf_writer_u32(w, "llama.expert_count", 0);
}
static void add_logit_scale(gguf_writer *w)
{
    gguf_writer_f32(w, "llama.logit_scale", 0.5f);
}
static void add_no_causality(gguf_writer *w)
{
    gguf_writer_bool(w, "llama.attention.causal", false);
}
static void add_two_sizes(gguf_writer *w)
{
    gguf_writer_u32(w, "llama.attention.key_length", 8);
    gguf_writer_u32(w, "llama.attention.value_length", 4);
}

static void features_that_change_the_result_are_refused_by_name(void **state)
{
    (void)state;
    refused((difference){.keys = add_experts}, YL_EUNSUPPORTED, "a mixture of experts (llama.expert_count is 8)");
    refused((difference){.keys = add_logit_scale}, YL_EUNSUPPORTED, "llama.logit_scale is 0.5");
    refused((difference){.keys = add_no_causality}, YL_EUNSUPPORTED, "llama.attention.causal");
    refused((difference){.keys = add_two_sizes}, YL_EUNSUPPORTED, "keys of 8 and values of 4 elements");
    accepted((difference){.keys = add_no_experts});
}

static void add_equal_layers(gguf_writer *w)
{
    static const uint32_t heads[] = {4, 4};
    static const int32_t kv[] = {2, 2}, ff[] = {24, 24};
    gguf_writer_numbers(w, "llama.attention.head_count", GGUF_U32, heads, 2);
    gguf_writer_numbers(w, "llama.attention.head_count_kv", GGUF_I32, kv, 2);
    gguf_writer_numbers(w, "llama.feed_forward_length", GGUF_I32, ff, 2);
}
static void add_unequal_layers(gguf_writer *w)
{
    static const int32_t ff[] = {24, 32};
    gguf_writer_numbers(w, "llama.feed_forward_length", GGUF_I32, ff, 2);
}
static void add_no_layers(gguf_writer *w)
{
    gguf_writer_numbers(w, "llama.feed_forward_length", GGUF_I32, NULL, 0);
}

static void a_number_a_layer_is_taken_when_all_are_equal(void **state)
{
    (void)state;
    hparams hp = accepted(
        (difference){.without = {"llama.attention.head_count", "llama.attention.head_count_kv", "llama.feed_forward_length"},
                     .keys = add_equal_layers});
    assert_int_equal(hp.n_head, 4);
    assert_int_equal(hp.n_head_kv, 2);
    assert_int_equal(hp.n_ff, 24);
    refused((difference){.without = {"llama.feed_forward_length"}, .keys = add_unequal_layers}, YL_EUNSUPPORTED,
            "layers of different shapes (key 'llama.feed_forward_length')");
    refused((difference){.without = {"llama.feed_forward_length"}, .keys = add_no_layers}, YL_EUNSUPPORTED, "feed_forward_length");
}

static void add_seven_tokens(gguf_writer *w)
{
    static const char *const tokens[] = {"a", "b", "c", "d", "e", "f", "g"};
    gguf_writer_strings(w, "tokenizer.ggml.tokens", tokens, 7);
}
static void add_eight_tokens(gguf_writer *w)
{
    static const char *const tokens[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    gguf_writer_strings(w, "tokenizer.ggml.tokens", tokens, 8);
}

static void the_tokenizer_must_know_as_many_tokens_as_the_embedding(void **state)
{
    (void)state;
    accepted((difference){.keys = add_eight_tokens});
    refused((difference){.keys = add_seven_tokens}, YL_EFORMAT, "has 8 rows, but tokenizer.ggml.tokens has 7");
}

static void add_old_linear(gguf_writer *w)
{
    gguf_writer_f32(w, "llama.rope.scale_linear", 4);
}
static void add_linear(gguf_writer *w)
{
    gguf_writer_str(w, "llama.rope.scaling.type", "linear");
    gguf_writer_f32(w, "llama.rope.scaling.factor", 8);
}
static void add_none(gguf_writer *w)
{
    gguf_writer_str(w, "llama.rope.scaling.type", "none");
    gguf_writer_f32(w, "llama.rope.scaling.factor", 8);
}
static void add_zero_factor(gguf_writer *w)
{
    gguf_writer_f32(w, "llama.rope.scaling.factor", 0);
}
static void add_longrope(gguf_writer *w)
{
    gguf_writer_str(w, "llama.rope.scaling.type", "longrope");
}
static void add_yarn(gguf_writer *w)
{
    gguf_writer_str(w, "llama.rope.scaling.type", "yarn");
    gguf_writer_f32(w, "llama.rope.scaling.factor", 16);
    gguf_writer_u32(w, "llama.rope.scaling.original_context_length", 32);
    gguf_writer_f32(w, "llama.rope.scaling.attn_factor", 0.5f);
    gguf_writer_f32(w, "llama.rope.scaling.yarn_attn_factor", 0.5f);
    gguf_writer_f32(w, "llama.rope.scaling.yarn_ext_factor", -1); /* not set */
    gguf_writer_f32(w, "llama.rope.scaling.yarn_beta_fast", 16);
    gguf_writer_f32(w, "llama.rope.scaling.yarn_beta_slow", 2);
}

static void rope_scaling_is_read_under_its_old_and_new_names(void **state)
{
    (void)state;
    hparams hp = accepted((difference){.keys = add_old_linear});
    assert_int_equal(hp.rope_type, ROPE_SCALING_LINEAR);
    assert_true(hp.rope_factor == 4);
    hp = accepted((difference){.keys = add_linear});
    assert_int_equal(hp.rope_type, ROPE_SCALING_LINEAR);
    assert_true(hp.rope_factor == 8);
    hp = accepted((difference){.keys = add_none});
    assert_int_equal(hp.rope_type, ROPE_SCALING_NONE);
    assert_true(hp.rope_factor == 1);
    hp = accepted((difference){.keys = add_zero_factor});
    assert_int_equal(hp.rope_type, ROPE_SCALING_NONE);
    assert_true(hp.rope_factor == 1);
    hp = accepted((difference){.keys = add_yarn});
    assert_int_equal(hp.rope_type, ROPE_SCALING_YARN);
    assert_true(hp.rope_factor == 16);
    assert_int_equal(hp.rope_orig_ctx, 32);
    assert_true(hp.rope_attn_factor == 0.25 && hp.rope_ext_factor == 1);
    assert_true(hp.rope_beta_fast == 16 && hp.rope_beta_slow == 2);
    refused((difference){.keys = add_longrope}, YL_EUNSUPPORTED, "'longrope'");
}

static void add_three_heads(gguf_writer *w)
{
    gguf_writer_u32(w, "llama.attention.head_count", 3);
}
static void add_wrong_type(gguf_writer *w)
{
    gguf_writer_str(w, "llama.embedding_length", "16");
}
static void add_nan_eps(gguf_writer *w)
{
    gguf_writer_f64(w, "llama.attention.layer_norm_rms_epsilon", 0.0 / 0.0);
}

static void contradictions_are_refused(void **state)
{
    (void)state;
    refused((difference){.without = {"llama.attention.head_count"}, .keys = add_three_heads}, YL_EFORMAT,
            "llama.embedding_length 16 is not a multiple of llama.attention.head_count 3");
    refused((difference){.without = {"llama.embedding_length"}, .keys = add_wrong_type}, YL_EFORMAT,
            "is a string, expected an integer");
    refused((difference){.without = {"llama.attention.layer_norm_rms_epsilon"}, .keys = add_nan_eps}, YL_EFORMAT, "epsilon");
}

/* Values as a peer could send them, one wrong at a time. */
static void check_refuses_each_wrong_value(void **state)
{
    (void)state;
    const hparams good = accepted((difference){.keys = add_yarn});
    const double nan = 0.0 / 0.0;
    hparams bad[40];
    size_t n = 0;
    for (size_t i = 0; i < 40; i++) bad[i] = good;
    bad[n++].n_vocab = 0;
    bad[n++].n_embd = 0;
    bad[n++].n_layer = 0;
    bad[n++].n_ff = 0;
    bad[n++].n_head = 0;
    bad[n++].n_head_kv = 0;
    bad[n++].n_head_kv = 3;
    bad[n++].n_head_kv = 8;
    bad[n++].n_embd_head = 0;
    bad[n++].n_rot = 0;
    bad[n++].n_rot = 3;
    bad[n++].n_rot = 6;
    bad[n++].rms_eps = (float)nan;
    bad[n++].rms_eps = -1e-6f;
    bad[n++].rms_eps = 1;
    bad[n++].rope_type = (rope_scaling)3;
    bad[n++].rope_type = (rope_scaling)-1;
    bad[n++].rope_freq_base = 0;
    bad[n++].rope_freq_base = 1;
    bad[n++].rope_freq_base = nan;
    bad[n++].rope_factor = -1;
    bad[n++].rope_factor = 1e300;
    bad[n++].rope_attn_factor = nan;
    bad[n++].rope_ext_factor = 1.5;
    bad[n++].rope_ext_factor = nan;
    bad[n++].rope_beta_fast = 0;
    bad[n++].rope_beta_slow = -2;
    bad[n++].rope_orig_ctx = 0;
    size_t limits = n;
    bad[n++].n_vocab = HPARAMS_MAX_VOCAB + 1;
    bad[n++].n_ctx_train = HPARAMS_MAX_CTX + 1;
    bad[n++].n_embd = UINT32_MAX;
    bad[n++].n_layer = HPARAMS_MAX_LAYER + 1;
    bad[n++].n_ff = HPARAMS_MAX_FF + 1;
    bad[n++].n_head = HPARAMS_MAX_HEAD + 4;
    bad[n++].n_embd_head = HPARAMS_MAX_EMBD_HEAD + 2;
    bad[n++].rope_orig_ctx = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        yl_error err = {0};
        assert_int_equal(hparams_check(&bad[i], &err), i < limits ? YL_EFORMAT : YL_ELIMIT);
        assert_true(err.msg[0]);
        assert_int_not_equal(hparams_check(&bad[i], NULL), YL_OK);
    }
}

static void tensors_are_named_as_in_files(void **state)
{
    (void)state;
    char name[TENSOR_NAME_BYTES];
    assert_string_equal(tensor_role_name(name, TENSOR_ATTN_Q, 7), "blk.7.attn_q.weight");
    assert_string_equal(tensor_role_name(name, TENSOR_ATTN_OUTPUT_BIAS, UINT32_MAX), "blk.4294967295.attn_output.bias");
    assert_string_equal(tensor_role_name(name, TENSOR_FFN_DOWN, 0), "blk.0.ffn_down.weight");
    assert_string_equal(tensor_role_name(name, TENSOR_TOKEN_EMBD, 7), "token_embd.weight");
    assert_string_equal(tensor_role_name(name, TENSOR_ROPE_FREQS, 0), "rope_freqs.weight");
}

static void add_odd_tensors(gguf_writer *w)
{
    uint64_t flat[1] = {16}, ne[2] = {16, 4}, deep[3] = {16, 24, 2};
    gguf_writer_tensor(w, "blk.1.attn_v.weight", QUANT_F32, 2, ne); /* half its rows */
    gguf_writer_tensor(w, "blk.1.ffn_norm.weight", QUANT_F16, 1, flat);
    gguf_writer_tensor(w, "blk.1.ffn_up.weight", QUANT_F32, 3, deep);
    gguf_writer_tensor(w, "blk.1.attn_q.bias", QUANT_F32, 1, flat);
}

static void tensors_are_found_only_in_their_shape(void **state)
{
    (void)state;
    opened o = make((difference){.tensors = add_odd_tensors});
    hparams hp;
    yl_error err = {0};
    const gguf_tensor *t;
    assert_int_equal(hparams_read(&hp, o.g, &err), YL_OK);
    assert_int_equal(hparams_find_tensor(&t, o.g, &hp, TENSOR_ATTN_K, 1, &err), YL_OK);
    assert_string_equal(t->name, "blk.1.attn_k.weight");
    assert_int_equal(hparams_find_tensor(&t, o.g, &hp, TENSOR_ATTN_NORM, 1, &err), YL_OK);
    assert_int_equal(hparams_find_tensor(&t, o.g, &hp, TENSOR_ATTN_Q_BIAS, 1, &err), YL_OK);
    assert_non_null(t);
    assert_int_equal(hparams_find_tensor(&t, o.g, &hp, TENSOR_ATTN_K_BIAS, 1, &err), YL_OK);
    assert_null(t);
    assert_int_equal(hparams_find_tensor(&t, o.g, &hp, TENSOR_ATTN_K, 0, &err), YL_EFORMAT);
    assert_string_equal(err.msg, "(memory): tensor 'blk.0.attn_k.weight' is missing");
    assert_int_equal(hparams_find_tensor(&t, o.g, &hp, TENSOR_ATTN_V, 1, &err), YL_EFORMAT);
    assert_non_null(strstr(err.msg, "the shape [16, 4, 1, 1], the metadata want [16, 8]"));
    assert_null(t);
    assert_int_equal(hparams_find_tensor(&t, o.g, &hp, TENSOR_FFN_NORM, 1, &err), YL_EFORMAT);
    assert_non_null(strstr(err.msg, "is of type F16, must be F32"));
    assert_int_equal(hparams_find_tensor(&t, o.g, &hp, TENSOR_FFN_UP, 1, &err), YL_EFORMAT);
    release(&o);
}

static void the_output_matrix_is_optional_only_where_embeddings_are_tied(void **state)
{
    (void)state;
    opened o = make((difference){.without = {"output.weight"}});
    hparams hp;
    yl_error err = {0};
    const gguf_tensor *t;
    assert_int_equal(hparams_read(&hp, o.g, &err), YL_OK);
    assert_int_equal(hparams_find_tensor(&t, o.g, &hp, TENSOR_OUTPUT, 0, &err), YL_OK);
    assert_null(t);
    hp.tied_embeddings = false;
    assert_int_equal(hparams_find_tensor(&t, o.g, &hp, TENSOR_OUTPUT, 0, &err), YL_EFORMAT);
    release(&o);
}

/* The generator of test models and the reader agree, in every format, split and whole. */
static void made_models_have_the_dimensions_of_their_spec(void **state)
{
    (void)state;
    static const char *const types[] = {"F32",  "F16",  "BF16", "Q4_0", "Q4_1",   "Q5_0",   "Q5_1",   "Q8_0",   "Q2_K",
                                        "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "Q4_K_M", "Q5_K_M", "Q3_K_M"};
    scratch_dir dir;
    char path[SCRATCH_PATH_BYTES], first[SCRATCH_PATH_BYTES];
    assert_true(scratch_dir_init(&dir));
    scratch_dir_path(&dir, path, "m.gguf");
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        model_spec spec = model_spec_default();
        spec.hp.tied_embeddings = i % 2;
        spec.rope_freqs = spec.biases = i % 3 == 0;
        spec.n_parts = i % 4 + 1;
        spec.hp.rope_type = i % 3;
        spec.hp.rope_factor = i % 3 ? 4 : 1;
        assert_true(model_spec_parse_type(&spec, types[i]));
        yl_error err = {0};
        if (model_maker_write(path, &spec, &err) != YL_OK) fail_msg("%s", err.msg);
        model_maker_part_path(first, sizeof first, path, 0, spec.n_parts);
        gguf *g;
        hparams hp;
        if (gguf_open(&g, first, &err) != YL_OK || hparams_read(&hp, g, &err) != YL_OK) fail_msg("%s", err.msg);
        assert_int_equal(hp.n_embd, 256);
        assert_int_equal(hp.n_embd_head, 64);
        assert_int_equal(hp.rope_type, spec.hp.rope_type);
        assert_int_equal(hp.tied_embeddings, spec.hp.tied_embeddings);
        for (tensor_role role = 0; role < TENSOR_ROLE_END; role++) {
            const gguf_tensor *t;
            if (hparams_find_tensor(&t, g, &hp, role, 1, &err) != YL_OK) fail_msg("%s", err.msg);
            if (!t) continue;
            const quant_traits *traits = quant_traits_of(t->type);
            size_t n_blocks = t->n_bytes / traits->block_bytes;
            assert_int_equal(quant_check_finite(t->type, t->data, n_blocks), n_blocks);
        }
        gguf_free(g);
    }
    scratch_dir_clear(&dir);
}

static void a_spec_whose_rows_are_not_whole_blocks_is_refused(void **state)
{
    (void)state;
    model_spec spec = model_spec_default();
    model_spec_set_type(&spec, QUANT_Q4_K);
    spec.hp.n_ff = 320;
    yl_error err = {0};
    assert_int_equal(model_maker_write("/nowhere/m.gguf", &spec, &err), YL_EINVAL);
    assert_string_equal(err.msg, "Q4_K needs rows of a multiple of 256 elements, but those of blk.0.ffn_down.weight have 320");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dimensions_are_read_and_the_rest_has_defaults),
        cmocka_unit_test(heads_may_have_a_size_of_their_own),
        cmocka_unit_test(every_missing_key_is_named),
        cmocka_unit_test(another_architecture_is_named),
        cmocka_unit_test(features_that_change_the_result_are_refused_by_name),
        cmocka_unit_test(a_number_a_layer_is_taken_when_all_are_equal),
        cmocka_unit_test(the_tokenizer_must_know_as_many_tokens_as_the_embedding),
        cmocka_unit_test(rope_scaling_is_read_under_its_old_and_new_names),
        cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(check_refuses_each_wrong_value),
        cmocka_unit_test(tensors_are_named_as_in_files),
        cmocka_unit_test(tensors_are_found_only_in_their_shape),
        cmocka_unit_test(the_output_matrix_is_optional_only_where_embeddings_are_tied),
        cmocka_unit_test(made_models_have_the_dimensions_of_their_spec),
        cmocka_unit_test(a_spec_whose_rows_are_not_whole_blocks_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
