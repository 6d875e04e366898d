/* quant.c: what is known about each number format without looking at weights, and the search for damaged scales.
 *
 * One table says it all; its sizes are those of the structs in quant_blocks.h, not typed numbers. A second table holds the names
 * of every type that GGML ever gave a number, because a person whose file holds one that we lack must be told which. */
#include "quant.h"

#include <string.h>
#include <strings.h>

#include "quant_blocks.h"

/* Source of the values: https://github.com/ggml-org/ggml, src/ggml-common.h (kvalues_iq4nl). */
const int8_t quant_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static const quant_traits traits[QUANT_TYPE_END] = {
    [QUANT_F32] = {"F32", 1, 4, 0},
    [QUANT_F16] = {"F16", 1, 2, 0},
    [QUANT_BF16] = {"BF16", 1, 2, 0},
    [QUANT_Q4_0] = {"Q4_0", QK, sizeof(block_q4_0), QK},
    [QUANT_Q4_1] = {"Q4_1", QK, sizeof(block_q4_1), QK},
    [QUANT_Q5_0] = {"Q5_0", QK, sizeof(block_q5_0), QK},
    [QUANT_Q5_1] = {"Q5_1", QK, sizeof(block_q5_1), QK},
    [QUANT_Q8_0] = {"Q8_0", QK, sizeof(block_q8_0), QK},
    [QUANT_IQ4_NL] = {"IQ4_NL", QK, sizeof(block_iq4_nl), QK},
    [QUANT_Q2_K] = {"Q2_K", QK_K, sizeof(block_q2_K), QK_K},
    [QUANT_Q3_K] = {"Q3_K", QK_K, sizeof(block_q3_K), QK_K},
    [QUANT_Q4_K] = {"Q4_K", QK_K, sizeof(block_q4_K), QK_K},
    [QUANT_Q5_K] = {"Q5_K", QK_K, sizeof(block_q5_K), QK_K},
    [QUANT_Q6_K] = {"Q6_K", QK_K, sizeof(block_q6_K), QK_K},
    [QUANT_IQ4_XS] = {"IQ4_XS", QK_K, sizeof(block_iq4_xs), QK_K},
};
_Static_assert((int)QK_K == (int)QUANT_BLOCK_MAX, "no block is larger");

/* Every number of ggml_type in https://github.com/ggml-org/ggml, include/ggml.h; those without a name were never in files. */
static const char *const type_names[] = {
    [0] = "F32",         [1] = "F16",         [2] = "Q4_0",        [3] = "Q4_1",      [4] = "Q4_2",     [5] = "Q4_3",
    [6] = "Q5_0",        [7] = "Q5_1",        [8] = "Q8_0",        [9] = "Q8_1",      [10] = "Q2_K",    [11] = "Q3_K",
    [12] = "Q4_K",       [13] = "Q5_K",       [14] = "Q6_K",       [15] = "Q8_K",     [16] = "IQ2_XXS", [17] = "IQ2_XS",
    [18] = "IQ3_XXS",    [19] = "IQ1_S",      [20] = "IQ4_NL",     [21] = "IQ3_S",    [22] = "IQ2_S",   [23] = "IQ4_XS",
    [24] = "I8",         [25] = "I16",        [26] = "I32",        [27] = "I64",      [28] = "F64",     [29] = "IQ1_M",
    [30] = "BF16",       [31] = "Q4_0_4_4",   [32] = "Q4_0_4_8",   [33] = "Q4_0_8_8", [34] = "TQ1_0",   [35] = "TQ2_0",
    [36] = "IQ4_NL_4_4", [37] = "IQ4_NL_4_8", [38] = "IQ4_NL_8_8", [39] = "MXFP4",    [40] = "NVFP4",   [41] = "Q1_0",
    [42] = "Q2_0",
};

const quant_traits *quant_traits_of(uint32_t type)
{
    if (type >= QUANT_TYPE_END || !traits[type].name) return NULL;
    return &traits[type];
}

const char *quant_type_name(uint32_t type)
{
    if (type >= sizeof type_names / sizeof type_names[0] || !type_names[type]) return "unknown";
    return type_names[type];
}

bool quant_type_parse(const char *name, quant_type *out)
{
    for (uint32_t type = 0; type < QUANT_TYPE_END; type++) {
        if (!traits[type].name || strcasecmp(name, traits[type].name) != 0) continue;
        *out = (quant_type)type;
        return true;
    }
    return false;
}

bool quant_row_bytes(uint32_t type, uint64_t n, uint64_t *out)
{
    const quant_traits *t = quant_traits_of(type);
    if (!t || n % t->block_elems != 0) return false;
    return !__builtin_mul_overflow(n / t->block_elems, (uint64_t)t->block_bytes, out);
}

