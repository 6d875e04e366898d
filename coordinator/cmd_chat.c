/* cmd_chat.c: `yllama chat`: a conversation in the terminal, or over standard input, a line a message. */
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "conversation.h"
#include "interrupt.h"
#include "line_reader.h"
#include "session.h"
#include "speed_report.h"
#include "text_input.h"

typedef struct chat {
    session s;
    chat_template template;
    sampler *sampler;
    drafter *drafter; /* NULL: no drafts */
    conversation talk;
    line_reader *lines;
} chat;

/* --- the template ------------------------------------------------------------------------------------------------------------- */

static yl_status choose_template(chat *c, yl_error *err)
{
    const char *asked = c->s.o->chat_template;
    if (asked) {
        c->template = chat_template_named(asked);
        if (c->template) return YL_OK;
        return yl_fail(err, YL_EINVAL, "--chat-template: '%s' is none of llama3, llama2 and chatml", asked);
    }
    gguf_str jinja;
    yl_status status = gguf_get_str_or(c->s.g, "tokenizer.chat_template", "", &jinja, err);
    if (status) return status;
    c->template = chat_template_recognise(jinja.data, jinja.n_bytes);
    if (c->template) return YL_OK;
    if (jinja.n_bytes == 0)
        return yl_fail(
            err, YL_EUNSUPPORTED,
            "%s has no chat template, so it was hardly trained to converse: continue a text with `yllama run`, or choose "
            "--chat-template llama3, llama2 or chatml",
            c->s.o->model);
    return yl_fail(err, YL_EUNSUPPORTED,
                   "the chat template of %s is unknown (it is neither Llama 3's, Llama 2's nor ChatML): choose one with "
                   "--chat-template llama3, llama2 or chatml",
                   c->s.o->model);
}

static void warn_if_foreign(const chat *c)
{
    const char *mark = chat_template_mark(c->template);
    if (mark && tokenizer_find(c->s.t, mark, strlen(mark)) == TOKEN_NONE)
        console_log(c->s.con, ENGINE_LOG_WARN,
                    "'%s', which ends a turn in template %s, is no token of this model: answers will not end by themselves", mark,
                    chat_template_name(c->template));
}

/* --- a turn ------------------------------------------------------------------------------------------------------------------- */

/* Answers. An interrupt ends the answer; the program goes on if a person is there to go on with. */
static yl_status answer(chat *c, yl_error *err)
{
    speed_report report = {0};
    bool is_measured = c->s.con->level >= ENGINE_LOG_INFO;
    yl_status status = is_measured ? speed_report_begin(&report, c->s.e, err) : YL_OK;
    c->talk.report = is_measured ? &report : NULL;
    if (!status) status = conversation_answer(&c->talk, err);
    if (!status && is_measured)
        status = speed_report_end(&report, c->s.e, c->s.con, &c->talk.result, c->talk.n_fed, c->s.seed, err);
    speed_report_clear(&report);
    if (status == YL_ECANCELED && line_reader_is_interactive(c->lines) && !interrupt_is_final()) {
        interrupt_forget();
        engine_resume(c->s.e);
        return YL_OK;
    }
    if (status != YL_ELIMIT) return status ? status : console_check(c->s.con, err);
    console_log(c->s.con, ENGINE_LOG_ERROR, "%s", err->msg);
    return YL_OK;
}

static yl_status say(chat *c, const char *text, yl_error *err)
{
    yl_status status = conversation_say(&c->talk, text, err);
    return status ? status : answer(c, err);
}

static yl_status answer_again(chat *c, yl_error *err)
{
    if (conversation_take_back_answer(&c->talk)) return answer(c, err);
    console_note(c->s.con, "there is no answer yet");
    return YL_OK;
}

