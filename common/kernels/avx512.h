/* avx512.h: the table for AVX-512 with VNNI, and its matmul. */
#ifndef YL_KERNELS_AVX512_H
#define YL_KERNELS_AVX512_H

#include "kernels.h"

/* Needs F, BW, DQ, VL and VNNI (Intel Cascade Lake, Ice Lake and later; AMD Zen 4 and later). */
extern const kernels kernels_avx512;

/* kernels.matmul: weights in tiles; rows are left to the scalar one. */
void avx512_matmul(float *y, size_t y_stride, const matrix *w, const activations *x, size_t row_begin, size_t row_end);

#endif
