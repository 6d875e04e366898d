/* cluster_members.c: who is at the other end: places for workers, who may take one, and who has lost it.
 *
 * A worker that is lost is noted where that is seen, and taken out at the end of a poll, in one place. If it was not dead after all
 * it is a stranger then, and says HELLO again like any other: what it still sends belongs to an epoch that is over. */
#include "cluster_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { STANDSTILL_FACTOR = 10 };

static const uint64_t CLUSTER_MAX_MEMORY = UINT64_C(1) << 47; /* what a process can address */
static const double GIB = 1024.0 * 1024.0 * 1024.0;

uint32_t cluster_n_places(const cluster *c)
{
    return c->o.n_places;
}

const cluster_worker *cluster_worker_at(const cluster *c, uint32_t i)
{
    return c->workers[i].n_route ? &c->workers[i] : NULL;
}

uint32_t cluster_n_here(const cluster *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->o.n_places; i++) n += c->workers[i].n_route > 0;
    return n;
}

int cluster_find(const cluster *c, const char *name)
{
    for (uint32_t i = 0; i < c->o.n_places; i++) {
        if (c->workers[i].n_route && !strcmp(c->workers[i].name, name)) return (int)i;
    }
    return -1;
}

void cluster_drop(cluster *c, uint32_t worker)
{
    c->workers[worker] = (cluster_worker){0};
}

