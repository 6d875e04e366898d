/* slice_range.c: the list of a slice's tensors, computed and never stored.
 *
 * The list is three runs, each empty or whole: what the embedding needs, what the layers need, what the head needs.
 *     token_embd | rope_freqs, layer_begin's 16, ..., layer_end - 1's 16 | output_norm, output
 * Its length depends on the range alone. With tied embeddings the head multiplies by token_embd: a head on its own has it in
 * output's place; a slice that holds the embedding too has it already, and `output` stays as an optional tensor that such a model
 * lacks. */
#include "slice_range.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

/* A layer in the order of its forward pass, each bias after its matrix. */
static const tensor_role layer_order[TENSOR_LAYER_END] = {
    TENSOR_ATTN_NORM,   TENSOR_ATTN_Q,      TENSOR_ATTN_Q_BIAS,      TENSOR_ATTN_K,        TENSOR_ATTN_K_BIAS, TENSOR_ATTN_V,
    TENSOR_ATTN_V_BIAS, TENSOR_ATTN_OUTPUT, TENSOR_ATTN_OUTPUT_BIAS, TENSOR_FFN_NORM,      TENSOR_FFN_GATE,    TENSOR_FFN_GATE_BIAS,
    TENSOR_FFN_UP,      TENSOR_FFN_UP_BIAS, TENSOR_FFN_DOWN,         TENSOR_FFN_DOWN_BIAS,
};

static uint32_t n_layer_tensors(const slice_range *r)
{
    uint32_t n_layer = r->layer_end - r->layer_begin;
    return n_layer ? 1 + n_layer * TENSOR_LAYER_END : 0; /* 1: rope_freqs */
}

uint32_t slice_range_n_tensors(const slice_range *r)
{
    return (r->has_embd ? 1 : 0) + n_layer_tensors(r) + (r->has_head ? 2 : 0);
}

slice_tensor slice_range_tensor_at(const slice_range *r, const hparams *hp, uint32_t i)
{
    assert(i < slice_range_n_tensors(r));
    if (r->has_embd) {
        if (i == 0) return (slice_tensor){TENSOR_TOKEN_EMBD, 0};
        i--;
    }
    if (i < n_layer_tensors(r)) {
        if (i == 0) return (slice_tensor){TENSOR_ROPE_FREQS, 0};
        i--;
        return (slice_tensor){layer_order[i % TENSOR_LAYER_END], r->layer_begin + i / TENSOR_LAYER_END};
    }
    i -= n_layer_tensors(r);
    if (i == 0) return (slice_tensor){TENSOR_OUTPUT_NORM, 0};
    return (slice_tensor){hp->tied_embeddings && !r->has_embd ? TENSOR_TOKEN_EMBD : TENSOR_OUTPUT, 0};
}

yl_status slice_range_check(const slice_range *r, const hparams *hp, yl_error *err)
{
    uint32_t begin = r->layer_begin, end = r->layer_end;
    if (begin > end || end > hp->n_layer)
        return yl_fail(err, YL_EFORMAT, "a slice of layers [%u, %u) does not lie in a model of %u layers", begin, end, hp->n_layer);
    if (begin == end) {
        if (!r->has_embd && !r->has_head)
            return yl_fail(err, YL_EFORMAT, "an empty slice: no embedding, no layer, no head; give it one of them");
        return YL_OK;
    }
    if (r->has_embd && begin != 0)
        return yl_fail(err, YL_EFORMAT, "a slice with the embedding and layers [%u, %u): between them layers are missing", begin,
                       end);
    if (r->has_head && end != hp->n_layer)
        return yl_fail(err, YL_EFORMAT, "a slice with layers [%u, %u) of %u and the head: between them layers are missing", begin,
                       end, hp->n_layer);
    return YL_OK;
}

char *slice_range_format(char out[SLICE_RANGE_TEXT_BYTES], const slice_range *r)
{
    size_t n = 0;
    uint32_t n_layer = r->layer_end - r->layer_begin;
    const char *separator = "";
    out[0] = 0;
    if (r->has_embd) n += (size_t)snprintf(out, SLICE_RANGE_TEXT_BYTES, "embedding"), separator = ", ";
    if (n_layer == 1)
        n += (size_t)snprintf(out + n, SLICE_RANGE_TEXT_BYTES - n, "%slayer %" PRIu32, separator, r->layer_begin), separator = ", ";
    if (n_layer > 1) {
        n += (size_t)snprintf(out + n, SLICE_RANGE_TEXT_BYTES - n, "%slayers %" PRIu32 "-%" PRIu32, separator, r->layer_begin,
                              r->layer_end - 1);
        separator = ", ";
    }
    if (r->has_head) snprintf(out + n, SLICE_RANGE_TEXT_BYTES - n, "%shead", separator);
    return out;
}
