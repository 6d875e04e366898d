#include "endpoint.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_HOST = 200, MAX_IPC_PATH = 107, MAX_SHOWN = 80 };

static yl_status no_address(const char *text, yl_error *err)
{
    return yl_fail(err, YL_EINVAL, "'%.*s' is no address: tcp://HOST:PORT or ipc:///PATH", MAX_SHOWN, text);
}

static bool is_host(const char *host)
{
    size_t n = strlen(host);
    if (!n || n > MAX_HOST) return false;
    if (!strcmp(host, "*")) return true;
    const char *more = strchr(host, ':') ? ":.%-_" : ".-_";
    for (const char *c = host; *c; c++) {
        if ((unsigned char)*c > 126 || (!isalnum((unsigned char)*c) && !strchr(more, *c))) return false;
    }
    return host[0] != '-';
}

yl_status endpoint_set_host(endpoint *e, const char *host, yl_error *err)
{
    static const char MAPPED[] = "::ffff:";
    size_t n_mapped = sizeof MAPPED - 1;
    struct in_addr v4;
    if (!strncmp(host, MAPPED, n_mapped) && inet_pton(AF_INET, host + n_mapped, &v4) == 1) host += n_mapped;
    if (!is_host(host)) return yl_fail(err, YL_EINVAL, "'%.*s' is no host: a name, an IPv4 or an IPv6 address", MAX_SHOWN, host);
    snprintf(e->host, sizeof e->host, "%s", host);
    return YL_OK;
}

static yl_status parse_port(uint16_t *out, const char *text, const char *whole, yl_error *err)
{
    *out = 0;
    if (!strcmp(text, "*")) return YL_OK;
    char *end;
    unsigned long port = strtoul(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end) return no_address(whole, err);
    if (strlen(text) > 5 || port < 1 || port > 65535)
        return yl_fail(err, YL_EINVAL, "%.*s: ports are 1 to 65535", MAX_SHOWN, whole);
    *out = (uint16_t)port;
    return YL_OK;
}

/* "host:port", "[address]:port", with or without the port. */
static yl_status parse_tcp(endpoint *out, const char *rest, const char *whole, uint16_t default_port, yl_error *err)
{
    char host[ENDPOINT_BYTES];
    bool in_brackets = *rest == '[';
    const char *begin = rest + in_brackets;
    size_t n = in_brackets ? strcspn(begin, "]") : strcspn(begin, ":");
    const char *behind = begin + n + (in_brackets && begin[n] == ']');
    snprintf(host, sizeof host, "%.*s", (int)n, begin);
    if (!in_brackets && *behind == ':' && strchr(behind + 1, ':'))
        return yl_fail(err, YL_EINVAL, "%.*s: an IPv6 address stands in brackets, as in tcp://[::1]:%d", MAX_SHOWN, whole,
                       ENDPOINT_CONTROL_PORT);
    if (in_brackets && (begin[n] != ']' || !strchr(host, ':'))) return no_address(whole, err);
    if (*behind && *behind != ':') return no_address(whole, err);
    if (!*behind && !default_port) return yl_fail(err, YL_EINVAL, "%.*s: the port is missing", MAX_SHOWN, whole);
    out->port = default_port;
    yl_status status = *behind ? parse_port(&out->port, behind + 1, whole, err) : YL_OK;
    if (!status && endpoint_set_host(out, host, NULL)) status = no_address(whole, err);
    return status;
}

yl_status endpoint_parse(endpoint *out, const char *text, uint16_t default_port, yl_error *err)
{
    *out = (endpoint){0};
    if (strlen(text) >= ENDPOINT_BYTES) return no_address(text, err);
    if (!strncmp(text, "ipc://", 6)) {
        size_t n = strlen(text + 6);
        if (!n || n > MAX_IPC_PATH) return yl_fail(err, YL_EINVAL, "%.*s: a path of 1 to %d bytes", MAX_SHOWN, text, MAX_IPC_PATH);
        memcpy(out->host, text + 6, n + 1);
        return YL_OK;
    }
    out->is_tcp = true;
    return strncmp(text, "tcp://", 6) ? no_address(text, err) : parse_tcp(out, text + 6, text, default_port, err);
}

