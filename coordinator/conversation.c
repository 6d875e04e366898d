/* conversation.c: messages to tokens, tokens to an answer. */
#include "conversation.h"

#include <stdlib.h>
#include <string.h>

/* --- messages ----------------------------------------------------------------------------------------------------------------- */

static yl_status add_message(conversation *c, chat_role role, char *text, yl_error *err)
{
    chat_message *messages = text ? realloc(c->messages, (c->n + 1) * sizeof *messages) : NULL;
    if (!messages) {
        free(text);
        return yl_fail(err, YL_ENOMEM, "no memory for another message");
    }
    c->messages = messages;
    messages[c->n++] = (chat_message){role, text};
    return YL_OK;
}

static void remove_messages(conversation *c, size_t begin, size_t n)
{
    if (n == 0) return;
    for (size_t i = begin; i < begin + n; i++) free((char *)(uintptr_t)c->messages[i].text);
    memmove(c->messages + begin, c->messages + begin + n, (c->n - begin - n) * sizeof *c->messages);
    c->n -= n;
}

static size_t n_system(const conversation *c)
{
    return c->n > 0 && c->messages[0].role == CHAT_SYSTEM;
}

yl_status conversation_init(conversation *c, session *s, chat_template t, sampler *smpl, drafter *d, const char *system,
                            yl_error *err)
{
    *c = (conversation){.s = s, .template = t, .sampler = smpl, .drafter = d};
    return system ? add_message(c, CHAT_SYSTEM, strdup(system), err) : YL_OK;
}

void conversation_clear(conversation *c)
{
    remove_messages(c, 0, c->n);
    free(c->messages);
    token_list_clear(&c->fed);
    token_list_clear(&c->answer);
    *c = (conversation){0};
}

yl_status conversation_say(conversation *c, const char *text, yl_error *err)
{
    return add_message(c, CHAT_USER, strdup(text), err);
}

bool conversation_take_back_answer(conversation *c)
{
    if (c->n == 0 || c->messages[c->n - 1].role != CHAT_ASSISTANT) return false;
    remove_messages(c, c->n - 1, 1);
    return true;
}

void conversation_restart(conversation *c)
{
    size_t keep = n_system(c);
    remove_messages(c, keep, c->n - keep);
}

/* --- what to feed ------------------------------------------------------------------------------------------------------------- */

static yl_status write_down(const conversation *c, const chat_message *messages, size_t n, token_list *out, yl_error *err)
{
    char *text;
    size_t n_bytes;
    out->n = 0;
    yl_status status = chat_template_render(c->template, messages, n, &text, &n_bytes, err);
    if (status) return status;
    status = tokenizer_encode(c->s->t, out, text, n_bytes, TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL, err);
    free(text);
    return status;
}

/* Tokens of all messages and of the answer so far. */
static yl_status write_all_down(const conversation *c, token_list *out, yl_error *err)
{
    yl_status status = write_down(c, c->messages, c->n, out, err);
    for (size_t i = 0; !status && i < c->answer.n; i++) status = token_list_push(out, c->answer.data[i], err);
    return status;
}

/* Would the last question fit, if all turns before it were dropped? If not, none shall be dropped for it. */
static yl_status check_last_question(const conversation *c, token_list *out, yl_error *err)
{
    chat_message least[2] = {c->messages[0], c->messages[c->n - 1]};
    size_t first = n_system(c) ? 0 : 1;
    yl_status status = write_down(c, least + first, 2 - first, out, err);
    if (status || out->n < c->s->n_ctx) return status;
    return yl_fail(err, YL_ELIMIT, "this needs %zu tokens, the context has %u positions: say it shorter, or enlarge it with -c",
                   out->n + 1, (unsigned)c->s->n_ctx);
}

/* Takes away the oldest question and its answer. False: only the last question is left. */
static bool drop_oldest_turn(conversation *c)
{
    size_t begin = n_system(c);
    if (c->n < begin + 3) return false;
    remove_messages(c, begin, 2);
    return true;
}

/* Writes the conversation down so that there is room for an answer. When turns must go, as many go that a quarter is free again:
 * what is left has to be fed anew, and that should not happen for every token. */
static yl_status fit(conversation *c, token_list *out, yl_error *err)
{
    size_t n_ctx = c->s->n_ctx, least = n_ctx / 8 < 64 ? n_ctx / 8 : 64, n_dropped = 0;
    yl_status status = write_all_down(c, out, err);
    if (status || out->n + least <= n_ctx) return status;
    status = check_last_question(c, out, err);
    if (!status) status = write_all_down(c, out, err);
    while (!status && out->n > n_ctx - n_ctx / 4 && drop_oldest_turn(c)) {
        n_dropped++;
        status = write_all_down(c, out, err);
    }
    if (status) return status;
    if (n_dropped > 0)
        console_log(c->s->con, ENGINE_LOG_WARN,
                    "the context of %zu positions is full: the oldest %zu turns were dropped (-c enlarges it)", n_ctx, n_dropped);
    return YL_OK;
}

/* --- the answer --------------------------------------------------------------------------------------------------------------- */

static bool on_token(void *ctx, token_id token, bool is_end)
{
    conversation *c = ctx;
    c->n_sampled++;
    bool is_first = c->report && !c->report->has_first_token;
    if (is_first && speed_report_first_token(c->report, c->s->e, &c->token_error)) return false;
    if (is_end) return c->stream.shows_special ? answer_stream_put(&c->stream, token) : true;
    if (token_list_push(&c->answer, token, &c->token_error)) return false;
    return answer_stream_put(&c->stream, token);
}

