/* drafter.h: guesses the next tokens of a sequence.
 *
 * Feeding one row reads all weights, and a few rows hardly take longer; over a slow link a frame costs its way, however many rows
 * it has. So likely tokens are fed along with the last one. What is sampled is sampled from each row as if alone, and a drafted
 * token counts only if it is the sample: drafts change how many rows a frame has, never the text.
 *
 * draft_ngram.h finds what may follow, draft_pace.h says how much of it is worth a try. */
#ifndef YL_DRAFTER_H
#define YL_DRAFTER_H

#include "tokenizer.h"

enum { DRAFTER_DEFAULT_MAX = 15, DRAFTER_MOST = 63 };

typedef struct drafter drafter;

/* For a sequence of n_ctx positions; n_max <= DRAFTER_MOST tokens a draft. YL_ENOMEM; then *out is NULL. */
yl_status drafter_new(drafter **out, uint32_t n_ctx, uint32_t n_max, yl_error *err);
void drafter_free(drafter *d);

/* Tokens of a draft at most. */
uint32_t drafter_max(const drafter *d);

/* Keeps the first n tokens of the sequence. False: it knows fewer, and nothing changed. */
bool drafter_rewind(drafter *d, size_t n);
/* Another token of the sequence: fed, or sampled and to be fed next. At most n_ctx + 1 in all. */
void drafter_accept(drafter *d, token_id token);

/* Writes up to `limit` tokens that may follow; returns how many, often none. out: [drafter_max]. */
uint32_t drafter_propose(const drafter *d, token_id *out, size_t limit);
/* How a step fared: n_extra rows were fed besides that of the last token, n_kept tokens of the draft were the text's. */
void drafter_told(drafter *d, uint32_t n_extra, uint32_t n_kept);

#endif
