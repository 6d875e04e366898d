/* model_maker.h: Llama models with random weights, for tests.
 *
 * A model is a function of its spec: the same spec gives the same file. Weights have the magnitude of a trained model's, so that
 * activations neither fade nor explode over the layers and the logits are spread like a real model's (standard deviation
 * about 2.5): its texts are nonsense, but every step of the computation matters for them. The file has a SentencePiece vocabulary
 * in its metadata, so that llama.cpp loads it too (n_vocab of 259 and more, n_rot equal to n_embd_head). */
#ifndef YL_MODEL_MAKER_H
#define YL_MODEL_MAKER_H

#include "hparams.h"

typedef struct model_spec {
    hparams hp;                             /* n_head_kv, n_embd_head, n_rot, rope_orig_ctx: 0 takes the usual default */
    quant_type types[TENSOR_ROLE_END];      /* of each matrix; vectors are always F32 */
    quant_type more_types[TENSOR_ROLE_END]; /* of it in those layers that llama.cpp's "_M" mixes give more bits */
    bool biases;                            /* all seven kinds */
    bool rope_freqs;                        /* a tensor rope_freqs.weight, as Llama 3.1 has it */
    float logit_spread;                     /* standard deviation of the logits, about: 2.5 */
    uint64_t seed;
    uint32_t n_parts;   /* files; 1: not split */
    uint32_t alignment; /* general.alignment */
} model_spec;

/* A tiny model that every format can hold: 2 layers, 256 wide, 4 heads over 2, 320 tokens, F32. */
model_spec model_spec_default(void);

/* All matrices in one type. */
void model_spec_set_type(model_spec *spec, quant_type type);

/* A type's name ("Q8_0") or a mix of llama.cpp's ("Q4_K_M", "Q5_K_M", "Q3_K_M"). False: neither. Look at hp.tied_embeddings first.
 */
bool model_spec_parse_type(model_spec *spec, const char *name);

/* The dimensions of a real model: "llama-3.2-1b", "llama-3.2-3b", "llama-3-8b", "tinyllama-1.1b". False: unknown. Types stay. */
bool model_spec_parse_shape(model_spec *spec, const char *name);

/* Writes the model. In several parts, `path` "x.gguf" becomes "x-00001-of-00003.gguf" and so on.
 * YL_EINVAL: the spec makes no sense, such as rows that are no multiple of a format's block. */
yl_status model_maker_write(const char *path, const model_spec *spec, yl_error *err);

/* The path of part i, for a path as given to model_maker_write. */
void model_maker_part_path(char *out, size_t capacity, const char *path, uint32_t i, uint32_t n_parts);

#endif
