/* hparams.c: from metadata to dimensions, and from dimensions to the shape of every tensor.
 *
 * Keys and defaults are llama.cpp's for the architecture "llama" (src/llama-arch.cpp, src/llama-model.cpp). A key that would change
 * the result and is not implemented is refused by name: a wrong answer would be worse than none. */
#include "hparams.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool str_equals(gguf_str s, const char *text)
{
    return s.n_bytes == strlen(text) && memcmp(s.data, text, s.n_bytes) == 0;
}

/* Strings out of the file, cut for messages. */
static int shown(gguf_str s)
{
    return s.n_bytes < 60 ? (int)s.n_bytes : 60;
}

static yl_status check_architecture(const gguf *g, yl_error *err)
{
    gguf_str arch;
    yl_status status = gguf_get_str(g, "general.architecture", &arch, err);
    if (status || str_equals(arch, "llama")) return status;
    return yl_fail(err, YL_EUNSUPPORTED, "is a model of architecture '%.*s', only 'llama' can be run", shown(arch), arch.data);
}

/* Keys that other members of the family use to compute something else than we do. Zero means: not used. */
static yl_status refuse_features(const gguf *g, yl_error *err)
{
    static const struct {
        const char *key, *what;
    } features[] = {
        {"llama.expert_count", "a mixture of experts"},
        {"llama.attention.scale", "an attention scale of its own"},
        {"llama.logit_scale", "scaled logits"},
        {"llama.residual_scale", "scaled residuals"},
        {"llama.embedding_scale", "scaled embeddings"},
        {"llama.rope.scaling.alpha", "RoPE scaling by alpha"},
        {"llama.rope.scaling.yarn_log_multiplier", "YaRN with a logarithmic multiplier"},
    };
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        double value;
        yl_status status = gguf_get_f64_or(g, features[i].key, 0, &value, err);
        if (status) return status;
        if (value == 0) continue;
        return yl_fail(err, YL_EUNSUPPORTED, "has %s (%s is %g), which is not implemented", features[i].what, features[i].key,
                       value);
    }
    bool causal;
    yl_status status = gguf_get_bool_or(g, "llama.attention.causal", true, &causal, err);
    if (status || causal) return status;
    return yl_fail(err, YL_EUNSUPPORTED,
                   "has attention to later positions (llama.attention.causal is false), which is not implemented");
}

/* A count that may also be given as one number a layer: taken when all layers agree. */
static yl_status read_per_layer(const gguf *g, const char *key, uint32_t *out, yl_error *err)
{
    const gguf_kv *kv = gguf_find_kv(g, key);
    if (!kv || kv->type != GGUF_ARRAY) return gguf_get_u32(g, key, out, err);
    int32_t *values;
    size_t n;
    yl_status status = gguf_get_i32s(g, key, &values, &n, err);
    if (status) return status;
    bool equal = n > 0 && values[0] >= 0;
    for (size_t i = 1; i < n && equal; i++) equal = values[i] == values[0];
    if (equal)
        *out = (uint32_t)values[0];
    else
        status = yl_fail(err, YL_EUNSUPPORTED, "has layers of different shapes (key '%s'), which is not implemented", key);
    free(values);
    return status;
}

/* The vocabulary's size is the embedding's number of rows; the tokenizer must know as many tokens. */
static yl_status read_n_vocab(const gguf *g, uint32_t *out, yl_error *err)
{
    const gguf_tensor *embd = gguf_find_tensor(g, "token_embd.weight");
    if (!embd) return yl_fail(err, YL_EFORMAT, "has no tensor 'token_embd.weight': it is not a whole language model");
    if (embd->ne[1] > HPARAMS_MAX_VOCAB) {
        return yl_fail(err, YL_ELIMIT, "has %" PRIu64 " tokens, the limit is %d", embd->ne[1], HPARAMS_MAX_VOCAB);
    }
    const gguf_kv *tokens = gguf_find_kv(g, "tokenizer.ggml.tokens");
    if (tokens && (tokens->type != GGUF_ARRAY || tokens->n != embd->ne[1])) {
        return yl_fail(err, YL_EFORMAT, "tensor 'token_embd.weight' has %" PRIu64 " rows, but tokenizer.ggml.tokens has %" PRIu64,
                       embd->ne[1], tokens->type == GGUF_ARRAY ? tokens->n : 0);
    }
    *out = (uint32_t)embd->ne[1];
    return YL_OK;
}