int cluster_find_route(const cluster *c, zmq_msg_t *route)
{
    size_t n = zmq_msg_size(route);
    const void *data = zmq_msg_data(route);
    for (uint32_t i = 0; n && i < c->o.n_places; i++) {
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

void cluster_note_lost(cluster_worker *w, const char *format, ...)
{
    if (w->why_lost[0]) return;
    va_list args;
    va_start(args, format);
    vsnprintf(w->why_lost, sizeof w->why_lost, format, args);
    va_end(args);
}

yl_status cluster_tell_lost(cluster *c, const cluster_handlers *handlers, yl_error *err)
{
    yl_status status = YL_OK;
    for (uint32_t i = 0; i < c->o.n_places && !status; i++) {
        if (!c->workers[i].why_lost[0]) continue;
        char why[CLUSTER_WHY_BYTES];
        memcpy(why, c->workers[i].why_lost, sizeof why);
        status = handlers->on_lost(handlers->ctx, i, why, err);
        cluster_drop(c, i);
    }
    return status;
}

/* Is this HELLO of a worker that we know by another process or connection? Then that one is over: it is lost, and whoever says
 * HELLO finds its place free the next time. But two that live cannot share a name. */
static yl_status replace(cluster *c, uint32_t i, uint64_t instance, yl_error *err)
{
    cluster_worker *w = &c->workers[i];
    bool is_anew = w->instance != instance;
    if (is_anew && !w->why_lost[0] && cluster_now_ms() - w->heard_ms <= 3 * CLUSTER_HEARTBEAT_MS)
        return yl_fail(err, YL_EPEER, "two workers are named '%s': give each a --name of its own", w->name);
    cluster_note_lost(w, is_anew ? "it was started anew" : "its connection was closed");
    return YL_OK;
}

static int free_place(const cluster *c)
{
    for (uint32_t i = 0; i < c->o.n_places; i++) {
        if (!c->workers[i].n_route) return (int)i;
    }
    return -1;
}

/* Sends a HEARTBEAT. One that finds all others answered is timed: the next answer is its. */
static yl_status ask(cluster *c, uint32_t i, yl_error *err)
{
    cluster_worker *w = &c->workers[i];
    frame f = {.kind = FRAME_HEARTBEAT, .heartbeat = {.instance = c->instance}};
    if (!w->n_owed++) w->asked_us = cluster_now_ns() / 1000;
    return cluster_send(c, i, &f, err);
}

/* The quickest lately: this process was at its sockets then, and not at work. */
static void note_answer(cluster_worker *w)
{
    uint64_t us = cluster_now_ns() / 1000 - w->asked_us, known = w->rtt_us + w->rtt_us / 8 + 1;
    if (w->asked_us) w->rtt_us = w->rtt_us && known < us ? known : us;
    w->asked_us = 0;
    if (w->n_owed) w->n_owed--;
}

static void say_joined(const cluster *c, const cluster_worker *w, const char *host)
{
    char place[64] = "it stands by";
    if (c->is_gathering) snprintf(place, sizeof place, "%u of %u workers are here", cluster_n_here(c), c->o.n_wanted);
    cluster_say(c, "worker '%s' has joined: %u threads (%s), %.1f GiB of memory, at %s; %s", w->name, w->n_threads, w->isa,
                (double)w->memory_bytes / GIB, host, place);
}

static yl_status admit(cluster *c, const cluster_worker *w, const char *host, yl_error *err)
{
    int i = cluster_find(c, w->name);
    bool is_known = i >= 0;
    if (is_known && (c->workers[i].n_route != w->n_route || memcmp(c->workers[i].route, w->route, w->n_route) != 0))
        return replace(c, (uint32_t)i, w->instance, err);
    if (!is_known) i = free_place(c);
    if (i < 0)
        return yl_fail(err, YL_ELIMIT, "this coordinator has %u workers, all that it can have: '%s' is not needed now",
                       c->o.n_places, w->name);
    if (!is_known) c->workers[i] = *w;
    c->workers[i].heard_ms = w->heard_ms;
    yl_status status = ask(c, (uint32_t)i, err);
    if (!status && !is_known) say_joined(c, w, host);
    return status;
}

yl_status cluster_take_hello(cluster *c, zmq_msg_t *route, const frame_hello *h, const char *peer, yl_error *err)
{
    uint64_t now = cluster_now_ms();
    cluster_worker w = {.instance = h->instance,
                        .memory_bytes = h->memory_bytes,
                        .bytes_per_s = h->bytes_per_s,
                        .macs_per_s = h->macs_per_s,
                        .n_threads = h->n_threads,
                        .heard_ms = now,
                        .progress_ms = now,
                        .busy_ms = now,
                        .n_route = zmq_msg_size(route)};
    copy_text(w.name, sizeof w.name, h->name);
    copy_text(w.isa, sizeof w.isa, h->isa);
    memcpy(w.route, zmq_msg_data(route), w.n_route);
    if (h->model_id.n_bytes) memcpy(w.model_id, h->model_id.data, sizeof w.model_id);
    if (h->memory_bytes > CLUSTER_MAX_MEMORY)
        return yl_fail(err, YL_EINVAL, "worker '%s' says that it may use %" PRIu64 " bytes of memory: that cannot be (--memory)",
                       w.name, h->memory_bytes);
    endpoint from = {.is_tcp = peer != NULL};
    yl_status status = peer ? endpoint_set_host(&from, peer, err) : YL_OK;
    if (!status) status = locate(w.data_endpoint, h, w.name, &from, err);
    w.is_near = endpoint_is_local(&from);
    return status ? status : admit(c, &w, from.is_tcp ? from.host : "this machine", err);
}

void cluster_take_heartbeat(cluster_worker *w, const frame_heartbeat *h, uint64_t now)
{
    bool has_moved = h->steps != w->steps;
    if (has_moved || !h->pending) w->progress_ms = now;
    if (has_moved || h->pending) w->busy_ms = now;
    w->steps = h->steps;
    w->loaded = h->loaded;
    w->pending = h->pending;
    note_answer(w);
}

yl_status cluster_send_heartbeats(cluster *c, uint64_t now, yl_error *err)
{
    bool is_due = now - c->heartbeat_ms >= CLUSTER_HEARTBEAT_MS;
    if (!is_due && now >= c->probe_until_ms) return YL_OK;
    if (is_due) c->heartbeat_ms = now;
    if (is_due) cluster_dial_again(c, now);
    if (is_due && c->beacons) beacon_send(c->beacons, c->beacon);
    yl_status status = YL_OK;
    for (uint32_t i = 0; i < c->o.n_places && !status; i++) {
        if (c->workers[i].n_route) status = ask(c, i, err);
    }
    return status;
}

void cluster_check_silence(cluster *c, uint64_t now)
{
    for (uint32_t i = 0; i < c->o.n_places; i++) {
        cluster_worker *w = &c->workers[i];
        if (!w->n_route) continue;
        if (now - w->heard_ms > c->o.timeout_ms)
            cluster_note_lost(w, "it has been silent for %.1f s; --timeout sets the limit", (double)(now - w->heard_ms) / 1e3);
        if (now - w->progress_ms > (uint64_t)STANDSTILL_FACTOR * c->o.timeout_ms)
            cluster_note_lost(w, "it answers, but has computed nothing for %.1f s", (double)(now - w->progress_ms) / 1e3);
    }
}
