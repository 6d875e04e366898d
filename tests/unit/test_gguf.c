/* test_gguf.c: what the reader makes of honest files, and of all the others.
 *
 * Files are made in memory by gguf_writer, damaged where a test says so, and opened from a block of exactly their size. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "gguf_walk.h"
#include "gguf_writer.h"
#include "scratch_dir.h"

/* A file in memory. */
typedef struct image {
    uint8_t *bytes;
    size_t n;
} image;

/* What a test adds to a file; NULL: nothing. */
typedef void add_fn(gguf_writer *w);

static void add_tensor_of(gguf_writer *w, const char *name, quant_type type, uint64_t n_cols, uint64_t n_rows)
{
    uint64_t ne[2] = {n_cols, n_rows};
    gguf_writer_tensor(w, name, type, 2, ne);
}

/* A file with keys from add_keys and tensors from add_tensors, whose data are the bytes 0, 1, 2 ... */
static image make_aligned(uint32_t alignment, add_fn *add_keys, add_fn *add_tensors, size_t data_bytes)
{
    char *bytes;
    size_t n;
    FILE *file = open_memstream(&bytes, &n);
    gguf_writer *w;
    yl_error err;
    assert_int_equal(gguf_writer_new(&w, file, alignment, &err), YL_OK);
    if (add_keys) add_keys(w);
    if (add_tensors) add_tensors(w);
    assert_int_equal(gguf_writer_begin_data(w, &err), YL_OK);
    for (size_t i = 0; i < data_bytes; i++) {
        uint8_t byte = (uint8_t)i;
        assert_int_equal(gguf_writer_data(w, &byte, 1, &err), YL_OK);
    }
    assert_int_equal(gguf_writer_finish(w, &err), YL_OK);
    gguf_writer_free(w);
    fclose(file);
    image exact = {malloc(n), n};
    memcpy(exact.bytes, bytes, n);
    free(bytes);
    return exact;
}

static image make(add_fn *add_keys, add_fn *add_tensors, size_t data_bytes)
{
    return make_aligned(32, add_keys, add_tensors, data_bytes);
}

/* Where a run of bytes first occurs. */
static size_t find(const image *f, const void *what, size_t n)
{
    uint8_t *at = memmem(f->bytes, f->n, what, n);
    assert_non_null(at);
    return (size_t)(at - f->bytes);
}

/* Overwrites the u64 or u32 that stands `skip` bytes behind the end of a name. */
static void set_u64_behind(image *f, const char *name, size_t skip, uint64_t v)
{
    memcpy(f->bytes + find(f, name, strlen(name)) + strlen(name) + skip, &v, sizeof v);
}

static void set_u32_behind(image *f, const char *name, size_t skip, uint32_t v)
{
    memcpy(f->bytes + find(f, name, strlen(name)) + strlen(name) + skip, &v, sizeof v);
}

static gguf *open_image(const image *f)
{
    gguf *g;
    yl_error err = {0};
    if (gguf_open_memory(&g, f->bytes, f->n, &err) != YL_OK) fail_msg("%s", err.msg);
    return g;
}

/* The file is refused with this status and a sentence that has `words` in it. Releases it. */
static void refused(image *f, yl_status status, const char *words)
{
    gguf *g;
    yl_error err = {0};
    assert_int_equal(gguf_open_memory(&g, f->bytes, f->n, &err), status);
    assert_null(g);
    if (!strstr(err.msg, words)) fail_msg("'%s' is not in '%s'", words, err.msg);
    free(f->bytes);
}

