/* native_caller.c: a worker that listens: who calls, and that one is served at a time.
 *
 * Control is a ROUTER then. Whoever says something there first, were it an empty message, has called, and gets HELLO; from there on
 * it is a coordinator like one that the worker connected to, until its connection closes or it is silent for too long. Who calls
 * meanwhile is told so in one sentence. A coordinator that calls by a second connection has lost the first, which it knows before
 * we do: it is known by its instance, and that the first is silent. */
#include "native_shell_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

enum { LOST_CALL_MS = 1500 }; /* heartbeats come more often */

static void drop_rest(void *socket)
{
    uint8_t scrap[64];
    int more = 0;
    size_t n = sizeof more;
    while (!zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &n) && more && zmq_recv(socket, scrap, sizeof scrap, ZMQ_DONTWAIT) >= 0)
        continue;
}

bool shell_send_to_caller(shell *s, letter *l)
{
    const native_links *k = &s->links;
    if (!k->n_caller) { /* it has left */
        letter_free(l);
        return true;
    }
    if (zmq_send(k->control, k->caller, k->n_caller, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0) return letter_send(l, k->control);
    if (zmq_errno() != EHOSTUNREACH) return false;
    shell_hang_up(s);
    letter_free(l);
    return true;
}

static void tell_busy(shell *s, const uint8_t *route, size_t n_route)
{
    frame_bytes bytes = {0};
    yl_error cause;
    yl_fail(&cause, YL_ELIMIT, "worker '%s' serves another coordinator, at %s", s->links.name, s->links.coordinator_address);
    if (!frame_encode_error(&bytes, 0, 0, 0, &cause, NULL) &&
        zmq_send(s->links.control, route, n_route, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0)
        zmq_send(s->links.control, bytes.data, bytes.n, ZMQ_DONTWAIT);
    frame_bytes_clear(&bytes);
}

static bool is_caller_again(const shell *s, const worker_message *m)
{
    frame f;
    return shell_now_ms() - s->heard_ms > LOST_CALL_MS && frame_peek(m->data, m->n_bytes, &f.epoch) == FRAME_HEARTBEAT &&
           !frame_decode(&f, s->scratch, m->data, m->n_bytes, NULL) && f.heartbeat.instance == s->coordinator_instance;
}

/* Somebody who is not the caller said something. */
static void take_call(shell *s, const uint8_t *route, size_t n_route, letter *l)
{
    native_links *k = &s->links;
    worker_message m = letter_message(l);
    uint64_t epoch;
    if (k->n_caller && !is_caller_again(s, &m)) {
        if (frame_peek(m.data, m.n_bytes, &epoch) != FRAME_ERROR) tell_busy(s, route, n_route);
        return;
    }
    shell_hang_up(s);
    const char *host = zmq_msg_gets(&l->msg, "Peer-Address");
    if (!host || endpoint_set_host(&k->coordinator, host, NULL)) return;
    memcpy(k->caller, route, n_route);
    k->n_caller = n_route;
    k->caller_fd = zmq_msg_get(&l->msg, ZMQ_SRCFD);
    snprintf(k->coordinator_address, sizeof k->coordinator_address, "%s", k->coordinator.host);
    s->is_connected = true;
    s->heard_ms = shell_now_ms();
    s->hello_ms = 0; /* HELLO is due */
}

letter *shell_receive_call(shell *s)
{
    native_links *k = &s->links;
    uint8_t route[NATIVE_MAX_ROUTE];
    for (int n; (n = zmq_recv(k->control, route, sizeof route, ZMQ_DONTWAIT)) >= 0;) {
        letter *l = letter_receive(s->letters, k->control);
        drop_rest(k->control);
        if (!l || (size_t)n > sizeof route) {
            letter_free(l);
            continue;
        }
        bool is_caller = k->n_caller == (size_t)n && !memcmp(k->caller, route, (size_t)n);
        if (is_caller && zmq_msg_size(&l->msg)) return l;
        if (!is_caller) take_call(s, route, (size_t)n, l);
        letter_free(l);
    }
    return NULL;
}

void shell_hang_up(shell *s)
{
    native_links *k = &s->links;
    if (!k->is_listening) return;
    k->n_caller = 0;
    s->is_connected = s->has_coordinator = false;
    s->coordinator_instance = s->refused_ms = 0;
    snprintf(k->coordinator_address, sizeof k->coordinator_address, "a coordinator that calls %s", k->listen_address);
}

void shell_watch_callers(shell *s)
{
    native_links *k = &s->links;
    char complaint[LINK_COMPLAINT_BYTES];
    for (link_event event; (event = link_watch_next(k->watch)) != LINK_NOTHING;) {
        if (link_watch_complaint(k->watch, event, "worker", "coordinator", shell_now_ms(), complaint))
            shell_say(s, 0, "%s", complaint);
        if (event == LINK_DOWN && k->n_caller && link_watch_fd(k->watch) == k->caller_fd) shell_lose_coordinator(s);
    }
}
