/* line_reader.h: lines that a person types, or that come through a pipe.
 *
 * On a terminal lines are edited and remembered by libedit; the history is kept in $XDG_STATE_HOME/yllama/history, by default
 * ~/.local/state/yllama/history. A line that ends in a backslash goes on in the next one. */
#ifndef YL_LINE_READER_H
#define YL_LINE_READER_H

#include "console.h"
#include "status.h"

typedef struct line_reader line_reader;

/* con: its standard output is where the terminal echoes. while_idle is called a few times a second as long as nothing comes, for
 * a person may think for an hour; it must not block; NULL: nothing. YL_ENOMEM, YL_EIO (the terminal cannot be used). */
yl_status line_reader_new(line_reader **out, console *con, void (*while_idle)(void *ctx), void *ctx, yl_error *err);
void line_reader_free(line_reader *r); /* writes the history */

/* Is this a person at a terminal? */
bool line_reader_is_interactive(const line_reader *r);

typedef enum line_result { LINE_READ, LINE_END, LINE_INTERRUPTED, LINE_FAILED } line_result;
/* The next line, without its newline; valid until the next call. LINE_FAILED: no memory. */
line_result line_reader_next(line_reader *r, const char **line);

#endif
