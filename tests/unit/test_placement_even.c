/* Placement against brute force: every way to cut a few layers is tried, and the best one, by its definition, is what we give. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "placement.h"

enum { MAX_STAGES = 5, MAX_LAYERS = 9 };

static double cost_of(const placement_costs *c, uint32_t stage, uint32_t n_stages, uint32_t n_layer)
{
    return (double)n_layer * c->layer + (stage == 0 ? c->embd : 0) + (stage == n_stages - 1 ? c->head : 0);
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* Is the cut `a` better than `b`: a cheaper dearest stage, else second dearest, ..., else more layers in earlier stages? */
static bool is_better(const placement_costs *c, uint32_t n_stages, const uint32_t *a, const uint32_t *b)
{
    double x[MAX_STAGES], y[MAX_STAGES];
    for (uint32_t i = 0; i < n_stages; i++) {
        x[i] = cost_of(c, i, n_stages, a[i]);
        y[i] = cost_of(c, i, n_stages, b[i]);
    }
    qsort(x, n_stages, sizeof *x, descending);
    qsort(y, n_stages, sizeof *y, descending);
    for (uint32_t i = 0; i < n_stages; i++)
        if (x[i] != y[i]) return x[i] < y[i];
    for (uint32_t i = 0; i < n_stages; i++)
        if (a[i] != b[i]) return a[i] > b[i];
    return false;
}

/* Tries every number of layers for stages [stage, n_stages) and keeps the best cut in `best`. */
static void try_all(const placement_costs *c, uint32_t n_stages, uint32_t stage, uint32_t n_left, uint32_t *cut, uint32_t *best,
                    bool *any)
{
    if (stage == n_stages - 1) {
        cut[stage] = n_left;
        if (!*any || is_better(c, n_stages, cut, best)) memcpy(best, cut, n_stages * sizeof *cut);
        *any = true;
        return;
    }
    for (uint32_t n = 1; n <= n_left; n++) {
        cut[stage] = n;
        try_all(c, n_stages, stage + 1, n_left - n, cut, best, any);
    }
}

static void check_against_brute_force(const placement_costs *c, uint32_t n_stages, uint32_t n_layer)
{
    uint32_t cut[MAX_STAGES], best[MAX_STAGES];
    bool any = false;
    try_all(c, n_stages, 0, n_layer, cut, best, &any);
    assert_true(any);

    slice_range ranges[MAX_STAGES];
    yl_error err;
    assert_int_equal(placement_even(ranges, n_stages, n_layer, c, &err), YL_OK);
    uint32_t begin = 0;
    for (uint32_t i = 0; i < n_stages; i++) {
        assert_int_equal(ranges[i].layer_begin, begin);
        assert_int_equal(ranges[i].layer_end - ranges[i].layer_begin, best[i]);
        assert_int_equal(ranges[i].has_embd, i == 0);
        assert_int_equal(ranges[i].has_head, i == n_stages - 1);
        begin = ranges[i].layer_end;
    }
    assert_int_equal(begin, n_layer);
}

static void every_small_cut_is_the_best_one(void **state)
{
    (void)state;
    static const double heads[] = {0, 0.5, 1, 3.25, 20};
    static const double embds[] = {0, 0.125, 2};
    static const double layers[] = {1, 0.75, 4};
    for (uint32_t n_stages = 1; n_stages <= MAX_STAGES; n_stages++)
        for (uint32_t n_layer = n_stages - 1; n_layer <= MAX_LAYERS; n_layer++)
            for (size_t h = 0; h < sizeof heads / sizeof *heads; h++)
                for (size_t e = 0; e < sizeof embds / sizeof *embds; e++)
                    for (size_t l = 0; l < sizeof layers / sizeof *layers; l++) {
                        placement_costs costs = {.layer = layers[l], .head = heads[h], .embd = embds[e]};
                        check_against_brute_force(&costs, n_stages, n_layer);
                    }
}

static void equal_stages_get_equal_shares(void **state)
{
    (void)state;
    slice_range r[3];
    yl_error err;
    placement_costs costs = {.layer = 0.1};
    assert_int_equal(placement_even(r, 3, 10, &costs, &err), YL_OK);
    assert_int_equal(r[0].layer_end, 4);
    assert_int_equal(r[1].layer_end, 7);
    assert_int_equal(r[2].layer_end, 10);
}

static void too_many_stages_are_refused_with_the_largest_number_that_works(void **state)
{
    (void)state;
    slice_range r[4];
    yl_error err;
    placement_costs costs = {.layer = 1};
    assert_int_equal(placement_even(r, 4, 2, &costs, &err), YL_EINVAL);
    assert_non_null(strstr(err.msg, "at most 3"));
    assert_int_equal(placement_even(r, 3, 2, &costs, &err), YL_OK);
    assert_int_equal(r[2].layer_begin, 2);
    assert_int_equal(r[2].layer_end, 2);
    assert_int_equal(placement_even(r, 0, 2, &costs, &err), YL_EINVAL);
    costs.head = -1;
    assert_int_equal(placement_even(r, 1, 2, &costs, &err), YL_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_small_cut_is_the_best_one),
        cmocka_unit_test(equal_stages_get_equal_shares),
        cmocka_unit_test(too_many_stages_are_refused_with_the_largest_number_that_works),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
