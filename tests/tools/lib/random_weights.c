/* random_weights.c: first random bits everywhere, then, block after block, the fields that cannot be just any bits.
 *
 * Those are the f16 scales, and for formats with a minimum the small integers that must balance: with m equal to sc and dmin to d
 * times the mean of w, a sub-block is centred. A little noise keeps m from being simply a copy. d gets a random sign (files have
 * negative ones too), which centres the formats whose integers are not symmetric around zero, and varies by +-20 %. */
#include "random_weights.h"

#include <string.h>

#include "numerics.h"
#include "quant_blocks.h"

static uint16_t random_d(float scale, prng *r)
{
    uint64_t bits = prng_u64(r);
    float variation = 0.8f + 0.4f * ((float)(bits >> 40) * 0x1p-24f);
    return quant_f32_to_f16(bits & 1 ? scale * variation : -scale * variation);
}

/* d and a minimum that is `ratio` times as large. */
static void random_pair(uint16_t *d, uint16_t *min, float ratio, float scale, prng *r)
{
    uint16_t h = random_d(scale, r);
    *d = h;
    *min = quant_f32_to_f16(quant_f16_to_f32(h) * ratio);
}

/* Not much smaller than the largest, so that no sub-block is all but silent; and the same, one more or one less. */
static void random_scale_and_min(int largest, int *sc, int *m, prng *r)
{
    *sc = prng_int(r, largest / 4, largest + 1);
    *m = *sc + prng_int(r, -1, 2);
    if (*m > largest) *m = largest;
}

/* The inverse of quant_k4_scale and quant_k4_min. */
static void pack_k4(uint8_t scales[QK_K_SCALES], const int sc[8], const int m[8])
{
    for (int s = 0; s < 4; s++) {
        scales[s] = (uint8_t)(sc[s] | (sc[s + 4] >> 4) << 6);
        scales[s + 4] = (uint8_t)(m[s] | (m[s + 4] >> 4) << 6);
        scales[s + 8] = (uint8_t)((sc[s + 4] & 15) | (m[s + 4] & 15) << 4);
    }
}

static void random_k4(uint8_t scales[QK_K_SCALES], prng *r)
{
    int sc[8], m[8];
    for (int s = 0; s < 8; s++) random_scale_and_min(63, &sc[s], &m[s], r);
    pack_k4(scales, sc, m);
}

/* The scales of one block. An unaligned u16 inside a packed struct is written through a local. */
static void random_scales(quant_type type, void *block, float scale, prng *r)
{
    uint16_t d, min;
    switch (type) {
    case QUANT_Q4_1: {
        block_q4_1 *b = block;
        random_pair(&d, &min, -7.5f, scale, r);
        b->d = d, b->m = min;
        return;
    }
    case QUANT_Q5_1: {
        block_q5_1 *b = block;
        random_pair(&d, &min, -15.5f, scale, r);
        b->d = d, b->m = min;
        return;
    }
    case QUANT_Q2_K: {
        block_q2_K *b = block;
        random_pair(&d, &min, 1.5f, scale, r);
        b->d = d, b->dmin = min;
        for (int s = 0; s < QK_K / 16; s++) {
            int sc, m;
            random_scale_and_min(15, &sc, &m, r);
            b->scales[s] = (uint8_t)(sc | m << 4);
        }
        return;
    }
    case QUANT_Q4_K: {
        block_q4_K *b = block;
        random_pair(&d, &min, 7.5f, scale, r);
        b->d = d, b->dmin = min;
        random_k4(b->scales, r);
        return;
    }
    case QUANT_Q5_K: {
        block_q5_K *b = block;
        random_pair(&d, &min, 15.5f, scale, r);
        b->d = d, b->dmin = min;
        random_k4(b->scales, r);
        return;
    }
    case QUANT_Q4_0: ((block_q4_0 *)block)->d = random_d(scale, r); return;
    case QUANT_Q5_0: ((block_q5_0 *)block)->d = random_d(scale, r); return;
    case QUANT_Q8_0: ((block_q8_0 *)block)->d = random_d(scale, r); return;
    case QUANT_Q3_K: ((block_q3_K *)block)->d = random_d(scale, r); return;
    case QUANT_Q6_K: ((block_q6_K *)block)->d = random_d(scale, r); return;
    case QUANT_IQ4_NL: ((block_iq4_nl *)block)->d = random_d(scale, r); return;
    case QUANT_IQ4_XS: ((block_iq4_xs *)block)->d = random_d(scale, r); return;
    default: return;
    }
}

static void random_bytes(uint8_t *dst, size_t n, prng *r)
{
    for (; n >= 8; n -= 8, dst += 8) {
        uint64_t bits = prng_u64(r);
        memcpy(dst, &bits, 8);
    }
    uint64_t bits = prng_u64(r);
    memcpy(dst, &bits, n);
}

/* Evenly distributed in [-scale, scale). */
static void random_values(quant_type type, uint8_t *dst, size_t n, float scale, prng *r)
{
    for (size_t i = 0; i < n; i++) {
        float f = (2 * prng_f32(r) - 1) * scale;
        uint32_t bits;
        memcpy(&bits, &f, sizeof bits);
        uint16_t half = type == QUANT_F16 ? quant_f32_to_f16(f) : (uint16_t)(bits >> 16);
        if (type == QUANT_F32)
            memcpy(dst + 4 * i, &bits, sizeof bits);
        else
            memcpy(dst + 2 * i, &half, sizeof half);
    }
}

void random_weights(quant_type type, void *dst, size_t n_blocks, float scale, prng *r)
{
    const quant_traits *t = quant_traits_of(type);
    if (t->block_elems == 1) {
        random_values(type, dst, n_blocks, scale, r);
        return;
    }
    uint8_t *block = dst;
    random_bytes(block, n_blocks * t->block_bytes, r);
    for (size_t i = 0; i < n_blocks; i++, block += t->block_bytes) random_scales(type, block, scale, r);
}

float random_weights_scale(quant_type type, float std_deviation)
{
    enum { N_BLOCKS = 512 };
    const quant_traits *t = quant_traits_of(type);
    if (t->block_elems == 1) return std_deviation * 1.7320508f; /* sqrt(3): of an even distribution */
    uint8_t block[QUANT_BLOCK_MAX];
    float y[QUANT_BLOCK_MAX];
    prng r = {1};
    double sum = 0;
    for (size_t i = 0; i < N_BLOCKS; i++) {
        random_weights(type, block, 1, 1, &r);
        quant_dequantize_row(type, block, y, t->block_elems);
        for (uint32_t k = 0; k < t->block_elems; k++) sum += (double)y[k] * (double)y[k];
    }
    return std_deviation / (float)yl_pow(sum / N_BLOCKS / t->block_elems, 0.5);
}

void random_blocks(quant_type type, void *dst, size_t n_blocks, prng *r)
{
    size_t block_bytes = quant_traits_of(type)->block_bytes;
    uint8_t *block = dst;
    random_weights(type, dst, n_blocks, random_weights_scale(type, 0.02f), r);
    for (size_t i = 0; i < n_blocks; i += 2) {
        do {
            random_bytes(block + i * block_bytes, block_bytes, r);
        } while (quant_check_finite(type, block + i * block_bytes, 1) != 1);
    }
}
