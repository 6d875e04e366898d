/* test_pipeline.c: the schedule, against a chain that is a list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pipeline.h"

enum { MAX_TOKENS = 600, MAX_FRAMES = 64, MAX_SEQ = 32, MAX_STAGES = 4 };

static pipeline *make(uint32_t n_stages, uint32_t n_seq, uint32_t max_rows, uint32_t in_flight)
{
    pipeline_spec spec = {.n_stages = n_stages,
                          .n_seq = n_seq,
                          .n_ctx = 1000,
                          .n_vocab = 1000,
                          .n_embd = 64,
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
    frame_segment segments[MAX_SEQ];
    uint32_t want_rows[MAX_TOKENS];
    int32_t tokens[MAX_TOKENS];
} sent;

static bool take(pipeline *p, sent *s)
{
    frame f;
    if (!pipeline_next(p, &f)) return false;
    *s = (sent){.id = f.forward.id, .n_rows = f.forward.n_rows, .n_segments = f.forward.n_segments, .n_wants = f.forward.n_wants};
    assert_true(s->n_segments <= MAX_SEQ);
    uint32_t rows = 0;
    for (uint32_t i = 0; i < s->n_segments; i++) {
        s->segments[i] = f.forward.segments[i];
        rows += s->segments[i].n_rows;
    }
    assert_int_equal(rows, s->n_rows);
    assert_int_equal(f.forward.payload.n_bytes, 4 * (size_t)s->n_rows);
    for (uint32_t i = 0; i < s->n_wants; i++) s->want_rows[i] = f.forward.wants[i].row;
    for (uint32_t i = 0; i < s->n_rows; i++) s->tokens[i] = frame_i32_at(f.forward.payload, i);
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

/* Token of a position, so that what a frame carries can be told. */
static int32_t token_at(uint32_t seq, uint32_t pos)
{
    return (int32_t)((pos * 7 + seq * 131) % 1000);
}

/* A request of these positions' tokens, with a want for its last one. */
static void submit(pipeline *p, uint32_t seq, uint32_t pos, uint32_t n)
{
    static int32_t tokens[MAX_SEQ][MAX_TOKENS];
    static frame_want wants[MAX_SEQ];
    for (uint32_t i = 0; i < n; i++) tokens[seq][i] = token_at(seq, pos + i);
    wants[seq] = (frame_want){.row = n - 1, .kind = FRAME_WANT_TOP};
    pipeline_request r = {.seq = seq, .pos = pos, .tokens = tokens[seq], .n = n, .wants = &wants[seq], .n_wants = 1};
    assert_int_equal(pipeline_submit(p, &r, NULL), YL_OK);
}

/* The same, and answered. */
static void feed(pipeline *p, uint32_t seq, uint32_t pos, uint32_t n)
{
    heard h = {0};
    sent s;
    submit(p, seq, pos, n);
    while (take(p, &s)) assert_int_equal(answer(p, &s, &h), YL_OK);
    assert_true(pipeline_is_done(p, seq));
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
    assert_true(n >= 12);
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
    heard h = {0};
    sent s;
    feed(p, 0, 0, 100);
    feed(p, 1, 0, 3);
    assert_int_equal(pipeline_submit(p, &a, NULL), YL_OK);
    assert_int_equal(pipeline_submit(p, &b, NULL), YL_OK);
    assert_int_equal(pipeline_submit(p, &c, NULL), YL_OK);
    assert_int_equal(pipeline_submit(p, &c, NULL), YL_EINVAL); /* it has one already */
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
    r = (pipeline_request){.pos = 1, .tokens = tokens, .n = 1};
    assert_int_equal(pipeline_submit(p, &r, &err), YL_EINVAL);
    assert_non_null(strstr(err.msg, "has 0 positions"));
    r = (pipeline_request){.tokens = tokens, .n = 1, .wants = twice, .n_wants = 2};
    assert_int_equal(pipeline_submit(p, &r, &err), YL_EINVAL);
    assert_int_equal(pipeline_n_in_flight(p), 0);
    pipeline_free(p);
}

