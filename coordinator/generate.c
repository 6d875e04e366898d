/* generate.c: ask for one row, sample, feed the token, ask again.
 *
 * Of a whole prompt only the last row is wanted. What is asked of it is what the sampler said it needs: a few candidates, as a
 * rule. When those do not prove the choice, all logits of the same row are fetched, so a sample never depends on how much was
 * asked. While a long prompt is fed, a row in every few hundred is asked for no candidates at all: its answer is the sign of
 * progress. */
#include "generate.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROWS_A_PROGRESS = 512 };

typedef struct generation {
    engine *e;
    sampler *s;
    const generate_options *options;
    generate_result *result;
    uint32_t n_vocab;

    /* The answer to the wanted row, copied: views live only as long as the callback. */
    sampler_request request;
    bool has_answer;
    sampler_logits logits;
    sampler_candidate *top;    /* [FRAME_MAX_TOP] */
    sampler_candidate *listed; /* [FRAME_MAX_LISTED] */
    float *all;                /* [n_vocab], made when first needed */

    size_t n_prompt; /* while the prompt is fed */
} generation;

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static yl_status copy_candidates(generation *g, const frame_answer *a, yl_error *err)
{
    size_t n = a->data.n_bytes / 8;
    if (n > FRAME_MAX_TOP || a->listed.n_bytes / sizeof(float) != g->request.n_listed)
        return yl_fail(err, YL_EPEER, "position %u: the answer has other candidates than were asked for", (unsigned)a->pos);
    for (size_t i = 0; i < n; i++) g->top[i] = (sampler_candidate){frame_i32_at(a->data, 2 * i), frame_f32_at(a->data, 2 * i + 1)};
    for (size_t i = 0; i < g->request.n_listed; i++)
        g->listed[i] = (sampler_candidate){g->request.listed[i], frame_f32_at(a->listed, i)};
    g->logits = (sampler_logits){.top = g->top, .n_top = n, .listed = g->listed, .n_listed = g->request.n_listed};
    return YL_OK;
}

static yl_status copy_all(generation *g, const frame_answer *a, yl_error *err)
{
    if (a->data.n_bytes / sizeof(float) != g->n_vocab)
        return yl_fail(err, YL_EPEER, "position %u: the answer has %zu logits, the model %u tokens", (unsigned)a->pos,
                       a->data.n_bytes / sizeof(float), (unsigned)g->n_vocab);
    if (!g->all) g->all = malloc(g->n_vocab * sizeof *g->all);
    if (!g->all) return yl_fail(err, YL_ENOMEM, "no memory for %u logits", (unsigned)g->n_vocab);
    memcpy(g->all, a->data.data, g->n_vocab * sizeof *g->all);
    g->logits = (sampler_logits){.all = g->all};
    return YL_OK;
}

static yl_status take_answer(void *ctx, const frame_answer *a, yl_error *err)
{
    generation *g = ctx;
    if (g->n_prompt > 0) {
        bool is_last = a->row + 1 == g->n_prompt;
        if (g->options->on_prompt) g->options->on_prompt(g->options->ctx, (size_t)a->row + 1, g->n_prompt);
        if (!is_last) return YL_OK;
    }
    yl_status status = a->kind == FRAME_WANT_ALL ? copy_all(g, a, err) : copy_candidates(g, a, err);
    if (status) return status;
    g->logits.n_vocab = g->n_vocab;
    g->logits.max = a->max;
    g->logits.sum_exp = a->sum_exp;
    g->has_answer = true;
    return YL_OK;
}

/* What to ask of a row so that the sampler, as it is now, can sample. */
static frame_want want_for_sampler(generation *g, uint32_t row)
{
    g->request = sampler_needs(g->s);
    bool fits = !g->request.all && g->request.n_top <= FRAME_MAX_TOP && g->request.n_listed <= FRAME_MAX_LISTED;
    if (!fits) {
        g->request = (sampler_request){.all = true};
        return (frame_want){.row = row, .kind = FRAME_WANT_ALL};
    }
    return (frame_want){.row = row,
                        .kind = FRAME_WANT_TOP,
                        .top = g->request.n_top,
                        .listed = {(const uint8_t *)g->request.listed, g->request.n_listed * sizeof *g->request.listed}};
}

/* Feeds tokens at n_past and keeps the answer for the last one. */
static yl_status feed(generation *g, const token_id *tokens, size_t n, yl_error *err)
{
    size_t n_marks = g->options->on_prompt ? (n - 1) / ROWS_A_PROGRESS : 0;
    frame_want single, *wants = &single;
    if (n_marks > 0) {
        wants = malloc((n_marks + 1) * sizeof *wants);
        if (!wants) return yl_fail(err, YL_ENOMEM, "no memory to follow a prompt of %zu tokens", n);
        for (size_t i = 0; i < n_marks; i++)
            wants[i] = (frame_want){.row = (uint32_t)((i + 1) * ROWS_A_PROGRESS - 1), .kind = FRAME_WANT_TOP};
    }
    wants[n_marks] = want_for_sampler(g, (uint32_t)(n - 1));
    g->has_answer = false;
    yl_status status = engine_eval(g->e, g->options->seq, g->result->n_past, tokens, n, wants, n_marks + 1, take_answer, g, err);
    if (wants != &single) free(wants);
    if (status) return status;
    g->result->n_past += (uint32_t)n;
    if (!g->has_answer) return yl_fail(err, YL_EPEER, "position %u was not answered", (unsigned)g->result->n_past - 1);
    return YL_OK;
}

