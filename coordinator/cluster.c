/* cluster.c: a ROUTER, a PULL and a PUSH, and what comes and goes by them. */
#include "cluster_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum {
    CONTROL_HWM = 4096,
    DATA_HWM = 1024,
    LINGER_MS = 200, /* a SHUTDOWN on its way still arrives */
    PROBE_MS = 200,  /* ZeroMQ tells that a connection was closed a moment before it knows so where frames are sent */
    PROBE_INTERVAL_MS = 5
};

uint64_t cluster_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t cluster_now_ms(void)
{
    return cluster_now_ns() / 1000000u;
}

void cluster_say(const cluster *c, const char *format, ...)
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

/* Where control listens, for those who do not know it. */
static yl_status announce(cluster *c, const uint8_t tag[CLUSTER_TAG_BYTES], yl_error *err)
{
    beacon b = {.frame_version = FRAME_VERSION, .port = c->control.port};
    char host[ENDPOINT_BYTES];
    bool is_ipv6;
    memcpy(b.tag, tag, sizeof b.tag);
    yl_status status = beacon_sender_new(&c->beacons, endpoint_is_local(&c->control), err);
    if (!status && !endpoint_is_wildcard(&c->control)) {
        status = endpoint_resolve(host, &is_ipv6, &c->control, err);
        if (!status) snprintf(b.host, sizeof b.host, "%.*s", BEACON_HOST_BYTES - 1, host);
    }
    return status ? status : beacon_encode(c->beacon, &b, err);
}

static yl_status open_sockets(cluster *c, yl_error *err)
{
    uint8_t tag[CLUSTER_TAG_BYTES];
    yl_status status = cluster_key_tag(tag, c->o.key, err);
    if (!status) status = link_hub_new(&c->hub, c->o.key, FRAME_MAX_BYTES, err);
    c->o.key = NULL; /* the hub has it */
    if (status) return status;
    c->router = link_socket(c->hub, ZMQ_ROUTER, CONTROL_HWM, LINGER_MS);
    c->results = link_socket(c->hub, ZMQ_PULL, DATA_HWM, LINGER_MS);
    if (!c->router || !c->results) return yl_fail(err, YL_EIO, "no ZeroMQ sockets: %s", zmq_strerror(zmq_errno()));
    int mandatory = 1; /* a worker that is gone is an error, not silence */
    zmq_setsockopt(c->router, ZMQ_ROUTER_MANDATORY, &mandatory, sizeof mandatory);
    endpoint results;
    status = link_watch_new(&c->watch, c->hub, c->router, err);
    c->control = c->o.control;
    if (!status) status = c->o.n_dial ? cluster_dial(c, err) : link_bind(c->hub, c->router, &c->o.control, &c->control, err);
    if (!status) status = link_bind(c->hub, c->results, &c->o.results, &results, err);
    /* Whoever reached control reaches us by that host, which need not be what we call ourselves: behind NAT, or a relay. */
    if (!status && results.is_tcp) status = endpoint_set_host(&results, "*", err);
    if (!status) endpoint_format(c->result_endpoint, &results);
    return status || !c->o.announce ? status : announce(c, tag, err);
}

