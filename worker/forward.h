/* forward.h: the forward pass of a slice.
 *
 * Rows go in, one layer at a time, and come out changed; a row is one token of one sequence. What a row becomes depends on its
 * sequence's past and on the weights only, not on the rows beside it. Non-finite rows are zeroed and named, others are untouched.
 */
#ifndef YL_FORWARD_H
#define YL_FORWARD_H

#include "kv_cache.h"
#include "slice.h"
#include "thread_pool.h"

enum { FORWARD_TILE_ROWS = 128 }; /* rows worked on at a time, so that scratch stays small whatever the batch */
enum { FORWARD_NO_FAULT = -1 };

/* Which token of which sequence a row is. Rows of a sequence are consecutive and ascending; kv_cache_append has made room. */
typedef struct forward_row {
    uint32_t seq, pos;
} forward_row;

typedef struct forward forward;

/* Bytes that forward_new will take from its allocator, exactly; UINT64_MAX if that overflows. Most of it is touched only when
 * batches are large or contexts long: a tile of rows, the scores of n_ctx positions a thread, a table of RoPE angles. */
uint64_t forward_scratch_bytes(const hparams *hp, uint32_t n_ctx, uint32_t n_threads);

/* All arguments are borrowed and must outlive it; pool may be NULL. The slice is loaded; the cache has its layers, and n_ctx
 * positions. YL_ENOMEM, YL_ELIMIT, or what rope_new says of the slice's rope factors; then *out is NULL. Nothing is allocated
 * later. */
yl_status forward_new(forward **out, const slice *s, kv_cache *cache, uint32_t n_ctx, const kernels *k, thread_pool *pool,
                      const allocator *alloc, yl_error *err);
void forward_free(forward *f);

/* x[i] = embedding of tokens[i]. x: [n, n_embd]; tokens: i32, each below n_vocab (the caller checked). */
void forward_embed(forward *f, float *x, const int32_t *tokens, uint32_t n);

/* Runs rows through one layer in place, any number (in tiles). x: [n, n_embd]; layer: absolute, within the slice.
 * faults: [n], set to `layer` where a row became non-finite (it is zeroed); other entries are left alone. Rows whose fault is
 * already set (>= 0) are computed as the zeros they are, and stay as they are.
 * A key or value that is not finite in the cache's type makes the row non-finite, and zeros are stored for it. */
void forward_layer(forward *f, uint32_t layer, float *x, const forward_row *rows, int32_t *faults, uint32_t n);

/* The final norm of n rows: y, x: [n, n_embd]; y may be x. */
void forward_norm(forward *f, float *y, const float *x, uint32_t n);

/* Logits of n normed rows: logits [n, n_vocab], h [n, n_embd]; n at most FORWARD_TILE_ROWS. faults: as above, set to n_layer where
 * a logit is not finite; all logits of a row with a fault are 0. */
void forward_logits(forward *f, float *logits, const float *h, int32_t *faults, uint32_t n);

#endif
