/* quant_blocks.h: the blocks of the quantized formats, byte for byte as GGUF files hold them.
 *
 * Only those who compute with single blocks need this: the conversion to f32, the kernels, the test models. Everybody else asks
 * quant.h. A block is 32 weights or (K-quants, IQ4_XS) 256; the 256 are cut into sub-blocks of 16 or 32 with small integer scales
 * of their own. Structs are packed, so a pointer to one needs no alignment: a tensor may begin at any byte that its file likes.
 * `d`, `m` and `dmin` are IEEE binary16 (quant_f16_to_f32). What a weight is worth stands over each struct, with w the small
 * integer. Layouts: https://github.com/ggml-org/ggml, src/ggml-common.h; how the integers lie in the bytes: src/ggml-quants.c. */
#ifndef YL_QUANT_BLOCKS_H
#define YL_QUANT_BLOCKS_H

#include <stdint.h>

#include "quant.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "blocks are read as the file has them: little endian");

enum {
    QK = 32,         /* weights in a small block */
    QK_K = 256,      /* weights in a K-quant's block */
    QK_K_SCALES = 12 /* bytes of eight packed 6-bit scales and eight minimums (Q4_K, Q5_K), or of sixteen 6-bit scales (Q3_K) */
};

#define QUANT_PACKED __attribute__((packed))

/* d * (w - 8). Weight i < 16 is the low nibble of qs[i], weight 16 + i its high nibble. */
typedef struct QUANT_PACKED block_q4_0 {
    uint16_t d;
    uint8_t qs[QK / 2];
} block_q4_0;
_Static_assert(sizeof(block_q4_0) == 18, "Q4_0");

/* d * w + m. Nibbles as in Q4_0. */
typedef struct QUANT_PACKED block_q4_1 {
    uint16_t d;
    uint16_t m;
    uint8_t qs[QK / 2];
} block_q4_1;
_Static_assert(sizeof(block_q4_1) == 20, "Q4_1");

/* d * (w - 16). Nibbles as in Q4_0; the fifth bit of weight i is bit i of qh, read as one little-endian 32-bit number. */
typedef struct QUANT_PACKED block_q5_0 {
    uint16_t d;
    uint8_t qh[4];
    uint8_t qs[QK / 2];
} block_q5_0;
_Static_assert(sizeof(block_q5_0) == 22, "Q5_0");

/* d * w + m. Bits as in Q5_0. */
typedef struct QUANT_PACKED block_q5_1 {
    uint16_t d;
    uint16_t m;
    uint8_t qh[4];
    uint8_t qs[QK / 2];
} block_q5_1;
_Static_assert(sizeof(block_q5_1) == 24, "Q5_1");

/* d * w, weights in order. */
typedef struct QUANT_PACKED block_q8_0 {
    uint16_t d;
    int8_t qs[QK];
} block_q8_0;
_Static_assert(sizeof(block_q8_0) == 34, "Q8_0");

/* (d * sc) * w - dmin * m, sixteen sub-blocks of 16. scales[s]: sc in the low nibble, m in the high one.
 * Weight 128h + 32j + l (h < 2, j < 4, l < 32) is the two bits 2j of qs[32h + l]. */
typedef struct QUANT_PACKED block_q2_K {
    uint8_t scales[QK_K / 16];
    uint8_t qs[QK_K / 4];
    uint16_t d;
    uint16_t dmin;
} block_q2_K;
_Static_assert(sizeof(block_q2_K) == 84, "Q2_K");

/* (d * sc) * w, sixteen sub-blocks of 16; sc by quant_q3_k_scale. Weight 128h + 32j + l: the two bits 2j of qs[32h + l], less 4
 * where bit 4h + j of hmask[l] is not set, so w is in [-4, 3]. */
typedef struct QUANT_PACKED block_q3_K {
    uint8_t hmask[QK_K / 8];
    uint8_t qs[QK_K / 4];
    uint8_t scales[QK_K_SCALES];
    uint16_t d;
} block_q3_K;
_Static_assert(sizeof(block_q3_K) == 110, "Q3_K");

