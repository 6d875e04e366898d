/* wasm.h: the table for wasm with SIMD of 128 bits, and its matmul. */
#ifndef YL_KERNELS_WASM_H
#define YL_KERNELS_WASM_H

#include "kernels.h"

/* A module that has these instructions is refused as a whole where they are not known, so nothing is left to ask at run time. */
extern const kernels kernels_wasm;

/* kernels.matmul: weights in tiles; rows are left to the scalar one. */
void wasm_matmul(float *y, size_t y_stride, const matrix *w, const activations *x, size_t row_begin, size_t row_end);

#endif
