/* link.h: the sockets between coordinator and workers, encrypted where a key is given.
 *
 * A hub is a ZeroMQ context and the cluster's key. A socket that listens at tcp lets in who proves to know the key (CurveZMQ); one
 * that connects does so only to somebody who knows it. ipc stays as it is: the directory's mode guards it. Who may enter is asked
 * of the hub while a connection is made, so whoever polls sockets polls link_hub_door, too. One thread. */
#ifndef YL_LINK_H
#define YL_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "cluster_key.h"
#include "endpoint.h"

typedef struct link_hub link_hub;

/* key: copied; NULL: links are open. max_bytes: a larger message closes its connection. */
yl_status link_hub_new(link_hub **out, const cluster_key *key, int64_t max_bytes, yl_error *err);
/* All sockets must be closed. NULL: nothing. */
void link_hub_free(link_hub *h);

/* YL_EINVAL, with the way out: other machines can reach this address, and there is no key, nor does the user insist (is_insecure).
 */
yl_status link_check_guarded(const cluster_key *key, bool is_insecure, const endpoint *e, yl_error *err);

/* A socket of ZeroMQ's type; the caller closes it with zmq_close. hwm: messages that may wait in each direction, for each peer.
 * linger_ms: how long it goes on sending after it was closed. NULL: none is left. */
void *link_socket(const link_hub *h, int type, int hwm, int linger_ms);

/* Binds it. *bound: where it listens now, with its port. YL_EIO: in use, not of this machine. */
yl_status link_bind(const link_hub *h, void *socket, const endpoint *e, endpoint *bound, yl_error *err);
/* Connects it, now or as soon as somebody listens there. YL_EIO: there is no such host. */
yl_status link_connect(const link_hub *h, void *socket, const endpoint *e, yl_error *err);

/* Readable when somebody wants to enter; NULL without a key. link_hub_answer_door lets in whoever knows the key. */
void *link_hub_door(const link_hub *h);
void link_hub_answer_door(link_hub *h);

/* ---- what becomes of connections ---- */

typedef enum link_event {
    LINK_NOTHING,
    LINK_UP,             /* shaken hands: messages flow */
    LINK_DOWN,           /* was up, and is closed */
    LINK_UNANSWERED,     /* a socket that connects: nobody listens there, or no way leads there. It is tried again */
    LINK_OTHER_SECURITY, /* the other side has a key and we have none, or the other way round */
    LINK_REFUSED         /* the other side does not know our key, or does not speak ZeroMQ */
} link_event;

typedef struct link_watch link_watch;

enum { LINK_COMPLAINT_BYTES = 384 };

/* Watches a socket that was not bound or connected yet. */
yl_status link_watch_new(link_watch **out, link_hub *h, void *socket, yl_error *err);
/* After the socket was closed, or before. NULL: nothing. */
void link_watch_free(link_watch *w);

void *link_watch_socket(const link_watch *w); /* readable when something happened */
/* The next thing that happened, LINK_NOTHING when there is none. */
link_event link_watch_next(link_watch *w);
/* Who the last event is about: at a socket that listens the address of who came, at one that connects where it was to go, as
 * link_connect was told (or with a number for a name). "somebody" if it is not known any more. */
const char *link_watch_peer(const link_watch *w);
/* The descriptor of the connection that the last LINK_DOWN is about: what zmq_msg_get tells of its messages as ZMQ_SRCFD. */
int link_watch_fd(const link_watch *w);
/* Who is at the other end of that connection (as link_watch_peer); "" if it is not known. */
const char *link_watch_peer_of(const link_watch *w, int fd);
/* Is there a connection to this address, whether or not it has shaken hands? Of a socket that connects. */
bool link_watch_is_open(const link_watch *w, const char *address);

/* Of a refusal at a socket that listens: a sentence for the log. self, other: what they call themselves, "worker". False: it is no
 * refusal, or nothing new: whoever is refused tries again, several times a second. now_ms: monotonic. */
bool link_watch_complaint(link_watch *w, link_event event, const char *self, const char *other, uint64_t now_ms,
                          char out[LINK_COMPLAINT_BYTES]);

#endif
