/* hparams.h: the dimensions of a model, and which tensors it is made of.
 *
 * Everything the forward pass needs to know about a Llama-family model, read from a GGUF's metadata and checked: a worker gets the
 * same struct in its ASSIGN frame. Names are GGUF's and llama.cpp's. */
#ifndef YL_HPARAMS_H
#define YL_HPARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "gguf.h"
#include "status.h"

typedef enum rope_scaling { ROPE_SCALING_NONE = 0, ROPE_SCALING_LINEAR = 1, ROPE_SCALING_YARN = 2 } rope_scaling;

typedef struct hparams {
    uint32_t n_vocab;     /* rows of token_embd.weight */
    uint32_t n_ctx_train; /* llama.context_length */
    uint32_t n_embd;      /* llama.embedding_length */
    uint32_t n_layer;     /* llama.block_count */
    uint32_t n_ff;        /* llama.feed_forward_length */
    uint32_t n_head;      /* llama.attention.head_count */
    uint32_t n_head_kv;   /* llama.attention.head_count_kv, default n_head; divides n_head */
    uint32_t n_embd_head; /* llama.attention.key_length (must equal value_length), default n_embd / n_head */
    uint32_t n_rot;       /* llama.rope.dimension_count, default n_embd_head; even, at most n_embd_head */
    float rms_eps;        /* llama.attention.layer_norm_rms_epsilon */

    double rope_freq_base;  /* llama.rope.freq_base, default 10000 */
    rope_scaling rope_type; /* llama.rope.scaling.type */
    double rope_factor; /* llama.rope.scaling.factor (or llama.rope.scale_linear), default 1: positions are divided by it. Without
                         * a type, a factor means linear scaling, as in llama.cpp */
    uint32_t rope_orig_ctx;  /* llama.rope.scaling.original_context_length, default n_ctx_train; YaRN only */
    double rope_attn_factor; /* llama.rope.scaling.attn_factor, for YaRN times .yarn_attn_factor; default 1 */
    double rope_ext_factor, rope_beta_fast, rope_beta_slow; /* YaRN, llama.rope.scaling.yarn_*; defaults 1, 32, 1 */

    bool tied_embeddings; /* there is no output.weight: the head multiplies by token_embd.weight */
} hparams;

/* Limits a model must keep: they bound what a peer's ASSIGN can make a worker allocate. */
enum {
    HPARAMS_MAX_VOCAB = 1 << 22,
    HPARAMS_MAX_EMBD = 1 << 17,
    HPARAMS_MAX_LAYER = 4096,
    HPARAMS_MAX_FF = 1 << 19,
    HPARAMS_MAX_HEAD = 1 << 12,
    HPARAMS_MAX_EMBD_HEAD = 1024,
    HPARAMS_MAX_CTX = 1 << 24
};

/* Reads and checks the hyperparameters. YL_EUNSUPPORTED names another architecture ("qwen2") or a feature (experts); YL_EFORMAT
 * names a missing or contradictory key. Messages begin with the file's path; *out is only written on success. */
yl_status hparams_read(hparams *out, const gguf *g, yl_error *err);

/* Checks the limits and relations above, for values that came from a peer as well as from a file. */
yl_status hparams_check(const hparams *hp, yl_error *err);

bool hparams_equal(const hparams *a, const hparams *b);

/* The tensors of a Llama model. A slice is: the embedding, layers, the output head; each asks for its own. */
typedef enum tensor_role {
    /* of a layer: blk.<i>.<name> */
    TENSOR_ATTN_NORM,
    TENSOR_ATTN_Q,
    TENSOR_ATTN_K,
    TENSOR_ATTN_V,
    TENSOR_ATTN_OUTPUT,
    TENSOR_FFN_NORM,
    TENSOR_FFN_GATE,
    TENSOR_FFN_UP,
    TENSOR_FFN_DOWN,
    TENSOR_ATTN_Q_BIAS,
    TENSOR_ATTN_K_BIAS,
    TENSOR_ATTN_V_BIAS,
    TENSOR_ATTN_OUTPUT_BIAS,
    TENSOR_FFN_GATE_BIAS,
    TENSOR_FFN_UP_BIAS,
    TENSOR_FFN_DOWN_BIAS,
    TENSOR_LAYER_END,
    /* of the whole model */
    TENSOR_TOKEN_EMBD = TENSOR_LAYER_END,
    TENSOR_OUTPUT_NORM,
    TENSOR_OUTPUT,
    TENSOR_ROPE_FREQS,
    TENSOR_ROLE_END
} tensor_role;

typedef struct tensor_spec {
    uint64_t n_rows, n_cols; /* shape [n_rows, n_cols]: ne[1], ne[0]; a vector has n_rows 1 */
    bool optional;           /* biases, rope_freqs; output where embeddings are tied */
    bool is_vector;          /* must be F32: norms, biases, rope_freqs */
} tensor_spec;

/* What a tensor of a role must look like in a model with these hyperparameters. */
tensor_spec hparams_tensor_spec(const hparams *hp, tensor_role role);

enum { TENSOR_NAME_BYTES = 65 };
/* Writes the tensor's GGUF name, "blk.7.attn_q.weight"; layer is ignored for roles of the whole model. Returns name. */
char *tensor_role_name(char name[TENSOR_NAME_BYTES], tensor_role role, uint32_t layer);

/* Finds a tensor of the model in a file and checks its shape and type against its spec. *out is NULL when it is optional and
 * absent. YL_EFORMAT: missing, or of another shape, or a vector that is not F32. */
yl_status hparams_find_tensor(const gguf_tensor **out, const gguf *g, const hparams *hp, tensor_role role, uint32_t layer,
                              yl_error *err);

#endif
