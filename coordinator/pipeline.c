/* pipeline.c: requests wait in order of arrival; each FORWARD takes rows from the front.
 *
 * Two kinds of requests share a frame. *Short* ones, a token or a few, are what somebody waits for. A stage reads all its weights
 * for a frame, however few rows it has, and a few rows cost hardly more than one. So while there are few, all travel in one frame:
 * n rows in the time of one, and although all stages but one are idle, cutting it up would gain nothing (and where stages share
 * one machine's memory it would lose: each group reads the weights again). When rows begin to cost, they go in groups, one a stage
 * at most, and none takes more than its share of all short rows there are. So groups keep their size by themselves: when two meet,
 * what is above the share waits for the next one; when one thinned out, it is filled up.
 *
 * *Long* ones, prompts, are cut. With frames of r rows, each costing as much time as r + c rows, n rows over s stages take
 * (n / r + s - 1) (r + c): the chain fills and drains with one frame a stage. (What counts is the largest frame, not the first or
 * the last.) That is least at r = sqrt(n c / (s - 1)). Short rows ride along.
 *
 * Always: rows of a sequence leave in order; at most `depth` frames and max_rows_in_flight rows are on their way, and
 * every RESULT without `more` gives its frame's credit back.
 *
 * A sequence remembers its tokens, and how many of its first positions the chain holds. A request sends what lies between that
 * and its end: as a rule its own rows, after a restart also all before them. */
#include "pipeline.h"

#include "credit.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Measured (AVX-512, 1B): frames of 16 rows read a prompt as fast as those of 128 in Q4_0, and within 4 % in Q8_0, on one thread;
 * two stages that share a memory lose a little more. */
static const double ROWS_A_FRAME_COSTS = 1;

typedef struct request {
    bool is_active, is_short;
    uint32_t pos;            /* of the first token asked for */
    uint32_t next, end;      /* positions: the first that was not sent, one past the last */
    uint32_t n_out;          /* rows whose frame is not back, sent or not */
    const frame_want *wants; /* rows counted from pos */
    size_t n_wants, next_want;
    size_t n_given;      /* wants that were answered whole */
    uint64_t order;      /* of arrival */
    uint64_t generation; /* tells a request from an earlier one of its sequence, for frames still in flight */
} request;

typedef struct sequence {
    int32_t *tokens;   /* [n_ctx] at their positions; NULL before the first request */
    uint32_t n_tokens; /* known, sent or not */
    uint32_t n_held;   /* the chain has the first n_held of them, or will when what is in flight has passed */
    uint64_t step;
    request q;
} sequence;

/* Part of a FORWARD: rows [row, row + n) of the frame are positions [pos, pos + n) of seq. */
typedef struct part {
    uint32_t seq, row, n, pos;
    uint64_t generation;
} part;

typedef struct flight {
    bool is_used, has_short;
    uint64_t id;
    uint32_t n_rows, n_wants, n_answered, n_parts;
    part *parts; /* [max_parts] */
} flight;

struct pipeline {
    pipeline_spec spec;
    uint32_t n_stages, depth; /* of the chain as it is now */
    uint32_t n_flights;
    uint32_t n_in_flight, n_short_in_flight, max_parts;
    uint64_t rows_in_flight, next_id, next_order, next_generation;
    sequence *seqs;          /* [n_seq] */
    flight *flights;         /* [n_flights] */
    part *parts;             /* [n_flights, max_parts] */
    frame_segment *segments; /* [max_parts] */
    frame_want *wants;       /* [max_rows] */
    uint8_t *payload;        /* [max_rows] i32 */
};

