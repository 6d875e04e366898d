/* cluster.c: a ROUTER, a PULL, a PUSH, and a list of workers. */
#include "cluster.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

enum { MAX_WORKERS = 256, CONTROL_HWM = 4096, DATA_HWM = 1024, STANDSTILL_FACTOR = 10 };

struct cluster {
    void *zmq, *router, *results, *first;
    char result_endpoint[FRAME_MAX_ENDPOINT + 1];
    uint64_t instance, heartbeat_ms, polled_ms;
    uint32_t timeout_ms;
    cluster_worker *workers;
    uint32_t n_workers;
    frame_scratch *scratch;
    frame_bytes bytes; /* of the frame being sent */
};

uint64_t cluster_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

static yl_status zmq_failed(yl_error *err, const char *what, const char *endpoint)
{
    int cause = zmq_errno();
    const char *hint = cause == EADDRINUSE ? " (another program listens there: stop it, or choose another address)" : "";
    return yl_fail(err, YL_EIO, "%s %s: %s%s", what, endpoint, zmq_strerror(cause), hint);
}

static void *open_socket(void *zmq, int type, int hwm)
{
    void *socket = zmq_socket(zmq, type);
    if (!socket) return NULL;
    int linger = 200; /* a SHUTDOWN on its way still arrives */
    int64_t max_bytes = FRAME_MAX_BYTES;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &max_bytes, sizeof max_bytes);
    zmq_setsockopt(socket, ZMQ_SNDHWM, &hwm, sizeof hwm);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &hwm, sizeof hwm);
    return socket;
}

yl_status cluster_new(cluster **out, const char *control_endpoint, const char *result_endpoint, uint32_t timeout_ms, yl_error *err)
{
    *out = NULL;
    cluster *c = calloc(1, sizeof *c);
    if (!c) return yl_fail(err, YL_ENOMEM, "no memory for the cluster");
    c->timeout_ms = timeout_ms;
    if (getrandom(&c->instance, sizeof c->instance, 0) != (ssize_t)sizeof c->instance)
        c->instance = cluster_now_ms() ^ ((uint64_t)getpid() << 32);
    c->workers = calloc(MAX_WORKERS, sizeof *c->workers);
    c->zmq = zmq_ctx_new();
    c->router = c->zmq ? open_socket(c->zmq, ZMQ_ROUTER, CONTROL_HWM) : NULL;
    c->results = c->router ? open_socket(c->zmq, ZMQ_PULL, DATA_HWM) : NULL;
    yl_status status = frame_scratch_new(&c->scratch, err);
    int mandatory = 1; /* a worker that is gone is an error, not silence */
    size_t n = sizeof c->result_endpoint;
    if (!status && (!c->results || !c->workers)) status = yl_fail(err, YL_EIO, "no ZeroMQ sockets: %s", zmq_strerror(zmq_errno()));
    if (!status) zmq_setsockopt(c->router, ZMQ_ROUTER_MANDATORY, &mandatory, sizeof mandatory);
    if (!status && zmq_bind(c->router, control_endpoint)) status = zmq_failed(err, "cannot listen at", control_endpoint);
    if (!status && zmq_bind(c->results, result_endpoint)) status = zmq_failed(err, "cannot listen at", result_endpoint);
    if (!status && zmq_getsockopt(c->results, ZMQ_LAST_ENDPOINT, c->result_endpoint, &n))
        status = zmq_failed(err, "no address for", result_endpoint);
    if (status) {
        cluster_free(c);
        return status;
    }
    *out = c;
    return YL_OK;
}

void cluster_free(cluster *c)
{
    if (!c) return;
    if (c->first) zmq_close(c->first);
    if (c->results) zmq_close(c->results);
    if (c->router) zmq_close(c->router);
    if (c->zmq) zmq_ctx_term(c->zmq);
    frame_scratch_free(c->scratch);
    frame_bytes_clear(&c->bytes);
    free(c->workers);
    free(c);
}

uint64_t cluster_instance(const cluster *c)
{
    return c->instance;
}

const char *cluster_result_endpoint(const cluster *c)
{
    return c->result_endpoint;
}

uint32_t cluster_n_workers(const cluster *c)
{
    return c->n_workers;
}

const cluster_worker *cluster_worker_at(const cluster *c, uint32_t i)
{
    return &c->workers[i];
}

int cluster_find(const cluster *c, const char *name)
{
    for (uint32_t i = 0; i < c->n_workers; i++) {
        if (!strcmp(c->workers[i].name, name)) return (int)i;
    }
    return -1;
}

yl_status cluster_connect_first(cluster *c, const char *endpoint, yl_error *err)
{
    if (c->first) zmq_close(c->first);
    c->first = open_socket(c->zmq, ZMQ_PUSH, DATA_HWM);
    if (!c->first || zmq_connect(c->first, endpoint)) return zmq_failed(err, "cannot connect to the first stage at", endpoint);
    return YL_OK;
}

