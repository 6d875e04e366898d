/* allocator.c: arrays from any allocator, with the product of the sizes checked. */
#include "allocator.h"

#include <stdint.h>

void *allocator_array(const allocator *a, size_t n, size_t size)
{
    if (n == 0 || size == 0 || n > SIZE_MAX / size) return NULL;
    return a->alloc(a->ctx, n * size);
}

void allocator_release_array(const allocator *a, void *p, size_t n, size_t size)
{
    if (p) a->release(a->ctx, p, n * size);
}