/* One of a list: tcp, and somebody's. */
static yl_status parse_item(endpoint *out, const char *text, size_t n, uint16_t default_port, yl_error *err)
{
    static const char SCHEME[] = "tcp://";
    char item[ENDPOINT_BYTES];
    bool has_scheme = memmem(text, n, "://", 3) != NULL;
    int length = snprintf(item, sizeof item, "%s%.*s", has_scheme ? "" : SCHEME, n < sizeof item ? (int)n : (int)sizeof item, text);
    if (length < 0 || (size_t)length >= sizeof item) return no_address(text, err);
    yl_status status = endpoint_parse(out, item, default_port, err);
    if (!status && (!out->is_tcp || endpoint_is_wildcard(out) || !out->port))
        status = yl_fail(err, YL_EINVAL, "'%.*s' names no machine and port", MAX_SHOWN, item);
    return status;
}

yl_status endpoint_parse_list(endpoint *out, size_t max, size_t *n, const char *text, uint16_t default_port, yl_error *err)
{
    *n = 0;
    for (const char *at = text, *end;; at = end + 1) {
        endpoint e, before;
        end = at + strcspn(at, ",");
        yl_status status = parse_item(&e, at, (size_t)(end - at), default_port, err);
        if (!status && *n == max) status = yl_fail(err, YL_EINVAL, "more than %zu addresses", max);
        for (const char *other = text; !status && other < at; other += strcspn(other, ",") + 1) {
            status = parse_item(&before, other, strcspn(other, ","), default_port, err);
            if (!status && before.port == e.port && !strcmp(before.host, e.host))
                status = yl_fail(err, YL_EINVAL, "'%.*s' is there twice", (int)(end - at < MAX_SHOWN ? end - at : MAX_SHOWN), at);
        }
        if (status) return status;
        if (out) out[*n] = e;
        (*n)++;
        if (!*end) return YL_OK;
    }
}

void endpoint_format(char out[ENDPOINT_BYTES], const endpoint *e)
{
    char port[8] = "*";
    if (e->port) snprintf(port, sizeof port, "%u", (unsigned)e->port);
    bool is_ipv6 = strchr(e->host, ':') != NULL;
    if (!e->is_tcp)
        snprintf(out, ENDPOINT_BYTES, "ipc://%.*s", MAX_IPC_PATH, e->host);
    else
        snprintf(out, ENDPOINT_BYTES, is_ipv6 ? "tcp://[%.*s]:%s" : "tcp://%.*s:%s", MAX_HOST, e->host, port);
}

bool endpoint_is_local(const endpoint *e)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (!e->is_tcp || !strcmp(e->host, "localhost")) return true;
    if (inet_pton(AF_INET, e->host, &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, e->host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

bool endpoint_is_wildcard(const endpoint *e)
{
    return e->is_tcp && (!strcmp(e->host, "*") || !strcmp(e->host, "0.0.0.0") || !strcmp(e->host, "::"));
}

yl_status endpoint_resolve(char out[ENDPOINT_BYTES], bool *is_ipv6, const endpoint *e, yl_error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int failure = getaddrinfo(e->host, NULL, &hints, &found);
    if (failure)
        return yl_fail(err, YL_EIO, "there is no machine '%s': %s", e->host,
                       failure == EAI_SYSTEM ? "the resolver failed" : gai_strerror(failure));
    const struct addrinfo *best = found;
    for (const struct addrinfo *a = found; a; a = a->ai_next) {
        if (best->ai_family != AF_INET && a->ai_family == AF_INET) best = a;
    }
    *is_ipv6 = best->ai_family == AF_INET6;
    failure = getnameinfo(best->ai_addr, best->ai_addrlen, out, ENDPOINT_BYTES, NULL, 0, NI_NUMERICHOST);
    freeaddrinfo(found);
    return failure ? yl_fail(err, YL_EIO, "'%s' has no address that can be used: %s", e->host, gai_strerror(failure)) : YL_OK;
}
