/* scalar.h: the table that defines the numerics contract, and its parts, for tables that replace some of them. */
#ifndef YL_KERNELS_SCALAR_H
#define YL_KERNELS_SCALAR_H

#include "kernels.h"

extern const kernels kernels_scalar;

/* kernels.matmul of kernels_scalar. */
void scalar_matmul(float *y, size_t y_stride, const matrix *w, const activations *x, size_t row_begin, size_t row_end);

#endif