yl_status pipeline_new(pipeline **out, const pipeline_spec *spec, yl_error *err)
{
    *out = NULL;
    if (!spec->n_stages || !spec->n_seq || !spec->max_rows || spec->max_rows > FRAME_MAX_ROWS)
        return yl_fail(err, YL_EINVAL, "a pipeline of %u stages, %u sequences and micro-batches of %u rows cannot be",
                       spec->n_stages, spec->n_seq, spec->max_rows);
    pipeline *p = calloc(1, sizeof *p);
    if (!p) return yl_fail(err, YL_ENOMEM, "no memory for the pipeline");
    p->spec = *spec;
    if (p->spec.max_rows_in_flight < spec->max_rows) p->spec.max_rows_in_flight = spec->max_rows;
    p->n_stages = spec->n_stages;
    p->depth = CREDIT_A_STAGE * spec->n_stages;
    p->n_flights = p->depth > CREDIT_MOST ? p->depth : CREDIT_MOST;
    p->max_parts = spec->n_seq < FRAME_MAX_SEGMENTS ? spec->n_seq : FRAME_MAX_SEGMENTS;
    p->next_id = 1;
    p->seqs = calloc(spec->n_seq, sizeof *p->seqs);
    p->flights = calloc(p->n_flights, sizeof *p->flights);
    p->parts = calloc((size_t)p->n_flights * p->max_parts, sizeof *p->parts);
    p->segments = calloc(p->max_parts, sizeof *p->segments);
    p->wants = calloc(spec->max_rows, sizeof *p->wants);
    p->payload = calloc(spec->max_rows, 4);
    if (!p->seqs || !p->flights || !p->parts || !p->segments || !p->wants || !p->payload) {
        pipeline_free(p);
        return yl_fail(err, YL_ENOMEM, "no memory for the pipeline");
    }
    for (uint32_t i = 0; i < p->n_flights; i++) p->flights[i].parts = p->parts + (size_t)i * p->max_parts;
    *out = p;
    return YL_OK;
}

void pipeline_free(pipeline *p)
{
    if (!p) return;
    for (uint32_t i = 0; p->seqs && i < p->spec.n_seq; i++) free(p->seqs[i].tokens);
    free(p->seqs);
    free(p->flights);
    free(p->parts);
    free(p->segments);
    free(p->wants);
    free(p->payload);
    free(p);
}

/* ---- requests ---- */

static yl_status check_request(const pipeline *p, const pipeline_request *r, yl_error *err)
{
    if (r->seq >= p->spec.n_seq) return yl_fail(err, YL_EINVAL, "sequence %u of %u", r->seq, p->spec.n_seq);
    const sequence *s = &p->seqs[r->seq];
    if (s->q.is_active) return yl_fail(err, YL_EINVAL, "sequence %u has rows on their way", r->seq);
    if (r->n > p->spec.n_ctx || r->pos > p->spec.n_ctx - r->n)
        return yl_fail(err, YL_EINVAL, "%zu tokens at position %u do not fit into a context of %u (use a larger -c)", r->n, r->pos,
                       p->spec.n_ctx);
    if (r->pos > s->n_tokens)
        return yl_fail(err, YL_EINVAL, "sequence %u has %u positions: none can be fed at %u", r->seq, s->n_tokens, r->pos);
    for (size_t i = 0; i < r->n; i++) {
        if (r->tokens[i] < 0 || (uint32_t)r->tokens[i] >= p->spec.n_vocab)
            return yl_fail(err, YL_EINVAL, "token %d is not in the vocabulary of %u", r->tokens[i], p->spec.n_vocab);
    }
    for (size_t i = 0; i < r->n_wants; i++) {
        if (r->wants[i].row >= r->n || (i && r->wants[i].row <= r->wants[i - 1].row))
            return yl_fail(err, YL_EINVAL, "answer wanted of row %u of %zu, or twice", r->wants[i].row, r->n);
    }
    return YL_OK;
}

/* Makes the request's positions [first, end) those to be sent. */
static void begin(pipeline *p, request *q, uint32_t first)
{
    q->next = first;
    q->n_out = q->end - first;
    q->next_want = q->n_given;
    q->generation = ++p->next_generation;
    uint32_t most = PIPELINE_SHORT_ROWS < p->spec.max_rows ? PIPELINE_SHORT_ROWS : p->spec.max_rows;
    q->is_short = q->n_out <= most;
}

static void queue(pipeline *p, sequence *s, request q)
{
    if (s->n_held > q.pos) s->n_held = q.pos;
    s->q = q;
    s->q.is_active = true;
    s->q.order = p->next_order++;
    begin(p, &s->q, s->n_held);
}

yl_status pipeline_submit(pipeline *p, const pipeline_request *r, yl_error *err)
{
    yl_status status = check_request(p, r, err);
    if (status || !r->n) return status;
    sequence *s = &p->seqs[r->seq];
    if (!s->tokens) s->tokens = malloc(p->spec.n_ctx * sizeof *s->tokens);
    if (!s->tokens) return yl_fail(err, YL_ENOMEM, "no memory for the tokens of sequence %u", r->seq);
    memcpy(s->tokens + r->pos, r->tokens, r->n * sizeof *s->tokens);
    s->n_tokens = r->pos + (uint32_t)r->n;
    queue(p, s, (request){.pos = r->pos, .end = s->n_tokens, .wants = r->wants, .n_wants = r->n_wants});
    return YL_OK;
}

