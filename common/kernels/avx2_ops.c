/* avx2_ops.c: the bodies of kernels compiled for AVX2 and F16C. The build sets the flags of this file alone. */
#include "avx2_ops.h"

#include "attention_body.h"
#include "kv_store_body.h"
#include "ops_body.h"

void avx2_quantize(int8_t *q, float *d, const float *x, size_t n, size_t block)
{
    quantize(q, d, x, n, block);
}

void avx2_rmsnorm(float *y, const float *x, const float *w, size_t n, float eps)
{
    rmsnorm(y, x, w, n, eps);
}

void avx2_rope(float *x, const float *cs, size_t n_head, size_t n_embd_head, size_t n_rot)
{
    rope(x, cs, n_head, n_embd_head, n_rot);
}

void avx2_swiglu(float *g, const float *u, size_t n)
{
    swiglu(g, u, n);
}

void avx2_add(float *y, const float *x, size_t n)
{
    add(y, x, n);
}

void avx2_attention_scores(const attention *a, size_t page_begin, size_t page_end)
{
    attention_scores(a, page_begin, page_end);
}

void avx2_attention_softmax(const attention *a, size_t begin, size_t end)
{
    attention_softmax(a, begin, end);
}

void avx2_attention_values(const attention *a, size_t d_begin, size_t d_end)
{
    attention_values(a, d_begin, d_end);
}

int avx2_kv_store(uint8_t *page, const kv_head *head, size_t pos_in_page, const float *k, const float *v, size_t n_embd_head)
{
    return kv_store(page, head, pos_in_page, k, v, n_embd_head);
}

void avx2_max_sum_exp(const float *x, size_t n, float *max, float *sum_exp)
{
    max_sum_exp(x, n, max, sum_exp);
}
