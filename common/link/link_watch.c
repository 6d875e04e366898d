/* link_watch.c: a socket's monitor: what becomes of its connections. */
#include "link_internal.h"

#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <zmq.h>

enum { MAX_FDS = 256, PEER_BYTES = 64 };

struct link_watch {
    void *monitor;
    char peers[MAX_FDS][PEER_BYTES]; /* of connections that came in, by file descriptor; "" */
    char peer[PEER_BYTES];           /* of who was refused last */
    link_event refusal;              /* of a connection that is about to be closed */
};

yl_status link_watch_new(link_watch **out, link_hub *h, void *socket, yl_error *err)
{
    *out = NULL;
    link_watch *w = calloc(1, sizeof *w);
    if (!w) return yl_fail(err, YL_ENOMEM, "no memory to watch a link");
    char address[64];
    snprintf(address, sizeof address, "inproc://watch-%" PRIu64, h->n_watches++);
    int events = ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED |
                 ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
    w->monitor = zmq_socket(h->zmq, ZMQ_PAIR);
    int linger_ms = 0;
    if (!w->monitor || zmq_setsockopt(w->monitor, ZMQ_LINGER, &linger_ms, sizeof linger_ms) ||
        zmq_socket_monitor(socket, address, events) || zmq_connect(w->monitor, address)) {
        yl_status status = yl_fail(err, YL_EIO, "a link cannot be watched: %s", zmq_strerror(zmq_errno()));
        link_watch_free(w);
        return status;
    }
    *out = w;
    return YL_OK;
}

void link_watch_free(link_watch *w)
{
    if (!w) return;
    if (w->monitor) zmq_close(w->monitor);
    free(w);
}

void *link_watch_socket(const link_watch *w)
{
    return w->monitor;
}

const char *link_watch_peer(const link_watch *w)
{
    return w->peer[0] ? w->peer : "somebody";
}

/* Who is at the other end, while it still is: a connection may be gone by now, and its number another's. It is for the log only. */
static void note_peer(link_watch *w, uint32_t fd)
{
    struct sockaddr_storage address;
    socklen_t n = sizeof address;
    char host[NI_MAXHOST];
    endpoint e = {.is_tcp = true};
    if (fd >= MAX_FDS) return;
    w->peers[fd][0] = 0;
    if (getpeername((int)fd, (struct sockaddr *)&address, &n) ||
        getnameinfo((struct sockaddr *)&address, n, host, sizeof host, NULL, 0, NI_NUMERICHOST) ||
        endpoint_set_host(&e, host, NULL))
        return;
    snprintf(w->peers[fd], PEER_BYTES, "%.*s", PEER_BYTES - 1, e.host);
}

/* Of a monitor's message: two parts, a number and a value, then an address. */
static bool receive(void *monitor, uint16_t *event, uint32_t *value)
{
    uint8_t head[6];
    int more = 0;
    size_t n_more = sizeof more;
    if (zmq_recv(monitor, head, sizeof head, ZMQ_DONTWAIT) != (int)sizeof head) return false;
    memcpy(event, head, sizeof *event);
    memcpy(value, head + sizeof *event, sizeof *value);
    while (!zmq_getsockopt(monitor, ZMQ_RCVMORE, &more, &n_more) && more) {
        char scrap[256];
        if (zmq_recv(monitor, scrap, sizeof scrap, ZMQ_DONTWAIT) < 0) break;
    }
    return true;
}

/* ZeroMQ tells that a handshake failed, then that the connection is closed; only the latter knows whose it was. */
static link_event on_closed(link_watch *w, uint32_t fd)
{
    link_event event = w->refusal ? w->refusal : LINK_DOWN;
    bool is_known = fd < MAX_FDS && w->peers[fd][0];
    snprintf(w->peer, sizeof w->peer, "%s", is_known ? w->peers[fd] : "");
    if (fd < MAX_FDS) w->peers[fd][0] = 0;
    w->refusal = LINK_NOTHING;
    return event;
}

link_event link_watch_next(link_watch *w)
{
    uint16_t event;
    uint32_t value;
    while (receive(w->monitor, &event, &value)) {
        switch (event) {
        case ZMQ_EVENT_ACCEPTED: note_peer(w, value); break;
        case ZMQ_EVENT_HANDSHAKE_SUCCEEDED: return LINK_UP;
        case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH: w->refusal = LINK_REFUSED; break;
        case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
            w->refusal = value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH ? LINK_OTHER_SECURITY : LINK_REFUSED;
            break;
        case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            if (!w->refusal) w->refusal = LINK_REFUSED;
            break;
        case ZMQ_EVENT_DISCONNECTED: return on_closed(w, value);
        default: break;
        }
    }
    return LINK_NOTHING;
}
