/* test_cpus.c: lists of cores, and what the system then says. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpus.h"

static cpu_set_t before;

static int set_up(void **state)
{
    (void)state;
    return sched_getaffinity(0, sizeof before, &before);
}

static int tear_down(void **state)
{
    (void)state;
    return sched_setaffinity(0, sizeof before, &before);
}

static int first_cpu(void)
{
    int cpu = 0;
    while (!CPU_ISSET(cpu, &before)) cpu++;
    return cpu;
}

static void a_thread_stays_on_the_cores_it_was_given(void **state)
{
    (void)state;
    char list[64];
    assert_int_equal(cpus_usable(), CPU_COUNT(&before));
    snprintf(list, sizeof list, "%d", first_cpu());
    assert_int_equal(cpus_bind(list, NULL), YL_OK);
    assert_int_equal(cpus_usable(), 1);
    assert_int_equal(sched_getcpu(), first_cpu());
}

/* A list may name cores that a machine lacks, as long as it has one of them. */
static void cores_that_are_not_there_are_left_out(void **state)
{
    (void)state;
    assert_int_equal(cpus_bind("0-1023", NULL), YL_OK);
    assert_int_equal(cpus_usable(), CPU_COUNT(&before));
    char list[64];
    snprintf(list, sizeof list, "%d,1000-1023", first_cpu());
    assert_int_equal(cpus_bind(list, NULL), YL_OK);
    assert_int_equal(cpus_usable(), 1);
}

static void what_is_no_list_is_refused(void **state)
{
    (void)state;
    static const char *const BAD[] = {"",    ",", "0,", "0-", "-1", "3-1", "a", "0 1", "0-1-2", "1024", "99999999999999999999",
                                      "0,,1"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        yl_error err;
        if (cpus_bind(BAD[i], &err) != YL_EINVAL) fail_msg("'%s' was taken", BAD[i]);
        assert_non_null(strstr(err.msg, "is no list of cores"));
        assert_int_equal(cpus_usable(), CPU_COUNT(&before));
    }
    yl_error err;
    assert_int_equal(cpus_bind("1023", &err), YL_EINVAL); /* no machine of ours has so many */
    assert_non_null(strstr(err.msg, "none of the cores 1023 may be used here"));
}

/* Neighbours have cores of their own while there are enough, and every share is a list that can be bound to. */
static void shares_do_not_overlap_while_there_are_cores(void **state)
{
    (void)state;
    char list[1024], other[1024];
    uint32_t n = cpus_usable();
    for (uint32_t i = 0; i < n; i++) {
        cpus_share(list, sizeof list, i, 1);
        cpus_share(other, sizeof other, (i + 1) % n, 1);
        assert_true(n == 1 || strcmp(list, other) != 0);
        cpus_share(other, sizeof other, i + n, 1); /* counted round */
        assert_string_equal(list, other);
    }
    cpus_share(list, sizeof list, 0, n + 5);
    assert_int_equal(cpus_bind(list, NULL), YL_OK);
    assert_int_equal(cpus_usable(), n);
    cpus_share(list, 16, 0, n); /* a short buffer holds a shorter list, whole */
    assert_int_equal(cpus_bind(list, NULL), YL_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_thread_stays_on_the_cores_it_was_given, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cores_that_are_not_there_are_left_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_list_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(shares_do_not_overlap_while_there_are_cores, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
