/* tokenizer_bpe.c: byte-level BPE, as GPT-2 invented it and Llama 3 uses it.
 *
 * A word's 256 possible bytes are written as 256 visible letters (GPT-2's byte-to-unicode table), so that vocabulary and merges are
 * readable text; pairs of symbols are joined in the order in which training found them. Merges name strings, not tokens: a string
 * that is no token (some vocabularies have such) still takes part, as a symbol behind the last token's id.
 * A merge is found by the ids of its two symbols, so a lookup is one hash of two numbers however long the strings are.
 * A symbol that ends up as no token is written byte by byte where the vocabulary has a token for the byte's letter, and vanishes
 * where it has not, as in llama.cpp; no real vocabulary lacks them. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer_internal.h"
#include "utf8.h"

/* GPT-2's table: visible Latin-1 characters stand for themselves, the other 68 bytes are U+0100 and up, in order. */
static bool is_visible(int byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

int bpe_byte_of(uint32_t code_point)
{
    if (code_point < 0x100) return is_visible((int)code_point) ? (int)code_point : -1;
    uint32_t nth = code_point - 0x100; /* among the hidden: 0 to 0x20, then 0x7f to 0xa0, then 0xad */
    if (nth < 33) return (int)nth;
    if (nth < 67) return (int)(0x7f + (nth - 33));
    return nth == 67 ? 0xad : -1;
}

static void fill_byte_texts(tokenizer *t)
{
    uint32_t n_hidden = 0;
    for (int byte = 0; byte < 256; byte++) {
        char utf8[4];
        int n_bytes = utf8_write(utf8, is_visible(byte) ? (uint32_t)byte : 0x100 + n_hidden++);
        memcpy(t->byte_texts[byte], utf8, sizeof t->byte_texts[byte]);
        t->byte_text_bytes[byte] = (uint8_t)n_bytes;
    }
}

static size_t slot_of(const tokenizer *t, uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u; /* 2^64 over the golden ratio */
    return (size_t)(h ^ h >> 32) & (t->n_merge_slots - 1);
}

/* The rank of the merge, or -1. */
static int64_t find_merge(const tokenizer *t, uint32_t left, uint32_t right)
{
    for (size_t i = slot_of(t, left, right); t->merge_slots[i]; i = (i + 1) & (t->n_merge_slots - 1)) {
        const bpe_merge *m = &t->merges[t->merge_slots[i] - 1];
        if (m->left == left && m->right == right) return t->merge_slots[i] - 1;
    }
    return -1;
}

/* The symbol of a string, made if there is none. The string must live as long as the tokenizer. */
static yl_status symbol_of(tokenizer *t, uint32_t *out, gguf_str text, yl_error *err)
{
    int64_t found = string_index_find(&t->index, t->texts, text.data, text.n_bytes);
    if (found < 0) {
        yl_status status = vocab_add_symbol(t, text, err);
        if (status) return status;
        found = (int64_t)t->n_symbols - 1;
    }
    *out = (uint32_t)found;
    return YL_OK;
}

/* The symbol of two strings together. buffer: room for both. */
static yl_status symbol_of_joined(tokenizer *t, uint32_t *out, gguf_str left, gguf_str right, char *buffer, yl_error *err)
{
    size_t n_bytes = left.n_bytes + right.n_bytes;
    memcpy(buffer, left.data, left.n_bytes);
    memcpy(buffer + left.n_bytes, right.data, right.n_bytes);
    int64_t found = string_index_find(&t->index, t->texts, buffer, n_bytes);
    if (found >= 0) {
        *out = (uint32_t)found;
        return YL_OK;
    }
    char *own = tokenizer_keep(t, n_bytes);
    if (!own) return yl_fail(err, YL_ENOMEM, "no memory for the merges");
    memcpy(own, buffer, n_bytes);
    return symbol_of(t, out, (gguf_str){own, n_bytes}, err);
}

static yl_status add_merge(tokenizer *t, uint32_t rank, gguf_str text, char *buffer, yl_error *err)
{
    const char *space = text.n_bytes > 1 ? memchr(text.data + 1, ' ', text.n_bytes - 1) : NULL;
    if (!space || space + 1 == text.data + text.n_bytes)
        return yl_fail(err, YL_EFORMAT, "tokenizer.ggml.merges: merge %u is not two strings with a space between them", rank);
    gguf_str left = {text.data, (size_t)(space - text.data)};
    gguf_str right = {space + 1, text.n_bytes - left.n_bytes - 1};
    bpe_merge *m = &t->merges[rank];
    yl_status status = symbol_of(t, &m->left, left, err);
    if (!status) status = symbol_of(t, &m->right, right, err);
    if (!status) status = symbol_of_joined(t, &m->joined, left, right, buffer, err);
    if (status || find_merge(t, m->left, m->right) >= 0) return status; /* listed twice: the first rank holds */
    size_t i = slot_of(t, m->left, m->right);
    while (t->merge_slots[i]) i = (i + 1) & (t->n_merge_slots - 1);
    t->merge_slots[i] = rank + 1;
    return YL_OK;
}

static yl_status add_merges(tokenizer *t, const gguf_str *texts, size_t n_merges, yl_error *err)
{
    size_t n_slots = 2, longest = 0;
    while (n_slots < 2 * n_merges) n_slots *= 2;
    for (size_t i = 0; i < n_merges; i++)
        if (texts[i].n_bytes > longest) longest = texts[i].n_bytes;
    char *buffer = malloc(longest + 1);
    t->merges = calloc(n_merges + 1, sizeof *t->merges);
    t->merge_slots = calloc(n_slots, sizeof *t->merge_slots);
    t->n_merge_slots = n_slots;
    yl_status status = YL_OK;
    if (!buffer || !t->merges || !t->merge_slots) status = yl_fail(err, YL_ENOMEM, "no memory for %zu merges", n_merges);
    for (size_t i = 0; i < n_merges && !status; i++) status = add_merge(t, (uint32_t)i, texts[i], buffer, err);
    free(buffer);
    return status;
}

yl_status bpe_prepare(tokenizer *t, const gguf *g, yl_error *err)
{
    gguf_str *texts = NULL;
    size_t n_merges = 0;
    yl_status status = gguf_get_strings(g, "tokenizer.ggml.merges", &texts, &n_merges, err);
    if (!status && n_merges > INT32_MAX) status = yl_fail(err, YL_ELIMIT, "tokenizer.ggml.merges: %zu are too many", n_merges);
    if (!status) status = add_merges(t, texts, n_merges, err);
    free(texts);
    fill_byte_texts(t);
    for (int byte = 0; byte < 256 && !status; byte++) {
        char raw = (char)byte;
        t->byte_tokens[byte] = vocab_find(t, &raw, 1);
        status = symbol_of(t, &t->byte_symbols[byte], (gguf_str){t->byte_texts[byte], t->byte_text_bytes[byte]}, err);
    }
    return status ? status : splitter_new(&t->splitter, t->pre->patterns, err);
}

static bool bpe_rule(const tokenizer *t, const symbol *left, const symbol *right, uint32_t *priority, int32_t *joined)
{
    int64_t rank = find_merge(t, (uint32_t)left->id, (uint32_t)right->id);
    if (rank < 0) return false;
    *priority = (uint32_t)rank;
    *joined = (int32_t)t->merges[rank].joined;
    return true;
}

static yl_status emit(const tokenizer *t, token_list *out, int32_t symbol_id, yl_error *err)
{
    if ((size_t)symbol_id < t->n_vocab) return token_list_push(out, symbol_id, err);
    yl_status status = YL_OK;
    gguf_str text = t->texts[symbol_id];
    for (size_t i = 0; i < text.n_bytes && !status; i++) {
        token_id token = t->byte_tokens[(unsigned char)text.data[i]];
        if (token != TOKEN_NONE) status = token_list_push(out, token, err);
    }
    return status;
}

/* Is the word, in GPT-2's letters, a token as it stands? */
static yl_status find_whole_word(const tokenizer *t, encode_scratch *s, const char *word, size_t n_bytes, token_id *token,
                                 yl_error *err)
{
    *token = TOKEN_NONE;
    if (n_bytes > t->max_token_bytes) return YL_OK;
    yl_status status = encode_scratch_reserve(s, 2 * n_bytes, err);
    if (status) return status;
    size_t n_letters = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        unsigned char byte = (unsigned char)word[i];
        memcpy(s->text + n_letters, t->byte_texts[byte], t->byte_text_bytes[byte]);
        n_letters += t->byte_text_bytes[byte];
    }
    *token = vocab_find(t, s->text, n_letters);
    return YL_OK;
}

