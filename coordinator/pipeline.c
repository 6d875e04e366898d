/* pipeline.c: requests wait in order of arrival; each FORWARD takes rows from the front.
 *
 * Always: rows of a sequence leave in order; at most `depth` = 2 x stages frames and max_rows_in_flight rows are on their way, and
 * every RESULT without `more` gives its frame's credit back. How many rows a frame takes: all of them for one stage; for more, few
 * enough that a prompt makes four frames a stage, so that filling and draining the chain costs little, but not below
 * PIPELINE_MIN_ROWS. */
#include "pipeline.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { FRAMES_A_STAGE = 4 };

typedef struct request {
    bool is_active;
    pipeline_request r;
    size_t n_sent;       /* rows */
    size_t n_rows_back;  /* rows whose frame came back */
    size_t next_want;    /* first want that was not sent */
    uint64_t order;      /* of arrival */
    uint32_t frame_rows; /* rows that one FORWARD takes of it */
    uint64_t generation; /* tells a request from an earlier one of its sequence, for frames still in flight */
} request;

/* Part of a FORWARD: rows [row, row + n) of the frame are rows [first, first + n) of the request of seq. */
typedef struct part {
    uint32_t seq, row, n;
    size_t first;
    uint64_t generation;
} part;

typedef struct flight {
    bool is_used;
    uint64_t id;
    uint32_t n_rows, n_wants, n_answered, n_parts;
    part *parts; /* [max_parts] */
} flight;

struct pipeline {
    pipeline_spec spec;
    uint32_t depth, n_in_flight, max_parts;
    uint64_t rows_in_flight, next_id, next_order, next_generation;
    request *requests;       /* [n_seq] */
    uint64_t *steps;         /* [n_seq] */
    flight *flights;         /* [depth] */
    part *parts;             /* [depth, max_parts] */
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
    p->depth = 2 * spec->n_stages;
    p->max_parts = spec->n_seq < FRAME_MAX_SEGMENTS ? spec->n_seq : FRAME_MAX_SEGMENTS;
    p->next_id = 1;
    p->requests = calloc(spec->n_seq, sizeof *p->requests);
    p->steps = calloc(spec->n_seq, sizeof *p->steps);
    p->flights = calloc(p->depth, sizeof *p->flights);
    p->parts = calloc((size_t)p->depth * p->max_parts, sizeof *p->parts);
    p->segments = calloc(p->max_parts, sizeof *p->segments);
    p->wants = calloc(spec->max_rows, sizeof *p->wants);
    p->payload = calloc(spec->max_rows, 4);
    if (!p->requests || !p->steps || !p->flights || !p->parts || !p->segments || !p->wants || !p->payload) {
        pipeline_free(p);
        return yl_fail(err, YL_ENOMEM, "no memory for the pipeline");
    }
    for (uint32_t i = 0; i < p->depth; i++) p->flights[i].parts = p->parts + (size_t)i * p->max_parts;
    *out = p;
    return YL_OK;
}

void pipeline_free(pipeline *p)
{
    if (!p) return;
    free(p->requests);
    free(p->steps);
    free(p->flights);
    free(p->parts);
    free(p->segments);
    free(p->wants);
    free(p->payload);
    free(p);
}

static uint32_t rows_a_frame(const pipeline *p, size_t n)
{
    uint32_t max = p->spec.max_rows;
    if (p->spec.n_stages == 1) return max;
    size_t pieces = (size_t)FRAMES_A_STAGE * p->spec.n_stages;
    size_t rows = (n + pieces - 1) / pieces;
    if (rows < PIPELINE_MIN_ROWS) rows = PIPELINE_MIN_ROWS;
    return rows < max ? (uint32_t)rows : max;
}

yl_status pipeline_submit(pipeline *p, const pipeline_request *r, yl_error *err)
{
    if (r->seq >= p->spec.n_seq) return yl_fail(err, YL_EINVAL, "sequence %u of %u", r->seq, p->spec.n_seq);
    request *q = &p->requests[r->seq];
    if (q->is_active) return yl_fail(err, YL_EINVAL, "sequence %u has rows on their way", r->seq);
    if (r->n > p->spec.n_ctx || r->pos > p->spec.n_ctx - r->n)
        return yl_fail(err, YL_EINVAL, "%zu tokens at position %u do not fit into a context of %u (use a larger -c)", r->n, r->pos,
                       p->spec.n_ctx);
    for (size_t i = 0; i < r->n; i++) {
        if (r->tokens[i] < 0 || (uint32_t)r->tokens[i] >= p->spec.n_vocab)
            return yl_fail(err, YL_EINVAL, "token %d is not in the vocabulary of %u", r->tokens[i], p->spec.n_vocab);
    }
    for (size_t i = 0; i < r->n_wants; i++) {
        if (r->wants[i].row >= r->n || (i && r->wants[i].row <= r->wants[i - 1].row))
            return yl_fail(err, YL_EINVAL, "answer wanted of row %u of %zu, or twice", r->wants[i].row, r->n);
    }
    if (!r->n) return YL_OK;
    *q = (request){.is_active = true,
                   .r = *r,
                   .order = p->next_order++,
                   .frame_rows = rows_a_frame(p, r->n),
                   .generation = ++p->next_generation};
    return YL_OK;
}

bool pipeline_is_done(const pipeline *p, uint32_t seq)
{
    return !p->requests[seq].is_active;
}

