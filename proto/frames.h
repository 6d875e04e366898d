/* frames.h: what coordinator and workers say to each other.
 *
 * One frame is one MessagePack array, [version, kind, epoch, fields of the kind...], and one ZeroMQ message (or one canister call's
 * argument). FRAMES.md is the specification, with the order and meaning of every field. This file is the same as C structs.
 *
 * Decoding allocates nothing and believes nothing: every count is held against a limit and against the bytes that are there before
 * it is used, and every number against its range. Decoded structs hold views into the frame's bytes and into the scratch that was
 * handed in; both must outlive their use. */
#ifndef YL_FRAMES_H
#define YL_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hparams.h"
#include "kernels.h"
#include "slice_range.h"
#include "status.h"
#include "wire.h"

enum {
    FRAME_VERSION = 1,
    FRAME_MAX_BYTES = 64 << 20,  /* of a whole frame */
    FRAME_MAX_ROWS = 2048,       /* of a FORWARD */
    FRAME_MAX_SEGMENTS = 256,    /* sequences in a FORWARD */
    FRAME_MAX_TENSORS = 1 << 16, /* of an ASSIGN */
    FRAME_MAX_STAGES = 4098,     /* HPARAMS_MAX_LAYER, embedding and head each on their own */
    FRAME_MAX_SEQ = 1 << 16,     /* sequences a worker keeps */
    FRAME_MAX_THREADS = 1 << 16,
    FRAME_MAX_HEARTBEAT_MS = 3600000,
    FRAME_MAX_KIND = 255,         /* numbers of kinds, known or not */
    FRAME_MAX_STATUS = 255,       /* numbers of an ERROR's status, known or not */
    FRAME_MAX_TOP = 1024,         /* candidates a row */
    FRAME_MAX_LISTED = 4096,      /* ids asked for besides, a row */
    FRAME_MAX_NAME = 128,         /* bytes of a worker's name, isa or version */
    FRAME_MAX_ENDPOINT = 256,     /* bytes of an address */
    FRAME_MAX_MESSAGE = 480,      /* bytes of an ERROR's sentence */
    FRAME_CHUNK_BYTES = 1 << 20,  /* of a TENSOR's data, at most */
    FRAME_RESULT_BYTES = 1 << 20, /* of a RESULT's data, at most: longer answers leave in several */
    FRAME_ID_BYTES = 32           /* a SHA-256 */
};

static const uint64_t FRAME_MAX_SPEED = UINT64_C(1) << 50; /* bytes, or multiply-adds, a second that a worker may claim */

typedef enum frame_kind {
    FRAME_HELLO = 1,
    FRAME_ASSIGN = 2,
    FRAME_WANT = 3,
    FRAME_TENSOR = 4,
    FRAME_READY = 5,
    FRAME_FORWARD = 6,
    FRAME_RESULT = 7,
    FRAME_LOGITS = 8,
    FRAME_SEQ = 9,
    FRAME_HEARTBEAT = 11, /* 10 is kept for KV: blocks of a sequence's cache, out and in */
    FRAME_STATS = 12,
    FRAME_ERROR = 13,
    FRAME_SHUTDOWN = 14,
    FRAME_CHAIN = 15
} frame_kind;

/* "FORWARD"; "unknown" for a number that is no kind. Static. */
const char *frame_kind_name(unsigned kind);

/* Bytes inside a frame or a caller's memory: not NUL-terminated. A string is well-formed UTF-8 without control characters (so
 * without a NUL inside): frame_text.h. */
typedef struct frame_bin {
    const uint8_t *data;
    size_t n_bytes;
} frame_bin;

/* worker -> coordinator, control: who I am. Repeated until an ASSIGN or HEARTBEAT answers. */
typedef struct frame_hello {
    frame_bin name;          /* string, not empty, unique among the workers of a coordinator */
    uint64_t instance;       /* random, one a process */
    frame_bin data_endpoint; /* string: where my PULL socket listens: "ipc://...", or "tcp://", a host or a star, and a port (for a
                                star the host is what the coordinator sees); empty: nowhere (a canister) */
    uint32_t n_threads;
    uint64_t memory_bytes; /* what I may use in all */
    frame_bin isa;         /* string: "scalar", "avx2", ... */
    frame_bin model_id;    /* 32 bytes: identity of the model file I have (model_identity), or empty */
    frame_bin version;     /* string: of the software, "0.1.0" */
    uint64_t bytes_per_s;  /* read from memory by all my threads, as measured; 0: not known */
    uint64_t macs_per_s;   /* multiply-adds of int8, likewise */
} frame_hello;

