/* test_thread_pool.c: every element is done once, in whole grains, with the contract's arithmetic; who is slow or late does less,
 * and nobody touches a loop that is over. Under pressure too: more threads than cores, loops that follow at once and after pauses.
 * Run under TSan as well. */
#include <float.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef __SSE2__
#include <xmmintrin.h>
#endif

#include <cmocka.h>

#include "thread_pool.h"

enum { N_MAX = 1000 };

/* Plain memory on purpose: TSan sees whether the pool orders the accesses. */
typedef struct work {
    size_t n, grain;
    uint32_t n_threads;
    uint32_t times[N_MAX];
    uint32_t thread[N_MAX];
    uint32_t broken[THREAD_POOL_MAX]; /* blocks whose limits are none */
} work;

static void count(void *arg, size_t begin, size_t end, uint32_t thread)
{
    work *w = arg;
    bool is_cut_well = begin % w->grain == 0 && (end % w->grain == 0 || end == w->n);
    w->broken[thread] += begin >= end || end > w->n || !is_cut_well;
    for (size_t i = begin; i < end; i++) {
        w->times[i]++;
        w->thread[i] = thread;
    }
}

/* In memory that is gone after the loop, so that the address sanitizer sees a helper that comes late. */
static void check_loop(thread_pool *pool, uint32_t n_threads, size_t n, size_t grain)
{
    work *w = calloc(1, sizeof *w);
    *w = (work){.n = n, .grain = grain, .n_threads = n_threads};
    thread_pool_run(pool, n, grain, count, w);
    for (size_t i = 0; i < N_MAX; i++) assert_int_equal(w->times[i], i < n);
    for (size_t i = 0; i < n; i++) assert_true(w->thread[i] < n_threads);
    for (size_t t = 0; t < THREAD_POOL_MAX; t++) assert_int_equal(w->broken[t], 0);
    free(w);
}

static thread_pool *new_pool(uint32_t n_threads)
{
    thread_pool *pool;
    assert_int_equal(thread_pool_new(&pool, n_threads, NULL), YL_OK);
    assert_int_equal(thread_pool_n_threads(pool), n_threads);
    return pool;
}

static void each_element_is_done_once_in_whole_grains(void **state)
{
    (void)state;
    static const uint32_t n_threads[] = {1, 2, 3, 4, 7};
    static const size_t n[] = {0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 63, 64, 65, 100, 999, 1000};
    static const size_t grains[] = {1, 2, 3, 16, 64, 1000, 5000};
    for (size_t t = 0; t < 5; t++) {
        thread_pool *pool = new_pool(n_threads[t]);
        for (size_t i = 0; i < 17; i++) {
            for (size_t g = 0; g < 7; g++) check_loop(pool, n_threads[t], n[i], grains[g]);
        }
        thread_pool_free(pool);
    }
}

static void without_a_pool_the_caller_does_it_all(void **state)
{
    (void)state;
    assert_int_equal(thread_pool_n_threads(NULL), 1);
    check_loop(NULL, 1, 100, 16);
    check_loop(NULL, 1, 0, 1);
    thread_pool_free(NULL);
}

/* Lengths are added up, each thread's on its own. */
typedef struct lengths {
    size_t grain, sum[THREAD_POOL_MAX];
    bool broken[THREAD_POOL_MAX];
} lengths;

static void add_length(void *arg, size_t begin, size_t end, uint32_t thread)
{
    lengths *l = arg;
    l->broken[thread] |= begin >= end || begin % l->grain != 0 || (end % l->grain != 0 && end != SIZE_MAX);
    l->sum[thread] += end - begin;
}

static void the_longest_ranges_do_not_overflow(void **state)
{
    (void)state;
    static const size_t grains[] = {1, 3, 64, (size_t)1 << 40, SIZE_MAX / 2, SIZE_MAX - 1};
    thread_pool *pool = new_pool(3);
    for (size_t g = 0; g < 6; g++) {
        static lengths l;
        l = (lengths){.grain = grains[g]};
        thread_pool_run(pool, SIZE_MAX, grains[g], add_length, &l);
        assert_true(l.sum[0] + l.sum[1] + l.sum[2] == SIZE_MAX);
        assert_false(l.broken[0] || l.broken[1] || l.broken[2]);
    }
    thread_pool_free(pool);
}

/* Thousands of loops at once, then loops that find the helpers asleep. */
static void loops_follow_one_another(void **state)
{
    (void)state;
    static const uint32_t n_threads[] = {2, 3, 16};
    for (size_t t = 0; t < 3; t++) {
        thread_pool *pool = new_pool(n_threads[t]);
        for (int i = 0; i < 300; i++) check_loop(pool, n_threads[t], (size_t)i % 50, 1);
        for (int i = 0; i < 20; i++) {
            nanosleep(&(struct timespec){0, i % 4 * 1000000}, NULL);
            check_loop(pool, n_threads[t], 40, 1);
        }
        thread_pool_free(pool);
    }
}

