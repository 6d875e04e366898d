/* sampler_history.c: the tokens so far, and how often each occurs among the newest.
 *
 * The tokens lie in one piece, which DRY wants. The buffer holds twice what is kept (the window, and what comes back into it when
 * tokens are taken back): when it is full its newer half moves to the front, one copy every so many tokens. It starts small and
 * grows with the sequence, since a window may be as long as the context. Counts are a hash table of what is inside the window;
 * leaving tokens are deleted by closing the gap behind them (Knuth, The Art of Computer Programming 3, section 6.4, algorithm R),
 * so probing never slows down. */
#include "sampler_internal.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_TOKENS = 64, FIRST_SLOTS = 64 };

/* ---- counts ---- */

static size_t home_slot(const token_counts *c, int32_t token)
{
    return (size_t)((uint32_t)token * 2654435769u >> 7) & (c->n_slots - 1); /* 2^32 / golden ratio; Knuth again */
}

/* Where the token is, or the free slot where it would go. */
static size_t find_slot(const token_counts *c, int32_t token)
{
    size_t i = home_slot(c, token);
    while (c->counts[i] && c->tokens[i] != token) i = (i + 1) & (c->n_slots - 1);
    return i;
}

static void counts_free(token_counts *c)
{
    free(c->tokens);
    free(c->counts);
    *c = (token_counts){0};
}

static bool counts_alloc(token_counts *c, size_t n_slots)
{
    *c = (token_counts){.tokens = calloc(n_slots, sizeof *c->tokens),
                        .counts = calloc(n_slots, sizeof *c->counts),
                        .n_slots = n_slots};
    if (c->tokens && c->counts) return true;
    counts_free(c);
    return false;
}

/* Makes room for one more token. */
static bool counts_reserve(token_counts *c)
{
    if (c->n_slots && c->n_used + 1 <= c->n_slots / 2) return true;
    token_counts larger;
    if (!counts_alloc(&larger, c->n_slots ? c->n_slots * 2 : FIRST_SLOTS)) return false;
    for (size_t i = 0; i < c->n_slots; i++) {
        if (!c->counts[i]) continue;
        size_t slot = find_slot(&larger, c->tokens[i]);
        larger.tokens[slot] = c->tokens[i];
        larger.counts[slot] = c->counts[i];
    }
    larger.n_used = c->n_used;
    counts_free(c);
    *c = larger;
    return true;
}

static void counts_add(token_counts *c, int32_t token)
{
    size_t i = find_slot(c, token);
    if (!c->counts[i]) c->n_used++;
    c->tokens[i] = token;
    c->counts[i]++;
}

/* Frees a slot, then pulls back every follower that may not stand behind a gap. */
static void close_gap(token_counts *c, size_t gap)
{
    size_t mask = c->n_slots - 1;
    for (size_t i = (gap + 1) & mask; c->counts[i]; i = (i + 1) & mask) {
        size_t distance_home = (i - home_slot(c, c->tokens[i])) & mask;
        if (distance_home < ((i - gap) & mask)) continue; /* its home lies behind the gap */
        c->tokens[gap] = c->tokens[i];
        c->counts[gap] = c->counts[i];
        gap = i;
    }
    c->counts[gap] = 0;
}

static void counts_remove(token_counts *c, int32_t token)
{
    size_t i = find_slot(c, token);
    if (--c->counts[i]) return;
    close_gap(c, i);
    c->n_used--;
}

/* ---- history ---- */

/* The newest tokens that are never let go. */
static size_t n_kept(const token_history *h)
{
    return h->window + SAMPLER_MAX_TAKE_BACK;
}

void token_history_init(token_history *h, size_t count_window, size_t other_window)
{
    *h = (token_history){.window = count_window > other_window ? count_window : other_window, .count_window = count_window};
}

void token_history_free(token_history *h)
{
    free(h->tokens);
    counts_free(&h->counts);
    *h = (token_history){0};
}

void token_history_clear(token_history *h)
{
    h->n = 0;
    h->counts.n_used = 0;
    if (h->counts.n_slots) memset(h->counts.counts, 0, h->counts.n_slots * sizeof *h->counts.counts);
}

bool token_history_copy(token_history *to, const token_history *from)
{
    *to = (token_history){.window = from->window, .count_window = from->count_window};
    size_t n = from->n < n_kept(from) ? from->n : n_kept(from);
    if (n) {
        to->tokens = malloc(from->capacity * sizeof *to->tokens);
        if (!to->tokens) return false;
        memcpy(to->tokens, from->tokens + (from->n - n), n * sizeof *to->tokens);
        to->n = n;
        to->capacity = from->capacity;
    }
    if (from->counts.n_used) {
        if (!counts_alloc(&to->counts, from->counts.n_slots)) {
            token_history_free(to);
            return false;
        }
        memcpy(to->counts.tokens, from->counts.tokens, from->counts.n_slots * sizeof *to->counts.tokens);
        memcpy(to->counts.counts, from->counts.counts, from->counts.n_slots * sizeof *to->counts.counts);
        to->counts.n_used = from->counts.n_used;
    }
    return true;
}

/* Makes room for one more token: grows, or lets go of the oldest. */
static bool tokens_reserve(token_history *h)
{
    if (h->n < h->capacity) return true;
    size_t most = 2 * n_kept(h); /* a window is at most 2^31 */
    if (h->capacity == most) {
        memmove(h->tokens, h->tokens + (h->n - n_kept(h)), n_kept(h) * sizeof *h->tokens);
        h->n = n_kept(h);
        return true;
    }
    size_t capacity = h->capacity ? h->capacity * 2 : FIRST_TOKENS;
    if (capacity > most) capacity = most;
    int32_t *tokens = realloc(h->tokens, capacity * sizeof *tokens);
    if (!tokens) return false;
    h->tokens = tokens;
    h->capacity = capacity;
    return true;
}

bool token_history_push(token_history *h, int32_t token)
{
    if (!h->window) return true;
    if (h->count_window && !counts_reserve(&h->counts)) return false;
    if (!tokens_reserve(h)) return false;
    h->tokens[h->n++] = token;
    if (!h->count_window) return true;
    counts_add(&h->counts, token);
    if (h->n > h->count_window) counts_remove(&h->counts, h->tokens[h->n - 1 - h->count_window]);
    return true;
}

void token_history_pop(token_history *h)
{
    if (!h->n) return;
    h->n--;
    if (!h->count_window) return;
    counts_remove(&h->counts, h->tokens[h->n]);
    if (h->n >= h->count_window) counts_add(&h->counts, h->tokens[h->n - h->count_window]); /* had left the window */
}

uint32_t token_history_count(const token_history *h, int32_t token)
{
    return h->counts.n_used ? h->counts.counts[find_slot(&h->counts, token)] : 0;
}
