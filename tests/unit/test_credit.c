/* test_credit.c: prompts through simulated chains: stages that take a time for each frame, and links that take a time for the way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "credit.h"
#include "prng.h"

enum { MAX_STAGES = 8, MAX_FRAMES = 200 };

/* In microseconds. */
typedef struct chain {
    uint32_t n_stages;
    double stage_us, link_us, jitter_us;
    prng random;
    double free_us[MAX_STAGES]; /* when each stage is done with what it has */
    uint64_t next_id;
    double now_us;
} chain;

typedef struct journey {
    uint64_t id;
    double back_us;
} journey;

/* When a frame that leaves now comes back. Frames keep their order, so each stage's turn is known at once. */
static double pass(chain *c, double last_back_us)
{
    double t = c->now_us + c->link_us;
    for (uint32_t i = 0; i < c->n_stages; i++) {
        if (c->free_us[i] > t) t = c->free_us[i];
        t += c->stage_us;
        c->free_us[i] = t;
        t += c->link_us;
    }
    t += c->jitter_us * (double)prng_f32(&c->random);
    return t > last_back_us ? t : last_back_us;
}

static uint64_t ns(double us)
{
    return (uint64_t)(us * 1e3) + 1000000; /* clocks do not begin at 0 */
}

/* A prompt of n frames; how long it takes. */
static double read_prompt(chain *c, credit *k, uint32_t n, uint32_t *deepest)
{
    journey out[MAX_FRAMES];
    uint32_t first = 0, end = 0;
    double begin = c->now_us, last = 0;
    *deepest = 0;
    while (first < n) {
        while (end < n && end - first < credit_depth(k)) {
            last = pass(c, last);
            out[end] = (journey){++c->next_id, last};
            credit_sent(k, out[end++].id, ns(c->now_us));
        }
        if (end - first > *deepest) *deepest = end - first;
        c->now_us = out[first].back_us;
        credit_back(k, out[first++].id, ns(c->now_us));
    }
    double took = c->now_us - begin;
    c->now_us += 1000;
    return took;
}

static chain chain_of(uint32_t n_stages, double stage_us, double link_us)
{
    return (chain){.n_stages = n_stages, .stage_us = stage_us, .link_us = link_us, .random = {1}};
}

/* The time of n frames when nothing holds them up. */
static double least_us(const chain *c, uint32_t n)
{
    return (c->n_stages + 1) * c->link_us + (c->n_stages + n - 1) * c->stage_us;
}

static void links_that_take_no_time_need_two_frames_a_stage(void **state)
{
    (void)state;
    for (uint32_t n_stages = 1; n_stages <= MAX_STAGES; n_stages++) {
        chain c = chain_of(n_stages, 1000, 5);
        credit k = credit_begin(n_stages);
        uint32_t deepest;
        for (int i = 0; i < 5; i++) {
            double took = read_prompt(&c, &k, 50, &deepest);
            assert_int_equal(deepest, 2 * n_stages);
            assert_true(took < 1.02 * least_us(&c, 50));
        }
    }
}

static void slow_links_get_what_is_on_its_way_and_no_more(void **state)
{
    (void)state;
    for (uint32_t n_stages = 2; n_stages <= 4; n_stages++) {
        chain c = chain_of(n_stages, 1000, 5000);
        credit k = credit_begin(n_stages);
        uint32_t deepest;
        double way = (n_stages + 1) * c.link_us + n_stages * c.stage_us;
        double took = read_prompt(&c, &k, 100, &deepest);
        assert_true(took < least_us(&c, 100) + 1.2 * way); /* the first burst finds out */
        assert_true(deepest <= way / c.stage_us + 3);
        for (int i = 0; i < 5; i++) {
            took = read_prompt(&c, &k, 100, &deepest);
            assert_true(took < 1.02 * least_us(&c, 100));
            assert_true(deepest <= way / c.stage_us + 3);
        }
    }
}

static void frames_that_bunch_do_not_mislead_for_long(void **state)
{
    (void)state;
    chain c = chain_of(2, 1000, 5000);
    c.jitter_us = 3000;
    credit k = credit_begin(2);
    uint32_t deepest;
    for (int i = 0; i < 20; i++) {
        double took = read_prompt(&c, &k, 100, &deepest);
        assert_true(deepest <= CREDIT_MOST);
        if (i) assert_true(took < 1.5 * least_us(&c, 100));
    }
}

static void a_chain_that_became_fast_is_found_out(void **state)
{
    (void)state;
    chain c = chain_of(2, 1000, 20000);
    credit k = credit_begin(2);
    uint32_t deepest;
    for (int i = 0; i < 3; i++) read_prompt(&c, &k, 100, &deepest);
    assert_true(deepest > 40);
    c.link_us = 5;
    read_prompt(&c, &k, 100, &deepest);
    read_prompt(&c, &k, 100, &deepest);
    assert_int_equal(deepest, 4);
}

static void a_fast_chain_does_not_take_all_there_is(void **state)
{
    (void)state;
    chain c = chain_of(2, 10, 200000);
    credit k = credit_begin(2);
    uint32_t deepest;
    for (int i = 0; i < 3; i++) read_prompt(&c, &k, 150, &deepest);
    assert_int_equal(deepest, CREDIT_MOST);
}

static void what_is_not_known_is_not_looked_at(void **state)
{
    (void)state;
    credit k = credit_begin(3), before = k;
    credit_back(&k, 7, 1000);
    credit_back(&k, 0, 1000);
    credit_sent(&k, 0, 1000);
    assert_memory_equal(&k, &before, sizeof k);
    for (uint64_t id = 1; id <= 2 * CREDIT_MOST; id++) credit_sent(&k, id, id);
    for (uint64_t id = 1; id <= 2 * CREDIT_MOST; id++) credit_back(&k, id, 1000 + id);
    assert_int_equal(k.n_out, 0);
    credit wide = credit_begin(100);
    assert_int_equal(credit_depth(&wide), 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(links_that_take_no_time_need_two_frames_a_stage),
        cmocka_unit_test(slow_links_get_what_is_on_its_way_and_no_more),
        cmocka_unit_test(frames_that_bunch_do_not_mislead_for_long),
        cmocka_unit_test(a_chain_that_became_fast_is_found_out),
        cmocka_unit_test(a_fast_chain_does_not_take_all_there_is),
        cmocka_unit_test(what_is_not_known_is_not_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
