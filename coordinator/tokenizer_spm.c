/* tokenizer_spm.c: SentencePiece, as Llama 1 and 2 use it.
 *
 * Blanks become U+2581, one more is put in front, and the text, character by character, is joined pair by pair: any two neighbours
 * whose joint text is a token may be joined, the highest score first. Characters that end up as no token are written as byte tokens
 * <0xHH>. This is SentencePiece's BPE mode without its regularization, in the order of llama.cpp (equal scores: leftmost first).
 * `remove_extra_whitespaces` is not looked at: llama.cpp does not for this model, and Llama's files say false. */
#include <math.h>
#include <string.h>

#include "tokenizer_internal.h"
#include "utf8.h"

static const char SPACE_MARK[] = "\xe2\x96\x81"; /* U+2581 */
enum { SPACE_MARK_BYTES = 3 };

/* The order of scores as an order of numbers, the highest score first. IEEE 754 floats order like their bits, but for the sign. */
static uint32_t priority_of(float score)
{
    uint32_t bits;
    score += 0.0f; /* -0 to +0: they are equal */
    memcpy(&bits, &score, sizeof bits);
    uint32_t ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return ~ascending;
}

static bool spm_rule(const tokenizer *t, const symbol *left, const symbol *right, uint32_t *priority, int32_t *joined)
{
    size_t n_bytes = (size_t)left->n_bytes + right->n_bytes;
    if (n_bytes > t->max_token_bytes) return false;
    token_id token = vocab_find(t, left->text, n_bytes); /* neighbours lie side by side in the text */
    if (token == TOKEN_NONE) return false;
    *priority = priority_of(t->scores[token]);
    *joined = token;
    return true;
}

/* The token for a byte that no token's text covers: <0xHH>, or a token that is this byte, or unknown. */
static token_id fallback_of(const tokenizer *t, unsigned char byte)
{
    static const char hex[] = "0123456789ABCDEF";
    const char name[] = {'<', '0', 'x', hex[byte >> 4], hex[byte & 15], '>'};
    token_id token = vocab_find(t, name, sizeof name);
    if (token == TOKEN_NONE) token = vocab_find(t, (const char *)&byte, 1);
    return token;
}

yl_status spm_prepare(tokenizer *t, yl_error *err)
{
    for (size_t i = 0; i < t->n_vocab; i++)
        if (isnan(t->scores[i]))
            return yl_fail(err, YL_EFORMAT, "tokenizer.ggml.scores: the score of token %zu is not a number", i);
    for (int byte = 0; byte < 256; byte++) t->byte_tokens[byte] = fallback_of(t, (unsigned char)byte);
    return YL_OK;
}

/* Copies the text with its marks into s->text, *n_escaped bytes of it. */
static yl_status escape(encode_scratch *s, size_t *n_escaped, const char *text, size_t n_bytes, bool space_in_front, yl_error *err)
{
    size_t n = space_in_front ? n_bytes + SPACE_MARK_BYTES : n_bytes;
    for (size_t i = 0; i < n_bytes; i++)
        if (text[i] == ' ') n += SPACE_MARK_BYTES - 1;
    if (n > INT32_MAX)
        return yl_fail(err, YL_ELIMIT, "the text is too long: %zu bytes with its blanks marked, the limit is 2^31", n);
    yl_status status = encode_scratch_reserve(s, n, err);
    if (status) return status;
    char *out = s->text;
    if (space_in_front) out = (char *)memcpy(out, SPACE_MARK, SPACE_MARK_BYTES) + SPACE_MARK_BYTES;
    for (size_t i = 0; i < n_bytes; i++) {
        if (text[i] == ' ')
            out = (char *)memcpy(out, SPACE_MARK, SPACE_MARK_BYTES) + SPACE_MARK_BYTES;
        else
            *out++ = text[i];
    }
    *n_escaped = n;
    return YL_OK;
}

/* Appends what a symbol is: its token, or one token a byte. */
static yl_status emit(const tokenizer *t, token_list *out, const symbol *s, yl_error *err)
{
    token_id token = s->id != TOKEN_NONE ? s->id : vocab_find(t, s->text, s->n_bytes);
    if (token != TOKEN_NONE) return token_list_push(out, token, err);
    yl_status status = YL_OK;
    for (uint32_t i = 0; i < s->n_bytes && !status; i++) {
        token = t->byte_tokens[(unsigned char)s->text[i]];
        if (token == TOKEN_NONE) token = t->unk;
        if (token != TOKEN_NONE) status = token_list_push(out, token, err);
    }
    return status;
}

yl_status spm_encode(const tokenizer *t, token_list *out, encode_scratch *s, const char *text, size_t n_bytes, bool space_in_front,
                     yl_error *err)
{
    size_t n_escaped = 0;
    yl_status status = escape(s, &n_escaped, text, n_bytes, space_in_front, err);
    s->merge.n_symbols = 0;
    for (size_t i = 0; !status && i < n_escaped;) {
        int n_char = utf8_char_bytes(s->text + i, n_escaped - i);
        if (n_char <= 0) n_char = 1; /* an invalid byte is a symbol of its own */
        status = merge_push_symbol(&s->merge, s->text + i, (uint32_t)n_char, TOKEN_NONE, err);
        i += (size_t)n_char;
    }
    if (!status) status = merge_run(t, &s->merge, spm_rule, err);
    for (size_t i = 0; !status && i < s->merge.n_symbols; i++)
        if (s->merge.symbols[i].n_bytes > 0) status = emit(t, out, &s->merge.symbols[i], err);
    return status;
}
