/* weight_hashes.h: SHA-256s of a model's tensors for workers of other machines, found out while those are waited for.
 *
 * They name the files in which workers keep what they were sent, and tell whether it came whole. What is known of the model's files
 * stands in the weight cache (tile_cache_index.h); the rest is hashed by a thread of its own, once. */
#ifndef YL_WEIGHT_HASHES_H
#define YL_WEIGHT_HASHES_H

#include "gguf.h"
#include "model_identity.h"
#include "tile_cache_dir.h"

typedef struct weight_hashes weight_hashes;

/* Starts. The model must outlive it. cache: taken; where they are kept, NULL: nowhere. n_threads: to hash with. YL_ENOMEM,
 * YL_EIO. */
yl_status weight_hashes_new(weight_hashes **out, const gguf *model, const uint8_t model_id[MODEL_IDENTITY_BYTES], tile_cache *cache,
                            uint32_t n_threads, yl_error *err);
void weight_hashes_free(weight_hashes *h); /* whatever is not hashed stays so. NULL: nothing */

/* Of the bytes, 0 to 1. */
double weight_hashes_share(const weight_hashes *h);
/* Is all hashed that will be? */
bool weight_hashes_are_done(const weight_hashes *h);

/* Once they are done: of a tensor of the model, or NULL: not known. */
const uint8_t *weight_hashes_get(const weight_hashes *h, const gguf_tensor *t);

#endif
