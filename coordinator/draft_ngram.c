/* draft_ngram.c: chains of places whose last tokens have the same hash, the newest first.
 *
 * A place stands at the head of its chain until a newer one comes. So taking the newest token away undoes its push exactly: its
 * predecessor is the head again. */
#include "draft_ngram.h"

#include <assert.h>
#include <stdlib.h>

static const uint32_t NONE = UINT32_MAX;

struct draft_ngram {
    size_t n, n_max;
    token_id *tokens;   /* [n_max] */
    uint32_t *previous; /* [n_max] the place before in its chain, or NONE */
    uint32_t *heads;    /* [n_heads] the newest place, or NONE */
    size_t n_heads;     /* a power of two */
};

yl_status draft_ngram_new(draft_ngram **out, size_t n_max, yl_error *err)
{
    *out = NULL;
    draft_ngram *d = n_max < UINT32_MAX ? calloc(1, sizeof *d) : NULL;
    if (d) {
        d->n_max = n_max;
        for (d->n_heads = 64; d->n_heads < n_max; d->n_heads *= 2) continue;
        d->tokens = malloc((n_max + 1) * sizeof *d->tokens);
        d->previous = malloc((n_max + 1) * sizeof *d->previous);
        d->heads = malloc(d->n_heads * sizeof *d->heads);
    }
    if (!d || !d->tokens || !d->previous || !d->heads) {
        draft_ngram_free(d);
        return yl_fail(err, YL_ENOMEM, "no memory to look up drafts in %zu tokens", n_max);
    }
    for (size_t i = 0; i < d->n_heads; i++) d->heads[i] = NONE;
    *out = d;
    return YL_OK;
}

void draft_ngram_free(draft_ngram *d)
{
    if (!d) return;
    free(d->tokens);
    free(d->previous);
    free(d->heads);
    free(d);
}

size_t draft_ngram_length(const draft_ngram *d)
{
    return d->n;
}

/* The chain of the place at i >= DRAFT_NGRAM_LEAST - 1. */
static uint32_t *chain_of(const draft_ngram *d, size_t i)
{
    uint64_t h = 0;
    for (size_t k = 0; k < DRAFT_NGRAM_LEAST; k++) h = (h ^ (uint32_t)d->tokens[i - k]) * 0x9e3779b97f4a7c15u;
    return &d->heads[(h >> 32) & (d->n_heads - 1)];
}

void draft_ngram_push(draft_ngram *d, token_id token)
{
    assert(d->n < d->n_max);
    size_t i = d->n++;
    d->tokens[i] = token;
    if (i + 1 < DRAFT_NGRAM_LEAST) return;
    uint32_t *head = chain_of(d, i);
    d->previous[i] = *head;
    *head = (uint32_t)i;
}

void draft_ngram_truncate(draft_ngram *d, size_t n)
{
    assert(n <= d->n);
    for (; d->n > n; d->n--)
        if (d->n >= DRAFT_NGRAM_LEAST) *chain_of(d, d->n - 1) = d->previous[d->n - 1];
}

/* How many tokens agree, backwards from place i and from the end of the history. */
static size_t agreement(const draft_ngram *d, size_t i)
{
    size_t n = 0, most = i + 1 < DRAFT_NGRAM_MOST ? i + 1 : DRAFT_NGRAM_MOST;
    while (n < most && d->tokens[i - n] == d->tokens[d->n - 1 - n]) n++;
    return n;
}

draft_match draft_ngram_find(const draft_ngram *d)
{
    draft_match best = {0};
    if (d->n < DRAFT_NGRAM_LEAST) return best;
    size_t n_places = 0;
    for (uint32_t i = d->previous[d->n - 1]; i != NONE && n_places < DRAFT_NGRAM_PLACES; i = d->previous[i]) {
        size_t n = agreement(d, i);
        n_places += n >= DRAFT_NGRAM_LEAST; /* others only share a hash */
        if (n >= DRAFT_NGRAM_LEAST && n > best.length) best = (draft_match){.length = n, .next = (size_t)i + 1};
        if (n == DRAFT_NGRAM_MOST) break;
    }
    return best;
}

void draft_ngram_copy(const draft_ngram *d, draft_match match, token_id *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t place = match.next + i;
        out[i] = place < d->n ? d->tokens[place] : out[place - d->n];
    }
}
