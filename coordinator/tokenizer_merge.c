/* tokenizer_merge.c: join the best adjacent pair until none may be joined.
 *
 * Both families do this; they differ in which pairs may be joined and which is best. Symbols form a doubly linked list over an
 * array, candidates wait in a binary heap, smallest key first: a key is the priority and, among equals, the left symbol's place, so
 * the leftmost wins. Joining changes two neighbourhoods at most, hence two new candidates. Those that a joining has made untrue are
 * not searched for but recognized when they come up: the left symbol is gone, or the pair is not as long any more as it was (a
 * symbol begins where it began and only grows, so the same length is the same pair). n symbols cost O(n log n). */
#include <stdlib.h>
#include <string.h>

#include "tokenizer_internal.h"

void merge_scratch_clear(merge_scratch *s)
{
    free(s->symbols);
    free(s->queue);
    *s = (merge_scratch){0};
}

yl_status merge_push_symbol(merge_scratch *s, const char *text, uint32_t n_bytes, int32_t id, yl_error *err)
{
    if (s->n_symbols == s->symbols_capacity) {
        size_t capacity = s->symbols_capacity ? 2 * s->symbols_capacity : 64;
        symbol *grown = realloc(s->symbols, capacity * sizeof *grown);
        if (!grown) return yl_fail(err, YL_ENOMEM, "no memory for the %zu symbols of a text", capacity);
        s->symbols = grown;
        s->symbols_capacity = capacity;
    }
    int32_t i = (int32_t)s->n_symbols++; /* a text has at most 2^31 - 1 bytes */
    s->symbols[i] = (symbol){.text = text, .n_bytes = n_bytes, .prev = i - 1, .next = -1, .id = id};
    if (i > 0) s->symbols[i - 1].next = i;
    return YL_OK;
}

static yl_status queue_push(merge_scratch *s, merge_candidate c, yl_error *err)
{
    if (s->n_queue == s->queue_capacity) {
        size_t capacity = s->queue_capacity ? 2 * s->queue_capacity : 64;
        merge_candidate *grown = realloc(s->queue, capacity * sizeof *grown);
        if (!grown) return yl_fail(err, YL_ENOMEM, "no memory for the %zu candidate pairs of a text", capacity);
        s->queue = grown;
        s->queue_capacity = capacity;
    }
    size_t i = s->n_queue++;
    while (i > 0 && c.key < s->queue[(i - 1) / 2].key) {
        s->queue[i] = s->queue[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->queue[i] = c;
    return YL_OK;
}

static merge_candidate queue_pop(merge_scratch *s)
{
    merge_candidate first = s->queue[0], last = s->queue[--s->n_queue];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= s->n_queue) break;
        if (child + 1 < s->n_queue && s->queue[child + 1].key < s->queue[child].key) child++;
        if (last.key <= s->queue[child].key) break;
        s->queue[i] = s->queue[child];
        i = child;
    }
    s->queue[i] = last;
    return first;
}

/* Puts the pair that begins at `left` into the queue, if there is one that may be joined. */
static yl_status consider(const tokenizer *t, merge_scratch *s, int32_t left, merge_rule *rule, yl_error *err)
{
    if (left < 0 || s->symbols[left].next < 0) return YL_OK;
    const symbol *l = &s->symbols[left], *r = &s->symbols[l->next];
    merge_candidate c = {.n_bytes = l->n_bytes + r->n_bytes};
    uint32_t priority;
    if (!rule(t, l, r, &priority, &c.joined)) return YL_OK;
    c.key = (uint64_t)priority << 32 | (uint32_t)left;
    return queue_push(s, c, err);
}

yl_status merge_run(const tokenizer *t, merge_scratch *s, merge_rule *rule, yl_error *err)
{
    yl_status status = YL_OK;
    s->n_queue = 0;
    for (size_t i = 0; i + 1 < s->n_symbols && !status; i++) status = consider(t, s, (int32_t)i, rule, err);
    while (s->n_queue > 0 && !status) {
        merge_candidate c = queue_pop(s);
        int32_t left = (int32_t)(uint32_t)c.key;
        symbol *l = &s->symbols[left];
        if (l->n_bytes == 0 || l->next < 0 || l->n_bytes + s->symbols[l->next].n_bytes != c.n_bytes) continue;
        symbol *r = &s->symbols[l->next];
        l->n_bytes = c.n_bytes;
        l->id = c.joined;
        l->next = r->next;
        r->n_bytes = 0;
        if (l->next >= 0) s->symbols[l->next].prev = left;
        status = consider(t, s, l->prev, rule, err);
        if (!status) status = consider(t, s, left, rule, err);
    }
    return status;
}