static void add_every_type(gguf_writer *w)
{
    static const char *const strings[] = {"eins", "", "drei"};
    static const float floats[] = {1.5f, -2.25f};
    static const int32_t ints[] = {-1, 0, 2147483647};
    static const uint64_t wide[] = {1, 2, 3}, too_wide[] = {1, 1ull << 31};
    static const uint8_t flags[] = {1, 0};
    gguf_writer_u8(w, "u8", 200);
    gguf_writer_i8(w, "i8", -100);
    gguf_writer_u16(w, "u16", 60000);
    gguf_writer_i16(w, "i16", -30000);
    gguf_writer_u32(w, "u32", 4000000000u);
    gguf_writer_i32(w, "i32", -2000000000);
    gguf_writer_u64(w, "u64", 5000000000u);
    gguf_writer_i64(w, "i64", -5000000000);
    gguf_writer_i64(w, "small i64", 7);
    gguf_writer_f32(w, "f32", 0.1f);
    gguf_writer_f64(w, "f64", 0.1);
    gguf_writer_bool(w, "true", true);
    gguf_writer_bool(w, "false", false);
    gguf_writer_str(w, "string", "h\xc3\xb6llo");
    gguf_writer_str(w, "empty string", "");
    gguf_writer_strings(w, "strings", strings, 3);
    gguf_writer_strings(w, "no strings", NULL, 0);
    gguf_writer_numbers(w, "floats", GGUF_F32, floats, 2);
    gguf_writer_numbers(w, "no floats", GGUF_F32, NULL, 0);
    gguf_writer_numbers(w, "ints", GGUF_I32, ints, 3);
    gguf_writer_numbers(w, "wide", GGUF_U64, wide, 3);
    gguf_writer_numbers(w, "too wide", GGUF_U64, too_wide, 2);
    gguf_writer_numbers(w, "flags", GGUF_BOOL, flags, 2);
}

static void add_two_tensors(gguf_writer *w)
{
    add_tensor_of(w, "first", QUANT_F32, 3, 2);
    add_tensor_of(w, "second", QUANT_Q8_0, 64, 1);
}
enum { TWO_TENSORS_BYTES = 24 + 68 };

static void a_file_is_read_as_it_was_written(void **state)
{
    (void)state;
    image f = make(add_every_type, add_two_tensors, TWO_TENSORS_BYTES);
    gguf *g = open_image(&f);
    assert_int_equal(gguf_version(g), 3);
    assert_int_equal(gguf_n_parts(g), 1);
    assert_int_equal(gguf_file_bytes(g), f.n);
    assert_int_equal(gguf_n_kv(g), 23);
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
    image f = make(add_every_type, NULL, 0);
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
    image f = make(add_every_type, NULL, 0);
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
    image f = make(add_every_type, NULL, 0);
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
    image f = make(add_every_type, NULL, 0);
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
    image f = make(add_every_type, NULL, 0);
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
    image f = make(add_every_type, add_two_tensors, TWO_TENSORS_BYTES);
    f.bytes[4] = 2;
    gguf *g = open_image(&f);
    assert_int_equal(gguf_version(g), 2);
    gguf_free(g);
    free(f.bytes);
}

static void tensors_are_placed_by_the_files_alignment(void **state)
{
    (void)state;
    image f = make_aligned(256, NULL, add_two_tensors, TWO_TENSORS_BYTES);
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
    image f = make(NULL, NULL, 0);
    gguf *g = open_image(&f);
    assert_int_equal(gguf_n_kv(g), 0);
    assert_int_equal(gguf_n_tensors(g), 0);
    assert_null(gguf_find_kv(g, "general.architecture"));
    assert_null(gguf_find_tensor(g, "x"));
    gguf_free(g);
    free(f.bytes);
}

/* Every prefix is refused, and one that lacks data says so in full. */
static void a_file_that_was_cut_short_is_refused_wherever_it_ends(void **state)
{
    (void)state;
    image whole = make(add_every_type, add_two_tensors, TWO_TENSORS_BYTES);
    gguf *g = open_image(&whole);
    size_t data_end = gguf_find_tensor(g, "second")->offset + 68;
    gguf_free(g);
    for (size_t n = 0; n < data_end; n++) {
        uint8_t *bytes = malloc(n ? n : 1);
        memcpy(bytes, whole.bytes, n);
        yl_error err = {0};
        assert_int_equal(gguf_open_memory(&g, bytes, n, &err), YL_EFORMAT);
        assert_null(g);
        assert_non_null(strstr(err.msg, n < 4 ? "does not begin with" : "Was the download cut short?"));
        free(bytes);
    }
    image cut = {whole.bytes, data_end - 1};
    char expected[200];
    snprintf(expected, sizeof expected, "(memory): tensor 'second' ends at byte %zu, the file has %zu. Was the download cut short?",
             data_end, data_end - 1);
    refused(&cut, YL_EFORMAT, expected);
}

