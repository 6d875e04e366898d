/* test_allocator.c: memory is zeroed, aligned, and costs what is written of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "allocator.h"

/* An allocator that remembers what it was asked for. */
typedef struct record {
    size_t n_bytes_asked, n_bytes_released;
    void *released;
} record;

static char block[64];

static void *record_alloc(void *ctx, size_t n_bytes)
{
    ((record *)ctx)->n_bytes_asked = n_bytes;
    return block;
}

static void record_release(void *ctx, void *p, size_t n_bytes)
{
    record *r = ctx;
    r->released = p;
    r->n_bytes_released = n_bytes;
}

static void blocks_are_zeroed_and_aligned(void **state)
{
    static const size_t sizes[] = {1, 2, 63, 64, 65, 4096, 4097, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20};
    (void)state;
    const allocator *a = allocator_heap();
    for (int round = 0; round < 2; round++) { /* the second time around a block may be one that was used */
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            uint8_t *p = a->alloc(a->ctx, sizes[i]);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 64, 0);
            for (size_t k = 0; k < sizes[i]; k++) {
                if (p[k]) fail_msg("byte %zu of %zu is not zero", k, sizes[i]);
                p[k] = 0xa5;
            }
            a->release(a->ctx, p, sizes[i]);
        }
    }
}

static size_t resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f) return 0;
    unsigned long total = 0, resident = 0;
    int n = fscanf(f, "%lu %lu", &total, &resident);
    fclose(f);
    return n == 2 ? resident * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

static void a_large_block_costs_what_is_written_of_it(void **state)
{
    (void)state;
    const allocator *a = allocator_heap();
    size_t n_bytes = (size_t)1 << 30, before = resident_bytes();
    if (before == 0) skip();
    uint8_t *p = a->alloc(a->ctx, n_bytes);
    assert_non_null(p);
    p[0] = p[n_bytes / 2] = p[n_bytes - 1] = 1;
    size_t during = resident_bytes();
    assert_true(during < before + (16 << 20)); /* three pages, of 2 MiB at most */
    a->release(a->ctx, p, n_bytes);
}

static void more_than_there_is_gives_null(void **state)
{
    (void)state;
    const allocator *a = allocator_heap();
    assert_null(a->alloc(a->ctx, SIZE_MAX));
    assert_null(a->alloc(a->ctx, SIZE_MAX / 2));
}

static void arrays_check_their_product(void **state)
{
    (void)state;
    record r = {0};
    allocator a = {record_alloc, record_release, &r};
    assert_ptr_equal(allocator_array(&a, 3, 5), block);
    assert_int_equal(r.n_bytes_asked, 15);
    assert_ptr_equal(allocator_array(&a, SIZE_MAX / 8, 8), block);
    r.n_bytes_asked = 0;
    assert_null(allocator_array(&a, SIZE_MAX / 8 + 1, 8));
    assert_null(allocator_array(&a, SIZE_MAX, SIZE_MAX));
    assert_null(allocator_array(&a, 0, 8));
    assert_null(allocator_array(&a, 8, 0));
    assert_int_equal(r.n_bytes_asked, 0);
}

static void an_array_is_released_with_the_size_it_had(void **state)
{
    (void)state;
    record r = {0};
    allocator a = {record_alloc, record_release, &r};
    allocator_release_array(&a, NULL, 3, 5);
    assert_null(r.released);
    allocator_release_array(&a, block, 3, 5);
    assert_ptr_equal(r.released, block);
    assert_int_equal(r.n_bytes_released, 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_zeroed_and_aligned),
        cmocka_unit_test(a_large_block_costs_what_is_written_of_it),
        cmocka_unit_test(more_than_there_is_gives_null),
        cmocka_unit_test(arrays_check_their_product),
        cmocka_unit_test(an_array_is_released_with_the_size_it_had),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
