/* test_pipeline.c: the schedule, against a chain that is a list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pipeline.h"

enum { MAX_TOKENS = 600, MAX_FRAMES = 64 };

static pipeline *make(uint32_t n_stages, uint32_t n_seq, uint32_t max_rows, uint32_t in_flight)
{
    pipeline_spec spec = {.n_stages = n_stages,
                          .n_seq = n_seq,
                          .n_ctx = 1000,
                          .n_vocab = 1000,
                          .max_rows = max_rows,
                          .max_rows_in_flight = in_flight};
    pipeline *p;
    assert_int_equal(pipeline_new(&p, &spec, NULL), YL_OK);
    return p;
}

/* What a chain remembers of a FORWARD until it answers. */
typedef struct sent {
    uint64_t id;
    uint32_t n_rows, n_segments, n_wants;
    frame_segment segments[8];
    uint32_t want_rows[MAX_TOKENS];
} sent;

static bool take(pipeline *p, sent *s)
{
    frame f;
    if (!pipeline_next(p, &f)) return false;
    *s = (sent){.id = f.forward.id, .n_rows = f.forward.n_rows, .n_segments = f.forward.n_segments, .n_wants = f.forward.n_wants};
    assert_true(s->n_segments <= 8);
    uint32_t rows = 0;
    for (uint32_t i = 0; i < s->n_segments; i++) {
        s->segments[i] = f.forward.segments[i];
        rows += s->segments[i].n_rows;
    }
    assert_int_equal(rows, s->n_rows);
    assert_int_equal(f.forward.payload.n_bytes, 4 * (size_t)s->n_rows);
    for (uint32_t i = 0; i < s->n_wants; i++) s->want_rows[i] = f.forward.wants[i].row;
    return true;
}

/* Which sequence and position a row of a frame is. */
static void find_row(const sent *s, uint32_t row, uint32_t *seq, uint32_t *pos)
{
    for (uint32_t i = 0; i < s->n_segments; i++) {
        if (row < s->segments[i].n_rows) {
            *seq = s->segments[i].seq;
            *pos = s->segments[i].pos + row;
            return;
        }
        row -= s->segments[i].n_rows;
    }
    fail_msg("no such row");
}

typedef struct heard {
    uint32_t n;
    uint32_t rows[MAX_TOKENS];
} heard;

static void hear(void *ctx, const frame_answer *a)
{
    heard *h = ctx;
    h->rows[h->n++] = a->row;
}

static yl_status answer(pipeline *p, const sent *s, heard *h)
{
    frame_answer answers[MAX_TOKENS] = {0};
    for (uint32_t i = 0; i < s->n_wants; i++) {
        answers[i].row = s->want_rows[i];
        answers[i].kind = FRAME_WANT_TOP;
        find_row(s, s->want_rows[i], &answers[i].seq, &answers[i].pos);
    }
    frame f = {.kind = FRAME_RESULT, .result = {.id = s->id, .n_answers = s->n_wants, .answers = answers}};
    return pipeline_result(p, &f, hear, h, NULL);
}

static void a_prompt_keeps_all_stages_busy(void **state)
{
    (void)state;
    pipeline *p = make(3, 1, 128, 512);
    static int32_t tokens[MAX_TOKENS];
    pipeline_request r = {.tokens = tokens, .n = MAX_TOKENS};
    assert_int_equal(pipeline_submit(p, &r, NULL), YL_OK);
    sent s[MAX_FRAMES];
    uint32_t n = 0, next_pos = 0;
    while (take(p, &s[n])) {
        assert_int_equal(s[n].segments[0].pos, next_pos);
        assert_int_equal(s[n].segments[0].step, n + 1);
        next_pos += s[n++].n_rows;
    }
    assert_int_equal(n, 6); /* 2 x stages are on their way, and no more */
    assert_int_equal(pipeline_n_in_flight(p), 6);
    heard h = {0};
    uint32_t n_back = 0;
    for (; n_back < n; n_back++) {
        assert_int_equal(answer(p, &s[n_back], &h), YL_OK);
        while (take(p, &s[n])) next_pos += s[n++].n_rows;
    }
    assert_int_equal(next_pos, MAX_TOKENS);
    assert_true(n >= 12); /* four frames a stage */
    assert_true(pipeline_is_done(p, 0));
    pipeline_free(p);
}

static void rows_on_their_way_are_bounded(void **state)
{
    (void)state;
    pipeline *p = make(4, 1, 100, 150);
    static int32_t tokens[MAX_TOKENS];
    pipeline_request r = {.tokens = tokens, .n = MAX_TOKENS};
    assert_int_equal(pipeline_submit(p, &r, NULL), YL_OK);
    sent s;
    uint32_t rows = 0;
    while (take(p, &s)) rows += s.n_rows;
    assert_true(rows <= 150);
    pipeline_free(p);
}

