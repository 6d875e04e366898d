/* pipeline.h: which micro-batch enters the chain next, whose the answers are, and what to feed again when the chain forgot.
 *
 * A chain of n stages is busy when n micro-batches are in flight, so a prompt is cut into pieces that follow each other, and
 * many sequences that wait for their next token travel in as many groups as there are stages. This is the arithmetic of that, as a
 * function of what was asked and what came back: no socket, no clock. */
#ifndef YL_PIPELINE_H
#define YL_PIPELINE_H

#include "frames.h"

typedef struct pipeline_spec {
    uint32_t n_stages; /* at first, and at most */
    uint32_t n_seq, n_ctx, n_vocab, n_embd;
    uint32_t max_rows;           /* of a FORWARD (-ub) */
    uint32_t max_rows_in_flight; /* of all FORWARDs on their way (-b); at least max_rows */
} pipeline_spec;

enum {
    PIPELINE_SHORT_ROWS = 8, /* a request of so few rows is not cut: they cost hardly more than one */
    PIPELINE_GROUP_ROWS = 4, /* sequences that decode travel together until they are so many a group */
    PIPELINE_MIN_ROWS = 16,  /* a prompt is not cut finer: each piece reads all weights again */
    PIPELINE_MAX_ROWS = 128  /* nor coarser over several stages: kernels gain nothing above */
};

typedef struct pipeline pipeline;

yl_status pipeline_new(pipeline **out, const pipeline_spec *spec, yl_error *err);
void pipeline_free(pipeline *p);

/* Rows to be fed: positions [pos, pos + n) of a sequence. The arrays are borrowed until the request is done or dropped. */
typedef struct pipeline_request {
    uint32_t seq, pos;
    const int32_t *tokens; /* [n] */
    size_t n;
    const frame_want *wants; /* rows ascending, counted within tokens */
    size_t n_wants;
} pipeline_request;

/* Queues a request, one a sequence at a time. YL_EINVAL: beyond n_seq, n_ctx or n_vocab, a position that does not follow what was
 * fed, or the sequence has a request already; YL_ENOMEM. Then nothing changed. */
yl_status pipeline_submit(pipeline *p, const pipeline_request *r, yl_error *err);

/* Is the sequence's request answered whole (or was there none)? */
bool pipeline_is_done(const pipeline *p, uint32_t seq);
/* Forgets a request: what is not sent is never sent, what is in flight comes back unheard. */
void pipeline_drop(pipeline *p, uint32_t seq);
/* Frames that may be on their way, 1 to CREDIT_MOST (credit.h) or 2 a stage, whatever is more. At first, and after a restart: 2 a
 * stage. */
void pipeline_set_depth(pipeline *p, uint32_t n_frames);
/* Frames on their way, of dropped requests too. */
uint32_t pipeline_n_in_flight(const pipeline *p);
uint64_t pipeline_rows_in_flight(const pipeline *p); /* of them all */
/* Is the frame with this id on its way? */
bool pipeline_has_in_flight(const pipeline *p, uint64_t id);

/* Makes the next FORWARD if there are rows to send and credit for them. The frame is valid until the next call. */
bool pipeline_next(pipeline *p, frame *out);

/* Takes a RESULT: calls on_answer for each answer of a request that was not dropped, with `row` counted within the request's
 * tokens; it may drop the request. YL_EPEER: no such frame is in flight, or the answers are not what was asked for. */
typedef void pipeline_answer_fn(void *ctx, const frame_answer *answer);
yl_status pipeline_result(pipeline *p, const frame *result, pipeline_answer_fn *on_answer, void *ctx, yl_error *err);

/* An id for a frame that is not a FORWARD (SEQ, LOGITS, STATS): unique among all ids. */
uint64_t pipeline_take_id(pipeline *p);

/* The sequence was released: nothing is known of it any more. */
void pipeline_forget_seq(pipeline *p, uint32_t seq);

/* The chain begins anew and holds nothing: nothing is in flight, and requests under way start over, from the first position of
 * their sequence; answers that were given are not given again. Sequences without a request are fed again with their next one.
 * n_stages: of the new chain, 1 to spec.n_stages. Returns how many positions are lost. */
uint64_t pipeline_restart(pipeline *p, uint32_t n_stages);

/* Queues what the chain lost of a sequence, and asks for the row at pos again, of which the answer means nothing: after that a
 * LOGITS can be. Done at once if nothing was lost. YL_EINVAL: pos was not fed, or the sequence has a request. */
yl_status pipeline_restore(pipeline *p, uint32_t seq, uint32_t pos, yl_error *err);

#endif
