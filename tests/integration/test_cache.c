/* test_cache.c: weights that are kept on disk, with real workers: made once, mapped from then on, always the same bits. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "child.h"
#include "engine.h"
#include "kernels.h"
#include "model_maker.h"
#include "scratch_dir.h"
#include "tile_cache_dir.h"

#define YLLAMA YLLAMA_BIN_DIR "/yllama"
#define WORKER YLLAMA_BIN_DIR "/yllama-worker"

/* A byte of each layer's file that no kernel reads: behind the first norm. So what is computed until the damage is found is right.
 */
enum { PADDING_AT = 4096 + 2048 };

enum { N_VOCAB = 2048, N_LAYER = 3, N_TOKENS = 20, N_FILES = N_LAYER + 2, PATH_BYTES = 600, PATIENCE_MS = 60000 };

typedef struct rig {
    scratch_dir dir;
    char model[SCRATCH_PATH_BYTES], tied[SCRATCH_PATH_BYTES], cache[SCRATCH_PATH_BYTES], log[SCRATCH_PATH_BYTES];
    int32_t tokens[N_TOKENS];
    float *expected; /* [N_TOKENS, N_VOCAB]: scalar kernels */
    float *logits;   /* the same, of the last run */
    char logged[8192];
    int n_lines; /* of warnings and errors */
    char line[600];
} rig;

/* ---- a model in use ---- */

static engine_options options_of(const rig *r, frame_load load)
{
    return (engine_options){.model_path = r->model,
                            .n_local = 1,
                            .n_threads = 2,
                            .n_ctx = 64,
                            .load = load,
                            .cache_dir = r->cache,
                            .log_path = r->log,
                            .verbose = true,
                            .worker_program = WORKER};
}

static yl_status keep_logits(void *ctx, const frame_answer *a, yl_error *err)
{
    (void)err;
    assert_int_equal(a->data.n_bytes, N_VOCAB * 4);
    memcpy((float *)ctx + (size_t)a->row * N_VOCAB, a->data.data, a->data.n_bytes);
    return YL_OK;
}

static engine *open_engine(const engine_options *o)
{
    engine *e;
    yl_error err = {0};
    if (engine_open(&e, o, &err)) fail_msg("%s", err.msg);
    return e;
}

static yl_status eval(engine *e, rig *r, yl_error *err)
{
    frame_want wants[N_TOKENS];
    for (uint32_t i = 0; i < N_TOKENS; i++) wants[i] = (frame_want){.row = i, .kind = FRAME_WANT_ALL};
    return engine_eval(e, 0, 0, r->tokens, N_TOKENS, wants, N_TOKENS, keep_logits, r->logits, err);
}

static void expect_same_bits(engine *e, rig *r)
{
    yl_error err = {0};
    memset(r->logits, 0, sizeof(float) * N_TOKENS * N_VOCAB);
    if (eval(e, r, &err)) fail_msg("%s", err.msg);
    assert_memory_equal(r->logits, r->expected, sizeof(float) * N_TOKENS * N_VOCAB);
}

/* Opens, compares, closes. */
static void run(rig *r, const engine_options *o)
{
    unlink(r->log);
    engine *e = open_engine(o);
    expect_same_bits(e, r);
    engine_close(e);
}

/* What workers said since the last run began. */
static const char *logged(rig *r)
{
    FILE *f = fopen(r->log, "r");
    size_t n = f ? fread(r->logged, 1, sizeof r->logged - 1, f) : 0;
    if (f) fclose(f);
    r->logged[n] = 0;
    return r->logged;
}

static void expect_logged(rig *r, const char *words)
{
    if (!strstr(logged(r), words)) fail_msg("the workers did not say '%s' but:\n%s", words, r->logged);
}

/* ---- files ---- */

static void empty_cache(const rig *r)
{
    DIR *d = opendir(r->cache);
    for (struct dirent *e; d && (e = readdir(d));) unlinkat(dirfd(d), e->d_name, 0);
    if (d) closedir(d);
}