/* How weights come into a worker's memory. */
typedef enum frame_load {
    FRAME_LOAD_MMAP = 0,  /* used where the worker's model file is mapped */
    FRAME_LOAD_HEAP = 1,  /* copied */
    FRAME_LOAD_MLOCK = 2, /* as CACHE, or MMAP where the worker has no cache, and kept from being swapped out */
    FRAME_LOAD_CACHE = 3  /* from the worker's cache of tiles, which is filled if need be; MMAP for kernels that want no tiles */
} frame_load;

/* One tensor of an assigned slice. */
typedef struct frame_tensor {
    tensor_role role;
    uint32_t layer;
    quant_type type;
    uint64_t n_rows, n_cols;
    bool has_hash;
    uint8_t hash[FRAME_ID_BYTES]; /* if so: SHA-256 of its bytes as GGUF has them */
} frame_tensor;

/* coordinator -> worker, control: your slice. The worker drops all sequences and answers READY with the same epoch, or ERROR. */
typedef struct frame_assign {
    uint64_t coordinator; /* its instance number: a new one means that it restarted */
    uint32_t stage, n_stages;
    hparams hp;
    slice_range range;
    uint32_t n_ctx;    /* positions a sequence */
    uint32_t n_seq;    /* sequences: ids are 0 ... n_seq - 1 */
    uint32_t max_rows; /* of a FORWARD, at most FRAME_MAX_ROWS */
    kv_type kv_type_k, kv_type_v;
    frame_load load;
    frame_bin model_id;      /* 32 bytes */
    frame_bin next_endpoint; /* string: the next stage's data endpoint, or the coordinator's for the last: connect a PUSH to it */
    uint32_t heartbeat_ms;   /* the coordinator sends one so often; 0: never (a canister) */
    uint32_t n_tensors;
    const frame_tensor *tensors; /* all that the slice needs and the model has, in slice_range order */
    wire_type wire;              /* of all activations in this chain, in and out */
} frame_assign;

/* worker -> coordinator, control: send me these bytes of tensor `tensor` (index into ASSIGN's list). At most 8 are open at a time.
 */
typedef struct frame_want_chunk {
    uint32_t tensor;
    uint64_t offset;
    uint32_t n_bytes; /* 1 ... FRAME_CHUNK_BYTES */
} frame_want_chunk;

/* coordinator -> worker, control: those bytes, GGUF's own. */
typedef struct frame_chunk {
    uint32_t tensor;
    uint64_t offset;
    frame_bin data;
} frame_chunk;

/* worker -> coordinator, control: the slice is loaded and the link to the next stage stands. */
typedef struct frame_ready {
    uint64_t weight_bytes, kv_bytes, scratch_bytes;
    uint64_t load_ns; /* from ASSIGN to READY */
} frame_ready;

/* Neighbouring rows of one sequence in a FORWARD. */
typedef struct frame_segment {
    uint32_t seq;
    uint64_t step;   /* counts this sequence's FORWARDs from 1; a stage takes last + 1, or last again (a retry) */
    uint32_t pos;    /* of the first row; the sequence is truncated to it first */
    uint32_t n_rows; /* >= 1 */
} frame_segment;

typedef enum frame_want_kind {
    FRAME_WANT_TOP = 1,   /* the k largest logits, and those of the listed ids */
    FRAME_WANT_ALL = 2,   /* every logit */
    FRAME_WANT_HIDDEN = 3 /* the row after the final norm (embeddings) */
} frame_want_kind;

/* What is wanted of one row; rows without one want nothing. */
typedef struct frame_want {
    uint32_t row; /* index in the FORWARD */
    frame_want_kind kind;
    uint32_t top;     /* WANT_TOP: 0 ... FRAME_MAX_TOP */
    frame_bin listed; /* WANT_TOP: i32 little-endian ids, unaligned */
} frame_want;

/* A row that became non-finite: it goes on as zeros, and its answer says where it happened. */
typedef struct frame_fault {
    uint32_t row, layer; /* layer n_layer: the head */
} frame_fault;

