/* native_links.h: the sockets that a worker process has from its start to its end, and what it is called by them. */
#ifndef YL_NATIVE_LINKS_H
#define YL_NATIVE_LINKS_H

#include "beacon.h"
#include "link.h"
#include "native_shell.h"

enum { NATIVE_CONTROL_HWM = 4096, NATIVE_DATA_HWM = 1024, NATIVE_MAX_ROUTE = 64 };

typedef struct native_links {
    link_hub *hub;
    void *control;     /* DEALER, to the coordinator; a ROUTER if is_listening */
    link_watch *watch; /* of control */
    void *data;        /* PULL, from the stage before */
    bool is_listening;
    uint8_t caller[NATIVE_MAX_ROUTE]; /* is_listening: the route of the coordinator that called, and its connection */
    size_t n_caller;                  /* 0: nobody */
    int caller_fd;
    char listen_address[ENDPOINT_BYTES];
    beacon_listener *beacons; /* NULL: the coordinator's address is known */
    uint8_t tag[CLUSTER_TAG_BYTES];
    endpoint coordinator;                          /* where it is: connected to, or where the call came from */
    char coordinator_address[ENDPOINT_BYTES + 32]; /* the same, for messages */
    char data_address[ENDPOINT_BYTES];             /* as HELLO tells it */
    char name[FRAME_MAX_NAME + 1];
} native_links;

/* Opens them: data at the address asked for, or else at the first free port from 7621 on, at all interfaces when links are guarded
 * by a key. Errors as link_check_guarded, link_bind, link_connect. Release with native_links_close, also after an error. */
yl_status native_links_open(native_links *l, const native_shell_options *o, yl_error *err);
void native_links_close(native_links *l);

/* Connects control to another coordinator than before: the sockets are new ones. Errors as native_links_open. */
yl_status native_links_connect(native_links *l, const endpoint *coordinator, yl_error *err);

/* A socket like these. NULL: none is left. */
void *native_links_socket(const native_links *l, int type);

/* The next stage's address as this machine reaches it: a host of * is the machine of the coordinator. */
yl_status native_links_next(const native_links *l, const char *address, endpoint *out, yl_error *err);

#endif