yl_status cluster_new(cluster **out, const cluster_options *options, yl_error *err)
{
    *out = NULL;
    cluster *c = calloc(1, sizeof *c);
    if (!c) return yl_fail(err, YL_ENOMEM, "no memory for the cluster");
    c->o = *options;
    if (getrandom(&c->instance, sizeof c->instance, 0) != (ssize_t)sizeof c->instance)
        c->instance = cluster_now_ms() ^ ((uint64_t)getpid() << 32);
    c->is_gathering = true;
    c->workers = calloc(options->n_places, sizeof *c->workers);
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
    beacon_sender_free(c->beacons);
    link_watch_free(c->watch);
    link_hub_free(c->hub);
    frame_scratch_free(c->scratch);
    frame_bytes_clear(&c->bytes);
    free(c->workers);
    free(c->dialled);
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
    cluster_worker *w = &c->workers[worker];
    if (w->why_lost[0]) return YL_OK;
    yl_status status = frame_encode(&c->bytes, f, err);
    if (status) return status;
    if (zmq_send(c->router, w->route, w->n_route, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0 ||
        zmq_send(c->router, c->bytes.data, c->bytes.n, ZMQ_DONTWAIT) < 0)
        cluster_note_lost(w, zmq_errno() == EHOSTUNREACH ? "its connection was closed" : "it takes no more frames");
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

/* Tells a peer what is wrong with what it sent; if it cannot be told, it is not there. */
static void refuse(cluster *c, zmq_msg_t *route, frame_kind about, const yl_error *cause)
{
    if (frame_encode_error(&c->bytes, 0, about, 0, cause, NULL)) return;
    if (zmq_send(c->router, zmq_msg_data(route), zmq_msg_size(route), ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) return;
    zmq_send(c->router, c->bytes.data, c->bytes.n, ZMQ_DONTWAIT);
}

/* Whoever watches is no worker; if it is gone, or slow to read, it hears nothing. */
static void answer_question(cluster *c, zmq_msg_t *route, const frame *question, const cluster_handlers *handlers)
{
    frame answer = {.kind = FRAME_CHAIN};
    handlers->on_question(handlers->ctx, question, &answer);
    if (frame_encode(&c->bytes, &answer, NULL)) return;
    if (zmq_send(c->router, zmq_msg_data(route), zmq_msg_size(route), ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) return;
    zmq_send(c->router, c->bytes.data, c->bytes.n, ZMQ_DONTWAIT);
}

/* Bad bytes and a bad HELLO are the sender's trouble: it is told, and everybody else goes on. */
static yl_status take_control(cluster *c, zmq_msg_t *route, zmq_msg_t *body, const cluster_handlers *handlers, yl_error *err)
{
    frame f;
    yl_error cause;
    int i = cluster_find_route(c, route);
    yl_status status = frame_decode(&f, c->scratch, zmq_msg_data(body), zmq_msg_size(body), &cause);
    if (status && i >= 0) cluster_note_lost(&c->workers[i], "what it sends cannot be read: %s", cause.msg);
    if (!status && f.kind == FRAME_CHAIN) {
        answer_question(c, route, &f, handlers);
        return YL_OK;
    }
    if (!status && f.kind == FRAME_HELLO) {
        const char *peer = c->control.is_tcp ? zmq_msg_gets(body, "Peer-Address") : NULL;
        status = cluster_take_hello(c, route, &f.hello, peer, &cause);
    } else if (!status && i < 0 && f.kind != FRAME_ERROR) { /* one that was taken out, and is back */
        status = yl_fail(&cause, YL_EPEER, "this coordinator does not know you: say HELLO");
    }
    if (!status) cause.status = YL_OK;
    if (c->o.n_dial) cluster_dial_hear(c, route, body, &f, &cause);
    if (status) {
        refuse(c, route, f.kind, &cause);
        return YL_OK;
    }
    if (i < 0 || f.kind == FRAME_HELLO || c->workers[i].why_lost[0]) return YL_OK;
    cluster_worker *w = &c->workers[i];
    w->heard_ms = cluster_now_ms();
    if (f.kind != FRAME_HEARTBEAT) return handlers->on_frame(handlers->ctx, i, &f, err);
    cluster_take_heartbeat(w, &f.heartbeat, w->heard_ms);
    return YL_OK;
}

/* All messages that wait at the ROUTER: [route, frame]. */
static yl_status drain_control(cluster *c, const cluster_handlers *handlers, bool *idle, yl_error *err)
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
                status = take_control(c, &route, &body, handlers, err);
            while (zmq_msg_more(&body) && zmq_msg_recv(&body, c->router, ZMQ_DONTWAIT) >= 0)
                continue; /* parts that nobody asked for */
        }
        zmq_msg_close(&route);
        zmq_msg_close(&body);
        if (!got) break;
    }
    return status;
}

static yl_status drain_results(cluster *c, const cluster_handlers *handlers, bool *idle, yl_error *err)
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
            if (!frame_decode(&f, c->scratch, zmq_msg_data(&msg), zmq_msg_size(&msg), NULL))
                status = handlers->on_frame(handlers->ctx, -1, &f, err);
        }
        zmq_msg_close(&msg);
        if (!got) break;
    }
    return status;
}

static void watch_connections(cluster *c, uint64_t now)
{
    char complaint[LINK_COMPLAINT_BYTES];
    for (link_event event; (event = link_watch_next(c->watch)) != LINK_NOTHING;) {
        if (event == LINK_DOWN) c->probe_until_ms = now + PROBE_MS;
        if (c->o.n_dial)
            cluster_dial_note(c, event);
        else if (link_watch_complaint(c->watch, event, "coordinator", "worker", now, complaint))
            cluster_say(c, "%s", complaint);
    }
}

yl_status cluster_poll(cluster *c, uint32_t wait_ms, const cluster_handlers *handlers, bool *idle, yl_error *err)
{
    zmq_pollitem_t items[] = {{.socket = c->router, .events = ZMQ_POLLIN},
                              {.socket = c->results, .events = ZMQ_POLLIN},
                              {.socket = link_watch_socket(c->watch), .events = ZMQ_POLLIN},
                              {.socket = link_hub_door(c->hub), .events = ZMQ_POLLIN}};
    int n_items = link_hub_door(c->hub) ? 4 : 3;
    *idle = true;
    uint32_t most = cluster_now_ms() < c->probe_until_ms ? PROBE_INTERVAL_MS : CLUSTER_HEARTBEAT_MS;
    if (wait_ms > most) wait_ms = most;
    if (zmq_poll(items, n_items, (long)wait_ms) < 0 && zmq_errno() != EINTR)
        return yl_fail(err, YL_EIO, "polling %s: %s", c->result_endpoint, zmq_strerror(zmq_errno()));
    link_hub_answer_door(c->hub);
    watch_connections(c, cluster_now_ms()); /* before what came by them */
    yl_status status = drain_results(c, handlers, idle, err);
    if (!status) status = drain_control(c, handlers, idle, err);
    uint64_t now = cluster_now_ms();
    /* If we ourselves did not ask (busy elsewhere, suspended, swapped out), nobody else was silent. */
    if (now - c->polled_ms > 2 * (uint64_t)CLUSTER_HEARTBEAT_MS) {
        for (uint32_t i = 0; i < c->o.n_places; i++) c->workers[i].heard_ms = c->workers[i].progress_ms = now;
    }
    c->polled_ms = now;
    if (!status) status = cluster_send_heartbeats(c, now, err);
    cluster_check_silence(c, now);
    return status ? status : cluster_tell_lost(c, handlers, err);
}
