/* text_input.h: texts that a user hands in: as an argument, in a file, through a pipe. */
#ifndef YL_TEXT_INPUT_H
#define YL_TEXT_INPUT_H

#include <stddef.h>

#include "options.h"
#include "status.h"

enum { TEXT_INPUT_MAX_BYTES = 1 << 30 };

/* Bytes, NUL-terminated for convenience (they may hold NULs), owned by the caller: free(data). */
typedef struct text_input {
    char *data;
    size_t n_bytes;
} text_input;

/* Whole content of a file; "-" is standard input. YL_EIO, YL_ELIMIT (over TEXT_INPUT_MAX_BYTES), YL_ENOMEM. */
yl_status text_input_read_file(text_input *out, const char *path, yl_error *err);

/* Replaces escapes as llama.cpp does: \n \r \t \' \" \\ \x41; any other backslash stays. Works in place, returns the new length. */
size_t text_input_unescape(char *text, size_t n_bytes);

typedef enum text_input_end { TEXT_INPUT_WHOLE, TEXT_INPUT_WITHOUT_LAST_NEWLINE } text_input_end;

/* The text that a command is about: -p or the argument, else the file of -f, else standard input unless that is a terminal; with
 * escapes replaced if o->escape. `end`: what becomes of a newline at the end of a file (llama.cpp takes it away from prompts).
 * YL_EINVAL: there is none. */
yl_status text_input_get(text_input *out, const options *o, text_input_end end, yl_error *err);

#endif
