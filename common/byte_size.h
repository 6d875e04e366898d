/* byte_size.h: numbers of bytes as people write them: "20G". */
#ifndef YL_BYTE_SIZE_H
#define YL_BYTE_SIZE_H

#include <stdbool.h>
#include <stdint.h>

/* Digits, then nothing or one of K, M, G, T (powers of 1024, either case; "GB" and "GiB" mean the same). False: anything else, or
 * 2^63 and more. */
bool byte_size_parse(const char *text, uint64_t *out);

#endif
