/* The index of places against a search that looks at all of them, on histories that grow and are cut at random. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "draft_ngram.h"
#include "prng.h"

enum { N_MAX = 3000 };

typedef struct history {
    token_id tokens[N_MAX];
    size_t n;
    draft_ngram *index;
} history;

static history *new_history(void)
{
    static history h;
    yl_error err = {0};
    h.n = 0;
    assert_int_equal(draft_ngram_new(&h.index, N_MAX, &err), YL_OK);
    return &h;
}

static void push(history *h, token_id token)
{
    h->tokens[h->n++] = token;
    draft_ngram_push(h->index, token);
}

static void cut(history *h, size_t n)
{
    h->n = n;
    draft_ngram_truncate(h->index, n);
}

static draft_match search(const history *h)
{
    draft_match best = {0};
    size_t n_places = 0;
    for (size_t next = h->n - 1; h->n > 0 && next > 0 && n_places < DRAFT_NGRAM_PLACES; next--) {
        size_t n = 0;
        while (n < next && n < DRAFT_NGRAM_MOST && h->tokens[next - 1 - n] == h->tokens[h->n - 1 - n]) n++;
        if (n < DRAFT_NGRAM_LEAST) continue;
        n_places++;
        if (n > best.length) best = (draft_match){.length = n, .next = next};
    }
    return best;
}

static void expect_the_same(const history *h)
{
    draft_match found = draft_ngram_find(h->index), expected = search(h);
    assert_int_equal(draft_ngram_length(h->index), h->n);
    assert_int_equal(found.length, expected.length);
    assert_int_equal(found.next, expected.next);
}

static void finds_what_a_search_finds(void **state)
{
    (void)state;
    size_t n_found = 0, n_long = 0;
    for (uint64_t round = 0; round < 60; round++) {
        prng r = prng_stream(31, round, 0);
        history *h = new_history();
        int n_vocab = 2 + (int)round * 2;
        for (int i = 0; i < 1500; i++) {
            int what = prng_int(&r, 0, 40);
            if (what == 0) {
                cut(h, h->n - (size_t)prng_int(&r, 0, h->n < 100 ? (int)h->n + 1 : 100));
            } else if (what == 1 && h->n > 0 && h->n < N_MAX - 200) {
                size_t from = (size_t)prng_int(&r, 0, (int)h->n), n = (size_t)prng_int(&r, 1, 150);
                for (size_t k = 0; k < n; k++) push(h, h->tokens[from + k]);
            } else if (h->n < N_MAX) {
                push(h, prng_int(&r, 0, n_vocab) * 1000);
            }
            expect_the_same(h);
            n_found += search(h).length > 0;
            n_long += search(h).length == DRAFT_NGRAM_MOST;
        }
        draft_ngram_free(h->index);
    }
    assert_true(n_found > 5000 && n_long > 1000);
}

/* The rarest of many places is beyond those that are looked at: a newer, shorter match is taken. */
static void looks_at_the_newest_places_only(void **state)
{
    (void)state;
    history *h = new_history();
    static const token_id old[] = {9, 8, 7, 1, 2, 3, 55}, often[] = {1, 2, 3, 66}, last[] = {9, 8, 7, 1, 2, 3};
    for (size_t i = 0; i < 7; i++) push(h, old[i]);
    for (size_t k = 0; k < DRAFT_NGRAM_PLACES; k++)
        for (size_t i = 0; i < 4; i++) push(h, often[i]);
    for (size_t i = 0; i < 6; i++) push(h, last[i]);
    expect_the_same(h);
    draft_match m = draft_ngram_find(h->index);
    assert_int_equal(m.length, 3);
    assert_int_equal(h->tokens[m.next], 66);
    cut(h, 0);
    expect_the_same(h);
    draft_ngram_free(h->index);
}

/* What is copied is what a text that goes on with its period would be, also beyond the end of what there is. */
static void copies_on_beyond_the_end(void **state)
{
    (void)state;
    for (size_t period = 1; period < 20; period++) {
        history *h = new_history();
        for (size_t i = 0; i < 3 * period + DRAFT_NGRAM_LEAST; i++) push(h, (token_id)(i % period));
        draft_match m = draft_ngram_find(h->index);
        assert_in_range(m.length, DRAFT_NGRAM_LEAST, DRAFT_NGRAM_MOST);
        token_id out[100];
        draft_ngram_copy(h->index, m, out, 100);
        for (size_t i = 0; i < 100; i++) assert_int_equal(out[i], (h->n + i) % period);
        draft_ngram_free(h->index);
    }
}

static void new_text_has_no_match(void **state)
{
    (void)state;
    history *h = new_history();
    assert_int_equal(draft_ngram_find(h->index).length, 0);
    for (token_id i = 0; i < N_MAX; i++) {
        push(h, i * 7);
        assert_int_equal(draft_ngram_find(h->index).length, 0);
    }
    draft_ngram_free(h->index);
    draft_ngram_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_a_search_finds),
        cmocka_unit_test(looks_at_the_newest_places_only),
        cmocka_unit_test(copies_on_beyond_the_end),
        cmocka_unit_test(new_text_has_no_match),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
