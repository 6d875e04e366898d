/* random_weights.h: weights in any number format, of a wanted magnitude, quickly.
 *
 * The small integers of a block are plain random bits; its scales are chosen so that the weights they stand for have a mean near
 * zero and the wanted standard deviation. Not what a quantizer makes of a bell curve, but every bit of every field is in use. */
#ifndef YL_RANDOM_WEIGHTS_H
#define YL_RANDOM_WEIGHTS_H

#include "prng.h"
#include "quant.h"

/* The factor to give to random_weights for weights of this standard deviation. Found by measuring, which takes less than a
 * millisecond.
 */
float random_weights_scale(quant_type type, float std_deviation);

/* Fills n_blocks blocks (values, for F32, F16, BF16). dst: any alignment. */
void random_weights(quant_type type, void *dst, size_t n_blocks, float scale, prng *r);

/* Fills n_blocks blocks for tests of arithmetic: every other one is any bits at all whose scales are finite (negative, subnormal
 * and enormous ones too), those between are weights of a model's magnitude. */
void random_blocks(quant_type type, void *dst, size_t n_blocks, prng *r);

#endif
