/* beacon_socket.c: beacons on their way: UDP multicast out of, and into, every network interface. */
#include "beacon.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PORT = 7620, MAX_INTERFACES = 32, MAX_A_CALL = 32 /* datagrams: whoever floods us gets no more of our time */ };

static const uint32_t GROUP = 0xefff4c14; /* 239.255.76.20: of the range that stays within an organization */

struct beacon_sender {
    int fd;
    struct ip_mreqn interfaces[MAX_INTERFACES];
    size_t n;
};

struct beacon_listener {
    int fd;
    bool local_only;
};

/* Interfaces with an IPv4 address that multicast goes out of, and the loopback one, which is of no such kind but does. */
static size_t find_interfaces(struct ip_mreqn out[MAX_INTERFACES], bool local_only)
{
    struct ifaddrs *all = NULL;
    size_t n = 0;
    if (getifaddrs(&all)) return 0;
    for (const struct ifaddrs *a = all; a && n < MAX_INTERFACES; a = a->ifa_next) {
        bool is_local = a->ifa_flags & IFF_LOOPBACK, is_of_use = is_local || (!local_only && a->ifa_flags & IFF_MULTICAST);
        if (!a->ifa_addr || a->ifa_addr->sa_family != AF_INET || !(a->ifa_flags & IFF_UP) || !is_of_use) continue;
        int index = (int)if_nametoindex(a->ifa_name);
        bool is_new = index > 0;
        for (size_t i = 0; i < n; i++) is_new &= out[i].imr_ifindex != index; /* one may have several addresses */
        if (!is_new) continue;
        struct sockaddr_in address;
        memcpy(&address, a->ifa_addr, sizeof address);
        out[n++] = (struct ip_mreqn){.imr_multiaddr = {htonl(GROUP)}, .imr_address = address.sin_addr, .imr_ifindex = index};
    }
    freeifaddrs(all);
    return n;
}

static struct sockaddr_in group_address(void)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr = {htonl(GROUP)}};
}

yl_status beacon_sender_new(beacon_sender **out, bool local_only, yl_error *err)
{
    beacon_sender *s = *out = calloc(1, sizeof *s);
    if (!s) return yl_fail(err, YL_ENOMEM, "no memory for beacons");
    s->n = find_interfaces(s->interfaces, local_only);
    s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd >= 0) return YL_OK;
    yl_status status = yl_fail(err, YL_EIO, "no socket for beacons: %s", strerror(errno));
    free(s);
    *out = NULL;
    return status;
}

void beacon_sender_free(beacon_sender *s)
{
    if (!s) return;
    close(s->fd);
    free(s);
}

void beacon_send(beacon_sender *s, const uint8_t data[BEACON_BYTES])
{
    struct sockaddr_in to = group_address();
    for (size_t i = 0; i < s->n; i++) {
        const struct ip_mreqn *through = &s->interfaces[i];                                        /* and from its address */
        if (setsockopt(s->fd, IPPROTO_IP, IP_MULTICAST_IF, through, sizeof *through)) continue;    /* it is gone */
        if (sendto(s->fd, data, BEACON_BYTES, 0, (struct sockaddr *)&to, sizeof to) < 0) continue; /* the next one may arrive */
    }
}

/* How many interfaces are listened to. */
static size_t join(beacon_listener *l)
{
    struct ip_mreqn interfaces[MAX_INTERFACES];
    size_t n = find_interfaces(interfaces, l->local_only), n_joined = 0;
    for (size_t i = 0; i < n; i++) {
        n_joined += !setsockopt(l->fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &interfaces[i], sizeof interfaces[i]) ||
                    errno == EADDRINUSE; /* already */
    }
    return n_joined;
}

yl_status beacon_listener_new(beacon_listener **out, bool local_only, yl_error *err)
{
    beacon_listener *l = *out = calloc(1, sizeof *l);
    if (!l) return yl_fail(err, YL_ENOMEM, "no memory for beacons");
    l->local_only = local_only;
    int yes = 1, no = 0; /* no: what others of this machine have joined is not for us */
    struct sockaddr_in at = group_address();
    l->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd >= 0 && !setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) &&
        !setsockopt(l->fd, IPPROTO_IP, IP_MULTICAST_ALL, &no, sizeof no) && !bind(l->fd, (struct sockaddr *)&at, sizeof at) &&
        join(l))
        return YL_OK;
    yl_status status =
        yl_fail(err, YL_EIO, "no beacons can be heard: %s (--connect takes the coordinator's address)", strerror(errno));
    beacon_listener_free(l);
    *out = NULL;
    return status;
}

void beacon_listener_free(beacon_listener *l)
{
    if (!l) return;
    if (l->fd >= 0) close(l->fd);
    free(l);
}

int beacon_listener_fd(const beacon_listener *l)
{
    return l->fd;
}

void beacon_listener_refresh(beacon_listener *l)
{
    join(l);
}

/* Where such a beacon says that control listens. False: nowhere that could be. */
static bool locate(endpoint *out, const beacon *b, const struct sockaddr_in *from)
{
    char source[INET_ADDRSTRLEN];
    endpoint sender = {.is_tcp = true};
    *out = (endpoint){.is_tcp = true, .port = b->port};
    if (!inet_ntop(AF_INET, &from->sin_addr, source, sizeof source) || endpoint_set_host(&sender, source, NULL)) return false;
    if (endpoint_set_host(out, b->host[0] ? b->host : source, NULL)) return false;
    return endpoint_is_local(&sender) || !endpoint_is_local(out); /* another machine's loopback is not ours */
}

bool beacon_hear(beacon_listener *l, const uint8_t tag[CLUSTER_TAG_BYTES], uint8_t frame_version, endpoint *out)
{
    for (int i = 0; i < MAX_A_CALL; i++) {
        uint8_t data[BEACON_BYTES + 1]; /* one more tells a longer one */
        struct sockaddr_in from = {0};
        socklen_t n_from = sizeof from;
        ssize_t n = recvfrom(l->fd, data, sizeof data, 0, (struct sockaddr *)&from, &n_from);
        beacon b;
        if (n < 0) return false;
        if (from.sin_family == AF_INET && !beacon_decode(&b, data, (size_t)n, NULL) && !memcmp(b.tag, tag, sizeof b.tag) &&
            b.frame_version == frame_version && locate(out, &b, &from))
            return true;
    }
    return false;
}
