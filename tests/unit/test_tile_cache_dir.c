/* test_tile_cache_dir.c: cache files on disk: made, found, damaged, evicted; and the index of hashes. */
#include <fcntl.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "byte_size.h"
#include "gguf_image.h"
#include "scratch_dir.h"
#include "tile_cache_index.h"

enum { PATH_BYTES = 2 * SCRATCH_PATH_BYTES };

typedef struct rig {
    scratch_dir dir;
    char path[SCRATCH_PATH_BYTES]; /* of the cache */
    tile_cache *cache;
} rig;

static int set_up(void **state)
{
    rig *r = calloc(1, sizeof *r);
    *state = r;
    if (!scratch_dir_init(&r->dir)) return -1;
    scratch_dir_path(&r->dir, r->path, "cache");
    yl_error err;
    if (tile_cache_open(&r->cache, r->path, 1 << 30, &err)) fail_msg("%s", err.msg);
    return 0;
}

static void empty(const rig *r)
{
    tile_cache_entry *entries;
    size_t n;
    assert_int_equal(tile_cache_list(&entries, &n, r->cache, NULL), YL_OK);
    for (size_t i = 0; i < n; i++) assert_int_equal(tile_cache_remove(r->cache, entries[i].name), TILE_CACHE_REMOVED);
    free(entries);
    tile_cache_index_remove_all(r->cache);
}

static int tear_down(void **state)
{
    rig *r = *state;
    char path[PATH_BYTES];
    empty(r);
    snprintf(path, sizeof path, "%s/not a cache file", r->path);
    unlink(path);
    tile_cache_free(r->cache);
    assert_int_equal(rmdir(r->path), 0); /* nothing else was left in it */
    scratch_dir_clear(&r->dir);
    free(r);
    return 0;
}

/* An embedding of `rows` rows of 64 Q8_0 weights; `salt` makes its key. */
static tile_cache_head plan(uint8_t salt, uint64_t rows)
{
    tile_cache_head h = {.unit = TILE_CACHE_EMBEDDING, .label = "m.gguf", .n_tensors = 1};
    h.tensors[0] = (tile_cache_tensor){.role = TENSOR_TOKEN_EMBD, .type = QUANT_Q8_0, .n_rows = rows, .n_cols = 64};
    uint8_t hash[1][TILE_CACHE_HASH_BYTES] = {{salt}};
    assert_int_equal(tile_cache_plan(&h, NULL), YL_OK);
    assert_int_equal(tile_cache_set_key(&h, hash, NULL), YL_OK);
    return h;
}

static uint8_t byte_at(uint64_t i)
{
    return (uint8_t)(i * 131 + (i >> 11) + 7);
}

/* Makes a file of pattern bytes, and keeps it open. */
static tile_file *make(const rig *r, const tile_cache_head *h)
{
    tile_file *f;
    yl_error err;
    if (tile_file_create(&f, r->cache, h, &err)) fail_msg("%s", err.msg);
    size_t n = (size_t)h->tensors[0].n_bytes;
    uint8_t *bytes = malloc(n);
    for (size_t i = 0; i < n; i++) bytes[i] = byte_at(i);
    /* In two parts, the second first. */
    assert_int_equal(tile_file_write(f, h->tensors[0].offset + n / 2, bytes + n / 2, n - n / 2, NULL), YL_OK);
    assert_int_equal(tile_file_write(f, h->tensors[0].offset, bytes, n / 2, NULL), YL_OK);
    free(bytes);
    if (tile_file_finish(f, NULL, &err)) fail_msg("%s", err.msg);
    return f;
}

static void path_of(const rig *r, const tile_cache_head *h, char path[PATH_BYTES])
{
    char name[TILE_CACHE_NAME_BYTES];
    snprintf(path, PATH_BYTES, "%s/%s", r->path, tile_cache_name(name, h->key));
}

static size_t n_files(const rig *r)
{
    tile_cache_entry *entries;
    size_t n;
    assert_int_equal(tile_cache_list(&entries, &n, r->cache, NULL), YL_OK);
    free(entries);
    return n;
}

