/* test_memory.c: what a worker keeps in memory: its slice, its KV cache and little else, however the weights came. Of what is
 * mapped, nothing is its own.
 *
 * The model is of 100 MB over three workers, so that a worker which held the whole of it would be caught. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "child.h"
#include "engine.h"
#include "model_maker.h"
#include "scratch_dir.h"

static const double MIB = 1024.0 * 1024.0;
static const double ALLOWANCE_MIB = 64;

enum { N_TOKENS = 300, N_STAGES = 3 };

typedef struct rig {
    scratch_dir dir;
    char model[SCRATCH_PATH_BYTES], cache[SCRATCH_PATH_BYTES];
} rig;

static int set_up(void **state)
{
    rig *r = calloc(1, sizeof *r);
    *state = r;
    if (!scratch_dir_init(&r->dir)) return -1;
    scratch_dir_path(&r->dir, r->cache, "cache");
    model_spec spec = model_spec_default();
    spec.hp.n_embd = 1024;
    spec.hp.n_ff = 2816;
    spec.hp.n_layer = 8;
    spec.hp.n_head = 16;
    spec.hp.n_head_kv = 4;
    spec.hp.n_embd_head = spec.hp.n_rot = 64;
    spec.hp.n_vocab = 8192;
    spec.hp.n_ctx_train = 2048;
    model_spec_set_type(&spec, QUANT_Q8_0);
    yl_error err = {0};
    if (model_maker_write(scratch_dir_path(&r->dir, r->model, "m.gguf"), &spec, &err)) fail_msg("%s", err.msg);
    return 0;
}

static int tear_down(void **state)
{
    rig *r = *state;
    DIR *d = opendir(r->cache);
    for (struct dirent *e; d && (e = readdir(d));) unlinkat(dirfd(d), e->d_name, 0);
    if (d) closedir(d);
    rmdir(r->cache);
    scratch_dir_clear(&r->dir);
    free(r);
    return 0;
}

static yl_status ignore_answer(void *ctx, const frame_answer *a, yl_error *err)
{
    (void)ctx;
    (void)a;
    (void)err;
    return YL_OK;
}

/* The most that any of our workers has in memory which is no file's, in MiB. */
static double most_anonymous(const rig *r)
{
    pid_t pids[N_STAGES];
    double most = 0;
    assert_int_equal(processes_with(r->dir.path, pids, N_STAGES), N_STAGES);
    for (int i = 0; i < N_STAGES; i++) {
        char path[64], line[256];
        snprintf(path, sizeof path, "/proc/%ld/status", (long)pids[i]);
        FILE *f = fopen(path, "r");
        while (f && fgets(line, sizeof line, f)) {
            unsigned long long kib;
            if (sscanf(line, "RssAnon: %llu", &kib) == 1 && (double)kib / 1024 > most) most = (double)kib / 1024;
        }
        if (f) fclose(f);
    }
    return most;
}

/* Feeds a prompt, so that every page of the weights was touched, and holds each worker's peak against its share. */
static void measure(const rig *r, const char *how, frame_load load, bool stream)
{
    engine_options o = {.model_path = r->model,
                        .n_local = N_STAGES,
                        .n_threads = 1,
                        .n_ctx = 2048,
                        .n_ubatch = 64,
                        .load = load,
                        .cache_dir = r->cache,
                        .stream_weights = stream,
                        .worker_program = YLLAMA_BIN_DIR "/yllama-worker"};
    engine *e;
    yl_error err = {0};
    if (engine_open(&e, &o, &err)) fail_msg("%s", err.msg);
    int32_t tokens[N_TOKENS];
    for (int i = 0; i < N_TOKENS; i++) tokens[i] = 3 + i;
    frame_want want = {.row = N_TOKENS - 1, .kind = FRAME_WANT_TOP, .top = 40};
    if (engine_eval(e, 0, 0, tokens, N_TOKENS, &want, 1, ignore_answer, NULL, &err)) fail_msg("%s", err.msg);
    bool is_mapped = !stream && load != FRAME_LOAD_HEAP;
    double anonymous = is_mapped ? most_anonymous(r) : 0;
    engine_stage stages[N_STAGES];
    if (engine_stages(e, stages, &err)) fail_msg("%s", err.msg);
    for (int i = 0; i < N_STAGES; i++) {
        double share = (double)(stages[i].weight_bytes + stages[i].kv_bytes) / MIB,
               peak = (double)stages[i].stats.peak_rss_bytes / MIB;
        printf("%-8s %s: weights and KV cache %.1f MiB, peak RSS %.1f MiB (%+.1f)\n", how, stages[i].name, share, peak,
               peak - share);
        assert_true(peak > 0);
        assert_true(peak <= share + ALLOWANCE_MIB);
        if (!is_mapped) continue;
        double own = (double)(stages[i].kv_bytes + stages[i].scratch_bytes) / MIB;
        assert_true(anonymous > 0 && anonymous <= own + 8);
    }
    engine_close(e);
}

static void a_worker_holds_its_slice_only(void **state)
{
    const rig *r = *state;
    measure(r, "mapped", FRAME_LOAD_MMAP, false);
    measure(r, "copied", FRAME_LOAD_HEAP, false);
    measure(r, "made", FRAME_LOAD_CACHE, false); /* the cache */
    measure(r, "cached", FRAME_LOAD_CACHE, false);
    measure(r, "copied", FRAME_LOAD_HEAP, false); /* from it */
    measure(r, "streamed", FRAME_LOAD_MMAP, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_worker_holds_its_slice_only)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
