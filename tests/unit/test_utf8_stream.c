/* test_utf8_stream.c: characters out of pieces of bytes. The broken texts and what becomes of them are the Unicode standard's own
 * examples (version 15, chapter 3.9, tables 3-8 to 3-11). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tokenizer.h"
#include "utf8.h"

#define MARK "\xef\xbf\xbd"

typedef struct example {
    const char *bytes, *text;
} example;

static const example examples[] = {
    {"", ""},
    {"plain", "plain"},
    {"\xc3\xa9\xe6\xbc\xa2\xf0\x9f\x98\x80", "\xc3\xa9\xe6\xbc\xa2\xf0\x9f\x98\x80"},
    {"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", MARK MARK MARK MARK MARK MARK MARK MARK "A"},
    {"\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", MARK MARK MARK MARK MARK MARK MARK MARK "A"},
    {"\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", MARK MARK MARK MARK MARK "A" MARK MARK "B"},
    {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", MARK MARK MARK MARK "A"},
    {"\xf0\x9f\x98", MARK},                                /* ends within a character */
    {"a\xe6\xbc", "a" MARK},                               /* likewise */
    {"\xf0\x9f\xf0\x9f\x98\x80", MARK "\xf0\x9f\x98\x80"}, /* a beginning interrupted by a whole one */
    {"\xf5\xf8\xfe", MARK MARK MARK},
};

/* Feeds the bytes in pieces [0, cut) and [cut, n), each from a block of its exact size into one of the promised room. */
static char *stream_in_two(const char *bytes, size_t cut)
{
    size_t n = strlen(bytes), n_out = 0;
    utf8_stream s = {0};
    char *text = calloc(1, 3 * (n + 8) + 12 + 1);
    const size_t begins[] = {0, cut, n};
    for (int i = 0; i < 2; i++) {
        size_t n_piece = begins[i + 1] - begins[i];
        char *piece = malloc(n_piece + !n_piece), *out = malloc(3 * (n_piece + 4));
        memcpy(piece, bytes + begins[i], n_piece);
        size_t n_new = utf8_stream_feed(&s, piece, n_piece, out);
        assert_true(n_new <= 3 * (n_piece + 4));
        memcpy(text + n_out, out, n_new);
        n_out += n_new;
        free(piece);
        free(out);
    }
    n_out += utf8_stream_end(&s, text + n_out);
    assert_int_equal(utf8_stream_end(&s, text + n_out), 0); /* nothing is pending any more */
    return text;
}

static void a_text_comes_out_the_same_wherever_it_is_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        for (size_t cut = 0; cut <= strlen(examples[i].bytes); cut++) {
            char *text = stream_in_two(examples[i].bytes, cut);
            assert_string_equal(text, examples[i].text);
            free(text);
        }
    }
}

static void half_a_character_waits_for_its_other_half(void **state)
{
    (void)state;
    utf8_stream s = {0};
    char out[32];
    assert_int_equal(utf8_stream_feed(&s, "\xf0\x9f\x98", 3, out), 0);
    assert_int_equal(utf8_stream_feed(&s, "\x80!", 2, out), 5);
    assert_memory_equal(out, "\xf0\x9f\x98\x80!", 5);
}

/* Every code point is written, measured and read back; cut short it is incomplete, and no surrogate is a character. */
static void every_code_point_is_measured_right(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < 0x110000; c++) {
        char bytes[4];
        int n = utf8_write(bytes, c);
        bool surrogate = c >= 0xd800 && c < 0xe000;
        if (utf8_char_bytes(bytes, (size_t)n) != (surrogate ? UTF8_INVALID : n)) fail_msg("U+%04X", c);
        if (!surrogate && utf8_code_point(bytes, n) != c) fail_msg("U+%04X", c);
        for (int shorter = 1; shorter < n && !surrogate; shorter++)
            if (utf8_char_bytes(bytes, (size_t)shorter) != UTF8_INCOMPLETE) fail_msg("U+%04X", c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_comes_out_the_same_wherever_it_is_cut),
        cmocka_unit_test(half_a_character_waits_for_its_other_half),
        cmocka_unit_test(every_code_point_is_measured_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
