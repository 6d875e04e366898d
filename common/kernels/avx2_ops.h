/* avx2_ops.h: a table's kernels but the matmul, on AVX2 and F16C; what they do is in kernels.h. */
#ifndef YL_KERNELS_AVX2_OPS_H
#define YL_KERNELS_AVX2_OPS_H

#include "kernels.h"

void avx2_quantize(int8_t *q, float *d, const float *x, size_t n, size_t block);
void avx2_rmsnorm(float *y, const float *x, const float *w, size_t n, float eps);
void avx2_rope(float *x, const float *cs, size_t n_head, size_t n_embd_head, size_t n_rot);
void avx2_swiglu(float *g, const float *u, size_t n);
void avx2_add(float *y, const float *x, size_t n);
void avx2_attention_scores(const attention *a, size_t page_begin, size_t page_end);
void avx2_attention_softmax(const attention *a, size_t begin, size_t end);
void avx2_attention_values(const attention *a, size_t d_begin, size_t d_end);
int avx2_kv_store(uint8_t *page, const kv_head *head, size_t pos_in_page, const float *k, const float *v, size_t n_embd_head);
void avx2_max_sum_exp(const float *x, size_t n, float *max, float *sum_exp);

#endif
