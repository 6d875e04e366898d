/* beacon.c: the bytes of a beacon. */
#include "beacon.h"

#include <arpa/inet.h>
#include <string.h>

enum { AT_FORMAT = 8, AT_FRAMES = 9, AT_PORT = 10, AT_TAG = 12, AT_FAMILY = 28, AT_ADDRESS = 29, ADDRESS_BYTES = 16, FORMAT = 1 };

static const char MAGIC[] = "YLBEACON";

/* Bytes of an address of that family; -1: there is no such family. */
static int family_bytes(uint8_t family)
{
    return family == 0 ? 0 : family == 4 ? 4 : family == 6 ? ADDRESS_BYTES : -1;
}

/* Does it stand for one machine: neither for all, nor for a group? */
static bool is_of_one(uint8_t family, const uint8_t address[ADDRESS_BYTES])
{
    static const uint8_t NONE[ADDRESS_BYTES];
    if (family == 4) return address[0] != 0 && address[0] < 224;
    return memcmp(address, NONE, sizeof NONE) != 0 && address[0] != 0xff;
}

yl_status beacon_encode(uint8_t out[BEACON_BYTES], const beacon *b, yl_error *err)
{
    memset(out, 0, BEACON_BYTES);
    memcpy(out, MAGIC, AT_FORMAT);
    out[AT_FORMAT] = FORMAT;
    out[AT_FRAMES] = b->frame_version;
    out[AT_PORT] = (uint8_t)(b->port >> 8);
    out[AT_PORT + 1] = (uint8_t)b->port;
    memcpy(out + AT_TAG, b->tag, sizeof b->tag);
    uint8_t *address = out + AT_ADDRESS;
    out[AT_FAMILY] = !b->host[0]                                  ? 0
                     : inet_pton(AF_INET, b->host, address) == 1  ? 4
                     : inet_pton(AF_INET6, b->host, address) == 1 ? 6
                                                                  : 0;
    bool has_host = out[AT_FAMILY] != 0;
    if (!b->port || (b->host[0] && !has_host) || (has_host && !is_of_one(out[AT_FAMILY], address)))
        return yl_fail(err, YL_EINVAL, "'%s', port %u, is no address of a machine", b->host, b->port);
    return YL_OK;
}

yl_status beacon_decode(beacon *out, const uint8_t *data, size_t n_bytes, yl_error *err)
{
    *out = (beacon){0};
    if (n_bytes < AT_FORMAT + 1 || memcmp(data, MAGIC, AT_FORMAT))
        return yl_fail(err, YL_EFORMAT, "%zu bytes are no beacon", n_bytes);
    if (data[AT_FORMAT] != FORMAT || n_bytes != BEACON_BYTES)
        return yl_fail(err, YL_EFORMAT, "a beacon of format %u with %zu bytes, not %d with %d", data[AT_FORMAT], n_bytes, FORMAT,
                       BEACON_BYTES);
    const uint8_t *address = data + AT_ADDRESS;
    uint8_t family = data[AT_FAMILY];
    int n = family_bytes(family);
    out->frame_version = data[AT_FRAMES];
    out->port = (uint16_t)(data[AT_PORT] << 8 | data[AT_PORT + 1]);
    memcpy(out->tag, data + AT_TAG, sizeof out->tag);
    if (n < 0 || !out->port || (family && !is_of_one(family, address)))
        return yl_fail(err, YL_EFORMAT, "a beacon that names no address of a machine");
    for (int i = n; i < ADDRESS_BYTES; i++) {
        if (address[i]) return yl_fail(err, YL_EFORMAT, "a beacon with bytes behind its address");
    }
    if (family) inet_ntop(family == 4 ? AF_INET : AF_INET6, address, out->host, sizeof out->host);
    return YL_OK;
}
