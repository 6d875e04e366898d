/* native_hashes.h: SHA-256s of a model's tensors, by all threads, in bounded steps. */
#ifndef YL_NATIVE_HASHES_H
#define YL_NATIVE_HASHES_H

#include "gguf.h"
#include "thread_pool.h"
#include "tile_cache.h"

typedef struct native_hash {
    const gguf *model;
    const gguf_tensor *tensor;
    uint8_t hash[TILE_CACHE_HASH_BYTES]; /* once all is done */
} native_hash;

typedef struct native_hashes native_hashes;

/* Takes a list of n tensors, [n], which it sorts; it must outlive the work. YL_ENOMEM. */
yl_status native_hashes_new(native_hashes **out, native_hash *list, size_t n, thread_pool *pool, yl_error *err);
void native_hashes_free(native_hashes *h);

/* Hashes some of the bytes, a few hundred MB with many threads. True: all are hashed. */
bool native_hashes_step(native_hashes *h);

/* Of the bytes, 0 to 1. */
double native_hashes_share(const native_hashes *h);

#endif
