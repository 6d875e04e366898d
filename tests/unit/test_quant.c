/* test_quant.c: number formats. The truth about blocks is GGML's: the checksums are of what its own functions gave for the same
 * bits (tools/quant_oracle.c prints them). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fnv.h"
#include "prng.h"
#include "quant_blocks.h"
#include "random_weights.h"

enum { N_BLOCKS = 512 };

static const quant_type all_types[] = {
    QUANT_F32,  QUANT_F16,  QUANT_BF16, QUANT_Q4_0, QUANT_Q4_1, QUANT_Q5_0,   QUANT_Q5_1,   QUANT_Q8_0,
    QUANT_Q2_K, QUANT_Q3_K, QUANT_Q4_K, QUANT_Q5_K, QUANT_Q6_K, QUANT_IQ4_NL, QUANT_IQ4_XS,
};
enum { N_TYPES = sizeof all_types / sizeof all_types[0] };

static uint32_t bits_of(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static bool is_finite(float f)
{
    return (bits_of(f) & 0x7f800000) != 0x7f800000;
}

static void blocks_have_the_values_that_ggml_gives_them(void **state)
{
    (void)state;
    static const struct {
        quant_type type;
        uint64_t checksum;
    } formats[] = {
        {QUANT_Q4_0, 0x551781ce7bcf2b16}, {QUANT_Q4_1, 0x51063e30dd17c41c},   {QUANT_Q5_0, 0xad7ead220ee94cbc},
        {QUANT_Q5_1, 0xa56f2f6ebee097ad}, {QUANT_Q8_0, 0x6129c8bd38c7d71f},   {QUANT_Q2_K, 0x9f4398ce2431f2dd},
        {QUANT_Q3_K, 0x9109bb54a36ff3c9}, {QUANT_Q4_K, 0x9bbe633e05bc1cc2},   {QUANT_Q5_K, 0x7262b9526a3dbca7},
        {QUANT_Q6_K, 0xaf34276b6a127c38}, {QUANT_IQ4_NL, 0x73353974b26264ef}, {QUANT_IQ4_XS, 0xfefded764e09b677},
    };
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        const quant_traits *t = quant_traits_of(formats[i].type);
        size_t n = (size_t)N_BLOCKS * t->block_elems;
        uint8_t *blocks = malloc((size_t)N_BLOCKS * t->block_bytes);
        float *y = malloc(n * sizeof *y);
        prng r = prng_stream(1, formats[i].type, 0);
        random_blocks(formats[i].type, blocks, N_BLOCKS, &r);
        quant_dequantize_row(formats[i].type, blocks, y, n);
        uint64_t checksum = fnv1a(y, n * sizeof *y);
        if (checksum != formats[i].checksum) fail_msg("%s: 0x%016llx", t->name, (unsigned long long)checksum);
        free(blocks);
        free(y);
    }
}

static void rows_may_begin_at_any_address(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_TYPES; i++) {
        const quant_traits *t = quant_traits_of(all_types[i]);
        uint8_t blocks[257], *moved = malloc(t->block_bytes + 1u);
        float y[QUANT_BLOCK_MAX], y_moved[QUANT_BLOCK_MAX];
        prng r = {i};
        random_blocks(all_types[i], blocks, 1, &r);
        memcpy(moved + 1, blocks, t->block_bytes);
        quant_dequantize_row(all_types[i], blocks, y, t->block_elems);
        quant_dequantize_row(all_types[i], moved + 1, y_moved, t->block_elems);
        assert_memory_equal(y, y_moved, t->block_elems * sizeof *y);
        assert_int_equal(quant_check_finite(all_types[i], moved + 1, 1), 1);
        free(moved);
    }
}

static void bf16_is_the_upper_half_of_f32(void **state)
{
    (void)state;
    const uint16_t halves[] = {0x0000, 0x8000, 0x3f80, 0xc049, 0x0001, 0x7f7f};
    float y[6];
    quant_dequantize_row(QUANT_BF16, halves, y, 6);
    for (size_t i = 0; i < 6; i++) assert_int_equal(bits_of(y[i]), (uint32_t)halves[i] << 16);
}

/* Sizes by https://github.com/ggml-org/ggml, src/ggml-common.h. */
static void blocks_have_the_sizes_of_files(void **state)
{
    (void)state;
    static const uint16_t sizes[N_TYPES][2] = {
        {1, 4},    {1, 2},     {1, 2},     {32, 18},   {32, 20},   {32, 22}, {32, 24},   {32, 34},
        {256, 84}, {256, 110}, {256, 144}, {256, 176}, {256, 210}, {32, 18}, {256, 136},
    };
    for (size_t i = 0; i < N_TYPES; i++) {
        const quant_traits *t = quant_traits_of(all_types[i]);
        assert_int_equal(t->block_elems, sizes[i][0]);
        assert_int_equal(t->block_bytes, sizes[i][1]);
        assert_int_equal(t->act_block, t->block_elems == 1 ? 0 : t->block_elems);
    }
}

