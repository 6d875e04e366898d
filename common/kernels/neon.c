/* neon.c: ops_body.h, kv_store_body.h and attention_body.h compiled for AArch64, and which functions make its two tables: they
 * differ in the matmul alone. */
#include "neon.h"

#include "attention_body.h"
#include "kv_store_body.h"
#include "ops_body.h"

const kernels kernels_neon = {
    .isa = "neon",
    .quantize = quantize,
    .wants_tiles = true,
    .matmul = neon_matmul,
    .rmsnorm = rmsnorm,
    .rope = rope,
    .swiglu = swiglu,
    .add = add,
    .attention_scores = attention_scores,
    .attention_softmax = attention_softmax,
    .attention_values = attention_values,
    .kv_store = kv_store,
    .max_sum_exp = max_sum_exp,
};

const kernels kernels_dotprod = {
    .isa = "dotprod",
    .quantize = quantize,
    .wants_tiles = true,
    .matmul = dotprod_matmul,
    .rmsnorm = rmsnorm,
    .rope = rope,
    .swiglu = swiglu,
    .add = add,
    .attention_scores = attention_scores,
    .attention_softmax = attention_softmax,
    .attention_values = attention_values,
    .kv_store = kv_store,
    .max_sum_exp = max_sum_exp,
};
