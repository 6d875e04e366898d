/* utf8.h: where one UTF-8 character ends.
 *
 * Well-formed is what the Unicode standard's table 3-7 says: no overlong forms, no surrogates, nothing above U+10FFFF. Text from
 * users and models may hold anything, so everybody who walks over it asks here first. */
#ifndef YL_UTF8_H
#define YL_UTF8_H

#include <stddef.h>
#include <stdint.h>

enum {
    UTF8_INVALID = 0,    /* the bytes cannot begin a character */
    UTF8_INCOMPLETE = -1 /* they begin one, but end before it does */
};

/* The length in bytes (1 to 4) of the character at s, of which n > 0 bytes are there; or UTF8_INVALID or UTF8_INCOMPLETE. */
int utf8_char_bytes(const char *s, size_t n);

/* The code point of a character that utf8_char_bytes has found to be n_bytes long. */
uint32_t utf8_code_point(const char *s, int n_bytes);

/* Writes a code point (at most U+10FFFF) to out, which has room for 4 bytes, and returns how many were written. */
int utf8_write(char *out, uint32_t code_point);

#endif
