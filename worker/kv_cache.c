/* kv_cache.c: pages, who has them, and why there are always enough.
 *
 *     sequence 0: [page 4][page 0][page 7]        page   0  1  2  3  4  5  6  7
 *     sequence 1: [page 4][page 2]                refs   1  0  1  0  2  0  0  1      free: 1 3 5 6
 *
 * A page belongs to all sequences whose table names it, and is written only while exactly one does: append copies a shared last
 * page before anything is stored behind its end. So a fork is a copy of a table, and costs one page copy later at most, where one
 * of the two goes on inside the page that they share.
 *
 * There are n_seq * P pages, P = ceil(n_ctx / 64), and a table has at most P entries, so the tables together never have more
 * entries than there are pages. Whoever takes a page for a new entry finds fewer entries than that before it; whoever replaces a
 * shared page by a copy has two entries naming one page. Either way fewer pages than n_seq * P are in use: one is free. Nothing can
 * fail here but a length beyond n_ctx.
 *
 * A page is fresh (zeroes that nobody ever touched) or on the stack of free ones, which are taken first, so that a process only
 * touches as much memory as its longest moment needed. */
#include "kv_cache.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

struct kv_cache {
    const allocator *alloc;
    kv_cache_spec spec;
    size_t page_bytes, head_bytes, key_bytes;
    size_t pages_per_seq, n_pages; /* both 0 without layers: then only lengths are kept */
    uint8_t *memory;               /* [n_pages, page_bytes] */
    uint8_t **tables;              /* [n_seq, pages_per_seq] */
    uint32_t *lengths;             /* [n_seq] */
    uint32_t *refs;                /* [n_pages] */
    uint32_t *free_pages;          /* [n_pages], the first n_free are on the stack */
    size_t n_free, n_fresh;        /* the last n_fresh pages of memory were never taken */
};

/* Sizes of a cache, all of them derived from its spec. */
typedef struct kv_sizes {
    uint64_t key_bytes, head_bytes, page_bytes, pages_per_seq, n_pages, memory_bytes, total_bytes;
} kv_sizes;

