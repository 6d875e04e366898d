/* cmd_tokenize.c: `yllama tokenize`: what a model's tokenizer makes of a text. Its output is that of llama.cpp's llama-tokenize, so
 * that the two can be compared. */
#include <stdlib.h>

#include "command.h"
#include "gguf.h"
#include "session.h"
#include "text_input.h"
#include "tokenizer.h"

static bool print_token(console *c, const tokenizer *t, token_id token)
{
    char buf[256], *piece = buf;
    size_t n = tokenizer_piece(t, token, true, buf, sizeof buf);
    if (n > sizeof buf) {
        piece = malloc(n);
        if (!piece) return console_print(c, "%6d -> (%zu bytes)\n", (int)token, n);
        tokenizer_piece(t, token, true, piece, n);
    }
    bool is_written = console_print(c, "%6d -> '", (int)token) && console_write(c, piece, n) && console_write(c, "'\n", 2);
    if (piece != buf) free(piece);
    return is_written;
}

static bool print_ids(console *c, const token_list *tokens)
{
    if (!console_write(c, "[", 1)) return false;
    for (size_t i = 0; i < tokens->n; i++)
        if (!console_print(c, "%s%d", i ? ", " : "", (int)tokens->data[i])) return false;
    return console_write(c, "]\n", 2);
}

static void print_tokens(console *c, const options *o, const tokenizer *t, const token_list *tokens)
{
    bool is_written = true;
    if (o->ids)
        is_written = print_ids(c, tokens);
    else
        for (size_t i = 0; is_written && i < tokens->n; i++) is_written = print_token(c, t, tokens->data[i]);
    if (is_written && o->show_count) console_print(c, "Total number of tokens: %zu\n", tokens->n);
}

/* Takes BOS away again: whether EOS is added stays the model's business. */
static void drop_bos(token_list *tokens, const tokenizer *t)
{
    if (!tokenizer_adds_bos(t) || tokens->n == 0 || tokens->data[0] != tokenizer_bos(t)) return;
    tokens->n--;
    for (size_t i = 0; i < tokens->n; i++) tokens->data[i] = tokens->data[i + 1];
}

yl_status cmd_tokenize(const options *o, console *c, yl_error *err)
{
    if (!o->model) return yl_fail(err, YL_EINVAL, "which model? Name its file: -m model.gguf");
    gguf *g = NULL;
    tokenizer *t = NULL;
    text_input text = {0};
    token_list tokens = {0};
    yl_status status = gguf_open(&g, o->model, err);
    if (!status) {
        status = tokenizer_new(&t, g, err);
        if (status) session_name_model(o->model, err);
    }
    if (!status) status = text_input_get(&text, o, TEXT_INPUT_WHOLE, err);
    unsigned flags = TOKENIZE_ADD_SPECIAL | (o->no_parse_special ? 0 : TOKENIZE_PARSE_SPECIAL);
    if (!status) status = tokenizer_encode(t, &tokens, text.data, text.n_bytes, flags, err);
    if (!status) {
        if (o->no_bos) drop_bos(&tokens, t);
        print_tokens(c, o, t, &tokens);
        status = console_check(c, err);
    }
    token_list_clear(&tokens);
    free(text.data);
    tokenizer_free(t);
    gguf_free(g);
    return status;
}
