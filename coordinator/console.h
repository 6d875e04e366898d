/* console.h: what a person sees: text on standard output, everything else on standard error, a log file if one is asked for.
 *
 * Text is written as it is made. Colours, and a line that shows progress, appear on terminals only. One thread. */
#ifndef YL_CONSOLE_H
#define YL_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "engine.h"
#include "status.h"

typedef struct console {
    engine_log_level level; /* lines up to this one go to standard error */
    FILE *log;              /* every line goes there, or NULL */
    bool is_terminal_out, is_terminal_err;
    bool has_color; /* of standard output */

    bool is_closed;     /* nobody reads standard output any more (`| head`) */
    yl_error out_error; /* why standard output could not be written, if not for that */
    bool ends_a_line;   /* the last byte on standard output was a newline, or there was none */

    double progress_begin_ms, progress_shown_ms; /* 0: none is running, nothing was shown yet */
} console;

typedef enum console_color { CONSOLE_PLAIN, CONSOLE_PROMPT, CONSOLE_MARK } console_color;

/* verbose: how often -v was given. log_path NULL: no log file. YL_EIO: it cannot be opened. */
yl_status console_init(console *c, unsigned verbose, const char *log_path, yl_error *err);
void console_clear(console *c);

/* Writes text to standard output at once. False: it cannot be written; console_check says why. */
bool console_write(console *c, const char *bytes, size_t n_bytes);
/* Formatted, likewise. */
bool console_print(console *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What is written from now on has this colour, if there are colours. */
void console_set_color(console *c, console_color color);
/* Begins a new line on standard output, unless it stands at one. */
void console_end_line(console *c);
/* YL_EIO if standard output could not be written. A reader that has left is no error: see is_closed. */
yl_status console_check(const console *c, yl_error *err);

/* A line about what is done. Errors and warnings are shown always, INFO by -v, DEBUG by -vv. */
void console_log(console *c, engine_log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A line that is always shown, as it is. */
void console_note(console *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Progress in [0, 1] of `what`. Shown on standard error, with the time that is left, if that is a terminal and it has taken more
 * than a second. */
void console_progress(console *c, const char *what, double fraction);
/* It is over: the line is taken away. Every other output does so too. */
void console_end_progress(console *c);

/* "1.5 GiB". buf: at least 32 bytes. Returns buf. */
char *console_format_bytes(char *buf, double n_bytes);

#endif