/* Wants of several sequences come back under their own row numbers, whatever frames they travelled in. */
static void answers_find_their_requests(void **state)
{
    (void)state;
    pipeline *p = make(2, 3, 24, 1000);
    static int32_t tokens[50];
    frame_want wants[3][2] = {{{.row = 0}, {.row = 49}}, {{.row = 7}, {.row = 20}}, {{.row = 0}, {.row = 0}}};
    pipeline_request a = {.seq = 0, .pos = 100, .tokens = tokens, .n = 50, .wants = wants[0], .n_wants = 2};
    pipeline_request b = {.seq = 1, .pos = 3, .tokens = tokens, .n = 30, .wants = wants[1], .n_wants = 2};
    pipeline_request c = {.seq = 2, .pos = 0, .tokens = tokens, .n = 1, .wants = wants[2], .n_wants = 1};
    assert_int_equal(pipeline_submit(p, &a, NULL), YL_OK);
    assert_int_equal(pipeline_submit(p, &b, NULL), YL_OK);
    assert_int_equal(pipeline_submit(p, &c, NULL), YL_OK);
    assert_int_equal(pipeline_submit(p, &c, NULL), YL_EINVAL); /* it has one already */
    heard h = {0};
    sent s;
    while (take(p, &s)) assert_int_equal(answer(p, &s, &h), YL_OK);
    assert_int_equal(h.n, 5);
    uint32_t sum = 0;
    for (uint32_t i = 0; i < h.n; i++) sum += h.rows[i];
    assert_int_equal(sum, 0 + 49 + 7 + 20 + 0);
    assert_true(pipeline_is_done(p, 0) && pipeline_is_done(p, 1) && pipeline_is_done(p, 2));
    assert_int_equal(pipeline_n_in_flight(p), 0);
    pipeline_free(p);
}

static void a_dropped_request_is_not_heard_of(void **state)
{
    (void)state;
    pipeline *p = make(2, 1, 16, 1000);
    static int32_t tokens[64];
    frame_want want = {.row = 0};
    pipeline_request r = {.tokens = tokens, .n = 64, .wants = &want, .n_wants = 1};
    assert_int_equal(pipeline_submit(p, &r, NULL), YL_OK);
    sent old, s;
    assert_true(take(p, &old));
    pipeline_drop(p, 0);
    assert_false(take(p, &s));
    assert_int_equal(pipeline_submit(p, &r, NULL), YL_OK); /* again, while the old frame is on its way */
    heard h = {0};
    assert_int_equal(answer(p, &old, &h), YL_OK);
    assert_int_equal(h.n, 0);
    while (take(p, &s)) assert_int_equal(answer(p, &s, &h), YL_OK);
    assert_int_equal(h.n, 1);
    assert_true(pipeline_is_done(p, 0));
    pipeline_free(p);
}

static void answers_that_were_not_asked_for(void **state)
{
    (void)state;
    pipeline *p = make(1, 2, 16, 100);
    static int32_t tokens[4];
    frame_want want = {.row = 3};
    pipeline_request r = {.tokens = tokens, .n = 4, .wants = &want, .n_wants = 1};
    assert_int_equal(pipeline_submit(p, &r, NULL), YL_OK);
    sent s;
    assert_true(take(p, &s));
    heard h = {0};
    sent wrong = s;
    wrong.id++;
    assert_int_equal(answer(p, &wrong, &h), YL_EPEER); /* no such frame */
    wrong = s;
    wrong.n_wants = 0;
    assert_int_equal(answer(p, &wrong, &h), YL_EPEER); /* too few */
    wrong = s;
    wrong.n_wants = 2;
    wrong.want_rows[1] = 2;
    assert_int_equal(answer(p, &wrong, &h), YL_EPEER); /* too many */
    assert_int_equal(h.n, 0);
    pipeline_free(p);
}

static void requests_that_cannot_be(void **state)
{
    (void)state;
    pipeline *p = make(1, 1, 16, 100);
    static int32_t tokens[2] = {5, 1000};
    frame_want twice[2] = {{.row = 0}, {.row = 0}};
    yl_error err;
    pipeline_request r = {.seq = 1, .tokens = tokens, .n = 1};
    assert_int_equal(pipeline_submit(p, &r, &err), YL_EINVAL);
    r = (pipeline_request){.tokens = tokens, .n = 2};
    assert_int_equal(pipeline_submit(p, &r, &err), YL_EINVAL);
    assert_non_null(strstr(err.msg, "token 1000"));
    r = (pipeline_request){.pos = 1000, .tokens = tokens, .n = 1};
    assert_int_equal(pipeline_submit(p, &r, &err), YL_EINVAL);
    assert_non_null(strstr(err.msg, "larger -c"));
    r = (pipeline_request){.tokens = tokens, .n = 1, .wants = twice, .n_wants = 2};
    assert_int_equal(pipeline_submit(p, &r, &err), YL_EINVAL);
    assert_int_equal(pipeline_n_in_flight(p), 0);
    pipeline_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prompt_keeps_all_stages_busy),  cmocka_unit_test(rows_on_their_way_are_bounded),
        cmocka_unit_test(answers_find_their_requests),     cmocka_unit_test(a_dropped_request_is_not_heard_of),
        cmocka_unit_test(answers_that_were_not_asked_for), cmocka_unit_test(requests_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