/* Whatever one byte becomes, the file is refused or can be read in full. */
static void one_wrong_byte_never_leads_outside_the_file(void **state)
{
    (void)state;
    image whole = make(add_every_type, add_two_tensors, TWO_TENSORS_BYTES);
    size_t n_opened = 0;
    for (size_t at = 0; at < whole.n; at++) {
        const uint8_t honest = whole.bytes[at];
        const uint8_t values[] = {0, 0xff, 0x7f, 0x80, honest ^ 1, honest ^ 8, (uint8_t)(honest + 1)};
        for (size_t k = 0; k < sizeof values; k++) {
            whole.bytes[at] = values[k];
            gguf *g;
            yl_error err = {0};
            if (gguf_open_memory(&g, whole.bytes, whole.n, &err) == YL_OK) {
                gguf_walk(g);
                gguf_free(g);
                n_opened++;
            } else {
                assert_true(err.msg[0] && err.status != YL_OK);
            }
        }
        whole.bytes[at] = honest;
    }
    assert_in_range(n_opened, 100, 7 * whole.n); /* letters in names, data, padding */
    free(whole.bytes);
}

static void counts_that_no_file_can_hold_are_refused_before_they_cost_memory(void **state)
{
    (void)state;
    static const uint64_t counts[] = {100, 1 << 20, 1ull << 32, 1ull << 60,
                                      UINT64_MAX}; /* 100: the bytes that are left / 8 and more */
    for (size_t i = 0; i < 4; i++) {
        image f = make(add_every_type, add_two_tensors, TWO_TENSORS_BYTES);
        memcpy(f.bytes + 8, &counts[i], 8);
        refused(&f, YL_EFORMAT, "tensors, more than its");
        f = make(add_every_type, add_two_tensors, TWO_TENSORS_BYTES);
        memcpy(f.bytes + 16, &counts[i], 8);
        refused(&f, YL_EFORMAT, "keys, more than its");
        f = make(add_every_type, NULL, 0);
        set_u64_behind(&f, "floats", 8, counts[i]);
        refused(&f, YL_EFORMAT, "key 'floats' claims");
        f = make(add_every_type, NULL, 0);
        set_u64_behind(&f, "strings", 8, counts[i]);
        refused(&f, YL_EFORMAT, "key 'strings' claims");
        f = make(add_every_type, NULL, 0);
        set_u64_behind(&f, "empty string", 4, counts[i]);
        refused(&f, YL_EFORMAT, "key 'empty string' does not end within the file");
        f = make(add_every_type, NULL, 0);
        set_u64_behind(&f, "strings", 16, counts[i]);
        refused(&f, YL_EFORMAT, "string 0 of key 'strings'");
    }
}

/* As many keys as bytes are left: each would need fourteen. */
static void a_count_is_held_against_the_smallest_thing_counted(void **state)
{
    (void)state;
    image f = make(add_every_type, NULL, 0);
    uint64_t n = f.n - 24;
    memcpy(f.bytes + 16, &n, 8);
    refused(&f, YL_EFORMAT, "keys, more than its");
    f = make(NULL, add_two_tensors, TWO_TENSORS_BYTES);
    n = f.n - 24;
    memcpy(f.bytes + 8, &n, 8);
    refused(&f, YL_EFORMAT, "tensors, more than its");
}

