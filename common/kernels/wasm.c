/* wasm.c: ops_body.h and attention_body.h compiled for wasm, and which functions make the table. */
#include "wasm.h"

#include "attention_body.h"

const kernels kernels_wasm = {
    .isa = "wasm",
    .quantize = quantize,
    .wants_tiles = true,
    .matmul = wasm_matmul,
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
