/* test_gguf_hostile.c: files that lie. Each is an honest one, damaged in memory where the test says so. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gguf_image.h"
#include "gguf_walk.h"

static gguf *open_image(const gguf_image *f)
{
    gguf *g;
    yl_error err = {0};
    if (gguf_open_memory(&g, f->bytes, f->n, &err) != YL_OK) fail_msg("%s", err.msg);
    return g;
}

/* The file is refused with this status and a sentence that has `words` in it. Releases it. */
static void refused(gguf_image *f, yl_status status, const char *words)
{
    gguf *g;
    yl_error err = {0};
    assert_int_equal(gguf_open_memory(&g, f->bytes, f->n, &err), status);
    assert_null(g);
    if (!strstr(err.msg, words)) fail_msg("'%s' is not in '%s'", words, err.msg);
    free(f->bytes);
}

/* Every prefix is refused, and one that lacks data says so in full. */
static void a_file_that_was_cut_short_is_refused_wherever_it_ends(void **state)
{
    (void)state;
    gguf_image whole = gguf_image_make(gguf_image_add_every_type, gguf_image_add_two_tensors);
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
    gguf_image cut = {whole.bytes, data_end - 1};
    char expected[200];
    snprintf(expected, sizeof expected, "(memory): tensor 'second' ends at byte %zu, the file has %zu. Was the download cut short?",
             data_end, data_end - 1);
    refused(&cut, YL_EFORMAT, expected);
}

/* Whatever one byte becomes, the file is refused or can be read in full. */
static void one_wrong_byte_never_leads_outside_the_file(void **state)
{
    (void)state;
    gguf_image whole = gguf_image_make(gguf_image_add_every_type, gguf_image_add_two_tensors);
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
    static const uint64_t counts[] = {1 << 20, 1ull << 32, 1ull << 60, UINT64_MAX};
    for (size_t i = 0; i < 4; i++) {
        gguf_image f = gguf_image_make(gguf_image_add_every_type, gguf_image_add_two_tensors);
        memcpy(f.bytes + 8, &counts[i], 8);
        refused(&f, YL_EFORMAT, "tensors, more than its");
        f = gguf_image_make(gguf_image_add_every_type, gguf_image_add_two_tensors);
        memcpy(f.bytes + 16, &counts[i], 8);
        refused(&f, YL_EFORMAT, "keys, more than its");
        f = gguf_image_make(gguf_image_add_every_type, NULL);
        gguf_image_set_u64(&f, "floats", 8, counts[i]);
        refused(&f, YL_EFORMAT, "key 'floats' claims");
        f = gguf_image_make(gguf_image_add_every_type, NULL);
        gguf_image_set_u64(&f, "strings", 8, counts[i]);
        refused(&f, YL_EFORMAT, "key 'strings' claims");
        f = gguf_image_make(gguf_image_add_every_type, NULL);
        gguf_image_set_u64(&f, "empty string", 4, counts[i]);
        refused(&f, YL_EFORMAT, "key 'empty string' does not end within the file");
        f = gguf_image_make(gguf_image_add_every_type, NULL);
        gguf_image_set_u64(&f, "strings", 16, counts[i]);
        refused(&f, YL_EFORMAT, "string 0 of key 'strings'");
    }
}

/* As many keys as bytes are left: each would need fourteen. */
static void a_count_is_held_against_the_smallest_thing_counted(void **state)
{
    (void)state;
    gguf_image f = gguf_image_make(gguf_image_add_every_type, NULL);
    uint64_t n = f.n - 24;
    memcpy(f.bytes + 16, &n, 8);
    refused(&f, YL_EFORMAT, "keys, more than its");
    f = gguf_image_make(NULL, gguf_image_add_two_tensors);
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
        gguf_image f = gguf_image_make(NULL, NULL);
        memcpy(f.bytes + 4, &versions[i].version, 4);
        refused(&f, versions[i].status, versions[i].words);
    }
    gguf_image f = gguf_image_make(NULL, NULL);
    f.bytes[3] = 'G';
    refused(&f, YL_EFORMAT, "is not a GGUF file");
    static const char lfs[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    gguf_image pointer = {malloc(sizeof lfs), sizeof lfs};
    memcpy(pointer.bytes, lfs, sizeof lfs);
    refused(&pointer, YL_EFORMAT, "git lfs pull");
}

static void add_one_tensor(gguf_writer *w)
{
    gguf_image_add_tensor(w, "weights", QUANT_Q4_K, 256, 2);
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
        gguf_image f = gguf_image_make(NULL, add_one_tensor);
        gguf_image_set_u32(&f, "weights", 4 + 16, types[i].type);
        refused(&f, YL_EUNSUPPORTED, types[i].words);
        f = gguf_image_make(NULL, add_one_tensor);
        gguf_image_set_u32(&f, "weights", 4 + 16, types[i].type);
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
        gguf_image f = gguf_image_make(NULL, add_one_tensor);
        gguf_image_set_u64(&f, "weights", 4, shapes[i].ne0);
        gguf_image_set_u64(&f, "weights", 12, shapes[i].ne1);
        refused(&f, YL_EFORMAT, shapes[i].words);
    }
    static const uint32_t dims[] = {0, 5, UINT32_MAX};
    for (size_t i = 0; i < 3; i++) {
        gguf_image f = gguf_image_make(NULL, add_one_tensor);
        gguf_image_set_u32(&f, "weights", 0, dims[i]);
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
        gguf_image f = gguf_image_make(NULL, gguf_image_add_two_tensors);
        gguf_image_set_u64(&f, "second", 4 + 16 + 4, offsets[i].offset);
        refused(&f, YL_EFORMAT, offsets[i].words);
    }
}

