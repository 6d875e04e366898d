/* tensor_hashes.h: SHA-256s of a model's tensors, by all threads, in bounded steps. */
#ifndef YL_TENSOR_HASHES_H
#define YL_TENSOR_HASHES_H

#include "gguf.h"
#include "thread_pool.h"
#include "tile_cache.h"

typedef struct tensor_hash {
    const gguf *model;
    const gguf_tensor *tensor;
    uint8_t hash[TILE_CACHE_HASH_BYTES]; /* once all is done */
} tensor_hash;

typedef struct tensor_hashes tensor_hashes;

/* Takes a list of n tensors, [n], which it sorts; it must outlive the work. YL_ENOMEM. */
yl_status tensor_hashes_new(tensor_hashes **out, tensor_hash *list, size_t n, thread_pool *pool, yl_error *err);
void tensor_hashes_free(tensor_hashes *h);

/* Hashes some of the bytes, a few hundred MB with many threads. True: all are hashed. */
bool tensor_hashes_step(tensor_hashes *h);

/* Of the bytes, 0 to 1. */
double tensor_hashes_share(const tensor_hashes *h);

#endif
