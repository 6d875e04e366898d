/* bench_split.c: what splitting a model over processes costs.
 *
 * One stream's decode over 1 worker, and over 2 and 3 workers, each with one thread: the same multiplications, so the difference is
 * frames, sockets and waking up. The chains are measured in turn, round by round, and compared within a round, because other
 * programs share the machine. Usage: bench_split [model.gguf] [tokens a round] [rounds]; without a model it makes one of 60 MB. */
#include "engine.h"
#include "model_maker.h"
#include "scratch_dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N_CHAINS = 3, MAX_ROUNDS = 64 };

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static yl_status ignore_answer(void *ctx, const frame_answer *a, yl_error *err)
{
    (void)ctx;
    (void)a;
    (void)err;
    return YL_OK;
}

static void must(yl_status status, const yl_error *err)
{
    if (!status) return;
    fprintf(stderr, "bench_split: %s\n", err->msg);
    exit(1);
}

/* ms a token of n tokens, one after the other. */
static double decode(engine *e, int n)
{
    yl_error err;
    frame_want want = {.row = 0, .kind = FRAME_WANT_TOP, .top = 40};
    double begin = now_ms();
    for (int i = 0; i < n; i++) {
        int32_t token = 3 + i % 100;
        must(engine_eval(e, 0, (uint32_t)i, &token, 1, &want, 1, ignore_answer, NULL, &err), &err);
    }
    return (now_ms() - begin) / n;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_value);
    return x[n / 2];
}

int main(int argc, char **argv)
{
    scratch_dir dir = {0};
    char path[SCRATCH_PATH_BYTES];
    yl_error err;
    int n_tokens = argc > 2 ? atoi(argv[2]) : 32, n_rounds = argc > 3 ? atoi(argv[3]) : 9;
    if (n_tokens < 1 || n_rounds < 1 || n_rounds > MAX_ROUNDS) return 2;
    if (argc > 1) {
        snprintf(path, sizeof path, "%s", argv[1]);
    } else {
        if (!scratch_dir_init(&dir)) return 1;
        model_spec spec = model_spec_default();
        spec.hp.n_embd = 1024;
        spec.hp.n_ff = 2816;
        spec.hp.n_layer = 6;
        spec.hp.n_head = 16;
        spec.hp.n_head_kv = 4;
        spec.hp.n_embd_head = spec.hp.n_rot = 64;
        spec.hp.n_vocab = 4096;
        spec.hp.n_ctx_train = 512;
        model_spec_set_type(&spec, QUANT_Q8_0);
        must(model_maker_write(scratch_dir_path(&dir, path, "bench.gguf"), &spec, &err), &err);
    }
    engine *chains[N_CHAINS];
    for (uint32_t i = 0; i < N_CHAINS; i++) {
        engine_options o = {.model_path = path,
                            .n_local = i + 1,
                            .n_threads = 1,
                            .n_ctx = 512,
                            .load = FRAME_LOAD_CACHE,
                            .worker_program = YLLAMA_BIN_DIR "/yllama-worker"};
        must(engine_open(&chains[i], &o, &err), &err);
        decode(chains[i], 4);
    }
    double ms[N_CHAINS][MAX_ROUNDS], ratio[N_CHAINS][MAX_ROUNDS];
    for (int round = 0; round < n_rounds; round++) {
        for (int i = 0; i < N_CHAINS; i++) ms[i][round] = decode(chains[i], n_tokens);
        for (int i = 0; i < N_CHAINS; i++) ratio[i][round] = ms[0][round] / ms[i][round];
    }
    puts("workers  ms a token  tokens/s  speed against 1 worker (median; min to max)");
    for (int i = 0; i < N_CHAINS; i++) {
        double token_ms = median(ms[i], n_rounds), r = median(ratio[i], n_rounds);
        printf("%7d  %10.3f  %8.1f  %.3f; %.3f to %.3f\n", i + 1, token_ms, 1e3 / token_ms, r, ratio[i][0], ratio[i][n_rounds - 1]);
        printf("{\"bench\":\"split\",\"workers\":%d,\"threads\":1,\"ms_token\":%.4f,\"vs_one_worker\":%.4f,\"min\":%.4f,\"max\":%."
               "4f}\n",
               i + 1, token_ms, r, ratio[i][0], ratio[i][n_rounds - 1]);
    }
    for (int i = 0; i < N_CHAINS; i++) engine_close(chains[i]);
    if (dir.path[0]) scratch_dir_clear(&dir);
    return 0;
}
