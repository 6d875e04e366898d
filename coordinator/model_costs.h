/* model_costs.h: what a model file asks of the machines that run it: bytes and multiply-adds of each of its parts. */
#ifndef YL_MODEL_COSTS_H
#define YL_MODEL_COSTS_H

#include "gguf.h"
#include "hparams.h"
#include "kernels.h"
#include "placement.h"

typedef struct model_costs {
    placement_model model;
    placement_unit *layers; /* [n_layer], what model.layers points to */
    uint64_t fixed_bytes;   /* that a worker takes beside weights and KV cache: scratch, buffers, the process; an estimate */
} model_costs;

/* What is kept for each sequence. */
typedef struct model_use {
    uint32_t n_ctx, n_seq;
    kv_type type_k, type_v;
    uint32_t n_threads; /* of a worker */
} model_use;

/* Reads the costs out of an open model; its tensors' data is not touched. Weights count as workers keep them, in tiles.
 * YL_EFORMAT: a tensor is missing or of the wrong shape; YL_ELIMIT: sizes overflow; YL_ENOMEM. Clear it also after an error. */
yl_status model_costs_read(model_costs *out, const gguf *g, const hparams *hp, const model_use *use, yl_error *err);
void model_costs_clear(model_costs *c);

/* fixed_bytes alone, without what pages of the KV cache need to be found. */
uint64_t model_costs_fixed_bytes(const hparams *hp, const model_use *use);

#endif
