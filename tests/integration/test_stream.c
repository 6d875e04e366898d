/* test_stream.c: weights that travel to workers of other machines, which keep them: real processes on loopback, each machine's
 * cache a folder of its own. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "expect_child.h"
#include "gguf.h"
#include "kernels.h"
#include "model_maker.h"
#include "scratch_dir.h"
#include "tile_cache_dir.h"

#define YLLAMA YLLAMA_BIN_DIR "/yllama"
#define WORKER YLLAMA_BIN_DIR "/yllama-worker"

enum { N_VOCAB = 2048, N_LAYER = 3, N_FILES = N_LAYER + 2, LOGIT_BYTES = 7 * N_VOCAB * 4, PATH_BYTES = 600 };
/* A byte of each layer's file that no kernel reads: behind the first norm. */
enum { PADDING_AT = 4096 + 2048 };

static const char CAME[] = "GB of weights came in";

typedef struct rig {
    scratch_dir dir;
    char model[SCRATCH_PATH_BYTES], there[SCRATCH_PATH_BYTES], here[SCRATCH_PATH_BYTES], logits[SCRATCH_PATH_BYTES];
    char address[64];
    uint8_t expected[LOGIT_BYTES];
    child coordinator, worker;
} rig;

/* ---- programs ---- */

static void compute_logits(rig *r, ...)
{
    const char *const first[] = {"logits", "-m",      r->model, "--cache-dir", r->here, "--tokens", "1 5 9 200 31 7 300",
                                 "-o",     r->logits, "-vv",    NULL};
    va_list args;
    va_start(args, r);
    start_child(&r->coordinator, r->dir.path, YLLAMA, first, args);
    va_end(args);
}

static void expect_logits(rig *r)
{
    static uint8_t logits[LOGIT_BYTES];
    expect_end(&r->coordinator, 0, NULL);
    FILE *f = fopen(r->logits, "r");
    assert_non_null(f);
    assert_int_equal(fread(logits, 1, LOGIT_BYTES, f), LOGIT_BYTES);
    fclose(f);
    unlink(r->logits);
    assert_memory_equal(logits, r->expected, LOGIT_BYTES);
}

/* The worker of another machine: its cache is there. It is started anew. limit: kB that a file may have; 0: none. */
static void start_worker(rig *r, unsigned limit, const char *flag, const char *value)
{
    char shell[64] = "exec \"$0\" \"$@\"";
    if (limit) snprintf(shell, sizeof shell, "ulimit -f %u; exec \"$0\" \"$@\"", limit * 2); /* blocks of 512 bytes */
    const char *argv[] = {"/bin/sh", "-c", shell, WORKER,        "--connect", r->address, "--name", "a",
                          "-t",      "2",  "-v",  "--cache-dir", r->there,    flag,       value,    NULL};
    child_end(&r->worker);
    assert_true(child_start(&r->worker, argv, NULL, r->dir.path));
}

static void join_and_compute(rig *r, const char *flag)
{
    compute_logits(r, "--workers", "1", "--listen", r->address, flag, NULL);
    expect_logits(r);
}

/* What the worker has said so far, once its coordinator has left. */
static const char *worker_said(rig *r)
{
    expect_words(&r->worker, "has left");
    return r->worker.err;
}

static bool has_streamed(rig *r)
{
    return strstr(worker_said(r), CAME) != NULL;
}

/* ---- files ---- */

static void empty_folder(const char *path)
{
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) unlinkat(dirfd(d), e->d_name, 0);
    if (d) closedir(d);
}

static size_t list_files(const char *folder, tile_cache_entry **list)
{
    tile_cache *c;
    size_t n;
    assert_int_equal(tile_cache_open(&c, folder, 0, NULL), YL_OK);
    assert_int_equal(tile_cache_list(list, &n, c, NULL), YL_OK);
    tile_cache_free(c);
    return n;
}

static size_t n_files(const char *folder)
{
    tile_cache_entry *list;
    size_t n = list_files(folder, &list);
    free(list);
    return n;
}

static void expect_same_names(const char *folder, const char *other)
{
    tile_cache_entry *list;
    size_t n = list_files(folder, &list);
    assert_int_equal(n, N_FILES);
    for (size_t i = 0; i < n; i++) {
        char path[PATH_BYTES];
        snprintf(path, sizeof path, "%s/%s", other, list[i].name);
        assert_int_equal(access(path, R_OK), 0);
        assert_true(list[i].is_valid);
    }
    free(list);
}