/* A line that begins with '/'. *is_over: the conversation ends. */
static yl_status obey(chat *c, const char *line, bool *is_over, yl_error *err)
{
    if (strcmp(line, "/exit") == 0 || strcmp(line, "/quit") == 0) {
        *is_over = true;
    } else if (strcmp(line, "/regen") == 0) {
        return answer_again(c, err);
    } else if (strcmp(line, "/clear") == 0) {
        conversation_restart(&c->talk);
        console_note(c->s.con, "the conversation begins anew");
    } else {
        if (strcmp(line, "/help") != 0) console_note(c->s.con, "%s is no command", line);
        console_note(c->s.con, "/regen   another answer to the last message");
        console_note(c->s.con, "/clear   forget the conversation (the system prompt stays)");
        console_note(c->s.con, "/exit    leave; Ctrl-D does so too. Ctrl-C stops an answer. \\ at the end of a line continues it.");
    }
    return YL_OK;
}

/* --- the loop ----------------------------------------------------------------------------------------------------------------- */

/* The next line. While a person types, Ctrl-C is no order to end; twice in a row it is. */
static line_result next_line(chat *c, const char **line)
{
    bool is_interactive = line_reader_is_interactive(c->lines);
    for (unsigned n_interrupts = 0;;) {
        if (is_interactive) interrupt_set_mode(INTERRUPT_IS_REMEMBERED);
        line_result result = line_reader_next(c->lines, line);
        interrupt_set_mode(INTERRUPT_CANCELS);
        if (result != LINE_INTERRUPTED || !is_interactive || interrupt_is_final()) return result;
        interrupt_forget();
        if (++n_interrupts == 2) return LINE_END;
        console_note(c->s.con, "(Ctrl-C again, or Ctrl-D, leaves)");
    }
}

static yl_status converse(chat *c, yl_error *err)
{
    for (bool is_over = false; !is_over && !c->s.con->is_closed;) {
        const char *line;
        switch (next_line(c, &line)) {
        case LINE_READ: break;
        case LINE_END: return YL_OK;
        case LINE_INTERRUPTED: return yl_fail(err, YL_ECANCELED, "interrupted");
        case LINE_FAILED: return yl_fail(err, YL_ENOMEM, "no memory for a line");
        }
        if (line[strspn(line, " \t\n")] == 0) continue;
        yl_status status = line[0] == '/' ? obey(c, line, &is_over, err) : say(c, line, err);
        if (status) return status;
    }
    return YL_OK;
}

static char *unescaped(const options *o, const char *text)
{
    char *copy = strdup(text);
    if (copy && o->escape) copy[text_input_unescape(copy, strlen(copy))] = 0;
    return copy;
}

static yl_status begin(chat *c, yl_error *err)
{
    const options *o = c->s.o;
    char *system = o->system_prompt ? unescaped(o, o->system_prompt) : NULL;
    if (o->system_prompt && !system) return yl_fail(err, YL_ENOMEM, "no memory for the system prompt");
    yl_status status = conversation_init(&c->talk, &c->s, c->template, c->sampler, c->drafter, system, err);
    free(system);
    if (status) return status;
    if (line_reader_is_interactive(c->lines)) console_note(c->s.con, "Say something; /help tells what else there is.");
    if (!o->prompt) return YL_OK;
    char *first = unescaped(o, o->prompt);
    if (!first) return yl_fail(err, YL_ENOMEM, "no memory for the prompt");
    status = say(c, first, err);
    free(first);
    return status;
}

/* Workers hear from us also while a person thinks. What is wrong with one is told when it is needed next. */
static void keep_workers(void *ctx)
{
    const chat *c = ctx;
    engine_poll(c->s.e, 0, NULL);
}

yl_status cmd_chat(const options *o, console *con, yl_error *err)
{
    chat c = {0};
    yl_status status = session_open_model(&c.s, o, con, err);
    if (!status) status = session_new_drafter(&c.s, &c.drafter, err);
    if (!status) status = session_begin(&c.s, err);
    if (!status) status = choose_template(&c, err);
    if (!status) status = session_new_sampler(&c.s, &c.sampler, err);
    if (!status) {
        warn_if_foreign(&c);
        status = session_start(&c.s, err);
    }
    if (!status) status = line_reader_new(&c.lines, con, keep_workers, &c, err);
    if (!status) status = begin(&c, err);
    if (!status) status = converse(&c, err);
    line_reader_free(c.lines);
    conversation_clear(&c.talk);
    sampler_free(c.sampler);
    drafter_free(c.drafter);
    session_close(&c.s);
    return status;
}
