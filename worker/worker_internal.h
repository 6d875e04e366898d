/* worker_internal.h: the state of a worker, shared by the files that are its parts.
 *
 *   worker.c         queues, and which work comes next
 *   worker_load.c    ASSIGN: memory, weights of this machine, READY
 *   worker_stream.c  weights that come over the network: WANT, TENSOR
 *   worker_keep.c    weights that outlive an ASSIGN
 *   worker_batch.c   FORWARD and SEQ: rows through the layers of the slice, and on to the next stage
 *   worker_answer.c  the last stage: norm, logits, candidates, RESULT; LOGITS */
#ifndef YL_WORKER_INTERNAL_H
#define YL_WORKER_INTERNAL_H

#include "forward.h"
#include "sha256.h"
#include "worker.h"

enum {
    WORKER_KEPT_ROWS = 16,    /* normed rows kept of a sequence's last FORWARD, for LOGITS */
    WORKER_HEAD_ROWS = 8,     /* rows of logits computed at a time */
    WORKER_OPEN_WANTS = 8,    /* chunks asked for and not yet here */
    WORKER_CHUNKS_A_STEP = 16 /* of FRAME_CHUNK_BYTES, copied from a source in one step */
};

typedef enum worker_state {
    WORKER_UNASSIGNED,
    WORKER_LOADING, /* weights are coming */
    WORKER_LINKING, /* loaded; the link to the next stage does not stand yet */
    WORKER_SERVING
} worker_state;

/* A bounded ring of messages that wait. */
typedef struct message_queue {
    worker_message *ring; /* [WORKER_MAX_QUEUED] */
    size_t first, n;
} message_queue;

/* A normed row that can be asked for again. */
typedef struct kept_rows {
    uint32_t n;
    uint32_t pos[WORKER_KEPT_ROWS];
} kept_rows;

/* The micro-batch under way. */
typedef struct batch {
    bool is_active;
    worker_message message; /* that it came in; wants view into it */
    frame_forward forward;  /* arrays in worker.batch_scratch */
    uint32_t next_layer;
    uint32_t next_want; /* first want without an answer */
} batch;

/* Weights on their way over the network. */
typedef struct weight_stream {
    frame_want_chunk wants[WORKER_OPEN_WANTS]; /* ring: those that are open, in the order in which they were sent */
    uint32_t first_want, n_wants;
    bool is_second_round; /* what came damaged is asked for again */
    uint64_t n_bytes;     /* that came */
    uint64_t own_bytes;   /* that the memory limit was held against */
} weight_stream;

/* What ASSIGN fixed. Released and made anew by the next one, but for the weights of a slice that stays the same. */
typedef struct assignment {
    uint64_t coordinator;
    uint32_t stage, n_stages;
    uint32_t n_ctx, n_seq, max_rows;
    wire_type wire;
    frame_load load;
    uint8_t model_id[FRAME_ID_BYTES];
    uint64_t weights_epoch; /* of the ASSIGN with which the weights were begun: the slice may be kept for later ones */
    bool use_source;        /* the model of weight_source is the one that was assigned */
    bool use_store;         /* weight_store was asked for its tensors */
    bool store_is_ready;    /* and has found or made them */
    double store_share;     /* of that work which is done */
    uint64_t loaded;        /* worker_loaded_bytes, as of the last step that loaded */
    char next_endpoint[FRAME_MAX_ENDPOINT + 1];
    uint64_t started; /* counter at ASSIGN */

    slice *slice;
    kv_cache *cache;
    forward *forward;
    uint64_t kv_bytes, scratch_bytes;

    uint32_t store_tensor; /* first that was not looked for in the store */
    uint32_t load_tensor;  /* first that is not loaded, or asked for */
    uint64_t load_offset;  /* of it: first byte that was not copied or asked for */
    weight_stream stream;

    uint64_t *steps;       /* [n_seq] last FORWARD of each sequence */
    forward_row *rows;     /* [max_rows] */
    int32_t *faults;       /* [max_rows] */
    float *x;              /* [max_rows, n_embd] */
    kept_rows *kept;       /* [n_seq] (has_head, as all below) */
    float *kept_x;         /* [n_seq, WORKER_KEPT_ROWS, n_embd] */
    float *h;              /* [WORKER_HEAD_ROWS, n_embd] */
    float *logits;         /* [WORKER_HEAD_ROWS, n_vocab] */
    uint8_t *answer_bytes; /* candidates or logits of one RESULT */
    size_t answer_capacity;
} assignment;

