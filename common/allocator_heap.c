/* allocator_heap.c: the allocator of a native program.
 *
 * From 1 MiB on a block is a mapping of its own: the kernel gives pages of zeros as they are first written, so that a KV cache
 * sized for the longest context costs what is used of it, and releasing returns the memory at once. From 8 MiB on (matrices,
 * mostly) it asks for huge pages: weights are read once a token from end to end, 10 % faster so. Smaller blocks come from malloc's
 * heap, with their exact size, so that AddressSanitizer sees a byte too far. The size that comes back with a release tells which it
 * was. */
#include "allocator.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAPPED_BYTES = 1 << 20, HUGE_FROM_BYTES = 8 << 20, HUGE_PAGE_BYTES = 2 << 20, ALIGNMENT = 64 };

static void *map_pages(size_t n_bytes)
{
    void *p = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* The same at a multiple of the size of huge pages, and asking for them: a hint, which not every system takes. */
static void *map_huge_pages(size_t n_bytes)
{
    uint8_t *p = n_bytes <= SIZE_MAX - HUGE_PAGE_BYTES ? map_pages(n_bytes + HUGE_PAGE_BYTES) : NULL;
    if (!p) return NULL;
    size_t before = (HUGE_PAGE_BYTES - (uintptr_t)p % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
    /* What is cut off are whole pages: the end of the block is rounded up to one. */
    size_t page = (size_t)sysconf(_SC_PAGESIZE), end = before + (n_bytes + page - 1) / page * page;
    if (before) munmap(p, before);
    if (end < n_bytes + HUGE_PAGE_BYTES) munmap(p + end, n_bytes + HUGE_PAGE_BYTES - end);
    madvise(p + before, n_bytes, MADV_HUGEPAGE);
    return p + before;
}

static void *heap_alloc(void *ctx, size_t n_bytes)
{
    (void)ctx;
    if (n_bytes >= HUGE_FROM_BYTES) return map_huge_pages(n_bytes);
    if (n_bytes >= MAPPED_BYTES) return map_pages(n_bytes);
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
