/* limit_probe.h: machine_limits measured in a process of its own, so that its buffers do not count as memory of the program that
 * is being measured. */
#ifndef YL_LIMIT_PROBE_H
#define YL_LIMIT_PROBE_H

#include "machine_limits.h"

typedef struct limit_probe limit_probe;

/* Starts the process. Before this one has threads. YL_EIO, YL_ENOMEM. */
yl_status limit_probe_new(limit_probe **out, machine_meter_scope scope, yl_error *err);
/* Ends it, and waits for that. NULL: nothing. */
void limit_probe_free(limit_probe *p);

/* Measures; takes about a tenth of a second. isa: that of a table which this machine can run. while_waiting (NULL: nothing) is
 * called a few times a second until then (a slow machine takes longer), and must not block. Errors as of machine_meter_read;
 * YL_EIO: the process has ended. */
yl_status limit_probe_read(limit_probe *p, uint32_t n_threads, const char *isa, void (*while_waiting)(void *ctx), void *ctx,
                           machine_limits *out, yl_error *err);

#endif
