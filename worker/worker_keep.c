/* worker_keep.c: weights that outlive an ASSIGN.
 *
 * When the chain is wired anew, most stages get the slice that they have. Only its sequences are over: reading gigabytes again
 * would make a loss elsewhere cost minutes. The same goes for the next coordinator with the same model. */
#include "worker_internal.h"

#include <string.h>

static bool same_tensor(const frame_tensor *a, const frame_tensor *b)
{
    return a->role == b->role && a->layer == b->layer && a->type == b->type && a->n_rows == b->n_rows && a->n_cols == b->n_cols;
}

static bool same_range(const slice_range *a, const slice_range *b)
{
    return a->has_embd == b->has_embd && a->has_head == b->has_head && a->layer_begin == b->layer_begin &&
           a->layer_end == b->layer_end;
}

/* By their hashes, where both are known. */
static bool same_bytes(const frame_tensor *a, const frame_tensor *b, bool is_same_model)
{
    return a->has_hash && b->has_hash ? !memcmp(a->hash, b->hash, sizeof a->hash) : is_same_model;
}

static bool is_same_slice(const assignment *a, const frame_assign *next)
{
    if (!a->slice || !slice_is_loaded(a->slice) || a->load != next->load) return false;
    bool is_same_model = next->model_id.n_bytes == FRAME_ID_BYTES && !memcmp(next->model_id.data, a->model_id, FRAME_ID_BYTES);
    if (a->use_source && !is_same_model) return false; /* what is in our own file was not held against hashes */
    if (!same_range(slice_range_of(a->slice), &next->range) || !hparams_equal(slice_hparams(a->slice), &next->hp)) return false;
    if (slice_n_tensors(a->slice) != next->n_tensors) return false;
    for (uint32_t i = 0; i < next->n_tensors; i++) {
        const frame_tensor *s = slice_tensor_info(a->slice, i), *t = &next->tensors[i];
        if (!same_tensor(s, t) || !same_bytes(s, t, is_same_model)) return false;
    }
    return true;
}

bool worker_keep_weights(worker *w, const frame_assign *next)
{
    assignment *a = &w->a;
    if (!is_same_slice(a, next)) return false;
    worker_release_memory(w);
    assignment kept = {.load = a->load,
                       .weights_epoch = a->weights_epoch,
                       .use_source = a->use_source,
                       .use_store = a->use_store,
                       .store_is_ready = a->store_is_ready,
                       .store_tensor = a->store_tensor,
                       .slice = a->slice,
                       .load_tensor = a->load_tensor};
    memcpy(kept.model_id, a->model_id, sizeof kept.model_id);
    *a = kept;
    return true;
}