/* ---- a chain on a clock ---- */

/* Sequences that decode over stages of which each takes 1 + rows / 20 for a frame, whatever else happens. */
typedef struct world {
    pipeline *p;
    uint32_t n_stages, n_seq, n_prompt[MAX_SEQ], n_left[MAX_SEQ], pos[MAX_SEQ];
    double now, begin_at[MAX_SEQ], asked_at[MAX_SEQ], longest_wait;
    sent frames[MAX_FRAMES]; /* ring */
    uint32_t n_frames;
    uint32_t queue[MAX_STAGES][MAX_FRAMES], first[MAX_STAGES], n[MAX_STAGES]; /* frames at a stage; the first is under way */
    double done_at[MAX_STAGES];
    uint32_t n_tokens;        /* answered */
    uint32_t n_last_segments; /* of the last frame */
} world;

static world *world_new(uint32_t n_stages, uint32_t n_seq, uint32_t n_tokens)
{
    world *w = calloc(1, sizeof *w);
    w->p = make(n_stages, n_seq, 512, 2048);
    w->n_stages = n_stages;
    w->n_seq = n_seq;
    for (uint32_t i = 0; i < n_seq; i++) {
        w->n_left[i] = n_tokens;
        w->n_prompt[i] = 1;
    }
    return w;
}

static void world_free(world *w)
{
    pipeline_free(w->p);
    free(w);
}

static double time_of(uint32_t n_rows)
{
    return 1 + n_rows / 20.0;
}

static void arrive(world *w, uint32_t stage, uint32_t frame_index)
{
    w->queue[stage][(w->first[stage] + w->n[stage]++) % MAX_FRAMES] = frame_index;
    if (w->n[stage] == 1) w->done_at[stage] = w->now + time_of(w->frames[frame_index].n_rows);
}

/* Everybody who may asks for a token; what may leave leaves. */
static void ask(world *w)
{
    for (uint32_t i = 0; i < w->n_seq; i++) {
        if (w->now < w->begin_at[i] || !w->n_left[i] || !pipeline_is_done(w->p, i)) continue;
        uint32_t n = w->pos[i] ? 1 : w->n_prompt[i];
        bool was_token = w->pos[i] > w->n_prompt[i]; /* prompts take their time */
        if (was_token && w->now - w->asked_at[i] > w->longest_wait) w->longest_wait = w->now - w->asked_at[i];
        submit(w->p, i, w->pos[i], n);
        w->pos[i] += n;
        w->n_left[i]--;
        w->asked_at[i] = w->now;
    }
    while (take(w->p, &w->frames[w->n_frames % MAX_FRAMES])) {
        w->n_last_segments = w->frames[w->n_frames % MAX_FRAMES].n_segments;
        arrive(w, 0, w->n_frames++ % MAX_FRAMES);
    }
}

/* Lets the stage that is done first pass its frame on. False: nobody does anything. */
static bool step(world *w)
{
    uint32_t best = MAX_STAGES;
    double next_begin = 1e9;
    for (uint32_t s = 0; s < w->n_stages; s++) {
        if (w->n[s] && (best == MAX_STAGES || w->done_at[s] < w->done_at[best])) best = s;
    }
    for (uint32_t i = 0; i < w->n_seq; i++) {
        if (w->begin_at[i] > w->now && w->begin_at[i] < next_begin) next_begin = w->begin_at[i];
    }
    if (best == MAX_STAGES || w->done_at[best] > next_begin) {
        if (next_begin == 1e9) return false;
        w->now = next_begin;
        return true;
    }
    w->now = w->done_at[best];
    uint32_t index = w->queue[best][w->first[best]];
    w->first[best] = (w->first[best] + 1) % MAX_FRAMES;
    w->n[best]--;
    if (w->n[best]) w->done_at[best] = w->now + time_of(w->frames[w->queue[best][w->first[best]]].n_rows);
    if (best + 1 < w->n_stages) {
        arrive(w, best + 1, index);
    } else {
        heard h = {0};
        assert_int_equal(answer(w->p, &w->frames[index], &h), YL_OK);
        w->n_tokens += h.n;
    }
    return true;
}

