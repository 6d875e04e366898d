/* placement.h: which machine owns which part of a model. Functions of values: no socket, file or clock.
 *
 * A model is a row of *units*: the embedding, each layer, the head. A placement cuts that row into slices, one a stage, and gives
 * each to a node. What a stage costs is time (its units, with so many rows at once) and memory (weights, KV cache, scratch); what a
 * link costs is half a round trip and the bytes that cross it. */
#ifndef YL_PLACEMENT_H
#define YL_PLACEMENT_H

#include "slice_range.h"
#include "wire.h"

/* ---- equal machines ---- */

typedef struct placement_costs {
    double layer; /* of each layer, > 0, in any unit: bytes of weights, or ms a row */
    double head;  /* of the output head */
    double embd;  /* of the embedding: a row is looked up, so next to nothing */
} placement_costs;

/* Cuts n_layer layers into n_stages contiguous slices, first with the embedding, last with the head, so that the dearest stage is
 * as cheap as can be, then the second dearest, and so on; ties give earlier stages more. ranges: [n_stages]. Every stage has at
 * least one layer but the last, which may have the head only. YL_EINVAL: no stage, more stages than n_layer + 1 (the message says
 * how many would do), or a cost that is not finite or negative (of a layer: not positive). */
yl_status placement_even(slice_range *ranges, uint32_t n_stages, uint32_t n_layer, const placement_costs *costs, yl_error *err);

/* ---- uneven machines ---- */

enum {
    PLACEMENT_MAX_NODES = 320,    /* as many workers as may join a coordinator */
    PLACEMENT_EXACT_NODES = 10,   /* up to so many nodes ... */
    PLACEMENT_EXACT_LAYERS = 256, /* ... and layers the best placement is found for certain */
    PLACEMENT_MAX_SEQ = 1 << 16,
    PLACEMENT_N_BATCHES = 3 /* sizes that a worker measures itself at: 1, 8 and 64 rows */
};

/* What a unit of the model costs. */
typedef struct placement_unit {
    uint64_t memory_bytes; /* of its weights, as a worker keeps them */
    uint64_t read_bytes;   /* read for a micro-batch: its weights; of the embedding: one row, for every row */
    uint64_t macs;         /* multiply-adds a row */
} placement_unit;

typedef struct placement_model {
    uint32_t n_layer, n_embd;
    const placement_unit *layers; /* [n_layer] */
    placement_unit embd, head;
    bool tied_embeddings;    /* a node that has embedding and head keeps the matrix once */
    uint64_t shared_bytes;   /* of tensors that every stage with a layer keeps (RoPE factors) */
    uint64_t kv_layer_bytes; /* KV cache of one layer, for all sequences at their full length */
    uint64_t kv_row_bytes;   /* of a layer, read for each position of the past, a row */
    uint64_t kv_row_macs;    /* multiply-adds of a layer for each position of the past, a row */
} placement_model;

/* A machine, or a worker on one. Its speed was measured (layer_ms) or follows from two rates. */
typedef struct placement_node {
    const char *name;
    double layer_ms[PLACEMENT_N_BATCHES]; /* layer 0 of this model, for 1, 8, 64 rows at once; all 0: not measured */
    double head_ms[PLACEMENT_N_BATCHES];  /* likewise the head; all 0: follows from a layer's */
    double bytes_per_s, macs_per_s;       /* of memory, of arithmetic; may be 0 where layer_ms was measured */
    uint64_t free_bytes;                  /* that a worker may take */
    uint64_t fixed_bytes;                 /* of these, taken by a worker whatever its slice is: scratch */
    uint32_t host;                        /* workers of the same host, not 0, share its memory's bandwidth; 0: alone on a machine */
    double host_bytes_per_s; /* that they share; looked at by the prediction only. Free memory is for the caller to divide */
} placement_node;

typedef struct placement_link {
    double rtt_ms; /* 0: none to speak of */
    double bytes_per_s;
} placement_link;

typedef enum placement_objective {
    PLACEMENT_LATENCY,   /* least time a token of one stream: the sum of all stages and links */
    PLACEMENT_THROUGHPUT /* least time a round of n_seq streams: the number of stages times the busiest stage or link. The streams
                          * go round in as many groups as there are stages, n_seq / n_stages rows each (at least 1), so one stage
                          * more means that weights are read once more. Among equals, least latency of a group. */
} placement_objective;

typedef struct placement_spec {
    const placement_model *model;
    const placement_node *nodes;
    uint32_t n_nodes;
    const placement_link
        *links; /* [n_nodes + 1][n_nodes + 1], from and to; n_nodes is the coordinator. The diagonal is not used. */
    uint32_t n_seq;
    uint32_t n_past; /* positions that a row attends */
    wire_type wire;  /* how activations travel; it takes n_embd */
    placement_objective objective;
} placement_spec;

/* Why a node has nothing. */
typedef enum placement_reason {
    PLACEMENT_USED,
    PLACEMENT_NO_MEMORY, /* not even the smallest slice fits that leaves a placement possible */
    PLACEMENT_SLOWER,    /* the best placement with it costs at least as much */
    PLACEMENT_NOT_ASKED  /* the user placed by hand */
} placement_reason;

typedef struct placement_stage {
    uint32_t node;
    slice_range range;
} placement_stage;

typedef struct placement {
    uint32_t n_stages; /* in the order of the chain; no node twice */
    placement_stage stages[PLACEMENT_MAX_NODES];
    double cost_ms;                                /* by the objective: a token, or a round */
    bool is_exact;                                 /* no placement costs less. False: the heuristic's */
    placement_reason reasons[PLACEMENT_MAX_NODES]; /* [n_nodes] */
    double cost_with_ms[PLACEMENT_MAX_NODES]; /* [n_nodes] cost of the best placement that uses a node left out; 0: not known */
} placement;

/* Chooses nodes, their order and slices. A node may get nothing; the embedding or the head may be a stage of its own. Memory is a
 * limit that is never passed. Equal costs: fewer stages, nodes named earlier, more layers in earlier stages.
 * Exact up to PLACEMENT_EXACT_NODES nodes and PLACEMENT_EXACT_LAYERS layers; above, by local search over orders
 * (placement_order.c). YL_ENOMEM: the model does not fit (the message says what is missing); YL_EINVAL: a number that is not
 * finite, or out of its range (the message names the node); YL_ELIMIT: too many nodes or layers, or sizes that overflow. */
yl_status placement_find(placement *out, const placement_spec *spec, yl_error *err);

/* A placement as a user wrote it: "host=0-9,other=10-31", slices in order, layers counted from 0, both ends included; nodes by
 * name. The first stage gets the embedding, the last the head; "host=embedding" first or "host=head" last is a stage without
 * layers. Memory is not looked at. YL_EINVAL: a name that is unknown or comes twice, layers that are missing or out of order. */
yl_status placement_parse(placement *out, const placement_spec *spec, const char *text, yl_error *err);

/* Bytes of a slice's weights, and of its KV cache. */
uint64_t placement_weight_bytes(const placement_model *m, const slice_range *r);
uint64_t placement_kv_bytes(const placement_model *m, const slice_range *r);
/* Does the slice fit into the node's memory? */
bool placement_fits(const placement_model *m, const placement_node *node, const slice_range *r);

/* Checks all numbers of a spec, as placement_find does. */
yl_status placement_check(const placement_spec *spec, yl_error *err);

#endif
