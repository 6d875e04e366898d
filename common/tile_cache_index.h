/* tile_cache_index.h: SHA-256s of a model's tensors, kept so that a model is hashed once.
 *
 * The key of a cache file takes the hashes of the tensors that it was made from, and hashing a model takes seconds. So a small file
 * in the cache's directory keeps them for one state of a model's files: device, inode, size and time of modification (ns) of each,
 * and the model's identity (model_identity.h), which samples the bytes. A file of another state has another name. */
#ifndef YL_TILE_CACHE_INDEX_H
#define YL_TILE_CACHE_INDEX_H

#include "gguf.h"
#include "model_identity.h"
#include "tile_cache_dir.h"

typedef struct tile_cache_index tile_cache_index;

/* Reads what is known of the model's tensors; nothing, when there is no such file or it is damaged. c must outlive it. YL_EIO: the
 * model's files cannot be looked at; YL_ENOMEM. */
yl_status tile_cache_index_open(tile_cache_index **out, const tile_cache *c, const gguf *model,
                                const uint8_t model_id[MODEL_IDENTITY_BYTES], yl_error *err);
void tile_cache_index_free(tile_cache_index *x);

/* The SHA-256 of tensor i of the model (as gguf_tensor_at counts), or NULL: not known. */
const uint8_t *tile_cache_index_get(const tile_cache_index *x, size_t i);
void tile_cache_index_set(tile_cache_index *x, size_t i, const uint8_t hash[TILE_CACHE_HASH_BYTES]);

/* Writes it, with what others have found out meanwhile. YL_EIO. */
yl_status tile_cache_index_save(tile_cache_index *x, yl_error *err);

/* Removes all indexes of a directory. */
void tile_cache_index_remove_all(const tile_cache *c);

#endif