static void run_until(world *w, uint32_t n_tokens)
{
    do ask(w);
    while (w->n_tokens < n_tokens && step(w));
}

/* Tokens in a unit of time that groups of the same size would make. */
static double ideal_rate(const world *w)
{
    uint32_t n_groups = w->n_seq / PIPELINE_GROUP_ROWS;
    if (n_groups < 1) n_groups = 1;
    if (n_groups > w->n_stages) n_groups = w->n_stages;
    uint32_t group = (w->n_seq + n_groups - 1) / n_groups;
    return w->n_seq / (w->n_stages * time_of(group));
}

/* However the sequences begin, they soon travel in equal groups: a few in one, many in one a stage. */
static void sequences_travel_in_groups(void **state)
{
    (void)state;
    static const uint32_t CASES[][2] = {{1, 16}, {2, 2}, {2, 3}, {2, 8}, {2, 16}, {3, 7}, {3, 10}, {4, 32}}; /* stages, sequences */
    static const double APART[] = {0, 0.3, 1.7};
    for (size_t c = 0; c < sizeof CASES / sizeof *CASES; c++) {
        for (size_t k = 0; k < sizeof APART / sizeof *APART; k++) {
            world *w = world_new(CASES[c][0], CASES[c][1], 400);
            for (uint32_t i = 0; i < w->n_seq; i++) w->begin_at[i] = i * APART[k];
            while (w->now < w->begin_at[w->n_seq - 1] + 20) run_until(w, w->n_tokens + 1);
            double begin = w->now;
            uint32_t n_before = w->n_tokens;
            run_until(w, n_before + 100 * w->n_seq);
            double rate = (w->n_tokens - n_before) / (w->now - begin);
            if (rate < 0.97 * ideal_rate(w))
                fail_msg("%u sequences over %u stages: %.3f tokens, not %.3f", w->n_seq, w->n_stages, rate, ideal_rate(w));
            if (w->n_stages == 1) assert_int_equal(w->n_last_segments, w->n_seq);
            world_free(w);
        }
    }
}

/* Some end, others go on: those that are left share the stages. */
static void groups_close_their_ranks(void **state)
{
    (void)state;
    world *w = world_new(2, 16, 300);
    for (uint32_t i = 0; i < 7; i++) w->n_left[i] = 20 + i; /* all but one of the group that leaves first */
    w->n_left[12] = 30;
    run_until(w, 800);
    w->n_seq = 8; /* for the ideal: eight are left */
    double begin = w->now, ideal = ideal_rate(w);
    uint32_t n_before = w->n_tokens;
    w->n_seq = 16;
    run_until(w, n_before + 400);
    assert_true((w->n_tokens - n_before) / (w->now - begin) > 0.97 * ideal);
    while (step(w)) ask(w);
    for (uint32_t i = 0; i < 16; i++) assert_true(!w->n_left[i] && pipeline_is_done(w->p, i));
    world_free(w);
}

/* Who decodes goes on while prompts are read, and prompts are read while others decode. */
static void nobody_starves(void **state)
{
    (void)state;
    for (uint32_t n_stages = 1; n_stages <= 3; n_stages++) {
        world *w = world_new(n_stages, 12, 60);
        for (uint32_t i = 0; i < 12; i += 3) {
            w->n_prompt[i] = 500;
            w->begin_at[i] = 10.0 + i;
        }
        run_until(w, 12 * 60);
        assert_int_equal(w->n_tokens, 12 * 60);
        /* It waits for a landing, then passes all stages behind what is in flight. */
        assert_true(w->longest_wait <= 3 * n_stages * time_of(PIPELINE_MAX_ROWS + 12));
        world_free(w);
    }
}

/* ---- a chain that forgets ---- */

