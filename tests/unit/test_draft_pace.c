/* How much is drafted: on texts that do not repeat, on texts that do, and against an adversary. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "draft_pace.h"
#include "drafter.h"
#include "prng.h"

enum { N_TEXT = 4000 };

typedef struct outcome {
    size_t n_tokens, n_steps, n_rows, n_kept;
} outcome;

/* A model that would write text[n_prompt ...]: steps and rows that it takes. */
static outcome replay(const token_id *text, size_t n_prompt, size_t n)
{
    drafter *d;
    yl_error err = {0};
    assert_int_equal(drafter_new(&d, (uint32_t)n, DRAFTER_DEFAULT_MAX, &err), YL_OK);
    for (size_t i = 0; i < n_prompt; i++) drafter_accept(d, text[i]);
    outcome o = {.n_tokens = n - n_prompt};
    for (size_t i = n_prompt; i < n;) {
        token_id draft[DRAFTER_DEFAULT_MAX];
        uint32_t n_draft = drafter_propose(d, draft, n - i - 1), n_kept = 0;
        assert_true(n_draft <= DRAFTER_DEFAULT_MAX && n_draft < n - i);
        while (n_kept < n_draft && draft[n_kept] == text[i + n_kept]) n_kept++;
        for (uint32_t k = 0; k <= n_kept; k++) drafter_accept(d, text[i++]);
        drafter_told(d, n_draft, n_kept);
        o.n_steps++;
        o.n_rows += n_draft + 1;
        o.n_kept += n_kept;
    }
    drafter_free(d);
    return o;
}

/* Random tokens of small vocabularies: their last tokens stood somewhere before all the time, and what followed says nothing. */
static void text_that_does_not_quote_costs_three_percent_at_most(void **state)
{
    (void)state;
    static token_id text[N_TEXT];
    for (int n_vocab = 5; n_vocab < 40; n_vocab++) {
        prng r = prng_stream(41, (uint64_t)n_vocab, 0);
        for (size_t i = 0; i < N_TEXT; i++) text[i] = prng_int(&r, 0, n_vocab);
        for (size_t n = 400; n <= N_TEXT; n *= 3) {
            outcome o = replay(text, 200, n);
            assert_true((double)o.n_rows <= 1.03 * (double)o.n_tokens + 1);
        }
    }
}

static void text_that_quotes_takes_few_steps(void **state)
{
    (void)state;
    static token_id text[N_TEXT];
    prng r = prng_stream(42, 0, 0);
    for (size_t i = 0; i < 1000; i++) text[i] = prng_int(&r, 0, 30000);
    for (size_t i = 1000; i < N_TEXT; i++) text[i] = text[i - 997];
    outcome o = replay(text, 1010, 1010 + 64);
    assert_true(o.n_steps * 3 < o.n_tokens); /* soon */
    o = replay(text, 1010, 1990);
    assert_true(o.n_steps * 12 < o.n_tokens); /* and for long */
    assert_true(o.n_rows == o.n_tokens);
    /* After a long stretch of failures, too. */
    for (size_t i = 0; i < 2000; i++) text[i] = prng_int(&r, 0, 6);
    for (size_t i = 2000; i < N_TEXT; i++) text[i] = text[i - 1000];
    outcome before = replay(text, 100, 2000), all = replay(text, 100, 2500);
    assert_true((all.n_steps - before.n_steps) * 3 < 500);
}

/* Whatever comes: rows in vain are what credit allows. */
static void rows_in_vain_are_bounded_always(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < 200; round++) {
        prng r = prng_stream(43, round, 0);
        draft_pace p = draft_pace_begin(1 + (uint32_t)round % DRAFTER_MOST);
        double n_tokens = 0, n_kept = 0, n_vain = 0;
        int luck = prng_int(&r, 0, 100);
        for (int i = 0; i < 2000; i++) {
            size_t match = (size_t)prng_int(&r, 0, 65);
            uint32_t n = draft_pace_next(&p, match), kept = 0;
            assert_true(n <= p.n_max && n <= match / 2);
            while (kept < n && prng_int(&r, 0, 100) < luck) kept++;
            draft_pace_told(&p, n, kept);
            n_tokens += kept + 1;
            n_kept += kept;
            n_vain += n - kept;
            assert_true(n_vain <= 2 + 0.02 * n_tokens + 0.25 * n_kept);
        }
    }
}

static void without_drafts_there_are_none(void **state)
{
    (void)state;
    draft_pace p = draft_pace_begin(0);
    assert_int_equal(draft_pace_next(&p, 64), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_that_does_not_quote_costs_three_percent_at_most),
        cmocka_unit_test(text_that_quotes_takes_few_steps),
        cmocka_unit_test(rows_in_vain_are_bounded_always),
        cmocka_unit_test(without_drafts_there_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
