/* rope.h: rotary position embedding (RoPE).
 *
 * Each pair of elements of a query or key is turned by an angle that grows with the token's position, so that q.k depends on the
 * distance between two tokens only. The angles depend on the model alone: they are computed in double with our own sin and cos, and
 * rounded once to f32; the hot path multiplies and adds.
 * Sources: Su et al., RoFormer, arXiv:2104.09864, section 3.4.2; YaRN: Peng et al., arXiv:2309.00071; linear scaling and
 * Llama 3.1's factors as llama.cpp applies them (ggml_rope_ext). */
#ifndef YL_ROPE_H
#define YL_ROPE_H

#include <stdint.h>

#include "hparams.h"

/* The frequencies of a model. Immutable, so threads share it. */
typedef struct rope rope;

/* Largest turn in radians a position that a model may ask for (ordinary ones: 1): with positions below HPARAMS_MAX_CTX, 2^24,
 * angles stay where yl_sin and yl_cos are exact. */
#define ROPE_MAX_FREQ 64.0

/* Of hp it reads n_rot and the rope_ fields:
 *   rope_freq_base     llama.rope.freq_base
 *   rope_type          llama.rope.scaling.type; a file with a factor and no type means linear
 *   rope_factor        llama.rope.scaling.factor: linear and YaRN divide by it; unused without scaling
 *   rope_attn_factor   llama.rope.scaling.attn_factor: cosines and sines are multiplied by it, with every type of scaling
 *   rope_orig_ctx, rope_ext_factor, rope_beta_fast, rope_beta_slow
 *                      YaRN only; ext_factor 1 is YaRN as published, 0 is linear scaling. YaRN with an ext_factor that is not 0
 *                      multiplies cosines and sines by 1 + 0.1 ln(rope_factor) as well.
 * factors: [n_rot / 2] f32 divisors of the frequencies (tensor rope_freqs.weight), or NULL for none; not kept.
 * YL_EINVAL: n_rot odd or beyond the limit, a number that is not finite and positive, or a frequency above ROPE_MAX_FREQ. Any byte
 * from a file or a peer may be given. */
yl_status rope_new(rope **out, const hparams *hp, const float *factors, yl_error *err);
void rope_free(rope *r);

/* The cosines and sines of one position, pos < HPARAMS_MAX_CTX, shared by all its heads and layers. cs: [n_rot] f32, pairs
 * (cos, sin). */
void rope_angles(const rope *r, uint32_t pos, float *cs);

#endif