/* Head size: given twice, for keys and values, or by division. Requires n_embd, n_head. */
static yl_status read_head_size(hparams *hp, const gguf *g, yl_error *err)
{
    uint32_t by_division = hp->n_head ? hp->n_embd / hp->n_head : 0, value_length;
    yl_status status = gguf_get_u32_or(g, "llama.attention.key_length", by_division, &hp->n_embd_head, err);
    if (!status) status = gguf_get_u32_or(g, "llama.attention.value_length", by_division, &value_length, err);
    if (status) return status;
    if (hp->n_embd_head != value_length) {
        return yl_fail(err, YL_EUNSUPPORTED,
                       "has keys of %" PRIu32 " and values of %" PRIu32 " elements a head, which is not implemented",
                       hp->n_embd_head, value_length);
    }
    bool given = gguf_find_kv(g, "llama.attention.key_length") || gguf_find_kv(g, "llama.attention.value_length");
    if (!given && hp->n_head && hp->n_embd % hp->n_head != 0) {
        return yl_fail(err, YL_EFORMAT,
                       "llama.embedding_length %" PRIu32 " is not a multiple of llama.attention.head_count %" PRIu32, hp->n_embd,
                       hp->n_head);
    }
    return gguf_get_u32_or(g, "llama.rope.dimension_count", hp->n_embd_head, &hp->n_rot, err);
}

static yl_status read_shape(hparams *hp, const gguf *g, yl_error *err)
{
    yl_status status = gguf_get_u32(g, "llama.context_length", &hp->n_ctx_train, err);
    if (!status) status = gguf_get_u32(g, "llama.embedding_length", &hp->n_embd, err);
    if (!status) status = gguf_get_u32(g, "llama.block_count", &hp->n_layer, err);
    if (!status) status = read_per_layer(g, "llama.feed_forward_length", &hp->n_ff, err);
    if (!status) status = read_per_layer(g, "llama.attention.head_count", &hp->n_head, err);
    if (status) return status;
    hp->n_head_kv = hp->n_head;
    if (gguf_find_kv(g, "llama.attention.head_count_kv")) {
        status = read_per_layer(g, "llama.attention.head_count_kv", &hp->n_head_kv, err);
    }
    if (!status) status = read_head_size(hp, g, err);
    if (!status) status = read_n_vocab(g, &hp->n_vocab, err);
    if (status) return status;
    double eps;
    if (!gguf_find_kv(g, "llama.attention.layer_norm_rms_epsilon")) {
        return yl_fail(err, YL_EFORMAT, "key 'llama.attention.layer_norm_rms_epsilon' is missing");
    }
    status = gguf_get_f64_or(g, "llama.attention.layer_norm_rms_epsilon", 0, &eps, err);
    hp->rms_eps = (float)eps;
    hp->tied_embeddings = !gguf_find_tensor(g, "output.weight");
    return status;
}

/* The factor has two names; zero stands for "none". Without a type, a factor means linear scaling: so did the oldest files. */
static yl_status read_rope_scaling(hparams *hp, const gguf *g, yl_error *err)
{
    gguf_str type;
    yl_status status = gguf_get_str_or(g, "llama.rope.scaling.type", "linear", &type, err);
    double old_factor;
    if (!status) status = gguf_get_f64_or(g, "llama.rope.scale_linear", 1, &old_factor, err);
    if (!status) status = gguf_get_f64_or(g, "llama.rope.scaling.factor", old_factor, &hp->rope_factor, err);
    if (status) return status;
    if (hp->rope_factor == 0) hp->rope_factor = 1;
    if (str_equals(type, "yarn")) {
        hp->rope_type = ROPE_SCALING_YARN;
    } else if (str_equals(type, "none")) {
        hp->rope_factor = 1;
    } else if (str_equals(type, "linear")) {
        hp->rope_type = hp->rope_factor == 1 ? ROPE_SCALING_NONE : ROPE_SCALING_LINEAR;
    } else {
        return yl_fail(err, YL_EUNSUPPORTED, "has RoPE scaling of type '%.*s', which is not implemented", shown(type), type.data);
    }
    return YL_OK;
}

