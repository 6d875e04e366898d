/* avx512.c: which functions make the table for AVX-512 with VNNI. */
#include "avx512.h"

#include "avx512_ops.h"

const kernels kernels_avx512 = {
    .isa = "avx512",
    .wants_tiles = true,
    .quantize = avx512_quantize,
    .matmul = avx512_matmul,
    .rmsnorm = avx512_rmsnorm,
    .rope = avx512_rope,
    .swiglu = avx512_swiglu,
    .add = avx512_add,
    .attention_scores = avx512_attention_scores,
    .attention_softmax = avx512_attention_softmax,
    .attention_values = avx512_attention_values,
    .kv_store = avx512_kv_store,
    .max_sum_exp = avx512_max_sum_exp,
};
