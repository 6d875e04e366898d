/* tokenizer.c: encoding and decoding, where the two families meet.
 *
 * Encoding: BOS; the text is cut at special tokens (tokenizer_special.c); each piece of ordinary text is encoded by the family
 * (tokenizer_spm.c, tokenizer_bpe.c); EOS.
 *
 * Bytes that are not valid UTF-8 (utf8.h says what is): byte-level BPE treats each as a word of its own and the texts before and
 * after it as separate texts; SentencePiece treats each as a character. Either way the byte becomes the token of that one byte, and
 * decoding gives the same bytes again. (llama.cpp replaces such bytes with U+FFFD for BPE, so what they were is lost.) Of valid
 * texts one does not come back: SentencePiece reads a U+2581 as a blank.
 *
 * Decoding is the concatenation of the tokens' pieces. llama.cpp's llama_detokenize also removes blanks before punctuation for some
 * models (`clean_up_tokenization_spaces`); this does not, so that decoding undoes encoding, and a stream of pieces and the decoded
 * whole are the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer_internal.h"
#include "utf8.h"

/* --- life --- */

char *tokenizer_keep(tokenizer *t, size_t n_bytes)
{
    owned_block *b = malloc(sizeof *b + n_bytes);
    if (!b) return NULL;
    b->next = t->owned;
    t->owned = b;
    return b->bytes;
}

/* The newline's token: SentencePiece has it as a byte; for BPE it is what encoding gives first. */
static yl_status find_newline(tokenizer *t, yl_error *err)
{
    token_list tokens = {0};
    yl_status status = YL_OK;
    if (!t->is_bpe)
        t->newline = t->byte_tokens['\n'];
    else if (!(status = tokenizer_encode(t, &tokens, "\n", 1, 0, err)))
        t->newline = tokens.n > 0 ? tokens.data[0] : TOKEN_NONE;
    if (t->newline == TOKEN_NONE) t->newline = t->pad;
    token_list_clear(&tokens);
    return status;
}

yl_status tokenizer_new(tokenizer **out, const gguf *g, yl_error *err)
{
    *out = NULL;
    tokenizer *t = calloc(1, sizeof *t);
    if (!t) return yl_fail(err, YL_ENOMEM, "no memory for the tokenizer");
    t->newline = TOKEN_NONE;
    yl_status status = vocab_read(t, g, err);
    if (!status) status = roles_read(t, g, err);
    if (!status) status = special_build(t, err);
    if (!status) status = t->is_bpe ? bpe_prepare(t, g, err) : spm_prepare(t, err);
    if (!status) status = find_newline(t, err);
    if (status) {
        tokenizer_free(t);
        return status;
    }
    *out = t;
    return YL_OK;
}

void tokenizer_free(tokenizer *t)
{
    if (!t) return;
    splitter_free(t->splitter);
    string_index_clear(&t->index);
    free(t->texts);
    free(t->kinds);
    free(t->scores);
    free(t->ends);
    free(t->special);
    free(t->merges);
    free(t->merge_slots);
    while (t->owned) {
        owned_block *next = t->owned->next;
        free(t->owned);
        t->owned = next;
    }
    free(t);
}

yl_status token_list_push(token_list *l, token_id token, yl_error *err)
{
    if (l->n == l->capacity) {
        size_t capacity = l->capacity ? 2 * l->capacity : 64;
        token_id *grown = l->n < INT32_MAX ? realloc(l->data, capacity * sizeof *grown) : NULL;
        if (l->n >= INT32_MAX) return yl_fail(err, YL_ELIMIT, "more than 2^31 - 1 tokens");
        if (!grown) return yl_fail(err, YL_ENOMEM, "no memory for %zu tokens", capacity);
        l->data = grown;
        l->capacity = capacity;
    }
    l->data[l->n++] = token;
    return YL_OK;
}

void token_list_clear(token_list *l)
{
    free(l->data);
    *l = (token_list){0};
}

/* --- encoding --- */

