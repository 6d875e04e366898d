/* counting_allocator.h: the heap, with a count of what is out, and a call that fails when a test says so. */
#ifndef YL_COUNTING_ALLOCATOR_H
#define YL_COUNTING_ALLOCATOR_H

#include "allocator.h"

typedef struct counting_allocator {
    allocator allocator;
    size_t n_live, n_bytes; /* blocks that are out, and their bytes */
    size_t n_calls;         /* of alloc, in all */
    size_t fail_at;         /* the call that fails, from 1; 0: none */
} counting_allocator;

/* c must not move while c->allocator is in use. */
void counting_allocator_init(counting_allocator *c, size_t fail_at);

#endif
