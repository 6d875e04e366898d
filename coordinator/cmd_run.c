/* cmd_run.c: `yllama run`: a prompt, continued by the model. */
#include <stdlib.h>

#include "answer_stream.h"
#include "command.h"
#include "generate.h"
#include "interrupt.h"
#include "session.h"
#include "speed_report.h"
#include "text_input.h"

typedef struct run {
    session s;
    token_list prompt;
    sampler *sampler;
    drafter *drafter; /* NULL: no drafts */
    answer_stream stream;
    speed_report report;
    yl_error report_error; /* of a callback, which can only say "stop" */
} run;

/* Reads the prompt, which may take its time, then lets workers load while it is cut into tokens. */
static yl_status begin(run *r, yl_error *err)
{
    text_input text = {0};
    yl_status status = text_input_get(&text, r->s.o, TEXT_INPUT_WITHOUT_LAST_NEWLINE, err);
    if (!status) status = session_begin(&r->s, err);
    if (!status)
        status = tokenizer_encode(r->s.t, &r->prompt, text.data, text.n_bytes, TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL, err);
    free(text.data);
    return status ? status : session_check_prompt(&r->s, r->prompt.n, err);
}

/* The prompt as the model sees it: text that came through tokens. */
static yl_status show_prompt(run *r, yl_error *err)
{
    if (!r->s.o->display_prompt) return YL_OK;
    char *text;
    size_t n;
    yl_status status = tokenizer_decode(r->s.t, r->prompt.data, r->prompt.n, r->s.o->special, true, &text, &n, err);
    if (status) return status;
    console_set_color(r->s.con, CONSOLE_PROMPT);
    console_write(r->s.con, text, n);
    console_set_color(r->s.con, CONSOLE_PLAIN);
    free(text);
    return console_check(r->s.con, err);
}

static bool on_token(void *ctx, token_id token, bool is_end)
{
    run *r = ctx;
    if (!r->report.has_first_token && speed_report_first_token(&r->report, r->s.e, &r->report_error)) return false;
    if (is_end && !r->s.o->special) return true;
    return answer_stream_put(&r->stream, token);
}

static void on_prompt(void *ctx, size_t n_done, size_t n_prompt)
{
    run *r = ctx;
    console_progress(r->s.con, "reading the prompt", (double)n_done / (double)n_prompt);
}

/* What is left to say when the answer is over, however it ended. */
static yl_status finish(run *r, yl_status status, const generate_result *result, yl_error *err)
{
    answer_stream_end(&r->stream);
    console_end_line(r->s.con);
    if (status && status != YL_ECANCELED) return status;
    if (r->report_error.status) {
        *err = r->report_error;
        return err->status;
    }
    yl_status written = console_check(r->s.con, err);
    if (written || r->s.con->is_closed) return written;
    if (result->stop == GENERATE_STOP_CONTEXT)
        console_log(r->s.con, ENGINE_LOG_WARN, "the context of %u positions is full, so the answer ends here: enlarge it with -c",
                    (unsigned)r->s.n_ctx);
    if (status == YL_ECANCELED) engine_resume(r->s.e);
    yl_error report_err;
    yl_status reported = speed_report_end(&r->report, r->s.e, r->s.con, result, r->prompt.n, r->s.seed, &report_err);
    if (reported && !status) {
        *err = report_err;
        return reported;
    }
    return status;
}

static yl_status answer(run *r, yl_error *err)
{
    generate_options how = {.n_predict = r->s.o->n_predict < 0 ? -1 : r->s.o->n_predict,
                            .drafter = r->drafter,
                            .on_token = on_token,
                            .on_prompt = r->s.con->is_terminal_err ? on_prompt : NULL,
                            .ctx = r};
    generate_result result;
    yl_status status = speed_report_begin(&r->report, r->s.e, err);
    if (!status) status = show_prompt(r, err);
    if (status || r->s.con->is_closed) return status;
    status = generate(r->s.e, r->s.t, r->sampler, r->prompt.data, r->prompt.n, &how, &result, err);
    return finish(r, status, &result, err);
}

yl_status cmd_run(const options *o, console *c, yl_error *err)
{
    run r = {0};
    yl_status status = session_open_model(&r.s, o, c, err);
    if (!status) status = session_new_drafter(&r.s, &r.drafter, err);
    if (!status) status = begin(&r, err);
    if (!status) status = session_new_sampler(&r.s, &r.sampler, err);
    if (!status) status = session_start(&r.s, err);
    if (!status) {
        r.stream = (answer_stream){.con = c, .t = r.s.t, .shows_special = o->special};
        status = answer(&r, err);
    }
    speed_report_clear(&r.report);
    sampler_free(r.sampler);
    drafter_free(r.drafter);
    token_list_clear(&r.prompt);
    session_close(&r.s);
    return status;
}
