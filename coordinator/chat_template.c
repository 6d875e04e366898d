/* chat_template.c: three formats, each a loop over messages. */
#include "chat_template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[CHAT_TEMPLATE_END] = {
    [CHAT_TEMPLATE_UNKNOWN] = "unknown",
    [CHAT_TEMPLATE_LLAMA3] = "llama3",
    [CHAT_TEMPLATE_LLAMA2] = "llama2",
    [CHAT_TEMPLATE_CHATML] = "chatml",
};

static const char *const role_names[] = {[CHAT_SYSTEM] = "system", [CHAT_USER] = "user", [CHAT_ASSISTANT] = "assistant"};

const char *chat_template_name(chat_template t)
{
    return names[t];
}

chat_template chat_template_named(const char *name)
{
    for (chat_template t = CHAT_TEMPLATE_UNKNOWN + 1; t < CHAT_TEMPLATE_END; t++)
        if (strcmp(name, names[t]) == 0) return t;
    return CHAT_TEMPLATE_UNKNOWN;
}

static bool has(const char *jinja, size_t n_bytes, const char *mark)
{
    return n_bytes > 0 && memmem(jinja, n_bytes, mark, strlen(mark)) != NULL;
}

chat_template chat_template_recognise(const char *jinja, size_t n_bytes)
{
    if (has(jinja, n_bytes, "<|start_header_id|>") && has(jinja, n_bytes, "<|eot_id|>")) return CHAT_TEMPLATE_LLAMA3;
    /* Phi-4 and SmolVLM begin turns with ChatML's mark and go on otherwise. */
    bool is_like_chatml = has(jinja, n_bytes, "<|im_sep|>") || has(jinja, n_bytes, "<end_of_utterance>");
    if (has(jinja, n_bytes, "<|im_start|>") && has(jinja, n_bytes, "<|im_end|>") && !is_like_chatml) return CHAT_TEMPLATE_CHATML;
    /* Mistral's templates have [INST] too, with other blanks and without a system block. */
    if (has(jinja, n_bytes, "[INST]") && has(jinja, n_bytes, "<<SYS>>")) return CHAT_TEMPLATE_LLAMA2;
    return CHAT_TEMPLATE_UNKNOWN;
}

const char *chat_template_mark(chat_template t)
{
    switch (t) {
    case CHAT_TEMPLATE_LLAMA3: return "<|eot_id|>";
    case CHAT_TEMPLATE_CHATML: return "<|im_end|>";
    default: return NULL;
    }
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Writes text without the white space before or behind it. */
static void write_trimmed(FILE *f, const char *text)
{
    while (is_blank(*text)) text++;
    size_t n = strlen(text);
    while (n > 0 && is_blank(text[n - 1])) n--;
    fwrite(text, 1, n, f);
}

static yl_status check_turns(const chat_message *messages, size_t n, yl_error *err)
{
    size_t n_system = n > 0 && messages[0].role == CHAT_SYSTEM;
    for (size_t i = n_system; i < n; i++) {
        chat_role expected = (i - n_system) % 2 == 0 ? CHAT_USER : CHAT_ASSISTANT;
        if (messages[i].role != expected)
            return yl_fail(err, YL_EINVAL, "message %zu is the %s's, but it is the %s's turn", i + 1, role_names[messages[i].role],
                           role_names[expected]);
    }
    return YL_OK;
}

static bool awaits_answer(const chat_message *messages, size_t n)
{
    return n > 0 && messages[n - 1].role == CHAT_USER;
}

static void write_llama3(FILE *f, const chat_message *messages, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        fprintf(f, "<|start_header_id|>%s<|end_header_id|>\n\n", role_names[messages[i].role]);
        write_trimmed(f, messages[i].text);
        fputs("<|eot_id|>", f);
    }
    if (awaits_answer(messages, n)) fputs("<|start_header_id|>assistant<|end_header_id|>\n\n", f);
}

static void write_chatml(FILE *f, const chat_message *messages, size_t n)
{
    for (size_t i = 0; i < n; i++) fprintf(f, "<|im_start|>%s\n%s<|im_end|>\n", role_names[messages[i].role], messages[i].text);
    if (awaits_answer(messages, n)) fputs("<|im_start|>assistant\n", f);
}

/* The first user turn holds the system block, and is trimmed with it as one text. */
static void write_llama2_opening(FILE *f, const char *system, const char *text)
{
    if (!system) {
        write_trimmed(f, text);
        return;
    }
    fprintf(f, "<<SYS>>\n%s\n<</SYS>>\n\n", system);
    size_t n = strlen(text);
    while (n > 0 && is_blank(text[n - 1])) n--;
    fwrite(text, 1, n, f);
}

/* Each user turn begins with <s>, but the first: that one is the tokenizer's. */
static void write_llama2(FILE *f, const chat_message *messages, size_t n)
{
    size_t first = n > 0 && messages[0].role == CHAT_SYSTEM;
    for (size_t i = first; i < n; i++) {
        if (messages[i].role == CHAT_ASSISTANT) {
            fputc(' ', f);
            write_trimmed(f, messages[i].text);
            fputs(" </s>", f);
            continue;
        }
        fputs(i > first ? "<s>[INST] " : "[INST] ", f);
        if (i == first)
            write_llama2_opening(f, first ? messages[0].text : NULL, messages[i].text);
        else
            write_trimmed(f, messages[i].text);
        fputs(" [/INST]", f);
    }
}

yl_status chat_template_render(chat_template t, const chat_message *messages, size_t n, char **out, size_t *n_bytes, yl_error *err)
{
    *out = NULL;
    yl_status status = check_turns(messages, n, err);
    if (status) return status;
    FILE *f = open_memstream(out, n_bytes);
    if (!f) return yl_fail(err, YL_ENOMEM, "no memory for a conversation");
    switch (t) {
    case CHAT_TEMPLATE_LLAMA3: write_llama3(f, messages, n); break;
    case CHAT_TEMPLATE_LLAMA2: write_llama2(f, messages, n); break;
    case CHAT_TEMPLATE_CHATML: write_chatml(f, messages, n); break;
    default: break;
    }
    bool is_whole = !ferror(f);
    if (fclose(f) != 0) is_whole = false;
    if (is_whole) return YL_OK;
    free(*out);
    *out = NULL;
    return yl_fail(err, YL_ENOMEM, "no memory for a conversation");
}
