/* bench_streams.c: what a chain of workers does with several sequences, and with a prompt.
 *
 * The same model over 1 worker with 2 threads and over 2 workers with 1 thread each: the same cores, and the same multiplications.
 * First a prompt, then 1, 2, 4, 8 and 16 sequences that decode at the same time, each submitted again as soon as its answer is
 * there. The chains are measured in turn, round by round, and compared within a round, because other programs share the machine.
 * Few streams travel in one frame and keep one stage busy at a time, so 2 workers can reach 1 worker only with many. Usage:
 * bench_streams model.gguf [tokens a stream] [rounds] [tokens of the prompt] */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { N_CHAINS = 2, N_CURVE = 5, MAX_STREAMS = 16, MAX_ROUNDS = 64, MAX_PROMPT = 4096 };

static const uint32_t WORKERS[N_CHAINS] = {1, 2}, THREADS[N_CHAINS] = {2, 1};
static const uint32_t STREAMS[N_CURVE] = {1, 2, 4, 8, 16};

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
    fprintf(stderr, "bench_streams: %s\n", err->msg);
    exit(1);
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

static int32_t token_at(const engine *e, uint32_t seq, uint32_t pos)
{
    return (int32_t)((7919u * seq + 31u * pos + 3u) % engine_hparams(e)->n_vocab);
}

/* Tokens a second of n streams that make n_tokens each. */
static double decode(engine *e, uint32_t n, uint32_t n_tokens)
{
    yl_error err;
    frame_want want = {.row = 0, .kind = FRAME_WANT_TOP, .top = 40};
    int32_t tokens[MAX_STREAMS];
    uint32_t pos[MAX_STREAMS] = {0}, n_done = 0;
    double begin = now_ms();
    while (n_done < n) {
        n_done = 0;
        for (uint32_t i = 0; i < n; i++) {
            if (!engine_is_done(e, i)) continue;
            if (pos[i] == n_tokens) {
                n_done++;
                continue;
            }
            tokens[i] = token_at(e, i, pos[i]);
            engine_request r = {.seq = i, .pos = pos[i]++, .tokens = &tokens[i], .n = 1, .wants = &want, .n_wants = 1};
            must(engine_submit(e, &r, &err), &err);
        }
        if (n_done < n) must(engine_poll(e, 1000, &err), &err);
    }
    return 1e3 * n * n_tokens / (now_ms() - begin);
}

/* Tokens a second of a prompt. */
static double prefill(engine *e, uint32_t n)
{
    yl_error err;
    static int32_t tokens[MAX_PROMPT];
    for (uint32_t i = 0; i < n; i++) tokens[i] = token_at(e, 0, i);
    frame_want want = {.row = n - 1, .kind = FRAME_WANT_TOP, .top = 40};
    double begin = now_ms();
    must(engine_eval(e, 0, 0, tokens, n, &want, 1, ignore_answer, NULL, &err), &err);
    return 1e3 * n / (now_ms() - begin);
}

static void open_chains(engine *chains[N_CHAINS], const char *model, uint32_t n_seq, uint32_t n_ctx)
{
    yl_error err;
    for (int i = 0; i < N_CHAINS; i++) {
        engine_options o = {.model_path = model,
                            .n_local = WORKERS[i],
                            .n_threads = THREADS[i],
                            .n_seq = n_seq,
                            .n_ctx = n_ctx,
                            .load = FRAME_LOAD_HEAP,
                            .timeout_ms = 200000, /* one chain is silent while the other is measured */
                            .worker_program = YLLAMA_BIN_DIR "/yllama-worker"};
        must(engine_open(&chains[i], &o, &err), &err);
        decode(chains[i], n_seq, 2);
    }
}

static void close_chains(engine *chains[N_CHAINS])
{
    for (int i = 0; i < N_CHAINS; i++) engine_close(chains[i]);
}

typedef struct series {
    double rate[N_CHAINS][MAX_ROUNDS], ratio[MAX_ROUNDS]; /* tokens/s; 2 workers against 1 */
} series;

static void finish_round(series *s, int round)
{
    s->ratio[round] = s->rate[1][round] / s->rate[0][round];
}

static void report(series *s, int n_rounds, const char *what, uint32_t n, double *first)
{
    double one = median(s->rate[0], n_rounds), two = median(s->rate[1], n_rounds), ratio = median(s->ratio, n_rounds);
    if (!*first) *first = two;
    printf("%-8s %6u  %12.1f  %13.1f  %.3f; %.3f to %.3f   %.2f\n", what, n, one, two, ratio, s->ratio[0], s->ratio[n_rounds - 1],
           two / *first);
    printf(
        "{\"bench\":\"streams\",\"what\":\"%s\",\"n\":%u,\"tokens_s_1x2\":%.2f,\"tokens_s_2x1\":%.2f,\"ratio\":%.4f,\"min\":%.4f,"
        "\"max\":%.4f,\"vs_first\":%.3f}\n",
        what, n, one, two, ratio, s->ratio[0], s->ratio[n_rounds - 1], two / *first);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    int n_tokens = argc > 2 ? atoi(argv[2]) : 16, n_rounds = argc > 3 ? atoi(argv[3]) : 5,
        n_prompt = argc > 4 ? atoi(argv[4]) : 512;
    bool is_sane = n_tokens >= 0 && n_rounds >= 1 && n_rounds <= MAX_ROUNDS && n_prompt >= 0 && n_prompt <= MAX_PROMPT;
    if (argc < 2 || !is_sane) {
        fprintf(stderr, "usage: bench_streams model.gguf [tokens a stream] [rounds] [tokens of the prompt]\n");
        return 2;
    }
    engine *chains[N_CHAINS];
    static series prompt, curve[N_CURVE];
    puts("                 1 worker x 2  2 workers x 1  2 workers against 1        against");
    puts("what          n  tokens/s      tokens/s       median; min to max        its first");
    double first = 0;
    if (n_prompt) {
        open_chains(chains, argv[1], 1, (uint32_t)n_prompt + 8);
        for (int round = 0; round < n_rounds; round++) {
            for (int i = 0; i < N_CHAINS; i++) prompt.rate[i][round] = prefill(chains[i], (uint32_t)n_prompt);
            finish_round(&prompt, round);
        }
        close_chains(chains);
        report(&prompt, n_rounds, "prefill", (uint32_t)n_prompt, &first);
    }
    if (!n_tokens) return 0;
    open_chains(chains, argv[1], MAX_STREAMS, (uint32_t)n_tokens + 8);
    for (int round = 0; round < n_rounds; round++) {
        for (int k = 0; k < N_CURVE; k++) {
            for (int i = 0; i < N_CHAINS; i++) curve[k].rate[i][round] = decode(chains[i], STREAMS[k], (uint32_t)n_tokens);
            finish_round(&curve[k], round);
        }
    }
    close_chains(chains);
    first = 0;
    for (int k = 0; k < N_CURVE; k++) report(&curve[k], n_rounds, "streams", STREAMS[k], &first);
    return 0;
}
