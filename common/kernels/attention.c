/* attention.c: the scratch of attention, cut into the arrays that its kernels read.
 *
 * Each array is laid out so that an inner loop over queries has one pointer and constant distances: queries lie side by side for
 * each element of the head, scores side by side for each page. */
#include "attention.h"

enum { LANES = 16 }; /* of a vector: pieces of scratch are multiples of it */

/* a * b into *product, b rounded up to a multiple of `unit`. */
static bool multiply_rounded(uint64_t a, uint64_t b, uint64_t unit, uint64_t *product)
{
    return b <= UINT64_MAX - unit && !__builtin_mul_overflow(a, (b + unit - 1) / unit * unit, product);
}

uint64_t attention_scratch_floats(uint64_t n_query, uint64_t n_pos, uint64_t n_embd_head)
{
    uint64_t sums, values, scores, n;
    bool fits = multiply_rounded(1, n_query, LANES, &sums) && multiply_rounded(n_query, n_embd_head, LANES, &values) &&
                multiply_rounded(n_query, n_pos, KV_PAGE_POSITIONS, &scores);
    if (!fits || __builtin_add_overflow(sums, values, &n) || __builtin_add_overflow(n, scores, &n)) return UINT64_MAX;
    return n;
}

void attention_use_scratch(attention *a, float *scratch)
{
    a->sums = scratch;
    a->values = a->sums + (a->n_query + LANES - 1) / LANES * LANES;
    a->scores = a->values + a->n_query * ((a->n_embd_head + LANES - 1) / LANES * LANES);
    a->q = a->values; /* values come when queries are done with */
}

void attention_pack_queries(const attention *a, const float *q, size_t q_stride, float scale)
{
    float *side_by_side = a->values;
    for (size_t row = 0, i = 0; i < a->n_query; row++) {
        for (size_t h = 0; h < a->n_head; h++, i++) {
            const float *query = q + row * q_stride + h * a->n_embd_head;
            for (size_t d = 0; d < a->n_embd_head; d++) side_by_side[d * a->n_query + i] = query[d] * scale;
        }
    }
}
