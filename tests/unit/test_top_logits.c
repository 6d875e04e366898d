/* test_top_logits.c: the order of candidates, picking the largest, sorting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "logit_rows.h"
#include "radix_sort.h"
#include "top_logits.h"

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void radix_sort_agrees_with_qsort(void **state)
{
    (void)state;
    enum { MOST = 3000 };
    static uint64_t v[MOST], expected[MOST], tmp[MOST];
    for (int round = 0; round < 300; round++) {
        prng r = prng_stream(1, (uint64_t)round, 0);
        size_t n = (size_t)prng_int(&r, 0, round < 100 ? 60 : MOST);
        uint64_t mask = prng_u64(&r) | prng_u64(&r); /* some bytes are the same in all */
        if (round % 3 == 0) mask &= 0xff00ff0000;
        for (size_t i = 0; i < n; i++) expected[i] = v[i] = prng_u64(&r) & mask;
        qsort(expected, n, sizeof *expected, by_value);
        radix_sort(v, tmp, n);
        assert_memory_equal(v, expected, n * sizeof *v);
        for (size_t i = 0; i < n; i++) expected[i] = v[i] = (prng_u64(&r) & ~(uint64_t)UINT32_MAX) | i;
        qsort(expected, n, sizeof *expected, by_value);
        radix_sort_high_halves(v, tmp, n);
        assert_memory_equal(v, expected, n * sizeof *v);
    }
}

static void keys_are_in_the_order_of_candidates(void **state)
{
    (void)state;
    const float descending[] = {INFINITY, 3e38f, 2, 1.0000001f, 1, 1e-40f, 0, -1e-40f, -1, -2, -3e38f, -INFINITY};
    const size_t n = sizeof descending / sizeof descending[0];
    for (size_t i = 0; i < n; i++) {
        uint64_t key = top_logits_key(descending[i], 77);
        assert_true(top_logits_logit(key) == descending[i]);
        assert_int_equal(top_logits_token(key), 77);
        assert_true(key < top_logits_key(descending[i], 78));
        if (i) assert_true(top_logits_key(descending[i - 1], INT32_MAX) < key);
    }
    assert_true(top_logits_key(-0.0f, 5) == top_logits_key(0.0f, 5));
}

static void the_largest_are_found_in_order(void **state)
{
    (void)state;
    enum { MOST = 2000 };
    static float row[MOST];
    static uint64_t keys[MOST], all[MOST], tmp[MOST];
    for (int round = 0; round < 1000; round++) {
        prng r = prng_stream(2, (uint64_t)round, 0);
        uint32_t n_vocab = (uint32_t)prng_int(&r, 1, round < 500 ? 40 : MOST), n_top = 1 + (uint32_t)prng_int(&r, 0, (int)n_vocab);
        make_row(row, n_vocab, (row_shape)(round % N_ROW_SHAPES), &r);
        float max = -INFINITY;
        for (uint32_t i = 0; i < n_vocab; i++) {
            all[i] = top_logits_key(row[i], (int32_t)i);
            if (row[i] > max) max = row[i];
        }
        qsort(all, n_vocab, sizeof *all, by_value);
        assert_int_equal(top_logits_select(keys, n_top, row, n_vocab, max, tmp, NULL), YL_OK);
        assert_memory_equal(keys, all, n_top * sizeof *keys);
    }
}

/* Wherever it stands: among the first, which fill the heap, or later. */
static void a_row_that_is_not_what_it_claims_is_refused(void **state)
{
    (void)state;
    enum { N = 50 };
    uint64_t keys[N], tmp[N];
    for (int bad = 0; bad < N; bad++) {
        for (uint32_t n_top = 1; n_top <= N; n_top += 7) {
            float row[N];
            for (int i = 0; i < N; i++) row[i] = (float)(i % 7);
            assert_int_equal(top_logits_select(keys, n_top, row, N, 6, tmp, NULL), YL_OK);
            assert_int_equal(top_logits_select(keys, n_top, row, N, 6.5f, tmp, NULL), YL_EFORMAT);
            const float wrong[] = {NAN, -NAN, INFINITY, 6.25f};
            for (int w = 0; w < 4; w++) {
                row[bad] = wrong[w];
                assert_int_equal(top_logits_select(keys, n_top, row, N, 6, tmp, NULL), YL_EFORMAT);
            }
            row[bad] = -INFINITY;
            assert_int_equal(top_logits_select(keys, n_top, row, N, 6, tmp, NULL), YL_OK);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(radix_sort_agrees_with_qsort),
        cmocka_unit_test(keys_are_in_the_order_of_candidates),
        cmocka_unit_test(the_largest_are_found_in_order),
        cmocka_unit_test(a_row_that_is_not_what_it_claims_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
