/* neon.h: the tables for AArch64, and their matmuls. */
#ifndef YL_KERNELS_NEON_H
#define YL_KERNELS_NEON_H

#include "kernels.h"

/* Runs on every AArch64. */
extern const kernels kernels_neon;
/* Needs the dotprod instructions (ARM Cortex-A55, A75 and Neoverse N1, Apple A11, and later). */
extern const kernels kernels_dotprod;

/* kernels.matmul: weights in tiles; rows are left to the scalar one. */
void neon_matmul(float *y, size_t y_stride, const matrix *w, const activations *x, size_t row_begin, size_t row_end);
void dotprod_matmul(float *y, size_t y_stride, const matrix *w, const activations *x, size_t row_begin, size_t row_end);

#endif
