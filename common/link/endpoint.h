/* endpoint.h: addresses of sockets, as people write them and as frames carry them: tcp://HOST:PORT and ipc:///PATH. */
#ifndef YL_ENDPOINT_H
#define YL_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

enum {
    ENDPOINT_BYTES = 257, /* of an address as text, with its NUL */
    ENDPOINT_CONTROL_PORT = 7620,
    ENDPOINT_DATA_PORT = 7621 /* a worker's, and up */
};

typedef struct endpoint {
    bool is_tcp;               /* else ipc */
    char host[ENDPOINT_BYTES]; /* a name, an address (IPv6 without brackets), or "*" for all of this machine's; of ipc the path */
    uint16_t port;             /* 0: written as *, the system chooses */
} endpoint;

/* Reads an address. default_port: for tcp without one; 0: it must be there. YL_EINVAL says what an address looks like. */
yl_status endpoint_parse(endpoint *out, const char *text, uint16_t default_port, yl_error *err);

/* Reads addresses with commas between them, "host:7620,[::1],tcp://host" (tcp:// may be left out), into out[*n]; NULL: they are
 * only counted. YL_EINVAL: one is no address of a machine, is there twice, or there are more than max. */
yl_status endpoint_parse_list(endpoint *out, size_t max, size_t *n, const char *text, uint16_t default_port, yl_error *err);

/* Writes it. Whatever endpoint_parse gave fits, with any port. */
void endpoint_format(char out[ENDPOINT_BYTES], const endpoint *e);

/* Can only this machine's processes reach it: ipc, 127.0.0.0/8, ::1, localhost? */
bool endpoint_is_local(const endpoint *e);
/* Does its host stand for all addresses of a machine: *, 0.0.0.0, ::? */
bool endpoint_is_wildcard(const endpoint *e);

/* Sets the host. An IPv4 address in IPv6's clothes (::ffff:192.0.2.1) is undressed. YL_EINVAL: it cannot be one. */
yl_status endpoint_set_host(endpoint *e, const char *host, yl_error *err);

/* An address of a tcp endpoint's host as text, an IPv4 one if there is one. *is_ipv6: which it is. Asks the system's resolver,
 * which may take seconds. YL_EIO: there is no machine of that name. */
yl_status endpoint_resolve(char out[ENDPOINT_BYTES], bool *is_ipv6, const endpoint *e, yl_error *err);

#endif
