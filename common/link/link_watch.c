/* link_watch.c: a socket's monitor: what becomes of its connections. */
#include "link_internal.h"

#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <zmq.h>

enum { MAX_FDS = 1024, REFUSED_MS = 60000 };

struct link_watch {
    void *monitor;
    bool has_key;
    char peers[MAX_FDS][ENDPOINT_BYTES]; /* of connections, by file descriptor; "" */
    char peer[ENDPOINT_BYTES];           /* of the last event */
    int fd;                              /* of the connection that was closed last */
    link_event refusal;                  /* of a connection that is about to be closed */
    char complained[ENDPOINT_BYTES];     /* of whom last, and when */
    uint64_t complained_ms;
};

yl_status link_watch_new(link_watch **out, link_hub *h, void *socket, yl_error *err)
{
    *out = NULL;
    link_watch *w = calloc(1, sizeof *w);
    if (!w) return yl_fail(err, YL_ENOMEM, "no memory to watch a link");
    char address[64];
    snprintf(address, sizeof address, "inproc://watch-%" PRIu64, h->n_watches++);
    w->has_key = h->has_key;
    int events = ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_CONNECTED | ZMQ_EVENT_CLOSED | ZMQ_EVENT_DISCONNECTED |
                 ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                 ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
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

int link_watch_fd(const link_watch *w)
{
    return w->fd;
}

const char *link_watch_peer_of(const link_watch *w, int fd)
{
    return fd >= 0 && fd < MAX_FDS ? w->peers[fd] : "";
}

bool link_watch_is_open(const link_watch *w, const char *address)
{
    for (int fd = 0; fd < MAX_FDS; fd++) {
        if (!strcmp(w->peers[fd], address)) return true;
    }
    return false;
}

bool link_watch_complaint(link_watch *w, link_event event, const char *self, const char *other, uint64_t now_ms,
                          char out[LINK_COMPLAINT_BYTES])
{
    const char *peer = link_watch_peer(w);
    if (event != LINK_REFUSED && event != LINK_OTHER_SECURITY) return false;
    if (!strcmp(peer, w->complained) && now_ms - w->complained_ms < REFUSED_MS) return false;
    snprintf(w->complained, sizeof w->complained, "%s", peer);
    w->complained_ms = now_ms;
    if (w->has_key)
        snprintf(out, LINK_COMPLAINT_BYTES, "%s was refused: it does not know this cluster's key", peer);
    else if (event == LINK_OTHER_SECURITY)
        snprintf(out, LINK_COMPLAINT_BYTES, "%s was refused: it comes with a key, and this %s was started without one", peer, self);
    else
        snprintf(out, LINK_COMPLAINT_BYTES, "%s was refused: it comes with a key, or does not speak as a %s does", peer, other);
    return true;
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
    memcpy(w->peers[fd], e.host, sizeof e.host);
}

/* Of a monitor's message: two parts, a number and a value, then an address (ours, of a socket that listens). */
static bool receive(void *monitor, uint16_t *event, uint32_t *value, char address[ENDPOINT_BYTES])
{
    uint8_t head[6];
    int more = 0;
    size_t n_more = sizeof more;
    address[0] = 0;
    if (zmq_recv(monitor, head, sizeof head, ZMQ_DONTWAIT) != (int)sizeof head) return false;
    memcpy(event, head, sizeof *event);
    memcpy(value, head + sizeof *event, sizeof *value);
    while (!zmq_getsockopt(monitor, ZMQ_RCVMORE, &more, &n_more) && more) {
        int n = zmq_recv(monitor, address, ENDPOINT_BYTES - 1, ZMQ_DONTWAIT);
        if (n < 0) break;
        address[n < ENDPOINT_BYTES ? n : ENDPOINT_BYTES - 1] = 0;
    }
    return true;
}

/* ZeroMQ tells that a handshake failed, then that the connection is closed; only the latter knows whose it was. */
static link_event on_closed(link_watch *w, uint32_t fd)
{
    link_event event = w->refusal ? w->refusal : LINK_DOWN;
    w->fd = (int)fd;
    snprintf(w->peer, sizeof w->peer, "%s", link_watch_peer_of(w, w->fd));
    if (fd < MAX_FDS) w->peers[fd][0] = 0;
    w->refusal = LINK_NOTHING;
    return event;
}

link_event link_watch_next(link_watch *w)
{
    uint16_t event;
    uint32_t value;
    char address[ENDPOINT_BYTES];
    while (receive(w->monitor, &event, &value, address)) {
        snprintf(w->peer, sizeof w->peer, "%s", address);
        switch (event) {
        case ZMQ_EVENT_ACCEPTED: note_peer(w, value); break;
        case ZMQ_EVENT_CONNECTED:
            if (value < MAX_FDS) memcpy(w->peers[value], address, sizeof address);
            break;
        case ZMQ_EVENT_CLOSED: return LINK_UNANSWERED;
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
