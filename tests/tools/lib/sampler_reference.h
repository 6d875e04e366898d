/* sampler_reference.h: the sampler again, slow and plain, to hold the real one against.
 *
 * Written from the samplers' definitions with the C library's mathematics, all logits in one array that is sorted whole, histories
 * searched place by place. It shares nothing with the sampler but the random numbers and the types of its header. */
#ifndef YL_SAMPLER_REFERENCE_H
#define YL_SAMPLER_REFERENCE_H

#include "sampler.h"

typedef struct reference_input {
    const sampler_settings *settings;
    uint32_t n_vocab, n_ctx;
    const int32_t *history; /* [n_history] oldest first */
    size_t n_history;
    double mu; /* mirostat */
    const float *row;
    uint64_t index;
} reference_input;

/* Returns the token, -1: none is left. */
int32_t reference_sample(const reference_input *in, double *probability);

#endif