static void types_are_found_by_name_whatever_the_case(void **state)
{
    (void)state;
    quant_type type;
    for (size_t i = 0; i < N_TYPES; i++) {
        assert_true(quant_type_parse(quant_traits_of(all_types[i])->name, &type));
        assert_int_equal(type, all_types[i]);
        assert_string_equal(quant_type_name(all_types[i]), quant_traits_of(all_types[i])->name);
    }
    assert_true(quant_type_parse("q4_k", &type));
    assert_int_equal(type, QUANT_Q4_K);
    assert_false(quant_type_parse("IQ2_XXS", &type));
    assert_false(quant_type_parse("Q4_K_M", &type));
    assert_false(quant_type_parse("", &type));
}

static void unsupported_types_have_names_but_no_traits(void **state)
{
    (void)state;
    assert_string_equal(quant_type_name(16), "IQ2_XXS");
    assert_string_equal(quant_type_name(34), "TQ1_0");
    assert_string_equal(quant_type_name(39), "MXFP4");
    assert_string_equal(quant_type_name(1000), "unknown");
    assert_string_equal(quant_type_name(UINT32_MAX), "unknown");
    static const uint32_t unsupported[] = {4, 5, 9, 15, 16, 24, 26, 29, 31, 39, 43, 1000, UINT32_MAX};
    for (size_t i = 0; i < sizeof unsupported / sizeof unsupported[0]; i++) {
        uint64_t n;
        assert_null(quant_traits_of(unsupported[i]));
        assert_false(quant_row_bytes(unsupported[i], 256, &n));
    }
}

static void row_bytes_are_whole_blocks_or_nothing(void **state)
{
    (void)state;
    uint64_t n;
    assert_true(quant_row_bytes(QUANT_Q4_K, 4096, &n));
    assert_int_equal(n, 2304);
    assert_true(quant_row_bytes(QUANT_F16, 3, &n));
    assert_int_equal(n, 6);
    assert_true(quant_row_bytes(QUANT_Q8_0, 0, &n));
    assert_int_equal(n, 0);
    assert_false(quant_row_bytes(QUANT_Q4_K, 4096 + 32, &n));
    assert_false(quant_row_bytes(QUANT_Q4_0, 31, &n));
    assert_false(quant_row_bytes(QUANT_F32, UINT64_MAX / 4 + 1, &n)); /* 2^64 bytes */
    assert_false(quant_row_bytes(QUANT_Q8_0, UINT64_MAX - 31, &n));
}

static void every_f16_comes_back_from_f32(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = quant_f16_to_f32((uint16_t)h);
        bool is_nan = (h & 0x7fff) > 0x7c00;
        if (is_nan)
            assert_true(f != f);
        else
            assert_int_equal(quant_f32_to_f16(f), h);
    }
    assert_true(quant_f16_to_f32(0x3c00) == 1.0f);
    assert_true(quant_f16_to_f32(0x0001) == 0x1p-24f);
    assert_true(quant_f16_to_f32(0xfbff) == -65504.0f);
    assert_int_equal(bits_of(quant_f16_to_f32(0x7c00)), 0x7f800000);
    assert_int_equal(bits_of(quant_f16_to_f32(0x8000)), 0x80000000);
}

/* Distance in double is exact here. Of two f16 that are equally near, the even one is right. */
static void f32_goes_to_the_nearest_f16_ties_to_even(void **state)
{
    (void)state;
    prng r = {7};
    for (int i = 0; i < 300000; i++) {
        uint32_t bits = (uint32_t)prng_int(&r, 0x32800000, 0x47800000); /* below half a subnormal, up to 65536 */
        if (i % 2) bits &= 0xfffff000;                                  /* ties */
        float f = float_of(bits);
        uint16_t h = quant_f32_to_f16(f);
        assert_int_equal(quant_f32_to_f16(-f), h | 0x8000);
        double top = 65536; /* what infinity stands for: the next f16 after 65504, if there were one */
        double at = h == 0x7c00 ? top : (double)quant_f16_to_f32(h);
        double below = h > 0 ? (double)quant_f16_to_f32((uint16_t)(h - 1)) : -1;
        double above = h >= 0x7bff ? top : (double)quant_f16_to_f32((uint16_t)(h + 1));
        double distance = at > (double)f ? at - (double)f : (double)f - at;
        assert_true(distance < (double)f - below || (distance == (double)f - below && h % 2 == 0));
        if (h != 0x7c00) assert_true(distance < above - (double)f || (distance == above - (double)f && h % 2 == 0));
    }
}

