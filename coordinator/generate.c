/* generate.c: feed the last token, sample what follows, feed that.
 *
 * Of a whole prompt only the last row is wanted. What is asked of it is what the sampler said it needs: a few candidates, as a
 * rule. When those do not prove the choice, all logits of the same row are fetched, so a sample never depends on how much was
 * asked. While a long prompt is fed, a row in every few hundred is asked for no candidates at all: its answer is the sign of
 * progress.
 *
 * A step feeds the last token and a draft, and wants all rows. They are sampled in order, each as if it were the only one, as long
 * as the sample is the token that was drafted; with the first other sample the rest of the draft is void. The next step begins at
 * the position of that sample, which takes what was void from the chain. */
#include "generate.h"

#include <stdlib.h>
#include <time.h>

#include "row_answers.h"

enum { ROWS_A_PROGRESS = 512 };

typedef struct generation {
    engine *e;
    const tokenizer *t;
    sampler *s;
    const generate_options *options;
    generate_result *result;
    row_answers *answers;

    size_t n_prompt; /* while the prompt is fed */
    double begin_ms, first_ms;

    /* The step under way: rows[0] is the token that was sampled last, the draft follows. */
    token_id *rows;    /* [1 + longest draft] */
    frame_want *wants; /* one a row */
    uint32_t n_draft;  /* of which answers can be had */
    uint32_t n_extra;  /* rows that were fed besides the first */
} generation;

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static yl_status take_answer(void *ctx, const frame_answer *a, yl_error *err)
{
    generation *g = ctx;
    if (g->n_prompt == 0) return row_answers_take(g->answers, a->row, a, err);
    if (g->options->on_prompt) g->options->on_prompt(g->options->ctx, (size_t)a->row + 1, g->n_prompt);
    return a->row + 1 == g->n_prompt ? row_answers_take(g->answers, 0, a, err) : YL_OK;
}

/* --- the prompt --------------------------------------------------------------------------------------------------------------- */

/* Feeds tokens at n_past and keeps the answer for the last one. */
static yl_status feed_whole(generation *g, const token_id *tokens, size_t n, yl_error *err)
{
    size_t n_marks = g->options->on_prompt ? (n - 1) / ROWS_A_PROGRESS : 0;
    frame_want single, *wants = &single;
    if (n_marks > 0) {
        wants = malloc((n_marks + 1) * sizeof *wants);
        if (!wants) return yl_fail(err, YL_ENOMEM, "no memory to follow a prompt of %zu tokens", n);
        for (size_t i = 0; i < n_marks; i++)
            wants[i] = (frame_want){.row = (uint32_t)((i + 1) * ROWS_A_PROGRESS - 1), .kind = FRAME_WANT_TOP};
    }
    row_answers_clear(g->answers);
    wants[n_marks] = row_answers_ask(g->answers, g->s, (uint32_t)(n - 1));
    yl_status status = engine_eval(g->e, g->options->seq, g->result->n_past, tokens, n, wants, n_marks + 1, take_answer, g, err);
    if (wants != &single) free(wants);
    return status;
}

static yl_status feed_prompt(generation *g, const token_id *prompt, size_t n, yl_error *err)
{
    yl_status status = YL_OK;
    for (size_t i = 0; !status && i < n; i++) status = sampler_accept(g->s, prompt[i], false, err);
    if (status) return status;
    if (g->options->drafter)
        for (size_t i = 0; i < n; i++) drafter_accept(g->options->drafter, prompt[i]);
    g->n_prompt = n;
    status = feed_whole(g, prompt, n, err);
    g->n_prompt = 0;
    if (!status) g->result->n_past += (uint32_t)n;
    return status;
}

/* --- a step: rows in, answers out --------------------------------------------------------------------------------------------- */

/* What penalties need to know of a row depends on the tokens before it: the sampler is led along the draft, asked, and led back. */
static yl_status ask_along(generation *g, yl_error *err)
{
    yl_status status = YL_OK;
    uint32_t n = 0;
    row_answers_clear(g->answers);
    g->wants[0] = row_answers_ask(g->answers, g->s, 0);
    while (n < g->n_draft) {
        status = sampler_accept(g->s, g->rows[n + 1], false, err);
        if (status) break;
        n++;
        g->wants[n] = row_answers_ask(g->answers, g->s, n);
    }
    sampler_take_back(g->s, n);
    return status;
}

static yl_status feed_rows(generation *g, yl_error *err)
{
    uint32_t n = g->n_draft + 1;
    yl_status status = ask_along(g, err);
    if (status) return status;
    g->result->n_steps++;
    return engine_eval(g->e, g->options->seq, g->result->n_past, g->rows, n, g->wants, n, take_answer, g, err);
}

/* A draft has no place for tokens beyond the context, nor for more than will be sampled. */
static uint32_t propose(const generation *g)
{
    const generate_options *o = g->options;
    if (!o->drafter) return 0;
    uint64_t limit = engine_n_ctx(g->e) - g->result->n_past - 1;
    if (o->n_predict >= 0) {
        uint64_t left = (uint64_t)o->n_predict - g->result->n_generated - 1;
        if (left < limit) limit = left;
    }
    return drafter_propose(o->drafter, g->rows + 1, (size_t)limit);
}

static yl_status feed_step(generation *g, token_id token, yl_error *err)
{
    g->rows[0] = token;
    g->n_draft = g->n_extra = propose(g);
    g->result->n_drafted += g->n_draft;
    yl_status status = feed_rows(g, err);
    if (status != YL_EPEER || g->n_draft == 0) return status;
    /* A drafted row may have become infinite, and may be none of the text's. If it is the chain that failed, it fails again. */
    g->n_draft = 0;
    return feed_rows(g, err);
}

