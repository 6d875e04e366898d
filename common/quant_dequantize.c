/* quant_dequantize.c: a quantized row back to f32, one function a format.
 *
 * The token embedding reads single rows this way, and tests use it to know what a matrix means. Each value is made by the
 * operations of N8b of the numerics contract, in the order written there, so it is the same bits everywhere; the bit layouts are
 * described in quant_blocks.h. Nothing here is tuned: a row is a few thousand values a token. */
#include <assert.h>
#include <string.h>

#include "quant.h"
#include "quant_blocks.h"

static void dequantize_f16(const uint8_t *row, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, row + 2 * i, sizeof h);
        y[i] = quant_f16_to_f32(h);
    }
}

/* bf16 is the upper half of an f32. */
static void dequantize_bf16(const uint8_t *row, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, row + 2 * i, sizeof h);
        uint32_t bits = (uint32_t)h << 16;
        memcpy(&y[i], &bits, sizeof bits);
    }
}

/* The formats with 32 weights: y gets the values of one block. */

static void dequantize_q4_0(const void *block, float *y)
{
    const block_q4_0 *b = block;
    float d = quant_f16_to_f32(b->d);
    for (int i = 0; i < QK / 2; i++) {
        y[i] = d * (float)((b->qs[i] & 15) - 8);
        y[i + QK / 2] = d * (float)((b->qs[i] >> 4) - 8);
    }
}

static void dequantize_q4_1(const void *block, float *y)
{
    const block_q4_1 *b = block;
    float d = quant_f16_to_f32(b->d), m = quant_f16_to_f32(b->m);
    for (int i = 0; i < QK / 2; i++) {
        y[i] = d * (float)(b->qs[i] & 15) + m;
        y[i + QK / 2] = d * (float)(b->qs[i] >> 4) + m;
    }
}

/* Weight i of a 5-bit block, in [0, 31]. */
static int quint(const uint8_t qh[4], const uint8_t qs[QK / 2], int i)
{
    int low = i < QK / 2 ? qs[i] & 15 : qs[i - QK / 2] >> 4;
    int high = qh[i / 8] >> (i % 8) & 1;
    return low | high << 4;
}

static void dequantize_q5_0(const void *block, float *y)
{
    const block_q5_0 *b = block;
    float d = quant_f16_to_f32(b->d);
    for (int i = 0; i < QK; i++) y[i] = d * (float)(quint(b->qh, b->qs, i) - 16);
}

static void dequantize_q5_1(const void *block, float *y)
{
    const block_q5_1 *b = block;
    float d = quant_f16_to_f32(b->d), m = quant_f16_to_f32(b->m);
    for (int i = 0; i < QK; i++) y[i] = d * (float)quint(b->qh, b->qs, i) + m;
}

static void dequantize_q8_0(const void *block, float *y)
{
    const block_q8_0 *b = block;
    float d = quant_f16_to_f32(b->d);
    for (int i = 0; i < QK; i++) y[i] = d * (float)b->qs[i];
}

static void dequantize_iq4_nl(const void *block, float *y)
{
    const block_iq4_nl *b = block;
    float d = quant_f16_to_f32(b->d);
    for (int i = 0; i < QK / 2; i++) {
        y[i] = d * (float)quant_iq4_values[b->qs[i] & 15];
        y[i + QK / 2] = d * (float)quant_iq4_values[b->qs[i] >> 4];
    }
}

/* The formats with 256 weights. i runs over the block's weights in order; where each finds its bits is in quant_blocks.h. */