yl_status pipeline_restore(pipeline *p, uint32_t seq, uint32_t pos, yl_error *err)
{
    static const frame_want NO_CANDIDATES = {.kind = FRAME_WANT_TOP};
    if (seq >= p->spec.n_seq) return yl_fail(err, YL_EINVAL, "sequence %u of %u", seq, p->spec.n_seq);
    sequence *s = &p->seqs[seq];
    if (s->q.is_active) return yl_fail(err, YL_EINVAL, "sequence %u has rows on their way", seq);
    if (pos >= s->n_tokens) return yl_fail(err, YL_EINVAL, "sequence %u has %u positions, none at %u", seq, s->n_tokens, pos);
    if (s->n_held < s->n_tokens) queue(p, s, (request){.pos = pos, .end = s->n_tokens, .wants = &NO_CANDIDATES, .n_wants = 1});
    return YL_OK;
}

bool pipeline_is_done(const pipeline *p, uint32_t seq)
{
    return !p->seqs[seq].q.is_active;
}

void pipeline_drop(pipeline *p, uint32_t seq)
{
    p->seqs[seq].q.is_active = false;
}

void pipeline_forget_seq(pipeline *p, uint32_t seq)
{
    sequence *s = &p->seqs[seq];
    free(s->tokens);
    *s = (sequence){0};
}

uint64_t pipeline_restart(pipeline *p, uint32_t n_stages)
{
    uint64_t n_lost = 0;
    for (uint32_t i = 0; i < p->spec.n_seq; i++) {
        sequence *s = &p->seqs[i];
        n_lost += s->n_held;
        s->n_held = 0;
        s->step = 0;
        if (s->q.is_active) begin(p, &s->q, 0);
    }
    for (uint32_t i = 0; i < p->n_flights; i++) p->flights[i].is_used = false;
    p->n_in_flight = p->n_short_in_flight = 0;
    p->rows_in_flight = 0;
    p->n_stages = n_stages;
    p->depth = CREDIT_A_STAGE * n_stages;
    return n_lost;
}

/* ---- frames ---- */

void pipeline_set_depth(pipeline *p, uint32_t n_frames)
{
    p->depth = n_frames < p->n_flights ? n_frames : p->n_flights;
}

uint32_t pipeline_n_in_flight(const pipeline *p)
{
    return p->n_in_flight;
}

static flight *find_flight(const pipeline *p, uint64_t id)
{
    for (uint32_t i = 0; i < p->n_flights; i++) {
        if (p->flights[i].is_used && p->flights[i].id == id) return &p->flights[i];
    }
    return NULL;
}

uint64_t pipeline_rows_in_flight(const pipeline *p)
{
    return p->rows_in_flight;
}

bool pipeline_has_in_flight(const pipeline *p, uint64_t id)
{
    return find_flight(p, id) != NULL;
}

uint64_t pipeline_take_id(pipeline *p)
{
    return p->next_id++;
}

static flight *free_flight(const pipeline *p)
{
    for (uint32_t i = 0; i < p->n_flights && p->n_in_flight < p->depth; i++) {
        if (!p->flights[i].is_used) return &p->flights[i];
    }
    return NULL;
}

/* Rows of all requests of a kind, and how many of them were not sent. */
typedef struct demand {
    uint64_t n_rows, n_unsent;
} demand;

static demand count_demand(const pipeline *p, bool is_short)
{
    demand d = {0};
    for (uint32_t i = 0; i < p->spec.n_seq; i++) {
        const request *q = &p->seqs[i].q;
        if (!q->is_active || q->is_short != is_short) continue;
        d.n_rows += is_short ? q->n_out : q->end - q->pos;
        d.n_unsent += q->end - q->next;
    }
    return d;
}

/* Groups that n short rows make. */
static uint32_t n_groups(const pipeline *p, uint64_t n)
{
    uint64_t groups = n / PIPELINE_GROUP_ROWS;
    return groups < 1 ? 1 : groups < p->n_stages ? (uint32_t)groups : p->n_stages;
}

