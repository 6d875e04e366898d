/* test_gguf.c: honest files, as gguf_writer writes them, and what the typed reads make of their metadata. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gguf_image.h"

static gguf *open_image(const gguf_image *f)
{
    gguf *g;
    yl_error err = {0};
    if (gguf_open_memory(&g, f->bytes, f->n, &err) != YL_OK) fail_msg("%s", err.msg);
    return g;
}

static void a_file_is_read_as_it_was_written(void **state)
{
    (void)state;
    gguf_image f = gguf_image_make(gguf_image_add_every_type, gguf_image_add_two_tensors);
    gguf *g = open_image(&f);
    assert_int_equal(gguf_version(g), 3);
    assert_int_equal(gguf_n_parts(g), 1);
    assert_int_equal(gguf_file_bytes(g), f.n);
    assert_int_equal(gguf_n_kv(g), GGUF_IMAGE_N_KEYS);
    assert_int_equal(gguf_n_tensors(g), 2);
    const gguf_tensor *first = gguf_find_tensor(g, "first"), *second = gguf_find_tensor(g, "second");
    assert_ptr_equal(gguf_tensor_at(g, 0), first);
    assert_ptr_equal(gguf_tensor_at(g, 1), second);
    assert_null(gguf_find_tensor(g, "third"));
    assert_int_equal(first->n_dims, 2);
    assert_int_equal(first->ne[0], 3);
    assert_int_equal(first->ne[1], 2);
    assert_int_equal(first->ne[2], 1);
    assert_int_equal(first->n_bytes, 24);
    assert_int_equal(first->offset % 32, 0);
    assert_ptr_equal(first->data, f.bytes + first->offset);
    assert_int_equal(first->data[23], 23);
    assert_int_equal(second->type, QUANT_Q8_0);
    assert_int_equal(second->offset, first->offset + 32);
    assert_int_equal(second->data[0], 24);
    assert_int_equal(second->data[67], 91);
    gguf_free(g);
    free(f.bytes);
}

static void integers_of_any_width_are_taken_when_they_fit(void **state)
{
    (void)state;
    gguf_image f = gguf_image_make(gguf_image_add_every_type, NULL);
    gguf *g = open_image(&f);
    static const struct {
        const char *key;
        bool fits;
        uint32_t value;
    } cases[] = {
        {"u8", true, 200},  {"u16", true, 60000}, {"u32", true, 4000000000u}, {"small i64", true, 7}, {"i8", false, 0},
        {"i16", false, 0},  {"i32", false, 0},    {"u64", false, 0},          {"i64", false, 0},      {"f32", false, 0},
        {"true", false, 0}, {"string", false, 0}, {"ints", false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t v = 0;
        yl_error err;
        yl_status status = gguf_get_u32(g, cases[i].key, &v, &err);
        assert_int_equal(status, cases[i].fits ? YL_OK : YL_EFORMAT);
        if (cases[i].fits)
            assert_int_equal(v, cases[i].value);
        else
            assert_non_null(strstr(err.msg, cases[i].key));
    }
    gguf_free(g);
    free(f.bytes);
}

static void numbers_of_any_type_are_taken_as_floats(void **state)
{
    (void)state;
    gguf_image f = gguf_image_make(gguf_image_add_every_type, NULL);
    gguf *g = open_image(&f);
    double d;
    yl_error err;
    assert_int_equal(gguf_get_f64_or(g, "f32", 0, &d, &err), YL_OK);
    assert_true(d == (double)0.1f);
    assert_int_equal(gguf_get_f64_or(g, "f64", 0, &d, &err), YL_OK);
    assert_true(d == 0.1);
    assert_int_equal(gguf_get_f64_or(g, "i64", 0, &d, &err), YL_OK);
    assert_true(d == -5e9);
    assert_int_equal(gguf_get_f64_or(g, "u8", 0, &d, &err), YL_OK);
    assert_true(d == 200);
    assert_int_equal(gguf_get_f64_or(g, "string", 0, &d, &err), YL_EFORMAT);
    assert_int_equal(gguf_get_f64_or(g, "true", 0, &d, &err), YL_EFORMAT);
    gguf_free(g);
    free(f.bytes);
}

static void a_missing_key_gives_the_default_or_an_error_that_names_it(void **state)
{
    (void)state;
    gguf_image f = gguf_image_make(gguf_image_add_every_type, NULL);
    gguf *g = open_image(&f);
    uint32_t u;
    double d;
    bool b;
    gguf_str s;
    yl_error err;
    assert_int_equal(gguf_get_u32_or(g, "nowhere", 42, &u, &err), YL_OK);
    assert_int_equal(u, 42);
    assert_int_equal(gguf_get_f64_or(g, "nowhere", 4.5, &d, &err), YL_OK);
    assert_true(d == 4.5);
    assert_int_equal(gguf_get_bool_or(g, "nowhere", true, &b, &err), YL_OK);
    assert_true(b);
    assert_int_equal(gguf_get_str_or(g, "nowhere", "ja", &s, &err), YL_OK);
    assert_int_equal(s.n_bytes, 2);
    assert_int_equal(gguf_get_u32(g, "nowhere", &u, &err), YL_EFORMAT);
    assert_string_equal(err.msg, "key 'nowhere' is missing");
    assert_int_equal(gguf_get_str(g, "nowhere", &s, &err), YL_EFORMAT);
    assert_int_equal(gguf_get_u32(g, "nowhere", &u, NULL), YL_EFORMAT);
    gguf_free(g);
    free(f.bytes);
}

static void strings_and_bools_are_read(void **state)
{
    (void)state;
    gguf_image f = gguf_image_make(gguf_image_add_every_type, NULL);
    gguf *g = open_image(&f);
    gguf_str s;
    bool b;
    yl_error err;
    assert_int_equal(gguf_get_str(g, "string", &s, &err), YL_OK);
    assert_int_equal(s.n_bytes, 6);
    assert_memory_equal(s.data, "h\xc3\xb6llo", 6);
    assert_int_equal(gguf_get_str(g, "empty string", &s, &err), YL_OK);
    assert_int_equal(s.n_bytes, 0);
    assert_int_equal(gguf_get_bool_or(g, "true", false, &b, &err), YL_OK);
    assert_true(b);
    assert_int_equal(gguf_get_bool_or(g, "false", true, &b, &err), YL_OK);
    assert_false(b);
    assert_int_equal(gguf_get_bool_or(g, "u8", true, &b, &err), YL_EFORMAT);
    assert_int_equal(gguf_get_str(g, "u8", &s, &err), YL_EFORMAT);
    assert_string_equal(err.msg, "key 'u8' is u8, expected a string");
    gguf_free(g);
    free(f.bytes);
}

static void arrays_are_copied_out(void **state)
{
    (void)state;
    gguf_image f = gguf_image_make(gguf_image_add_every_type, NULL);
    gguf *g = open_image(&f);
    gguf_str *strings;
    float *floats;
    int32_t *ints;
    size_t n;
    yl_error err;
    assert_int_equal(gguf_get_strings(g, "strings", &strings, &n, &err), YL_OK);
    assert_int_equal(n, 3);
    assert_memory_equal(strings[0].data, "eins", 4);
    assert_int_equal(strings[1].n_bytes, 0);
    assert_int_equal(strings[2].n_bytes, 4);
    free(strings);
    assert_int_equal(gguf_get_strings(g, "no strings", &strings, &n, &err), YL_OK);
    assert_null(strings);
    assert_int_equal(n, 0);
    assert_int_equal(gguf_get_f32s(g, "floats", &floats, &n, &err), YL_OK);
    assert_int_equal(n, 2);
    assert_true(floats[0] == 1.5f && floats[1] == -2.25f);
    free(floats);
    assert_int_equal(gguf_get_f32s(g, "no floats", &floats, &n, &err), YL_OK);
    assert_null(floats);
    assert_int_equal(gguf_get_i32s(g, "ints", &ints, &n, &err), YL_OK);
    assert_int_equal(n, 3);
    assert_true(ints[0] == -1 && ints[2] == 2147483647);
    free(ints);
    assert_int_equal(gguf_get_i32s(g, "wide", &ints, &n, &err), YL_OK);
    assert_int_equal(ints[2], 3);
    free(ints);
    assert_int_equal(gguf_get_i32s(g, "too wide", &ints, &n, &err), YL_EFORMAT);
    assert_string_equal(err.msg, "element 1 of key 'too wide' does not fit 32 bits");
    assert_null(ints);
    assert_int_equal(gguf_get_i32s(g, "floats", &ints, &n, &err), YL_EFORMAT);
    assert_int_equal(gguf_get_i32s(g, "flags", &ints, &n, &err), YL_EFORMAT);
    assert_int_equal(gguf_get_f32s(g, "ints", &floats, &n, &err), YL_EFORMAT);
    assert_string_equal(err.msg, "key 'ints' is an array (elements: i32), expected an array of f32");
    assert_int_equal(gguf_get_strings(g, "string", &strings, &n, &err), YL_EFORMAT);
    assert_int_equal(gguf_get_strings(g, "nowhere", &strings, &n, &err), YL_EFORMAT);
    assert_null(strings);
    gguf_free(g);
    free(f.bytes);
}

static void version_2_is_read_too(void **state)
{
    (void)state;
    gguf_image f = gguf_image_make(gguf_image_add_every_type, gguf_image_add_two_tensors);
    f.bytes[4] = 2;
    gguf *g = open_image(&f);
    assert_int_equal(gguf_version(g), 2);
    gguf_free(g);
    free(f.bytes);
}

static void tensors_are_placed_by_the_files_alignment(void **state)
{
    (void)state;
    gguf_image f = gguf_image_make_aligned(256, NULL, gguf_image_add_two_tensors);
    gguf *g = open_image(&f);
    assert_int_equal(gguf_find_tensor(g, "first")->offset % 256, 0);
    assert_int_equal(gguf_find_tensor(g, "second")->offset, gguf_find_tensor(g, "first")->offset + 256);
    assert_int_equal(gguf_find_tensor(g, "second")->data[0], 24);
    gguf_free(g);
    free(f.bytes);
}

static void a_file_without_keys_and_tensors_is_a_file(void **state)
{
    (void)state;
    gguf_image f = gguf_image_make(NULL, NULL);
    gguf *g = open_image(&f);
    assert_int_equal(gguf_n_kv(g), 0);
    assert_int_equal(gguf_n_tensors(g), 0);
    assert_null(gguf_find_kv(g, "general.architecture"));
    assert_null(gguf_find_tensor(g, "x"));
    gguf_free(g);
    free(f.bytes);
}

/* 20,000 keys: a lookup that compared with each of them would show. */
static void add_many_keys(gguf_writer *w)
{
    for (int i = 0; i < 20000; i++) {
        char key[32];
        snprintf(key, sizeof key, "key.%d", i * 7919 % 20000);
        gguf_writer_u32(w, key, (uint32_t)i);
    }
}

