/* dotprod_matmul.c: simd128_matmul_body.h compiled for AArch64 with dotprod. The build sets the flags of this file alone. */
#include "neon.h"
#include "simd128_matmul_body.h"

void dotprod_matmul(float *y, size_t y_stride, const matrix *w, const activations *x, size_t row_begin, size_t row_end)
{
    matmul(y, y_stride, w, x, row_begin, row_end);
}