/* coordinator -> first stage -> ... -> last stage, data: a micro-batch. */
typedef struct frame_forward {
    uint64_t id; /* of the frame, rising within an epoch; RESULT repeats it */
    uint32_t n_rows;
    uint32_t n_segments;
    const frame_segment *segments; /* their n_rows add up to n_rows; each sequence once */
    uint32_t n_wants;
    const frame_want *wants; /* rows ascending, each once */
    uint32_t n_faults;
    const frame_fault *faults; /* rows ascending, each once */
    bool is_tokens;
    frame_bin payload; /* tokens: i32 [n_rows]; activations: [n_rows, n_embd] as ASSIGN's `wire` says; little-endian, unaligned */
} frame_forward;

/* The answer to one want. */
typedef struct frame_answer {
    uint32_t row, seq, pos;
    frame_want_kind kind;
    bool is_fault;
    uint32_t fault_layer; /* 0 unless is_fault */
    uint32_t first; /* ALL, HIDDEN: index of data's first value. A row longer than FRAME_RESULT_BYTES comes in several RESULTs, from
                       0 up without gaps; the last one that carries it holds its last value. TOP: 0 */
    float max, sum_exp; /* of all logits of the row (0 for HIDDEN and faults) */
    frame_bin data;     /* TOP: (i32 id, f32 logit) pairs by logit descending, then id ascending; ALL: f32 [n_vocab]; HIDDEN: f32
                           [n_embd];     empty for a fault */
    frame_bin listed;   /* TOP: f32 logits of the listed ids, in their order */
} frame_answer;

/* last stage -> coordinator, data. Every FORWARD and LOGITS ends in exactly one RESULT with more == false: it is the credit. */
typedef struct frame_result {
    uint64_t id;
    bool more; /* further RESULTs of this id follow */
    uint32_t n_answers;
    const frame_answer *answers; /* rows ascending, each once in a RESULT; data and listed together at most FRAME_RESULT_BYTES */
} frame_result;

/* coordinator -> last stage, control: answer again for a row of the sequence's last FORWARD that had a want, differently. */
typedef struct frame_logits {
    uint64_t id;
    uint32_t seq, pos;
    frame_want want; /* its row is ignored; the answer's row is 0 */
} frame_logits;

typedef enum frame_seq_op {
    FRAME_SEQ_RELEASE = 1,  /* forget the sequence */
    FRAME_SEQ_TRUNCATE = 2, /* keep positions [0, pos) */
    FRAME_SEQ_FORK = 3      /* `other` becomes a copy of the first pos positions of seq */
} frame_seq_op;

/* Down the data chain like a FORWARD; the last stage returns it to the coordinator, which may then use the ids again. */
typedef struct frame_seq {
    uint64_t id;
    frame_seq_op op;
    uint32_t seq, other, pos; /* what the op does not use is 0 */
} frame_seq;

/* Both ways, control. */
typedef struct frame_heartbeat {
    uint64_t instance; /* the sender's */
    uint64_t steps;    /* worker: worker_step calls that did something; coordinator: 0 */
    uint64_t pending;  /* worker: frames waiting or under way; coordinator: 0 */
    uint64_t loaded;   /* worker: bytes of its slice's weights that are ready; coordinator: 0 */
} frame_heartbeat;

/* coordinator -> worker, control: all zero, a question. worker -> coordinator: the answer, counted since ASSIGN. */
typedef struct frame_stats {
    uint64_t id;
    uint64_t n_frames, n_rows;    /* FORWARDs and their rows */
    uint64_t compute_ns;          /* inside worker_step for them */
    uint64_t queue_ns;            /* between a FORWARD's arrival and its beginning */
    uint64_t bytes_in, bytes_out; /* on the data sockets */
    uint64_t rss_bytes, peak_rss_bytes;
    wire_loss loss; /* of activations that left */
} frame_stats;

/* A stage, as the coordinator sees it. */
typedef enum frame_stage_state {
    FRAME_STAGE_MISSING = 0, /* no worker has this slice now */
    FRAME_STAGE_LOADING = 1,
    FRAME_STAGE_SERVING = 2
} frame_stage_state;