static void other_files_are_told_by_what_they_are(void **state)
{
    (void)state;
    static const struct {
        uint32_t version;
        yl_status status;
        const char *words;
    } versions[] = {
        {1, YL_EUNSUPPORTED, "version 1"},           {0x03000000, YL_EUNSUPPORTED, "big endian"},
        {0x02000000, YL_EUNSUPPORTED, "big endian"}, {4, YL_EUNSUPPORTED, "version 4"},
        {0, YL_EUNSUPPORTED, "version 0"},           {UINT32_MAX, YL_EUNSUPPORTED, "versions 2 and 3 can be read"},
    };
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        image f = make(NULL, NULL, 0);
        memcpy(f.bytes + 4, &versions[i].version, 4);
        refused(&f, versions[i].status, versions[i].words);
    }
    image f = make(NULL, NULL, 0);
    f.bytes[3] = 'G';
    refused(&f, YL_EFORMAT, "is not a GGUF file");
    static const char lfs[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    image pointer = {malloc(sizeof lfs), sizeof lfs};
    memcpy(pointer.bytes, lfs, sizeof lfs);
    refused(&pointer, YL_EFORMAT, "git lfs pull");
}

static void add_one_tensor(gguf_writer *w)
{
    add_tensor_of(w, "weights", QUANT_Q4_K, 256, 2);
}

static void tensor_types_that_cannot_be_computed_are_named_with_a_way_out(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        const char *words;
    } types[] = {
        {16, "tensor 'weights' is of type IQ2_XXS"}, {39, "is of type MXFP4"}, {34, "is of type TQ1_0"}, {26, "is of type I32"},
        {4711, "is of type unknown (number 4711)"},
    };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        image f = make(NULL, add_one_tensor, 288);
        set_u32_behind(&f, "weights", 4 + 16, types[i].type);
        refused(&f, YL_EUNSUPPORTED, types[i].words);
        f = make(NULL, add_one_tensor, 288);
        set_u32_behind(&f, "weights", 4 + 16, types[i].type);
        refused(&f, YL_EUNSUPPORTED, "Q4_K_M or Q8_0");
    }
}

static void tensors_without_a_sensible_shape_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint64_t ne0, ne1;
        const char *words;
    } shapes[] = {
        {0, 2, "tensor 'weights' has no elements"},
        {256, 0, "tensor 'weights' has no elements"},
        {255, 2, "not a multiple of Q4_K's block of 256"},
        {256, UINT64_MAX, "more elements than 63 bits can count"},
        {256, 1ull << 55, "more elements than 63 bits can count"}, /* 2^63, in fewer bytes */
        {1ull << 60, 16, "more elements than 63 bits can count"},
        {1ull << 63, 2, "more elements than 63 bits can count"},
        {256, 1ull << 40, "tensor 'weights' ends at byte"},
        {1ull << 62, 1, "tensor 'weights' ends at byte"},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        image f = make(NULL, add_one_tensor, 288);
        set_u64_behind(&f, "weights", 4, shapes[i].ne0);
        set_u64_behind(&f, "weights", 12, shapes[i].ne1);
        refused(&f, YL_EFORMAT, shapes[i].words);
    }
    static const uint32_t dims[] = {0, 5, UINT32_MAX};
    for (size_t i = 0; i < 3; i++) {
        image f = make(NULL, add_one_tensor, 288);
        set_u32_behind(&f, "weights", 0, dims[i]);
        refused(&f, YL_EFORMAT, "dimensions, 1 to 4 are possible");
    }
}

static void tensors_outside_the_file_or_upon_each_other_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint64_t offset;
        const char *words;
    } offsets[] = {
        {0, "overlap"}, /* the place of the first */
        {8, "not a multiple of the alignment"},
        {1 << 20, "Was the download cut short?"},
        {UINT64_MAX - 31, "ends beyond what 64 bits can count"},
        {1ull << 63, "Was the download cut short?"},
    };
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        image f = make(NULL, add_two_tensors, TWO_TENSORS_BYTES);
        set_u64_behind(&f, "second", 4 + 16 + 4, offsets[i].offset);
        refused(&f, YL_EFORMAT, offsets[i].words);
    }
}

