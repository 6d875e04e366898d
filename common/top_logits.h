/* top_logits.h: the largest logits of a row, in the one order that all agree on: logit descending, then id ascending.
 *
 * A candidate is packed into one number, its key: smaller comes first. -0 counts as +0. The last stage of a chain picks with it
 * what it sends, the sampler what it looks at, so both mean the same "top 40" when logits are equal. */
#ifndef YL_TOP_LOGITS_H
#define YL_TOP_LOGITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "status.h"

/* High half: the logit's bits, turned so that larger logits are smaller numbers. Low half: the token. */
static inline uint64_t top_logits_key(float logit, int32_t token)
{
    float positive_zero = logit + 0.0f;
    uint32_t bits;
    memcpy(&bits, &positive_zero, sizeof bits);
    if (!(bits & 0x80000000)) bits = ~bits & 0x7fffffff;
    return (uint64_t)bits << 32 | (uint32_t)token;
}

static inline int32_t top_logits_token(uint64_t key)
{
    return (int32_t)(uint32_t)key;
}

static inline float top_logits_logit(uint64_t key)
{
    uint32_t bits = (uint32_t)(key >> 32);
    if (!(bits & 0x80000000)) bits = ~bits & 0x7fffffff;
    float logit;
    memcpy(&logit, &bits, sizeof logit);
    return logit;
}

/* Writes the keys of the n_top largest of row[n_vocab] to keys[n_top], in order. 1 <= n_top <= n_vocab.
 *   max   the largest logit, which the caller knows already
 *   tmp   scratch of n_top
 * YL_EFORMAT: a NaN or infinity, or `max` is not the largest; -infinity is a logit like others. Keys are then unspecified. */
yl_status top_logits_select(uint64_t *keys, uint32_t n_top, const float *row, uint32_t n_vocab, float max, uint64_t *tmp,
                            yl_error *err);

#endif
