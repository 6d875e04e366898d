/* avx2.h: the table for AVX2, and its matmul. */
#ifndef YL_KERNELS_AVX2_H
#define YL_KERNELS_AVX2_H

#include "kernels.h"

/* Needs AVX2 and F16C (Intel Haswell, AMD Excavator and Zen, and later). */
extern const kernels kernels_avx2;

/* kernels.matmul: weights in tiles; rows are left to the scalar one. */
void avx2_matmul(float *y, size_t y_stride, const matrix *w, const activations *x, size_t row_begin, size_t row_end);

#endif
