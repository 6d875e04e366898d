/* sequence_breakers.c: a walk over the vocabulary for each text. */
#include "sequence_breakers.h"

#include <stdlib.h>
#include <string.h>

#include "text_input.h"

enum { MAX_TEXT_BYTES = 40, MAX_TAIL_TOKENS = 20 }; /* llama.cpp's limits */

static const char *const default_texts[] = {"\n", ":", "\"", "*"};

void sequence_breakers_clear(sequence_breakers *b)
{
    free(b->sequences);
    free(b->lens);
    token_list_clear(&b->tokens);
    *b = (sequence_breakers){0};
}

/* One sequence: a token, and the tokens of n_tail bytes of text. Sequences are found again by their lengths, since tokens move. */
static yl_status add_sequence(sequence_breakers *b, const tokenizer *t, token_id head, const char *tail, size_t n_tail,
                              yl_error *err)
{
    size_t *lens = realloc(b->lens, (b->n + 1) * sizeof *lens);
    if (!lens) return yl_fail(err, YL_ENOMEM, "no memory for sequence breakers");
    b->lens = lens;
    size_t begin = b->tokens.n;
    yl_status status = token_list_push(&b->tokens, head, err);
    if (!status && n_tail > 0) status = tokenizer_encode(t, &b->tokens, tail, n_tail, 0, err);
    if (status) return status;
    if (b->tokens.n > begin + 1 + MAX_TAIL_TOKENS) b->tokens.n = begin + 1 + MAX_TAIL_TOKENS;
    lens[b->n++] = b->tokens.n - begin;
    return YL_OK;
}

static yl_status add_token(sequence_breakers *b, const tokenizer *t, token_id token, const char *text, size_t n_text, yl_error *err)
{
    char piece[512];
    size_t n_piece = tokenizer_piece(t, token, true, piece, sizeof piece);
    if (n_piece > sizeof piece) n_piece = sizeof piece;
    if (memmem(piece, n_piece, text, n_text)) return add_sequence(b, t, token, NULL, 0, err);
    size_t longest = n_piece < n_text - 1 ? n_piece : n_text - 1;
    for (size_t n = longest; n > 0; n--) {
        if (memcmp(piece + n_piece - n, text, n) != 0) continue;
        yl_status status = add_sequence(b, t, token, text + n, n_text - n, err);
        if (status) return status;
    }
    return YL_OK;
}

static yl_status add_text(sequence_breakers *b, const tokenizer *t, const char *text, bool escape, yl_error *err)
{
    char bytes[MAX_TEXT_BYTES];
    size_t n = strnlen(text, sizeof bytes);
    memcpy(bytes, text, n);
    if (escape) n = text_input_unescape(bytes, n);
    if (n == 0) return YL_OK;
    yl_status status = YL_OK;
    for (uint32_t token = 0; !status && token < tokenizer_n_vocab(t); token++)
        status = add_token(b, t, (token_id)token, bytes, n, err);
    return status;
}

static yl_status point_to_sequences(sequence_breakers *b, yl_error *err)
{
    if (b->n == 0) return YL_OK;
    b->sequences = malloc(b->n * sizeof *b->sequences);
    if (!b->sequences) return yl_fail(err, YL_ENOMEM, "no memory for sequence breakers");
    size_t at = 0;
    for (size_t i = 0; i < b->n; i++) {
        b->sequences[i] = b->tokens.data + at;
        at += b->lens[i];
    }
    return YL_OK;
}

yl_status sequence_breakers_find(sequence_breakers *out, const tokenizer *t, const option_list *texts, bool escape, yl_error *err)
{
    *out = (sequence_breakers){0};
    yl_status status = YL_OK;
    if (texts->items) {
        for (size_t i = 0; !status && i < texts->n; i++) status = add_text(out, t, texts->items[i], escape, err);
    } else {
        for (size_t i = 0; !status && i < sizeof default_texts / sizeof *default_texts; i++)
            status = add_text(out, t, default_texts[i], false, err);
    }
    if (!status) status = point_to_sequences(out, err);
    if (status) sequence_breakers_clear(out);
    return status;
}
