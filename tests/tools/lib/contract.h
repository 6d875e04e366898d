/* contract.h: the numerics contract (common/NUMERICS.md) written down a second time, for tests.
 *
 * One element at a time, bytes by their offsets, no structs, no tables of the product: slow, and sharing nothing with the kernels
 * that it is compared with, so a mistake would have to be made twice. Results are equal to the bit. */
#ifndef YL_TEST_CONTRACT_H
#define YL_TEST_CONTRACT_H

#include <stddef.h>
#include <stdint.h>

#include "quant.h"

/* N1 */
float contract_f16(uint16_t h);

/* N2: one block. q: [n]; returns d. Values are finite. */
float contract_quantize(int8_t *q, const float *x, size_t n);

/* N3 to N8: one row of weights times one row of activations. x: for F32, F16, BF16; q, d: for the others. */
float contract_dot(quant_type type, const uint8_t *row, const float *x, const int8_t *q, const float *d, size_t n_cols);

/* N10: sum of n values. */
float contract_sum(const float *x, size_t n);
/* y is not x. */
void contract_rmsnorm(float *y, const float *x, const float *w, size_t n, float eps);

/* N11: one head at one position. k, v: [n_pos, n_embd_head], as the cache's type holds them. */
void contract_attention(float *out, const float *q, const float *k, const float *v, size_t n_pos, size_t n_embd_head, float scale);

/* N12 */
float contract_exp(float x);

#endif
