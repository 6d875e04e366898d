/* draft_ngram.h: prompt lookup: what followed when the last tokens occurred before.
 *
 * Text quotes itself: code, names, a document under discussion. Of all places where the last tokens stood already, the one that
 * agrees longest with what stands before is taken, and what followed there is likely to follow again. An index by the hash of
 * DRAFT_NGRAM_LEAST tokens finds the places. Memory is taken once; adding, taking away and looking up allocate nothing. */
#ifndef YL_DRAFT_NGRAM_H
#define YL_DRAFT_NGRAM_H

#include "tokenizer.h"

enum {
    DRAFT_NGRAM_LEAST = 3,   /* a match of fewer tokens is none */
    DRAFT_NGRAM_MOST = 64,   /* and no more are compared */
    DRAFT_NGRAM_PLACES = 512 /* so many places are looked at, the newest */
};

typedef struct draft_ngram draft_ngram;

/* For a history of up to n_max tokens. YL_ENOMEM; then *out is NULL. */
yl_status draft_ngram_new(draft_ngram **out, size_t n_max, yl_error *err);
void draft_ngram_free(draft_ngram *d);

/* Tokens of the history. */
size_t draft_ngram_length(const draft_ngram *d);
/* Adds a token. Requires length < n_max. */
void draft_ngram_push(draft_ngram *d, token_id token);
/* Keeps the first n <= length tokens. */
void draft_ngram_truncate(draft_ngram *d, size_t n);

/* Where the last tokens stood before. */
typedef struct draft_match {
    size_t length; /* of the agreement, DRAFT_NGRAM_LEAST to DRAFT_NGRAM_MOST; 0: they are new */
    size_t next;   /* place of the token behind it */
} draft_match;

/* The longest match; of several the newest. */
draft_match draft_ngram_find(const draft_ngram *d);

/* The n tokens that follow a match (length > 0). One that reaches the end of the history goes on as the text then would: with what
 * is being copied. */
void draft_ngram_copy(const draft_ngram *d, draft_match match, token_id *out, size_t n);

#endif
