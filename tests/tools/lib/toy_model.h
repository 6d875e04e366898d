/* toy_model.h: a small Llama of random weights in memory, for tests of what computes with weights.
 *
 * Its bytes are the test's to damage. Activations keep their magnitude from layer to layer, so that errors show in the logits. */
#ifndef YL_TOY_MODEL_H
#define YL_TOY_MODEL_H

#include "hparams.h"
#include "quant.h"

typedef struct toy_tensor {
    tensor_role role;
    uint32_t layer;
    quant_type type;
    uint64_t n_rows, n_cols, n_bytes;
    uint8_t *data; /* NULL: the model has no such tensor */
} toy_tensor;

typedef struct toy_spec {
    hparams hp;                        /* must pass hparams_check */
    quant_type types[TENSOR_ROLE_END]; /* of the matrices */
    bool has_biases, has_rope_factors;
    uint64_t seed;
} toy_spec;

typedef struct toy_model {
    hparams hp;
    uint32_t n_tensors;
    toy_tensor *tensors;
} toy_model;

/* The types of all matrices of a spec. */
void toy_spec_set_types(toy_spec *spec, quant_type type);

/* Exits the test program if the spec is impossible: that is a mistake in the test. */
toy_model *toy_model_new(const toy_spec *spec);
void toy_model_free(toy_model *m);

/* NULL: the model has no such tensor. layer: 0 for tensors of the whole model. */
toy_tensor *toy_model_find(const toy_model *m, tensor_role role, uint32_t layer);

/* A matrix or vector as f32, [n_rows * n_cols]; the caller frees it. */
float *toy_tensor_f32(const toy_tensor *t);

#endif
