/* quant_oracle.c: holds our number formats against GGML's own code.
 *
 * usage: quant_oracle PATH/libggml-base.so [SEED]
 *
 * Not an ordinary test, because it needs that library (it comes with llama.cpp's builds and with the npm packages around it). Every
 * format's blocks are filled by random_blocks and converted to f32 by both; so are all 65,536 f16 values, and random f32 values on
 * their way to f16. Ours is (d * sc) * w - dmin * m in that order; theirs may be fused or ordered otherwise, so a difference of
 * some units in the last place of the largest term is allowed (version 0.21 for x86-64 shows none at all). The checksums printed
 * for seed 1 are those in unit/test_quant.c. */
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fnv.h"
#include "prng.h"
#include "quant.h"
#include "random_weights.h"

typedef void dequantize_fn(const void *blocks, float *y, int64_t n);
typedef void to_f16_fn(const float *x, uint16_t *y, int64_t n);

enum { N_BLOCKS = 512, N_RANDOM = 1 << 20 };

static void *symbol(void *library, const char *name)
{
    void *s = dlsym(library, name);
    if (!s) {
        fprintf(stderr, "quant_oracle: %s\n", dlerror());
        exit(2);
    }
    return s;
}

static uint32_t bits_of(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static bool is_nan(float f)
{
    return f != f;
}

static int check_type(void *library, quant_type type, const char *function, uint64_t seed)
{
    const quant_traits *t = quant_traits_of(type);
    size_t n = (size_t)N_BLOCKS * t->block_elems, n_bytes = (size_t)N_BLOCKS * t->block_bytes;
    uint8_t *blocks = malloc(n_bytes);
    float *ours = malloc(n * sizeof *ours), *theirs = malloc(n * sizeof *theirs);
    dequantize_fn *dequantize;
    *(void **)&dequantize = symbol(library, function);
    prng r = prng_stream(seed, type, 0);
    random_blocks(type, blocks, N_BLOCKS, &r);
    quant_dequantize_row(type, blocks, ours, n);
    dequantize(blocks, theirs, (int64_t)n);
    size_t n_other_bits = 0, n_wrong = 0;
    for (size_t i = 0; i < n; i += t->block_elems) {
        float largest = 0;
        for (size_t k = i; k < i + t->block_elems; k++)
            largest = ours[k] > largest ? ours[k] : -ours[k] > largest ? -ours[k] : largest;
        for (size_t k = i; k < i + t->block_elems; k++) {
            float difference = ours[k] > theirs[k] ? ours[k] - theirs[k] : theirs[k] - ours[k];
            n_other_bits += bits_of(ours[k]) != bits_of(theirs[k]);
            n_wrong += !(difference <= largest * 0x1p-20f);
        }
    }
    printf("%-7s %8zu values, %zu of other bits, %zu wrong, checksum of theirs 0x%016" PRIx64 "\n", t->name, n, n_other_bits,
           n_wrong, fnv1a(theirs, n * sizeof *theirs));
    free(blocks);
    free(ours);
    free(theirs);
    return n_wrong != 0;
}

static int check_half(void *library, quant_type type, const char *function)
{
    dequantize_fn *convert;
    *(void **)&convert = symbol(library, function);
    size_t n_wrong = 0;
    for (uint32_t h = 0; h < 65536; h++) {
        uint16_t half = (uint16_t)h;
        float ours, theirs;
        quant_dequantize_row(type, &half, &ours, 1);
        convert(&half, &theirs, 1);
        if (bits_of(ours) != bits_of(theirs) && !(is_nan(ours) && is_nan(theirs))) n_wrong++;
    }
    printf("%-7s    65536 values, %zu wrong\n", quant_type_name(type), n_wrong);
    return n_wrong != 0;
}

static int check_to_f16(void *library, uint64_t seed)
{
    to_f16_fn *convert;
    *(void **)&convert = symbol(library, "ggml_fp32_to_fp16_row");
    prng r = prng_stream(seed, 99, 0);
    size_t n_wrong = 0;
    for (size_t i = 0; i < N_RANDOM; i++) {
        uint32_t bits = (uint32_t)prng_u64(&r);
        if (i % 2) bits = (bits & 0x80000fff) | (uint32_t)prng_int(&r, 0x66000, 0x90000) << 12; /* around f16's range, ties too */
        if (i % 4 == 3) bits &= 0xfffff000;
        float f;
        memcpy(&f, &bits, sizeof f);
        if (is_nan(f)) continue;
        uint16_t theirs;
        convert(&f, &theirs, 1);
        n_wrong += quant_f32_to_f16(f) != theirs;
    }
    printf("to F16  %8d values, %zu wrong\n", N_RANDOM, n_wrong);
    return n_wrong != 0;
}

int main(int argc, char **argv)
{
    static const struct {
        quant_type type;
        const char *function;
    } formats[] = {
        {QUANT_Q4_0, "dequantize_row_q4_0"}, {QUANT_Q4_1, "dequantize_row_q4_1"},     {QUANT_Q5_0, "dequantize_row_q5_0"},
        {QUANT_Q5_1, "dequantize_row_q5_1"}, {QUANT_Q8_0, "dequantize_row_q8_0"},     {QUANT_Q2_K, "dequantize_row_q2_K"},
        {QUANT_Q3_K, "dequantize_row_q3_K"}, {QUANT_Q4_K, "dequantize_row_q4_K"},     {QUANT_Q5_K, "dequantize_row_q5_K"},
        {QUANT_Q6_K, "dequantize_row_q6_K"}, {QUANT_IQ4_NL, "dequantize_row_iq4_nl"}, {QUANT_IQ4_XS, "dequantize_row_iq4_xs"},
    };
    if (argc < 2) {
        fprintf(stderr, "usage: quant_oracle PATH/libggml-base.so [SEED]\n");
        return 2;
    }
    void *library = dlopen(argv[1], RTLD_NOW);
    if (!library) {
        fprintf(stderr, "quant_oracle: %s\n", dlerror());
        return 2;
    }
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    int failed = check_half(library, QUANT_F16, "ggml_fp16_to_fp32_row");
    failed |= check_half(library, QUANT_BF16, "ggml_bf16_to_fp32_row");
    failed |= check_to_f16(library, seed);
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        failed |= check_type(library, formats[i].type, formats[i].function, seed);
    }
    dlclose(library);
    return failed;
}
