/* sampler_dry.c: "don't repeat yourself": which token would prolong a repetition, and how long it is already.
 *
 * If the newest tokens, say "a b c", occurred before and were then followed by "d", a "d" now would make the repetition longer, and
 * is punished by how long it is. For every earlier place we need the length of the common suffix of what ends there and of
 * the whole: the Z function of the reversed text, in linear time (Gusfield, Algorithms on Strings, Trees, and Sequences, 1997,
 * section 1.3). The rules are those of DRY's author (p-e-w, text-generation-webui pull request 5677) as llama.cpp has them.
 *
 * A breaker, such as a line break, may be repeated: a repetition counts only what lies behind the newest place where a breaker
 * ends. llama.cpp searches where breakers begin, by their first token; we are given token sequences and search where they end,
 * newest first. That gives the same limit but where a short breaker lies inside a longer one: llama.cpp may then miss the end
 * of the one that ends last, by its own comment. A breaker of one token is itself never punished. */
#include "sampler_internal.h"

#include <stdlib.h>
#include <string.h>

#include "radix_sort.h"

/* ---- breakers ---- */

void dry_breakers_free(dry_breakers *b)
{
    free(b->tokens);
    free(b->begin);
    *b = (dry_breakers){0};
}

static bool breakers_alloc(dry_breakers *b, size_t n_tokens, size_t n)
{
    *b = (dry_breakers){.tokens = malloc(n_tokens * sizeof *b->tokens), .begin = malloc((n + 1) * sizeof *b->begin), .n = n};
    if (b->tokens && b->begin) return true;
    dry_breakers_free(b);
    return false;
}

/* The sequences' numbers by their last token. order, tmp: [n] */
static void order_by_last_token(uint64_t *order, uint64_t *tmp, const int32_t *const *sequences, const size_t *lens, size_t n)
{
    for (size_t i = 0; i < n; i++) order[i] = (uint64_t)(uint32_t)sequences[i][lens[i] - 1] << 32 | (uint32_t)i;
    radix_sort(order, tmp, n);
}

bool dry_breakers_init(dry_breakers *b, const int32_t *const *sequences, const size_t *lens, size_t n)
{
    *b = (dry_breakers){0};
    if (!n) return true;
    size_t n_tokens = 0;
    for (size_t i = 0; i < n; i++) n_tokens += lens[i];
    uint64_t *order = malloc(2 * n * sizeof *order);
    if (!order || !breakers_alloc(b, n_tokens, n)) {
        free(order);
        return false;
    }
    order_by_last_token(order, order + n, sequences, lens, n);
    b->begin[0] = 0;
    for (size_t i = 0; i < n; i++) {
        size_t from = (uint32_t)order[i];
        memcpy(b->tokens + b->begin[i], sequences[from], lens[from] * sizeof *b->tokens);
        b->begin[i + 1] = b->begin[i] + lens[from];
    }
    free(order);
    return true;
}

bool dry_breakers_copy(dry_breakers *to, const dry_breakers *from)
{
    *to = (dry_breakers){0};
    if (!from->n) return true;
    size_t n_tokens = from->begin[from->n];
    if (!breakers_alloc(to, n_tokens, from->n)) return false;
    memcpy(to->tokens, from->tokens, n_tokens * sizeof *to->tokens);
    memcpy(to->begin, from->begin, (from->n + 1) * sizeof *to->begin);
    return true;
}

static int32_t last_token(const dry_breakers *b, size_t i)
{
    return b->tokens[b->begin[i + 1] - 1];
}

/* The first sequence whose last token is not below `token`. */
static size_t first_ending_in(const dry_breakers *b, int32_t token)
{
    size_t low = 0, high = b->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (last_token(b, middle) < token) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool a_breaker_ends(const dry_breakers *b, const int32_t *tokens, size_t n)
{
    for (size_t i = first_ending_in(b, tokens[n - 1]); i < b->n && last_token(b, i) == tokens[n - 1]; i++) {
        size_t len = b->begin[i + 1] - b->begin[i];
        if (len <= n && !memcmp(b->tokens + b->begin[i], tokens + (n - len), len * sizeof *tokens)) return true;
    }
    return false;
}

/* How many tokens follow the newest breaker. */
static size_t tokens_after_breaker(const dry_breakers *b, const int32_t *tokens, size_t n)
{
    size_t end = n;
    while (end > 0 && !a_breaker_ends(b, tokens, end)) end--;
    return n - end;
}

static bool is_a_breaker(const dry_breakers *b, int32_t token)
{
    for (size_t i = first_ending_in(b, token); i < b->n && last_token(b, i) == token; i++) {
        if (b->begin[i + 1] - b->begin[i] == 1) return true;
    }
    return false;
}

/* ---- repetitions ---- */

/* z[k]: how many tokens of the end of tokens[n - k] are those of the end of tokens[n]. [left, right): the match that reaches
 * furthest back, in tokens counted from the newest. z[0] is not used. */
static void common_suffixes(const int32_t *tokens, size_t n, uint32_t *z)
{
    size_t left = 0, right = 0;
    for (size_t k = 1; k < n; k++) {
        size_t len = 0;
        if (k < right) {
            len = z[k - left];
            if (len > right - k) len = right - k;
        }
        while (k + len < n && tokens[n - 1 - len] == tokens[n - 1 - k - len]) len++;
        z[k] = (uint32_t)len;
        if (k + len > right) {
            left = k;
            right = k + len;
        }
    }
}

/* Keeps the first, that is the longest, of each token. */
static size_t unique_by_token(uint64_t *hits, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (!kept || dry_hit_token(hits[i]) != dry_hit_token(hits[kept - 1])) hits[kept++] = hits[i];
    }
    return kept;
}

size_t dry_find(const int32_t *tokens, size_t n, uint32_t allowed_length, const dry_breakers *b, uint32_t *z, uint64_t *hits,
                uint64_t *tmp)
{
    if (n <= allowed_length) return 0;
    size_t limit = b->n ? tokens_after_breaker(b, tokens, n) : n;
    if (limit < allowed_length) return 0;
    common_suffixes(tokens, n, z);
    size_t n_hits = 0;
    for (size_t k = 1; k < n; k++) {
        uint32_t length = z[k] < limit ? z[k] : (uint32_t)limit;
        if (length < allowed_length || is_a_breaker(b, tokens[n - k])) continue;
        hits[n_hits++] = dry_hit(tokens[n - k], length);
    }
    radix_sort(hits, tmp, n_hits);
    return unique_by_token(hits, n_hits);
}
