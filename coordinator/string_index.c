/* string_index.c: open addressing with linear probing, at most half full. The strings stay where they are; a slot is four bytes. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer_internal.h"

/* Eight bytes at a time, each step a multiplication that the next one folds back: quick for the short strings of vocabularies. */
static uint64_t hash_of(const char *text, size_t n_bytes)
{
    uint64_t h = 0x9e3779b97f4a7c15u ^ n_bytes, word;
    while (n_bytes >= sizeof word) {
        memcpy(&word, text, sizeof word);
        h = (h ^ word) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
        text += sizeof word;
        n_bytes -= sizeof word;
    }
    word = 0;
    memcpy(&word, text, n_bytes);
    h = (h ^ word) * 0xff51afd7ed558ccdu;
    return h ^ h >> 32;
}

static bool same(gguf_str a, const char *text, size_t n_bytes)
{
    return a.n_bytes == n_bytes && memcmp(a.data, text, n_bytes) == 0;
}

void string_index_clear(string_index *x)
{
    free(x->slots);
    *x = (string_index){0};
}

int64_t string_index_find(const string_index *x, const gguf_str *strings, const char *text, size_t n_bytes)
{
    if (x->n_slots == 0) return -1;
    size_t mask = x->n_slots - 1;
    for (size_t i = hash_of(text, n_bytes) & mask; x->slots[i]; i = (i + 1) & mask)
        if (same(strings[x->slots[i] - 1], text, n_bytes)) return x->slots[i] - 1;
    return -1;
}

static void put(string_index *x, const gguf_str *strings, uint32_t i)
{
    size_t mask = x->n_slots - 1, slot = hash_of(strings[i].data, strings[i].n_bytes) & mask;
    while (x->slots[slot]) slot = (slot + 1) & mask;
    x->slots[slot] = i + 1;
}

static yl_status grow(string_index *x, const gguf_str *strings, yl_error *err)
{
    string_index grown = {.n_slots = x->n_slots ? 2 * x->n_slots : 1024, .n_used = x->n_used};
    grown.slots = calloc(grown.n_slots, sizeof *grown.slots);
    if (!grown.slots) return yl_fail(err, YL_ENOMEM, "no memory for an index of %zu tokens", grown.n_slots / 2);
    for (size_t i = 0; i < x->n_slots; i++)
        if (x->slots[i]) put(&grown, strings, x->slots[i] - 1);
    string_index_clear(x);
    *x = grown;
    return YL_OK;
}

yl_status string_index_add(string_index *x, const gguf_str *strings, uint32_t i, yl_error *err)
{
    if (2 * (x->n_used + 1) > x->n_slots) {
        yl_status status = grow(x, strings, err);
        if (status) return status;
    }
    put(x, strings, i);
    x->n_used++;
    return YL_OK;
}
