/* worker.h: one stage of the chain, as a function from frames to frames.
 *
 * The same code runs in a native process and in a canister: no socket, file, clock or thread behind this line but what the shell
 * hands in. worker_receive checks a frame and queues it; worker_step does one bounded piece of work (at most one layer of one
 * micro-batch) and puts what is to be sent into the outbox. Not thread-safe: one thread calls. */
#ifndef YL_WORKER_H
#define YL_WORKER_H

#include "allocator.h"
#include "frames.h"
#include "kernels.h"
#include "thread_pool.h"

/* Where weights come from besides TENSOR frames: a model file that the shell has mapped. All may be NULL: everything is streamed.
 */
typedef struct weight_source {
    frame_bin
        model_id; /* identity of that model (model_identity), 32 bytes or empty; ASSIGN's must be equal or the source is not used */
    /* The tensor's n_bytes bytes, or NULL: not there. They stay valid as long as the worker. */
    const uint8_t *(*find)(void *ctx, const frame_tensor *t, uint64_t n_bytes);
    /* The bytes were copied and are not needed any more. */
    void (*done)(void *ctx, const uint8_t *data, uint64_t n_bytes);
    /* Keep these bytes in memory (FRAME_LOAD_MLOCK). */
    yl_status (*lock)(void *ctx, const uint8_t *data, uint64_t n_bytes, yl_error *err);
    void *ctx;
} weight_source;

/* A slice's tensors that are wanted in tiles (vectors as they are). */
typedef struct weight_order {
    uint64_t epoch;
    frame_bin model_id;          /* as ASSIGN's, for people */
    const frame_tensor *tensors; /* [n] for the call */
    uint32_t n;
    bool from_source; /* weight_source has the model; else tensors are found by their hashes */
    bool may_make;    /* what is not there shall be made, to be used in place; else only what is there is wanted, to be copied */
} weight_order;

/* Weights in tiles that the shell keeps from one start to the next: a cache on disk. All may be NULL: there is none. */
typedef struct weight_store {
    /* When it fails, nothing was begun. */
    yl_status (*begin)(void *ctx, const weight_order *order, yl_error *err);
    /* A bounded piece of finding tensors, or making them from weight_source's model; *share: how much of it is done, about, 0 to 1.
     * A cache that cannot be used is no error: tensors are missing then. YL_EFORMAT: the model's weights are damaged. */
    yl_status (*step)(void *ctx, bool *is_done, double *share, yl_error *err);
    /* Tensor i of the list, aligned to 64, or NULL: not there. Valid until `end`. */
    const uint8_t *(*find)(void *ctx, uint32_t i);
    /* Shall tensor i, which came another way, be kept? Once `step` is done. */
    bool (*wants)(void *ctx, uint32_t i);
    /* A bounded piece of keeping it. bytes: all of it, in tiles, that were checked against its hash; the same until it is wanted no
     * more. When all tensors of its file were kept `find` has them. A disk that takes no more is no error: nothing is wanted then.
     */
    void (*keep)(void *ctx, uint32_t i, const uint8_t *bytes);
    /* Memory that tensors which come another way take at a time, at most: of the largest file to be kept, and of all that will not
     * be. */
    uint64_t (*own_bytes)(void *ctx);
    /* Nobody looks at them any more. */
    void (*end)(void *ctx);
    void *ctx;
} weight_store;

/* What the shell hands in; all of it must outlive the worker. */
typedef struct worker_env {
    const allocator *alloc;
    const kernels *kernels;
    thread_pool *pool;              /* NULL: no threads */
    uint64_t (*counter)(void *ctx); /* monotonic: nanoseconds natively, instructions in a canister */
    void *counter_ctx;
    weight_source source;
    weight_store store;
    void (*say)(void *ctx, int level, const char *line); /* a line for the log, levels as native_shell.h's; may be NULL */
    void *say_ctx;
    uint64_t memory_bytes;                           /* that weights of its own, KV cache and scratch may take; 0: no limit */
    uint64_t (*resident)(void *ctx, uint64_t *peak); /* bytes in memory for STATS; may be NULL */
} worker_env;