/* Drops n low bits of a number, to nearest, ties to even. n is 1 to 31. */
static uint32_t shift_to_even(uint32_t x, unsigned n)
{
    uint32_t half = 1u << (n - 1);
    uint32_t odd = x >> n & 1;
    return (x + half - 1 + odd) >> n;
}

uint16_t quant_f32_to_f16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    bits &= 0x7fffffff;
    if (bits > 0x7f800000) return sign | 0x7e00;  /* NaN */
    if (bits >= 0x47800000) return sign | 0x7c00; /* 65536 and more. What lies between 65504 and that rounds up by itself below. */
    if (bits >= 0x38800000) {                     /* 2^-14: a normal f16. A carry out of the mantissa raises the exponent: right. */
        return sign | (uint16_t)shift_to_even(bits - (112u << 23), 13);
    }
    if (bits < 0x33000000) return sign; /* below half of the smallest subnormal, 2^-24 */
    uint32_t mantissa = (bits & 0x7fffff) | 0x800000;
    return sign | (uint16_t)shift_to_even(mantissa, 126 - (bits >> 23));
}

static bool f16_is_finite(uint16_t h)
{
    return (h & 0x7c00) != 0x7c00;
}

/* Values of n_bits 16 or 32 whose exponent is all ones. The loops are simple so that compilers vectorize them: whole models pass.
 */
static bool all_finite_16(const uint8_t *p, size_t n, uint16_t exponent)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint16_t v;
        memcpy(&v, p + 2 * i, sizeof v);
        bad |= (v & exponent) == exponent;
    }
    return bad == 0;
}

static bool all_finite_32(const uint8_t *p, size_t n)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t v;
        memcpy(&v, p + 4 * i, sizeof v);
        bad |= (v & 0x7f800000) == 0x7f800000;
    }
    return bad == 0;
}

static bool values_are_finite(quant_type type, const uint8_t *p, size_t n)
{
    switch (type) {
    case QUANT_F32: return all_finite_32(p, n);
    case QUANT_F16: return all_finite_16(p, n, 0x7c00);
    default: return all_finite_16(p, n, 0x7f80); /* BF16 */
    }
}

/* F32, F16 and BF16: whole chunks first, then the value in the chunk that is not right. */
static size_t first_bad_value(quant_type type, const uint8_t *p, size_t n)
{
    enum { CHUNK = 1024 };
    size_t size = traits[type].block_bytes;
    size_t begin = 0;
    while (n - begin >= CHUNK && values_are_finite(type, p + begin * size, CHUNK)) begin += CHUNK;
    while (begin < n && values_are_finite(type, p + begin * size, 1)) begin++;
    return begin;
}

/* Where a quantized format's f16 scales lie in its block; twice the same place where it has one. */
typedef struct scale_places {
    uint8_t first, second;
} scale_places;

static const scale_places places[QUANT_TYPE_END] = {
    [QUANT_Q4_0] = {offsetof(block_q4_0, d), offsetof(block_q4_0, d)},
    [QUANT_Q4_1] = {offsetof(block_q4_1, d), offsetof(block_q4_1, m)},
    [QUANT_Q5_0] = {offsetof(block_q5_0, d), offsetof(block_q5_0, d)},
    [QUANT_Q5_1] = {offsetof(block_q5_1, d), offsetof(block_q5_1, m)},
    [QUANT_Q8_0] = {offsetof(block_q8_0, d), offsetof(block_q8_0, d)},
    [QUANT_Q2_K] = {offsetof(block_q2_K, d), offsetof(block_q2_K, dmin)},
    [QUANT_Q3_K] = {offsetof(block_q3_K, d), offsetof(block_q3_K, d)},
    [QUANT_Q4_K] = {offsetof(block_q4_K, d), offsetof(block_q4_K, dmin)},
    [QUANT_Q5_K] = {offsetof(block_q5_K, d), offsetof(block_q5_K, dmin)},
    [QUANT_Q6_K] = {offsetof(block_q6_K, d), offsetof(block_q6_K, d)},
    [QUANT_IQ4_NL] = {offsetof(block_iq4_nl, d), offsetof(block_iq4_nl, d)},
    [QUANT_IQ4_XS] = {offsetof(block_iq4_xs, d), offsetof(block_iq4_xs, d)},
};

size_t quant_check_finite(quant_type type, const void *blocks, size_t n_blocks)
{
    const uint8_t *p = blocks;
    size_t size = traits[type].block_bytes;
    if (traits[type].block_elems == 1) return first_bad_value(type, p, n_blocks);
    for (size_t i = 0; i < n_blocks; i++, p += size) {
        uint16_t first, second;
        memcpy(&first, p + places[type].first, sizeof first);
        memcpy(&second, p + places[type].second, sizeof second);
        if (!f16_is_finite(first) || !f16_is_finite(second)) return i;
    }
    return n_blocks;
}
