/* Quantities are read strictly, and written with three digits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "quantity.h"

static void units_mean_what_they_say(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        quantity_kind kind;
        double value;
    } good[] = {
        {"8GB", QUANTITY_BYTES, 8e9},
        {"8GiB", QUANTITY_BYTES, 8 * 0x1p30},
        {"512MB", QUANTITY_BYTES, 512e6},
        {"1.5MiB", QUANTITY_BYTES, 1.5 * 0x1p20},
        {"50GB/s", QUANTITY_BYTES_RATE, 50e9},
        {"200GMAC/s", QUANTITY_MACS_RATE, 200e9},
        {"1gbit", QUANTITY_BITS_RATE, 125e6},
        {"100mbit", QUANTITY_BITS_RATE, 12.5e6},
        {"0.3ms", QUANTITY_MS, 0.3},
        {"300us", QUANTITY_MS, 0.3},
        {"2s", QUANTITY_MS, 2000},
        {"007GB", QUANTITY_BYTES, 7e9},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        double v = 0;
        if (!quantity_parse(good[i].text, strlen(good[i].text), good[i].kind, &v)) fail_msg("%s was refused", good[i].text);
        if (fabs(v - good[i].value) > 1e-12 * good[i].value) fail_msg("%s is %g", good[i].text, v);
    }
}

static void anything_else_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        quantity_kind kind;
    } bad[] = {
        {"", QUANTITY_BYTES},
        {"8", QUANTITY_BYTES},
        {"GB", QUANTITY_BYTES},
        {"8gb", QUANTITY_BYTES},
        {"8Gb", QUANTITY_BYTES},
        {"8 GB", QUANTITY_BYTES},
        {" 8GB", QUANTITY_BYTES},
        {"8GB ", QUANTITY_BYTES},
        {"-8GB", QUANTITY_BYTES},
        {"+8GB", QUANTITY_BYTES},
        {"0GB", QUANTITY_BYTES},
        {"8e3GB", QUANTITY_BYTES},
        {"0x8GB", QUANTITY_BYTES},
        {"8.GB", QUANTITY_BYTES},
        {".8GB", QUANTITY_BYTES},
        {"8.1.2GB", QUANTITY_BYTES},
        {"infGB", QUANTITY_BYTES},
        {"nanGB", QUANTITY_BYTES},
        {"8GB/s", QUANTITY_BYTES},
        {"8GB", QUANTITY_BYTES_RATE},
        {"1gbit/s", QUANTITY_BITS_RATE},
        {"1GB/s", QUANTITY_BITS_RATE},
        {"1", QUANTITY_MS},
        {"1m", QUANTITY_MS},
        {"111111111111111111111GB", QUANTITY_BYTES},
        {"8,5GB", QUANTITY_BYTES},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        double v;
        if (quantity_parse(bad[i].text, strlen(bad[i].text), bad[i].kind, &v)) fail_msg("'%s' was taken as %g", bad[i].text, v);
    }
    double v;
    assert_true(quantity_parse("8GB:50", 3, QUANTITY_BYTES, &v)); /* no more than n characters are looked at */
    assert_false(quantity_parse("8GB", 2, QUANTITY_BYTES, &v));
}

static void sizes_have_three_digits(void **state)
{
    (void)state;
    char buf[32];
    assert_string_equal(quantity_format_bytes(buf, 0), "0 B");
    assert_string_equal(quantity_format_bytes(buf, 999), "999 B");
    assert_string_equal(quantity_format_bytes(buf, 1000), "1.00 KB");
    assert_string_equal(quantity_format_bytes(buf, 4.921e9), "4.92 GB");
    assert_string_equal(quantity_format_bytes(buf, 16.06e9), "16.1 GB");
    assert_string_equal(quantity_format_bytes(buf, 9.996e9), "10.0 GB");
    assert_string_equal(quantity_format_bytes(buf, 999.6e6), "1.00 GB");
    assert_string_equal(quantity_format_bytes(buf, -806.2e6), "-806 MB");
    assert_string_equal(quantity_format_bytes(buf, 1e30), "1000000000000000 PB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units_mean_what_they_say),
        cmocka_unit_test(anything_else_is_refused),
        cmocka_unit_test(sizes_have_three_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
