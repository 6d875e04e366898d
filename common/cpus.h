/* cpus.h: which cores a process runs on.
 *
 * What counts is not how many cores the machine has but how many this process may use: a container, taskset or a coordinator may
 * have left it fewer. */
#ifndef YL_CPUS_H
#define YL_CPUS_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* Cores that the calling thread may run on, at least 1. */
uint32_t cpus_usable(void);

/* Keeps the calling thread, and those that it starts afterwards, on the cores of a list such as "0-3,8". YL_EINVAL: not such a
 * list, or none of its cores may be used here; then nothing changes. */
yl_status cpus_bind(const char *list, yl_error *err);

/* Writes a list of the n cores that worker i of several gets when each gets n: of those that we may use, from the (i * n)-th on,
 * counted round where there are not enough. list: [n_bytes], at least 16; cut after the last core that fits. */
void cpus_share(char *list, size_t n_bytes, uint32_t i, uint32_t n);

#endif
