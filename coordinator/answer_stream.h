/* answer_stream.h: tokens become text on standard output as they are made, never half a character. */
#ifndef YL_ANSWER_STREAM_H
#define YL_ANSWER_STREAM_H

#include "console.h"
#include "tokenizer.h"

typedef struct answer_stream {
    console *con;
    const tokenizer *t;
    bool shows_special;
    bool skips_blanks; /* until the first character that is none: a chat answer's leading space is not its text */
    utf8_stream utf8;
} answer_stream;

/* Writes what the token completes. False: standard output cannot be written, or no memory (console_check says which). */
bool answer_stream_put(answer_stream *a, token_id token);
/* The answer is over: a character that never became whole is shown as U+FFFD. */
void answer_stream_end(answer_stream *a);

#endif
