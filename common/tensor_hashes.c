/* tensor_hashes.c: one tensor a thread at a time, the largest first.
 *
 * A SHA-256 runs from a tensor's first byte to its last, so threads share tensors, not bytes. A lane is a thread's tensor under
 * way: it keeps its place from one step to the next, so that a step is short whatever a tensor's size. What was read is dropped
 * from the process's pages at once (the file stays in the page cache): hashing needs no more memory than a step's bytes. */
#include "tensor_hashes.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "sha256.h"

enum { STEP_BYTES = 64 << 20, PIECE_BYTES = 4 << 20 };

typedef struct lane {
    sha256 *hash;
    tensor_hash *now; /* NULL: none */
    uint64_t offset;  /* of it: bytes that are hashed */
} lane;

struct tensor_hashes {
    thread_pool *pool;
    tensor_hash *list;
    size_t n;
    atomic_size_t next; /* first that no lane took */
    atomic_size_t n_done;
    _Atomic uint64_t n_bytes_done;
    uint64_t n_bytes;
    uint32_t n_lanes;
    lane lanes[];
};

static int by_falling_size(const void *a, const void *b)
{
    uint64_t s = ((const tensor_hash *)a)->tensor->n_bytes, t = ((const tensor_hash *)b)->tensor->n_bytes;
    return (s < t) - (s > t);
}

yl_status tensor_hashes_new(tensor_hashes **out, tensor_hash *list, size_t n, thread_pool *pool, yl_error *err)
{
    uint32_t n_lanes = thread_pool_n_threads(pool);
    tensor_hashes *h = calloc(1, sizeof *h + n_lanes * sizeof *h->lanes);
    *out = h;
    if (!h) return yl_fail(err, YL_ENOMEM, "no memory to hash %zu tensors", n);
    h->pool = pool;
    h->list = list;
    h->n = n;
    for (size_t i = 0; i < n; i++) h->n_bytes += list[i].tensor->n_bytes;
    for (; h->n_lanes < n_lanes; h->n_lanes++) {
        yl_status status = sha256_new(&h->lanes[h->n_lanes].hash, err);
        if (!status) continue;
        tensor_hashes_free(h);
        *out = NULL;
        return status;
    }
    if (n) qsort(list, n, sizeof *list, by_falling_size);
    return YL_OK;
}

void tensor_hashes_free(tensor_hashes *h)
{
    if (!h) return;
    for (uint32_t i = 0; i < h->n_lanes; i++) sha256_free(h->lanes[i].hash);
    free(h);
}

/* Gives the lane its next tensor. False: none is left. */
static bool take_tensor(tensor_hashes *h, lane *l)
{
    size_t i = h->next++;
    if (i >= h->n) return false;
    l->now = &h->list[i];
    l->offset = 0;
    sha256_begin(l->hash);
    gguf_advise_needed(l->now->model, l->now->tensor);
    return true;
}

static void run_lane(tensor_hashes *h, lane *l)
{
    for (uint64_t done = 0; done < STEP_BYTES;) {
        if (!l->now && !take_tensor(h, l)) return;
        const gguf_tensor *t = l->now->tensor;
        uint64_t rest = t->n_bytes - l->offset, n = rest < PIECE_BYTES ? rest : PIECE_BYTES;
        sha256_add(l->hash, t->data + l->offset, (size_t)n);
        gguf_drop_pages(t->data + l->offset, n);
        l->offset += n;
        done += n;
        h->n_bytes_done += n;
        if (l->offset < t->n_bytes) continue;
        sha256_end(l->hash, l->now->hash);
        l->now = NULL;
        h->n_done++;
    }
}

static void run_lanes(void *arg, size_t begin, size_t end, uint32_t thread)
{
    (void)thread;
    tensor_hashes *h = arg;
    for (size_t i = begin; i < end; i++) run_lane(h, &h->lanes[i]);
}

bool tensor_hashes_step(tensor_hashes *h)
{
    thread_pool_run(h->pool, h->n_lanes, 1, run_lanes, h);
    return h->n_done == h->n;
}

double tensor_hashes_share(const tensor_hashes *h)
{
    return h->n_bytes ? (double)h->n_bytes_done / (double)h->n_bytes : 1;
}