/* Files of the cache; list: free it. */
static size_t list_files(const rig *r, tile_cache_entry **list)
{
    tile_cache *c;
    size_t n;
    assert_int_equal(tile_cache_open(&c, r->cache, 0, NULL), YL_OK);
    assert_int_equal(tile_cache_list(list, &n, c, NULL), YL_OK);
    tile_cache_free(c);
    return n;
}

static size_t n_files(const rig *r)
{
    tile_cache_entry *list;
    size_t n = list_files(r, &list);
    free(list);
    return n;
}

/* The path of the file of a layer. */
static void path_of_layer(const rig *r, uint32_t layer, char path[PATH_BYTES])
{
    tile_cache_entry *list;
    size_t n = list_files(r, &list);
    path[0] = 0;
    for (size_t i = 0; i < n; i++) {
        if (list[i].is_valid && list[i].head.unit == TILE_CACHE_LAYER && list[i].head.layer == layer)
            snprintf(path, PATH_BYTES, "%s/%s", r->cache, list[i].name);
    }
    free(list);
    assert_true(path[0] != 0);
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

/* ---- the rig ---- */

static int set_up(void **state)
{
    rig *r = calloc(1, sizeof *r);
    *state = r;
    if (!scratch_dir_init(&r->dir)) return -1;
    scratch_dir_path(&r->dir, r->cache, "cache");
    scratch_dir_path(&r->dir, r->log, "log");
    model_spec spec = model_spec_default();
    spec.hp.n_layer = N_LAYER;
    spec.hp.n_vocab = N_VOCAB;
    spec.types[TENSOR_ATTN_Q] = QUANT_Q8_0;
    spec.types[TENSOR_ATTN_K] = QUANT_F16;
    spec.types[TENSOR_ATTN_V] = QUANT_Q6_K;
    spec.types[TENSOR_FFN_GATE] = QUANT_Q4_K;
    spec.types[TENSOR_FFN_UP] = QUANT_Q5_1;
    spec.types[TENSOR_FFN_DOWN] = QUANT_Q3_K;
    yl_error err = {0};
    if (model_maker_write(scratch_dir_path(&r->dir, r->model, "mixed.gguf"), &spec, &err)) fail_msg("%s", err.msg);
    spec.hp.tied_embeddings = true;
    if (model_maker_write(scratch_dir_path(&r->dir, r->tied, "tied.gguf"), &spec, &err)) fail_msg("%s", err.msg);
    for (int i = 0; i < N_TOKENS; i++) r->tokens[i] = (i * 37 + 11) % N_VOCAB;
    r->expected = calloc((size_t)N_TOKENS * N_VOCAB, sizeof(float));
    r->logits = calloc((size_t)N_TOKENS * N_VOCAB, sizeof(float));
    engine_options o = options_of(r, FRAME_LOAD_MMAP);
    o.isa = "scalar";
    o.no_cache = true;
    engine *e = open_engine(&o);
    if (eval(e, r, &err)) fail_msg("%s", err.msg);
    engine_close(e);
    memcpy(r->expected, r->logits, sizeof(float) * N_TOKENS * N_VOCAB);
    return 0;
}

static int each_begins_with_no_cache(void **state)
{
    empty_cache(*state);
    return 0;
}

static int tear_down(void **state)
{
    rig *r = *state;
    empty_cache(r);
    rmdir(r->cache);
    scratch_dir_clear(&r->dir);
    free(r->expected);
    free(r->logits);
    free(r);
    return 0;
}

/* Kernels that read rows have no use for a cache: nothing to test then. */
static bool has_tiles(void)
{
    return kernels_best()->wants_tiles;
}

/* ---- tests ---- */

static void the_first_start_makes_and_the_second_copies_nothing(void **state)
{
    rig *r = *state;
    if (!has_tiles()) skip();
    engine_options o = options_of(r, FRAME_LOAD_CACHE);
    run(r, &o);
    expect_logged(r, "0 files found, 5 made");
    assert_int_equal(n_files(r), N_FILES);
    unlink(r->log);
    engine *e = open_engine(&o);
    expect_logged(r, "5 files found, 0 made");
    expect_same_bits(e, r);
    engine_close(e);
    /* What is there serves a copy, and any other cut of the model. */
    o.load = FRAME_LOAD_HEAP;
    run(r, &o);
    expect_logged(r, "5 files found, 0 made");
    o.load = FRAME_LOAD_CACHE;
    o.n_local = 3;
    run(r, &o);
    if (strstr(logged(r), "1 made")) fail_msg("a file was made again:\n%s", r->logged);
    assert_int_equal(n_files(r), N_FILES);
    /* And who wants none uses none. */
    o.load = FRAME_LOAD_MMAP;
    o.no_cache = true;
    run(r, &o);
    assert_null(strstr(logged(r), "weight cache"));
}

static void a_copy_makes_no_files(void **state)
{
    rig *r = *state;
    engine_options o = options_of(r, FRAME_LOAD_HEAP);
    run(r, &o);
    assert_int_equal(n_files(r), 0);
    o.load = FRAME_LOAD_CACHE;
    o.isa = "scalar";
    run(r, &o);
    assert_int_equal(n_files(r), 0);
}

static void another_model_is_another_file_and_a_touched_one_the_same(void **state)
{
    rig *r = *state;
    if (!has_tiles()) skip();
    engine_options o = options_of(r, FRAME_LOAD_CACHE);
    run(r, &o);
    struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_sec = 12345}};
    assert_int_equal(utimensat(AT_FDCWD, r->model, times, 0), 0);
    run(r, &o); /* hashes again, finds the same */
    expect_logged(r, "5 files found, 0 made");
    /* The layers are the same in both models, embedding and head are not. */
    o.model_path = r->tied;
    engine *e = open_engine(&o);
    engine_close(e);
    assert_int_equal(n_files(r), N_FILES + 2);
}