static void flip_byte(const char *path, off_t at)
{
    uint8_t byte;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void flip_in_layer(const rig *r, uint32_t layer, off_t at)
{
    tile_cache_entry *list;
    size_t n = list_files(r->there, &list);
    for (size_t i = 0; i < n; i++) {
        char path[PATH_BYTES];
        snprintf(path, sizeof path, "%s/%s", r->there, list[i].name);
        if (list[i].head.unit == TILE_CACHE_LAYER && list[i].head.layer == layer) flip_byte(path, at);
    }
    free(list);
}

/* ---- the rig ---- */

static int set_up(void **state)
{
    rig *r = calloc(1, sizeof *r);
    *state = r;
    if (!scratch_dir_init(&r->dir)) return -1;
    scratch_dir_path(&r->dir, r->there, "there");
    scratch_dir_path(&r->dir, r->here, "here");
    scratch_dir_path(&r->dir, r->logits, "logits");
    model_spec spec = model_spec_default();
    spec.hp.n_layer = N_LAYER;
    spec.hp.n_vocab = N_VOCAB;
    spec.types[TENSOR_ATTN_Q] = QUANT_Q8_0;
    spec.types[TENSOR_ATTN_V] = QUANT_Q6_K;
    spec.types[TENSOR_FFN_UP] = QUANT_Q4_K;
    yl_error err = {0};
    if (model_maker_write(scratch_dir_path(&r->dir, r->model, "m.gguf"), &spec, &err)) fail_msg("%s", err.msg);
    compute_logits(r, "--no-cache", NULL);
    expect_end(&r->coordinator, 0, NULL);
    FILE *f = fopen(r->logits, "r");
    assert_non_null(f);
    assert_int_equal(fread(r->expected, 1, LOGIT_BYTES, f), LOGIT_BYTES);
    fclose(f);
    return 0;
}

static int each_begins_with_no_cache(void **state)
{
    rig *r = *state;
    snprintf(r->address, sizeof r->address, "tcp://127.0.0.1:%u", free_port());
    empty_folder(r->there);
    empty_folder(r->here);
    return 0;
}

static int each_ends_its_worker(void **state)
{
    rig *r = *state;
    child_end(&r->worker);
    child_end(&r->coordinator);
    return 0;
}

static int tear_down(void **state)
{
    rig *r = *state;
    empty_folder(r->there);
    empty_folder(r->here);
    rmdir(r->there);
    rmdir(r->here);
    scratch_dir_clear(&r->dir);
    free(r);
    return 0;
}

/* Kernels that read rows have no use for a cache. */
static bool has_tiles(void)
{
    return kernels_best()->wants_tiles;
}

/* ---- tests ---- */

static void what_was_sent_is_there_at_the_next_start(void **state)
{
    rig *r = *state;
    if (!has_tiles()) skip();
    for (int start = 0; start < 3; start++) {
        start_worker(r, 0, NULL, NULL);
        join_and_compute(r, NULL);
        assert_int_equal(has_streamed(r), start == 0);
        assert_int_equal(n_files(r->there), N_FILES);
        if (start == 2) join_and_compute(r, "--no-mmap"); /* a copy, of what is there */
    }
    assert_false(has_streamed(r));
    assert_int_equal(n_files(r->here), 0); /* the coordinator keeps hashes, no weights */
}

/* The same files, whoever made them. */
static void machines_with_and_without_the_model_share_files(void **state)
{
    rig *r = *state;
    if (!has_tiles()) skip();
    start_worker(r, 0, NULL, NULL);
    join_and_compute(r, NULL);
    assert_true(has_streamed(r));
    compute_logits(r, NULL);
    expect_logits(r);
    expect_same_names(r->there, r->here);
    compute_logits(r, "--cache-dir", r->there, NULL);
    expect_logits(r);
    expect_words(&r->coordinator, "5 files found, 0 made");
    empty_folder(r->there);
    compute_logits(r, "--cache-dir", r->there, NULL);
    expect_logits(r);
    expect_words(&r->coordinator, "0 files found, 5 made");
    start_worker(r, 0, NULL, NULL);
    join_and_compute(r, NULL);
    assert_false(has_streamed(r));
    start_worker(r, 0, "-m", r->model);
    join_and_compute(r, NULL);
    assert_false(has_streamed(r));
}

static void who_shall_keep_nothing_keeps_nothing(void **state)
{
    rig *r = *state;
    start_worker(r, 0, "--no-cache", NULL);
    join_and_compute(r, NULL);
    assert_true(has_streamed(r));
    assert_int_equal(n_files(r->there), 0);
    start_worker(r, 0, NULL, NULL);
    join_and_compute(r, "--no-mmap"); /* a copy is not kept */
    join_and_compute(r, "--no-cache");
    assert_int_equal(n_files(r->there), 0);
}

static void bad_files_are_sent_again(void **state)
{
    rig *r = *state;
    if (!has_tiles()) skip();
    start_worker(r, 0, NULL, NULL);
    join_and_compute(r, NULL);
    flip_in_layer(r, 1, 300); /* the head: seen at once */
    start_worker(r, 0, NULL, NULL);
    join_and_compute(r, NULL);
    assert_true(has_streamed(r));
    assert_non_null(strstr(r->worker.err, "it is made anew"));
    expect_same_names(r->there, r->there);

    flip_in_layer(r, 2, PADDING_AT); /* the middle: seen while it is used, or before a second coordinator uses it */
    start_worker(r, 0, NULL, NULL);
    join_and_compute(r, NULL);
    expect_words(&r->worker, "has left");
    child_end(&r->worker);
    start_worker(r, 0, NULL, NULL);
    join_and_compute(r, "--no-mmap"); /* what is copied is checked before */
    for (int i = 0; i < 2; i++) {
        start_worker(r, 0, NULL, NULL);
        join_and_compute(r, NULL);
    }
    assert_false(has_streamed(r));
    expect_same_names(r->there, r->there);
}

static size_t count_words(const char *text, const char *words)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, words)); at++) n++;
    return n;
}