static yl_status read_rope(hparams *hp, const gguf *g, yl_error *err)
{
    yl_status status = gguf_get_f64_or(g, "llama.rope.freq_base", 10000, &hp->rope_freq_base, err);
    if (!status) status = read_rope_scaling(hp, g, err);
    if (!status) {
        status = gguf_get_u32_or(g, "llama.rope.scaling.original_context_length", hp->n_ctx_train, &hp->rope_orig_ctx, err);
    }
    /* The magnitude has two keys as well: one that llama.cpp applies to every type of scaling, and YaRN's own. */
    double yarn_attn_factor;
    if (!status) status = gguf_get_f64_or(g, "llama.rope.scaling.attn_factor", 1, &hp->rope_attn_factor, err);
    if (!status) status = gguf_get_f64_or(g, "llama.rope.scaling.yarn_attn_factor", 1, &yarn_attn_factor, err);
    if (!status) status = gguf_get_f64_or(g, "llama.rope.scaling.yarn_ext_factor", 1, &hp->rope_ext_factor, err);
    if (!status) status = gguf_get_f64_or(g, "llama.rope.scaling.yarn_beta_fast", 32, &hp->rope_beta_fast, err);
    if (!status) status = gguf_get_f64_or(g, "llama.rope.scaling.yarn_beta_slow", 1, &hp->rope_beta_slow, err);
    if (status) return status;
    if (hp->rope_type == ROPE_SCALING_YARN) hp->rope_attn_factor *= yarn_attn_factor;
    if (hp->rope_ext_factor < 0) hp->rope_ext_factor = 1; /* "not set", in llama.cpp's files */
    return YL_OK;
}

yl_status hparams_read(hparams *out, const gguf *g, yl_error *err)
{
    hparams hp;
    memset(&hp, 0, sizeof hp);
    yl_status status = check_architecture(g, err);
    if (!status) status = refuse_features(g, err);
    if (!status) status = read_shape(&hp, g, err);
    if (!status) status = read_rope(&hp, g, err);
    if (!status) status = hparams_check(&hp, err);
    if (status) {
        yl_error_context(err, "%s: ", gguf_path(g));
        return status;
    }
    *out = hp;
    return YL_OK;
}

static yl_status check_limits(const hparams *hp, yl_error *err)
{
    const struct {
        const char *name;
        uint32_t value, limit;
    } counts[] = {
        {"vocabulary size", hp->n_vocab, HPARAMS_MAX_VOCAB},
        {"context length", hp->n_ctx_train, HPARAMS_MAX_CTX},
        {"embedding length", hp->n_embd, HPARAMS_MAX_EMBD},
        {"number of layers", hp->n_layer, HPARAMS_MAX_LAYER},
        {"feed forward length", hp->n_ff, HPARAMS_MAX_FF},
        {"number of heads", hp->n_head, HPARAMS_MAX_HEAD},
        {"number of key and value heads", hp->n_head_kv, HPARAMS_MAX_HEAD},
        {"head size", hp->n_embd_head, HPARAMS_MAX_EMBD_HEAD},
        {"RoPE dimension count", hp->n_rot, HPARAMS_MAX_EMBD_HEAD},
        {"original context length", hp->rope_orig_ctx, HPARAMS_MAX_CTX},
    };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        if (counts[i].value == 0) return yl_fail(err, YL_EFORMAT, "the %s is 0", counts[i].name);
        if (counts[i].value <= counts[i].limit) continue;
        return yl_fail(err, YL_ELIMIT, "the %s is %" PRIu32 ", the limit is %" PRIu32, counts[i].name, counts[i].value,
                       counts[i].limit);
    }
    return YL_OK;
}

/* Positive and far from the ends of what a double or float can hold, so that products of two of them are too. */
static bool is_sane(double x)
{
    return x >= 1e-9 && x <= 1e15;
}

