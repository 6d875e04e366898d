/* slice_range.h: which part of a model one worker owns, and the tensors that part needs.
 *
 * A slice is any of: the token embedding, layers [layer_begin, layer_end), the output head (final norm and output matrix). */
#ifndef YL_SLICE_RANGE_H
#define YL_SLICE_RANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "hparams.h"

typedef struct slice_range {
    bool has_embd; /* turns token ids into rows */
    bool has_head; /* turns rows into logits */
    uint32_t layer_begin, layer_end;
} slice_range;

/* One tensor that a slice could need. `layer` is 0 for roles of the whole model. */
typedef struct slice_tensor {
    tensor_role role;
    uint32_t layer;
} slice_tensor;

/* How many slice_range_tensor_at can give for a range that slice_range_check took (16 a layer and at most 4 more). */
uint32_t slice_range_n_tensors(const slice_range *r);

/* The i-th tensor of a slice, in the order in which a forward pass meets them: embedding, rope_freqs, layers, output norm, output.
 * Tied embeddings: a slice with a head needs token_embd in place of output, once: a slice that has the embedding as well lists
 * output, which a tied model lacks. Optional tensors are listed, the model may not have them. Requires i <
 * slice_range_n_tensors(r). */
slice_tensor slice_range_tensor_at(const slice_range *r, const hparams *hp, uint32_t i);

/* Layers in order, begin <= end <= n_layer, not empty altogether; nothing missing between the embedding and the slice's layers, or
 * between them and the head. YL_EFORMAT says which. */
yl_status slice_range_check(const slice_range *r, const hparams *hp, yl_error *err);

/* "embedding, layers 0-15, head". Returns out. */
enum { SLICE_RANGE_TEXT_BYTES = 64 };
char *slice_range_format(char out[SLICE_RANGE_TEXT_BYTES], const slice_range *r);

#endif