static void f32_beyond_f16_becomes_infinite_or_zero_and_nan_stays(void **state)
{
    (void)state;
    assert_int_equal(quant_f32_to_f16(65519.99f), 0x7bff);
    assert_int_equal(quant_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(quant_f32_to_f16(-1e30f), 0xfc00);
    assert_int_equal(quant_f32_to_f16(float_of(0x7f800000)), 0x7c00);
    assert_int_equal(quant_f32_to_f16(0x1p-25f), 0x0000);
    assert_int_equal(quant_f32_to_f16(0x1.000002p-25f), 0x0001);
    assert_int_equal(quant_f32_to_f16(0x1p-149f), 0x0000);
    assert_int_equal(quant_f32_to_f16(-0.0f), 0x8000);
    assert_true((quant_f32_to_f16(float_of(0x7fc00000)) & 0x7fff) > 0x7c00);
    assert_true((quant_f32_to_f16(float_of(0x7f800001)) & 0x7fff) > 0x7c00);
}

/* Infinity is put into every place of a block in turn: the check must see it exactly where it reaches a value. */
static void a_scale_that_is_not_finite_is_found_wherever_it_reaches_a_value(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_TYPES; i++) {
        const quant_traits *t = quant_traits_of(all_types[i]);
        size_t n_found = 0;
        for (uint32_t at = 0; at + 2 <= t->block_bytes; at += 2) {
            uint8_t block[256];
            float y[QUANT_BLOCK_MAX];
            prng r = {i};
            random_weights(all_types[i], block, 1, random_weights_scale(all_types[i], 0.02f), &r);
            block[at] = all_types[i] == QUANT_BF16 || all_types[i] == QUANT_F32 ? 0x80 : 0x00;
            block[at + 1] = all_types[i] == QUANT_BF16 || all_types[i] == QUANT_F32 ? 0x7f : 0x7c;
            quant_dequantize_row(all_types[i], block, y, t->block_elems);
            bool finite = true;
            for (uint32_t k = 0; k < t->block_elems; k++) finite = finite && is_finite(y[k]);
            assert_int_equal(quant_check_finite(all_types[i], block, 1), finite ? 1 : 0);
            n_found += !finite;
        }
        assert_in_range(n_found, 1, 2);
    }
}

static void the_first_block_that_is_not_finite_is_told(void **state)
{
    (void)state;
    enum { N = 3000 };
    for (size_t i = 0; i < N_TYPES; i++) {
        const quant_traits *t = quant_traits_of(all_types[i]);
        uint8_t *blocks = calloc(N, t->block_bytes);
        assert_int_equal(quant_check_finite(all_types[i], blocks, N), N);
        assert_int_equal(quant_check_finite(all_types[i], blocks, 0), 0);
        static const size_t bad[] = {N - 1, 2047, 1024, 1023, 0}; /* each before the last */
        for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
            memset(blocks + bad[k] * t->block_bytes, 0xff, t->block_bytes);
            assert_int_equal(quant_check_finite(all_types[i], blocks, N), bad[k]);
        }
        free(blocks);
    }
}

static void random_weights_have_the_wanted_magnitude(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_TYPES; i++) {
        const quant_traits *t = quant_traits_of(all_types[i]);
        size_t n_blocks = 65536 / t->block_elems;
        uint8_t *blocks = malloc(n_blocks * t->block_bytes);
        float *y = malloc(65536 * sizeof *y);
        prng r = {3};
        random_weights(all_types[i], blocks, n_blocks, random_weights_scale(all_types[i], 0.0156f), &r);
        quant_dequantize_row(all_types[i], blocks, y, 65536);
        double sum = 0, squares = 0;
        for (size_t k = 0; k < 65536; k++) {
            sum += (double)y[k];
            squares += (double)y[k] * (double)y[k];
        }
        double mean = sum / 65536, variance = squares / 65536;
        assert_true(variance > 0.0156 * 0.0156 * 0.9 && variance < 0.0156 * 0.0156 * 1.1);
        assert_true(mean * mean < variance * 0.02 * 0.02);
        free(blocks);
        free(y);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_have_the_values_that_ggml_gives_them),
        cmocka_unit_test(rows_may_begin_at_any_address),
        cmocka_unit_test(bf16_is_the_upper_half_of_f32),
        cmocka_unit_test(blocks_have_the_sizes_of_files),
        cmocka_unit_test(types_are_found_by_name_whatever_the_case),
        cmocka_unit_test(unsupported_types_have_names_but_no_traits),
        cmocka_unit_test(row_bytes_are_whole_blocks_or_nothing),
        cmocka_unit_test(every_f16_comes_back_from_f32),
        cmocka_unit_test(f32_goes_to_the_nearest_f16_ties_to_even),
        cmocka_unit_test(f32_beyond_f16_becomes_infinite_or_zero_and_nan_stays),
        cmocka_unit_test(a_scale_that_is_not_finite_is_found_wherever_it_reaches_a_value),
        cmocka_unit_test(the_first_block_that_is_not_finite_is_told),
        cmocka_unit_test(random_weights_have_the_wanted_magnitude),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