static void what_is_made_is_found(void **state)
{
    const rig *r = *state;
    tile_cache_head h = plan(1, 40000); /* 2.7 MB: several chunks */
    tile_file *f;
    assert_int_equal(tile_file_find(&f, r->cache, &h, NULL), YL_OK);
    assert_null(f);
    tile_file_close(make(r, &h));
    assert_int_equal(tile_file_find(&f, r->cache, &h, NULL), YL_OK);
    assert_non_null(f);
    const tile_cache_head *found = tile_file_head(f);
    assert_memory_equal(found->key, h.key, sizeof h.key);
    assert_true(found->n_chunks >= 3);
    const uint8_t *bytes = tile_file_tensor(f, 0);
    assert_int_equal((uintptr_t)bytes % TILE_CACHE_ALIGNMENT, 0);
    for (uint64_t i = 0; i < h.tensors[0].n_bytes; i++) assert_int_equal(bytes[i], byte_at(i));
    for (uint64_t i = 0; i < found->n_chunks; i++) assert_true(tile_file_chunk_is_whole(f, i));
    tile_file_close(f);
    tile_cache_head other = plan(2, 40000);
    assert_int_equal(tile_file_find(&f, r->cache, &other, NULL), YL_OK);
    assert_null(f);
}

static void an_unfinished_file_is_gone(void **state)
{
    const rig *r = *state;
    tile_cache_head h = plan(1, 32);
    tile_file *f;
    assert_int_equal(tile_file_create(&f, r->cache, &h, NULL), YL_OK);
    assert_int_equal(n_files(r), 0);
    tile_file_close(f);
    assert_int_equal(tile_file_find(&f, r->cache, &h, NULL), YL_OK);
    assert_null(f);
}

/* What a writer that was killed left behind goes when there is need for room, once it is old enough. */
static void leftovers_are_removed(void **state)
{
    const rig *r = *state;
    char path[PATH_BYTES], young[PATH_BYTES];
    snprintf(path, sizeof path, "%s/x.1-1.new", r->path);
    snprintf(young, sizeof young, "%s/y.1-1.new", r->path);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    close(open(young, O_CREAT | O_WRONLY, 0600));
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    assert_int_equal(tile_cache_make_room(r->cache, 1, NULL), YL_OK);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(access(young, F_OK), 0);
    unlink(young);
}

static void two_makers_of_one_file_both_succeed(void **state)
{
    const rig *r = *state;
    tile_cache_head h = plan(1, 1000);
    tile_file *a, *b;
    assert_int_equal(tile_file_create(&a, r->cache, &h, NULL), YL_OK);
    b = make(r, &h);
    uint8_t *bytes = malloc((size_t)h.tensors[0].n_bytes);
    for (uint64_t i = 0; i < h.tensors[0].n_bytes; i++) bytes[i] = byte_at(i);
    assert_int_equal(tile_file_write(a, h.tensors[0].offset, bytes, (size_t)h.tensors[0].n_bytes, NULL), YL_OK);
    assert_int_equal(tile_file_finish(a, NULL, NULL), YL_OK);
    assert_memory_equal(tile_file_tensor(a, 0), bytes, (size_t)h.tensors[0].n_bytes);
    assert_memory_equal(tile_file_tensor(b, 0), bytes, (size_t)h.tensors[0].n_bytes);
    assert_int_equal(n_files(r), 1);
    tile_file_unlink(b); /* the name is a's by now: it stays */
    assert_int_equal(n_files(r), 1);
    tile_file_unlink(a);
    assert_int_equal(n_files(r), 0);
    tile_file_close(a);
    tile_file_close(b);
    free(bytes);
}

static void damage_is_found_where_it_is(void **state)
{
    const rig *r = *state;
    tile_cache_head h = plan(1, 40000);
    tile_file_close(make(r, &h));
    char path[PATH_BYTES];
    path_of(r, &h, path);
    int fd = open(path, O_RDWR);
    uint64_t at = h.head_bytes + TILE_CACHE_CHUNK_BYTES + 5;
    uint8_t flipped = byte_at(at - h.head_bytes) ^ 1;
    assert_int_equal(pwrite(fd, &flipped, 1, (off_t)at), 1);
    tile_file *f;
    assert_int_equal(tile_file_find(&f, r->cache, &h, NULL), YL_OK);
    for (uint64_t i = 0; i < h.n_chunks; i++) assert_int_equal(tile_file_chunk_is_whole(f, i), i != 1);
    tile_file_close(f);
    close(fd);
}

