/* contract.c: see contract.h. Byte offsets and bits: https://github.com/ggml-org/ggml, src/ggml-common.h and src/ggml-quants.c. */
#include "contract.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

float contract_f16(uint16_t h)
{
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    double magnitude = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return (float)(h >> 15 ? -magnitude : magnitude);
}

float contract_quantize(int8_t *q, const float *x, size_t n)
{
    float amax = 0;
    for (size_t i = 0; i < n; i++) amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
    memset(q, 0, n);
    if (!(amax >= 0x1p-100f)) return 0;
    float id = 127.0f / amax;
    for (size_t i = 0; i < n; i++) q[i] = (int8_t)rintf(x[i] * id);
    return amax / 127.0f;
}

static float half_at(const uint8_t *p)
{
    return contract_f16((uint16_t)(p[0] | p[1] << 8));
}

/* A weight inside its block: sc * w - m in units of the block's scales. */
typedef struct element {
    int w, sc, m;
} element;

static int nibble32(const uint8_t *qs, size_t i)
{
    return i < 16 ? qs[i] % 16 : qs[i - 16] / 16;
}

static int bit(const uint8_t *p, size_t i)
{
    return p[i / 8] >> i % 8 & 1;
}

static const int iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static element small_element(quant_type type, const uint8_t *b, size_t i)
{
    switch (type) {
    case QUANT_Q4_0: return (element){nibble32(b + 2, i) - 8, 1, 0};
    case QUANT_Q4_1: return (element){nibble32(b + 4, i), 1, 1};
    case QUANT_Q5_0: return (element){nibble32(b + 6, i) + 16 * bit(b + 2, i) - 16, 1, 0};
    case QUANT_Q5_1: return (element){nibble32(b + 8, i) + 16 * bit(b + 4, i), 1, 1};
    case QUANT_Q8_0: return (element){(int8_t)b[2 + i], 1, 0};
    case QUANT_IQ4_NL: return (element){iq4[nibble32(b + 2, i)], 1, 0};
    default: abort();
    }
}

/* Eight scales and eight minimums of six bits in twelve bytes. */
static element k4_scales(const uint8_t *p, size_t sub, int w)
{
    if (sub < 4) return (element){w, p[sub] % 64, p[sub + 4] % 64};
    return (element){w, p[sub + 4] % 16 + p[sub - 4] / 64 * 16, p[sub + 4] / 16 + p[sub] / 64 * 16};
}

static element k_element(quant_type type, const uint8_t *b, size_t i)
{
    size_t half = i / 128, quarter = i % 128 / 32, lane = i % 32;
    int two_bits, low, high, scale;
    switch (type) {
    case QUANT_Q2_K:
        two_bits = b[16 + 32 * half + lane] >> 2 * quarter & 3;
        return (element){two_bits, b[i / 16] % 16, b[i / 16] / 16};
    case QUANT_Q3_K:
        two_bits = b[32 + 32 * half + lane] >> 2 * quarter & 3;
        high = b[lane] >> (4 * half + quarter) & 1;
        low = i / 16 < 8 ? b[96 + i / 16] % 16 : b[96 + i / 16 - 8] / 16;
        scale = low + 16 * (b[104 + i / 16 % 4] >> i / 64 * 2 & 3) - 32;
        return (element){two_bits + 4 * high - 4, scale, 0};
    case QUANT_Q4_K: low = b[16 + i / 64 * 32 + lane]; return k4_scales(b + 4, i / 32, i % 64 < 32 ? low % 16 : low / 16);
    case QUANT_Q5_K:
        low = b[48 + i / 64 * 32 + lane];
        high = b[16 + lane] >> i / 32 & 1;
        return k4_scales(b + 4, i / 32, (i % 64 < 32 ? low % 16 : low / 16) + 16 * high);
    case QUANT_Q6_K:
        low = b[64 * half + (quarter % 2) * 32 + lane];
        high = b[128 + 32 * half + lane] >> 2 * quarter & 3;
        return (element){(quarter < 2 ? low % 16 : low / 16) + 16 * high - 32, (int8_t)b[192 + i / 16], 0};
    case QUANT_IQ4_XS:
        scale = (i / 32 % 2 ? b[4 + i / 64] / 16 : b[4 + i / 64] % 16) + 16 * ((b[2] | b[3] << 8) >> i / 32 * 2 & 3) - 32;
        return (element){iq4[nibble32(b + 8 + i / 32 * 16, i % 32)], scale, 0};
    default: abort();
    }
}

