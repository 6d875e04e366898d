/* quantity.h: numbers with a unit, as people write them and as they read them.
 *
 * Strict: digits, one point at most, then a unit of the kind that is asked for, in its usual letters ("8GB", "0.3ms", "1gbit"); no
 * sign, no blank, no exponent, nothing behind. GB is 10^9 bytes, GiB 2^30; gbit is 10^9 bits a second. */
#ifndef YL_QUANTITY_H
#define YL_QUANTITY_H

#include <stdbool.h>
#include <stddef.h>

typedef enum quantity_kind {
    QUANTITY_BYTES,      /* KB MB GB TB KiB MiB GiB TiB */
    QUANTITY_BYTES_RATE, /* KB/s MB/s GB/s TB/s and with i */
    QUANTITY_MACS_RATE,  /* MMAC/s GMAC/s TMAC/s: multiply-adds a second */
    QUANTITY_BITS_RATE,  /* kbit mbit gbit, a second; the value is in bytes a second */
    QUANTITY_MS          /* us ms s; the value is in ms */
} quantity_kind;

/* text: n characters. False: not such a quantity, or not above 0. */
bool quantity_parse(const char *text, size_t n, quantity_kind kind, double *out);

/* The units of a kind, for messages: "GB, GiB, MB ...". Static. */
const char *quantity_units(quantity_kind kind);

/* "4.92 GB", three digits, thousands of thousands. buf: at least 32 bytes. Returns buf. */
char *quantity_format_bytes(char *buf, double n_bytes);
/* Three digits, not negative: "0.25", "41.2", "310"; the same with " ms" behind. Likewise. */
char *quantity_format_number(char *buf, double v);
char *quantity_format_ms(char *buf, double ms);

#endif
