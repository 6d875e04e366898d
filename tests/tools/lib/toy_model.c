/* toy_model.c: tensors one by one, each with a stream of random numbers of its own, so that a change of one changes no other. */
#include "toy_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "random_weights.h"

static void *must_alloc(size_t n_bytes)
{
    void *p = malloc(n_bytes);
    if (p) return p;
    fprintf(stderr, "toy_model: no memory\n");
    exit(1);
}

void toy_spec_set_types(toy_spec *spec, quant_type type)
{
    for (int role = 0; role < TENSOR_ROLE_END; role++) spec->types[role] = type;
}

static bool is_bias(tensor_role role)
{
    return role >= TENSOR_ATTN_Q_BIAS && role < TENSOR_LAYER_END;
}

static bool is_present(const toy_spec *spec, tensor_role role)
{
    if (is_bias(role)) return spec->has_biases;
    if (role == TENSOR_ROPE_FREQS) return spec->has_rope_factors;
    if (role == TENSOR_OUTPUT) return !spec->hp.tied_embeddings;
    return true;
}

/* Norms and factors are positive and around 1, biases small and of both signs. */
static void fill_vector(toy_tensor *t, prng *r)
{
    float *x = (float *)(void *)t->data;
    for (uint64_t i = 0; i < t->n_cols; i++) {
        float u = prng_f32(r);
        x[i] = is_bias(t->role) ? 0.4f * (u - 0.5f) : t->role == TENSOR_ROPE_FREQS ? 1 + 7 * u : 0.5f + u;
    }
}

static void fill_matrix(toy_tensor *t, prng *r)
{
    float deviation = t->role == TENSOR_TOKEN_EMBD ? 1.0f : 1.0f / sqrtf((float)t->n_cols);
    const quant_traits *traits = quant_traits_of(t->type);
    random_weights(t->type, t->data, (size_t)(t->n_bytes / traits->block_bytes), random_weights_scale(t->type, deviation), r);
}

static void add_tensor(toy_model *m, const toy_spec *spec, tensor_role role, uint32_t layer)
{
    tensor_spec shape = hparams_tensor_spec(&spec->hp, role);
    toy_tensor *t = &m->tensors[m->n_tensors++];
    *t = (toy_tensor){.role = role,
                      .layer = layer,
                      .type = shape.is_vector ? QUANT_F32 : spec->types[role],
                      .n_rows = shape.n_rows,
                      .n_cols = shape.n_cols};
    uint64_t row_bytes;
    if (!quant_row_bytes(t->type, t->n_cols, &row_bytes)) {
        fprintf(stderr, "toy_model: rows of %u cannot be %s\n", (unsigned)t->n_cols, quant_type_name(t->type));
        exit(1);
    }
    t->n_bytes = row_bytes * t->n_rows;
    t->data = must_alloc((size_t)t->n_bytes);
    prng r = prng_stream(spec->seed, (uint64_t)role, layer);
    if (shape.is_vector)
        fill_vector(t, &r);
    else
        fill_matrix(t, &r);
}

toy_model *toy_model_new(const toy_spec *spec)
{
    yl_error err;
    if (hparams_check(&spec->hp, &err)) {
        fprintf(stderr, "toy_model: %s\n", err.msg);
        exit(1);
    }
    toy_model *m = must_alloc(sizeof *m);
    m->hp = spec->hp;
    m->n_tensors = 0;
    m->tensors = must_alloc(((size_t)spec->hp.n_layer * TENSOR_LAYER_END + TENSOR_ROLE_END) * sizeof *m->tensors);
    for (int role = 0; role < TENSOR_ROLE_END; role++) {
        uint32_t n = role < TENSOR_LAYER_END ? spec->hp.n_layer : 1;
        for (uint32_t layer = 0; layer < n && is_present(spec, (tensor_role)role); layer++)
            add_tensor(m, spec, (tensor_role)role, layer);
    }
    return m;
}

void toy_model_free(toy_model *m)
{
    if (!m) return;
    for (uint32_t i = 0; i < m->n_tensors; i++) free(m->tensors[i].data);
    free(m->tensors);
    free(m);
}

toy_tensor *toy_model_find(const toy_model *m, tensor_role role, uint32_t layer)
{
    for (uint32_t i = 0; i < m->n_tensors; i++) {
        if (m->tensors[i].role == role && m->tensors[i].layer == layer) return &m->tensors[i];
    }
    return NULL;
}

float *toy_tensor_f32(const toy_tensor *t)
{
    float *x = must_alloc((size_t)(t->n_rows * t->n_cols) * sizeof *x);
    uint64_t row_bytes = t->n_bytes / t->n_rows;
    for (uint64_t i = 0; i < t->n_rows; i++)
        quant_dequantize_row(t->type, t->data + i * row_bytes, x + i * t->n_cols, (size_t)t->n_cols);
    return x;
}