/* The embedding of a tied model is wanted by the first worker and by the last: both have the same file. */
static void workers_share_files(void **state)
{
    rig *r = *state;
    if (!has_tiles()) skip();
    engine_options o = options_of(r, FRAME_LOAD_CACHE);
    o.model_path = r->tied;
    o.n_local = 2;
    for (int i = 0; i < 2; i++) {
        engine *e = open_engine(&o);
        yl_error err = {0};
        if (eval(e, r, &err)) fail_msg("%s", err.msg);
        tile_cache_entry *list;
        size_t n = list_files(r, &list);
        assert_int_equal(n, N_FILES);
        for (size_t k = 0; k < n; k++) assert_true(list[k].is_in_use && list[k].is_valid);
        free(list);
        engine_close(e);
    }
}

static void two_programs_may_make_the_same_files_at_once(void **state)
{
    rig *r = *state;
    if (!has_tiles()) skip();
    const char *const argv[] = {YLLAMA, "run",    "-m", r->model, "--cache-dir", r->cache, "--worker-program", WORKER, "-p",
                                "a",    "--temp", "0",  "-n",     "8",           NULL};
    child *children = calloc(4, sizeof *children);
    for (int i = 0; i < 4; i++) assert_true(child_start(&children[i], argv, NULL, r->dir.path));
    for (int i = 0; i < 4; i++) {
        assert_true(child_wait(&children[i], PATIENCE_MS));
        if (children[i].exit_code) fail_msg("%s", children[i].err);
        assert_string_equal(children[i].out, children[0].out);
        child_end(&children[i]);
    }
    free(children);
    assert_int_equal(n_files(r), N_FILES);
    engine_options o = options_of(r, FRAME_LOAD_CACHE);
    run(r, &o);
    expect_logged(r, "5 files found, 0 made");
}

