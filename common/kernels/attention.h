/* attention.h: what attention kernels are handed: queries side by side, and room for their scores.
 *
 * Every key and value of a context is read for each row, so queries that read the same ones are worked on together: the heads that
 * share a KV head, and rows of a sequence that follow each other. */
#ifndef YL_KERNELS_ATTENTION_H
#define YL_KERNELS_ATTENTION_H

#include "kernels.h"

/* So many queries keep a kernel busy with what is in the first cache. More in one `attention` gain nothing, so it takes as many
 * rows as have at most so many together, but at least one. */
enum { ATTENTION_QUERIES = 48 };

static inline uint32_t attention_rows(uint32_t n_head)
{
    return n_head < ATTENTION_QUERIES ? ATTENTION_QUERIES / n_head : 1;
}

/* Floats of scratch for n_query queries whose last attends n_pos positions; UINT64_MAX if that overflows. */
uint64_t attention_scratch_floats(uint64_t n_query, uint64_t n_pos, uint64_t n_embd_head);

/* n_pos of the last row of a. */
static inline size_t attention_last_n_pos(const attention *a)
{
    return a->n_pos + a->n_query / a->n_head - 1;
}

static inline size_t attention_n_pages(const attention *a)
{
    return (attention_last_n_pos(a) + KV_PAGE_POSITIONS - 1) / KV_PAGE_POSITIONS;
}

/* Cuts scratch, attention_scratch_floats, into a->q, scores, sums and values. Other fields are set. */
void attention_use_scratch(attention *a, float *scratch);
/* Puts the queries side by side, times `scale`, which is 1 / sqrt(n_embd_head). q: row r, head h at r * q_stride + h * n_embd_head.
 */
void attention_pack_queries(const attention *a, const float *q, size_t q_stride, float scale);

#endif
