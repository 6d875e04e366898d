/* avx2_matmul.c: which functions multiply tiles for AVX2. */
#include "avx2_matmul.h"

#include "avx2.h"

static const tile_kernels kernels_2 = {
    .times = {[QUANT_F32] = avx2_f32,
              [QUANT_F16] = avx2_f16,
              [QUANT_BF16] = avx2_bf16,
              [QUANT_Q4_0] = avx2_q4_0,
              [QUANT_Q4_1] = avx2_q4_1,
              [QUANT_Q5_0] = avx2_q5_0,
              [QUANT_Q5_1] = avx2_q5_1,
              [QUANT_Q8_0] = avx2_q8_0,
              [QUANT_Q2_K] = avx2_q2_K,
              [QUANT_Q3_K] = avx2_q3_K,
              [QUANT_Q4_K] = avx2_q4_K,
              [QUANT_Q5_K] = avx2_q5_K,
              [QUANT_Q6_K] = avx2_q6_K,
              [QUANT_IQ4_NL] = avx2_iq4_nl,
              [QUANT_IQ4_XS] = avx2_iq4_xs},
    .group_bytes = 128 * 1024, /* half of a second-level cache of 256 KiB, the smallest that goes with AVX2 */
    .plain_rows = PANEL_ROWS,
    .widen = avx2_widen,
};

void avx2_matmul(float *y, size_t y_stride, const matrix *w, const activations *x, size_t row_begin, size_t row_end)
{
    tile_matmul(&kernels_2, y, y_stride, w, x, row_begin, row_end);
}
