/* reference_forward.h: Llama in double, slowly, for tests.
 *
 * Written from the papers (Llama: arXiv:2302.13971; RoPE: arXiv:2104.09864; GQA: arXiv:2305.13245), with the C library's functions
 * and plain loops, and nothing of the product but the conversion of weights to f32. */
#ifndef YL_REFERENCE_FORWARD_H
#define YL_REFERENCE_FORWARD_H

#include "toy_model.h"

/* The logits after each of n tokens of one sequence: [n, n_vocab]; the caller frees them.
 * As the product does, the input of a quantized matrix is rounded to 8 bits in blocks; everything else is double. RoPE: freq_base,
 * linear scaling and factors; no YaRN. */
double *reference_forward(const toy_model *m, const int32_t *tokens, uint32_t n);

#endif
