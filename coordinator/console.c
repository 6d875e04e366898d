/* console.c: standard output and standard error of a program that is used by people and by pipes. */
#include "console.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PROGRESS_AFTER_MS = 1000, PROGRESS_EVERY_MS = 100 };

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

yl_status console_init(console *c, unsigned verbose, const char *log_path, yl_error *err)
{
    *c = (console){.level = verbose >= 2   ? ENGINE_LOG_DEBUG
                            : verbose == 1 ? ENGINE_LOG_INFO
                                           : ENGINE_LOG_WARN,
                   .ends_a_line = true};
    c->is_terminal_out = isatty(STDOUT_FILENO) == 1;
    c->is_terminal_err = isatty(STDERR_FILENO) == 1;
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR"); /* https://no-color.org */
    c->has_color = c->is_terminal_out && term && strcmp(term, "dumb") != 0 && !(no_color && *no_color);
    if (!log_path) return YL_OK;
    c->log = fopen(log_path, "ae");
    if (!c->log) return yl_fail(err, YL_EIO, "%s: cannot be opened as log file: %s", log_path, strerror(errno));
    setvbuf(c->log, NULL, _IOLBF, 0);
    return YL_OK;
}

void console_clear(console *c)
{
    console_end_progress(c);
    if (c->log) fclose(c->log);
    c->log = NULL;
}

/* --- standard output ---------------------------------------------------------------------------------------------------------- */

static bool write_whole(console *c, const char *bytes, size_t n_bytes)
{
    while (n_bytes > 0) {
        ssize_t n = write(STDOUT_FILENO, bytes, n_bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EPIPE) {
            c->is_closed = true;
            return false;
        }
        if (n < 0) {
            yl_fail(&c->out_error, YL_EIO, "standard output cannot be written: %s", strerror(errno));
            return false;
        }
        bytes += n;
        n_bytes -= (size_t)n;
    }
    return true;
}

bool console_write(console *c, const char *bytes, size_t n_bytes)
{
    if (c->is_closed || c->out_error.status) return false;
    if (n_bytes == 0) return true;
    console_end_progress(c);
    c->ends_a_line = bytes[n_bytes - 1] == '\n';
    return write_whole(c, bytes, n_bytes);
}

bool console_print(console *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text;
    int n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0) {
        yl_fail(&c->out_error, YL_ENOMEM, "no memory for output");
        return false;
    }
    bool is_written = console_write(c, text, (size_t)n);
    free(text);
    return is_written;
}

void console_set_color(console *c, console_color color)
{
    static const char *const codes[] = {[CONSOLE_PLAIN] = "\033[0m", [CONSOLE_PROMPT] = "\033[33m", [CONSOLE_MARK] = "\033[1;32m"};
    if (c->has_color && !c->is_closed) write_whole(c, codes[color], strlen(codes[color]));
}

void console_end_line(console *c)
{
    if (!c->ends_a_line) console_write(c, "\n", 1);
}

yl_status console_check(const console *c, yl_error *err)
{
    return c->out_error.status ? yl_fail(err, c->out_error.status, "%s", c->out_error.msg) : YL_OK;
}

/* --- standard error and the log ----------------------------------------------------------------------------------------------- */

static const char *const level_names[] = {
    [ENGINE_LOG_ERROR] = "error", [ENGINE_LOG_WARN] = "warning", [ENGINE_LOG_INFO] = "info", [ENGINE_LOG_DEBUG] = "debug"};

static void write_to_log(console *c, const char *level, const char *line)
{
    if (!c->log) return;
    struct timespec t;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &t);
    localtime_r(&t.tv_sec, &parts);
    char stamp[32];
    strftime(stamp, sizeof stamp, "%F %T", &parts);
    fprintf(c->log, "%s.%03ld yllama: %s: %s\n", stamp, t.tv_nsec / 1000000, level, line);
}

/* Standard error on a terminal continues below what standard output left unfinished. */
static void write_to_stderr(console *c, const char *level, const char *line)
{
    console_end_progress(c);
    if (c->is_terminal_out && c->is_terminal_err) console_end_line(c);
    if (level)
        fprintf(stderr, "yllama: %s: %s\n", level, line);
    else
        fprintf(stderr, "%s\n", line);
}

void console_log(console *c, engine_log_level level, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    write_to_log(c, level_names[level], line);
    if (level <= c->level) write_to_stderr(c, level_names[level], line);
}

void console_note(console *c, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    write_to_log(c, "note", line);
    write_to_stderr(c, NULL, line);
}

void console_progress(console *c, const char *what, double fraction)
{
    if (!c->is_terminal_err) return;
    double now = now_ms();
    if (c->progress_begin_ms == 0) c->progress_begin_ms = now;
    if (now - c->progress_begin_ms < PROGRESS_AFTER_MS || now - c->progress_shown_ms < PROGRESS_EVERY_MS) return;
    c->progress_shown_ms = now;
    fprintf(stderr, "\r\033[K%s: %3.0f %%", what, fraction * 100);
    if (fraction > 0 && fraction < 1)
        fprintf(stderr, ", %.0f s left", ceil((now - c->progress_begin_ms) / 1e3 * (1 - fraction) / fraction));
    fflush(stderr);
}

void console_end_progress(console *c)
{
    if (c->progress_shown_ms > 0) fputs("\r\033[K", stderr);
    c->progress_begin_ms = c->progress_shown_ms = 0;
}

char *console_format_bytes(char *buf, double n_bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    while (n_bytes >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        n_bytes /= 1024;
        unit++;
    }
    snprintf(buf, 32, unit == 0 || n_bytes >= 100 ? "%.0f %s" : n_bytes >= 10 ? "%.1f %s" : "%.2f %s", n_bytes, units[unit]);
    return buf;
}
