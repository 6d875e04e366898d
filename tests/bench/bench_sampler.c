/* bench_sampler.c: what a sample costs, from all logits of a large vocabulary and from what sampler_needs asks for, and how often
 * that was not enough.
 *
 * Sampling from all logits is one walk over them (the heap's comparison bounds it), from candidates it is a few dozen exps. Rows
 * are synthetic: Zipf with exponents from 1 to 2.5 and noise, as next words are; more often not enough than real ones, if anything.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "logit_rows.h"
#include "random_settings.h"

enum { N_VOCAB = 128256, N_CTX = 4096, N_ROWS = 60, N_REPEATS = 5 };

typedef struct bench_case {
    const char *name;
    sampler_settings settings;
} bench_case;

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* The least of some repetitions, microseconds. */
static double time_sample(sampler *s, const sampler_logits *l, uint64_t index, sampler_verdict *verdict)
{
    double best = 1e30;
    for (int i = 0; i < N_REPEATS; i++) {
        int32_t token;
        double start = now_us();
        if (sampler_sample(s, l, index, &token, NULL, verdict, NULL)) abort();
        double us = now_us() - start;
        if (us < best) best = us;
    }
    return best;
}

static double time_needs(sampler *s, sampler_request *request)
{
    double start = now_us();
    *request = sampler_needs(s);
    return now_us() - start;
}

static void run(const bench_case *c, const int32_t *history, float *row, sampler_candidate *top, sampler_candidate *listed)
{
    sampler *s;
    if (sampler_new(&s, &c->settings, N_VOCAB, N_CTX, NULL)) abort();
    for (int i = 0; i < N_CTX; i++) {
        if (sampler_accept(s, history[i], false, NULL)) abort();
    }
    double from_all = 0, worst = 0, from_few = 0, needs = 0;
    int n_more = 0, n_asked = 0;
    sampler_request request = {0};
    for (int i = 0; i < N_ROWS; i++) {
        prng r = prng_stream(1, (uint64_t)i, 0);
        make_row(row, N_VOCAB, ROW_ZIPF, &r);
        sampler_logits all, few;
        sampler_verdict verdict;
        if (sampler_accept(s, history[i], false, NULL)) abort();
        needs += time_needs(s, &request);
        describe_row(&all, row, N_VOCAB);
        double us = time_sample(s, &all, (uint64_t)i, &verdict);
        from_all += us;
        if (us > worst) worst = us;
        if (request.all) continue;
        answer_request(&few, row, N_VOCAB, &request, top, listed);
        from_few += time_sample(s, &few, (uint64_t)i, &verdict);
        n_more += verdict == SAMPLER_MORE;
        n_asked++;
    }
    from_all /= N_ROWS;
    needs /= N_ROWS;
    from_few = n_asked ? from_few / n_asked : 0;
    double more = n_asked ? 100.0 * n_more / n_asked : 100;
    printf("%-34s asks %4u + %-4zu  needs %7.1f us  all %8.1f us (worst %8.1f)  candidates %7.1f us  not enough %5.1f %%\n",
           c->name, (unsigned)request.n_top, request.n_listed, needs, from_all, worst, from_few, more);
    printf("{\"bench\":\"sampler\",\"case\":\"%s\",\"n_vocab\":%d,\"n_top\":%u,\"n_listed\":%zu,\"needs_us\":%.2f,\"all_us\":%.2f,"
           "\"all_worst_us\":%.2f,\"candidates_us\":%.2f,\"more_percent\":%.2f}\n",
           c->name, N_VOCAB, (unsigned)request.n_top, request.n_listed, needs, from_all, worst, from_few, more);
    sampler_free(s);
}

/* The defaults with one or two things changed. */
static size_t make_cases(bench_case *c)
{
    size_t n = 0;
    const sampler_settings d = sampler_default_settings();
    c[n++] = (bench_case){"default", d};
    c[n] = (bench_case){"greedy", d};
    c[n++].settings.temp = 0;
    c[n] = (bench_case){"repeat penalty 1.1 over 64", d};
    c[n++].settings.repeat_penalty = 1.1f;
    c[n] = (bench_case){"repeat penalty 1.1 over 4096", d};
    c[n].settings.repeat_last_n = -1;
    c[n++].settings.repeat_penalty = 1.1f;
    c[n] = (bench_case){"DRY over 4096", d};
    c[n++].settings.dry_multiplier = 0.8f;
    c[n] = (bench_case){"XTC 0.5", d};
    c[n++].settings.xtc_probability = 0.5f;
    c[n] = (bench_case){"typical-p 0.9", d};
    c[n++].settings.typical_p = 0.9f;
    c[n] = (bench_case){"top-p 0.95, no top-k", d};
    c[n++].settings.top_k = 0;
    c[n] = (bench_case){"min-p 0.05 alone", d};
    c[n].settings.top_k = 0;
    c[n++].settings.top_p = 1;
    c[n] = (bench_case){"temperature 1 alone", d};
    c[n].settings.top_k = 0;
    c[n].settings.top_p = 1;
    c[n].settings.min_p = 0;
    c[n++].settings.temp = 1;
    c[n] = (bench_case){"temperature 0.8 alone", c[n - 1].settings};
    c[n++].settings.temp = 0.8f;
    c[n] = (bench_case){"typical-p 0.9, no top-k", d};
    c[n].settings.top_k = 0;
    c[n++].settings.typical_p = 0.9f;
    c[n] = (bench_case){"top-n-sigma 1", d};
    c[n++].settings.top_n_sigma = 1;
    c[n] = (bench_case){"mirostat 1", d};
    c[n++].settings.mirostat = 1;
    c[n] = (bench_case){"mirostat 2", d};
    c[n++].settings.mirostat = 2;
    c[n] = (bench_case){"mirostat 2, temperature 1", d};
    c[n].settings.temp = 1;
    c[n++].settings.mirostat = 2;
    return n;
}

int main(void)
{
    enum { MOST_CASES = 24 };
    bench_case cases[MOST_CASES];
    size_t n = make_cases(cases);
    float *row = malloc(N_VOCAB * sizeof *row);
    sampler_candidate *top = malloc(SAMPLER_MAX_TOP * sizeof *top), *listed = malloc(SAMPLER_MAX_LISTED * sizeof *listed);
    int32_t *history = malloc(N_CTX * sizeof *history);
    if (!row || !top || !listed || !history) return 1;
    prng r = prng_stream(2, 0, 0);
    make_history(history, N_CTX, N_VOCAB, &r);
    for (size_t i = 0; i < n; i++) run(&cases[i], history, row, top, listed);
    free(row);
    free(top);
    free(listed);
    free(history);
    return 0;
}