static yl_status check_rope(const hparams *hp, yl_error *err)
{
    if (hp->n_rot % 2 != 0 || hp->n_rot > hp->n_embd_head) {
        return yl_fail(err, YL_EFORMAT,
                       "RoPE turns %" PRIu32 " elements of a head of %" PRIu32 ": it must be an even number of them", hp->n_rot,
                       hp->n_embd_head);
    }
    if ((uint32_t)hp->rope_type > ROPE_SCALING_YARN) {
        return yl_fail(err, YL_EFORMAT, "RoPE scaling of type %" PRIu32 " does not exist", (uint32_t)hp->rope_type);
    }
    const struct {
        const char *name;
        double value;
    } factors[] = {
        {"frequency base", hp->rope_freq_base}, {"scaling factor", hp->rope_factor},    {"attention factor", hp->rope_attn_factor},
        {"YaRN beta_fast", hp->rope_beta_fast}, {"YaRN beta_slow", hp->rope_beta_slow},
    };
    for (size_t i = 0; i < sizeof factors / sizeof factors[0]; i++) {
        if (!is_sane(factors[i].value)) return yl_fail(err, YL_EFORMAT, "RoPE's %s is %g", factors[i].name, factors[i].value);
    }
    if (!(hp->rope_ext_factor >= 0 && hp->rope_ext_factor <= 1)) {
        return yl_fail(err, YL_EFORMAT, "YaRN's extrapolation factor is %g, not within [0, 1]", hp->rope_ext_factor);
    }
    if (hp->rope_type == ROPE_SCALING_YARN && hp->rope_freq_base <= 1) {
        return yl_fail(err, YL_EFORMAT, "RoPE's frequency base is %g, YaRN needs more than 1", hp->rope_freq_base);
    }
    return YL_OK;
}

bool hparams_equal(const hparams *a, const hparams *b)
{
    return a->n_vocab == b->n_vocab && a->n_ctx_train == b->n_ctx_train && a->n_embd == b->n_embd && a->n_layer == b->n_layer &&
           a->n_ff == b->n_ff && a->n_head == b->n_head && a->n_head_kv == b->n_head_kv && a->n_embd_head == b->n_embd_head &&
           a->n_rot == b->n_rot && a->rms_eps == b->rms_eps && a->rope_freq_base == b->rope_freq_base &&
           a->rope_type == b->rope_type && a->rope_factor == b->rope_factor && a->rope_orig_ctx == b->rope_orig_ctx &&
           a->rope_attn_factor == b->rope_attn_factor && a->rope_ext_factor == b->rope_ext_factor &&
           a->rope_beta_fast == b->rope_beta_fast && a->rope_beta_slow == b->rope_beta_slow &&
           a->tied_embeddings == b->tied_embeddings;
}

yl_status hparams_check(const hparams *hp, yl_error *err)
{
    yl_status status = check_limits(hp, err);
    if (status) return status;
    if (hp->n_head % hp->n_head_kv != 0) {
        return yl_fail(err, YL_EFORMAT, "%" PRIu32 " heads cannot share %" PRIu32 " key and value heads evenly", hp->n_head,
                       hp->n_head_kv);
    }
    if (!(hp->rms_eps >= 0 && hp->rms_eps < 1)) {
        return yl_fail(err, YL_EFORMAT, "the epsilon of RMSNorm is %g, not within [0, 1)", (double)hp->rms_eps);
    }
    return check_rope(hp, err);
}

tensor_spec hparams_tensor_spec(const hparams *hp, tensor_role role)
{
    uint64_t n_embd = hp->n_embd, n_ff = hp->n_ff;
    uint64_t n_q = (uint64_t)hp->n_head * hp->n_embd_head, n_kv = (uint64_t)hp->n_head_kv * hp->n_embd_head;
    switch (role) {
    case TENSOR_ATTN_NORM:
    case TENSOR_FFN_NORM:
    case TENSOR_OUTPUT_NORM: return (tensor_spec){.n_rows = 1, .n_cols = n_embd, .is_vector = true};
    case TENSOR_ATTN_Q: return (tensor_spec){.n_rows = n_q, .n_cols = n_embd};
    case TENSOR_ATTN_K:
    case TENSOR_ATTN_V: return (tensor_spec){.n_rows = n_kv, .n_cols = n_embd};
    case TENSOR_ATTN_OUTPUT: return (tensor_spec){.n_rows = n_embd, .n_cols = n_q};
    case TENSOR_FFN_GATE:
    case TENSOR_FFN_UP: return (tensor_spec){.n_rows = n_ff, .n_cols = n_embd};
    case TENSOR_FFN_DOWN: return (tensor_spec){.n_rows = n_embd, .n_cols = n_ff};
    case TENSOR_ATTN_Q_BIAS: return (tensor_spec){.n_rows = 1, .n_cols = n_q, .optional = true, .is_vector = true};
    case TENSOR_ATTN_K_BIAS:
    case TENSOR_ATTN_V_BIAS: return (tensor_spec){.n_rows = 1, .n_cols = n_kv, .optional = true, .is_vector = true};
    case TENSOR_ATTN_OUTPUT_BIAS:
    case TENSOR_FFN_DOWN_BIAS: return (tensor_spec){.n_rows = 1, .n_cols = n_embd, .optional = true, .is_vector = true};
    case TENSOR_FFN_GATE_BIAS:
    case TENSOR_FFN_UP_BIAS: return (tensor_spec){.n_rows = 1, .n_cols = n_ff, .optional = true, .is_vector = true};
    case TENSOR_TOKEN_EMBD: return (tensor_spec){.n_rows = hp->n_vocab, .n_cols = n_embd};
    case TENSOR_OUTPUT: return (tensor_spec){.n_rows = hp->n_vocab, .n_cols = n_embd, .optional = hp->tied_embeddings};
    case TENSOR_ROPE_FREQS: return (tensor_spec){.n_rows = 1, .n_cols = hp->n_rot / 2, .optional = true, .is_vector = true};
    case TENSOR_ROLE_END: break;
    }
    return (tensor_spec){0};
}