/* All logits of a row whose candidates did not suffice. What is asked again is the last row; an earlier one is fed again, alone,
 * and the draft behind it is void. It is answered as row 0. */
static yl_status fetch_all(generation *g, uint32_t row, yl_error *err)
{
    const generate_options *o = g->options;
    uint32_t pos = g->result->n_past - 1;
    row_answers_clear(g->answers);
    frame_want want = row_answers_ask_all(g->answers, 0);
    if (row == g->n_draft) return engine_again(g->e, o->seq, pos, &want, take_answer, g, err);
    g->n_draft = row;
    g->n_extra++;
    g->result->n_steps++;
    return engine_eval(g->e, o->seq, pos, &g->rows[row], 1, &want, 1, take_answer, g, err);
}

/* A token for the row at position n_past - 1. */
static yl_status sample(generation *g, uint32_t row, token_id *token, yl_error *err)
{
    unsigned pos = g->result->n_past - 1;
    uint64_t index = g->options->index + g->result->n_generated;
    const sampler_logits *logits = row_answers_get(g->answers, row);
    if (!logits) return yl_fail(err, YL_EPEER, "position %u was not answered", pos);
    sampler_verdict verdict;
    yl_status status = sampler_sample(g->s, logits, index, token, NULL, &verdict, err);
    if (status || verdict == SAMPLER_ENOUGH) return status;

    g->result->n_asked_again++;
    status = fetch_all(g, row, err);
    if (status) return status;
    logits = row_answers_get(g->answers, 0);
    if (!logits) return yl_fail(err, YL_EPEER, "position %u was not answered again", pos);
    status = sampler_sample(g->s, logits, index, token, NULL, &verdict, err);
    if (!status && verdict != SAMPLER_ENOUGH) return yl_fail(err, YL_EFORMAT, "all logits were not enough to sample from");
    return status;
}

/* --- the answer --------------------------------------------------------------------------------------------------------------- */

/* Hands a sampled token on. *is_over: it was the last; result->stop says why. */
static void give_token(generation *g, token_id token, bool *is_over)
{
    generate_result *r = g->result;
    const generate_options *o = g->options;
    double now = now_ms();
    if (r->n_generated == 0) {
        g->first_ms = now;
        r->prompt_ms = now - g->begin_ms;
    }
    r->generate_ms = now - g->first_ms;
    r->n_generated++;
    bool is_end = tokenizer_is_end(g->t, token);
    *is_over = true;
    if (!o->on_token(o->ctx, token, is_end))
        r->stop = GENERATE_STOP_CALLER;
    else if (is_end)
        r->stop = GENERATE_STOP_END;
    else if (o->n_predict >= 0 && r->n_generated == (uint64_t)o->n_predict)
        r->stop = GENERATE_STOP_LIMIT;
    else if (r->n_past >= engine_n_ctx(g->e))
        r->stop = GENERATE_STOP_CONTEXT;
    else
        *is_over = false;
}

/* Samples the rows of a step, the first at position n_past - 1, as far as the draft holds. *token: the last sample. */
static yl_status sample_rows(generation *g, token_id *token, bool *is_over, yl_error *err)
{
    drafter *d = g->options->drafter;
    for (uint32_t row = 0;; row++, g->result->n_past++) {
        yl_status status = sample(g, row, token, err);
        if (!status) status = sampler_accept(g->s, *token, true, err);
        if (status) return status;
        if (d) drafter_accept(d, *token);
        bool is_foreseen = row < g->n_draft && *token == g->rows[row + 1];
        g->result->n_kept += is_foreseen;
        give_token(g, *token, is_over);
        if (*is_over) return YL_OK;
        if (is_foreseen) continue;
        if (d) drafter_told(d, g->n_extra, row);
        return YL_OK;
    }
}

static yl_status decode(generation *g, yl_error *err)
{
    g->result->stop = GENERATE_STOP_LIMIT;
    bool is_over = g->options->n_predict == 0;
    token_id token = TOKEN_NONE;
    for (bool is_first = true; !is_over; is_first = false) {
        yl_status status = is_first ? YL_OK : feed_step(g, token, err);
        if (status) return status;
        g->result->n_past += !is_first;
        status = sample_rows(g, &token, &is_over, err);
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

    if (options->drafter && !drafter_rewind(options->drafter, options->n_past))
        return yl_fail(err, YL_EINVAL, "position %u: the drafter does not know the tokens before", (unsigned)options->n_past);

    generation g = {.e = e, .t = t, .s = s, .options = options, .result = result, .begin_ms = now_ms()};
    uint32_t n_rows = 1 + (options->drafter ? drafter_max(options->drafter) : 0);
    g.rows = malloc(n_rows * sizeof *g.rows);
    g.wants = malloc(n_rows * sizeof *g.wants);
    yl_status status = g.rows && g.wants ? YL_OK : yl_fail(err, YL_ENOMEM, "no memory for a draft of %u rows", (unsigned)n_rows);
    if (!status) status = row_answers_new(&g.answers, n_rows, engine_hparams(e)->n_vocab, err);
    if (!status) status = feed_prompt(&g, prompt, n, err);
    if (!status) {
        result->prompt_ms = now_ms() - g.begin_ms;
        status = decode(&g, err);
    }
    row_answers_free(g.answers);
    free(g.wants);
    free(g.rows);
    return status;
}
