/* frame_text.c: UTF-8 by the table of well-formed byte sequences (Unicode Standard, table 3-7).
 *
 * A lead byte says how many bytes follow, and narrows the range of the first of them: that is what shuts out overlong forms,
 * surrogates and code points beyond U+10FFFF. */
#include "frame_text.h"

#include <string.h>

/* Bytes of the character that starts at text, 0 if none does. Requires n_bytes >= 1. */
static size_t character_bytes(const uint8_t *text, size_t n_bytes)
{
    uint8_t lead = text[0], low = 0x80, high = 0xbf;
    if (lead < 0x80) return lead >= 0x20 && lead != 0x7f ? 1 : 0;
    if (lead < 0xc2 || lead > 0xf4) return 0;
    size_t n = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (n > n_bytes) return 0;
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
    if (text[1] < low || text[1] > high) return 0;
    for (size_t i = 2; i < n; i++) {
        if ((text[i] & 0xc0) != 0x80) return 0;
    }
    return n;
}

bool frame_text_is_valid(const uint8_t *text, size_t n_bytes)
{
    while (n_bytes) {
        size_t n = character_bytes(text, n_bytes);
        if (n == 0) return false;
        text += n;
        n_bytes -= n;
    }
    return true;
}

size_t frame_text_clean(uint8_t *out, size_t max_bytes, const char *text)
{
    const uint8_t *at = (const uint8_t *)text;
    size_t n_left = strlen(text), n_out = 0;
    while (n_left) {
        size_t n = character_bytes(at, n_left);
        size_t n_taken = n ? n : 1;
        if (n_out + n_taken > max_bytes) break;
        if (n) {
            memcpy(out + n_out, at, n);
        } else {
            out[n_out] = '?';
        }
        n_out += n_taken;
        at += n_taken;
        n_left -= n_taken;
    }
    return n_out;
}
