/* cluster_dial.c: workers that listen are called, at an address each.
 *
 * The same ROUTER that else listens connects to them, and sends each an empty message once their hands are shaken
 * (ZMQ_PROBE_ROUTER): that is the call, and HELLO is the answer. From there on nothing differs from a worker that came by itself.
 * With ZMQ_IMMEDIATE a connection that breaks takes its route along, as one that came in does. Addresses are called again until we
 * end, so who comes back at its own stands by.
 *
 * Why nobody comes from an address is known from three sides: what becomes of the connection, what its worker answers, and what we
 * answer to its HELLO. */
#include "cluster_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CALL_AGAIN_MS = 3000 };

static yl_status call(cluster *c, dialled *d, yl_error *err)
{
    endpoint numeric = d->where;
    bool is_ipv6;
    yl_status status = endpoint_resolve(numeric.host, &is_ipv6, &d->where, err);
    if (status) return status;
    endpoint_format(d->numeric, &numeric);
    d->open_ms = cluster_now_ms();
    return link_connect(c->hub, c->router, &numeric, err);
}

yl_status cluster_dial(cluster *c, yl_error *err)
{
    int yes = 1;
    zmq_setsockopt(c->router, ZMQ_IMMEDIATE, &yes, sizeof yes);
    zmq_setsockopt(c->router, ZMQ_PROBE_ROUTER, &yes, sizeof yes);
    c->dialled = calloc(c->o.n_dial, sizeof *c->dialled);
    yl_status status = c->dialled ? YL_OK : yl_fail(err, YL_ENOMEM, "no memory for %u addresses", c->o.n_dial);
    for (uint32_t i = 0; i < c->o.n_dial && !status; i++) {
        c->dialled[i].where = c->o.dial[i];
        endpoint_format(c->dialled[i].address, &c->o.dial[i]);
        status = call(c, &c->dialled[i], err);
    }
    c->o.dial = NULL; /* it was for the call */
    return status;
}

/* Whom that is about, or NULL. */
static dialled *find(cluster *c, const char *peer)
{
    for (uint32_t i = 0; i < c->o.n_dial; i++) {
        if (!strcmp(c->dialled[i].numeric, peer)) return &c->dialled[i];
    }
    return NULL;
}