static void foreign_and_truncated_files_are_told_and_replaced(void **state)
{
    const rig *r = *state;
    tile_cache_head h = plan(1, 1000), g = plan(2, 1000);
    char path[PATH_BYTES], other[PATH_BYTES];
    path_of(r, &h, path);
    path_of(r, &g, other);
    yl_error err = {0};
    tile_file *f;
    /* shorter, empty, of other bytes, another unit's, a pipe */
    for (int how = 0; how < 5; how++) {
        tile_file_close(make(r, &h));
        if (how == 0) assert_int_equal(truncate(path, (off_t)h.file_bytes - 1), 0);
        if (how == 1) assert_int_equal(truncate(path, 0), 0);
        if (how == 2) {
            int fd = open(path, O_WRONLY);
            assert_int_equal(pwrite(fd, "GGUF", 4, 0), 4);
            close(fd);
        }
        if (how == 3) {
            tile_file_close(make(r, &g));
            assert_int_equal(rename(other, path), 0);
        }
        if (how == 4) {
            unlink(path);
            assert_int_equal(mkfifo(path, 0600), 0);
        }
        assert_int_equal(tile_file_find(&f, r->cache, &h, &err), YL_EFORMAT);
        assert_null(f);
        assert_non_null(strstr(err.msg, path));
        tile_file_close(make(r, &h));
        assert_int_equal(tile_file_find(&f, r->cache, &h, &err), YL_OK);
        assert_non_null(f);
        tile_file_close(f);
    }
}

