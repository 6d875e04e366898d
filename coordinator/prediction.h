/* prediction.h: how fast a placement will be, where its time goes, and whether one machine alone would be faster.
 *
 * A function of values, as the placement is. Three ways to use a chain are foreseen:
 *   prefill  a prompt of PREDICTION_PROMPT tokens, cut into micro-batches that follow each other: the first passes all stages and
 *            links, each of the others adds the time of the busiest one. The size of a micro-batch is the one that is best here.
 *   one      one stream: a token passes every stage and link before the next can begin: their sum.
 *   many     n_seq streams in as many groups as there are stages (or streams, if these are fewer). A round, one token for each,
 * takes as long as a group under way, but at least as long as the busiest stage or link works for all groups.
 * Stages of one host that work at the same time share its memory: all that they read is one more thing that can be busiest. */
#ifndef YL_PREDICTION_H
#define YL_PREDICTION_H

#include "placement.h"

enum {
    PREDICTION_PROMPT = 512,
    PREDICTION_PAST = PREDICTION_PROMPT / 2, /* what it attends on average, and a first answer at least */
    PREDICTION_ALONE_NONE = -1
};

static const double PREDICTION_WORTH_SAYING = 1.005; /* a gain smaller than this is none */

typedef struct prediction_stage {
    uint32_t node;
    slice_range range;
    uint64_t weight_bytes, kv_bytes, fixed_bytes;
    bool is_over_memory;          /* more than the node has free */
    double decode_ms, prefill_ms; /* of one token; of a micro-batch of a prompt (without the head) */
} prediction_stage;

/* Link i leads to stage i; the last one from the last stage to the coordinator. */
typedef struct prediction_link {
    uint32_t from, to; /* nodes; n_nodes is the coordinator */
    placement_link link;
    double token_bytes, token_ms; /* one row, with half a round trip */
} prediction_link;

typedef enum prediction_part {
    PREDICTION_STAGE,
    PREDICTION_LINK,
    PREDICTION_HOST /* the memory that several stages share */
} prediction_part;

/* What takes most of the time. */
typedef struct prediction_bottleneck {
    prediction_part part;
    uint32_t index; /* in stages or links; of a host, its first stage */
    double share;   /* of the time that the figure is about */
} prediction_bottleneck;

typedef struct prediction_rate {
    double tokens_per_s;
    prediction_bottleneck bottleneck;
} prediction_rate;

/* The best that a single machine can do with the whole model. */
typedef struct prediction_alone {
    int32_t node; /* PREDICTION_ALONE_NONE: no machine has the memory for it */
    double tokens_per_s;
} prediction_alone;

typedef struct prediction {
    uint32_t n_stages;
    prediction_stage stages[PLACEMENT_MAX_NODES];
    prediction_link links[PLACEMENT_MAX_NODES + 1]; /* [n_stages + 1] */
    uint32_t prefill_rows;                          /* of a micro-batch */
    prediction_rate prefill, one, many;
    prediction_alone alone_prefill, alone_one, alone_many;
} prediction;

/* Requires a spec that placement_check took, and a placement for it. max_rows: of a micro-batch (-ub), at least 1. */
void prediction_make(prediction *out, const placement_spec *spec, const placement *p, uint32_t max_rows);

#endif
