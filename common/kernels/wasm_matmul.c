/* wasm_matmul.c: simd128_matmul_body.h compiled for wasm's SIMD of 128 bits. */
#include "simd128_matmul_body.h"
#include "wasm.h"

void wasm_matmul(float *y, size_t y_stride, const matrix *w, const activations *x, size_t row_begin, size_t row_end)
{
    matmul(y, y_stride, w, x, row_begin, row_end);
}
