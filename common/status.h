/* status.h: how a function says that it failed.
 *
 * A status is for the program (it decides the exit code, or whether to try again); the sentence in yl_error is for a person: what,
 * where, and what to do. Who sees the cause writes the sentence, callers put what they know in front of it with yl_error_context.
 * Nothing here allocates, so an error can be told when memory is gone. */
#ifndef YL_STATUS_H
#define YL_STATUS_H

#include <stddef.h>

typedef enum yl_status {
    YL_OK = 0,
    YL_EINVAL,       /* the caller's argument is wrong */
    YL_EFORMAT,      /* bytes from outside are not what they claim to be */
    YL_ELIMIT,       /* well formed, but beyond a limit of ours */
    YL_EUNSUPPORTED, /* well formed, but not implemented: the message names it */
    YL_ENOMEM,       /* no memory */
    YL_EIO,          /* the operating system refused: a file, a socket, a process */
    YL_EPEER,        /* another process failed or broke the protocol */
    YL_ECANCELED,    /* the user or the caller asked to stop */
    YL_EREPLAY       /* what a stage held is lost or damaged: assign it anew and feed its sequences again */
} yl_status;

enum { YL_ERROR_MSG_BYTES = 512 };

/* The last failure of a call. Callers may pass NULL where only the status matters. */
typedef struct yl_error {
    yl_status status;
    char msg[YL_ERROR_MSG_BYTES]; /* UTF-8, NUL-terminated, one line, no control bytes */
} yl_error;

/* Fills err (NULL: nothing) with a formatted sentence and returns `status`, so that a function ends in `return yl_fail(...)`.
 * Control bytes that arguments bring along (names out of a file, a peer's words) become '?'. */
yl_status yl_fail(yl_error *err, yl_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts a formatted prefix in front of err's message, which is cut at its end if it no longer fits. */
void yl_error_context(yl_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The status as a word for logs, "EFORMAT". Static. */
const char *yl_status_name(yl_status status);

#endif