yl_status encode_scratch_reserve(encode_scratch *s, size_t n_bytes, yl_error *err)
{
    if (s->text_capacity >= n_bytes) return YL_OK;
    size_t capacity = n_bytes < 256 ? 256 : n_bytes;
    char *grown = realloc(s->text, capacity);
    if (!grown) return yl_fail(err, YL_ENOMEM, "no memory to encode a text of %zu bytes", n_bytes);
    s->text = grown;
    s->text_capacity = capacity;
    return YL_OK;
}

static yl_status encode_fragments(const tokenizer *t, token_list *out, const char *text, const fragment_list *fragments,
                                  yl_error *err)
{
    encode_scratch scratch = {0};
    yl_status status = YL_OK;
    bool after_special = true; /* SentencePiece puts a space in front of a text, and of each piece after a special token */
    for (size_t i = 0; i < fragments->n && !status; i++) {
        fragment f = fragments->data[i];
        if (f.token != TOKEN_NONE) {
            status = token_list_push(out, f.token, err);
        } else if (t->is_bpe) {
            status = bpe_encode(t, out, &scratch, text + f.begin, f.end - f.begin, err);
        } else {
            bool space_in_front = t->adds_space_prefix && after_special;
            status = spm_encode(t, out, &scratch, text + f.begin, f.end - f.begin, space_in_front, err);
        }
        after_special = f.token != TOKEN_NONE;
    }
    merge_scratch_clear(&scratch.merge);
    split_scratch_free(scratch.split);
    free(scratch.text);
    return status;
}

yl_status tokenizer_encode(const tokenizer *t, token_list *out, const char *text, size_t n_bytes, unsigned flags, yl_error *err)
{
    if (n_bytes > INT32_MAX) return yl_fail(err, YL_ELIMIT, "the text is too long: %zu bytes, the limit is 2^31 - 1", n_bytes);
    size_t n_before = out->n;
    fragment_list fragments = {0};
    yl_status status = special_cut(t, &fragments, text, n_bytes, flags & TOKENIZE_PARSE_SPECIAL, err);
    if (!status && flags & TOKENIZE_ADD_SPECIAL && t->adds_bos) status = token_list_push(out, t->bos, err);
    if (!status) status = encode_fragments(t, out, text, &fragments, err);
    if (!status && flags & TOKENIZE_ADD_SPECIAL && t->adds_eos) status = token_list_push(out, t->eos, err);
    if (status) out->n = n_before;
    free(fragments.data);
    return status;
}

/* --- decoding --- */

/* Bytes that are counted, and kept as far as there is room. */
typedef struct sink {
    char *buf;
    size_t capacity, n;
} sink;

static void put(sink *s, const char *bytes, size_t n_bytes)
{
    if (s->n < s->capacity) {
        size_t room = s->capacity - s->n;
        memcpy(s->buf + s->n, bytes, n_bytes < room ? n_bytes : room);
    }
    s->n += n_bytes;
}

/* SentencePiece: marks become spaces. */
static void put_unescaped(sink *s, gguf_str text)
{
    for (size_t i = 0; i < text.n_bytes;) {
        bool is_mark = text.n_bytes - i >= 3 && memcmp(text.data + i, "\xe2\x96\x81", 3) == 0;
        if (is_mark)
            put(s, " ", 1);
        else
            put(s, text.data + i, 1);
        i += is_mark ? 3 : 1;
    }
}

/* BPE: GPT-2's letters become bytes. What is none of them (a token that somebody added as it is) stays. */
static void put_letters(sink *s, gguf_str text)
{
    for (size_t i = 0; i < text.n_bytes;) {
        int n_char = utf8_char_bytes(text.data + i, text.n_bytes - i);
        int byte = n_char > 0 ? bpe_byte_of(utf8_code_point(text.data + i, n_char)) : -1;
        if (n_char <= 0) n_char = 1;
        char raw = (char)byte;
        if (byte >= 0)
            put(s, &raw, 1);
        else
            put(s, text.data + i, (size_t)n_char);
        i += (size_t)n_char;
    }
}

/* Control and unknown tokens are no text. */
static bool is_shown(const tokenizer *t, token_id token)
{
    return token >= 0 && (size_t)token < t->n_vocab && !(t->kinds[token] & (TOKEN_CONTROL | TOKEN_UNKNOWN));
}

