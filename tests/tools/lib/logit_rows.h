/* logit_rows.h: rows of logits to try samplers on, and what a last stage would answer about them. */
#ifndef YL_LOGIT_ROWS_H
#define YL_LOGIT_ROWS_H

#include "prng.h"
#include "sampler.h"

typedef enum row_shape {
    ROW_NORMAL, /* bell-shaped */
    ROW_PEAKED, /* a few tokens hold nearly everything */
    ROW_FLAT,   /* nearly the same everywhere */
    ROW_TIES,   /* few different values */
    ROW_ZIPF,   /* probability ~ rank^-s, as words have; s from 1 to 2.5 */
    ROW_NEVERS, /* bell-shaped with many -infinity */
    N_ROW_SHAPES
} row_shape;

void make_row(float *row, uint32_t n_vocab, row_shape shape, prng *r);
/* max and sum_exp of a row by the contract. */
void describe_row(sampler_logits *l, const float *row, uint32_t n_vocab);
/* What a last stage would answer: top[n_top], listed[n_listed]. */
void answer_request(sampler_logits *l, const float *row, uint32_t n_vocab, const sampler_request *request, sampler_candidate *top,
                    sampler_candidate *listed);

#endif
