/* link.c: contexts, options of sockets, and the door: ZeroMQ's authentication protocol (RFC 27), answered in this process. */
#include "link.h"

#include "link_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

static const char DOMAIN[] = "yllama";

static yl_status zmq_failed(yl_error *err, const char *what, const char *address)
{
    int cause = zmq_errno();
    const char *hint = cause == EADDRINUSE      ? " (another program listens there: stop it, or choose another address)"
                       : cause == EADDRNOTAVAIL ? " (no network interface of this machine has that address)"
                                                : "";
    return yl_fail(err, YL_EIO, "cannot %s %s: %s%s", what, address, zmq_strerror(cause), hint);
}

static yl_status open_door(link_hub *h, yl_error *err)
{
    h->door = zmq_socket(h->zmq, ZMQ_REP);
    if (!h->door || zmq_bind(h->door, "inproc://zeromq.zap.01")) return zmq_failed(err, "guard", "links");
    uint8_t key[32];
    if (!zmq_z85_decode(key, h->key.connecting_public)) return zmq_failed(err, "read", "the key");
    memcpy(h->known, key, sizeof key);
    return YL_OK;
}

yl_status link_hub_new(link_hub **out, const cluster_key *key, int64_t max_bytes, yl_error *err)
{
    *out = NULL;
    link_hub *h = calloc(1, sizeof *h);
    if (!h) return yl_fail(err, YL_ENOMEM, "no memory for links");
    h->max_bytes = max_bytes;
    h->zmq = zmq_ctx_new();
    yl_status status = h->zmq ? YL_OK : yl_fail(err, YL_EIO, "no ZeroMQ context: %s", zmq_strerror(zmq_errno()));
    if (!status && key) {
        h->has_key = true;
        h->key = *key;
        status = open_door(h, err);
    }
    if (status) {
        link_hub_free(h);
        return status;
    }
    *out = h;
    return YL_OK;
}

void link_hub_free(link_hub *h)
{
    if (!h) return;
    if (h->door) zmq_close(h->door);
    if (h->zmq) zmq_ctx_term(h->zmq);
    cluster_key_wipe(&h->key, sizeof h->key);
    free(h);
}

yl_status link_check_guarded(const cluster_key *key, bool is_insecure, const endpoint *e, yl_error *err)
{
    if (key || is_insecure || endpoint_is_local(e)) return YL_OK;
    char address[ENDPOINT_BYTES];
    endpoint_format(address, e);
    return yl_fail(err, YL_EINVAL,
                   "%s is not this machine alone, so links need a key: `yllama keygen` makes one, and all get it by --key-file or "
                   "--key (--insecure goes without)",
                   address);
}

void *link_socket(const link_hub *h, int type, int hwm, int linger_ms)
{
    void *socket = zmq_socket(h->zmq, type);
    if (!socket) return NULL;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &h->max_bytes, sizeof h->max_bytes);
    zmq_setsockopt(socket, ZMQ_SNDHWM, &hwm, sizeof hwm);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &hwm, sizeof hwm);
    return socket;
}

/* Who listens proves that it knows the key, and asks at the door who comes. */
static bool secure_listening(const link_hub *h, void *socket)
{
    int yes = 1;
    return !zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &yes, sizeof yes) &&
           !zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, h->key.listening_secret, CURVE_KEY_BYTES) &&
           !zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, DOMAIN, sizeof DOMAIN - 1);
}

static bool secure_connecting(const link_hub *h, void *socket)
{
    return !zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, h->key.listening_public, CURVE_KEY_BYTES) &&
           !zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, h->key.connecting_public, CURVE_KEY_BYTES) &&
           !zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, h->key.connecting_secret, CURVE_KEY_BYTES);
}

/* A machine that vanished, or a cable that was pulled, closes no connection: the system finds out within half a minute. */
static void set_tcp(void *socket, bool is_ipv6)
{
    const struct {
        int option, value;
    } OPTIONS[] = {{ZMQ_IPV6, is_ipv6},          {ZMQ_TCP_KEEPALIVE, 1},     {ZMQ_TCP_KEEPALIVE_IDLE, 10},
                   {ZMQ_TCP_KEEPALIVE_INTVL, 5}, {ZMQ_TCP_KEEPALIVE_CNT, 4}, {ZMQ_TCP_MAXRT, 30000}};
    for (size_t i = 0; i < sizeof OPTIONS / sizeof *OPTIONS; i++)
        zmq_setsockopt(socket, OPTIONS[i].option, &OPTIONS[i].value, sizeof OPTIONS[i].value);
}

