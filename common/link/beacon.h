/* beacon.h: how a coordinator is found on a local network without its address.
 *
 * A coordinator sends a beacon now and then to a multicast group (IPv4, 239.255.76.20, UDP port 7620), out of every network
 * interface: where its control socket listens, which version of frames it speaks, and the tag of its cluster. A worker that hears
 * the tag of its own cluster connects there. Nothing is proven by a beacon: who is let in, and by whom, is decided by the keys of
 * the connection.
 *
 *     8 bytes   "YLBEACON"
 *     1         1, the version of this format
 *     1         version of the frames (FRAME_VERSION)
 *     2         port of control, high byte first
 *     16        tag of the cluster (cluster_key_tag)
 *     1         0: control listens at the address that the beacon comes from; 4, 6: at this IPv4 or IPv6 address
 *     16        the address, from its first byte on; the rest, all of them for 0, is 0 */
#ifndef YL_BEACON_H
#define YL_BEACON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster_key.h"
#include "endpoint.h"

enum { BEACON_BYTES = 45, BEACON_HOST_BYTES = 46 };

typedef struct beacon {
    uint8_t frame_version;
    uint16_t port; /* 1 and up */
    uint8_t tag[CLUSTER_TAG_BYTES];
    char host[BEACON_HOST_BYTES]; /* an address of one machine as a number, or "" */
} beacon;

/* YL_EINVAL: the host is no such address, or the port is 0. */
yl_status beacon_encode(uint8_t out[BEACON_BYTES], const beacon *b, yl_error *err);
/* Any bytes. YL_EFORMAT: they are no beacon, or none of this version. What is taken encodes to the same bytes. */
yl_status beacon_decode(beacon *out, const uint8_t *data, size_t n_bytes, yl_error *err);

/* Sends beacons. local_only: to this machine's processes. */
typedef struct beacon_sender beacon_sender;
yl_status beacon_sender_new(beacon_sender **out, bool local_only, yl_error *err); /* YL_EIO: no socket */
void beacon_sender_free(beacon_sender *s);                                        /* NULL: nothing */
/* Out of every interface that takes it; never blocks. */
void beacon_send(beacon_sender *s, const uint8_t data[BEACON_BYTES]);

/* Hears beacons. Any number of processes of a machine may. local_only: of this machine's processes. */
typedef struct beacon_listener beacon_listener;
yl_status beacon_listener_new(beacon_listener **out, bool local_only, yl_error *err); /* YL_EIO: no socket, no multicast */
void beacon_listener_free(beacon_listener *l);                                        /* NULL: nothing */
int beacon_listener_fd(const beacon_listener *l);                                     /* readable when there is something */
/* Interfaces that came up since are listened to, too. */
void beacon_listener_refresh(beacon_listener *l);
/* The next beacon with this tag and version of frames, as where to connect. Others, and bytes that are none, are dropped. False:
 * there is none now (or too much else: it will be readable again). */
bool beacon_hear(beacon_listener *l, const uint8_t tag[CLUSTER_TAG_BYTES], uint8_t frame_version, endpoint *out);

#endif
