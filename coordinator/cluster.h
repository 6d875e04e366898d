/* cluster.h: the coordinator's sockets, and who is at the other end.
 *
 * Control is a ROUTER that workers connect to, or that connects to workers that listen: what flows is the same; activations leave
 * by a PUSH to the first stage, and answers of the last come in by a PULL. Knows which workers said HELLO, hears their heartbeats
 * and notices who is lost: silent, gone, sending rubbish, or computing nothing while work waits. Each worker has a place, and keeps
 * its index while it is here. */
#ifndef YL_CLUSTER_H
#define YL_CLUSTER_H

#include "frames.h"
#include "link.h"

enum { CLUSTER_MAX_ROUTE = 64, CLUSTER_HEARTBEAT_MS = 500, CLUSTER_WHY_BYTES = 160 };

/* A worker that said HELLO. */
typedef struct cluster_worker {
    char name[FRAME_MAX_NAME + 1];
    char data_endpoint[ENDPOINT_BYTES]; /* as ASSIGN tells it to the stage before */
    uint8_t route[CLUSTER_MAX_ROUTE];   /* ZeroMQ's address of its control socket */
    size_t n_route;
    char isa[FRAME_MAX_NAME + 1];
    uint64_t instance, memory_bytes;  /* memory: 0 if it does not know */
    uint64_t bytes_per_s, macs_per_s; /* of its machine, as it measured; 0: it did not */
    uint32_t n_threads;
    uint8_t model_id[FRAME_ID_BYTES]; /* of the model file that it has; all 0: none */
    bool is_near;                     /* on this machine */
    uint64_t heard_ms;                /* last frame from it */
    uint64_t steps;                   /* of its last HEARTBEAT */
    uint64_t loaded;                  /* of its last HEARTBEAT: bytes of weights that are ready */
    uint64_t pending;                 /* of its last HEARTBEAT: frames that wait there, or are under way */
    uint64_t rtt_us;                  /* from a HEARTBEAT to its answer, the quickest lately; 0: not known */
    uint64_t asked_us;                /* when the HEARTBEAT left whose answer is timed; 0: none */
    uint32_t n_owed;                  /* HEARTBEATs that were not answered yet */
    uint64_t progress_ms;             /* when its steps last moved, or nothing waited */
    uint64_t busy_ms;                 /* when its steps last moved, or something waited */
    char why_lost[CLUSTER_WHY_BYTES]; /* "" while it is well; the next poll takes it out */
} cluster_worker;

typedef struct cluster cluster;

typedef struct cluster_options {
    endpoint control, results; /* to bind */
    const endpoint *dial;      /* [n_dial] where workers listen: they are called, and nothing is bound for control; for the call */
    uint32_t n_dial;           /* 0: workers come to us */
    bool announce;             /* so that workers on the local network find control (beacon.h) */
    const cluster_key *key;    /* for the call; NULL: links are open */
    uint32_t timeout_ms;       /* how long a worker may be silent. It may stand still ten times as long, because one step of a large
                                * batch on a slow machine is long */
    uint32_t n_wanted;         /* workers that are waited for */
    uint32_t n_places;         /* more are told that they are not needed */
    void (*say)(void *ctx, const char *line); /* who came, who was refused; NULL: nobody wants to know */
    void *ctx;
} cluster_options;

/* Binds the control and result sockets, or begins to call workers. YL_EIO: an address is in use or wrong, a host unknown. */
yl_status cluster_new(cluster **out, const cluster_options *options, yl_error *err);
void cluster_free(cluster *c);

/* Are those who come waited for, or do they stand by? Only what is said of them differs. At first: waited for. */
void cluster_set_gathering(cluster *c, bool is_gathering);

uint64_t cluster_instance(const cluster *c); /* random, names this coordinator */
/* Where control listens, and results as ASSIGN tells it: a host of * stands for the one by which a worker knows us. */
const endpoint *cluster_control_endpoint(const cluster *c);
const char *cluster_result_endpoint(const cluster *c);

/* YL_EPEER when an address that was called has no worker that came. What is wrong there, and what to check, was said when it was
 * noticed, or is now (o.say); if it is only one, *err repeats it. */
yl_status cluster_check_dialled(cluster *c, yl_error *err);

uint32_t cluster_n_here(const cluster *c);
uint32_t cluster_n_places(const cluster *c);
/* The worker at place i < n_places; NULL: nobody. */
const cluster_worker *cluster_worker_at(const cluster *c, uint32_t i);
/* Place of the worker with this name, or -1. */
int cluster_find(const cluster *c, const char *name);
/* Takes a worker out: it is not listened to until it says HELLO again. */
void cluster_drop(cluster *c, uint32_t worker);

/* Where activations go: the first stage's data socket. */
yl_status cluster_connect_first(cluster *c, const char *address, yl_error *err);

/* Sends a frame to a worker by control. Never blocks; when the other side is gone or takes nothing more, that is no error here: the
 * worker is lost, and the next poll tells. YL_ENOMEM, YL_EINVAL: the frame cannot be written. */
yl_status cluster_send(cluster *c, uint32_t worker, const frame *f, yl_error *err);
/* To the first stage. YL_EPEER: it takes nothing more. */
yl_status cluster_send_data(cluster *c, const frame *f, yl_error *err);

typedef struct cluster_handlers {
    /* A frame that came: from worker i by control, or (worker < 0) by the result socket. HELLO, HEARTBEAT and CHAIN are handled
     * before and not shown. Views are valid during the call. */
    yl_status (*on_frame)(void *ctx, int worker, const frame *f, yl_error *err);
    /* A worker is lost, and out when this returns. why: "it has been silent for 10.1 s". */
    yl_status (*on_lost)(void *ctx, uint32_t worker, const char *why, yl_error *err);
    /* Somebody, who need not be a worker, asks with CHAIN. Writes the answer, whose views must live until the next call. */
    void (*on_question)(void *ctx, const frame *question, frame *answer);
    void *ctx;
} cluster_handlers;

/* Waits up to wait_ms for frames and gives all that are there to on_frame; sends heartbeats when due, and tells on_lost of workers.
 * Ends with the first status of a handler that is not YL_OK; what is left is there for the next poll. *idle: nothing came. YL_OK
 * when a signal arrived: look at your flags. */
yl_status cluster_poll(cluster *c, uint32_t wait_ms, const cluster_handlers *handlers, bool *idle, yl_error *err);

/* Monotonic. */
uint64_t cluster_now_ms(void);
uint64_t cluster_now_ns(void);

#endif