static void a_full_disk_costs_a_warning(void **state)
{
    rig *r = *state;
    if (!has_tiles()) skip();
    start_worker(r, 64, NULL, NULL); /* no file of a layer fits */
    join_and_compute(r, NULL);
    assert_true(has_streamed(r));
    assert_int_equal(count_words(r->worker.err, "weights stay in memory instead"), 1);
    assert_int_equal(n_files(r->there), 0);
    start_worker(r, 0, "--cache-size", "1M"); /* some fit */
    join_and_compute(r, NULL);
    assert_true(has_streamed(r));
    assert_int_equal(count_words(r->worker.err, "--cache-size"), 1);
    assert_true(n_files(r->there) < N_FILES);
}

/* The model is changed in a way that its times do not show, so that its hashes are those of what it was: what is sent is not what
 * was announced. */
static void what_does_not_come_as_announced_is_refused(void **state)
{
    rig *r = *state;
    start_worker(r, 0, "--no-cache", NULL);
    join_and_compute(r, NULL);
    expect_words(&r->worker, "has left");
    child_end(&r->worker);
    gguf *g;
    assert_int_equal(gguf_open(&g, r->model, NULL), YL_OK);
    const gguf_tensor *t = gguf_find_tensor(g, "blk.1.ffn_up.weight");
    off_t at = (off_t)(t->offset + t->n_bytes / 2);
    gguf_free(g);
    struct stat before;
    assert_int_equal(stat(r->model, &before), 0);
    for (int i = 0; i < 2; i++) {
        flip_byte(r->model, at);
        struct timespec times[2] = {before.st_atim, before.st_mtim};
        assert_int_equal(utimensat(AT_FDCWD, r->model, times, 0), 0);
        start_worker(r, 0, NULL, NULL);
        compute_logits(r, "--workers", "1", "--listen", r->address, NULL);
        if (i == 1) break; /* whole again */
        expect_end(&r->coordinator, 3, "worker 'a': tensor blk.1.ffn_up.weight came from the coordinator with other bytes");
        expect_words(&r->worker, "tensor blk.1.ffn_up.weight came from the coordinator with other bytes");
        expect_words(&r->worker, "it is asked for again");
        assert_true(n_files(r->there) < N_FILES); /* of those that are whole, as many as were done by then */
    }
    expect_logits(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_sent_is_there_at_the_next_start, each_begins_with_no_cache, each_ends_its_worker),
        cmocka_unit_test_setup_teardown(machines_with_and_without_the_model_share_files, each_begins_with_no_cache,
                                        each_ends_its_worker),
        cmocka_unit_test_setup_teardown(who_shall_keep_nothing_keeps_nothing, each_begins_with_no_cache, each_ends_its_worker),
        cmocka_unit_test_setup_teardown(bad_files_are_sent_again, each_begins_with_no_cache, each_ends_its_worker),
        cmocka_unit_test_setup_teardown(a_full_disk_costs_a_warning, each_begins_with_no_cache, each_ends_its_worker),
        cmocka_unit_test_setup_teardown(what_does_not_come_as_announced_is_refused, each_begins_with_no_cache,
                                        each_ends_its_worker),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