static void dequantize_q2_K(const void *block, float *y)
{
    const block_q2_K *b = block;
    float d = quant_f16_to_f32(b->d), dmin = quant_f16_to_f32(b->dmin);
    for (int i = 0; i < QK_K; i++) {
        int w = b->qs[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
        uint8_t scale = b->scales[i / 16];
        y[i] = (d * (float)(scale & 15)) * (float)w - dmin * (float)(scale >> 4);
    }
}

static void dequantize_q3_K(const void *block, float *y)
{
    const block_q3_K *b = block;
    float d = quant_f16_to_f32(b->d);
    for (int i = 0; i < QK_K; i++) {
        int low = b->qs[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
        int high = b->hmask[i % 32] >> (i / 32) & 1;
        y[i] = (d * (float)quant_q3_k_scale(b->scales, (unsigned)i / 16)) * (float)((low | high << 2) - 4);
    }
}

static void dequantize_q4_K(const void *block, float *y)
{
    const block_q4_K *b = block;
    float d = quant_f16_to_f32(b->d), dmin = quant_f16_to_f32(b->dmin);
    for (int i = 0; i < QK_K; i++) {
        unsigned sub = (unsigned)i / 32;
        int w = b->qs[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
        y[i] = (d * (float)quant_k4_scale(b->scales, sub)) * (float)w - dmin * (float)quant_k4_min(b->scales, sub);
    }
}

static void dequantize_q5_K(const void *block, float *y)
{
    const block_q5_K *b = block;
    float d = quant_f16_to_f32(b->d), dmin = quant_f16_to_f32(b->dmin);
    for (int i = 0; i < QK_K; i++) {
        unsigned sub = (unsigned)i / 32;
        int low = b->qs[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
        int high = b->qh[i % 32] >> sub & 1;
        y[i] = (d * (float)quant_k4_scale(b->scales, sub)) * (float)(low | high << 4) - dmin * (float)quant_k4_min(b->scales, sub);
    }
}

static void dequantize_q6_K(const void *block, float *y)
{
    const block_q6_K *b = block;
    float d = quant_f16_to_f32(b->d);
    for (int i = 0; i < QK_K; i++) {
        int j = i / 32 % 4;
        int low = b->ql[i / 128 * 64 + j % 2 * 32 + i % 32] >> (j / 2 * 4) & 15;
        int high = b->qh[i / 128 * 32 + i % 32] >> (j * 2) & 3;
        y[i] = (d * (float)b->scales[i / 16]) * (float)((low | high << 4) - 32);
    }
}

static void dequantize_iq4_xs(const void *block, float *y)
{
    const block_iq4_xs *b = block;
    float d = quant_f16_to_f32(b->d);
    for (int i = 0; i < QK_K; i++) {
        int sub = i / 32;
        int w = b->qs[sub * 16 + i % 16] >> (i / 16 % 2 * 4) & 15;
        y[i] = (d * (float)quant_iq4_xs_scale(b, (unsigned)sub)) * (float)quant_iq4_values[w];
    }
}

/* Makes the values of one block. */
typedef void dequantize_block(const void *block, float *y);

static dequantize_block *const dequantizers[QUANT_TYPE_END] = {
    [QUANT_Q4_0] = dequantize_q4_0, [QUANT_Q4_1] = dequantize_q4_1,     [QUANT_Q5_0] = dequantize_q5_0,
    [QUANT_Q5_1] = dequantize_q5_1, [QUANT_Q8_0] = dequantize_q8_0,     [QUANT_Q2_K] = dequantize_q2_K,
    [QUANT_Q3_K] = dequantize_q3_K, [QUANT_Q4_K] = dequantize_q4_K,     [QUANT_Q5_K] = dequantize_q5_K,
    [QUANT_Q6_K] = dequantize_q6_K, [QUANT_IQ4_NL] = dequantize_iq4_nl, [QUANT_IQ4_XS] = dequantize_iq4_xs,
};

void quant_dequantize_row(quant_type type, const void *row, float *y, size_t n)
{
    const quant_traits *t = quant_traits_of(type);
    assert(t && n % t->block_elems == 0);
    switch (type) {
    case QUANT_F32: memcpy(y, row, n * sizeof *y); return;
    case QUANT_F16: dequantize_f16(row, y, n); return;
    case QUANT_BF16: dequantize_bf16(row, y, n); return;
    default: break;
    }
    const uint8_t *block = row;
    for (size_t i = 0; i < n; i += t->block_elems, block += t->block_bytes) dequantizers[type](block, y + i);
}
