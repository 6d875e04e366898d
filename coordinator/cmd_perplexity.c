/* cmd_perplexity.c: `yllama perplexity`: how well a model foresees a text.
 *
 * Defined as llama.cpp's llama-perplexity does (tools/perplexity/perplexity.cpp, without a stride), so that figures compare: the
 * text is cut into windows of n_ctx tokens (512, or -c), a rest is left out; the first token of each window becomes BOS if the
 * model wants one; predictions in the first half of a window do not count, because they see too little. The result is exp(mean of
 * -log p), +- its standard error.
 *
 * Of a row only the logit of the token that really follows is asked for: it, max and sum of exp are all that -log p needs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "session.h"
#include "text_input.h"

enum { DEFAULT_WINDOW = 512 };

typedef struct perplexity {
    session s;
    token_list tokens;
    size_t n_windows, window; /* how many there are, the one under way */
    frame_want *wants;        /* [n_scored] of a window */
    size_t n_scored;
    size_t n_answers;           /* of this window */
    uint64_t n;                 /* all answers */
    double sum, sum_of_squares; /* of -log p */
} perplexity;

static yl_status read_text(perplexity *p, yl_error *err)
{
    options o = *p->s.o;
    o.escape = false; /* a text to be measured is taken as it is */
    text_input text;
    yl_status status = text_input_get(&text, &o, TEXT_INPUT_WITHOUT_LAST_NEWLINE, err);
    if (!status) status = tokenizer_encode(p->s.t, &p->tokens, text.data, text.n_bytes, TOKENIZE_ADD_SPECIAL, err);
    free(text.data);
    return status;
}

static yl_status plan_windows(perplexity *p, yl_error *err)
{
    size_t n_ctx = p->s.n_ctx, first = n_ctx / 2;
    if (n_ctx < 4) return yl_fail(err, YL_EINVAL, "windows of %zu tokens are too short to score: take -c 4 at least", n_ctx);
    if (p->tokens.n < 2 * n_ctx)
        return yl_fail(err, YL_EINVAL,
                       "the text has %zu tokens, windows of %zu need at least %zu: take a longer text or a smaller -c", p->tokens.n,
                       n_ctx, 2 * n_ctx);
    p->n_windows = p->tokens.n / n_ctx;
    if (p->s.o->n_chunks >= 0 && (size_t)p->s.o->n_chunks < p->n_windows) p->n_windows = (size_t)p->s.o->n_chunks;
    if (p->n_windows == 0) return yl_fail(err, YL_EINVAL, "--chunks 0 leaves nothing to measure");
    p->n_scored = n_ctx - 1 - first;
    p->wants = calloc(p->n_scored, sizeof *p->wants);
    return p->wants ? YL_OK : yl_fail(err, YL_ENOMEM, "no memory to ask for %zu rows", p->n_scored);
}

static yl_status add_answer(void *ctx, const frame_answer *a, yl_error *err)
{
    perplexity *p = ctx;
    if (a->listed.n_bytes != sizeof(float)) return yl_fail(err, YL_EPEER, "position %u: no logit in the answer", (unsigned)a->pos);
    double nll = log((double)a->sum_exp) + (double)a->max - (double)frame_f32_at(a->listed, 0);
    p->sum += nll;
    p->sum_of_squares += nll * nll;
    p->n++;
    p->n_answers++;
    double done = (double)p->window + (double)p->n_answers / (double)p->n_scored;
    console_progress(p->s.con, "perplexity", done / (double)p->n_windows);
    return YL_OK;
}

static yl_status measure_window(perplexity *p, yl_error *err)
{
    size_t n_ctx = p->s.n_ctx, first = n_ctx / 2;
    token_id *tokens = p->tokens.data + p->window * n_ctx;
    for (size_t i = 0; i < p->n_scored; i++)
        p->wants[i] = (frame_want){.row = (uint32_t)(first + i),
                                   .kind = FRAME_WANT_TOP,
                                   .listed = {(const uint8_t *)&tokens[first + i + 1], sizeof *tokens}};
    token_id begin = tokens[0];
    if (tokenizer_adds_bos(p->s.t)) tokens[0] = tokenizer_bos(p->s.t);
    p->n_answers = 0;
    yl_status status = engine_eval(p->s.e, 0, 0, tokens, n_ctx, p->wants, p->n_scored, add_answer, p, err);
    tokens[0] = begin;
    if (!status && p->n_answers != p->n_scored)
        return yl_fail(err, YL_EPEER, "%zu of %zu rows were answered", p->n_answers, p->n_scored);
    return status;
}

static yl_status print_result(perplexity *p, yl_error *err)
{
    double mean = p->sum / (double)p->n;
    double variance = p->sum_of_squares / (double)p->n - mean * mean;
    double deviation = p->n > 1 && variance > 0 ? sqrt(variance / (double)(p->n - 1)) : 0; /* of the mean */
    console_print(p->s.con, "\nFinal estimate: PPL = %.4f +/- %.5f\n", exp(mean), deviation * exp(mean));
    return console_check(p->s.con, err);
}

static yl_status measure(perplexity *p, yl_error *err)
{
    console *c = p->s.con;
    for (p->window = 0; p->window < p->n_windows; p->window++) {
        yl_status status = measure_window(p, err);
        if (status) {
            console_end_line(c);
            return status;
        }
        if (!console_print(c, "[%zu]%.4f,", p->window + 1, exp(p->sum / (double)p->n))) return console_check(c, err);
    }
    return print_result(p, err);
}

yl_status cmd_perplexity(const options *o, console *c, yl_error *err)
{
    perplexity p = {0};
    yl_status status = session_open(&p.s, o, c, err);
    if (!status && o->n_ctx < 0) p.s.n_ctx = DEFAULT_WINDOW;
    if (!status) status = read_text(&p, err);
    if (!status) status = plan_windows(&p, err);
    if (!status) status = session_start(&p.s, err);
    if (!status) {
        console_log(c, ENGINE_LOG_INFO, "%zu windows of %u tokens, %zu scored in each", p.n_windows, (unsigned)p.s.n_ctx,
                    p.n_scored);
        status = measure(&p, err);
    }
    free(p.wants);
    token_list_clear(&p.tokens);
    session_close(&p.s);
    return status;
}