/* A token for the row that was answered last. */
static yl_status sample(generation *g, token_id *token, yl_error *err)
{
    uint64_t index = g->options->index + g->result->n_generated;
    sampler_verdict verdict;
    yl_status status = sampler_sample(g->s, &g->logits, index, token, NULL, &verdict, err);
    if (status || verdict == SAMPLER_ENOUGH) return status;

    g->result->n_asked_again++;
    g->request = (sampler_request){.all = true};
    g->has_answer = false;
    frame_want want = {.kind = FRAME_WANT_ALL};
    status = engine_again(g->e, g->options->seq, g->result->n_past - 1, &want, take_answer, g, err);
    if (status) return status;
    if (!g->has_answer) return yl_fail(err, YL_EPEER, "position %u was not answered again", (unsigned)g->result->n_past - 1);
    status = sampler_sample(g->s, &g->logits, index, token, NULL, &verdict, err);
    if (!status && verdict != SAMPLER_ENOUGH) return yl_fail(err, YL_EFORMAT, "all logits were not enough to sample from");
    return status;
}

static yl_status feed_prompt(generation *g, const token_id *prompt, size_t n, yl_error *err)
{
    yl_status status = YL_OK;
    for (size_t i = 0; !status && i < n; i++) status = sampler_accept(g->s, prompt[i], false, err);
    if (status) return status;
    g->n_prompt = n;
    status = feed(g, prompt, n, err);
    g->n_prompt = 0;
    return status;
}

static yl_status decode(generation *g, const tokenizer *t, double begin_ms, yl_error *err)
{
    generate_result *r = g->result;
    const generate_options *o = g->options;
    uint32_t n_ctx = engine_n_ctx(g->e);
    double first_ms = 0;
    for (r->stop = GENERATE_STOP_LIMIT; o->n_predict < 0 || r->n_generated < (uint64_t)o->n_predict;) {
        token_id token;
        yl_status status = sample(g, &token, err);
        if (!status) status = sampler_accept(g->s, token, true, err);
        if (status) return status;

        double now = now_ms();
        if (r->n_generated == 0) {
            first_ms = now;
            r->prompt_ms = now - begin_ms;
        }
        r->generate_ms = now - first_ms;
        r->n_generated++;
        bool is_end = tokenizer_is_end(t, token);
        if (!o->on_token(o->ctx, token, is_end)) {
            r->stop = GENERATE_STOP_CALLER;
            return YL_OK;
        }
        if (is_end) {
            r->stop = GENERATE_STOP_END;
            return YL_OK;
        }
        if (o->n_predict >= 0 && r->n_generated == (uint64_t)o->n_predict) return YL_OK;
        if (r->n_past >= n_ctx) {
            r->stop = GENERATE_STOP_CONTEXT;
            return YL_OK;
        }
        status = feed(g, &token, 1, err);
        if (status) return status;
    }
    return YL_OK;
}

yl_status generate(engine *e, const tokenizer *t, sampler *s, const token_id *prompt, size_t n, const generate_options *options,
                   generate_result *result, yl_error *err)
{
    *result = (generate_result){.stop = GENERATE_STOP_CALLER, .n_past = options->n_past};
    uint32_t n_ctx = engine_n_ctx(e);
    if (n == 0) return yl_fail(err, YL_EINVAL, "a prompt needs at least one token");
    if (options->n_past > n_ctx || n > n_ctx - options->n_past)
        return yl_fail(err, YL_ELIMIT, "the prompt ends at position %zu, the context has %u: make it larger with -c",
                       options->n_past + n, (unsigned)n_ctx);

    generation g = {.e = e, .s = s, .options = options, .result = result, .n_vocab = engine_hparams(e)->n_vocab};
    g.top = malloc(FRAME_MAX_TOP * sizeof *g.top);
    g.listed = malloc(FRAME_MAX_LISTED * sizeof *g.listed);
    double begin_ms = now_ms();
    yl_status status = g.top && g.listed ? YL_OK : yl_fail(err, YL_ENOMEM, "no memory for candidates");
    if (!status) status = feed_prompt(&g, prompt, n, err);
    if (!status) {
        result->prompt_ms = now_ms() - begin_ms;
        status = decode(&g, t, begin_ms, err);
    }
    free(g.top);
    free(g.listed);
    free(g.all);
    return status;
}