/* The largest group of short rows. They do not keep prompts out of a frame. */
static uint32_t most_short_rows(const pipeline *p, const demand *brief, const demand *prompts, uint32_t limit)
{
    uint32_t groups = n_groups(p, brief->n_rows);
    if (p->n_short_in_flight >= groups) return 0;
    uint64_t share = (brief->n_rows + groups - 1) / groups;
    uint32_t most = prompts->n_unsent && limit > 1 ? limit / 2 : limit;
    return share < most ? (uint32_t)share : most;
}

/* Rows of prompts in a frame: the essay's r, evened out, in multiples of 8 as kernels like it. */
static uint32_t most_long_rows(const pipeline *p, const demand *prompts, bool has_company)
{
    uint32_t max = p->spec.max_rows;
    if (p->n_stages == 1) return has_company && max > PIPELINE_MAX_ROWS ? PIPELINE_MAX_ROWS : max;
    double n = (double)prompts->n_rows, r = sqrt(n * ROWS_A_FRAME_COSTS / (p->n_stages - 1));
    if (r < PIPELINE_MIN_ROWS) r = PIPELINE_MIN_ROWS;
    if (r > PIPELINE_MAX_ROWS) r = PIPELINE_MAX_ROWS;
    double n_frames = ceil(n / r);
    uint32_t rows = ((uint32_t)ceil(n / n_frames) + 7) & ~7u;
    return rows < max ? rows : max;
}

/* The request that came first among those of a kind with rows left that came after `order`. */
static sequence *next_in_line(const pipeline *p, bool is_short, uint64_t order)
{
    sequence *best = NULL;
    for (uint32_t i = 0; i < p->spec.n_seq; i++) {
        sequence *s = &p->seqs[i];
        const request *q = &s->q;
        if (!q->is_active || q->is_short != is_short || q->next == q->end || q->order < order) continue;
        if (!best || q->order < best->q.order) best = s;
    }
    return best;
}

/* Moves the next n rows of a sequence's request into the frame that is being made. */
static void add_part(pipeline *p, flight *fl, sequence *s, uint32_t n)
{
    request *q = &s->q;
    uint32_t seq = (uint32_t)(s - p->seqs);
    fl->parts[fl->n_parts] = (part){.seq = seq, .row = fl->n_rows, .n = n, .pos = q->next, .generation = q->generation};
    p->segments[fl->n_parts] = (frame_segment){.seq = seq, .step = ++s->step, .pos = q->next, .n_rows = n};
    for (uint32_t i = 0; i < n; i++) {
        uint32_t token = (uint32_t)s->tokens[q->next + i];
        for (int b = 0; b < 4; b++) p->payload[4 * (size_t)(fl->n_rows + i) + (size_t)b] = (uint8_t)(token >> (8 * b));
    }
    while (q->next_want < q->n_wants && q->wants[q->next_want].row + q->pos < q->next + n) {
        frame_want want = q->wants[q->next_want++];
        want.row = fl->n_rows + (want.row + q->pos - q->next);
        p->wants[fl->n_wants++] = want;
    }
    fl->n_rows += n;
    fl->n_parts++;
    q->next += n;
    s->n_held = q->next;
}

/* Fills the frame with requests of a kind, the oldest first, up to n rows (and never above the frame's limit). A prompt is cut
 * there; a short request that does not fit waits, unless the frame is empty. */
static void fill(pipeline *p, flight *fl, bool is_short, uint32_t n, uint32_t limit)
{
    uint32_t end = n < limit - fl->n_rows ? fl->n_rows + n : limit;
    sequence *s = next_in_line(p, is_short, 0);
    while (s && fl->n_rows < end && fl->n_parts < p->max_parts) {
        uint64_t order = s->q.order;
        uint32_t rows = s->q.end - s->q.next, room = end - fl->n_rows;
        if (is_short && rows > room && fl->n_rows) break;
        if (is_short && rows > room) room = limit;
        add_part(p, fl, s, rows < room ? rows : room);
        s = next_in_line(p, is_short, order + 1);
    }
}

