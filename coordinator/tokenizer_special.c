/* tokenizer_special.c: cutting a text at special tokens.
 *
 * The order is llama.cpp's: the longest token first, everywhere in the text, then the next shorter one in what is left (equal
 * lengths: the smaller id first, within a token the leftmost place first). That is not "the longest at each place": of "abc" and
 * "bcde", the text "abcde" holds the second.
 * llama.cpp searches the whole text once a token, 256 times for Llama 3. Here a trie finds, at each place, the longest token that
 * begins there; all those finds go into a heap in the order above. One whose first byte is taken by then is dropped; one that only
 * runs into a taken byte is put back as the next shorter token that begins at the same place, if there is one. Two bytes tell,
 * since all that was taken before is at least as long. A text without special tokens costs one table lookup a byte. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer_internal.h"

/* --- the trie --- */

static bool is_special(const tokenizer *t, size_t token)
{
    return t->kinds[token] & (TOKEN_CONTROL | TOKEN_USER_DEFINED | TOKEN_UNKNOWN);
}

static uint32_t find_child(const tokenizer *t, uint32_t node, unsigned char byte)
{
    if (node == 0) return t->special_first[byte];
    uint32_t child = t->special[node].first_child;
    while (child && t->special[child].byte != byte) child = t->special[child].next_sibling;
    return child;
}

static uint32_t add_child(tokenizer *t, uint32_t node, unsigned char byte)
{
    uint32_t child = (uint32_t)t->n_special_nodes++;
    special_node *c = &t->special[child], *parent = &t->special[node];
    *c = (special_node){.token = TOKEN_NONE, .byte = byte, .n_bytes = parent->n_bytes + 1};
    if (node == 0) {
        t->special_first[byte] = child;
    } else {
        c->next_sibling = parent->first_child;
        parent->first_child = child;
    }
    return child;
}

static void add_text(tokenizer *t, token_id token)
{
    uint32_t node = 0;
    for (size_t i = 0; i < t->texts[token].n_bytes; i++) {
        unsigned char byte = (unsigned char)t->texts[token].data[i];
        uint32_t child = find_child(t, node, byte);
        node = child ? child : add_child(t, node, byte);
    }
    t->special[node].token = token;
}

/* Links each node to the nearest one above it where a text ends. Parents come before their children in the array. */
static void link_shorter(tokenizer *t)
{
    for (uint32_t node = 1; node < t->n_special_nodes; node++) {
        const special_node *n = &t->special[node];
        uint32_t link = n->token != TOKEN_NONE ? node : n->shorter;
        for (uint32_t child = n->first_child; child; child = t->special[child].next_sibling) t->special[child].shorter = link;
    }
}

yl_status special_build(tokenizer *t, yl_error *err)
{
    size_t n_nodes = 1;
    for (size_t i = 0; i < t->n_vocab; i++)
        if (is_special(t, i)) n_nodes += t->texts[i].n_bytes;
    if (n_nodes > UINT32_MAX) return yl_fail(err, YL_ELIMIT, "the special tokens' texts are too long: %zu bytes", n_nodes);
    t->special = calloc(n_nodes, sizeof *t->special);
    if (!t->special) return yl_fail(err, YL_ENOMEM, "no memory for the special tokens");
    t->special[0].token = TOKEN_NONE;
    t->n_special_nodes = 1;
    for (size_t i = 0; i < t->n_vocab; i++)
        if (is_special(t, i)) add_text(t, (token_id)i);
    link_shorter(t);
    return YL_OK;
}

/* --- cutting --- */

typedef struct found {
    size_t begin;
    uint32_t node;
} found;

typedef struct cutting {
    const tokenizer *t;
    const char *text;
    size_t n_bytes;
    bool parse_special;
    found *heap;
    size_t n_heap, heap_capacity;
    unsigned char *taken; /* [n_bytes], 1: part of a special token, or swallowed by one */
} cutting;

static const special_node *node_of(const cutting *c, found f)
{
    return &c->t->special[f.node];
}

/* Is a to be tried before b? */
static bool before(const cutting *c, found a, found b)
{
    const special_node *x = node_of(c, a), *y = node_of(c, b);
    if (x->n_bytes != y->n_bytes) return x->n_bytes > y->n_bytes;
    if (x->token != y->token) return x->token < y->token;
    return a.begin < b.begin;
}

static void sift_down(cutting *c, size_t i)
{
    found f = c->heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= c->n_heap) break;
        if (child + 1 < c->n_heap && before(c, c->heap[child + 1], c->heap[child])) child++;
        if (!before(c, c->heap[child], f)) break;
        c->heap[i] = c->heap[child];
        i = child;
    }
    c->heap[i] = f;
}

static void drop_first(cutting *c)
{
    c->heap[0] = c->heap[--c->n_heap];
    if (c->n_heap > 0) sift_down(c, 0);
}

/* Control and unknown tokens are text unless asked for; what users defined always counts. */
static bool counts(const cutting *c, uint32_t node)
{
    token_id token = c->t->special[node].token;
    if (token == TOKEN_NONE) return false;
    return c->parse_special || !(c->t->kinds[token] & (TOKEN_CONTROL | TOKEN_UNKNOWN));
}

