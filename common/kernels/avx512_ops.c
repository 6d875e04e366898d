/* avx512_ops.c: the bodies of kernels compiled for AVX-512 (F, BW, DQ, VL). The build sets the flags of this file alone. */
#include "avx512_ops.h"

#include "attention_body.h"
#include "kv_store_body.h"
#include "ops_body.h"

void avx512_quantize(int8_t *q, float *d, const float *x, size_t n, size_t block)
{
    quantize(q, d, x, n, block);
}

void avx512_rmsnorm(float *y, const float *x, const float *w, size_t n, float eps)
{
    rmsnorm(y, x, w, n, eps);
}

void avx512_rope(float *x, const float *cs, size_t n_head, size_t n_embd_head, size_t n_rot)
{
    rope(x, cs, n_head, n_embd_head, n_rot);
}

void avx512_swiglu(float *g, const float *u, size_t n)
{
    swiglu(g, u, n);
}

void avx512_add(float *y, const float *x, size_t n)
{
    add(y, x, n);
}

void avx512_attention_scores(const attention *a, size_t page_begin, size_t page_end)
{
    attention_scores(a, page_begin, page_end);
}

void avx512_attention_softmax(const attention *a, size_t begin, size_t end)
{
    attention_softmax(a, begin, end);
}

void avx512_attention_values(const attention *a, size_t d_begin, size_t d_end)
{
    attention_values(a, d_begin, d_end);
}

int avx512_kv_store(uint8_t *page, const kv_head *head, size_t pos_in_page, const float *k, const float *v, size_t n_embd_head)
{
    return kv_store(page, head, pos_in_page, k, v, n_embd_head);
}

void avx512_max_sum_exp(const float *x, size_t n, float *max, float *sum_exp)
{
    max_sum_exp(x, n, max, sum_exp);
}
