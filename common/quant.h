/* quant.h: the number formats of GGUF tensors.
 *
 * A quantized row is a run of blocks: 32 or 256 neighbouring weights share a scale (K-quants: a scale and sub-scales). The block
 * layouts are GGML's, as files hold them; the arithmetic is our contract's (same bits on every machine). Formats and their sizes:
 * https://github.com/ggml-org/ggml, src/ggml-common.h. */
#ifndef YL_QUANT_H
#define YL_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "status.h"

/* Element types by their number in a GGUF file. Only those named here can be computed with. */
typedef enum quant_type {
    QUANT_F32 = 0,
    QUANT_F16 = 1,
    QUANT_Q4_0 = 2,
    QUANT_Q4_1 = 3,
    QUANT_Q5_0 = 6,
    QUANT_Q5_1 = 7,
    QUANT_Q8_0 = 8,
    QUANT_Q2_K = 10,
    QUANT_Q3_K = 11,
    QUANT_Q4_K = 12,
    QUANT_Q5_K = 13,
    QUANT_Q6_K = 14,
    QUANT_IQ4_NL = 20,
    QUANT_IQ4_XS = 23,
    QUANT_BF16 = 30,
    QUANT_TYPE_END = 31 /* one past the last: for tables indexed by type */
} quant_type;

enum { QUANT_BLOCK_MAX = 256 };

typedef struct quant_traits {
    const char *name;     /* "Q4_K" */
    uint32_t block_elems; /* weights that share a scale: 1, 32 or 256. A row's length is a multiple of it. */
    uint32_t block_bytes; /* bytes of such a block */
    uint32_t act_block;   /* activations are quantized in blocks of this many for the dot product: 0 (kept f32), 32 or 256 */
} quant_traits;

/* Traits of a type; NULL when it is not supported. Any number may be asked. */
const quant_traits *quant_traits_of(uint32_t type);

/* The name that GGML gives to a type number, supported or not ("IQ2_XXS"), or "unknown". Static. */
const char *quant_type_name(uint32_t type);

/* Finds a supported type by its name, whatever the case of its letters. False: no such type. */
bool quant_type_parse(const char *name, quant_type *out);

/* Bytes of a row of n elements: false if the type is not supported, n is not a multiple of its block, or the size overflows. */
bool quant_row_bytes(uint32_t type, uint64_t n, uint64_t *out);

/* One row as f32. row: `quant_row_bytes(type, n)` bytes, any alignment; y: [n]. Values by N8b of the numerics contract, for every
 * type `(f32(d) * (float)scale) * (float)w` and so on in one fixed order. Requires a supported type and a multiple of its block. */
void quant_dequantize_row(quant_type type, const void *row, float *y, size_t n);

/* Checks that every scale of n_blocks blocks (every value, for F32, F16 and BF16) is finite. Returns the index of the first block
 * that is not, or n_blocks when all are. */
size_t quant_check_finite(quant_type type, const void *blocks, size_t n_blocks);

/* f16 (IEEE binary16) to f32, exact, infinity and NaN included; f32 to f16, nearest even, subnormals kept, too large becomes
 * infinite. Moving the mantissa in place and multiplying by 2^112 sets the exponent right, subnormals included (N1); infinity and
 * NaN stay what they are, so that a result tells of a bad scale. */
static inline float quant_f16_to_f32(uint16_t h)
{
    uint32_t bits = (uint32_t)(h & 0x7fff) << 13;
    float f;
    memcpy(&f, &bits, sizeof f);
    f *= 0x1p112f;
    memcpy(&bits, &f, sizeof bits);
    bits |= (uint32_t)(h & 0x8000) << 16 | ((h & 0x7c00) == 0x7c00 ? 0x7f800000u : 0); /* no branch: loops over it become vectors */
    memcpy(&f, &bits, sizeof f);
    return f;
}
uint16_t quant_f32_to_f16(float f);

#endif
