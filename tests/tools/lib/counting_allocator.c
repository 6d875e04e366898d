/* counting_allocator.c: torture costs little when the allocator is handed in. */
#include "counting_allocator.h"

static void *counting_alloc(void *ctx, size_t n_bytes)
{
    counting_allocator *c = ctx;
    if (++c->n_calls == c->fail_at) return NULL;
    void *p = allocator_heap()->alloc(NULL, n_bytes);
    if (p) {
        c->n_live++;
        c->n_bytes += n_bytes;
    }
    return p;
}

static void counting_release(void *ctx, void *p, size_t n_bytes)
{
    counting_allocator *c = ctx;
    c->n_live--;
    c->n_bytes -= n_bytes;
    allocator_heap()->release(NULL, p, n_bytes);
}

void counting_allocator_init(counting_allocator *c, size_t fail_at)
{
    *c = (counting_allocator){.allocator = {counting_alloc, counting_release, c}, .fail_at = fail_at};
}
