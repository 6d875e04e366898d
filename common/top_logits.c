/* top_logits.c: one walk over the row with a heap of the best so far.
 *
 * The heap's root is the worst of the best. A logit below it costs one comparison, and nearly all are: in random order only
 * n_top * ln(n_vocab / n_top) logits ever enter. NaN compares false, so it takes the slow path too and is found there. Whoever
 * wants the whole row in order gets it by sorting. */
#include "top_logits.h"

#include "radix_sort.h"

/* Restores the heap after its root changed: no key is larger than its parent, the root is the largest, that is the worst. */
static void sift_down(uint64_t *heap, size_t n, size_t i)
{
    uint64_t key = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && heap[child + 1] > heap[child]) child++;
        if (heap[child] <= key) break;
        heap[i] = heap[child];
    }
    heap[i] = key;
}

static yl_status refuse(float logit, uint32_t token, float max, yl_error *err)
{
    return yl_fail(err, YL_EFORMAT, "the logit of token %u is %g, but the largest of the row is said to be %g", (unsigned)token,
                   (double)logit, (double)max);
}

/* The heap is full of the first n_top. */
static yl_status select_rest(uint64_t *heap, uint32_t n_top, const float *row, uint32_t n_vocab, float max, yl_error *err)
{
    for (size_t i = n_top / 2; i-- > 0;) sift_down(heap, n_top, i);
    float worst = top_logits_logit(heap[0]);
    for (uint32_t i = n_top; i < n_vocab; i++) {
        if (row[i] <= worst) continue; /* an equal one has the higher id */
        if (!(row[i] <= max)) return refuse(row[i], i, max, err);
        heap[0] = top_logits_key(row[i], (int32_t)i);
        sift_down(heap, n_top, 0);
        worst = top_logits_logit(heap[0]);
    }
    return YL_OK;
}

yl_status top_logits_select(uint64_t *keys, uint32_t n_top, const float *row, uint32_t n_vocab, float max, uint64_t *tmp,
                            yl_error *err)
{
    for (uint32_t i = 0; i < n_top; i++) {
        if (!(row[i] <= max)) return refuse(row[i], i, max, err);
        keys[i] = top_logits_key(row[i], (int32_t)i);
    }
    if (n_top == n_vocab) {
        radix_sort_high_halves(keys, tmp, n_top);
    } else {
        yl_status status = select_rest(keys, n_top, row, n_vocab, max, err);
        if (status) return status;
        radix_sort(keys, tmp, n_top);
    }
    float found = top_logits_logit(keys[0]);
    if (found == max) return YL_OK;
    return refuse(found, (uint32_t)top_logits_token(keys[0]), max, err);
}
