/* drafter.c: prompt lookup at its pace. */
#include "drafter.h"

#include <stdlib.h>

#include "draft_ngram.h"
#include "draft_pace.h"

struct drafter {
    draft_ngram *past;
    draft_pace pace;
};

yl_status drafter_new(drafter **out, uint32_t n_ctx, uint32_t n_max, yl_error *err)
{
    *out = NULL;
    drafter *d = calloc(1, sizeof *d);
    if (!d) return yl_fail(err, YL_ENOMEM, "no memory for drafts");
    yl_status status = draft_ngram_new(&d->past, (size_t)n_ctx + 1, err);
    if (status) {
        free(d);
        return status;
    }
    d->pace = draft_pace_begin(n_max);
    *out = d;
    return YL_OK;
}

void drafter_free(drafter *d)
{
    if (!d) return;
    draft_ngram_free(d->past);
    free(d);
}

uint32_t drafter_max(const drafter *d)
{
    return d->pace.n_max;
}

bool drafter_rewind(drafter *d, size_t n)
{
    if (n > draft_ngram_length(d->past)) return false;
    draft_ngram_truncate(d->past, n);
    return true;
}

void drafter_accept(drafter *d, token_id token)
{
    draft_ngram_push(d->past, token);
}

uint32_t drafter_propose(const drafter *d, token_id *out, size_t limit)
{
    draft_match match = draft_ngram_find(d->past);
    uint32_t n = draft_pace_next(&d->pace, match.length);
    if (n > limit) n = (uint32_t)limit;
    if (n > 0) draft_ngram_copy(d->past, match, out, n);
    return n;
}

void drafter_told(drafter *d, uint32_t n_extra, uint32_t n_kept)
{
    draft_pace_told(&d->pace, n_extra, n_kept);
}