static void add_long_names(gguf_writer *w)
{
    add_tensor_of(w, "a123456789012345678901234567890123456789012345678901234567890123", QUANT_F32, 1, 1); /* 64 bytes */
}

static void tensor_names_are_short_and_printable(void **state)
{
    (void)state;
    image f = make(NULL, add_long_names, 4);
    gguf *g = open_image(&f);
    assert_int_equal(strlen(gguf_tensor_at(g, 0)->name), 64);
    gguf_free(g);
    uint64_t length = 65;
    memcpy(f.bytes + 24, &length, 8); /* takes the next byte, of n_dims, into the name */
    refused(&f, YL_EFORMAT, "65 bytes long, at most 64 are allowed");
    static const uint8_t control[] = {0, '\n', 0x1b, 0x7f};
    for (size_t i = 0; i < 4; i++) {
        f = make(NULL, add_two_tensors, TWO_TENSORS_BYTES);
        f.bytes[find(&f, "second", 6) + 2] = control[i];
        refused(&f, YL_EFORMAT, "name of tensor 1 has a control byte");
    }
    f = make(NULL, add_two_tensors, TWO_TENSORS_BYTES);
    memset(f.bytes + 24, 0, 8);
    refused(&f, YL_EFORMAT, "tensor 0 has no name");
}

static void add_keys_a_and_b(gguf_writer *w)
{
    gguf_writer_u32(w, "key.a", 1);
    gguf_writer_u32(w, "key.b", 2);
    gguf_writer_bool(w, "key.bool", true);
}

static void keys_that_are_there_twice_are_refused(void **state)
{
    (void)state;
    image f = make(add_keys_a_and_b, NULL, 0);
    f.bytes[find(&f, "key.b", 5) + 4] = 'a';
    refused(&f, YL_EFORMAT, "key 'key.a' is there twice");
}

static void add_twins(gguf_writer *w)
{
    add_tensor_of(w, "twin.1", QUANT_F32, 3, 2);
    add_tensor_of(w, "twin.2", QUANT_F32, 3, 2);
}

static void tensors_that_are_there_twice_are_refused(void **state)
{
    (void)state;
    image f = make(NULL, add_twins, 48);
    f.bytes[find(&f, "twin.2", 6) + 5] = '1';
    refused(&f, YL_EFORMAT, "tensor 'twin.1' is there twice");
}

static void keys_of_types_that_do_not_exist_are_refused(void **state)
{
    (void)state;
    image f = make(add_keys_a_and_b, NULL, 0);
    set_u32_behind(&f, "key.a", 0, 13);
    refused(&f, YL_EFORMAT, "key 'key.a' has type 13");
    f = make(add_every_type, NULL, 0);
    set_u32_behind(&f, "floats", 4, 99);
    refused(&f, YL_EFORMAT, "key 'floats' is an array of type 99");
    f = make(add_every_type, NULL, 0);
    set_u32_behind(&f, "floats", 4, GGUF_ARRAY);
    refused(&f, YL_EUNSUPPORTED, "key 'floats' is an array of arrays");
    f = make(add_keys_a_and_b, NULL, 0);
    memset(f.bytes + 24, 0, 8);
    refused(&f, YL_EFORMAT, "key 0 has no name");
    f = make(add_keys_a_and_b, NULL, 0);
    f.bytes[find(&f, "key.bool", 8) + 12] = 2;
    gguf *g = open_image(&f);
    bool b;
    yl_error err;
    assert_int_equal(gguf_get_bool_or(g, "key.bool", false, &b, &err), YL_EFORMAT);
    gguf_free(g);
    free(f.bytes);
}

static void control_bytes_in_keys_do_not_reach_the_terminal(void **state)
{
    (void)state;
    image f = make(add_keys_a_and_b, NULL, 0);
    size_t at = find(&f, "key.a", 5);
    f.bytes[at] = 0x1b;
    memset(f.bytes + at + 5, 0xff, 4);
    refused(&f, YL_EFORMAT, "key '?ey.a' has type");
}