static void on_prompt(void *ctx, size_t n_done, size_t n_prompt)
{
    conversation *c = ctx;
    console_progress(c->s->con, "reading", (double)n_done / (double)n_prompt);
}

static size_t common_prefix(const token_list *a, const token_list *b)
{
    size_t n = 0;
    while (n < a->n && n < b->n && a->data[n] == b->data[n]) n++;
    return n;
}

/* The sampler's history is the text so far; generate tells it of what is fed. */
static yl_status tell_sampler(conversation *c, const token_list *tokens, size_t n, yl_error *err)
{
    sampler_reset(c->sampler);
    yl_status status = YL_OK;
    for (size_t i = 0; !status && i < n; i++) status = sampler_accept(c->sampler, tokens->data[i], false, err);
    return status;
}

/* After a call of generate: the cache holds the first n_past of what was fed and of what was made. */
static yl_status remember_fed(conversation *c, token_list *tokens, size_t n_answer_before, yl_error *err)
{
    yl_status status = YL_OK;
    for (size_t i = n_answer_before; !status && i < c->answer.n; i++) status = token_list_push(tokens, c->answer.data[i], err);
    if (tokens->n > c->result.n_past) tokens->n = c->result.n_past;
    token_list old = c->fed;
    c->fed = *tokens;
    *tokens = old;
    return status;
}

/* An answer that needed several contexts is reported as one. */
static void add_up(generate_result *all, const generate_result *last)
{
    bool is_first = all->n_generated == 0;
    all->stop = last->stop;
    all->n_past = last->n_past;
    all->n_asked_again += last->n_asked_again;
    all->n_generated += last->n_generated;
    all->n_steps += last->n_steps;
    all->n_drafted += last->n_drafted;
    all->n_kept += last->n_kept;
    if (is_first) all->prompt_ms = last->prompt_ms;
    all->generate_ms += last->generate_ms + (is_first ? 0 : last->prompt_ms);
}

/* One run of generate: until the answer ends, or the context is full (result.stop says so). n_predict: tokens left to make, -1 any
 * number. */
static yl_status continue_answer(conversation *c, token_list *tokens, int64_t n_predict, yl_error *err)
{
    yl_status status = fit(c, tokens, err);
    if (status) return status;
    if (tokens->n >= c->s->n_ctx) {
        c->result.stop = GENERATE_STOP_CONTEXT;
        return YL_OK;
    }
    size_t n_answer_before = c->answer.n, n_past = common_prefix(&c->fed, tokens);
    if (n_past == tokens->n) n_past--; /* the last row must be computed to be answered */
    status = tell_sampler(c, tokens, n_past, err);
    if (status) return status;
    if (n_answer_before == 0) c->n_fed = tokens->n - n_past;
    generate_options how = {.n_past = (uint32_t)n_past,
                            .n_predict = n_predict,
                            .drafter = c->drafter,
                            .index = c->n_sampled,
                            .on_token = on_token,
                            .on_prompt = c->s->con->is_terminal_err ? on_prompt : NULL,
                            .ctx = c};
    generate_result result;
    status = generate(c->s->e, c->s->t, c->sampler, tokens->data + n_past, tokens->n - n_past, &how, &result, err);
    add_up(&c->result, &result);
    if (status && status != YL_ECANCELED) return status;
    yl_error memory_error;
    yl_status remembered = remember_fed(c, tokens, n_answer_before, &memory_error);
    if (!remembered) return status;
    *err = memory_error;
    return remembered;
}

/* Makes the answer, through as many contexts as it needs. */
static yl_status make_answer(conversation *c, token_list *tokens, yl_error *err)
{
    int64_t n_predict = c->s->o->n_predict < 0 ? -1 : c->s->o->n_predict;
    for (bool can_go_on = true; can_go_on;) {
        size_t n_before = c->answer.n;
        yl_status status = continue_answer(c, tokens, n_predict < 0 ? -1 : n_predict - (int64_t)n_before, err);
        if (status) return status;
        if (c->token_error.status) {
            *err = c->token_error;
            return err->status;
        }
        if (c->result.stop != GENERATE_STOP_CONTEXT) return YL_OK;
        can_go_on = c->answer.n > n_before && c->n >= n_system(c) + 3; /* there are turns to drop */
    }
    console_log(c->s->con, ENGINE_LOG_WARN, "the context of %u positions is full, so the answer ends here: enlarge it with -c",
                (unsigned)c->s->n_ctx);
    return YL_OK;
}

static yl_status keep_answer(conversation *c, yl_error *err)
{
    char *text;
    size_t n;
    yl_status status = tokenizer_decode(c->s->t, c->answer.data, c->answer.n, false, true, &text, &n, err);
    return status ? status : add_message(c, CHAT_ASSISTANT, text, err);
}

yl_status conversation_answer(conversation *c, yl_error *err)
{
    token_list tokens = {0};
    c->answer.n = 0;
    c->result = (generate_result){0};
    c->stream =
        (answer_stream){.con = c->s->con, .t = c->s->t, .shows_special = c->s->o->special, .skips_blanks = !c->s->o->special};
    yl_status status = make_answer(c, &tokens, err);
    token_list_clear(&tokens);
    answer_stream_end(&c->stream);
    console_end_line(c->s->con);
    bool is_nothing = (status == YL_ECANCELED || status == YL_ELIMIT) && c->answer.n == 0;
    if (is_nothing) remove_messages(c, c->n - 1, 1);
    if (is_nothing || (status && status != YL_ECANCELED)) return status;
    yl_error keep_error;
    yl_status kept = keep_answer(c, &keep_error);
    if (!kept) return status;
    *err = keep_error;
    return kept;
}