/* Notes what is wrong, and says it when it is news. */
static void complain(const cluster *c, dialled *d, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void complain(const cluster *c, dialled *d, const char *format, ...)
{
    char why[sizeof d->why];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    if (!strcmp(why, d->why)) return;
    memcpy(d->why, why, sizeof why);
    cluster_say(c, "%s", why);
}

/* Why hands were not shaken. */
static void complain_of_handshake(const cluster *c, dialled *d)
{
    if (link_hub_door(c->hub))
        complain(c, d, "the worker at %s does not let this coordinator in: it has another key or none, or is no yllama-worker",
                 d->address);
    else
        complain(c, d, "what listens at %s wants its cluster's key, or is no yllama-worker that was started with --listen",
                 d->address);
}

void cluster_dial_note(cluster *c, link_event event)
{
    dialled *d = find(c, link_watch_peer(c->watch));
    if (!d) return;
    bool was_up = d->is_up;
    d->is_up = event == LINK_UP;
    d->is_unanswered = event == LINK_UNANSWERED;
    d->n_refusals = event == LINK_REFUSED ? d->n_refusals + 1 : 0;
    if (event == LINK_UP)
        d->why[0] = 0;
    else if (event == LINK_UNANSWERED)
        complain(
            c, d,
            "nobody listens at %s, or no way leads there: is yllama-worker running on that machine, with --listen and this port?",
            d->address);
    else if (event == LINK_OTHER_SECURITY && link_hub_door(c->hub))
        complain(c, d, "the worker at %s was started without a key, this coordinator with one", d->address);
    else if (event == LINK_OTHER_SECURITY)
        complain(c, d, "the worker at %s wants its cluster's key: give it by --key-file, --key or $YLLAMA_KEY", d->address);
    else if (!was_up && d->n_refusals != 1) /* one may be a worker that ends just now, or a matter of keys that is told yet */
        complain_of_handshake(c, d);
}

void cluster_dial_hear(cluster *c, zmq_msg_t *route, zmq_msg_t *body, const frame *f, const yl_error *cause)
{
    dialled *d = find(c, link_watch_peer_of(c->watch, zmq_msg_get(body, ZMQ_SRCFD)));
    if (!d || (!cause->status && f->kind != FRAME_ERROR && f->kind != FRAME_HELLO)) return;
    if (!cause->status && f->kind == FRAME_ERROR && cluster_find_route(c, route) >= 0) return; /* about its work: not ours */
    memcpy(d->route, zmq_msg_data(route), zmq_msg_size(route));
    d->n_route = zmq_msg_size(route);
    d->is_busy = !cause->status && f->kind == FRAME_ERROR;
    if (cause->status)
        complain(c, d, "what %s says is refused: %s", d->address, cause->msg);
    else if (d->is_busy)
        complain(c, d, "%s refuses: %.*s", d->address, (int)f->error.message.n_bytes, (const char *)f->error.message.data);
    else
        d->why[0] = 0;
}

/* ZeroMQ does not try again where somebody else listens, nor soon where nothing answers; and a name may stand for another machine
 * by now. */
static void call_again(cluster *c, dialled *d)
{
    yl_error err;
    zmq_disconnect(c->router, d->numeric);
    d->open_ms = cluster_now_ms();
    if (call(c, d, &err)) complain(c, d, "%s", err.msg);
}

void cluster_dial_again(cluster *c, uint64_t now)
{
    frame f = {.kind = FRAME_HEARTBEAT, .heartbeat = {.instance = c->instance}};
    for (uint32_t i = 0; i < c->o.n_dial; i++) {
        dialled *d = &c->dialled[i];
        bool is_open = link_watch_is_open(c->watch, d->numeric);
        if (is_open && d->is_unanswered) d->why[0] = 0;
        if (is_open)
            d->open_ms = now;
        else if (now - d->open_ms > CALL_AGAIN_MS)
            call_again(c, d);
        if (!d->is_busy || frame_encode(&c->bytes, &f, NULL)) continue;
        d->is_busy = zmq_send(c->router, d->route, d->n_route, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0 &&
                     zmq_send(c->router, c->bytes.data, c->bytes.n, ZMQ_DONTWAIT) >= 0;
    }
}

static bool has_worker(const cluster *c, const dialled *d)
{
    for (uint32_t i = 0; i < c->o.n_places; i++) {
        const cluster_worker *w = &c->workers[i];
        if (d->n_route && w->n_route == d->n_route && !memcmp(w->route, d->route, d->n_route)) return true;
    }
    return false;
}

static void explain(cluster *c, dialled *d)
{
    if (d->why[0]) return; /* told */
    if (d->n_refusals)
        complain_of_handshake(c, d);
    else if (link_watch_is_open(c->watch, d->numeric))
        complain(c, d, "what listens at %s is no yllama-worker that was started with --listen, or hangs", d->address);
    else
        complain(c, d, "%s does not answer: is the address right, the machine on, and the port open in its firewall?", d->address);
}

yl_status cluster_check_dialled(cluster *c, yl_error *err)
{
    uint32_t n = 0;
    const dialled *missing = NULL;
    for (uint32_t i = 0; i < c->o.n_dial; i++) {
        if (has_worker(c, &c->dialled[i])) continue;
        missing = &c->dialled[i];
        explain(c, &c->dialled[i]);
        n++;
    }
    if (!missing) return YL_OK;
    if (n == 1) return yl_fail(err, YL_EPEER, "%s", missing->why);
    return yl_fail(err, YL_EPEER, "%u of %u workers that were called did not come, for the reasons above", n, c->o.n_dial);
}
