/* kv_cache.h: keys and values of past positions, by sequence.
 *
 * A pool of pages of 64 positions, each holding all layers of the slice: for each layer and KV head the keys of these positions,
 * then their values, laid out as attention reads them (kv_page.h). A sequence is a list of pages. Pages are counted: a fork shares
 * them, and of two that share a partly filled page the one that goes on first takes a copy of it.
 * All memory is reserved when the cache is made, enough for every sequence at its full length; a page is zeroed when it is taken,
 * so slots past the end hold finite values, and nothing is allocated while tokens pass. */
#ifndef YL_KV_CACHE_H
#define YL_KV_CACHE_H

#include "allocator.h"
#include "kernels.h"
#include "status.h"

typedef struct kv_cache_spec {
    uint32_t n_layer; /* of the slice; may be 0: then only lengths are kept */
    uint32_t n_head_kv, n_embd_head;
    uint32_t n_ctx; /* positions a sequence */
    uint32_t n_seq;
    kv_type type_k, type_v;
} kv_cache_spec;

typedef struct kv_cache kv_cache;

/* Bytes that a cache of this shape reserves, without making it; UINT64_MAX if that overflows. */
uint64_t kv_cache_bytes(const kv_cache_spec *spec);

/* YL_EINVAL: a zero, an unknown type, or one that does not take heads of this size (kv_type_takes); YL_ELIMIT: more than can be
 * addressed; YL_ENOMEM. Then *out is NULL. */
yl_status kv_cache_new(kv_cache **out, const kv_cache_spec *spec, const allocator *alloc, yl_error *err);
void kv_cache_free(kv_cache *c);

uint32_t kv_cache_length(const kv_cache *c, uint32_t seq); /* positions that the sequence has; 0 for a new one */

/* Makes room for positions [length, length + n) of a sequence, and counts them in. Pages that it shares with another are copied
 * before they would be written, and its views (kv_cache_head, kv_cache_page) of before end here.
 * YL_ELIMIT: beyond n_ctx. Then nothing changed. seq < n_seq in all these calls. */
yl_status kv_cache_append(kv_cache *c, uint32_t seq, uint32_t n, yl_error *err);
/* Keeps positions [0, n). n beyond the length: no change. */
void kv_cache_truncate(kv_cache *c, uint32_t seq, uint32_t n);
/* `to` becomes a copy of the first n positions of `from` (n at most its length, to != from); what `to` had is gone.
 * YL_ELIMIT: n beyond the length. */
yl_status kv_cache_fork(kv_cache *c, uint32_t from, uint32_t to, uint32_t n, yl_error *err);
/* Forgets all sequences. */
void kv_cache_clear(kv_cache *c);

/* View for kernels.attention of one layer (counted within the slice from 0) and KV head of a sequence; valid until the sequence
 * changes. */
kv_head kv_cache_head(const kv_cache *c, uint32_t seq, uint32_t layer, uint32_t head);
/* The page that holds a position (for kernels.kv_store), writable. pos < length. */
uint8_t *kv_cache_page(kv_cache *c, uint32_t seq, uint32_t pos);

#endif
