/* line_reader.c: libedit for terminals, getline for everything else. */
#include "line_reader.h"

#include <errno.h>
#include <histedit.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "interrupt.h"

enum { HISTORY_LINES = 1000 };

struct line_reader {
    console *con;
    EditLine *edit; /* NULL: no terminal */
    History *history;
    char history_path[PATH_MAX]; /* "": none is kept */
    bool continues;              /* the line being typed is a second one */
    char *line;                  /* what was read so far, without continuation marks */
    size_t n_line;
    char *raw; /* getline's */
    size_t n_raw;
};

/* Makes the directories of a path, the last part excepted. False: one cannot be made. */
static bool make_directories(const char *path)
{
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%s", path);
    for (char *slash = strchr(dir + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(dir, 0700) != 0 && errno != EEXIST) return false;
        *slash = '/';
    }
    return true;
}

static void find_history_path(line_reader *r)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (state && *state == '/')
        n = snprintf(r->history_path, sizeof r->history_path, "%s/yllama/history", state);
    else if (home && *home == '/')
        n = snprintf(r->history_path, sizeof r->history_path, "%s/.local/state/yllama/history", home);
    if (n < 0 || (size_t)n >= sizeof r->history_path || !make_directories(r->history_path)) r->history_path[0] = 0;
}

static char *prompt_mark(EditLine *edit)
{
    static char mark[] = "> ", colored[] = "\1\033[1;32m\1>\1\033[0m\1 ", further[] = "  ";
    line_reader *r;
    if (el_get(edit, EL_CLIENTDATA, &r) != 0) return mark;
    return r->continues ? further : r->con->has_color ? colored : mark;
}

static yl_status open_terminal(line_reader *r, yl_error *err)
{
    HistEvent event;
    r->edit = el_init("yllama", stdin, stdout, stderr);
    r->history = history_init();
    if (!r->edit || !r->history) return yl_fail(err, YL_EIO, "the terminal cannot be used for typing (TERM=%s)", getenv("TERM"));
    history(r->history, &event, H_SETSIZE, HISTORY_LINES);
    history(r->history, &event, H_SETUNIQUE, 1);
    el_set(r->edit, EL_CLIENTDATA, r);
    el_set(r->edit, EL_PROMPT_ESC, prompt_mark, '\1');
    el_set(r->edit, EL_EDITOR, "emacs");
    el_set(r->edit, EL_SIGNAL, 0);
    el_set(r->edit, EL_HIST, history, r->history);
    el_source(r->edit, NULL);
    find_history_path(r);
    if (r->history_path[0]) history(r->history, &event, H_LOAD, r->history_path);
    return YL_OK;
}

yl_status line_reader_new(line_reader **out, console *con, yl_error *err)
{
    *out = NULL;
    line_reader *r = calloc(1, sizeof *r);
    if (!r) return yl_fail(err, YL_ENOMEM, "no memory to read lines");
    r->con = con;
    yl_status status = isatty(STDIN_FILENO) && con->is_terminal_out ? open_terminal(r, err) : YL_OK;
    if (status) {
        line_reader_free(r);
        return status;
    }
    *out = r;
    return YL_OK;
}

static void save_history(line_reader *r)
{
    HistEvent event;
    mode_t mask = umask(077); /* what people tell a model is theirs */
    history(r->history, &event, H_SAVE, r->history_path);
    umask(mask);
}

void line_reader_free(line_reader *r)
{
    if (!r) return;
    if (r->history && r->history_path[0]) save_history(r);
    if (r->edit) el_end(r->edit);
    if (r->history) history_end(r->history);
    free(r->line);
    free(r->raw);
    free(r);
}

bool line_reader_is_interactive(const line_reader *r)
{
    return r->edit != NULL;
}

/* Appends to the line; a backslash at its end is taken away and asks for more. */
static line_result append(line_reader *r, const char *text, size_t n, bool *wants_more)
{
    if (n > 0 && text[n - 1] == '\n') n--;
    if (n > 0 && text[n - 1] == '\r') n--;
    *wants_more = n > 0 && text[n - 1] == '\\';
    if (*wants_more) n--;
    char *line = realloc(r->line, r->n_line + n + 2);
    if (!line) return LINE_FAILED;
    r->line = line;
    memcpy(line + r->n_line, text, n);
    r->n_line += n;
    if (*wants_more) line[r->n_line++] = '\n';
    line[r->n_line] = 0;
    return LINE_READ;
}

static line_result read_typed(line_reader *r, bool *wants_more)
{
    int n = 0;
    const char *text = el_gets(r->edit, &n);
    if (interrupt_came()) {
        console_write(r->con, "\n", 1);
        el_reset(r->edit);
        return LINE_INTERRUPTED;
    }
    if (!text || n <= 0) return LINE_END;
    HistEvent event;
    if (strspn(text, " \n") < (size_t)n) history(r->history, &event, H_ENTER, text);
    r->con->ends_a_line = true;
    return append(r, text, (size_t)n, wants_more);
}

static line_result read_piped(line_reader *r, bool *wants_more)
{
    ssize_t n = getline(&r->raw, &r->n_raw, stdin);
    if (interrupt_came()) return LINE_INTERRUPTED;
    if (n < 0) return LINE_END;
    return append(r, r->raw, (size_t)n, wants_more);
}

line_result line_reader_next(line_reader *r, const char **line)
{
    r->n_line = 0;
    r->continues = false;
    for (bool wants_more = false;;) {
        line_result result = r->edit ? read_typed(r, &wants_more) : read_piped(r, &wants_more);
        if (result == LINE_END && r->continues) break; /* what was typed before the end counts */
        if (result != LINE_READ) return result;
        if (!wants_more) break;
        r->continues = true;
    }
    *line = r->line;
    return LINE_READ;
}