/* Takes all frames until none comes: the rows of each sequence must be whole, in order, from the position that is due. */
static void expect_rows(pipeline *p, uint32_t seq, uint32_t begin, uint32_t end, uint64_t first_step, heard *h)
{
    sent s;
    uint32_t pos = begin;
    uint64_t next_step = first_step;
    while (take(p, &s)) {
        assert_int_equal(s.n_segments, 1);
        assert_int_equal(s.segments[0].seq, seq);
        assert_int_equal(s.segments[0].step, next_step++);
        assert_int_equal(s.segments[0].pos, pos);
        for (uint32_t i = 0; i < s.n_rows; i++) assert_int_equal(s.tokens[i], token_at(seq, pos + i));
        pos += s.n_rows;
        assert_int_equal(answer(p, &s, h), YL_OK);
    }
    assert_int_equal(pos, end);
}

static void a_restart_feeds_the_sequence_again(void **state)
{
    (void)state;
    pipeline *p = make(2, 2, 32, 1000);
    static int32_t tokens[100];
    static frame_want wants[10];
    for (uint32_t i = 0; i < 100; i++) tokens[i] = token_at(0, 40 + i);
    for (uint32_t i = 0; i < 10; i++) wants[i] = (frame_want){.row = 10 * i + 9, .kind = FRAME_WANT_TOP};
    feed(p, 0, 0, 40);
    pipeline_request r = {.pos = 40, .tokens = tokens, .n = 100, .wants = wants, .n_wants = 10};
    assert_int_equal(pipeline_submit(p, &r, NULL), YL_OK);
    sent s, late;
    heard h = {0};
    assert_true(take(p, &s) && take(p, &late));
    assert_int_equal(answer(p, &s, &h), YL_OK);
    uint32_t n_before = h.n;
    assert_true(n_before > 0 && n_before < 10);
    assert_int_equal(pipeline_restart(p, 2), 40 + s.n_rows + late.n_rows);
    assert_int_equal(pipeline_n_in_flight(p), 0);
    assert_false(pipeline_has_in_flight(p, late.id));
    expect_rows(p, 0, 0, 140, 1, &h);
    assert_true(pipeline_is_done(p, 0));
    assert_int_equal(h.n, 10); /* those from before are not given twice */
    for (uint32_t i = 0; i < 10; i++) assert_int_equal(h.rows[i], wants[i].row);
    pipeline_free(p);
}

/* Workers are lost, and the chain that is left is shorter: fewer frames are on their way, and nothing is missing. */
static void a_restart_may_be_of_fewer_stages(void **state)
{
    (void)state;
    static const uint32_t STAGES[] = {3, 1, 2};
    pipeline *p = make(3, 1, 16, 1000);
    heard h = {0};
    sent s[7];
    submit(p, 0, 0, 300);
    for (size_t i = 0; i < sizeof STAGES / sizeof *STAGES; i++) {
        if (i) pipeline_restart(p, STAGES[i]);
        uint32_t n = 0;
        while (n < 7 && take(p, &s[n])) n++;
        assert_int_equal(n, 2 * STAGES[i]);
        assert_int_equal(s[0].segments[0].pos, 0);
    }
    for (uint32_t i = 0; i < 4; i++) assert_int_equal(answer(p, &s[i], &h), YL_OK);
    expect_rows(p, 0, s[3].segments[0].pos + s[3].n_rows, 300, 5, &h);
    assert_true(pipeline_is_done(p, 0));
    assert_int_equal(h.n, 1);
    assert_int_equal(h.rows[0], 299);
    pipeline_free(p);
}

/* A sequence of which nothing is under way is fed again when it is used again, as far as that needs it. */
static void what_is_lost_is_fed_with_the_next_request(void **state)
{
    (void)state;
    pipeline *p = make(1, 2, 512, 1000);
    heard h = {0};
    feed(p, 0, 0, 90);
    feed(p, 1, 0, 50);
    assert_int_equal(pipeline_restart(p, 1), 140);
    submit(p, 0, 60, 20); /* and it goes back by 30 */
    expect_rows(p, 0, 0, 80, 1, &h);
    assert_int_equal(h.n, 1);
    assert_int_equal(h.rows[0], 19);
    submit(p, 0, 80, 1);
    expect_rows(p, 0, 80, 81, 2, &h);
    pipeline_forget_seq(p, 1);
    assert_int_equal(pipeline_restart(p, 1), 81);
    submit(p, 1, 0, 4);
    expect_rows(p, 1, 0, 4, 1, &h);
    pipeline_free(p);
}

