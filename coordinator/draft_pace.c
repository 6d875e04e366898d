/* draft_pace.c: the account of rows. The figures were chosen by replaying texts that quote (documents read back, with and without
 * edits) and that do not (prose, code, the small model's own). */
#include "draft_pace.h"

#include "draft_ngram.h"

enum { SURE_MATCH = 12, STRICTER = 2 };

static const double CREDIT_FIRST = 1, CREDIT_MOST = 16, CREDIT_A_TOKEN = 0.02, CREDIT_A_KEPT_TOKEN = 0.25;

draft_pace draft_pace_begin(uint32_t n_max)
{
    return (draft_pace){.n_max = n_max, .credit = CREDIT_FIRST, .least = DRAFT_NGRAM_LEAST};
}

uint32_t draft_pace_next(const draft_pace *p, size_t match)
{
    /* A match so long is hardly chance: without credit a single token finds out. */
    double needed = match >= SURE_MATCH ? 0 : 1;
    if (p->n_max == 0 || match < p->least || p->credit < needed) return 0;
    uint32_t n = p->credit < 1 ? 1 : (uint32_t)p->credit;
    if (n > match / 2) n = (uint32_t)(match / 2);
    return n < p->n_max ? n : p->n_max;
}

void draft_pace_told(draft_pace *p, uint32_t n_drafted, uint32_t n_kept)
{
    p->credit += CREDIT_A_TOKEN * (n_kept + 1) + CREDIT_A_KEPT_TOKEN * n_kept - (n_drafted - n_kept);
    if (p->credit > CREDIT_MOST) p->credit = CREDIT_MOST;
    if (n_drafted == 0) return;
    if (n_kept == 0 && p->least < SURE_MATCH) p->least = p->least + STRICTER < SURE_MATCH ? p->least + STRICTER : SURE_MATCH;
    if (n_kept == n_drafted && p->least > DRAFT_NGRAM_LEAST) p->least--;
}
