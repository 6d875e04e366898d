/* native_notify.h: tells the service manager that started this process how it is, as sd_notify(3) describes it: each message is one
 * datagram to the socket in $NOTIFY_SOCKET. Where nobody set that, nothing is sent. One thread. */
#ifndef YL_NATIVE_NOTIFY_H
#define YL_NATIVE_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

typedef struct native_notify {
    int fd;               /* connected to the manager; -1: there is none */
    uint64_t interval_ms; /* between two signs of life; 0: nobody waits for them */
    uint64_t due_ms;      /* the next one */
    bool has_moved;       /* since the last one */
} native_notify;

/* Reads $NOTIFY_SOCKET (a path, or an abstract name after '@'), $WATCHDOG_USEC and $WATCHDOG_PID. YL_EINVAL, YL_EIO: that socket
 * cannot be used; *n then sends nothing. */
yl_status native_notify_open(native_notify *n, yl_error *err);
void native_notify_close(native_notify *n);

void native_notify_ready(native_notify *n);
void native_notify_stopping(native_notify *n);
/* What `systemctl status` shows. One line. */
void native_notify_status(native_notify *n, const char *line);

/* To be called at least twice in interval_ms. has_moved: the work went on since the last call, or there is none. Half as often as
 * the manager gives up, a sign of life is sent if the work has moved since the last one: who hangs is silent. */
void native_notify_watchdog(native_notify *n, uint64_t now_ms, bool has_moved);

#endif