static void bad_files_are_made_anew(void **state)
{
    rig *r = *state;
    if (!has_tiles()) skip();
    engine_options o = options_of(r, FRAME_LOAD_CACHE);
    run(r, &o);
    char path[PATH_BYTES];
    path_of_layer(r, 1, path);
    assert_int_equal(truncate(path, 5000), 0);
    path_of_layer(r, 2, path);
    flip_byte(path, 300); /* of its head */
    run(r, &o);
    expect_logged(r, "it is made anew");
    expect_logged(r, "3 files found, 2 made");
    run(r, &o);
    expect_logged(r, "5 files found, 0 made");
}

/* A copy is checked while it is made: nobody would look at it afterwards. */
static void a_damaged_file_is_not_copied(void **state)
{
    rig *r = *state;
    if (!has_tiles()) skip();
    engine_options o = options_of(r, FRAME_LOAD_CACHE);
    run(r, &o);
    char path[PATH_BYTES];
    path_of_layer(r, 1, path);
    flip_byte(path, 20000);
    o.load = FRAME_LOAD_HEAP;
    run(r, &o);
    expect_logged(r, "layer 1's cache file");
    expect_logged(r, "is damaged (chunk 0)");
    assert_int_equal(n_files(r), N_FILES - 1);
}

static void a_cache_that_cannot_be_used_is_done_without(void **state)
{
    rig *r = *state;
    if (!has_tiles()) skip();
    engine_options o = options_of(r, FRAME_LOAD_CACHE);
    char below[PATH_BYTES];
    snprintf(below, sizeof below, "%s/below", r->model);
    o.cache_dir = below; /* a model is no directory */
    run(r, &o);
    expect_logged(r, "--cache-dir");
    o.cache_dir = r->cache;
    o.cache_size = 1000;
    run(r, &o);
    expect_logged(r, "--cache-size");
    expect_logged(r, "0 files found, 0 made");
    const char *first = strstr(r->logged, "--cache-size");
    assert_null(strstr(first + 1, "--cache-size")); /* said once */
    assert_int_equal(n_files(r), 0);
    o.load = FRAME_LOAD_MLOCK; /* nothing to lock but the model itself */
    run(r, &o);
}

static void files_in_use_stay_whatever_the_limit(void **state)
{
    rig *r = *state;
    if (!has_tiles()) skip();
    engine_options o = options_of(r, FRAME_LOAD_CACHE), small = o;
    engine *e = open_engine(&o);
    small.model_path = r->tied;
    small.cache_size = 1 << 20;
    engine *other = open_engine(&small);
    engine_close(other);
    assert_int_equal(n_files(r), N_FILES);
    expect_same_bits(e, r);
    engine_close(e);
    other = open_engine(&small); /* now they may go */
    engine_close(other);
    assert_true(n_files(r) < N_FILES);
}

static void count_line(void *ctx, engine_log_level level, const char *line)
{
    rig *r = ctx;
    if (level > ENGINE_LOG_WARN) return;
    r->n_lines++;
    snprintf(r->line, sizeof r->line, "%s", line);
}

static bool all_files_are_valid(const rig *r)
{
    tile_cache_entry *list;
    size_t n = list_files(r, &list), n_valid = 0;
    for (size_t i = 0; i < n; i++) n_valid += list[i].is_valid;
    free(list);
    return n == N_FILES && n_valid == N_FILES;
}

/* The background's check finds bad chunks while the model answers: their files are made anew, every answer has the bits that it
 * would have had, and one line tells of it, however many files it were. */
static void damage_shows_in_no_answer(void **state)
{
    rig *r = *state;
    if (!has_tiles()) skip();
    engine_options o = options_of(r, FRAME_LOAD_CACHE);
    run(r, &o);
    char path[PATH_BYTES];
    for (uint32_t layer = 0; layer < N_LAYER; layer++) {
        path_of_layer(r, layer, path);
        flip_byte(path, PADDING_AT);
    }
    o.on_log = count_line;
    o.ctx = r;
    r->n_lines = 0;
    unlink(r->log);
    engine *e = open_engine(&o);
    time_t end = time(NULL) + 30;
    while (!r->n_lines && time(NULL) < end) expect_same_bits(e, r);
    expect_same_bits(e, r);
    assert_true(all_files_are_valid(r));
    int fd = open(path, O_RDONLY);
    uint8_t byte = 1;
    assert_int_equal(pread(fd, &byte, 1, PADDING_AT), 1);
    assert_int_equal(byte, 0);
    close(fd);
    engine_close(e);
    assert_int_equal(r->n_lines, 1);
    assert_non_null(strstr(r->line, "'s cache file "));
    assert_non_null(strstr(r->line, "is damaged (chunk 0): it is made anew"));
    expect_logged(r, "2 files found, 3 made");
    run(r, &o);
    expect_logged(r, "5 files found, 0 made");
}

