#include "native_links.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

enum { N_DATA_PORTS = 100 };

void *native_links_socket(const native_links *l, int type)
{
    /* Closes at once: what matters is sent again or told. */
    return link_socket(l->hub, type, type == ZMQ_DEALER || type == ZMQ_ROUTER ? NATIVE_CONTROL_HWM : NATIVE_DATA_HWM, 0);
}

/* Where to listen when nobody said: where the other stages can reach it, and nobody else. */
static endpoint default_data(const native_links *l, const native_shell_options *o)
{
    endpoint e = {.is_tcp = true, .port = ENDPOINT_DATA_PORT};
    bool is_guarded = l->coordinator.is_tcp && (o->key || o->is_insecure);
    const char *host = is_guarded ? "*" : l->coordinator.is_tcp ? l->coordinator.host : "127.0.0.1";
    snprintf(e.host, sizeof e.host, "%s", host);
    return e;
}

static yl_status listen_for_data(native_links *l, const native_shell_options *o, yl_error *err)
{
    endpoint e = default_data(l, o), bound;
    yl_status status = o->data_endpoint ? endpoint_parse(&e, o->data_endpoint, 0, err) : YL_OK;
    if (!status) status = link_check_guarded(o->key, o->is_insecure, &e, err);
    if (status) return status;
    status = link_bind(l->hub, l->data, &e, &bound, err);
    for (int i = 1; !o->data_endpoint && status && zmq_errno() == EADDRINUSE && i < N_DATA_PORTS; i++) {
        e.port++;
        status = link_bind(l->hub, l->data, &e, &bound, err);
    }
    if (!status && o->advertise) status = endpoint_set_host(&bound, o->advertise, err);
    if (status) return status;
    endpoint_format(l->data_address, &bound);
    char host[HOST_NAME_MAX + 1] = "worker";
    gethostname(host, sizeof host - 1);
    if (o->name)
        snprintf(l->name, sizeof l->name, "%s", o->name);
    else
        snprintf(l->name, sizeof l->name, "%s-%ld", host, bound.is_tcp ? (long)bound.port : (long)getpid());
    return YL_OK;
}

/* Where the coordinator is, or where it calls. */
static yl_status read_address(native_links *l, const native_shell_options *o, yl_error *err)
{
    endpoint *e = &l->coordinator;
    l->is_listening = o->listen != NULL;
    if (o->discover) return endpoint_parse(e, "tcp://127.0.0.1:*", 0, err); /* until one is found */
    yl_status status = endpoint_parse(e, o->listen ? o->listen : o->coordinator, ENDPOINT_CONTROL_PORT, err);
    if (!status && !l->is_listening && e->is_tcp && (endpoint_is_wildcard(e) || !e->port))
        status = yl_fail(err, YL_EINVAL, "--connect %s: name the machine where yllama runs, and its port", o->coordinator);
    if (!status && l->is_listening && !e->is_tcp)
        status = yl_fail(err, YL_EINVAL, "--listen takes tcp://HOST:PORT: '%s' is for this machine", o->listen);
    return status ? status : link_check_guarded(o->key, o->is_insecure, e, err);
}

/* A control socket that is neither bound nor connected yet. */
static yl_status new_control(native_links *l, yl_error *err)
{
    l->control = native_links_socket(l, l->is_listening ? ZMQ_ROUTER : ZMQ_DEALER);
    if (!l->control) return yl_fail(err, YL_EIO, "no ZeroMQ socket: %s", zmq_strerror(zmq_errno()));
    return link_watch_new(&l->watch, l->hub, l->control, err);
}

static yl_status listen_for_calls(native_links *l, yl_error *err)
{
    endpoint bound;
    int mandatory = 1; /* a coordinator that is gone is an error, not silence */
    zmq_setsockopt(l->control, ZMQ_ROUTER_MANDATORY, &mandatory, sizeof mandatory);
    yl_status status = link_bind(l->hub, l->control, &l->coordinator, &bound, err);
    if (status) return status;
    endpoint_format(l->listen_address, &bound);
    snprintf(l->coordinator_address, sizeof l->coordinator_address, "a coordinator that calls %s", l->listen_address);
    return YL_OK;
}

static yl_status listen_for_beacons(native_links *l, const native_shell_options *o, yl_error *err)
{
    snprintf(l->coordinator_address, sizeof l->coordinator_address, "a coordinator on this network");
    yl_status status = cluster_key_tag(l->tag, o->key, err);
    return status ? status : beacon_listener_new(&l->beacons, !o->key && !o->is_insecure, err);
}

yl_status native_links_connect(native_links *l, const endpoint *coordinator, yl_error *err)
{
    if (l->control) zmq_close(l->control);
    link_watch_free(l->watch);
    l->control = NULL;
    l->watch = NULL;
    l->coordinator = *coordinator;
    endpoint_format(l->coordinator_address, coordinator);
    yl_status status = new_control(l, err);
    return status ? status : link_connect(l->hub, l->control, coordinator, err);
}

yl_status native_links_open(native_links *l, const native_shell_options *o, yl_error *err)
{
    *l = (native_links){0};
    yl_status status = read_address(l, o, err);
    if (!status) status = link_hub_new(&l->hub, o->key, FRAME_MAX_BYTES, err);
    if (status) return status;
    l->data = native_links_socket(l, ZMQ_PULL);
    if (!l->data) return yl_fail(err, YL_EIO, "no ZeroMQ socket: %s", zmq_strerror(zmq_errno()));
    status = listen_for_data(l, o, err);
    endpoint coordinator = l->coordinator;
    if (!status && o->coordinator) return native_links_connect(l, &coordinator, err);
    if (!status) status = new_control(l, err);
    if (status) return status;
    return o->discover ? listen_for_beacons(l, o, err) : listen_for_calls(l, err);
}

void native_links_close(native_links *l)
{
    if (l->data) zmq_close(l->data);
    if (l->control) zmq_close(l->control);
    beacon_listener_free(l->beacons);
    link_watch_free(l->watch);
    link_hub_free(l->hub);
    *l = (native_links){0};
}

yl_status native_links_next(const native_links *l, const char *address, endpoint *out, yl_error *err)
{
    yl_status status = endpoint_parse(out, address, 0, err);
    if (!status && endpoint_is_wildcard(out))
        status = endpoint_set_host(out, l->coordinator.is_tcp ? l->coordinator.host : "127.0.0.1", err);
    return status;
}
