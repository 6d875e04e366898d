/* cluster.h: the coordinator's sockets, and who is at the other end.
 *
 * Control is a ROUTER that workers connect to; activations leave by a PUSH to the first stage, and answers of the last come in by a
 * PULL. Knows which workers said HELLO, hears their heartbeats and notices who is silent, or computes nothing while work waits. */
#ifndef YL_CLUSTER_H
#define YL_CLUSTER_H

#include "frames.h"
#include "link.h"

enum { CLUSTER_MAX_ROUTE = 64, CLUSTER_HEARTBEAT_MS = 500 };

/* A worker that said HELLO. */
typedef struct cluster_worker {
    char name[FRAME_MAX_NAME + 1];
    char data_endpoint[ENDPOINT_BYTES]; /* as ASSIGN tells it to the stage before */
    uint8_t route[CLUSTER_MAX_ROUTE];   /* ZeroMQ's address of its control socket */
    size_t n_route;
    char isa[FRAME_MAX_NAME + 1];
    uint64_t instance, memory_bytes;
    uint32_t n_threads;
    uint64_t heard_ms;    /* last frame from it */
    uint64_t steps;       /* of its last HEARTBEAT */
    uint64_t loaded;      /* of its last HEARTBEAT: bytes of weights that are ready */
    uint64_t progress_ms; /* when its steps last moved, or nothing waited */
} cluster_worker;

typedef struct cluster cluster;

typedef struct cluster_options {
    endpoint control, results; /* to bind */
    const cluster_key *key;    /* for the call; NULL: links are open */
    uint32_t timeout_ms;       /* how long a worker may be silent. It may stand still ten times as long, because one step of a large
                                * batch on a slow machine is long */
    uint32_t n_workers;        /* more are told that they are not needed */
    void (*say)(void *ctx, const char *line); /* who came, left, was refused; NULL: nobody wants to know */
    void *ctx;
} cluster_options;

/* Binds the control and result sockets. YL_EIO: an address is in use or wrong. */
yl_status cluster_new(cluster **out, const cluster_options *options, yl_error *err);
void cluster_free(cluster *c);

/* While workers gather, one that leaves or falls silent is forgotten, so indices of workers change between two polls; later it is
 * an error. At first: not gathering. */
void cluster_set_gathering(cluster *c, bool is_gathering);

uint64_t cluster_instance(const cluster *c); /* random, names this coordinator */
/* Where control listens, and results as ASSIGN tells it: a host of * stands for the one by which a worker knows us. */
const endpoint *cluster_control_endpoint(const cluster *c);
const char *cluster_result_endpoint(const cluster *c);

uint32_t cluster_n_workers(const cluster *c);
const cluster_worker *cluster_worker_at(const cluster *c, uint32_t i);
/* Index of the worker with this name, or -1. */
int cluster_find(const cluster *c, const char *name);

/* Where activations go: the first stage's data socket. */
yl_status cluster_connect_first(cluster *c, const char *address, yl_error *err);

/* Sends a frame to a worker by control / to the first stage. Never blocks: YL_EPEER when the other side takes nothing more. */
yl_status cluster_send(cluster *c, uint32_t worker, const frame *f, yl_error *err);
yl_status cluster_send_data(cluster *c, const frame *f, yl_error *err);

/* A frame that came: from worker i by control, or (worker < 0) by the result socket. HELLO and HEARTBEAT are handled before and not
 * shown. Views are valid during the call. */
typedef yl_status cluster_frame_fn(void *ctx, int worker, const frame *f, yl_error *err);

/* Waits up to wait_ms for frames and gives all that are there to on_frame; sends heartbeats when due. *idle: nothing came.
 * YL_EPEER: a worker was silent too long. YL_OK when a signal arrived: look at your flags. */
yl_status cluster_poll(cluster *c, uint32_t wait_ms, cluster_frame_fn *on_frame, void *ctx, bool *idle, yl_error *err);

/* Monotonic milliseconds. */
uint64_t cluster_now_ms(void);

#endif
