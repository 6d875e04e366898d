/* allocator.h: where memory comes from, as handed in by a program's shell.
 *
 * Native workers use malloc; a canister has its own heap; a test fails the k-th allocation to see what is left behind. */
#ifndef YL_ALLOCATOR_H
#define YL_ALLOCATOR_H

#include <stddef.h>

typedef struct allocator {
    /* n_bytes > 0 zeroed bytes, aligned to 64; NULL: none left. */
    void *(*alloc)(void *ctx, size_t n_bytes);
    void (*release)(void *ctx, void *p, size_t n_bytes); /* p from alloc with the same n_bytes; not NULL */
    void *ctx;
} allocator;

/* The C library's heap. Large blocks come as untouched, zeroed pages: memory is used as it is written. */
const allocator *allocator_heap(void);

/* n elements of `size` bytes, zeroed; NULL: no memory, or n * size overflows, or either is 0. */
void *allocator_array(const allocator *a, size_t n, size_t size);
/* p may be NULL. n and size as given to allocator_array. */
void allocator_release_array(const allocator *a, void *p, size_t n, size_t size);

#endif