static void alignments_that_are_no_power_of_two_are_refused(void **state)
{
    (void)state;
    static const uint32_t alignments[] = {0, 1, 4, 48, 255, UINT32_MAX};
    for (size_t i = 0; i < sizeof alignments / sizeof alignments[0]; i++) {
        image f = make_aligned(64, NULL, add_two_tensors, TWO_TENSORS_BYTES);
        set_u32_behind(&f, "general.alignment", 4, alignments[i]);
        refused(&f, YL_EFORMAT, "not a power of two");
    }
    image f = make_aligned(64, NULL, add_two_tensors, TWO_TENSORS_BYTES);
    set_u32_behind(&f, "general.alignment", 4, 1u << 31);
    refused(&f, YL_EFORMAT, "tensor");
    f = make_aligned(64, NULL, add_two_tensors, TWO_TENSORS_BYTES);
    set_u32_behind(&f, "general.alignment", 0, GGUF_F32);
    refused(&f, YL_EFORMAT, "'general.alignment' is f32, expected an integer");
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
    image f = make(add_many_keys, NULL, 0);
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

static void add_too_many_keys(gguf_writer *w)
{
    for (int i = 0; i < 65537; i++) {
        char key[32];
        snprintf(key, sizeof key, "%d", i);
        gguf_writer_u8(w, key, 0);
    }
}

static void more_keys_than_the_limit_are_refused(void **state)
{
    (void)state;
    image f = make(add_too_many_keys, NULL, 0);
    refused(&f, YL_ELIMIT, "has 65537 keys, the limit is 65536");
}

/* Files on disk. */

static int set_up(void **state)
{
    scratch_dir *dir = calloc(1, sizeof *dir);
    *state = dir;
    return dir && scratch_dir_init(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    scratch_dir *dir = *state;
    scratch_dir_clear(dir);
    free(dir);
    return 0;
}

static void write_file(const char *path, const void *bytes, size_t n_bytes)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n_bytes, file), n_bytes);
    assert_int_equal(fclose(file), 0);
}

static void path_refused(const char *path, yl_status status, const char *words)
{
    gguf *g;
    yl_error err = {0};
    assert_int_equal(gguf_open(&g, path, &err), status);
    assert_null(g);
    if (!strstr(err.msg, words)) fail_msg("'%s' is not in '%s'", words, err.msg);
}

static void a_file_on_disk_is_mapped(void **state)
{
    scratch_dir *dir = *state;
    image f = make(add_every_type, add_two_tensors, TWO_TENSORS_BYTES);
    char path[SCRATCH_PATH_BYTES];
    write_file(scratch_dir_path(dir, path, "m.gguf"), f.bytes, f.n);
    gguf *g;
    yl_error err;
    assert_int_equal(gguf_open(&g, path, &err), YL_OK);
    assert_string_equal(gguf_path(g), path);
    assert_string_equal(gguf_part_path(g, 0), path);
    const gguf_tensor *t = gguf_find_tensor(g, "second");
    gguf_advise_needed(g, t);
    assert_int_equal(t->data[67], 91);
    gguf_advise_done(g, t);
    assert_int_equal(t->data[67], 91);
    gguf_walk(g);
    gguf_free(g);
    write_file(path, f.bytes, f.n - 40);
    path_refused(path, YL_EFORMAT, "Was the download cut short?");
    path_refused(path, YL_EFORMAT, path);
    free(f.bytes);
}