bool pipeline_next(pipeline *p, frame *out)
{
    flight *fl = free_flight(p);
    uint64_t room = p->spec.max_rows_in_flight - p->rows_in_flight;
    uint32_t limit = room < p->spec.max_rows ? (uint32_t)room : p->spec.max_rows;
    if (!fl || !limit) return false;
    demand brief = count_demand(p, true), prompts = count_demand(p, false);
    *fl = (flight){.parts = fl->parts};
    fill(p, fl, true, most_short_rows(p, &brief, &prompts, limit), limit);
    fl->has_short = fl->n_rows > 0;
    if (prompts.n_unsent) fill(p, fl, false, most_long_rows(p, &prompts, brief.n_rows > 0), limit);
    if (!fl->n_rows) return false;
    fl->is_used = true;
    fl->id = pipeline_take_id(p);
    p->n_in_flight++;
    p->n_short_in_flight += fl->has_short;
    p->rows_in_flight += fl->n_rows;
    *out = (frame){.kind = FRAME_FORWARD};
    out->forward = (frame_forward){.id = fl->id,
                                   .n_rows = fl->n_rows,
                                   .n_segments = fl->n_parts,
                                   .segments = p->segments,
                                   .n_wants = fl->n_wants,
                                   .wants = p->wants,
                                   .is_tokens = true,
                                   .payload = {p->payload, 4 * (size_t)fl->n_rows}};
    return true;
}

/* ---- results ---- */

/* The request that a part's rows belong to, unless it was dropped. */
static request *request_of(const pipeline *p, const part *pt)
{
    request *q = &p->seqs[pt->seq].q;
    return q->is_active && q->generation == pt->generation ? q : NULL;
}

static const part *part_of_row(const flight *fl, uint32_t row)
{
    for (uint32_t i = 0; i < fl->n_parts; i++) {
        if (row >= fl->parts[i].row && row - fl->parts[i].row < fl->parts[i].n) return &fl->parts[i];
    }
    return NULL;
}

/* A long row of values comes in pieces: is this the last one? */
static bool is_last_piece(const pipeline *p, const frame_answer *a)
{
    if (a->is_fault || a->kind == FRAME_WANT_TOP) return true;
    return a->first + a->data.n_bytes / 4 >= (a->kind == FRAME_WANT_ALL ? p->spec.n_vocab : p->spec.n_embd);
}

static yl_status give_answer(const pipeline *p, const flight *fl, const frame_answer *a, pipeline_answer_fn *on_answer, void *ctx,
                             yl_error *err)
{
    const part *pt = part_of_row(fl, a->row);
    if (!pt || pt->seq != a->seq) return yl_fail(err, YL_EPEER, "RESULT: an answer for row %u, which was not asked for", a->row);
    uint32_t pos = pt->pos + (a->row - pt->row);
    if (a->pos != pos) return yl_fail(err, YL_EPEER, "RESULT: an answer for another position");
    request *q = request_of(p, pt);
    if (!q) return YL_OK;
    if (pos < q->pos) return yl_fail(err, YL_EPEER, "RESULT: an answer for position %u, which was not asked for", pos);
    frame_answer answer = *a;
    answer.row = pos - q->pos;
    q->n_given += is_last_piece(p, a);
    on_answer(ctx, &answer);
    return YL_OK;
}

/* The frame is back: its credit, and the rows of its requests. */
static void land(pipeline *p, flight *fl)
{
    for (uint32_t i = 0; i < fl->n_parts; i++) {
        request *q = request_of(p, &fl->parts[i]);
        if (!q) continue;
        q->n_out -= fl->parts[i].n;
        if (!q->n_out) q->is_active = false;
    }
    fl->is_used = false;
    p->n_in_flight--;
    p->n_short_in_flight -= fl->has_short;
    p->rows_in_flight -= fl->n_rows;
}

yl_status pipeline_result(pipeline *p, const frame *result, pipeline_answer_fn *on_answer, void *ctx, yl_error *err)
{
    const frame_result *r = &result->result;
    flight *fl = find_flight(p, r->id);
    if (!fl) return yl_fail(err, YL_EPEER, "RESULT for frame %" PRIu64 ", which is not on its way", r->id);
    for (uint32_t i = 0; i < r->n_answers; i++) fl->n_answered += !r->answers[i].first; /* a long answer comes in several pieces */
    if (fl->n_answered > fl->n_wants || (!r->more && fl->n_answered != fl->n_wants))
        return yl_fail(err, YL_EPEER, "RESULT: %u answers, %u were wanted", fl->n_answered, fl->n_wants);
    for (uint32_t i = 0; i < r->n_answers; i++) {
        yl_status status = give_answer(p, fl, &r->answers[i], on_answer, ctx, err);
        if (status) return status;
    }
    if (!r->more) land(p, fl);
    return YL_OK;
}