typedef struct frame_chain_stage {
    frame_bin name; /* string: of the worker that has it, or had it last */
    frame_stage_state state;
    slice_range range;
    frame_bin isa; /* string */
    uint32_t n_threads;
    uint64_t memory_bytes; /* that it may use */
    uint64_t loaded;       /* bytes of weights that are ready */
    uint64_t weight_bytes, kv_bytes, scratch_bytes;
    uint64_t pending;  /* frames waiting at it, or under way */
    uint64_t rtt_us;   /* from the coordinator to it and back, the quickest lately; 0: not known yet */
    uint64_t at_ms;    /* coordinator's clock when the figures below came; 0: none came yet */
    frame_stats stats; /* its id is 0 */
} frame_chain_stage;

/* anyone -> coordinator, control: how is the chain? All zero but the id. coordinator -> who asked: the answer. The epoch of an
 * answer is the chain's. */
typedef struct frame_chain {
    uint64_t id;
    uint64_t now_ms; /* coordinator's clock */
    uint32_t n_ctx, n_seq;
    uint64_t frames_in_flight, rows_in_flight;
    uint64_t n_turns, turn_ns; /* FORWARDs that came back, and how long they were away together, since this coordinator began */
    uint32_t n_standby;        /* workers that have no part */
    uint32_t n_stages;
    const frame_chain_stage *stages; /* in the order of the chain */
} frame_chain;

/* Either way: something was refused, and nothing changed; or a stage cannot go on. */
typedef struct frame_error {
    uint32_t about;    /* kind of the frame that it answers, 0: none */
    uint64_t id;       /* of that frame, if it had one */
    uint32_t status;   /* yl_status, not YL_OK; a newer peer may know more than we do */
    frame_bin message; /* string */
} frame_error;

typedef struct frame {
    frame_kind kind;
    uint64_t epoch;
    union {
        frame_hello hello;
        frame_assign assign;
        frame_want_chunk want;
        frame_chunk tensor;
        frame_ready ready;
        frame_forward forward;
        frame_result result;
        frame_logits logits;
        frame_seq seq;
        frame_heartbeat heartbeat;
        frame_stats stats;
        frame_error error;
        frame_chain chain;
    };
} frame;

/* Room for the arrays of one decoded frame. */
typedef struct frame_scratch frame_scratch;
yl_status frame_scratch_new(frame_scratch **out, yl_error *err);
void frame_scratch_free(frame_scratch *s);

/* Decodes a frame. YL_EFORMAT: not a frame, or fields that contradict each other or their limits (the message names kind and
 * field); YL_EUNSUPPORTED: another protocol version (the message names both). On an error *out holds nothing to use, but its
 * kind and epoch are set if they could be read (else kind 0; a kind that this version does not know is given as its number).
 * What only a worker can know is its to check: sequence ids below its n_seq, tokens below n_vocab, a payload of n_embd columns,
 * epochs and steps, the list of tensors. */
yl_status frame_decode(frame *out, frame_scratch *scratch, const uint8_t *bytes, size_t n_bytes, yl_error *err);

/* The kind and epoch of a frame from its first bytes, without looking at the rest; 0: they begin no frame. */
unsigned frame_peek(const uint8_t *bytes, size_t n_bytes, uint64_t *epoch);

/* A growing buffer, owned by the caller: start with {0}, release with frame_bytes_clear. */
typedef struct frame_bytes {
    uint8_t *data;
    size_t n, capacity;
} frame_bytes;
void frame_bytes_clear(frame_bytes *b);

/* Encodes a frame, replacing what `out` held (its memory is reused). Requires a frame that frame_decode would take. YL_ENOMEM,
 * YL_ELIMIT (over FRAME_MAX_BYTES); then out is empty. */
yl_status frame_encode(frame_bytes *out, const frame *f, yl_error *err);

/* Encodes a FORWARD whose payload is left to be written: *payload is set to its place inside out->data (valid until out changes).
 * f->forward.payload.n_bytes says how long it is; its data is ignored. Saves a copy of the activations. */
yl_status frame_encode_forward(frame_bytes *out, const frame *f, uint8_t **payload, yl_error *err);

/* An ERROR frame about `about`: cause's status and as much of its sentence as fits. */
yl_status frame_encode_error(frame_bytes *out, uint64_t epoch, unsigned about, uint64_t id, const yl_error *cause, yl_error *err);

/* Little-endian numbers in a bin, at element i. */
int32_t frame_i32_at(frame_bin b, size_t i);
float frame_f32_at(frame_bin b, size_t i);

#endif