static void what_is_not_a_readable_file_is_told_apart(void **state)
{
    scratch_dir *dir = *state;
    char path[SCRATCH_PATH_BYTES];
    path_refused(dir->path, YL_EIO, "is a directory");
    path_refused(scratch_dir_path(dir, path, "nowhere.gguf"), YL_EIO, "nowhere.gguf: cannot be opened: No such file");
    path_refused("", YL_EIO, "cannot be opened");
    write_file(scratch_dir_path(dir, path, "empty.gguf"), "", 0);
    path_refused(path, YL_EFORMAT, "is empty");
    assert_int_equal(mkfifo(scratch_dir_path(dir, path, "pipe.gguf"), 0600), 0);
    path_refused(path, YL_EIO, "is not a regular file");
    write_file(scratch_dir_path(dir, path, "secret.gguf"), "GGUF", 4);
    if (geteuid() == 0) return; /* root may read everything */
    assert_int_equal(chmod(path, 0), 0);
    path_refused(path, YL_EIO, "Permission denied");
}

/* Part `no` of `count`, with one tensor "t<no>" of 8 floats; no and count as the file says, not as it is named. */
static struct {
    uint16_t no, count;
    int32_t n_tensors;
    int tensor;
} split;

static void add_split_keys(gguf_writer *w)
{
    if (split.no == 0) gguf_writer_str(w, "general.name", "the whole");
    gguf_writer_u16(w, "split.no", split.no);
    gguf_writer_u16(w, "split.count", split.count);
    gguf_writer_i32(w, "split.tensors.count", split.n_tensors);
}

static void add_split_tensor(gguf_writer *w)
{
    char name[16];
    snprintf(name, sizeof name, "t%d", split.tensor);
    add_tensor_of(w, name, QUANT_F32, 8, 1);
}

static char *write_part(char path[SCRATCH_PATH_BYTES], const scratch_dir *dir, const char *name)
{
    image f = make(add_split_keys, add_split_tensor, 32);
    write_file(scratch_dir_path(dir, path, name), f.bytes, f.n);
    free(f.bytes);
    return path;
}

static void write_three_parts(const scratch_dir *dir)
{
    static const char *const names[] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"};
    char path[SCRATCH_PATH_BYTES];
    for (int i = 0; i < 3; i++) {
        split.no = (uint16_t)i, split.count = 3, split.n_tensors = 3, split.tensor = i;
        write_part(path, dir, names[i]);
    }
}

static void a_split_model_opens_by_any_of_its_parts(void **state)
{
    scratch_dir *dir = *state;
    write_three_parts(dir);
    static const char *const names[] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"};
    for (int i = 0; i < 3; i++) {
        char path[SCRATCH_PATH_BYTES];
        gguf *g;
        yl_error err;
        assert_int_equal(gguf_open(&g, scratch_dir_path(dir, path, names[i]), &err), YL_OK);
        assert_string_equal(gguf_path(g), path);
        assert_int_equal(gguf_n_parts(g), 3);
        assert_int_equal(gguf_n_tensors(g), 3);
        assert_non_null(gguf_find_kv(g, "general.name"));
        for (uint32_t k = 0; k < 3; k++) {
            char name[16];
            snprintf(name, sizeof name, "t%u", (unsigned)k);
            assert_int_equal(gguf_find_tensor(g, name)->part, k);
            assert_ptr_equal(gguf_tensor_at(g, k), gguf_find_tensor(g, name));
            assert_string_equal(gguf_part_path(g, k), scratch_dir_path(dir, path, names[k]));
        }
        gguf_walk(g);
        gguf_free(g);
    }
}

