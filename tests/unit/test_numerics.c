/* test_numerics.c: our exp, sin, cos, log, pow and sums: close to the truth, and the same bits everywhere.
 *
 * Truth is the C library in long double. The pinned bits were computed by the functions themselves and hold on every machine: a
 * compiler that fuses, reassociates or keeps excess precision changes some of them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "contract.h"
#include "numerics.h"

enum { N_VALUES = 200000 };

/* A 64-bit linear congruential generator (Knuth's MMIX); within [0, 1). */
static double random_unit(void)
{
    static uint64_t state = 20261124;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) * 0x1p-53;
}

static uint32_t bits_of_float(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static uint64_t bits_of_double(double d)
{
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    return bits;
}

static float float_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Every 211th float between -90 and 90. */
static void expf_is_within_an_ulp_and_has_the_contracts_bits(void **state)
{
    (void)state;
    double worst = 0;
    for (int sign = 0; sign < 2; sign++) {
        for (uint32_t bits = 0; bits <= 0x42b40000; bits += 211) {
            float x = float_of_bits(bits | (uint32_t)sign << 31), y = yl_expf(x);
            if (bits_of_float(y) != bits_of_float(contract_exp(x)))
                fail_msg("exp(%a) is %a, not %a", (double)x, (double)y, (double)contract_exp(x));
            if (x < -87 || x > 88) continue;
            double exact = exp((double)x), ulp = ldexp(1, ilogb(exact) - 23), error = fabs((double)y - exact) / ulp;
            if (error > worst) worst = error;
        }
    }
    if (worst > 0.98) fail_msg("%g ulp", worst);
}

static void expf_ends_where_the_contract_says(void **state)
{
    (void)state;
    assert_int_equal(bits_of_float(yl_expf(NAN)), 0);
    assert_int_equal(bits_of_float(yl_expf(-INFINITY)), 0);
    assert_int_equal(bits_of_float(yl_expf(-87.00001f)), 0);
    assert_true(yl_expf(-87.0f) > 0);
    assert_int_equal(bits_of_float(yl_expf(0.0f)), 0x3f800000);
    assert_int_equal(bits_of_float(yl_expf(-0.0f)), 0x3f800000);
    assert_int_equal(bits_of_float(yl_expf(INFINITY)), bits_of_float(yl_expf(88.0f)));
    assert_true(isfinite(yl_expf(INFINITY)));
}

static void silu_is_close(void **state)
{
    (void)state;
    for (int i = 0; i < N_VALUES; i++) {
        float x = (float)(random_unit() * 200 - 100);
        double exact = (double)x / (1 + exp(-(double)x));
        assert_true(fabs((double)yl_siluf(x) - exact) <= 3e-7 * fabs(exact) + 1e-35);
    }
}

static void sin_and_cos_are_close(void **state)
{
    (void)state;
    for (int i = 0; i < N_VALUES; i++) {
        double x = (2 * random_unit() - 1) * exp2(34 * random_unit() - 4);                            /* up to 2^30 */
        if (i % 4 == 0) x = (double)((long double)floor(x) * 1.57079632679489661923132169163975144L); /* where one of them is 0 */
        if (fabs(x) > 0x1p30) x = 0x1p30;
        if (fabsl(yl_sin(x) - sinl(x)) > 1e-15L || fabsl(yl_cos(x) - cosl(x)) > 1e-15L) fail_msg("sin or cos of %a", x);
    }
}

static void log_is_close(void **state)
{
    (void)state;
    for (int i = 0; i < N_VALUES; i++) {
        double x = i % 2 ? exp2(2140 * random_unit() - 1073) : 1 + (random_unit() - 0.5) * exp2(-40 * random_unit());
        if (!isfinite(x)) continue;
        if (fabsl(yl_log(x) - logl(x)) > 1e-15L * fabsl(logl(x))) fail_msg("log(%a) is %a", x, yl_log(x));
    }
}

static void exp_is_close(void **state)
{
    (void)state;
    for (int i = 0; i < N_VALUES; i++) {
        double x = (2 * random_unit() - 1) * (i % 2 ? 708 : 1);
        if (fabsl(yl_exp(x) - expl(x)) > 1e-15L * expl(x)) fail_msg("exp(%a) is %a", x, yl_exp(x));
    }
}

static void exp_ends_where_doubles_end(void **state)
{
    (void)state;
    assert_true(isnan(yl_exp(NAN)));
    assert_true(isinf(yl_exp(710)) && isinf(yl_exp(INFINITY)));
    assert_true(isfinite(yl_exp(709.7)));
    assert_true(yl_exp(-746) == 0 && yl_exp(-INFINITY) == 0);
    for (double x = -745.1; x < -708; x += 0.01) assert_true(fabsl(yl_exp(x) - expl(x)) <= 1e-15L * expl(x) + 5e-324L);
}

static void pow_is_close(void **state)
{
    (void)state;
    for (int i = 0; i < N_VALUES; i++) {
        double x = i % 2 ? exp2(2000 * random_unit() - 1000) : 1 + (random_unit() - 0.5) * exp2(-10 * random_unit());
        long double log_x = logl(x);
        double y = i % 3 ? (double)(707 * (2 * random_unit() - 1) / log_x) : 10 * random_unit();
        long double exact = powl(x, y), limit = fabsl(y * log_x) < 230 ? 1e-14L : 2e-14L;
        if (fabsl(y * log_x) > 707 || log_x == 0) continue;
        if (fabsl(yl_pow(x, y) - exact) > limit * exact) fail_msg("pow(%a, %a) is %a", x, y, yl_pow(x, y));
    }
    assert_true(yl_pow(2, 10) == 1024 && yl_pow(10000, 0) == 1 && yl_pow(1, 1e300) == 1 && yl_pow(0.25, 0.5) == 0.5);
    assert_true(isinf(yl_pow(2, 1025)) && isinf(yl_pow(2, 1e308)) && yl_pow(2, -1080) == 0 && yl_pow(2, -1e308) == 0);
}

/* RoPE's own use: frequencies, and angles at the largest position. */
static void angles_of_the_last_position_are_close(void **state)
{
    (void)state;
    for (int i = 0; i < 64; i++) {
        long double freq = powl(500000.0L, -2.0L * i / 128);
        double ours = yl_pow(500000.0, -2.0 * i / 128);
        assert_true(fabsl(ours - freq) <= 1e-15L * freq);
        assert_true(fabsl(yl_cos(16777215 * ours) - cosl(16777215 * freq)) < 1e-8L);
    }
}

static void sums_follow_the_contracts_tree(void **state)
{
    (void)state;
    float x[300];
    for (size_t n = 0; n <= 300; n++) {
        for (size_t i = 0; i < n; i++) x[i] = (float)(random_unit() * 2 - 1) * 1000;
        assert_int_equal(bits_of_float(yl_sum(x, n)), bits_of_float(contract_sum(x, n)));
    }
}

typedef struct pinned {
    const char *what;
    double value;
    uint64_t bits;
} pinned;

static void bits_are_what_they_are_on_every_machine(void **state)
{
    (void)state;
    const pinned cases[] = {
        {"yl_expf(1.0f)", (double)yl_expf(1.0f), 0x4005bf0a80000000},
        {"yl_expf(-0.3f)", (double)yl_expf(-0.3f), 0x3fe7b4c860000000},
        {"yl_expf(-12.7f)", (double)yl_expf(-12.7f), 0x3ec9983e60000000},
        {"yl_expf(88.0f)", (double)yl_expf(88.0f), 0x47df1056e0000000},
        {"yl_expf(-87.0f)", (double)yl_expf(-87.0f), 0x381666d0e0000000},
        {"yl_siluf(1.0f)", (double)yl_siluf(1.0f), 0x3fe764d500000000},
        {"yl_siluf(-3.3f)", (double)yl_siluf(-3.3f), 0xbfbe0cf060000000},
        {"yl_siluf(20.5f)", (double)yl_siluf(20.5f), 0x4034800000000000},
        {"yl_sin(1.0)", yl_sin(1.0), 0x3feaed548f090cee},
        {"yl_sin(3.141592653589793)", yl_sin(3.141592653589793), 0x3ca1a62633145c00},
        {"yl_sin(-1234.5)", yl_sin(-1234.5), 0xbfc29c531dfd031b},
        {"yl_sin(1073741823.3)", yl_sin(1073741823.3), 0xbfef53b491fda5bd},
        {"yl_cos(1.0)", yl_cos(1.0), 0x3fe14a280fb5068c},
        {"yl_cos(1.5707963267948966)", yl_cos(1.5707963267948966), 0x3c91a62633145c00},
        {"yl_cos(16777215.0)", yl_cos(16777215.0), 0xbfd4532c3721ed43},
        {"yl_cos(1073741823.3)", yl_cos(1073741823.3), 0x3fca1d22c4fc5912},
        {"yl_log(2.0)", yl_log(2.0), 0x3fe62e42fefa39ef},
        {"yl_log(10.0)", yl_log(10.0), 0x40026bb1bbb55516},
        {"yl_log(0.7071)", yl_log(0.7071), 0xbfd62e6b3842a25e},
        {"yl_log(1.0000001)", yl_log(1.0000001), 0x3e7ad7f2847b6492},
        {"yl_log(1e-320)", yl_log(1e-320), 0xc087069e3078e52d},
        {"yl_exp(1.0)", yl_exp(1.0), 0x4005bf0a8b14576a},
        {"yl_exp(-0.7)", yl_exp(-0.7), 0x3fdfc80db9dd5542},
        {"yl_exp(700.3)", yl_exp(700.3), 0x7f13f6d02b17eb6d},
        {"yl_exp(-744.4)", yl_exp(-744.4), 0x0000000000000001},
        {"yl_pow(10000.0, -0.015625)", yl_pow(10000.0, -0.015625), 0x3febb5fad00ab22c},
        {"yl_pow(500000.0, -0.984375)", yl_pow(500000.0, -0.984375), 0x3ec4985fec80a8cb},
        {"yl_pow(1.1, 777.7)", yl_pow(1.1, 777.7), 0x469e9f32c94c9b33},
        {"yl_pow(0.37, 0.003)", yl_pow(0.37, 0.003), 0x3fefe79a067ad7e8},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (bits_of_double(cases[i].value) == cases[i].bits) continue;
        fail_msg("%s is 0x%016llx, not 0x%016llx", cases[i].what, (unsigned long long)bits_of_double(cases[i].value),
                 (unsigned long long)cases[i].bits);
    }
}

/* FNV-1a over the bits of many results, so that a rare difference is seen too. Arguments are made by exact operations. */
static uint64_t checksum(double (*f)(double), double low, double high)
{
    uint64_t sum = 14695981039346656037u;
    for (int i = 0; i <= 10000; i++) {
        uint64_t bits = bits_of_double(f(low + (high - low) * i / 10000));
        for (int b = 0; b < 64; b += 8) sum = (sum ^ (bits >> b & 255)) * 1099511628211u;
    }
    return sum;
}

static double expf_of(double x)
{
    return (double)yl_expf((float)x);
}

static double siluf_of(double x)
{
    return (double)yl_siluf((float)x);
}

static double frequency(double exponent)
{
    return yl_pow(500000, exponent);
}

static void many_bits_are_what_they_are_on_every_machine(void **state)
{
    (void)state;
    assert_int_equal(checksum(expf_of, -88, 89), 0xbf8daebaa083324b);
    assert_int_equal(checksum(siluf_of, -30, 30), 0x9fc186739b11e3ed);
    assert_int_equal(checksum(yl_sin, -20000000, 20000000), 0xb21285bd411ee395);
    assert_int_equal(checksum(yl_cos, -100, 100), 0x4149b7755da16f5a);
    assert_int_equal(checksum(yl_log, 1e-3, 1000), 0x71a486b2e996fffb);
    assert_int_equal(checksum(yl_exp, -750, 710), 0xad9601796eb90c14);
    assert_int_equal(checksum(frequency, -1, 1), 0x68d6406b8b1682d1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expf_is_within_an_ulp_and_has_the_contracts_bits),
        cmocka_unit_test(expf_ends_where_the_contract_says),
        cmocka_unit_test(silu_is_close),
        cmocka_unit_test(sin_and_cos_are_close),
        cmocka_unit_test(log_is_close),
        cmocka_unit_test(exp_is_close),
        cmocka_unit_test(exp_ends_where_doubles_end),
        cmocka_unit_test(pow_is_close),
        cmocka_unit_test(angles_of_the_last_position_are_close),
        cmocka_unit_test(sums_follow_the_contracts_tree),
        cmocka_unit_test(bits_are_what_they_are_on_every_machine),
        cmocka_unit_test(many_bits_are_what_they_are_on_every_machine),
    };
    return cmocka_run_group_tests_name("numerics", tests, NULL, NULL);
}
