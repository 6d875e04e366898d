#include "native_notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { PATIENCE_MS = 500 }; /* with a manager that does not read: heartbeats of the coordinator wait meanwhile */

static unsigned long long number_in(const char *variable)
{
    const char *text = getenv(variable);
    char *end;
    errno = 0;
    unsigned long long n = text && *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
    return n && !*end && !errno ? n : 0;
}

/* An interval for another process (one that started us, say) is not ours. */
static uint64_t watchdog_interval_ms(void)
{
    unsigned long long pid = number_in("WATCHDOG_PID");
    if (getenv("WATCHDOG_PID") && pid != (unsigned long long)getpid()) return 0;
    unsigned long long usec = number_in("WATCHDOG_USEC");
    return usec ? usec / 2000 + (usec < 2000) : 0;
}

yl_status native_notify_open(native_notify *n, yl_error *err)
{
    *n = (native_notify){.fd = -1};
    const char *name = getenv("NOTIFY_SOCKET");
    if (!name || !*name) return YL_OK;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t length = strlen(name);
    if ((*name != '/' && *name != '@') || length >= sizeof to.sun_path)
        return yl_fail(err, YL_EINVAL, "$NOTIFY_SOCKET is '%s', and not the path of a socket: the service manager hears nothing",
                       name);
    memcpy(to.sun_path, name, length);
    if (*name == '@') to.sun_path[0] = 0;
    /* A path ends with its NUL, an abstract name where it ends. */
    socklen_t n_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (*name == '/'));
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_usec = PATIENCE_MS * 1000};
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) ||
        connect(fd, (struct sockaddr *)&to, n_bytes)) {
        yl_status status =
            yl_fail(err, YL_EIO, "%s (in $NOTIFY_SOCKET): %s: the service manager hears nothing", name, strerror(errno));
        if (fd >= 0) close(fd);
        return status;
    }
    n->fd = fd;
    n->interval_ms = watchdog_interval_ms();
    return YL_OK;
}

void native_notify_close(native_notify *n)
{
    if (n->fd >= 0) close(n->fd);
    n->fd = -1;
}

static bool tell(native_notify *n, const char *message)
{
    return n->fd >= 0 && send(n->fd, message, strlen(message), MSG_NOSIGNAL) >= 0;
}

void native_notify_ready(native_notify *n)
{
    tell(n, "READY=1");
}

void native_notify_stopping(native_notify *n)
{
    tell(n, "STOPPING=1");
}

void native_notify_status(native_notify *n, const char *line)
{
    char message[512];
    snprintf(message, sizeof message, "STATUS=%s", line);
    tell(n, message);
}

void native_notify_watchdog(native_notify *n, uint64_t now_ms, bool has_moved)
{
    n->has_moved |= has_moved;
    if (!n->interval_ms || now_ms < n->due_ms || !n->has_moved || !tell(n, "WATCHDOG=1")) return;
    n->due_ms = now_ms + n->interval_ms;
    n->has_moved = false;
}