char *tensor_role_name(char name[TENSOR_NAME_BYTES], tensor_role role, uint32_t layer)
{
    static const char *const names[TENSOR_ROLE_END] = {
        [TENSOR_ATTN_NORM] = "attn_norm.weight",
        [TENSOR_ATTN_Q] = "attn_q.weight",
        [TENSOR_ATTN_K] = "attn_k.weight",
        [TENSOR_ATTN_V] = "attn_v.weight",
        [TENSOR_ATTN_OUTPUT] = "attn_output.weight",
        [TENSOR_FFN_NORM] = "ffn_norm.weight",
        [TENSOR_FFN_GATE] = "ffn_gate.weight",
        [TENSOR_FFN_UP] = "ffn_up.weight",
        [TENSOR_FFN_DOWN] = "ffn_down.weight",
        [TENSOR_ATTN_Q_BIAS] = "attn_q.bias",
        [TENSOR_ATTN_K_BIAS] = "attn_k.bias",
        [TENSOR_ATTN_V_BIAS] = "attn_v.bias",
        [TENSOR_ATTN_OUTPUT_BIAS] = "attn_output.bias",
        [TENSOR_FFN_GATE_BIAS] = "ffn_gate.bias",
        [TENSOR_FFN_UP_BIAS] = "ffn_up.bias",
        [TENSOR_FFN_DOWN_BIAS] = "ffn_down.bias",
        [TENSOR_TOKEN_EMBD] = "token_embd.weight",
        [TENSOR_OUTPUT_NORM] = "output_norm.weight",
        [TENSOR_OUTPUT] = "output.weight",
        [TENSOR_ROPE_FREQS] = "rope_freqs.weight",
    };
    if (role < TENSOR_LAYER_END)
        snprintf(name, TENSOR_NAME_BYTES, "blk.%" PRIu32 ".%s", layer, names[role]);
    else
        snprintf(name, TENSOR_NAME_BYTES, "%s", names[role]);
    return name;
}

static yl_status check_tensor(const gguf_tensor *t, const tensor_spec *spec, yl_error *err)
{
    if (t->ne[0] != spec->n_cols || t->ne[1] != spec->n_rows || t->ne[2] != 1 || t->ne[3] != 1) {
        return yl_fail(err, YL_EFORMAT,
                       "tensor '%s' has the shape [%" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64 "], the metadata want [%" PRIu64
                       ", %" PRIu64 "]",
                       t->name, t->ne[0], t->ne[1], t->ne[2], t->ne[3], spec->n_cols, spec->n_rows);
    }
    if (spec->is_vector && t->type != QUANT_F32) {
        return yl_fail(err, YL_EFORMAT, "tensor '%s' is of type %s, must be F32", t->name, quant_type_name(t->type));
    }
    return YL_OK;
}

yl_status hparams_find_tensor(const gguf_tensor **out, const gguf *g, const hparams *hp, tensor_role role, uint32_t layer,
                              yl_error *err)
{
    *out = NULL;
    char name[TENSOR_NAME_BYTES];
    const gguf_tensor *t = gguf_find_tensor(g, tensor_role_name(name, role, layer));
    tensor_spec spec = hparams_tensor_spec(hp, role);
    if (!t && spec.optional) return YL_OK;
    if (!t) return yl_fail(err, YL_EFORMAT, "%s: tensor '%s' is missing", gguf_path(g), name);
    yl_status status = check_tensor(t, &spec, err);
    if (status) {
        yl_error_context(err, "%s: ", gguf_path(g));
        return status;
    }
    *out = t;
    return YL_OK;
}
