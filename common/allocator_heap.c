/* allocator_heap.c: the allocator of a native program.
 *
 * From 1 MiB on a block is a mapping of its own: the kernel gives pages of zeros as they are first written, so that a KV cache
 * sized for the longest context costs what is used of it, and releasing returns the memory at once. Smaller blocks come from
 * malloc's heap, with their exact size, so that AddressSanitizer sees a byte too far. The size that comes back with a release tells
 * which it was. */
#include "allocator.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MAPPED_BYTES = 1 << 20, ALIGNMENT = 64 };

static void *heap_alloc(void *ctx, size_t n_bytes)
{
    (void)ctx;
    if (n_bytes >= MAPPED_BYTES) {
        void *p = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return p == MAP_FAILED ? NULL : p;
    }
    void *p;
    if (posix_memalign(&p, ALIGNMENT, n_bytes)) return NULL;
    return memset(p, 0, n_bytes);
}

static void heap_release(void *ctx, void *p, size_t n_bytes)
{
    (void)ctx;
    if (n_bytes >= MAPPED_BYTES) {
        munmap(p, n_bytes);
    } else {
        free(p);
    }
}

const allocator *allocator_heap(void)
{
    static const allocator heap = {heap_alloc, heap_release, NULL};
    return &heap;
}
