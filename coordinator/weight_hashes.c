/* weight_hashes.c: a thread around tensor_hashes.h. */
#include "weight_hashes.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tensor_hashes.h"
#include "tile_cache_index.h"

struct weight_hashes {
    const gguf *model;
    tile_cache *cache;
    tile_cache_index *index; /* NULL: none is kept */
    thread_pool *pool;
    tensor_hash *list; /* [n] of all tensors in the model's order; the hash is zero where it is not known */
    size_t n;
    tensor_hash *unknown; /* [n_unknown] of those that must be looked at, in any order */
    size_t n_unknown;
    tensor_hashes *work;
    pthread_t thread;
    bool has_thread;
    _Atomic double share;
    atomic_bool is_done, stop;
};

static const uint8_t UNKNOWN[TILE_CACHE_HASH_BYTES];

/* Where hashes are kept is of no concern to the run: it goes on without. */
static void keep(weight_hashes *h)
{
    for (size_t i = 0; i < h->n_unknown; i++) {
        size_t number = gguf_tensor_number(h->model, h->unknown[i].tensor);
        memcpy(h->list[number].hash, h->unknown[i].hash, sizeof h->unknown[i].hash);
        if (h->index) tile_cache_index_set(h->index, number, h->unknown[i].hash);
    }
    if (h->index) tile_cache_index_save(h->index, NULL);
}

static void *hash_main(void *arg)
{
    weight_hashes *h = arg;
    bool is_whole = false;
    while (!is_whole && !h->stop) {
        is_whole = tensor_hashes_step(h->work);
        h->share = tensor_hashes_share(h->work);
    }
    if (is_whole) keep(h);
    h->is_done = true;
    return NULL;
}

static yl_status list_tensors(weight_hashes *h, yl_error *err)
{
    h->n = gguf_n_tensors(h->model);
    h->list = calloc(h->n + 1, sizeof *h->list);
    h->unknown = calloc(h->n + 1, sizeof *h->unknown);
    if (!h->list || !h->unknown) return yl_fail(err, YL_ENOMEM, "no memory to hash %zu tensors", h->n);
    for (size_t i = 0; i < h->n; i++) {
        h->list[i] = (tensor_hash){.model = h->model, .tensor = gguf_tensor_at(h->model, i)};
        const uint8_t *known = h->index ? tile_cache_index_get(h->index, i) : NULL;
        if (known)
            memcpy(h->list[i].hash, known, sizeof h->list[i].hash);
        else
            h->unknown[h->n_unknown++] = h->list[i];
    }
    return YL_OK;
}

static yl_status start(weight_hashes *h, uint32_t n_threads, yl_error *err)
{
    h->is_done = !h->n_unknown;
    if (h->is_done) return YL_OK;
    yl_status status = thread_pool_new(&h->pool, n_threads, err);
    if (!status) status = tensor_hashes_new(&h->work, h->unknown, h->n_unknown, h->pool, err);
    if (status) return status;
    int failed = pthread_create(&h->thread, NULL, hash_main, h);
    if (failed) return yl_fail(err, YL_EIO, "a thread to hash the model cannot be started: %s", strerror(failed));
    h->has_thread = true;
    return YL_OK;
}

yl_status weight_hashes_new(weight_hashes **out, const gguf *model, const uint8_t model_id[MODEL_IDENTITY_BYTES], tile_cache *cache,
                            uint32_t n_threads, yl_error *err)
{
    *out = NULL;
    weight_hashes *h = calloc(1, sizeof *h);
    if (!h) {
        tile_cache_free(cache);
        return yl_fail(err, YL_ENOMEM, "no memory to hash the model");
    }
    h->model = model;
    h->cache = cache;
    yl_status status = cache ? tile_cache_index_open(&h->index, cache, model, model_id, err) : YL_OK;
    if (!status) status = list_tensors(h, err);
    if (!status) status = start(h, n_threads, err);
    if (status) {
        weight_hashes_free(h);
        return status;
    }
    *out = h;
    return YL_OK;
}

void weight_hashes_free(weight_hashes *h)
{
    if (!h) return;
    h->stop = true;
    if (h->has_thread) pthread_join(h->thread, NULL);
    tensor_hashes_free(h->work);
    thread_pool_free(h->pool);
    tile_cache_index_free(h->index);
    tile_cache_free(h->cache);
    free(h->list);
    free(h->unknown);
    free(h);
}

double weight_hashes_share(const weight_hashes *h)
{
    return h->is_done ? 1 : h->share;
}

bool weight_hashes_are_done(const weight_hashes *h)
{
    return h->is_done;
}

const uint8_t *weight_hashes_get(const weight_hashes *h, const gguf_tensor *t)
{
    size_t i = gguf_tensor_number(h->model, t);
    return i < h->n && memcmp(h->list[i].hash, UNKNOWN, sizeof UNKNOWN) != 0 ? h->list[i].hash : NULL;
}
