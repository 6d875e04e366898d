/* radix_sort.h: 64-bit numbers in ascending order, in linear time and without allocating.
 *
 * The sampler packs what it sorts into one number, most significant part first, so that this one sort serves candidates (logit,
 * token), indices by token, and repetitions (token, length). */
#ifndef YL_RADIX_SORT_H
#define YL_RADIX_SORT_H

#include <stddef.h>
#include <stdint.h>

/* Sorts v[n] in place; tmp: scratch of n. */
void radix_sort(uint64_t *v, uint64_t *tmp, size_t n);

/* The same for numbers whose low halves ascend already: it looks at the high halves only, in half the time. */
void radix_sort_high_halves(uint64_t *v, uint64_t *tmp, size_t n);

#endif