/* ---- the command ---- */

static void cache_command(rig *r, child *c, const char *a, const char *b)
{
    const char *const argv[] = {YLLAMA, "cache", "--cache-dir", r->cache, a, b, NULL};
    *c = (child){0};
    assert_true(child_start(c, argv, NULL, r->dir.path));
    assert_true(child_wait(c, PATIENCE_MS));
    child_end(c);
}

static void the_command_lists_checks_and_removes(void **state)
{
    rig *r = *state;
    if (!has_tiles()) skip();
    engine_options o = options_of(r, FRAME_LOAD_CACHE);
    engine *e = open_engine(&o);
    child *c = calloc(1, sizeof *c);
    cache_command(r, c, "ls", NULL);
    assert_int_equal(c->exit_code, 0);
    assert_non_null(strstr(c->out, "layer 2 of mixed.gguf"));
    assert_non_null(strstr(c->out, "embedding of mixed.gguf"));
    assert_non_null(strstr(c->out, "5 files"));
    cache_command(r, c, "rm", "--all");
    assert_non_null(strstr(c->out, "5 files are in use and stay"));
    assert_int_equal(n_files(r), N_FILES);
    engine_close(e);
    cache_command(r, c, "verify", NULL);
    assert_int_equal(c->exit_code, 0);
    char path[PATH_BYTES];
    path_of_layer(r, 0, path);
    flip_byte(path, 30000);
    cache_command(r, c, "verify", NULL);
    assert_int_equal(c->exit_code, 1);
    assert_non_null(strstr(c->out, path));
    assert_non_null(strstr(c->err, "1 of 5 files"));
    cache_command(r, c, "rm", "nosuch");
    assert_int_equal(c->exit_code, 2);
    path[strlen(r->cache) + 9] = 0;
    cache_command(r, c, "rm", path + strlen(r->cache) + 1);
    assert_int_equal(c->exit_code, 0);
    assert_int_equal(n_files(r), N_FILES - 1);
    cache_command(r, c, "rm", "mixed.gguf");
    assert_int_equal(n_files(r), 0);
    cache_command(r, c, "ls", "--json");
    assert_non_null(strstr(c->out, "\"files\":"));
    cache_command(r, c, "mv", NULL);
    assert_int_equal(c->exit_code, 2);
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_first_start_makes_and_the_second_copies_nothing, each_begins_with_no_cache),
        cmocka_unit_test_setup(a_copy_makes_no_files, each_begins_with_no_cache),
        cmocka_unit_test_setup(another_model_is_another_file_and_a_touched_one_the_same, each_begins_with_no_cache),
        cmocka_unit_test_setup(workers_share_files, each_begins_with_no_cache),
        cmocka_unit_test_setup(two_programs_may_make_the_same_files_at_once, each_begins_with_no_cache),
        cmocka_unit_test_setup(bad_files_are_made_anew, each_begins_with_no_cache),
        cmocka_unit_test_setup(a_damaged_file_is_not_copied, each_begins_with_no_cache),
        cmocka_unit_test_setup(a_cache_that_cannot_be_used_is_done_without, each_begins_with_no_cache),
        cmocka_unit_test_setup(files_in_use_stay_whatever_the_limit, each_begins_with_no_cache),
        cmocka_unit_test_setup(damage_shows_in_no_answer, each_begins_with_no_cache),
        cmocka_unit_test_setup(the_command_lists_checks_and_removes, each_begins_with_no_cache),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