static bool multiply(uint64_t a, uint64_t b, uint64_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

/* False: something overflows. */
static bool sizes_of(kv_sizes *z, const kv_cache_spec *spec)
{
    uint64_t n_heads, value_bytes, pages_bookkeeping, seq_bookkeeping;
    z->key_bytes = kv_run_bytes(spec->type_k, spec->n_embd_head);
    value_bytes = kv_run_bytes(spec->type_v, spec->n_embd_head);
    z->head_bytes = z->key_bytes + value_bytes;
    z->pages_per_seq = spec->n_layer > 0 ? ((uint64_t)spec->n_ctx + KV_PAGE_POSITIONS - 1) / KV_PAGE_POSITIONS : 0;
    bool fits = multiply(spec->n_layer, spec->n_head_kv, &n_heads) && multiply(n_heads, z->head_bytes, &z->page_bytes) &&
                multiply(z->pages_per_seq, spec->n_seq, &z->n_pages) && multiply(z->n_pages, z->page_bytes, &z->memory_bytes) &&
                multiply(z->n_pages, sizeof(uint8_t *) + 2 * sizeof(uint32_t), &pages_bookkeeping);
    seq_bookkeeping = sizeof(kv_cache) + (uint64_t)spec->n_seq * sizeof(uint32_t);
    return fits && !__builtin_add_overflow(z->memory_bytes, pages_bookkeeping, &z->total_bytes) &&
           !__builtin_add_overflow(z->total_bytes, seq_bookkeeping, &z->total_bytes);
}

uint64_t kv_cache_bytes(const kv_cache_spec *spec)
{
    kv_sizes z = {0};
    return sizes_of(&z, spec) ? z.total_bytes : UINT64_MAX;
}

static yl_status check_spec(const kv_cache_spec *spec, kv_sizes *z, yl_error *err)
{
    if (spec->n_ctx == 0 || spec->n_seq == 0 || spec->n_head_kv == 0 || spec->n_embd_head == 0)
        return yl_fail(err, YL_EINVAL, "a KV cache needs positions, sequences, heads and elements: none of them may be 0");
    if ((unsigned)spec->type_k > KV_TYPE_LAST || (unsigned)spec->type_v > KV_TYPE_LAST)
        return yl_fail(err, YL_EINVAL, "a KV cache holds f16, f32 or q8_0, not type %d or %d", (int)spec->type_k,
                       (int)spec->type_v);
    if (!kv_type_takes(spec->type_k, spec->n_embd_head) || !kv_type_takes(spec->type_v, spec->n_embd_head))
        return yl_fail(err, YL_EINVAL,
                       "a KV cache of q8_0 holds heads in blocks of 32 elements, and %" PRIu32
                       " is no multiple of that. Ask for f16",
                       spec->n_embd_head);
    if (!sizes_of(z, spec) || z->total_bytes > SIZE_MAX || z->n_pages > UINT32_MAX)
        return yl_fail(err, YL_ELIMIT,
                       "a KV cache of %" PRIu32 " sequences of %" PRIu32
                       " positions is larger than this machine can address. Ask for fewer",
                       spec->n_seq, spec->n_ctx);
    return YL_OK;
}

static bool allocate(kv_cache *c)
{
    c->lengths = allocator_array(c->alloc, c->spec.n_seq, sizeof *c->lengths);
    if (!c->lengths) return false;
    if (c->n_pages == 0) return true;
    c->tables = allocator_array(c->alloc, c->n_pages, sizeof *c->tables);
    c->refs = allocator_array(c->alloc, c->n_pages, sizeof *c->refs);
    c->free_pages = allocator_array(c->alloc, c->n_pages, sizeof *c->free_pages);
    c->memory = allocator_array(c->alloc, c->n_pages, c->page_bytes);
    return c->tables && c->refs && c->free_pages && c->memory;
}

yl_status kv_cache_new(kv_cache **out, const kv_cache_spec *spec, const allocator *alloc, yl_error *err)
{
    *out = NULL;
    kv_sizes z = {0};
    yl_status status = check_spec(spec, &z, err);
    if (status) return status;
    kv_cache *c = allocator_array(alloc, 1, sizeof *c);
    if (c) {
        c->alloc = alloc;
        c->spec = *spec;
        c->key_bytes = (size_t)z.key_bytes;
        c->head_bytes = (size_t)z.head_bytes;
        c->page_bytes = (size_t)z.page_bytes;
        c->pages_per_seq = (size_t)z.pages_per_seq;
        c->n_pages = c->n_fresh = (size_t)z.n_pages;
    }
    if (!c || !allocate(c)) {
        kv_cache_free(c);
        return yl_fail(err, YL_ENOMEM,
                       "no memory for a KV cache of %" PRIu32 " sequences of %" PRIu32 " positions (%" PRIu64
                       " bytes). Ask for fewer",
                       spec->n_seq, spec->n_ctx, z.total_bytes);
    }
    *out = c;
    return YL_OK;
}

void kv_cache_free(kv_cache *c)
{
    if (!c) return;
    allocator_release_array(c->alloc, c->memory, c->n_pages, c->page_bytes);
    allocator_release_array(c->alloc, c->free_pages, c->n_pages, sizeof *c->free_pages);
    allocator_release_array(c->alloc, c->refs, c->n_pages, sizeof *c->refs);
    allocator_release_array(c->alloc, c->tables, c->n_pages, sizeof *c->tables);
    allocator_release_array(c->alloc, c->lengths, c->spec.n_seq, sizeof *c->lengths);
    allocator_release_array(c->alloc, c, 1, sizeof *c);
}

/* Pages that n positions of a sequence lie in. */
static size_t pages_of(const kv_cache *c, uint32_t n)
{
    return c->n_pages == 0 ? 0 : ((size_t)n + KV_PAGE_POSITIONS - 1) / KV_PAGE_POSITIONS;
}

static uint8_t **table_of(const kv_cache *c, uint32_t seq)
{
    assert(seq < c->spec.n_seq);
    return c->tables ? c->tables + seq * c->pages_per_seq : NULL;
}

static uint32_t *refs_of(const kv_cache *c, const uint8_t *page)
{
    return &c->refs[(size_t)(page - c->memory) / c->page_bytes];
}

/* A page that nobody has, its bytes as they were left (the caller zeroes or overwrites a used one). */
static uint8_t *take_page(kv_cache *c, bool *is_fresh)
{
    assert(c->n_free + c->n_fresh > 0); /* the essay above */
    *is_fresh = c->n_free == 0;
    size_t index = *is_fresh ? c->n_pages - c->n_fresh-- : c->free_pages[--c->n_free];
    assert(c->refs[index] == 0);
    c->refs[index] = 1;
    return c->memory + index * c->page_bytes;
}

static uint8_t *take_zeroed_page(kv_cache *c)
{
    bool is_fresh;
    uint8_t *page = take_page(c, &is_fresh);
    return is_fresh ? page : memset(page, 0, c->page_bytes);
}

static void release_page(kv_cache *c, uint8_t *page)
{
    uint32_t *refs = refs_of(c, page);
    if (--*refs == 0) c->free_pages[c->n_free++] = (uint32_t)(refs - c->refs);
}

/* Makes the page the table's own. */
static void unshare_page(kv_cache *c, uint8_t **entry)
{
    if (*refs_of(c, *entry) == 1) return;
    bool is_fresh;
    uint8_t *copy = take_page(c, &is_fresh);
    memcpy(copy, *entry, c->page_bytes);
    release_page(c, *entry);
    *entry = copy;
}

uint32_t kv_cache_length(const kv_cache *c, uint32_t seq)
{
    assert(seq < c->spec.n_seq);
    return c->lengths[seq];
}

yl_status kv_cache_append(kv_cache *c, uint32_t seq, uint32_t n, yl_error *err)
{
    assert(seq < c->spec.n_seq);
    uint32_t length = c->lengths[seq];
    if (n > c->spec.n_ctx - length)
        return yl_fail(err, YL_ELIMIT,
                       "sequence %" PRIu32 " has %" PRIu32 " positions, %" PRIu32 " more do not fit: its limit is %" PRIu32, seq,
                       length, n, c->spec.n_ctx);
    uint8_t **table = table_of(c, seq);
    size_t n_had = pages_of(c, length), n_needed = pages_of(c, length + n);
    if (n > 0 && n_had > 0 && length % KV_PAGE_POSITIONS != 0) unshare_page(c, &table[n_had - 1]);
    for (size_t i = n_had; i < n_needed; i++) table[i] = take_zeroed_page(c);
    c->lengths[seq] = length + n;
    return YL_OK;
}

void kv_cache_truncate(kv_cache *c, uint32_t seq, uint32_t n)
{
    uint32_t length = kv_cache_length(c, seq);
    if (n >= length) return;
    uint8_t **table = table_of(c, seq);
    for (size_t i = pages_of(c, n); i < pages_of(c, length); i++) release_page(c, table[i]);
    c->lengths[seq] = n;
}

yl_status kv_cache_fork(kv_cache *c, uint32_t from, uint32_t to, uint32_t n, yl_error *err)
{
    assert(from != to);
    uint32_t length = kv_cache_length(c, from);
    if (n > length)
        return yl_fail(err, YL_ELIMIT, "sequence %" PRIu32 " has %" PRIu32 " positions, the first %" PRIu32 " cannot be forked",
                       from, length, n);
    kv_cache_truncate(c, to, 0);
    uint8_t **source = table_of(c, from), **table = table_of(c, to);
    for (size_t i = 0; i < pages_of(c, n); i++) {
        table[i] = source[i];
        ++*refs_of(c, table[i]);
    }
    c->lengths[to] = n;
    return YL_OK;
}

void kv_cache_clear(kv_cache *c)
{
    for (uint32_t seq = 0; seq < c->spec.n_seq; seq++) kv_cache_truncate(c, seq, 0);
}

kv_head kv_cache_head(const kv_cache *c, uint32_t seq, uint32_t layer, uint32_t head)
{
    assert(layer < c->spec.n_layer && head < c->spec.n_head_kv);
    size_t offset = ((size_t)layer * c->spec.n_head_kv + head) * c->head_bytes;
    return (kv_head){.pages = (const uint8_t *const *)table_of(c, seq),
                     .k_offset = offset,
                     .v_offset = offset + c->key_bytes,
                     .type_k = c->spec.type_k,
                     .type_v = c->spec.type_v};
}

uint8_t *kv_cache_page(kv_cache *c, uint32_t seq, uint32_t pos)
{
    assert(pos < kv_cache_length(c, seq) && c->n_pages > 0);
    return table_of(c, seq)[pos / KV_PAGE_POSITIONS];
}
