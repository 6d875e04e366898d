/* cmd_logits.c: `yllama logits`: every logit of every position, for holding this program against others.
 *
 * Rows are written as they come. The file appears under its name only when it is whole: until then it is beside it under another.
 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "session.h"
#include "text_input.h"

typedef struct logits_file {
    const char *path;
    char temporary[PATH_MAX]; /* "": written in place, because it is no ordinary file (a pipe, /dev/null) */
    FILE *f;
} logits_file;

typedef struct row_writer {
    session *s;
    logits_file *file;
    size_t n_rows, n_written;
} row_writer;

/* --- the file ----------------------------------------------------------------------------------------------------------------- */

static yl_status file_failed(const logits_file *file, const char *what, yl_error *err)
{
    return yl_fail(err, YL_EIO, "%s: %s: %s", file->path, what, strerror(errno));
}

static yl_status open_temporary(logits_file *file, yl_error *err)
{
    int n = snprintf(file->temporary, sizeof file->temporary, "%s.XXXXXX", file->path);
    if (n < 0 || (size_t)n >= sizeof file->temporary) return yl_fail(err, YL_EINVAL, "the name given to -o is too long");
    int fd = mkstemp(file->temporary);
    if (fd < 0) {
        file->temporary[0] = 0;
        return file_failed(file, "cannot be written", err);
    }
    mode_t mask = umask(0); /* mkstemp allows the owner alone; a result is like any other file */
    umask(mask);
    fchmod(fd, 0666 & ~mask);
    file->f = fdopen(fd, "wb");
    return file->f ? YL_OK : file_failed(file, "cannot be written", err);
}

static yl_status open_file(logits_file *file, const char *path, yl_error *err)
{
    *file = (logits_file){.path = path};
    struct stat st;
    bool is_ordinary = stat(path, &st) != 0 || S_ISREG(st.st_mode);
    if (strcmp(path, "-") == 0) {
        if (isatty(STDOUT_FILENO)) return yl_fail(err, YL_EINVAL, "logits are no text for a terminal: name a file with -o");
        file->path = "standard output";
        file->f = fdopen(dup(STDOUT_FILENO), "wb");
    } else if (is_ordinary) {
        return open_temporary(file, err);
    } else {
        file->f = fopen(path, "wbe");
    }
    return file->f ? YL_OK : file_failed(file, "cannot be written", err);
}

static yl_status commit_file(logits_file *file, yl_error *err)
{
    bool is_whole = fflush(file->f) == 0;
    if (fclose(file->f) != 0) is_whole = false;
    file->f = NULL;
    if (!is_whole) return file_failed(file, "cannot be written", err);
    if (file->temporary[0] && rename(file->temporary, file->path) != 0) return file_failed(file, "cannot be put in place", err);
    file->temporary[0] = 0;
    return YL_OK;
}

static void drop_file(logits_file *file)
{
    if (file->f) fclose(file->f);
    if (file->temporary[0]) unlink(file->temporary);
}

/* --- the tokens --------------------------------------------------------------------------------------------------------------- */

static yl_status parse_ids(token_list *out, const char *text, uint32_t n_vocab, yl_error *err)
{
    for (const char *at = text;;) {
        while (isspace((unsigned char)*at) || *at == ',' || *at == '[' || *at == ']') at++;
        if (!*at) return YL_OK;
        size_t n = strspn(at, "0123456789");
        bool is_apart = !at[n] || isspace((unsigned char)at[n]) || at[n] == ',' || at[n] == ']';
        errno = 0;
        long id = strtol(at, NULL, 10);
        if (n == 0 || !is_apart || errno) return yl_fail(err, YL_EINVAL, "--tokens: '%.20s' is not a token id", at);
        if (id >= (long)n_vocab)
            return yl_fail(err, YL_EINVAL, "--tokens: %ld is no token of this model, the last one is %u", id,
                           (unsigned)n_vocab - 1);
        yl_status status = token_list_push(out, (token_id)id, err);
        if (status) return status;
        at += n;
    }
}

static yl_status get_tokens(token_list *out, const session *s, yl_error *err)
{
    if (s->o->tokens) return parse_ids(out, s->o->tokens, s->hp.n_vocab, err);
    text_input text;
    yl_status status = text_input_get(&text, s->o, TEXT_INPUT_WITHOUT_LAST_NEWLINE, err);
    if (!status) status = tokenizer_encode(s->t, out, text.data, text.n_bytes, TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL, err);
    free(text.data);
    return status;
}

/* --- the rows ----------------------------------------------------------------------------------------------------------------- */

static yl_status write_row(void *ctx, const frame_answer *a, yl_error *err)
{
    row_writer *w = ctx;
    size_t n_bytes = (size_t)w->s->hp.n_vocab * sizeof(float);
    if (a->row != w->n_written || a->data.n_bytes != n_bytes)
        return yl_fail(err, YL_EPEER, "row %u came where row %zu of %zu bytes was due", (unsigned)a->row, w->n_written, n_bytes);
    if (fwrite(a->data.data, 1, n_bytes, w->file->f) != n_bytes) return file_failed(w->file, "cannot be written", err);
    w->n_written++;
    console_progress(w->s->con, "logits", (double)w->n_written / (double)w->n_rows);
    return YL_OK;
}

static yl_status write_rows(session *s, const token_list *tokens, logits_file *file, yl_error *err)
{
    frame_want *wants = calloc(tokens->n, sizeof *wants);
    if (!wants) return yl_fail(err, YL_ENOMEM, "no memory to ask for %zu rows", tokens->n);
    for (size_t i = 0; i < tokens->n; i++) wants[i] = (frame_want){.row = (uint32_t)i, .kind = FRAME_WANT_ALL};
    row_writer w = {.s = s, .file = file, .n_rows = tokens->n};
    yl_status status = engine_eval(s->e, 0, 0, tokens->data, tokens->n, wants, tokens->n, write_row, &w, err);
    free(wants);
    if (!status && w.n_written != w.n_rows) return yl_fail(err, YL_EPEER, "%zu of %zu rows were answered", w.n_written, w.n_rows);
    return status;
}

yl_status cmd_logits(const options *o, console *c, yl_error *err)
{
    session s;
    token_list tokens = {0};
    logits_file file = {0};
    yl_status status = session_open(&s, o, c, err);
    if (!status && !o->output) status = yl_fail(err, YL_EINVAL, "where to? Name a file: -o logits.f32");
    if (!status) status = get_tokens(&tokens, &s, err);
    if (!status && o->n_ctx < 0 && tokens.n > 0 && tokens.n <= HPARAMS_MAX_CTX) s.n_ctx = (uint32_t)tokens.n;
    if (!status) status = session_check_prompt(&s, tokens.n, err);
    if (!status) status = open_file(&file, o->output, err);
    if (!status) status = session_start(&s, err);
    if (!status) status = write_rows(&s, &tokens, &file, err);
    if (!status) status = commit_file(&file, err);
    if (!status) console_log(c, ENGINE_LOG_INFO, "%s: %zu rows of %u logits", file.path, tokens.n, (unsigned)s.hp.n_vocab);
    drop_file(&file);
    token_list_clear(&tokens);
    session_close(&s);
    return status;
}