typedef struct word_context {
    const tokenizer *t;
    token_list *out;
    encode_scratch *scratch;
} word_context;

static yl_status encode_word(void *context, const char *word, size_t n_bytes, yl_error *err)
{
    word_context *c = context;
    const tokenizer *t = c->t;
    if (t->pre->ignore_merges) {
        token_id token;
        yl_status status = find_whole_word(t, c->scratch, word, n_bytes, &token, err);
        if (status) return status;
        if (token != TOKEN_NONE) return token_list_push(c->out, token, err);
    }
    merge_scratch *merge = &c->scratch->merge;
    yl_status status = YL_OK;
    merge->n_symbols = 0;
    for (size_t i = 0; i < n_bytes && !status; i++)
        status = merge_push_symbol(merge, word + i, 1, (int32_t)t->byte_symbols[(unsigned char)word[i]], err);
    if (!status) status = merge_run(t, merge, bpe_rule, err);
    for (size_t i = 0; i < merge->n_symbols && !status; i++)
        if (merge->symbols[i].n_bytes > 0) status = emit(t, c->out, merge->symbols[i].id, err);
    return status;
}

yl_status bpe_encode(const tokenizer *t, token_list *out, encode_scratch *s, const char *text, size_t n_bytes, yl_error *err)
{
    word_context context = {t, out, s};
    yl_status status = YL_OK;
    for (size_t begin = 0; begin < n_bytes && !status;) {
        size_t end = begin;
        int n_char = 0;
        while (end < n_bytes && (n_char = utf8_char_bytes(text + end, n_bytes - end)) > 0) end += (size_t)n_char;
        if (end > begin) status = split_text(t->splitter, &s->split, text + begin, end - begin, encode_word, &context, err);
        if (!status && end < n_bytes) status = encode_word(&context, text + end++, 1, err);
        begin = end;
    }
    return status;
}
