/* quantity.c: a table of units. */
#include "quantity.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DIGITS = 20, MAX_UNITS = 8 };

typedef struct unit {
    const char *name;
    double value;
} unit;

static const unit units[][MAX_UNITS + 1] = {
    [QUANTITY_BYTES] =
        {{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}},
    [QUANTITY_BYTES_RATE] = {{"KB/s", 1e3},
                             {"MB/s", 1e6},
                             {"GB/s", 1e9},
                             {"TB/s", 1e12},
                             {"KiB/s", 0x1p10},
                             {"MiB/s", 0x1p20},
                             {"GiB/s", 0x1p30},
                             {"TiB/s", 0x1p40}},
    [QUANTITY_MACS_RATE] = {{"MMAC/s", 1e6}, {"GMAC/s", 1e9}, {"TMAC/s", 1e12}},
    [QUANTITY_BITS_RATE] = {{"kbit", 1e3 / 8}, {"mbit", 1e6 / 8}, {"gbit", 1e9 / 8}},
    [QUANTITY_MS] = {{"us", 1e-3}, {"ms", 1}, {"s", 1e3}},
};

const char *quantity_units(quantity_kind kind)
{
    static const char *const names[] = {
        [QUANTITY_BYTES] = "GB, MB, GiB or MiB",
        [QUANTITY_BYTES_RATE] = "GB/s or MB/s",
        [QUANTITY_MACS_RATE] = "GMAC/s or TMAC/s",
        [QUANTITY_BITS_RATE] = "gbit, mbit or kbit",
        [QUANTITY_MS] = "ms, us or s",
    };
    return names[kind];
}

bool quantity_parse(const char *text, size_t n, quantity_kind kind, double *out)
{
    char number[MAX_DIGITS + 1];
    size_t n_digits = 0, n_points = 0, n_number = 0;
    for (; n_number < n && n_number < MAX_DIGITS; n_number++) {
        char c = text[n_number];
        if (c == '.')
            n_points++;
        else if (c >= '0' && c <= '9')
            n_digits++;
        else
            break;
        number[n_number] = c;
    }
    number[n_number] = 0;
    /* ".5GB" and "5.GB" are more likely slips than numbers. */
    if (n_digits == 0 || n_points > 1 || number[0] == '.' || number[n_number - 1] == '.') return false;
    for (const unit *u = units[kind]; u->name; u++) {
        if (strlen(u->name) != n - n_number || memcmp(u->name, text + n_number, n - n_number) != 0) continue;
        *out = strtod(number, NULL) * u->value;
        return *out > 0;
    }
    return false;
}

char *quantity_format_bytes(char *buf, double n_bytes)
{
    static const char *const names[] = {"B", "KB", "MB", "GB", "TB", "PB"};
    size_t i = 0;
    while (fabs(n_bytes) >= 999.5 && i + 1 < sizeof names / sizeof *names) {
        n_bytes /= 1000;
        i++;
    }
    double size = fabs(n_bytes);
    snprintf(buf, 32, i == 0 || size >= 99.95 ? "%.0f %s" : size >= 9.995 ? "%.1f %s" : "%.2f %s", n_bytes, names[i]);
    return buf;
}

char *quantity_format_number(char *buf, double v)
{
    snprintf(buf, 32, v >= 99.95 ? "%.0f" : v >= 9.995 ? "%.1f" : "%.2f", v);
    return buf;
}

char *quantity_format_ms(char *buf, double ms)
{
    quantity_format_number(buf, ms);
    size_t n = strlen(buf);
    snprintf(buf + n, 32 - n, " ms");
    return buf;
}
