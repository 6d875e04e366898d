/* test_gguf_files.c: models on disk: mapping, what is not a file, and models split over several. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "gguf_image.h"
#include "gguf_walk.h"
#include "scratch_dir.h"

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
    gguf_image f = gguf_image_make(gguf_image_add_every_type, gguf_image_add_two_tensors);
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
    gguf_image_add_tensor(w, name, QUANT_F32, 8, 1);
}

static char *write_part(char path[SCRATCH_PATH_BYTES], const scratch_dir *dir, const char *name)
{
    gguf_image f = gguf_image_make(add_split_keys, add_split_tensor);
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
    gguf_image f = gguf_image_make(add_split_keys, add_split_tensor);
    gguf *g;
    yl_error err;
    assert_int_equal(gguf_open_memory(&g, f.bytes, f.n, &err), YL_EUNSUPPORTED);
    assert_non_null(strstr(err.msg, "one part of a split model"));
    free(f.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_on_disk_is_mapped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_a_readable_file_is_told_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_split_model_opens_by_any_of_its_parts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_split_model_with_a_wrong_part_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_part_that_cannot_find_the_others_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