/* (d * sc) * w - dmin * m, eight sub-blocks of 32; sc and m by quant_k4_scale and quant_k4_min.
 * Weight 64j + l (j < 4, l < 32) is the low nibble of qs[32j + l], weight 64j + 32 + l its high nibble. */
typedef struct QUANT_PACKED block_q4_K {
    uint16_t d;
    uint16_t dmin;
    uint8_t scales[QK_K_SCALES];
    uint8_t qs[QK_K / 2];
} block_q4_K;
_Static_assert(sizeof(block_q4_K) == 144, "Q4_K");

/* As Q4_K, with a fifth bit: weight 32s + l (sub-block s) has it in bit s of qh[l]. */
typedef struct QUANT_PACKED block_q5_K {
    uint16_t d;
    uint16_t dmin;
    uint8_t scales[QK_K_SCALES];
    uint8_t qh[QK_K / 8];
    uint8_t qs[QK_K / 2];
} block_q5_K;
_Static_assert(sizeof(block_q5_K) == 176, "Q5_K");

/* (d * sc) * (w - 32), sixteen sub-blocks of 16, sc = scales[s]. Weight 128h + 32j + l: its low four bits are nibble j / 2 of
 * ql[64h + 32 (j mod 2) + l], its high two the bits 2j of qh[32h + l]. */
typedef struct QUANT_PACKED block_q6_K {
    uint8_t ql[QK_K / 2];
    uint8_t qh[QK_K / 4];
    int8_t scales[QK_K / 16];
    uint16_t d;
} block_q6_K;
_Static_assert(sizeof(block_q6_K) == 210, "Q6_K");

/* d * quant_iq4_values[w]. Nibbles as in Q4_0. */
typedef struct QUANT_PACKED block_iq4_nl {
    uint16_t d;
    uint8_t qs[QK / 2];
} block_iq4_nl;
_Static_assert(sizeof(block_iq4_nl) == 18, "IQ4_NL");

/* (d * sc) * quant_iq4_values[w], eight sub-blocks of 32; sc by quant_iq4_xs_scale. Sub-block s is qs[16s ...], nibbles as in Q4_0.
 */
typedef struct QUANT_PACKED block_iq4_xs {
    uint16_t d;
    uint16_t scales_h;
    uint8_t scales_l[QK_K / 64];
    uint8_t qs[QK_K / 2];
} block_iq4_xs;
_Static_assert(sizeof(block_iq4_xs) == 136, "IQ4_XS");

/* What the sixteen nibbles of IQ4_NL and IQ4_XS stand for: ascending, denser near zero, as weights are. */
extern const int8_t quant_iq4_values[16];

/* Scale and minimum of sub-block s < 8 of Q4_K and Q5_K, each in [0, 63]. The first four have bytes of their own; the last four
 * have their low nibbles in bytes 8 to 11 and their high two bits on top of the first four's. */
static inline int quant_k4_scale(const uint8_t scales[QK_K_SCALES], unsigned s)
{
    return s < 4 ? scales[s] & 63 : (scales[s + 4] & 15) | (scales[s - 4] >> 6) << 4;
}

static inline int quant_k4_min(const uint8_t scales[QK_K_SCALES], unsigned s)
{
    return s < 4 ? scales[s + 4] & 63 : scales[s + 4] >> 4 | (scales[s] >> 6) << 4;
}

/* Scale of sub-block s < 16 of Q3_K, in [-32, 31]: four low bits in nibble s / 8 of byte s mod 8, two high bits in byte 8 + s
 * mod 4. */
static inline int quant_q3_k_scale(const uint8_t scales[QK_K_SCALES], unsigned s)
{
    int low = scales[s % 8] >> 4 * (s / 8) & 15;
    int high = scales[8 + s % 4] >> 2 * (s / 4) & 3;
    return (low | high << 4) - 32;
}

/* Scale of sub-block s < 8 of IQ4_XS, in [-32, 31]. */
static inline int quant_iq4_xs_scale(const block_iq4_xs *b, unsigned s)
{
    int low = b->scales_l[s / 2] >> 4 * (s % 2) & 15;
    int high = b->scales_h >> 2 * s & 3;
    return (low | high << 4) - 32;
}

#endif