static void add_long_names(gguf_writer *w)
{
    gguf_image_add_tensor(w, "a123456789012345678901234567890123456789012345678901234567890123", QUANT_F32, 1, 1); /* 64 bytes */
}

static void tensor_names_are_short_and_printable(void **state)
{
    (void)state;
    gguf_image f = gguf_image_make(NULL, add_long_names);
    gguf *g = open_image(&f);
    assert_int_equal(strlen(gguf_tensor_at(g, 0)->name), 64);
    gguf_free(g);
    uint64_t length = 65;
    memcpy(f.bytes + 24, &length, 8); /* takes the next byte, of n_dims, into the name */
    refused(&f, YL_EFORMAT, "65 bytes long, at most 64 are allowed");
    static const uint8_t control[] = {0, '\n', 0x1b, 0x7f};
    for (size_t i = 0; i < 4; i++) {
        f = gguf_image_make(NULL, gguf_image_add_two_tensors);
        f.bytes[gguf_image_find(&f, "second") + 2] = control[i];
        refused(&f, YL_EFORMAT, "name of tensor 1 has a control byte");
    }
    f = gguf_image_make(NULL, gguf_image_add_two_tensors);
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
    gguf_image f = gguf_image_make(add_keys_a_and_b, NULL);
    f.bytes[gguf_image_find(&f, "key.b") + 4] = 'a';
    refused(&f, YL_EFORMAT, "key 'key.a' is there twice");
}

static void add_twins(gguf_writer *w)
{
    gguf_image_add_tensor(w, "twin.1", QUANT_F32, 3, 2);
    gguf_image_add_tensor(w, "twin.2", QUANT_F32, 3, 2);
}

static void tensors_that_are_there_twice_are_refused(void **state)
{
    (void)state;
    gguf_image f = gguf_image_make(NULL, add_twins);
    f.bytes[gguf_image_find(&f, "twin.2") + 5] = '1';
    refused(&f, YL_EFORMAT, "tensor 'twin.1' is there twice");
}

static void keys_of_types_that_do_not_exist_are_refused(void **state)
{
    (void)state;
    gguf_image f = gguf_image_make(add_keys_a_and_b, NULL);
    gguf_image_set_u32(&f, "key.a", 0, 13);
    refused(&f, YL_EFORMAT, "key 'key.a' has type 13");
    f = gguf_image_make(gguf_image_add_every_type, NULL);
    gguf_image_set_u32(&f, "floats", 4, 99);
    refused(&f, YL_EFORMAT, "key 'floats' is an array of type 99");
    f = gguf_image_make(gguf_image_add_every_type, NULL);
    gguf_image_set_u32(&f, "floats", 4, GGUF_ARRAY);
    refused(&f, YL_EUNSUPPORTED, "key 'floats' is an array of arrays");
    f = gguf_image_make(add_keys_a_and_b, NULL);
    memset(f.bytes + 24, 0, 8);
    refused(&f, YL_EFORMAT, "key 0 has no name");
    f = gguf_image_make(add_keys_a_and_b, NULL);
    f.bytes[gguf_image_find(&f, "key.bool") + 12] = 2;
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
    gguf_image f = gguf_image_make(add_keys_a_and_b, NULL);
    size_t at = gguf_image_find(&f, "key.a");
    f.bytes[at] = 0x1b;
    memset(f.bytes + at + 5, 0xff, 4);
    refused(&f, YL_EFORMAT, "key '?ey.a' has type");
}

static void alignments_that_are_no_power_of_two_are_refused(void **state)
{
    (void)state;
    static const uint32_t alignments[] = {0, 1, 4, 48, 255, UINT32_MAX};
    for (size_t i = 0; i < sizeof alignments / sizeof alignments[0]; i++) {
        gguf_image f = gguf_image_make_aligned(64, NULL, gguf_image_add_two_tensors);
        gguf_image_set_u32(&f, "general.alignment", 4, alignments[i]);
        refused(&f, YL_EFORMAT, "not a power of two");
    }
    gguf_image f = gguf_image_make_aligned(64, NULL, gguf_image_add_two_tensors);
    gguf_image_set_u32(&f, "general.alignment", 4, 1u << 31);
    refused(&f, YL_EFORMAT, "tensor");
    f = gguf_image_make_aligned(64, NULL, gguf_image_add_two_tensors);
    gguf_image_set_u32(&f, "general.alignment", 0, GGUF_F32);
    refused(&f, YL_EFORMAT, "'general.alignment' is f32, expected an integer");
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
    gguf_image f = gguf_image_make(add_too_many_keys, NULL);
    refused(&f, YL_ELIMIT, "has 65537 keys, the limit is 65536");
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
        cmocka_unit_test(more_keys_than_the_limit_are_refused),
        cmocka_unit_test(the_fuzzers_corpus_is_refused_or_read_in_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
