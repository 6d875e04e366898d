/* native_cache.h: a worker's weights in tiles, in files that stay from one start to the next.
 *
 * Finds, or makes from the model file, or fills with what came over the network, a cache file (tile_cache.h) for each layer,
 * embedding and head of a slice, keeps them mapped while they are used, and has them checked meanwhile. */
#ifndef YL_NATIVE_CACHE_H
#define YL_NATIVE_CACHE_H

#include "native_source.h"

typedef struct native_cache native_cache;

typedef struct native_cache_options {
    const char *dir;             /* NULL: the default one (tile_cache_open) */
    uint64_t max_bytes;          /* 0: the default */
    const native_source *source; /* the worker's own model; NULL: it has none */
    thread_pool *pool;
    /* A line for the log; from the thread that steps. Levels as native_shell.h's. */
    void (*say)(void *ctx, int level, const char *line);
    /* A file that is in use since weight_store.begin with this epoch is damaged; *cause says which. From a thread of its own. */
    void (*on_damage)(void *ctx, uint64_t epoch, const yl_error *cause);
    void *ctx;
} native_cache_options;

/* Everything in options must outlive it. Errors as tile_cache_open. */
yl_status native_cache_new(native_cache **out, const native_cache_options *options, yl_error *err);
void native_cache_free(native_cache *c);

/* What worker_env takes; valid as long as c. */
weight_store native_cache_view(native_cache *c);

#endif
