/* text_input.c: reading a prompt, wherever it comes from. */
#include "text_input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Reads to the end in steps that double: a pipe does not say how much is coming. */
static yl_status read_all(text_input *out, int fd, const char *name, yl_error *err)
{
    size_t capacity = 1 << 16;
    for (*out = (text_input){0};;) {
        char *data = realloc(out->data, capacity + 1);
        if (!data) return yl_fail(err, YL_ENOMEM, "%s: no memory for its text", name);
        out->data = data;
        ssize_t n = read(fd, data + out->n_bytes, capacity - out->n_bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return yl_fail(err, YL_EIO, "%s: cannot be read: %s", name, strerror(errno));
        out->n_bytes += (size_t)n;
        data[out->n_bytes] = 0;
        if (n == 0) return YL_OK;
        if (out->n_bytes > TEXT_INPUT_MAX_BYTES) return yl_fail(err, YL_ELIMIT, "%s: a text of more than 1 GiB", name);
        if (out->n_bytes == capacity) capacity *= 2;
    }
}

yl_status text_input_read_file(text_input *out, const char *path, yl_error *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    const char *name = is_stdin ? "standard input" : path;
    *out = (text_input){0};
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return yl_fail(err, YL_EIO, "%s: cannot be opened: %s", name, strerror(errno));
    yl_status status = read_all(out, fd, name, err);
    if (!is_stdin) close(fd);
    if (status) {
        free(out->data);
        *out = (text_input){0};
    }
    return status;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

size_t text_input_unescape(char *text, size_t n_bytes)
{
    static const char letters[] = "nrt'\"\\", meanings[] = "\n\r\t'\"\\";
    size_t n = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        if (text[i] != '\\' || i + 1 == n_bytes) {
            text[n++] = text[i];
            continue;
        }
        char c = text[i + 1];
        const char *letter = c ? strchr(letters, c) : NULL;
        int high = c == 'x' && i + 3 < n_bytes ? hex_digit(text[i + 2]) : -1;
        int low = high >= 0 ? hex_digit(text[i + 3]) : -1;
        if (letter) {
            text[n++] = meanings[letter - letters];
            i += 1;
        } else if (low >= 0) {
            text[n++] = (char)(high * 16 + low);
            i += 3;
        } else {
            text[n++] = '\\';
        }
    }
    return n;
}

yl_status text_input_get(text_input *out, const options *o, text_input_end end, yl_error *err)
{
    *out = (text_input){0};
    yl_status status = YL_OK;
    if (o->prompt) {
        out->data = strdup(o->prompt);
        if (!out->data) return yl_fail(err, YL_ENOMEM, "no memory for the prompt");
        out->n_bytes = strlen(o->prompt);
    } else if (o->file || !isatty(STDIN_FILENO)) {
        status = text_input_read_file(out, o->file ? o->file : "-", err);
        bool ends_a_line = !status && out->n_bytes > 0 && out->data[out->n_bytes - 1] == '\n';
        if (ends_a_line && end == TEXT_INPUT_WITHOUT_LAST_NEWLINE) out->n_bytes--;
    } else {
        return yl_fail(err, YL_EINVAL, "there is no text: give it with -p TEXT, with -f FILE or through a pipe");
    }
    if (status) return status;
    if (o->escape) out->n_bytes = text_input_unescape(out->data, out->n_bytes);
    out->data[out->n_bytes] = 0;
    return YL_OK;
}
