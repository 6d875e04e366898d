/* Texts from files and arguments, with escapes as llama.cpp reads them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scratch_dir.h"
#include "text_input.h"

/* The text is copied to a block of its exact size: reading beyond its end is seen by ASan. */
static void check_unescaped(const char *text, const char *expected, size_t n_expected)
{
    size_t n = strlen(text);
    char *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, text, n);
    assert_int_equal(text_input_unescape(copy, n), n_expected);
    assert_memory_equal(copy, expected, n_expected);
    free(copy);
}

static void escapes_are_replaced_and_others_stay(void **state)
{
    (void)state;
    check_unescaped("a\\nb\\tc\\r", "a\nb\tc\r", 6);
    check_unescaped("\\'\\\"\\\\n", "'\"\\n", 4);
    check_unescaped("\\x41\\x4a\\x0", "AJ\\x0", 5);
    check_unescaped("\\xg1\\x4", "\\xg1\\x4", 7);
    check_unescaped("\\x00b", "\0b", 2);
    check_unescaped("\\q\\", "\\q\\", 3);
    check_unescaped("", "", 0);
    check_unescaped("caf\xc3\xa9", "caf\xc3\xa9", 5);
}

static char *write_file(const scratch_dir *dir, char path[SCRATCH_PATH_BYTES], const char *bytes, size_t n)
{
    FILE *f = fopen(scratch_dir_path(dir, path, "text"), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    return path;
}

static void a_file_is_read_whole_and_its_last_newline_may_go(void **state)
{
    char path[SCRATCH_PATH_BYTES];
    options o = options_defaults(COMMAND_RUN);
    o.file = write_file(*state, path, "one\\n\ntwo\n\n", 11);
    text_input text;
    yl_error err;
    assert_int_equal(text_input_get(&text, &o, TEXT_INPUT_WITHOUT_LAST_NEWLINE, &err), YL_OK);
    assert_string_equal(text.data, "one\n\ntwo\n");
    free(text.data);
    o.escape = false;
    assert_int_equal(text_input_get(&text, &o, TEXT_INPUT_WHOLE, &err), YL_OK);
    assert_string_equal(text.data, "one\\n\ntwo\n\n");
    assert_int_equal(text.n_bytes, 11);
    free(text.data);
    o.prompt = "given\\n"; /* before the file, and its newline is meant */
    o.escape = true;
    assert_int_equal(text_input_get(&text, &o, TEXT_INPUT_WITHOUT_LAST_NEWLINE, &err), YL_OK);
    assert_string_equal(text.data, "given\n");
    free(text.data);
}

static void a_large_file_keeps_every_byte(void **state)
{
    enum { N = 300000 };
    char path[SCRATCH_PATH_BYTES];
    char *bytes = malloc(N);
    assert_non_null(bytes);
    for (size_t i = 0; i < N; i++) bytes[i] = (char)(i * 7 % 251);
    text_input text;
    assert_int_equal(text_input_read_file(&text, write_file(*state, path, bytes, N), NULL), YL_OK);
    assert_int_equal(text.n_bytes, N);
    assert_memory_equal(text.data, bytes, N);
    free(text.data);
    free(bytes);
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
    (void)state;
    text_input text;
    yl_error err;
    assert_int_equal(text_input_read_file(&text, "/nonexistent/file", &err), YL_EIO);
    assert_non_null(strstr(err.msg, "/nonexistent/file"));
    assert_null(text.data);
    assert_int_equal(text_input_read_file(&text, "/", &err), YL_EIO);
    assert_null(text.data);
}

static int set_up(void **state)
{
    static scratch_dir dir;
    *state = &dir;
    return scratch_dir_init(&dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    scratch_dir_clear(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escapes_are_replaced_and_others_stay),
        cmocka_unit_test(a_file_is_read_whole_and_its_last_newline_may_go),
        cmocka_unit_test(a_large_file_keeps_every_byte),
        cmocka_unit_test(a_file_that_cannot_be_read_is_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