void pipeline_drop(pipeline *p, uint32_t seq)
{
    p->requests[seq].is_active = false;
}

uint32_t pipeline_n_in_flight(const pipeline *p)
{
    return p->n_in_flight;
}

static flight *find_flight(const pipeline *p, uint64_t id)
{
    for (uint32_t i = 0; i < p->depth; i++) {
        if (p->flights[i].is_used && p->flights[i].id == id) return &p->flights[i];
    }
    return NULL;
}

bool pipeline_has_in_flight(const pipeline *p, uint64_t id)
{
    return find_flight(p, id) != NULL;
}

uint64_t pipeline_take_id(pipeline *p)
{
    return p->next_id++;
}

void pipeline_forget_seq(pipeline *p, uint32_t seq)
{
    p->steps[seq] = 0;
}

/* The request that came first among those with rows left that came after `order`. */
static request *next_request(const pipeline *p, uint64_t order)
{
    request *best = NULL;
    for (uint32_t i = 0; i < p->spec.n_seq; i++) {
        request *q = &p->requests[i];
        if (q->is_active && q->n_sent < q->r.n && q->order >= order && (!best || q->order < best->order)) best = q;
    }
    return best;
}

static flight *free_flight(const pipeline *p)
{
    for (uint32_t i = 0; i < p->depth; i++) {
        if (!p->flights[i].is_used) return &p->flights[i];
    }
    return NULL;
}

/* Moves n rows of a request into the frame that is being made. */
static void add_part(pipeline *p, flight *fl, request *q, uint32_t n)
{
    uint32_t seq = q->r.seq;
    fl->parts[fl->n_parts] = (part){.seq = seq, .row = fl->n_rows, .n = n, .first = q->n_sent, .generation = q->generation};
    p->segments[fl->n_parts] =
        (frame_segment){.seq = seq, .step = ++p->steps[seq], .pos = q->r.pos + (uint32_t)q->n_sent, .n_rows = n};
    for (uint32_t i = 0; i < n; i++) {
        uint32_t token = (uint32_t)q->r.tokens[q->n_sent + i];
        for (int b = 0; b < 4; b++) p->payload[4 * (size_t)(fl->n_rows + i) + (size_t)b] = (uint8_t)(token >> (8 * b));
    }
    while (q->next_want < q->r.n_wants && q->r.wants[q->next_want].row < q->n_sent + n) {
        frame_want want = q->r.wants[q->next_want++];
        want.row = fl->n_rows + (want.row - (uint32_t)q->n_sent);
        p->wants[fl->n_wants++] = want;
    }
    fl->n_rows += n;
    fl->n_parts++;
    q->n_sent += n;
}

bool pipeline_next(pipeline *p, frame *out)
{
    flight *fl = free_flight(p);
    request *q = next_request(p, 0);
    if (!fl || !q) return false;
    uint64_t room = p->spec.max_rows_in_flight - p->rows_in_flight;
    uint32_t limit = room < p->spec.max_rows ? (uint32_t)room : p->spec.max_rows;
    if (!limit) return false;
    part *parts = fl->parts;
    *fl = (flight){.parts = parts, .id = pipeline_take_id(p)};
    for (; q && fl->n_rows < limit && fl->n_parts < p->max_parts; q = next_request(p, q->order + 1)) {
        size_t n = q->r.n - q->n_sent;
        if (n > q->frame_rows) n = q->frame_rows;
        if (n > limit - fl->n_rows) n = limit - fl->n_rows;
        add_part(p, fl, q, (uint32_t)n);
    }
    fl->is_used = true;
    p->n_in_flight++;
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

/* The request that a part's rows belong to, unless it was dropped. */
static request *request_of(const pipeline *p, const part *pt)
{
    request *q = &p->requests[pt->seq];
    return q->is_active && q->generation == pt->generation ? q : NULL;
}

static const part *part_of_row(const flight *fl, uint32_t row)
{
    for (uint32_t i = 0; i < fl->n_parts; i++) {
        if (row >= fl->parts[i].row && row - fl->parts[i].row < fl->parts[i].n) return &fl->parts[i];
    }
    return NULL;
}

static yl_status give_answer(const pipeline *p, const flight *fl, const frame_answer *a, pipeline_answer_fn *on_answer, void *ctx,
                             yl_error *err)
{
    const part *pt = part_of_row(fl, a->row);
    if (!pt || pt->seq != a->seq) return yl_fail(err, YL_EPEER, "RESULT: an answer for row %u, which was not asked for", a->row);
    const request *q = request_of(p, pt);
    if (!q) return YL_OK;
    frame_answer answer = *a;
    answer.row = (uint32_t)(pt->first + (a->row - pt->row));
    if (a->pos != q->r.pos + answer.row) return yl_fail(err, YL_EPEER, "RESULT: an answer for another position");
    on_answer(ctx, &answer);
    return YL_OK;
}

/* The frame is back: its credit, and the rows of its requests. */
static void land(pipeline *p, flight *fl)
{
    for (uint32_t i = 0; i < fl->n_parts; i++) {
        request *q = request_of(p, &fl->parts[i]);
        if (!q) continue;
        q->n_rows_back += fl->parts[i].n;
        if (q->n_rows_back == q->r.n) q->is_active = false;
    }
    fl->is_used = false;
    p->n_in_flight--;
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