static uint32_t shorter_that_counts(const cutting *c, uint32_t node)
{
    do node = c->t->special[node].shorter;
    while (node && !counts(c, node));
    return node;
}

/* The longest special token that begins here, or 0. */
static uint32_t longest_at(const cutting *c, size_t begin)
{
    uint32_t node = 0, longest = 0;
    for (size_t i = begin; i < c->n_bytes; i++) {
        node = find_child(c->t, node, (unsigned char)c->text[i]);
        if (!node) break;
        if (counts(c, node)) longest = node;
    }
    return longest;
}

static yl_status find_all(cutting *c, yl_error *err)
{
    for (size_t i = 0; i < c->n_bytes; i++) {
        if (!c->t->special_first[(unsigned char)c->text[i]]) continue;
        uint32_t node = longest_at(c, i);
        if (!node) continue;
        if (c->n_heap == c->heap_capacity) {
            size_t capacity = c->heap_capacity ? 2 * c->heap_capacity : 64;
            found *grown = realloc(c->heap, capacity * sizeof *grown);
            if (!grown) return yl_fail(err, YL_ENOMEM, "no memory for the special tokens of a text");
            c->heap = grown;
            c->heap_capacity = capacity;
        }
        c->heap[c->n_heap++] = (found){i, node};
    }
    for (size_t i = c->n_heap / 2; i-- > 0;) sift_down(c, i);
    return YL_OK;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void take(cutting *c, found f)
{
    const special_node *node = node_of(c, f);
    size_t begin = f.begin, end = f.begin + node->n_bytes;
    uint8_t kind = c->t->kinds[node->token];
    while (kind & TOKEN_LSTRIP && begin > 0 && !c->taken[begin - 1] && is_blank(c->text[begin - 1])) begin--;
    while (kind & TOKEN_RSTRIP && end < c->n_bytes && !c->taken[end] && is_blank(c->text[end])) end++;
    memset(c->taken + begin, 1, end - begin);
}

static yl_status push_fragment(fragment_list *l, fragment f, yl_error *err)
{
    if (l->n == l->capacity) {
        size_t capacity = l->capacity ? 2 * l->capacity : 16;
        fragment *grown = realloc(l->data, capacity * sizeof *grown);
        if (!grown) return yl_fail(err, YL_ENOMEM, "no memory for the fragments of a text");
        l->data = grown;
        l->capacity = capacity;
    }
    l->data[l->n++] = f;
    return YL_OK;
}

static int by_begin(const void *a, const void *b)
{
    const fragment *x = a, *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

/* Takes the finds in their order; appends the special tokens that hold. */
static yl_status take_all(cutting *c, fragment_list *out, yl_error *err)
{
    yl_status status = YL_OK;
    while (c->n_heap > 0 && !status) {
        found *first = &c->heap[0];
        const special_node *node = node_of(c, *first);
        if (c->taken[first->begin]) {
            drop_first(c);
        } else if (c->taken[first->begin + node->n_bytes - 1]) {
            first->node = shorter_that_counts(c, first->node);
            if (first->node)
                sift_down(c, 0);
            else
                drop_first(c);
        } else {
            status = push_fragment(out, (fragment){first->begin, first->begin + node->n_bytes, node->token}, err);
            take(c, *first);
            drop_first(c);
        }
    }
    return status;
}

/* Puts the texts between the special tokens, whose fragments begin at *out's element `first`, in their places. */
static yl_status add_texts(const cutting *c, fragment_list *out, size_t first, yl_error *err)
{
    yl_status status = YL_OK;
    size_t n_special = out->n;
    for (size_t i = 0; i < c->n_bytes && !status;) {
        size_t end = i;
        while (end < c->n_bytes && c->taken[end] == c->taken[i]) end++;
        if (!c->taken[i]) status = push_fragment(out, (fragment){i, end, TOKEN_NONE}, err);
        i = end;
    }
    if (!status && n_special > first) qsort(out->data + first, out->n - first, sizeof *out->data, by_begin);
    return status;
}

yl_status special_cut(const tokenizer *t, fragment_list *out, const char *text, size_t n_bytes, bool parse_special, yl_error *err)
{
    if (n_bytes == 0) return YL_OK;
    cutting c = {.t = t, .text = text, .n_bytes = n_bytes, .parse_special = parse_special};
    yl_status status = find_all(&c, err);
    if (!status && c.n_heap == 0) return push_fragment(out, (fragment){0, n_bytes, TOKEN_NONE}, err);
    if (!status && !(c.taken = calloc(n_bytes, 1)))
        status = yl_fail(err, YL_ENOMEM, "no memory to cut a text of %zu bytes", n_bytes);
    size_t first = out->n;
    if (!status) status = take_all(&c, out, err);
    if (!status) status = add_texts(&c, out, first, err);
    free(c.heap);
    free(c.taken);
    return status;
}
