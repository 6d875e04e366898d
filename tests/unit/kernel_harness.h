/* kernel_harness.h: what the tests of kernels share: the tables under test, random data, comparison to the bit.
 *
 * A new table is a line in `tested`. Data come from a seed that a failure prints. */
#ifndef YL_TEST_KERNEL_HARNESS_H
#define YL_TEST_KERNEL_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel_data.h"

static const char *const tested[] = {"scalar", "avx2", "avx512", "neon", "dotprod", "wasm"};
enum { N_TESTED = sizeof tested / sizeof tested[0] };

/* The next of the tables that this machine can run, from *i on; NULL: no more. */
static inline const kernels *next_table(size_t *i)
{
    while (*i < N_TESTED) {
        const kernels *table = kernels_named(tested[(*i)++]);
        if (table) return table;
    }
    return NULL;
}

_Static_assert(sizeof(kernels) == 13 * sizeof(void *), "eleven kernels are tested in the two programs: a twelfth needs a test");

static inline float *new_floats(size_t n)
{
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    random_floats(x, n);
    return x;
}

/* Fails with what is needed to see it again. */
static inline void assert_same_bits(const char *isa, const char *what, size_t n_cols, const float *expected, const float *actual,
                                    size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t e, a;
        memcpy(&e, &expected[i], sizeof e);
        memcpy(&a, &actual[i], sizeof a);
        if (e == a) continue;
        fail_msg("%s, %s of %zu, seed %d: result %zu is 0x%08x (%a), not 0x%08x (%a)", isa, what, n_cols, (int)SEED, i, a,
                 (double)actual[i], e, (double)expected[i]);
    }
}

/* Room for n floats with marks before and after. */
enum { N_MARKS = 4 };
static const float MARK = 12345.0f;

static inline float *marked_floats(size_t n)
{
    float *x = new_floats(n + 2 * N_MARKS);
    for (size_t i = 0; i < N_MARKS; i++) x[i] = x[N_MARKS + n + i] = MARK;
    return x + N_MARKS;
}

static inline void free_marked(float *x, size_t n)
{
    for (size_t i = 0; i < N_MARKS; i++) {
        assert_true(x[-1 - (int)i] == MARK);
        assert_true(x[n + i] == MARK);
    }
    free(x - N_MARKS);
}

#endif
