/* local_workers.h: worker processes on this machine, started and stopped by the coordinator. */
#ifndef YL_LOCAL_WORKERS_H
#define YL_LOCAL_WORKERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

typedef struct local_workers local_workers;

/* Where directories for sockets are made, as yllama-*: $TMPDIR or /tmp. */
const char *local_workers_parent(void);

/* Makes a private directory for sockets (mode 0700). No process yet. */
yl_status local_workers_new(local_workers **out, yl_error *err);

/* The directory, for addresses of sockets. */
const char *local_workers_dir(const local_workers *w);

/* Starts argv[0] with argv (NULL-terminated). log_path: its stderr is appended there; NULL: to ours. */
yl_status local_workers_start(local_workers *w, const char *name, const char *const *argv, const char *log_path, yl_error *err);

/* YL_EPEER when a process has ended that was not told to, or does within patience_ms; the message names it and how it ended. */
yl_status local_workers_check(local_workers *w, uint32_t patience_ms, yl_error *err);

/* Waits until all have ended, or patience_ms have passed. True: all have. */
bool local_workers_wait(local_workers *w, uint32_t patience_ms);

/* Ends what still runs (SIGTERM, after a second SIGKILL), waits for it, removes the directory. NULL: nothing. */
void local_workers_free(local_workers *w);

#endif