static void many_keys_are_found(void **state)
{
    (void)state;
    gguf_image f = gguf_image_make(add_many_keys, NULL);
    gguf *g = open_image(&f);
    for (int i = 0; i < 20000; i++) {
        char key[32];
        uint32_t v;
        yl_error err;
        snprintf(key, sizeof key, "key.%d", i * 7919 % 20000);
        assert_int_equal(gguf_get_u32(g, key, &v, &err), YL_OK);
        assert_int_equal(v, i);
    }
    assert_null(gguf_find_kv(g, "key."));
    assert_null(gguf_find_kv(g, "key.20000"));
    gguf_free(g);
    free(f.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read_as_it_was_written),
        cmocka_unit_test(integers_of_any_width_are_taken_when_they_fit),
        cmocka_unit_test(numbers_of_any_type_are_taken_as_floats),
        cmocka_unit_test(a_missing_key_gives_the_default_or_an_error_that_names_it),
        cmocka_unit_test(strings_and_bools_are_read),
        cmocka_unit_test(arrays_are_copied_out),
        cmocka_unit_test(version_2_is_read_too),
        cmocka_unit_test(tensors_are_placed_by_the_files_alignment),
        cmocka_unit_test(a_file_without_keys_and_tensors_is_a_file),
        cmocka_unit_test(many_keys_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