struct worker {
    worker_env env;
    frame_scratch *scratch;       /* decoding control frames */
    frame_scratch *batch_scratch; /* a data frame's arrays, while it is at work */
    message_queue control, data;
    worker_state state;
    uint64_t epoch;
    bool link_is_up;
    bool stop;
    assignment a;
    batch batch;
    frame_stats stats;
    uint64_t n_steps;
    sha256 *hash; /* of the tensor that is coming */
};

/* outbox.c: where the next frame is to be encoded (YL_ENOMEM: nowhere), and that it was. */
yl_status outbox_room(outbox *o, frame_bytes **out, yl_error *err);
void outbox_push(outbox *o, worker_peer to);

/* worker.c */
yl_status worker_send(worker *w, outbox *out, worker_peer to, const frame *f, yl_error *err);
yl_status worker_send_error(worker *w, outbox *out, frame_kind about, uint64_t id, const yl_error *cause, yl_error *err);
void worker_message_done(worker_message *m);
uint64_t worker_counter(const worker *w);

/* worker_load.c. Each returns a status about the frame: what is wrong becomes an ERROR frame. */
yl_status worker_assign(worker *w, const frame *f, yl_error *err);
/* Copies or asks for more weights; *did: there was something to do. Sends READY when all is done. */
yl_status worker_load_step(worker *w, outbox *out, bool *did, yl_error *err);
/* Do own_weights bytes, the KV cache and scratch fit into what this process may use? in_place: of weights, besides. */
yl_status worker_check_memory(const worker *w, uint64_t own_weights, uint64_t in_place, yl_error *err);
/* The bytes of a mapped tensor stay in memory, if that is wanted. */
yl_status worker_lock_bytes(const worker *w, const uint8_t *data, uint64_t n_bytes, yl_error *err);
void worker_unassign(worker *w);
void worker_release_memory(worker *w); /* all that it takes besides the weights */

/* worker_stream.c */
/* Takes TENSOR. Once a chunk that was asked for cannot be taken the assignment is over. */
yl_status worker_stream_chunk(worker *w, const frame *f, yl_error *err);
/* Asks for more, and hands what is whole to the store; *did: there was something to do. */
yl_status worker_stream_step(worker *w, outbox *out, bool *did, yl_error *err);
/* All is there: tells how much came, and how fast. load_ns: since ASSIGN. */
void worker_stream_tell(const worker *w, uint64_t load_ns);

/* worker_keep.c: are all weights of this slice here? Then they are kept, and all else of the assignment forgotten. */
bool worker_keep_weights(worker *w, const frame_assign *next);

/* worker_batch.c */
/* f: decoded from m into batch_scratch; m is taken when it succeeds. */
yl_status worker_batch_begin(worker *w, const frame_forward *f, worker_message *m, yl_error *err);
yl_status worker_batch_step(worker *w, outbox *out, yl_error *err);
void worker_batch_end(worker *w);
yl_status worker_seq(worker *w, const frame *f, yl_error *err);

/* worker_answer.c */
yl_status worker_answer_check(const worker *w, const frame_want *want, yl_error *err);
yl_status worker_answer_step(worker *w, outbox *out, yl_error *err); /* some wants of the batch; ends it with the last */
yl_status worker_answer_again(worker *w, const frame *f, outbox *out, yl_error *err);

#endif
