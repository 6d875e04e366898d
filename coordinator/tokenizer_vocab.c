/* tokenizer_vocab.c: the tokens and what each is, from the keys tokenizer.ggml.*.
 *
 * Defaults are llama.cpp's. What a file may not do: give two tokens the same text (a text could then be either), fewer scores or
 * types than tokens, an unknown model or pre-tokenizer. An empty token is called [EMPTY_<id>], so that it can never match a text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer_internal.h"

static bool is_text(gguf_str s, const char *text)
{
    return s.n_bytes == strlen(text) && memcmp(s.data, text, s.n_bytes) == 0;
}

/* A %.*s precision for a string of a file: enough to recognize it. */
static int shown(gguf_str s)
{
    return s.n_bytes < 64 ? (int)s.n_bytes : 64;
}

static yl_status read_model(tokenizer *t, const gguf *g, yl_error *err)
{
    gguf_str model, pre;
    yl_status status = gguf_get_str(g, "tokenizer.ggml.model", &model, err);
    if (!status) status = gguf_get_str_or(g, "tokenizer.ggml.pre", "", &pre, err);
    if (status) return status;
    if (is_text(model, "llama")) return YL_OK;
    if (!is_text(model, "gpt2"))
        return yl_fail(err, YL_EUNSUPPORTED,
                       "the tokenizer model '%.*s' (tokenizer.ggml.model) is not supported: 'llama' and 'gpt2' are", shown(model),
                       model.data);
    t->is_bpe = true;
    t->pre_is_assumed = pre.n_bytes == 0;
    t->pre = t->pre_is_assumed ? pre_tokenizer_named("default", strlen("default")) : pre_tokenizer_named(pre.data, pre.n_bytes);
    if (!t->pre)
        return yl_fail(err, YL_EUNSUPPORTED, "the pre-tokenizer '%.*s' (tokenizer.ggml.pre) is not supported", shown(pre),
                       pre.data);
    return YL_OK;
}

/* Gives an empty token its name. */
static yl_status name_empty(tokenizer *t, size_t i, yl_error *err)
{
    char name[40];
    int n_bytes = snprintf(name, sizeof name, "[EMPTY_%zu]", i);
    char *own = tokenizer_keep(t, (size_t)n_bytes);
    if (!own) return yl_fail(err, YL_ENOMEM, "no memory for the vocabulary");
    memcpy(own, name, (size_t)n_bytes);
    t->texts[i] = (gguf_str){own, (size_t)n_bytes};
    return YL_OK;
}

static yl_status read_texts(tokenizer *t, const gguf *g, yl_error *err)
{
    yl_status status = gguf_get_strings(g, "tokenizer.ggml.tokens", &t->texts, &t->n_vocab, err);
    if (status) return status;
    t->n_symbols = t->symbols_capacity = t->n_vocab;
    if (t->n_vocab == 0) return yl_fail(err, YL_EFORMAT, "tokenizer.ggml.tokens is empty");
    if (t->n_vocab > INT32_MAX) return yl_fail(err, YL_ELIMIT, "tokenizer.ggml.tokens: %zu tokens are too many", t->n_vocab);
    for (size_t i = 0; i < t->n_vocab && !status; i++) {
        if (t->texts[i].n_bytes == 0) status = name_empty(t, i, err);
        if (status) break;
        gguf_str text = t->texts[i];
        int64_t before = string_index_find(&t->index, t->texts, text.data, text.n_bytes);
        if (before >= 0)
            return yl_fail(err, YL_EFORMAT, "tokenizer.ggml.tokens: tokens %lld and %zu have the same text '%.*s'",
                           (long long)before, i, shown(text), text.data);
        if (text.n_bytes > t->max_token_bytes) t->max_token_bytes = text.n_bytes;
        status = string_index_add(&t->index, t->texts, (uint32_t)i, err);
    }
    return status;
}

static yl_status read_scores(tokenizer *t, const gguf *g, yl_error *err)
{
    size_t n = 0;
    yl_status status = gguf_get_f32s(g, "tokenizer.ggml.scores", &t->scores, &n, err);
    if (!status && n < t->n_vocab)
        status = yl_fail(err, YL_EFORMAT, "tokenizer.ggml.scores has %zu scores for %zu tokens", n, t->n_vocab);
    return status;
}

/* The numbers of tokenizer.ggml.token_type, as SentencePiece's model format counts them; 0 and unknown ones are "undefined". */
static uint8_t kind_of_type(int32_t type)
{
    switch (type) {
    case 1: return TOKEN_NORMAL;
    case 2: return TOKEN_UNKNOWN;
    case 3: return TOKEN_CONTROL;
    case 4: return TOKEN_USER_DEFINED;
    case 5: return TOKEN_UNUSED;
    case 6: return TOKEN_BYTE;
    default: return 0;
    }
}

static yl_status read_kinds(tokenizer *t, const gguf *g, yl_error *err)
{
    t->kinds = malloc(t->n_vocab);
    if (!t->kinds) return yl_fail(err, YL_ENOMEM, "no memory for the kinds of %zu tokens", t->n_vocab);
    memset(t->kinds, TOKEN_NORMAL, t->n_vocab);
    if (!gguf_find_kv(g, "tokenizer.ggml.token_type")) return YL_OK;
    int32_t *types = NULL;
    size_t n = 0;
    yl_status status = gguf_get_i32s(g, "tokenizer.ggml.token_type", &types, &n, err);
    if (!status && n < t->n_vocab)
        status = yl_fail(err, YL_EFORMAT, "tokenizer.ggml.token_type has %zu types for %zu tokens", n, t->n_vocab);
    for (size_t i = 0; i < t->n_vocab && !status; i++) t->kinds[i] = kind_of_type(types[i]);
    free(types);
    return status;
}

yl_status vocab_read(tokenizer *t, const gguf *g, yl_error *err)
{
    yl_status status = read_model(t, g, err);
    if (!status) status = read_texts(t, g, err);
    if (!status) status = read_kinds(t, g, err);
    if (!status && !t->is_bpe) status = read_scores(t, g, err);
    return status;
}

token_id vocab_find(const tokenizer *t, const char *text, size_t n_bytes)
{
    int64_t found = string_index_find(&t->index, t->texts, text, n_bytes);
    return found >= 0 && (size_t)found < t->n_vocab ? (token_id)found : TOKEN_NONE;
}

yl_status vocab_add_symbol(tokenizer *t, gguf_str text, yl_error *err)
{
    if (t->n_symbols >= INT32_MAX) return yl_fail(err, YL_ELIMIT, "tokenizer.ggml.merges name too many strings");
    if (t->n_symbols == t->symbols_capacity) {
        size_t capacity = t->symbols_capacity + t->symbols_capacity / 2 + 256;
        gguf_str *grown = realloc(t->texts, capacity * sizeof *grown);
        if (!grown) return yl_fail(err, YL_ENOMEM, "no memory for the strings of the merges");
        t->texts = grown;
        t->symbols_capacity = capacity;
    }
    t->texts[t->n_symbols] = text;
    yl_status status = string_index_add(&t->index, t->texts, (uint32_t)t->n_symbols, err);
    if (!status) t->n_symbols++;
    return status;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int vocab_byte_of(gguf_str text)
{
    if (text.n_bytes != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>') return -1;
    int high = hex_digit(text.data[3]), low = hex_digit(text.data[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}
