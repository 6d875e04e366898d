/* avx512_matmul.c: which functions multiply tiles for AVX-512. */
#include "avx512_matmul.h"

#include "avx512.h"

static const tile_kernels kernels_512 = {
    .times = {[QUANT_F32] = avx512_f32,
              [QUANT_F16] = avx512_f16,
              [QUANT_BF16] = avx512_bf16,
              [QUANT_Q4_0] = avx512_q4_0,
              [QUANT_Q4_1] = avx512_q4_1,
              [QUANT_Q5_0] = avx512_q5_0,
              [QUANT_Q5_1] = avx512_q5_1,
              [QUANT_Q8_0] = avx512_q8_0,
              [QUANT_Q2_K] = avx512_q2_K,
              [QUANT_Q3_K] = avx512_q3_K,
              [QUANT_Q4_K] = avx512_q4_K,
              [QUANT_Q5_K] = avx512_q5_K,
              [QUANT_Q6_K] = avx512_q6_K,
              [QUANT_IQ4_NL] = avx512_iq4_nl,
              [QUANT_IQ4_XS] = avx512_iq4_xs},
    .group_bytes = 256 * 1024, /* half of a second-level cache of 512 KiB or more */
    .plain_rows = 2 * PANEL_ROWS,
    .widen = avx512_widen,
};

void avx512_matmul(float *y, size_t y_stride, const matrix *w, const activations *x, size_t row_begin, size_t row_end)
{
    tile_matmul(&kernels_512, y, y_stride, w, x, row_begin, row_end);
}
