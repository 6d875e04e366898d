/* draft_pace.h: how many tokens to draft now, from how drafts fared so far.
 *
 * A row computed in vain is paid from credit. Each token of the text earns a little, each token that a draft foresaw earns more. So
 * text that repeats nothing costs at most 2 % more rows (and two), however often its last tokens occurred before; text that quotes
 * soon has credit for long drafts. The longer the match, the longer the draft: who agreed for twelve tokens will for six more.
 * After a draft of which nothing was right, matches must be longer; after one that was right, they may be shorter again. */
#ifndef YL_DRAFT_PACE_H
#define YL_DRAFT_PACE_H

#include <stddef.h>
#include <stdint.h>

typedef struct draft_pace {
    uint32_t n_max; /* tokens of a draft at most */
    double credit;  /* rows that may be computed in vain */
    uint32_t least; /* tokens that must agree before anything is drafted */
} draft_pace;

/* For drafts of up to n_max tokens; 0: there will be none. */
draft_pace draft_pace_begin(uint32_t n_max);

/* Tokens to draft behind a match of `match` tokens. */
uint32_t draft_pace_next(const draft_pace *p, size_t match);

/* A draft of n_drafted tokens (0: there was none) was weighed: its first n_kept were the text's, and one token came behind them. */
void draft_pace_told(draft_pace *p, uint32_t n_drafted, uint32_t n_kept);

#endif
