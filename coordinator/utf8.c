/* utf8.c: table 3-7 of the Unicode standard, as one range for the second byte and one rule for the rest. */
#include "utf8.h"

/* What a lead byte promises: how many bytes in all (0: it leads nothing) and which second byte may follow. */
typedef struct lead_rule {
    int n_bytes;
    unsigned char second_first, second_last;
} lead_rule;

static lead_rule rule_of(unsigned char lead)
{
    if (lead < 0x80) return (lead_rule){1, 0, 0};
    if (lead < 0xc2) return (lead_rule){0, 0, 0}; /* a continuation byte, or an overlong form of ASCII */
    if (lead < 0xe0) return (lead_rule){2, 0x80, 0xbf};
    if (lead == 0xe0) return (lead_rule){3, 0xa0, 0xbf}; /* below: overlong */
    if (lead == 0xed) return (lead_rule){3, 0x80, 0x9f}; /* above: surrogates */
    if (lead < 0xf0) return (lead_rule){3, 0x80, 0xbf};
    if (lead == 0xf0) return (lead_rule){4, 0x90, 0xbf};
    if (lead < 0xf4) return (lead_rule){4, 0x80, 0xbf};
    if (lead == 0xf4) return (lead_rule){4, 0x80, 0x8f}; /* above: beyond U+10FFFF */
    return (lead_rule){0, 0, 0};
}

int utf8_char_bytes(const char *s, size_t n)
{
    const unsigned char *u = (const unsigned char *)s;
    if (u[0] < 0x80) return 1;
    lead_rule rule = rule_of(u[0]);
    if (rule.n_bytes == 0) return UTF8_INVALID;
    if (n < 2) return UTF8_INCOMPLETE;
    if (u[1] < rule.second_first || u[1] > rule.second_last) return UTF8_INVALID;
    for (int i = 2; i < rule.n_bytes; i++) {
        if ((size_t)i >= n) return UTF8_INCOMPLETE;
        if ((u[i] & 0xc0) != 0x80) return UTF8_INVALID;
    }
    return rule.n_bytes;
}

uint32_t utf8_code_point(const char *s, int n_bytes)
{
    const unsigned char *u = (const unsigned char *)s;
    switch (n_bytes) {
    case 1: return u[0];
    case 2: return (uint32_t)(u[0] & 0x1f) << 6 | (u[1] & 0x3f);
    case 3: return (uint32_t)(u[0] & 0x0f) << 12 | (uint32_t)(u[1] & 0x3f) << 6 | (u[2] & 0x3f);
    default: return (uint32_t)(u[0] & 0x07) << 18 | (uint32_t)(u[1] & 0x3f) << 12 | (uint32_t)(u[2] & 0x3f) << 6 | (u[3] & 0x3f);
    }
}

int utf8_write(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}