yl_status link_bind(const link_hub *h, void *socket, const endpoint *e, endpoint *bound, yl_error *err)
{
    char address[ENDPOINT_BYTES], last[2 * ENDPOINT_BYTES];
    endpoint numeric = *e;
    bool is_ipv6 = true; /* "*" is both */
    if (e->is_tcp && strcmp(e->host, "*")) {
        yl_status status = endpoint_resolve(numeric.host, &is_ipv6, e, err);
        if (status) return status;
    }
    if (e->is_tcp) set_tcp(socket, is_ipv6);
    endpoint_format(address, &numeric);
    if (e->is_tcp && h->has_key && !secure_listening(h, socket)) return zmq_failed(err, "encrypt", address);
    size_t n = sizeof last;
    if (zmq_bind(socket, address) || zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, last, &n))
        return zmq_failed(err, "listen at", address);
    *bound = *e;
    endpoint with_port;
    if (!endpoint_parse(&with_port, last, 0, NULL)) bound->port = with_port.port;
    return YL_OK;
}

yl_status link_connect(const link_hub *h, void *socket, const endpoint *e, yl_error *err)
{
    char address[ENDPOINT_BYTES], unused[ENDPOINT_BYTES];
    endpoint_format(address, e);
    if (e->is_tcp) {
        bool is_ipv6;
        yl_status status = endpoint_resolve(unused, &is_ipv6, e, err);
        if (status) return status;
        set_tcp(socket, is_ipv6);
        if (h->has_key && !secure_connecting(h, socket)) return zmq_failed(err, "encrypt", address);
    }
    return zmq_connect(socket, address) ? zmq_failed(err, "connect to", address) : YL_OK;
}

/* ---- the door ---- */

void *link_hub_door(const link_hub *h)
{
    return h->door;
}

enum { N_PARTS = 7, PART_VERSION = 0, PART_ID = 1, PART_MECHANISM = 5, PART_KEY = 6 };

typedef struct request {
    struct {
        uint8_t data[256];
        size_t n;
    } parts[N_PARTS];
    size_t n_parts;
} request;

static bool receive(request *r, void *door)
{
    *r = (request){0};
    for (int more = 1; more; r->n_parts++) {
        uint8_t scrap[256];
        uint8_t *to = r->n_parts < N_PARTS ? r->parts[r->n_parts].data : scrap;
        int n = zmq_recv(door, to, sizeof scrap, ZMQ_DONTWAIT);
        if (n < 0) return false;
        if (r->n_parts < N_PARTS) r->parts[r->n_parts].n = (size_t)n;
        size_t n_more = sizeof more;
        if (zmq_getsockopt(door, ZMQ_RCVMORE, &more, &n_more)) return false;
    }
    return true;
}

static bool part_is(const request *r, size_t i, const void *data, size_t n)
{
    return r->parts[i].n == n && !memcmp(r->parts[i].data, data, n);
}

void link_hub_answer_door(link_hub *h)
{
    request r;
    while (h->door && receive(&r, h->door)) {
        bool is_known = r.n_parts == N_PARTS && part_is(&r, PART_VERSION, "1.0", 3) && part_is(&r, PART_MECHANISM, "CURVE", 5) &&
                        part_is(&r, PART_KEY, h->known, sizeof h->known);
        zmq_send(h->door, "1.0", 3, ZMQ_SNDMORE | ZMQ_DONTWAIT);
        zmq_send(h->door, r.parts[PART_ID].data, r.parts[PART_ID].n, ZMQ_SNDMORE | ZMQ_DONTWAIT);
        zmq_send(h->door, is_known ? "200" : "400", 3, ZMQ_SNDMORE | ZMQ_DONTWAIT);
        zmq_send(h->door, "", 0, ZMQ_SNDMORE | ZMQ_DONTWAIT);
        zmq_send(h->door, "", 0, ZMQ_SNDMORE | ZMQ_DONTWAIT);
        zmq_send(h->door, "", 0, ZMQ_DONTWAIT);
    }
}