size_t tokenizer_piece(const tokenizer *t, token_id token, bool with_special, char *buf, size_t capacity)
{
    if (token < 0 || (size_t)token >= t->n_vocab) return 0;
    sink s = {buf, capacity, 0};
    gguf_str text = t->texts[token];
    uint8_t kind = t->kinds[token];
    if (!is_shown(t, token)) {
        if (with_special) put(&s, text.data, text.n_bytes);
    } else if (kind & TOKEN_USER_DEFINED) {
        put(&s, text.data, text.n_bytes);
    } else if (kind & TOKEN_NORMAL) {
        if (t->is_bpe)
            put_letters(&s, text);
        else
            put_unescaped(&s, text);
    } else if (kind & TOKEN_BYTE) {
        int byte = vocab_byte_of(text);
        char raw = (char)byte;
        if (byte >= 0)
            put(&s, &raw, 1);
        else
            put(&s, text.data, text.n_bytes);
    }
    return s.n; /* unused tokens and those of no kind stand for nothing */
}

yl_status tokenizer_decode(const tokenizer *t, const token_id *tokens, size_t n, bool with_special, bool remove_space_prefix,
                           char **out, size_t *n_bytes, yl_error *err)
{
    *out = NULL;
    *n_bytes = 0;
    size_t total = 0;
    for (size_t i = 0; i < n; i++) total += tokenizer_piece(t, tokens[i], with_special, NULL, 0);
    char *text = malloc(total + 1);
    if (!text) return yl_fail(err, YL_ENOMEM, "no memory for a text of %zu bytes", total);
    size_t length = 0;
    bool remove_space = remove_space_prefix && !t->is_bpe && t->adds_space_prefix;
    for (size_t i = 0; i < n; i++) {
        size_t n_piece = tokenizer_piece(t, tokens[i], with_special, text + length, total - length);
        bool is_text = is_shown(t, tokens[i]);
        if (remove_space && is_text && n_piece > 0 && text[length] == ' ') memmove(text + length, text + length + 1, --n_piece);
        if (is_text) remove_space = false;
        length += n_piece;
    }
    text[length] = 0;
    *out = text;
    *n_bytes = length;
    return YL_OK;
}

/* --- what there is to know --- */

uint32_t tokenizer_n_vocab(const tokenizer *t)
{
    return (uint32_t)t->n_vocab;
}

const char *tokenizer_model(const tokenizer *t)
{
    return t->is_bpe ? "gpt2" : "llama";
}

const char *tokenizer_pre(const tokenizer *t)
{
    return t->pre ? t->pre->name : "";
}

bool tokenizer_pre_is_assumed(const tokenizer *t)
{
    return t->pre_is_assumed;
}

token_id tokenizer_bos(const tokenizer *t)
{
    return t->bos;
}

token_id tokenizer_eos(const tokenizer *t)
{
    return t->eos;
}

token_id tokenizer_eot(const tokenizer *t)
{
    return t->eot;
}

token_id tokenizer_eom(const tokenizer *t)
{
    return t->eom;
}

token_id tokenizer_unk(const tokenizer *t)
{
    return t->unk;
}

token_id tokenizer_newline(const tokenizer *t)
{
    return t->newline;
}

bool tokenizer_adds_bos(const tokenizer *t)
{
    return t->adds_bos;
}

bool tokenizer_adds_eos(const tokenizer *t)
{
    return t->adds_eos;
}

static int by_id(const void *a, const void *b)
{
    const token_id *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

bool tokenizer_is_end(const tokenizer *t, token_id token)
{
    return bsearch(&token, t->ends, t->n_ends, sizeof token, by_id) != NULL;
}

const token_id *tokenizer_ends(const tokenizer *t, size_t *n)
{
    *n = t->n_ends;
    return t->ends;
}

bool tokenizer_is_control(const tokenizer *t, token_id token)
{
    return token >= 0 && (size_t)token < t->n_vocab && (t->kinds[token] & TOKEN_CONTROL);
}

token_id tokenizer_find(const tokenizer *t, const char *text, size_t n_bytes)
{
    return vocab_find(t, text, n_bytes);
}
