/* line_reader.c: libedit for terminals, a byte at a time for everything else.
 *
 * Both wait by poll() before they read, so that whoever waits with us has its turns. Nothing is read ahead: poll() would not know
 * of bytes in a buffer of ours. */
#include "line_reader.h"

#include <errno.h>
#include <histedit.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include "interrupt.h"

enum { HISTORY_LINES = 1000, IDLE_MS = 250 };

struct line_reader {
    console *con;
    void (*while_idle)(void *ctx);
    void *ctx;
    EditLine *edit; /* NULL: no terminal */
    History *history;
    char history_path[PATH_MAX]; /* "": none is kept */
    bool continues;              /* the line being typed is a second one */
    char *line;                  /* what was read so far, without continuation marks */
    size_t n_line, capacity;
};

/* Waits until a byte can be read, or the end. False: a signal came. */
static bool wait_for_input(const line_reader *r)
{
    for (;;) {
        struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
        int n = poll(&in, 1, r->while_idle ? IDLE_MS : -1);
        if (n > 0) return true;
        if (n < 0) return errno != EINTR; /* what else may be wrong, reading tells */
        r->while_idle(r->ctx);
    }
}

/* -1: an error or a signal; 0: the end. */
static ssize_t read_byte(const line_reader *r, char *byte)
{
    return wait_for_input(r) ? read(STDIN_FILENO, byte, 1) : -1;
}

/* libedit's way to read a character; the bytes of one come together. */
static int read_character(EditLine *edit, wchar_t *character)
{
    line_reader *r;
    if (el_get(edit, EL_CLIENTDATA, &r) != 0) return -1;
    mbstate_t state = {0};
    for (;;) {
        char byte;
        ssize_t n = read_byte(r, &byte);
        if (n <= 0) return (int)n;
        size_t result = mbrtowc(character, &byte, 1, &state);
        if (result == (size_t)-2) continue; /* more bytes belong to it */
        if (result != (size_t)-1) return 1;
        memset(&state, 0, sizeof state); /* not a character: left out */
    }
}

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
    el_set(r->edit, EL_GETCFN, read_character);
    el_set(r->edit, EL_PROMPT_ESC, prompt_mark, '\1');
    el_set(r->edit, EL_EDITOR, "emacs");
    el_set(r->edit, EL_SIGNAL, 0);
    el_set(r->edit, EL_HIST, history, r->history);
    el_source(r->edit, NULL);
    find_history_path(r);
    if (r->history_path[0]) history(r->history, &event, H_LOAD, r->history_path);
    return YL_OK;
}

yl_status line_reader_new(line_reader **out, console *con, void (*while_idle)(void *ctx), void *ctx, yl_error *err)
{
    *out = NULL;
    line_reader *r = calloc(1, sizeof *r);
    if (!r) return yl_fail(err, YL_ENOMEM, "no memory to read lines");
    r->con = con;
    r->while_idle = while_idle;
    r->ctx = ctx;
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
    free(r);
}

bool line_reader_is_interactive(const line_reader *r)
{
    return r->edit != NULL;
}

/* Appends n bytes to the line, which stays terminated. */
static bool append(line_reader *r, const char *text, size_t n)
{
    if (r->capacity - r->n_line < n + 1) {
        size_t capacity = 2 * (r->n_line + n + 1);
        char *line = realloc(r->line, capacity);
        if (!line) return false;
        r->line = line;
        r->capacity = capacity;
    }
    memcpy(r->line + r->n_line, text, n);
    r->n_line += n;
    r->line[r->n_line] = 0;
    return true;
}

/* Takes the line's end away. A backslash there becomes a newline, and more is wanted. */
static bool continues_at_end(line_reader *r)
{
    if (r->n_line > 0 && r->line[r->n_line - 1] == '\n') r->n_line--;
    if (r->n_line > 0 && r->line[r->n_line - 1] == '\r') r->n_line--;
    bool wants_more = r->n_line > 0 && r->line[r->n_line - 1] == '\\';
    if (wants_more) r->line[r->n_line - 1] = '\n';
    r->line[r->n_line] = 0;
    return wants_more;
}

static line_result read_typed(line_reader *r)
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
    return append(r, text, (size_t)n) ? LINE_READ : LINE_FAILED;
}

/* To the newline, or to the end of a last line that has none. */
static line_result read_piped(line_reader *r)
{
    char byte = 0;
    size_t begin = r->n_line;
    while (byte != '\n') {
        ssize_t n = read_byte(r, &byte);
        if (interrupt_came()) return LINE_INTERRUPTED;
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return r->n_line > begin ? LINE_READ : LINE_END;
        if (!append(r, &byte, 1)) return LINE_FAILED;
    }
    return LINE_READ;
}

line_result line_reader_next(line_reader *r, const char **line)
{
    r->n_line = 0;
    r->continues = false;
    for (;;) {
        line_result result = r->edit ? read_typed(r) : read_piped(r);
        if (result == LINE_END && r->continues) break; /* what was typed before the end counts */
        if (result != LINE_READ) return result;
        if (!continues_at_end(r)) break;
        r->continues = true;
    }
    *line = r->line;
    return LINE_READ;
}