static void set_use(const rig *r, const tile_cache_head *h, time_t when)
{
    char path[PATH_BYTES];
    path_of(r, h, path);
    struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static bool is_there(const rig *r, const tile_cache_head *h)
{
    char path[PATH_BYTES];
    path_of(r, h, path);
    return access(path, F_OK) == 0;
}

static void the_longest_unused_goes_first_and_none_in_use(void **state)
{
    const rig *r = *state;
    tile_cache_head h[4];
    for (uint8_t i = 0; i < 4; i++) {
        h[i] = plan(i, 15000); /* about 1 MB */
        tile_file_close(make(r, &h[i]));
        set_use(r, &h[i], 1000 + i);
    }
    tile_file *held;
    assert_int_equal(tile_file_find(&held, r->cache, &h[2], NULL), YL_OK); /* becomes the last used one */
    set_use(r, &h[2], 900);                                                /* but let it be the first in line */
    tile_cache_entry *entries;
    size_t n;
    assert_int_equal(tile_cache_list(&entries, &n, r->cache, NULL), YL_OK);
    assert_int_equal(n, 4);
    assert_true(entries[0].is_in_use && !entries[1].is_in_use && entries[1].is_valid);
    uint64_t each = entries[1].n_bytes;
    free(entries);
    tile_cache *small;
    assert_int_equal(tile_cache_open(&small, r->path, 4 * each + each / 2, NULL), YL_OK);
    assert_int_equal(tile_cache_make_room(small, each / 4, NULL), YL_OK);
    assert_int_equal(n_files(r), 4);
    assert_int_equal(tile_cache_make_room(small, each, NULL), YL_OK);
    assert_true(!is_there(r, &h[0]) && is_there(r, &h[1]) && is_there(r, &h[2]) && is_there(r, &h[3]));
    yl_error err;
    assert_int_equal(tile_cache_make_room(small, 4 * each, &err), YL_ELIMIT);
    assert_non_null(strstr(err.msg, "--cache-size"));
    assert_true(!is_there(r, &h[1]) && is_there(r, &h[2]) && !is_there(r, &h[3]));
    char name[TILE_CACHE_NAME_BYTES];
    assert_int_equal(tile_cache_remove(small, tile_cache_name(name, h[2].key)), TILE_CACHE_IN_USE);
    tile_file_close(held);
    assert_int_equal(tile_cache_remove(small, name), TILE_CACHE_REMOVED);
    assert_int_equal(tile_cache_remove(small, name), TILE_CACHE_GONE);
    tile_cache_free(small);
}

static void a_use_is_remembered(void **state)
{
    const rig *r = *state;
    tile_cache_head a = plan(1, 100), b = plan(2, 100);
    tile_file *f;
    tile_file_close(make(r, &a));
    tile_file_close(make(r, &b));
    set_use(r, &a, 1000);
    set_use(r, &b, 2000);
    assert_int_equal(tile_file_find(&f, r->cache, &a, NULL), YL_OK);
    tile_file_close(f);
    tile_cache_entry *entries;
    size_t n;
    assert_int_equal(tile_cache_list(&entries, &n, r->cache, NULL), YL_OK);
    assert_int_equal(n, 2);
    assert_memory_equal(entries[0].head.key, b.key, sizeof b.key);
    free(entries);
}

static void other_files_are_left_alone(void **state)
{
    const rig *r = *state;
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/not a cache file", r->path);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(n_files(r), 0);
    assert_int_equal(tile_cache_remove(r->cache, "not a cache file"), TILE_CACHE_GONE);
    assert_int_equal(tile_cache_remove(r->cache, "../cache"), TILE_CACHE_GONE);
    assert_int_equal(access(path, F_OK), 0);
}

static void a_full_disk_is_an_error(void **state)
{
    const rig *r = *state;
    tile_cache_head h = plan(1, 40000);
    tile_file *f;
    assert_int_equal(tile_file_create(&f, r->cache, &h, NULL), YL_OK);
    /* Its descriptor becomes that of a device without room. */
    pid_t pid = fork();
    if (pid == 0) {
        yl_error err = {0};
        uint8_t bytes[4096] = {1};
        int fd = open("/dev/full", O_WRONLY);
        dup2(fd, 3);
        for (int i = 3; i < 64; i++) dup2(fd, i);
        bool failed = tile_file_write(f, h.head_bytes, bytes, sizeof bytes, &err) == YL_EIO && strstr(err.msg, "No space left");
        _exit(failed ? 0 : 1);
    }
    int how = 0;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    tile_file_close(f);
}

static void a_directory_that_cannot_be_is_told(void **state)
{
    const rig *r = *state;
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/not a cache file", r->path);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    yl_error err;
    tile_cache *c;
    assert_int_equal(tile_cache_open(&c, path, 0, &err), YL_EIO);
    assert_null(c);
    assert_non_null(strstr(err.msg, "--cache-dir"));
    snprintf(path, sizeof path, "%s/not a cache file/below", r->path);
    assert_int_equal(tile_cache_open(&c, path, 0, &err), YL_EIO);
    assert_int_equal(tile_cache_open(&c, "", 0, &err), YL_EIO);
}

static void the_default_place_follows_the_environment(void **state)
{
    const rig *r = *state;
    char expected[PATH_BYTES];
    static const struct {
        const char *set, *rest;
    } CASES[] = {{"HOME", "/.cache/yllama"}, {"XDG_CACHE_HOME", "/yllama"}, {"YLLAMA_CACHE_DIR", ""}};
    pid_t pid = fork();
    if (pid == 0) {
        unsetenv("YLLAMA_CACHE_DIR");
        unsetenv("XDG_CACHE_HOME");
        unsetenv("HOME");
        tile_cache *c;
        bool good = tile_cache_open(&c, NULL, 0, NULL) == YL_EIO;
        for (size_t i = 0; i < 3; i++) {
            snprintf(expected, sizeof expected, "%s/%zu", r->dir.path, i);
            setenv(CASES[i].set, expected, 1);
            good &= tile_cache_open(&c, NULL, 0, NULL) == YL_OK;
            strcat(expected, CASES[i].rest);
            struct stat st;
            good &= strcmp(tile_cache_path(c), expected) == 0 && !stat(expected, &st) && (st.st_mode & 0777) == 0700;
            tile_cache_free(c);
        }
        _exit(good ? 0 : 1);
    }
    int how = 0;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_int_equal(how, 0);
}

/* ---- the index ---- */

static void write_model(const rig *r, char path[SCRATCH_PATH_BYTES], gguf **g)
{
    gguf_image image = gguf_image_make(gguf_image_add_every_type, gguf_image_add_two_tensors);
    FILE *f = fopen(scratch_dir_path(&r->dir, path, "m.gguf"), "wb");
    assert_int_equal(fwrite(image.bytes, 1, image.n, f), image.n);
    fclose(f);
    free(image.bytes);
    yl_error err;
    if (gguf_open(g, path, &err)) fail_msg("%s", err.msg);
}

static void hashes_are_kept_for_one_state_of_the_model(void **state)
{
    const rig *r = *state;
    char path[SCRATCH_PATH_BYTES];
    gguf *g;
    uint8_t id[MODEL_IDENTITY_BYTES] = {9}, first[TILE_CACHE_HASH_BYTES] = {5}, second[TILE_CACHE_HASH_BYTES] = {6};
    write_model(r, path, &g);
    tile_cache_index *x, *y;
    assert_int_equal(tile_cache_index_open(&x, r->cache, g, id, NULL), YL_OK);
    assert_null(tile_cache_index_get(x, 0));
    /* Another worker finds out about the other tensor at the same time: neither loses what it knows. */
    assert_int_equal(tile_cache_index_open(&y, r->cache, g, id, NULL), YL_OK);
    tile_cache_index_set(x, 0, first);
    tile_cache_index_set(y, 1, second);
    assert_int_equal(tile_cache_index_save(x, NULL), YL_OK);
    assert_int_equal(tile_cache_index_save(y, NULL), YL_OK);
    tile_cache_index_free(x);
    tile_cache_index_free(y);
    assert_int_equal(tile_cache_index_open(&x, r->cache, g, id, NULL), YL_OK);
    assert_memory_equal(tile_cache_index_get(x, 0), first, sizeof first);
    assert_memory_equal(tile_cache_index_get(x, 1), second, sizeof second);
    tile_cache_index_free(x);
    /* The model was touched, or is another. */
    id[0] = 8;
    assert_int_equal(tile_cache_index_open(&x, r->cache, g, id, NULL), YL_OK);
    assert_null(tile_cache_index_get(x, 0));
    tile_cache_index_free(x);
    id[0] = 9;
    struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000, .tv_nsec = 1}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    assert_int_equal(tile_cache_index_open(&x, r->cache, g, id, NULL), YL_OK);
    assert_null(tile_cache_index_get(x, 0));
    tile_cache_index_free(x);
    gguf_free(g);
}

