/* avx2.c: which functions make the table for AVX2. */
#include "avx2.h"

#include "avx2_ops.h"

const kernels kernels_avx2 = {
    .isa = "avx2",
    .quantize = avx2_quantize,
    .wants_tiles = true,
    .matmul = avx2_matmul,
    .rmsnorm = avx2_rmsnorm,
    .rope = avx2_rope,
    .swiglu = avx2_swiglu,
    .add = avx2_add,
    .attention_scores = avx2_attention_scores,
    .attention_softmax = avx2_attention_softmax,
    .attention_values = avx2_attention_values,
    .kv_store = avx2_kv_store,
    .max_sum_exp = avx2_max_sum_exp,
};