typedef struct worker worker;

yl_status worker_new(worker **out, const worker_env *env, yl_error *err);
void worker_free(worker *w);

/* A message that arrived. The worker keeps it until it is done with it, then calls release(hint) (NULL: nothing to do). */
typedef struct worker_message {
    const uint8_t *data;
    size_t n_bytes;
    void (*release)(void *hint);
    void *hint;
    uint64_t arrived; /* by worker_env's counter; 0: just now */
} worker_message;

/* Who gets an outgoing frame. */
typedef enum worker_peer { WORKER_TO_COORDINATOR, WORKER_TO_NEXT } worker_peer;

/* Frames to be sent, in order. The shell takes them with outbox_pop; {0} is an empty one. Places keep the memory of frames that
 * left, for those that come. */
typedef struct outbox_entry {
    worker_peer to;
    frame_bytes bytes;
} outbox_entry;
typedef struct outbox {
    outbox_entry *entries; /* ring */
    size_t first, n, capacity;
} outbox;
/* Moves the oldest frame out; its bytes are the caller's, for frame_bytes_clear. In exchange the outbox takes out->bytes, which
 * must be {0} or memory that is not needed any more: a shell that gives back what it got makes it allocate nothing. False: empty,
 * *out is left alone. */
bool outbox_pop(outbox *o, outbox_entry *out);
void outbox_clear(outbox *o);

/* Checks a frame and queues it; a bad one is answered by ERROR in the outbox and changes nothing. Of FORWARD and SEQ only kind and
 * epoch are looked at here, and the rest when their turn comes, so that nothing is decoded twice. Always takes the message.
 * The queue is bounded (WORKER_MAX_QUEUED frames): beyond it a frame is refused. YL_ENOMEM: not even the ERROR could be written. */
enum { WORKER_MAX_QUEUED = 1024 };
yl_status worker_receive(worker *w, worker_message message, outbox *out, yl_error *err);

/* The shell's word that its data socket for this epoch is connected to next_endpoint. READY waits for it. */
void worker_link_up(worker *w, uint64_t epoch);

/* The shell's word that weights which the slice of this epoch uses in place are damaged. The slice is dropped, with all its
 * sequences, and the coordinator told by an ERROR about ASSIGN with *cause. epoch: with which they were begun (weight_store);
 * nothing when they are not the slice's any more. Status as worker_step. */
yl_status worker_lose_weights(worker *w, uint64_t epoch, const yl_error *cause, outbox *out, yl_error *err);

/* What worker_step found. */
typedef enum worker_progress {
    WORKER_IDLE,   /* nothing to do until a frame comes */
    WORKER_MORE,   /* call again */
    WORKER_REWIRE, /* an ASSIGN took effect: connect to worker_next_endpoint for worker_epoch, then call worker_link_up; call again
                    */
    WORKER_STOP    /* SHUTDOWN */
} worker_progress;

/* One bounded piece of work. Failures of a frame become ERROR frames; the status is YL_ENOMEM only when those cannot be written. */
yl_status worker_step(worker *w, outbox *out, worker_progress *progress, yl_error *err);

uint64_t worker_epoch(const worker *w);                /* 0: no ASSIGN yet */
const char *worker_next_endpoint(const worker *w);     /* "" before an ASSIGN */
const slice_range *worker_range(const worker *w);      /* of its slice; NULL: it has none */
uint64_t worker_n_steps(const worker *w);              /* steps that did something */
uint64_t worker_n_pending(const worker *w);            /* frames waiting or under way */
uint64_t worker_loaded_bytes(const worker *w);         /* of the slice's weights that are ready, about; 0: no slice */
uint64_t worker_weight_bytes(const worker *w);         /* of all of them */
uint32_t worker_n_past(const worker *w, uint32_t seq); /* positions of a sequence; 0 when there is none */

#endif
