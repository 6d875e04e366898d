/* cluster.c: a ROUTER, a PULL, a PUSH, and a list of workers. */
#include "cluster.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

enum {
    CONTROL_HWM = 4096,
    DATA_HWM = 1024,
    LINGER_MS = 200, /* a SHUTDOWN on its way still arrives */
    STANDSTILL_FACTOR = 10,
    REFUSED_MS = 60000
};

static const uint64_t CLUSTER_MAX_MEMORY = UINT64_C(1) << 47; /* what a process can address */
static const double GIB = 1024.0 * 1024.0 * 1024.0;

struct cluster {
    cluster_options o;
    link_hub *hub;
    link_watch *watch; /* of the router: who is refused */
    void *router, *results, *first;
    endpoint control;
    char result_endpoint[ENDPOINT_BYTES];
    char refused[64]; /* who was refused last, and when that was told */
    uint64_t refused_ms;
    uint64_t instance, heartbeat_ms, polled_ms;
    bool is_gathering;
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

static void say(const cluster *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(const cluster *c, const char *format, ...)
{
    yl_error line; /* which takes control bytes out of what peers say */
    char text[YL_ERROR_MSG_BYTES];
    if (!c->o.say) return;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    yl_fail(&line, YL_OK, "%s", text);
    c->o.say(c->o.ctx, line.msg);
}

static yl_status open_sockets(cluster *c, yl_error *err)
{
    yl_status status = link_hub_new(&c->hub, c->o.key, FRAME_MAX_BYTES, err);
    c->o.key = NULL; /* the hub has it */
    if (status) return status;
    c->router = link_socket(c->hub, ZMQ_ROUTER, CONTROL_HWM, LINGER_MS);
    c->results = link_socket(c->hub, ZMQ_PULL, DATA_HWM, LINGER_MS);
    if (!c->router || !c->results) return yl_fail(err, YL_EIO, "no ZeroMQ sockets: %s", zmq_strerror(zmq_errno()));
    int mandatory = 1; /* a worker that is gone is an error, not silence */
    zmq_setsockopt(c->router, ZMQ_ROUTER_MANDATORY, &mandatory, sizeof mandatory);
    endpoint results;
    status = link_watch_new(&c->watch, c->hub, c->router, err);
    if (!status) status = link_bind(c->hub, c->router, &c->o.control, &c->control, err);
    if (!status) status = link_bind(c->hub, c->results, &c->o.results, &results, err);
    if (!status) endpoint_format(c->result_endpoint, &results);
    return status;
}

yl_status cluster_new(cluster **out, const cluster_options *options, yl_error *err)
{
    *out = NULL;
    cluster *c = calloc(1, sizeof *c);
    if (!c) return yl_fail(err, YL_ENOMEM, "no memory for the cluster");
    c->o = *options;
    if (getrandom(&c->instance, sizeof c->instance, 0) != (ssize_t)sizeof c->instance)
        c->instance = cluster_now_ms() ^ ((uint64_t)getpid() << 32);
    c->workers = calloc(options->n_workers, sizeof *c->workers);
    yl_status status = c->workers ? frame_scratch_new(&c->scratch, err) : yl_fail(err, YL_ENOMEM, "no memory for the cluster");
    if (!status) status = open_sockets(c, err);
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
    link_watch_free(c->watch);
    link_hub_free(c->hub);
    frame_scratch_free(c->scratch);
    frame_bytes_clear(&c->bytes);
    free(c->workers);
    free(c);
}

uint64_t cluster_instance(const cluster *c)
{
    return c->instance;
}

void cluster_set_gathering(cluster *c, bool is_gathering)
{
    c->is_gathering = is_gathering;
}

const endpoint *cluster_control_endpoint(const cluster *c)
{
    return &c->control;
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

yl_status cluster_connect_first(cluster *c, const char *address, yl_error *err)
{
    endpoint e;
    yl_status status = endpoint_parse(&e, address, 0, err);
    if (!status && endpoint_is_wildcard(&e)) status = endpoint_set_host(&e, "127.0.0.1", err); /* it is on this machine */
    if (status) return status;
    if (c->first) zmq_close(c->first);
    c->first = link_socket(c->hub, ZMQ_PUSH, DATA_HWM, LINGER_MS);
    if (!c->first) return yl_fail(err, YL_EIO, "no ZeroMQ socket: %s", zmq_strerror(zmq_errno()));
    status = link_connect(c->hub, c->first, &e, err);
    if (status) yl_error_context(err, "the first stage: ");
    return status;
}

yl_status cluster_send(cluster *c, uint32_t worker, const frame *f, yl_error *err)
{
    const cluster_worker *w = &c->workers[worker];
    yl_status status = frame_encode(&c->bytes, f, err);
    if (status) return status;
    if (zmq_send(c->router, w->route, w->n_route, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0 ||
        zmq_send(c->router, c->bytes.data, c->bytes.n, ZMQ_DONTWAIT) < 0)
        return zmq_errno() == EHOSTUNREACH
                   ? yl_fail(err, YL_EPEER, "worker '%s' is gone: its connection was closed", w->name)
                   : yl_fail(err, YL_EPEER, "worker '%s' takes no more frames: %s", w->name, zmq_strerror(zmq_errno()));
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

/* Where the stage before reaches a worker: where it says that it listens, and where that is "everywhere", at the host that its
 * connection came from. A worker on our own machine stays at "*": others know that machine by the name that they know us by. */
static yl_status locate(char out[ENDPOINT_BYTES], const frame_hello *h, const char *name, const endpoint *from, yl_error *err)
{
    char text[ENDPOINT_BYTES];
    endpoint e;
    copy_text(text, sizeof text, h->data_endpoint);
    yl_status status = endpoint_parse(&e, text, 0, err);
    if (!status && (e.is_tcp != from->is_tcp || (e.is_tcp && !e.port)))
        status = yl_fail(err, YL_EFORMAT, "nobody could connect to %s", text);
    if (!status && !endpoint_is_local(from)) {
        if (endpoint_is_wildcard(&e))
            status = endpoint_set_host(&e, from->host, err);
        else if (endpoint_is_local(&e))
            status = yl_fail(err, YL_EINVAL, "%s is for its own machine only: start it with --data tcp://*:%u", text, e.port);
    }
    if (status) yl_error_context(err, "worker '%s': ", name);
    if (!status) endpoint_format(out, &e);
    return status;
}

/* A place for a worker of this name: its own if it is known, and not another that is alive. -1: *err says why there is none. */
static int place_for(cluster *c, const char *name, uint64_t instance, yl_error *err)
{
    int i = cluster_find(c, name);
    if (i >= 0 && c->workers[i].instance != instance) {
        uint64_t silence = cluster_now_ms() - c->workers[i].heard_ms;
        if (c->is_gathering && silence > 3 * CLUSTER_HEARTBEAT_MS) return i; /* it was started anew */
        yl_fail(err, YL_EPEER, "two workers are named '%s': give each a --name of its own", name);
        return -1;
    }
    if (i >= 0) return i;
    if (c->n_workers < c->o.n_workers) return (int)c->n_workers++;
    yl_fail(err, YL_ELIMIT, "this coordinator has the %u workers that it wants: '%s' is not needed now", c->o.n_workers, name);
    return -1;
}

/* A worker introduces itself: a new one, or one that we know (it repeats HELLO until it hears us). peer: its address; NULL for ipc.
 */
static yl_status take_hello(cluster *c, zmq_msg_t *route, const frame_hello *h, const char *peer, yl_error *err)
{
    cluster_worker w = {.instance = h->instance,
                        .memory_bytes = h->memory_bytes,
                        .n_threads = h->n_threads,
                        .heard_ms = cluster_now_ms(),
                        .progress_ms = cluster_now_ms(),
                        .n_route = zmq_msg_size(route)};
    copy_text(w.name, sizeof w.name, h->name);
    copy_text(w.isa, sizeof w.isa, h->isa);
    memcpy(w.route, zmq_msg_data(route), w.n_route);
    if (h->memory_bytes > CLUSTER_MAX_MEMORY)
        return yl_fail(err, YL_EINVAL, "worker '%s' says that it may use %" PRIu64 " bytes of memory: that cannot be (--memory)",
                       w.name, h->memory_bytes);
    endpoint from = {.is_tcp = peer != NULL};
    yl_status status = peer ? endpoint_set_host(&from, peer, err) : YL_OK;
    if (!status) status = locate(w.data_endpoint, h, w.name, &from, err);
    if (status) return status;
    bool is_known = cluster_find(c, w.name) >= 0;
    int i = place_for(c, w.name, h->instance, err);
    if (i < 0) return err->status;
    c->workers[i] = w;
    frame f = {.kind = FRAME_HEARTBEAT, .heartbeat = {.instance = c->instance}};
    status = cluster_send(c, (uint32_t)i, &f, err);
    if (!status && !is_known)
        say(c, "worker '%s' has joined: %u threads (%s), %.1f GiB of memory, at %s; %u of %u workers are here", w.name, w.n_threads,
            w.isa, (double)w.memory_bytes / GIB, from.is_tcp ? from.host : "this machine", c->n_workers, c->o.n_workers);
    return status;
}

static void forget_worker(cluster *c, uint32_t i, const char *why)
{
    char name[sizeof c->workers[i].name];
    memcpy(name, c->workers[i].name, sizeof name);
    c->n_workers--;
    memmove(&c->workers[i], &c->workers[i + 1], (c->n_workers - i) * sizeof *c->workers);
    say(c, "worker '%s' %s; %u of %u workers are here", name, why, c->n_workers, c->o.n_workers);
}

static void take_heartbeat(cluster_worker *w, const frame_heartbeat *h, uint64_t now)
{
    if (h->steps != w->steps || !h->pending) w->progress_ms = now;
    w->steps = h->steps;
    w->loaded = h->loaded;
}

/* Bad bytes and a bad HELLO are the sender's trouble: it is told, and everybody else goes on. */
static yl_status take_control(cluster *c, zmq_msg_t *route, zmq_msg_t *body, cluster_frame_fn *on_frame, void *ctx, yl_error *err)
{
    frame f;
    yl_error cause;
    int i = find_route(c, route);
    yl_status status = frame_decode(&f, c->scratch, zmq_msg_data(body), zmq_msg_size(body), &cause);
    if (!status && f.kind == FRAME_HELLO) {
        const char *peer = c->control.is_tcp ? zmq_msg_gets(body, "Peer-Address") : NULL;
        status = take_hello(c, route, &f.hello, peer, &cause);
    }
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
                status = take_control(c, &route, &body, on_frame, ctx, err);
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
    for (uint32_t i = 0; i < c->n_workers; i++) {
        yl_status status = cluster_send(c, i, &f, err);
        if (status && !c->is_gathering) return status;
        if (status) forget_worker(c, i--, "has left");
    }
    return YL_OK;
}

static yl_status check_silence(cluster *c, uint64_t now, yl_error *err)
{
    for (uint32_t i = 0; i < c->n_workers; i++) {
        const cluster_worker *w = &c->workers[i];
        if (now - w->heard_ms > c->o.timeout_ms) {
            if (!c->is_gathering)
                return yl_fail(err, YL_EPEER, "worker '%s' has been silent for %" PRIu64 " ms (--timeout sets the limit)", w->name,
                               now - w->heard_ms);
            forget_worker(c, i--, "has fallen silent");
            continue;
        }
        if (now - w->progress_ms > (uint64_t)STANDSTILL_FACTOR * c->o.timeout_ms)
            return yl_fail(err, YL_EPEER, "worker '%s' answers, but has computed nothing for %" PRIu64 " ms", w->name,
                           now - w->progress_ms);
    }
    return YL_OK;
}

/* Whoever is refused tries again, several times a second: that is told now and then. */
static void tell_refused(cluster *c, uint64_t now)
{
    for (link_event event; (event = link_watch_next(c->watch)) != LINK_NOTHING;) {
        if (event != LINK_REFUSED && event != LINK_OTHER_SECURITY) continue;
        const char *peer = link_watch_peer(c->watch);
        if (!strcmp(peer, c->refused) && now - c->refused_ms < REFUSED_MS) continue;
        snprintf(c->refused, sizeof c->refused, "%s", peer);
        c->refused_ms = now;
        say(c, "%s was refused: %s", peer,
            link_hub_door(c->hub)          ? "it does not know this cluster's key"
            : event == LINK_OTHER_SECURITY ? "it comes with a key, and this coordinator was started without one"
                                           : "it does not speak as a worker does");
    }
}

yl_status cluster_poll(cluster *c, uint32_t wait_ms, cluster_frame_fn *on_frame, void *ctx, bool *idle, yl_error *err)
{
    zmq_pollitem_t items[] = {{.socket = c->router, .events = ZMQ_POLLIN},
                              {.socket = c->results, .events = ZMQ_POLLIN},
                              {.socket = link_watch_socket(c->watch), .events = ZMQ_POLLIN},
                              {.socket = link_hub_door(c->hub), .events = ZMQ_POLLIN}};
    int n_items = link_hub_door(c->hub) ? 4 : 3;
    *idle = true;
    if (wait_ms > CLUSTER_HEARTBEAT_MS) wait_ms = CLUSTER_HEARTBEAT_MS;
    if (zmq_poll(items, n_items, (long)wait_ms) < 0 && zmq_errno() != EINTR)
        return yl_fail(err, YL_EIO, "polling %s: %s", c->result_endpoint, zmq_strerror(zmq_errno()));
    link_hub_answer_door(c->hub);
    yl_status status = drain_results(c, on_frame, ctx, idle, err);
    if (!status) status = drain_control(c, on_frame, ctx, idle, err);
    uint64_t now = cluster_now_ms();
    /* If we ourselves did not ask (busy elsewhere, suspended, swapped out), nobody else was silent. */
    if (now - c->polled_ms > 2 * (uint64_t)CLUSTER_HEARTBEAT_MS) {
        for (uint32_t i = 0; i < c->n_workers; i++) c->workers[i].heard_ms = c->workers[i].progress_ms = now;
    }
    c->polled_ms = now;
    tell_refused(c, now);
    if (!status) status = send_heartbeats(c, now, err);
    if (!status) status = check_silence(c, now, err);
    return status;
}
