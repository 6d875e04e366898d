/* cluster_internal.h: the state of a cluster, shared by cluster.c (sockets), cluster_members.c (who is at the other end) and
 * cluster_dial.c (workers that are called). */
#ifndef YL_CLUSTER_INTERNAL_H
#define YL_CLUSTER_INTERNAL_H

#include <zmq.h>

#include "beacon.h"
#include "cluster.h"

/* An address where a worker is called. */
typedef struct dialled {
    endpoint where;
    char address[ENDPOINT_BYTES], numeric[ENDPOINT_BYTES]; /* the same as text; and with the host looked up */
    uint64_t open_ms;                                      /* when there was a connection last, or it was called */
    bool is_up;                                            /* shaken hands */
    bool is_unanswered;                                    /* nobody listened there when it was tried last */
    uint32_t n_refusals;                                   /* of our handshake, in a row */
    uint8_t route[CLUSTER_MAX_ROUTE];                      /* who said something there last */
    size_t n_route;
    bool is_busy;                 /* it said that it serves another coordinator: it is asked again */
    char why[YL_ERROR_MSG_BYTES]; /* what is wrong there; "": nothing that we know of */
} dialled;

struct cluster {
    cluster_options o;
    link_hub *hub;
    link_watch *watch; /* of the router: who is refused, and that somebody left */
    void *router, *results, *first;
    endpoint control;
    char result_endpoint[ENDPOINT_BYTES];
    dialled *dialled;       /* [o.n_dial] */
    beacon_sender *beacons; /* NULL: control is not announced */
    uint8_t beacon[BEACON_BYTES];
    uint64_t instance, heartbeat_ms, polled_ms;
    uint64_t probe_until_ms; /* somebody left a moment ago: heartbeats find out who */
    bool is_gathering;
    cluster_worker *workers; /* [o.n_places]; n_route 0: nobody */
    frame_scratch *scratch;
    frame_bytes bytes; /* of the frame being sent */
};

/* cluster.c: a line for who wants to know. */
void cluster_say(const cluster *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* cluster_dial.c: begins to call all addresses. */
yl_status cluster_dial(cluster *c, yl_error *err);
/* Something happened to the connection to one of them. */
void cluster_dial_note(cluster *c, link_event event);
/* Somebody sent a frame; cause->status is YL_OK when it was taken. */
void cluster_dial_hear(cluster *c, zmq_msg_t *route, zmq_msg_t *body, const frame *f, const yl_error *cause);
/* Once in a while: calls again those who are not there, and asks those who were busy. */
void cluster_dial_again(cluster *c, uint64_t now);

/* cluster_members.c: place of the worker with this route, or -1. */
int cluster_find_route(const cluster *c, zmq_msg_t *route);
/* Notes that a worker is lost, for cluster_tell_lost; the first reason counts. */
void cluster_note_lost(cluster_worker *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
yl_status cluster_tell_lost(cluster *c, const cluster_handlers *handlers, yl_error *err);
/* A worker introduces itself: a new one, or one that we know (it repeats HELLO until it hears us). peer: its address; NULL for ipc.
 * A failure is for it, not for us. */
yl_status cluster_take_hello(cluster *c, zmq_msg_t *route, const frame_hello *h, const char *peer, yl_error *err);
void cluster_take_heartbeat(cluster_worker *w, const frame_heartbeat *h, uint64_t now);
/* When they are due, or somebody left. */
yl_status cluster_send_heartbeats(cluster *c, uint64_t now, yl_error *err);
void cluster_check_silence(cluster *c, uint64_t now);

#endif