static void what_is_lost_can_be_restored(void **state)
{
    (void)state;
    pipeline *p = make(2, 1, 512, 1000);
    sent s;
    heard h = {0};
    feed(p, 0, 0, 30);
    assert_int_equal(pipeline_restore(p, 0, 29, NULL), YL_OK); /* nothing was lost */
    assert_true(pipeline_is_done(p, 0));
    pipeline_restart(p, 2);
    assert_int_equal(pipeline_restore(p, 0, 30, NULL), YL_EINVAL);
    assert_int_equal(pipeline_restore(p, 0, 29, NULL), YL_OK);
    assert_int_equal(pipeline_restore(p, 0, 29, NULL), YL_EINVAL); /* it is being restored */
    uint32_t n_rows = 0;
    while (take(p, &s)) {
        n_rows += s.n_rows;
        assert_int_equal(s.n_wants, n_rows == 30);
        if (s.n_wants) assert_int_equal(s.want_rows[0], s.n_rows - 1);
        assert_int_equal(answer(p, &s, &h), YL_OK);
    }
    assert_int_equal(n_rows, 30);
    assert_true(pipeline_is_done(p, 0));
    pipeline_free(p);
}

/* A long row of logits comes in pieces; one that came half is asked for again. */
static void an_answer_in_pieces_counts_when_it_is_whole(void **state)
{
    (void)state;
    pipeline *p = make(1, 1, 16, 100);
    static int32_t tokens[2];
    static const uint8_t values[4000];
    frame_want want = {.row = 1, .kind = FRAME_WANT_ALL};
    pipeline_request r = {.tokens = tokens, .n = 2, .wants = &want, .n_wants = 1};
    assert_int_equal(pipeline_submit(p, &r, NULL), YL_OK);
    heard h = {0};
    for (int round = 0; round < 2; round++) {
        sent s;
        assert_true(take(p, &s));
        assert_int_equal(s.n_wants, 1);
        frame_answer a = {.row = 1, .pos = 1, .kind = FRAME_WANT_ALL, .data = {values, 2400}};
        frame f = {.kind = FRAME_RESULT, .result = {.id = s.id, .more = true, .n_answers = 1, .answers = &a}};
        assert_int_equal(pipeline_result(p, &f, hear, &h, NULL), YL_OK);
        if (round == 0) {
            pipeline_restart(p, 1);
            continue;
        }
        a.first = 600;
        a.data.n_bytes = 1600;
        f.result.more = false;
        assert_int_equal(pipeline_result(p, &f, hear, &h, NULL), YL_OK);
    }
    assert_int_equal(h.n, 3);
    assert_true(pipeline_is_done(p, 0));
    pipeline_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prompt_keeps_all_stages_busy),
        cmocka_unit_test(rows_on_their_way_are_bounded),
        cmocka_unit_test(answers_find_their_requests),
        cmocka_unit_test(a_dropped_request_is_not_heard_of),
        cmocka_unit_test(answers_that_were_not_asked_for),
        cmocka_unit_test(requests_that_cannot_be),
        cmocka_unit_test(sequences_travel_in_groups),
        cmocka_unit_test(groups_close_their_ranks),
        cmocka_unit_test(nobody_starves),
        cmocka_unit_test(a_restart_feeds_the_sequence_again),
        cmocka_unit_test(a_restart_may_be_of_fewer_stages),
        cmocka_unit_test(what_is_lost_is_fed_with_the_next_request),
        cmocka_unit_test(what_is_lost_can_be_restored),
        cmocka_unit_test(an_answer_in_pieces_counts_when_it_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
