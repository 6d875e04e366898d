/* tokenizer.h: text to token ids and back, from what a GGUF file holds and nothing else.
 *
 * Two families: SentencePiece unigram-by-merging ("llama": scores, byte fallback, a space for a prefix) and byte-level BPE ("gpt2":
 * merges by rank, after a Unicode regular expression has cut the text into words). Which one, which expression, which tokens are
 * special and which are put in front or behind, all comes from the keys tokenizer.ggml.*. What llama.cpp gives for a text, this
 * gives. Immutable after tokenizer_new, so threads may share it. */
#ifndef YL_TOKENIZER_H
#define YL_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gguf.h"
#include "status.h"

typedef int32_t token_id;
enum { TOKEN_NONE = -1 };

typedef struct tokenizer tokenizer;

/* Builds the tokenizer of a model. The gguf must outlive it (tokens are views into it).
 * YL_EUNSUPPORTED names a model ("bert") or pre-tokenizer that is not known; YL_EFORMAT names a missing or contradictory key. */
yl_status tokenizer_new(tokenizer **out, const gguf *g, yl_error *err);
void tokenizer_free(tokenizer *t);

/* A growing array of tokens, owned by the caller: start with {0}, release with token_list_clear. */
typedef struct token_list {
    token_id *data;
    size_t n, capacity;
} token_list;
yl_status token_list_push(token_list *l, token_id token, yl_error *err);
void token_list_clear(token_list *l);

enum {
    TOKENIZE_ADD_SPECIAL = 1,   /* put BOS in front and EOS behind where the file's add_bos_token / add_eos_token say so */
    TOKENIZE_PARSE_SPECIAL = 2, /* text such as <|eot_id|> becomes that control token; without it, it is ordinary text */
};

/* Appends the tokens of `n_bytes` bytes of text to *out. Any bytes are allowed: what is not valid UTF-8 is tokenized byte by byte
 * (the exact rule is in tokenizer.c). Takes near-linear time in n_bytes for any text. YL_ENOMEM, YL_ELIMIT (over 2^31 tokens or
 * bytes). */
yl_status tokenizer_encode(const tokenizer *t, token_list *out, const char *text, size_t n_bytes, unsigned flags, yl_error *err);

/* Writes the bytes that a token stands for into buf (which may be NULL when capacity is 0), up to capacity, and returns how many
 * there are in all. A byte-fallback token is one byte, so UTF-8 may be cut between tokens: see utf8_stream. Control tokens give
 * nothing unless with_special. SentencePiece's space mark comes back as a space; the prefix space of a text's first token is
 * tokenizer_decode's business. */
size_t tokenizer_piece(const tokenizer *t, token_id token, bool with_special, char *buf, size_t capacity);

/* The bytes of n tokens, malloc'ed with a NUL behind, *n_bytes without it. For SentencePiece the space that encoding put in front
 * is taken away again when tokens begin a text (`remove_space_prefix`). Special tokens as in tokenizer_piece. */
yl_status tokenizer_decode(const tokenizer *t, const token_id *tokens, size_t n, bool with_special, bool remove_space_prefix,
                           char **out, size_t *n_bytes, yl_error *err);

uint32_t tokenizer_n_vocab(const tokenizer *t);
const char *tokenizer_model(const tokenizer *t);   /* "llama" or "gpt2" */
const char *tokenizer_pre(const tokenizer *t);     /* the pre-tokenizer's name, "" for SentencePiece */
bool tokenizer_pre_is_assumed(const tokenizer *t); /* the file names none: "default" was taken, which deserves a warning */
token_id tokenizer_bos(const tokenizer *t);        /* TOKEN_NONE: there is none; so for all these */
token_id tokenizer_eos(const tokenizer *t);
token_id tokenizer_eot(const tokenizer *t);
token_id tokenizer_eom(const tokenizer *t);
token_id tokenizer_unk(const tokenizer *t);
token_id tokenizer_newline(const tokenizer *t); /* the token of "\n" */
bool tokenizer_adds_bos(const tokenizer *t);
bool tokenizer_adds_eos(const tokenizer *t);

/* Does generation end at this token? EOS, EOT and EOM by key, and tokens that end a turn by their well-known text, as llama.cpp has
 * them. */
bool tokenizer_is_end(const tokenizer *t, token_id token);
/* All of those, ascending; *n of them; owned by the tokenizer. */
const token_id *tokenizer_ends(const tokenizer *t, size_t *n);
bool tokenizer_is_control(const tokenizer *t, token_id token);
/* The token whose text in the vocabulary is exactly this (for templates: "<|eot_id|>"), or TOKEN_NONE. */
token_id tokenizer_find(const tokenizer *t, const char *text, size_t n_bytes);

/* Makes whole characters out of pieces: a token may end within a UTF-8 sequence, and half a character must never reach a terminal.
 * Feed bytes; what comes out is valid UTF-8, with U+FFFD where the model wrote bytes that never become a character. */
typedef struct utf8_stream {
    unsigned char pending[4];
    size_t n_pending;
} utf8_stream;
/* Writes to out at most 3 * (n_bytes + 4) bytes, returns how many. out must have that room. Start with {0}. */
size_t utf8_stream_feed(utf8_stream *s, const char *bytes, size_t n_bytes, char *out);
/* The text ended: what is pending becomes U+FFFD. out: at least 12 bytes. */
size_t utf8_stream_end(utf8_stream *s, char *out);

#endif
