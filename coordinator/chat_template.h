/* chat_template.h: how a conversation is written down for a model.
 *
 * Models learned conversations as text with marks between the turns, each family its own. A GGUF file carries the marks as a Jinja
 * program (tokenizer.chat_template). Three families are built in here and recognised in that program by their marks: Llama 3 to
 * 3.3, Llama 2 with its system block, and ChatML (Qwen, SmolLM, many fine-tunes). Formats:
 * https://github.com/meta-llama/llama-models (models/llama3_1/prompt_format.md), https://github.com/meta-llama/llama
 * (llama/generation.py, chat_completion), https://github.com/openai/openai-python/blob/v0.28.0/chatml.md. */
#ifndef YL_CHAT_TEMPLATE_H
#define YL_CHAT_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "status.h"

typedef enum chat_template {
    CHAT_TEMPLATE_UNKNOWN,
    CHAT_TEMPLATE_LLAMA3,
    CHAT_TEMPLATE_LLAMA2,
    CHAT_TEMPLATE_CHATML,
    CHAT_TEMPLATE_END
} chat_template;

/* "llama3"; "unknown". Static. */
const char *chat_template_name(chat_template t);
/* CHAT_TEMPLATE_UNKNOWN: there is no such name. */
chat_template chat_template_named(const char *name);
/* Which of the built-in templates a Jinja program is, judged by the marks it writes. Any bytes may be given. */
chat_template chat_template_recognise(const char *jinja, size_t n_bytes);

/* A mark that must be one token of the model's vocabulary for the template to make sense; NULL when the marks are plain text. */
const char *chat_template_mark(chat_template t);

typedef enum chat_role { CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT } chat_role;

typedef struct chat_message {
    chat_role role;
    const char *text; /* NUL-terminated, valid UTF-8 */
} chat_message;

/* Writes a conversation: a system message at most, as the first, then user and assistant in turn. When the last message is the
 * user's, the text ends where the assistant's answer begins. What the tokenizer puts in front of every text (BOS) is left to it.
 * *out: malloc'ed, NUL-terminated, *n_bytes long without the NUL. Requires a known template. YL_EINVAL: messages out of turn.
 * YL_ENOMEM. */
yl_status chat_template_render(chat_template t, const chat_message *messages, size_t n, char **out, size_t *n_bytes, yl_error *err);

#endif