/* A loop in which one thread sleeps at its first block. */
typedef struct slow_loop {
    work w;
    uint32_t slow;
    bool has_slept;
} slow_loop;

static void sleep_once(void *arg, size_t begin, size_t end, uint32_t thread)
{
    slow_loop *s = arg;
    if (thread == s->slow && !s->has_slept) {
        nanosleep(&(struct timespec){0, 50000000}, NULL);
        s->has_slept = true;
    } else if (thread != s->slow) {
        nanosleep(&(struct timespec){0, 100000}, NULL); /* long enough for the slow one to have begun */
    }
    count(&s->w, begin, end, thread);
}

/* What a slow thread does not do is done by the others, and its first block is waited for: the caller's or a helper's. */
static void who_is_slow_does_less(void **state)
{
    (void)state;
    thread_pool *pool = new_pool(4);
    for (uint32_t slow = 0; slow < 4; slow++) {
        static slow_loop s;
        s = (slow_loop){.w = {.n = 100, .grain = 1, .n_threads = 4}, .slow = slow};
        thread_pool_run(pool, 100, 1, sleep_once, &s);
        size_t by_slow = 0;
        for (size_t i = 0; i < 100; i++) {
            assert_int_equal(s.w.times[i], 1);
            by_slow += s.w.thread[i] == slow;
        }
        assert_true(by_slow < 25); /* an even share */
        check_loop(pool, 4, 100, 1);
    }
    thread_pool_free(pool);
}

/* Teams of which most helpers come late: each loop is over before they look, and the next one is another. */
static void late_helpers_harm_nothing(void **state)
{
    (void)state;
    thread_pool *pool = new_pool(24);
    for (int i = 0; i < 2000; i++) {
        check_loop(pool, 24, 1 + (size_t)i % 97, 1 + (size_t)i % 3);
        if (i % 100 == 0) nanosleep(&(struct timespec){0, 2000000}, NULL);
    }
    thread_pool_free(pool);
}

static void pools_start_and_end(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) thread_pool_free(new_pool(1 + (uint32_t)i % 5)); /* helpers may not have begun yet */
    thread_pool *pool = new_pool(THREAD_POOL_MAX);
    check_loop(pool, THREAD_POOL_MAX, N_MAX, 1);
    thread_pool_free(pool);
}

static void impossible_numbers_of_threads_are_refused(void **state)
{
    (void)state;
    static const uint32_t n_threads[] = {0, THREAD_POOL_MAX + 1, UINT32_MAX};
    for (size_t i = 0; i < 3; i++) {
        thread_pool *pool = (thread_pool *)&i;
        yl_error err;
        assert_int_equal(thread_pool_new(&pool, n_threads[i], &err), YL_EINVAL);
        assert_null(pool);
        assert_non_null(strstr(err.msg, "256"));
    }
}

/* Halves the smallest normal number: 0 where subnormals are flushed. */
static void halve(void *arg, size_t begin, size_t end, uint32_t thread)
{
    volatile float *x = arg;
    (void)thread;
    for (size_t i = begin; i < end; i++) x[i] = x[i] * 0.5f;
}

static void every_thread_keeps_subnormals(void **state)
{
    (void)state;
#ifdef __SSE2__
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0xe040); /* flush, read as zero, round toward zero: helpers inherit it */
#endif
    thread_pool *pool = new_pool(4);
    float x[4] = {FLT_MIN, FLT_MIN, FLT_MIN, FLT_MIN};
    thread_pool_run(pool, 4, 1, halve, x);
    thread_pool_free(pool);
    for (int i = 0; i < 4; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        assert_int_equal(bits, 0x00400000);
    }
#ifdef __SSE2__
    assert_int_equal(_mm_getcsr() & 0xffc0, 0x1f80); /* the caller's too; the bits below are flags */
    _mm_setcsr(before);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_element_is_done_once_in_whole_grains),
        cmocka_unit_test(without_a_pool_the_caller_does_it_all),
        cmocka_unit_test(the_longest_ranges_do_not_overflow),
        cmocka_unit_test(loops_follow_one_another),
        cmocka_unit_test(who_is_slow_does_less),
        cmocka_unit_test(late_helpers_harm_nothing),
        cmocka_unit_test(pools_start_and_end),
        cmocka_unit_test(impossible_numbers_of_threads_are_refused),
        cmocka_unit_test(every_thread_keeps_subnormals),
    };
    return cmocka_run_group_tests_name("thread_pool", tests, NULL, NULL);
}