/* Turns the bits of byte `at` of the only index that there is, or cuts it short there. */
static void damage_index(const rig *r, off_t at, bool cut)
{
    char pattern[PATH_BYTES];
    snprintf(pattern, sizeof pattern, "%s/*.hashes", r->path);
    glob_t found;
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, 1);
    int fd = open(found.gl_pathv[0], O_RDWR);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte = (uint8_t)~byte;
    if (cut)
        assert_int_equal(ftruncate(fd, at), 0);
    else
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
    globfree(&found);
}

static void a_damaged_index_is_as_none(void **state)
{
    const rig *r = *state;
    char path[SCRATCH_PATH_BYTES];
    gguf *g;
    uint8_t id[MODEL_IDENTITY_BYTES] = {9}, hash[TILE_CACHE_HASH_BYTES] = {5};
    write_model(r, path, &g);
    tile_cache_index *x;
    for (int at = 0; at < 120; at++) {
        assert_int_equal(tile_cache_index_open(&x, r->cache, g, id, NULL), YL_OK);
        tile_cache_index_set(x, 0, hash);
        assert_int_equal(tile_cache_index_save(x, NULL), YL_OK);
        tile_cache_index_free(x);
        damage_index(r, at < 119 ? at : 50, at == 119);
        assert_int_equal(tile_cache_index_open(&x, r->cache, g, id, NULL), YL_OK);
        assert_null(tile_cache_index_get(x, 0));
        tile_cache_index_free(x);
    }
    gguf_free(g);
}

static void sizes_are_read_as_people_write_them(void **state)
{
    (void)state;
    uint64_t n;
    assert_true(byte_size_parse("20G", &n) && n == (uint64_t)20 << 30);
    assert_true(byte_size_parse("500m", &n) && n == (uint64_t)500 << 20);
    assert_true(byte_size_parse("7KiB", &n) && n == 7168);
    assert_true(byte_size_parse("2TB", &n) && n == (uint64_t)2 << 40);
    assert_true(byte_size_parse("0", &n) && n == 0);
    static const char *const BAD[] = {"", "G", "-1", "1.5G", "1 G", "1X", "1GG", "1B", "8388608T", "99999999999999999999"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) assert_false(byte_size_parse(BAD[i], &n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_made_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_unfinished_file_is_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(leftovers_are_removed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_makers_of_one_file_both_succeed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_is_found_where_it_is, set_up, tear_down),
        cmocka_unit_test_setup_teardown(foreign_and_truncated_files_are_told_and_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_longest_unused_goes_first_and_none_in_use, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_use_is_remembered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_files_are_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk_is_an_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_directory_that_cannot_be_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_default_place_follows_the_environment, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hashes_are_kept_for_one_state_of_the_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_index_is_as_none, set_up, tear_down),
        cmocka_unit_test(sizes_are_read_as_people_write_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