yl_status cluster_send(cluster *c, uint32_t worker, const frame *f, yl_error *err)
{
    const cluster_worker *w = &c->workers[worker];
    yl_status status = frame_encode(&c->bytes, f, err);
    if (status) return status;
    if (zmq_send(c->router, w->route, w->n_route, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0 ||
        zmq_send(c->router, c->bytes.data, c->bytes.n, ZMQ_DONTWAIT) < 0)
        return yl_fail(err, YL_EPEER, "worker '%s' takes no more frames: %s", w->name, zmq_strerror(zmq_errno()));
    return YL_OK;
}

yl_status cluster_send_data(cluster *c, const frame *f, yl_error *err)
{
    yl_status status = frame_encode(&c->bytes, f, err);
    if (status) return status;
    if (zmq_send(c->first, c->bytes.data, c->bytes.n, ZMQ_DONTWAIT) < 0)
        return yl_fail(err, YL_EPEER, "the first stage takes no more frames: %s", zmq_strerror(zmq_errno()));
    return YL_OK;
}

static int find_route(const cluster *c, zmq_msg_t *route)
{
    size_t n = zmq_msg_size(route);
    const void *data = zmq_msg_data(route);
    for (uint32_t i = 0; i < c->n_workers; i++) {
        if (c->workers[i].n_route == n && !memcmp(c->workers[i].route, data, n)) return (int)i;
    }
    return -1;
}

static void copy_text(char *to, size_t capacity, frame_bin text)
{
    size_t n = text.n_bytes < capacity - 1 ? text.n_bytes : capacity - 1;
    memcpy(to, text.data, n);
    to[n] = 0;
}

/* Tells a peer what is wrong with what it sent; if it cannot be told, it is not there. */
static void refuse(cluster *c, zmq_msg_t *route, frame_kind about, const yl_error *cause)
{
    if (frame_encode_error(&c->bytes, 0, about, 0, cause, NULL)) return;
    if (zmq_send(c->router, zmq_msg_data(route), zmq_msg_size(route), ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) return;
    zmq_send(c->router, c->bytes.data, c->bytes.n, ZMQ_DONTWAIT);
}

/* A worker introduces itself: a new one, or one that we know (it repeats HELLO until it hears us). */
static yl_status take_hello(cluster *c, zmq_msg_t *route, const frame_hello *h, yl_error *err)
{
    char name[FRAME_MAX_NAME + 1];
    copy_text(name, sizeof name, h->name);
    int i = cluster_find(c, name);
    uint64_t now = cluster_now_ms();
    if (i >= 0 && c->workers[i].instance != h->instance)
        return yl_fail(err, YL_EPEER, "two workers are named '%s': give each a --name of its own", name);
    if (i < 0) {
        if (c->n_workers == MAX_WORKERS) return yl_fail(err, YL_ELIMIT, "there are %d workers already", MAX_WORKERS);
        i = (int)c->n_workers++;
    }
    cluster_worker *w = &c->workers[i];
    *w = (cluster_worker){.instance = h->instance,
                          .memory_bytes = h->memory_bytes,
                          .n_threads = h->n_threads,
                          .heard_ms = now,
                          .progress_ms = now,
                          .n_route = zmq_msg_size(route)};
    memcpy(w->name, name, sizeof name);
    memcpy(w->route, zmq_msg_data(route), w->n_route);
    copy_text(w->data_endpoint, sizeof w->data_endpoint, h->data_endpoint);
    frame f = {.kind = FRAME_HEARTBEAT, .heartbeat = {.instance = c->instance}};
    return cluster_send(c, (uint32_t)i, &f, err);
}

static void take_heartbeat(cluster_worker *w, const frame_heartbeat *h, uint64_t now)
{
    if (h->steps != w->steps || !h->pending) w->progress_ms = now;
    w->steps = h->steps;
    w->loaded = h->loaded;
}

/* Bad bytes and a bad HELLO are the sender's trouble: it is told, and everybody else goes on. */
static yl_status take_control(cluster *c, zmq_msg_t *route, const uint8_t *data, size_t n, cluster_frame_fn *on_frame, void *ctx,
                              yl_error *err)
{
    frame f;
    yl_error cause;
    int i = find_route(c, route);
    yl_status status = frame_decode(&f, c->scratch, data, n, &cause);
    if (!status && f.kind == FRAME_HELLO) status = take_hello(c, route, &f.hello, &cause);
    if (status) {
        refuse(c, route, f.kind, &cause);
        return YL_OK;
    }
    if (i < 0 || f.kind == FRAME_HELLO) return YL_OK; /* somebody we do not know will say HELLO */
    cluster_worker *w = &c->workers[i];
    w->heard_ms = cluster_now_ms();
    if (f.kind != FRAME_HEARTBEAT) return on_frame(ctx, i, &f, err);
    take_heartbeat(w, &f.heartbeat, w->heard_ms);
    return YL_OK;
}

/* All messages that wait at the ROUTER: [route, frame]. */
static yl_status drain_control(cluster *c, cluster_frame_fn *on_frame, void *ctx, bool *idle, yl_error *err)
{
    yl_status status = YL_OK;
    while (!status) {
        zmq_msg_t route, body;
        zmq_msg_init(&route);
        zmq_msg_init(&body);
        bool got = zmq_msg_recv(&route, c->router, ZMQ_DONTWAIT) >= 0;
        bool whole = got && zmq_msg_more(&route) && zmq_msg_recv(&body, c->router, ZMQ_DONTWAIT) >= 0;
        if (whole) {
            *idle = false;
            if (!zmq_msg_more(&body) && zmq_msg_size(&route) <= CLUSTER_MAX_ROUTE)
                status = take_control(c, &route, zmq_msg_data(&body), zmq_msg_size(&body), on_frame, ctx, err);
            while (zmq_msg_more(&body) && zmq_msg_recv(&body, c->router, ZMQ_DONTWAIT) >= 0)
                continue; /* parts that nobody asked for */
        }
        zmq_msg_close(&route);
        zmq_msg_close(&body);
        if (!got) break;
    }
    return status;
}

static yl_status drain_results(cluster *c, cluster_frame_fn *on_frame, void *ctx, bool *idle, yl_error *err)
{
    yl_status status = YL_OK;
    while (!status) {
        zmq_msg_t msg;
        zmq_msg_init(&msg);
        bool got = zmq_msg_recv(&msg, c->results, ZMQ_DONTWAIT) >= 0;
        if (got) {
            frame f;
            *idle = false;
            /* Bytes that are no frame cannot be answered here, and are nobody's RESULT. */
            if (!frame_decode(&f, c->scratch, zmq_msg_data(&msg), zmq_msg_size(&msg), NULL)) status = on_frame(ctx, -1, &f, err);
        }
        zmq_msg_close(&msg);
        if (!got) break;
    }
    return status;
}

static yl_status send_heartbeats(cluster *c, uint64_t now, yl_error *err)
{
    if (now - c->heartbeat_ms < CLUSTER_HEARTBEAT_MS) return YL_OK;
    c->heartbeat_ms = now;
    frame f = {.kind = FRAME_HEARTBEAT, .heartbeat = {.instance = c->instance}};
    yl_status status = YL_OK;
    for (uint32_t i = 0; i < c->n_workers && !status; i++) status = cluster_send(c, i, &f, err);
    return status;
}

static yl_status check_silence(const cluster *c, uint64_t now, yl_error *err)
{
    for (uint32_t i = 0; i < c->n_workers; i++) {
        const cluster_worker *w = &c->workers[i];
        if (now - w->heard_ms > c->timeout_ms)
            return yl_fail(err, YL_EPEER, "worker '%s' has been silent for %" PRIu64 " ms (--timeout sets the limit)", w->name,
                           now - w->heard_ms);
        if (now - w->progress_ms > (uint64_t)STANDSTILL_FACTOR * c->timeout_ms)
            return yl_fail(err, YL_EPEER, "worker '%s' answers, but has computed nothing for %" PRIu64 " ms", w->name,
                           now - w->progress_ms);
    }
    return YL_OK;
}

yl_status cluster_poll(cluster *c, uint32_t wait_ms, cluster_frame_fn *on_frame, void *ctx, bool *idle, yl_error *err)
{
    zmq_pollitem_t items[] = {{.socket = c->router, .events = ZMQ_POLLIN}, {.socket = c->results, .events = ZMQ_POLLIN}};
    *idle = true;
    if (wait_ms > CLUSTER_HEARTBEAT_MS) wait_ms = CLUSTER_HEARTBEAT_MS;
    if (zmq_poll(items, 2, (long)wait_ms) < 0 && zmq_errno() != EINTR) return zmq_failed(err, "polling", c->result_endpoint);
    yl_status status = drain_results(c, on_frame, ctx, idle, err);
    if (!status) status = drain_control(c, on_frame, ctx, idle, err);
    uint64_t now = cluster_now_ms();
    /* If we ourselves did not ask (busy elsewhere, suspended, swapped out), nobody else was silent. */
    if (now - c->polled_ms > 2 * (uint64_t)CLUSTER_HEARTBEAT_MS) {
        for (uint32_t i = 0; i < c->n_workers; i++) c->workers[i].heard_ms = c->workers[i].progress_ms = now;
    }
    c->polled_ms = now;
    if (!status) status = send_heartbeats(c, now, err);
    if (!status) status = check_silence(c, now, err);
    return status;
}