/* What block b adds to the accumulator. */
static float block_term(quant_type type, const uint8_t *b, const int8_t *q, float dx)
{
    size_t n = quant_traits_of(type)->block_elems;
    int64_t isum = 0, msum = 0;
    for (size_t i = 0; i < n; i++) {
        element e = n == 32 ? small_element(type, b, i) : k_element(type, b, i);
        isum += (int64_t)e.sc * e.w * q[i];
        msum += (int64_t)e.m * q[i];
    }
    float i = (float)isum, m = (float)msum, u, p;
    switch (type) {
    case QUANT_Q4_1:
    case QUANT_Q5_1:
        u = half_at(b) * i;
        p = half_at(b + 2) * m;
        u = u + p;
        return dx * u;
    case QUANT_Q4_K:
    case QUANT_Q5_K:
        u = half_at(b) * i;
        p = half_at(b + 2) * m;
        u = u - p;
        return dx * u;
    case QUANT_Q2_K:
        u = half_at(b + 80) * i;
        p = half_at(b + 82) * m;
        u = u - p;
        return dx * u;
    case QUANT_Q3_K: p = half_at(b + 108) * dx; return p * i;
    case QUANT_Q6_K: p = half_at(b + 208) * dx; return p * i;
    default: p = half_at(b) * dx; return p * i;
    }
}

static float plain_weight(quant_type type, const uint8_t *row, size_t k)
{
    uint32_t bits;
    if (type == QUANT_F16) return half_at(row + 2 * k);
    if (type == QUANT_BF16) {
        bits = (uint32_t)row[2 * k] << 16 | (uint32_t)row[2 * k + 1] << 24;
    } else {
        memcpy(&bits, row + 4 * k, sizeof bits);
    }
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

float contract_dot(quant_type type, const uint8_t *row, const float *x, const int8_t *q, const float *d, size_t n_cols)
{
    const quant_traits *t = quant_traits_of(type);
    float acc = 0;
    for (size_t k = 0; k < n_cols; k += t->block_elems) {
        float p;
        if (t->act_block == 0) {
            p = plain_weight(type, row, k) * x[k];
        } else {
            p = block_term(type, row + k / t->block_elems * t->block_bytes, q + k, d[k / t->act_block]);
        }
        acc = acc + p;
    }
    return acc;
}

float contract_sum(const float *x, size_t n)
{
    float p[16] = {0};
    for (size_t i = 0; i < n; i++) p[i % 16] = p[i % 16] + x[i];
    for (size_t width = 8; width >= 1; width /= 2) {
        for (size_t i = 0; i < width; i++) p[i] = p[i] + p[i + width];
    }
    return p[0];
}

void contract_rmsnorm(float *y, const float *x, const float *w, size_t n, float eps)
{
    for (size_t i = 0; i < n; i++) y[i] = x[i] * x[i];
    float mean = contract_sum(y, n) / (float)n;
    float r = 1.0f / sqrtf(mean + eps);
    for (size_t i = 0; i < n; i++) {
        float scaled = x[i] * r;
        y[i] = scaled * w[i];
    }
}

void contract_attention(float *out, const float *q, const float *k, const float *v, size_t n_pos, size_t n_embd_head, float scale)
{
    float *e = malloc(n_pos * sizeof *e), max = -INFINITY;
    for (size_t j = 0; j < n_pos; j++) {
        e[j] = 0;
        for (size_t d = 0; d < n_embd_head; d++) {
            float qd = q[d] * scale, p = qd * k[j * n_embd_head + d];
            e[j] = e[j] + p;
        }
        if (e[j] > max) max = e[j];
    }
    for (size_t j = 0; j < n_pos; j++) e[j] = contract_exp(e[j] - max);
    float sum = contract_sum(e, n_pos);
    for (size_t d = 0; d < n_embd_head; d++) {
        float o = 0;
        for (size_t j = 0; j < n_pos; j++) {
            float p = e[j] * v[j * n_embd_head + d];
            o = o + p;
        }
        out[d] = o / sum;
    }
    free(e);
}

/* The rounding to an integer and the power of two by the C library, where the product plays with bits. */
float contract_exp(float x)
{
    static const float c[6] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                               4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
    if (isnan(x) || x < -87.0f) return 0;
    if (x > 88.0f) x = 88.0f;
    float n = rintf(x * 1.44269504088896341f), high = n * 0.693359375f, low = n * -2.12194440e-4f;
    float r = x - high;
    r = r - low;
    float p = c[0];
    for (int i = 1; i < 6; i++) {
        p = p * r;
        p = p + c[i];
    }
    float square = r * r;
    p = p * square;
    p = p + r;
    p = p + 1.0f;
    return ldexpf(p, (int)n);
}
