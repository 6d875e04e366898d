/* status.c: one line of text, made safe for a terminal. */
#include "status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Control bytes (and DEL) could move a terminal's cursor; bytes from 0x80 stay, names may be UTF-8. */
static void remove_control_bytes(char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < 0x20 || c == 0x7f) *s = '?';
    }
}

yl_status yl_fail(yl_error *err, yl_status status, const char *format, ...)
{
    if (!err) return status;
    va_list args;
    va_start(args, format);
    vsnprintf(err->msg, sizeof err->msg, format, args);
    va_end(args);
    err->status = status;
    remove_control_bytes(err->msg);
    return status;
}

void yl_error_context(yl_error *err, const char *format, ...)
{
    if (!err) return;
    char prefix[YL_ERROR_MSG_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    remove_control_bytes(prefix);
    size_t n = strlen(prefix);
    size_t room = sizeof err->msg - n; /* at least 1: prefix ends within its own buffer of the same size */
    size_t kept = strnlen(err->msg, room - 1);
    memmove(err->msg + n, err->msg, kept);
    memcpy(err->msg, prefix, n);
    err->msg[n + kept] = 0;
}

const char *yl_status_name(yl_status status)
{
    switch (status) {
    case YL_OK: return "OK";
    case YL_EINVAL: return "EINVAL";
    case YL_EFORMAT: return "EFORMAT";
    case YL_ELIMIT: return "ELIMIT";
    case YL_EUNSUPPORTED: return "EUNSUPPORTED";
    case YL_ENOMEM: return "ENOMEM";
    case YL_EIO: return "EIO";
    case YL_EPEER: return "EPEER";
    case YL_ECANCELED: return "ECANCELED";
    case YL_EREPLAY: return "EREPLAY";
    }
    return "unknown";
}