static void a_split_model_with_a_wrong_part_is_refused(void **state)
{
    scratch_dir *dir = *state;
    char path[SCRATCH_PATH_BYTES], second[SCRATCH_PATH_BYTES];
    write_three_parts(dir);
    scratch_dir_path(dir, path, "m-00001-of-00003.gguf");
    scratch_dir_path(dir, second, "m-00002-of-00003.gguf");
    unlink(second);
    path_refused(path, YL_EIO, "m-00002-of-00003.gguf: cannot be opened");

    split.no = 2, split.count = 3, split.tensor = 1;
    write_part(second, dir, "m-00002-of-00003.gguf");
    path_refused(path, YL_EFORMAT, "says it is part 3 of 3, but stands where part 2 of 3 belongs");
    path_refused(second, YL_EFORMAT, "its name must end in '-00003-of-00003.gguf'");

    split.no = 1, split.count = 4;
    write_part(second, dir, "m-00002-of-00003.gguf");
    path_refused(path, YL_EFORMAT, "says it is part 2 of 4, but stands where part 2 of 3 belongs");

    split.count = 3, split.tensor = 0;
    write_part(second, dir, "m-00002-of-00003.gguf");
    path_refused(path, YL_EFORMAT, "tensor 't0' is there twice");

    split.tensor = 1;
    write_part(second, dir, "m-00002-of-00003.gguf");
    split.no = 0, split.n_tensors = 4, split.tensor = 0;
    write_part(path, dir, "m-00001-of-00003.gguf");
    path_refused(path, YL_EFORMAT, "3 tensors together, but split.tensors.count says 4");
}

static void a_part_that_cannot_find_the_others_is_refused(void **state)
{
    scratch_dir *dir = *state;
    char path[SCRATCH_PATH_BYTES];
    split.no = 0, split.count = 3, split.n_tensors = 3, split.tensor = 0;
    path_refused(write_part(path, dir, "renamed.gguf"), YL_EFORMAT, "its name must end in '-00001-of-00003.gguf'");
    split.no = 3;
    path_refused(write_part(path, dir, "m-00003-of-00003.gguf"), YL_EFORMAT, "says it is part 4 of 3");
    split.no = 0, split.count = 60000;
    path_refused(write_part(path, dir, "m-00001-of-60000.gguf"), YL_ELIMIT, "is split into 60000 files");
    split.count = 3;
    image f = make(add_split_keys, add_split_tensor, 32);
    refused(&f, YL_EUNSUPPORTED, "one part of a split model");
}

/* The fuzzer's files: seeds, and whatever it found. */
static void the_fuzzers_corpus_is_refused_or_read_in_full(void **state)
{
    (void)state;
    static const char folder[] = YLLAMA_SOURCE_DIR "/tests/fuzz/corpus/gguf";
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    size_t n_opened = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[sizeof folder + 256];
        gguf *g;
        yl_error err;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (gguf_open(&g, path, &err) != YL_OK) continue;
        gguf_walk(g);
        gguf_free(g);
        n_opened++;
    }
    closedir(dir);
    assert_in_range(n_opened, 5, 1000);
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
        cmocka_unit_test(a_file_that_was_cut_short_is_refused_wherever_it_ends),
        cmocka_unit_test(one_wrong_byte_never_leads_outside_the_file),
        cmocka_unit_test(counts_that_no_file_can_hold_are_refused_before_they_cost_memory),
        cmocka_unit_test(a_count_is_held_against_the_smallest_thing_counted),
        cmocka_unit_test(other_files_are_told_by_what_they_are),
        cmocka_unit_test(tensor_types_that_cannot_be_computed_are_named_with_a_way_out),
        cmocka_unit_test(tensors_without_a_sensible_shape_are_refused),
        cmocka_unit_test(tensors_outside_the_file_or_upon_each_other_are_refused),
        cmocka_unit_test(tensor_names_are_short_and_printable),
        cmocka_unit_test(keys_that_are_there_twice_are_refused),
        cmocka_unit_test(tensors_that_are_there_twice_are_refused),
        cmocka_unit_test(keys_of_types_that_do_not_exist_are_refused),
        cmocka_unit_test(control_bytes_in_keys_do_not_reach_the_terminal),
        cmocka_unit_test(alignments_that_are_no_power_of_two_are_refused),
        cmocka_unit_test(many_keys_are_found),
        cmocka_unit_test(more_keys_than_the_limit_are_refused),
        cmocka_unit_test(the_fuzzers_corpus_is_refused_or_read_in_full),
        cmocka_unit_test_setup_teardown(a_file_on_disk_is_mapped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_a_readable_file_is_told_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_split_model_opens_by_any_of_its_parts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_split_model_with_a_wrong_part_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_part_that_cannot_find_the_others_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
