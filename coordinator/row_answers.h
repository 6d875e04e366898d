/* row_answers.h: what the last stage answered for the rows of a step, kept until each row's turn to be sampled.
 *
 * Answers come in one go, and views of them live only as long as the callback; sampling goes row by row. */
#ifndef YL_ROW_ANSWERS_H
#define YL_ROW_ANSWERS_H

#include "frames.h"
#include "sampler.h"

typedef struct row_answers row_answers;

/* Room for n_max rows. YL_ENOMEM; then *out is NULL. */
yl_status row_answers_new(row_answers **out, uint32_t n_max, uint32_t n_vocab, yl_error *err);
void row_answers_free(row_answers *a);

/* Forgets all rows. */
void row_answers_clear(row_answers *a);

/* Adds a row, of which will be asked what the sampler, as it is now, needs: a few candidates as a rule. Requires fewer than n_max
 * rows. The want, of row `row` of a request, holds until row_answers_clear. */
frame_want row_answers_ask(row_answers *a, sampler *s, uint32_t row);
/* The same, but all logits are asked for. */
frame_want row_answers_ask_all(row_answers *a, uint32_t row);

/* Keeps the answer to the i-th row that was added. YL_EPEER: it is not what was asked for; YL_ENOMEM. */
yl_status row_answers_take(row_answers *a, size_t i, const frame_answer *answer, yl_error *err);

/* That row's logits, until the next row_answers_clear; NULL: there is no answer. */
const sampler_logits *row_answers_get(const row_answers *a, size_t i);

#endif
