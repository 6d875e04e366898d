/* cpus.c: Linux's affinity masks, and lists of cores as taskset and cgroups write them. */
#include "cpus.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* False: the system does not tell. */
static bool usable_set(cpu_set_t *set)
{
    CPU_ZERO(set);
    return sched_getaffinity(0, sizeof *set, set) == 0 && CPU_COUNT(set) > 0;
}

uint32_t cpus_usable(void)
{
    cpu_set_t set;
    if (usable_set(&set)) return (uint32_t)CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (uint32_t)online : 1;
}

/* Reads a number below CPU_SETSIZE and steps over it. */
static bool read_cpu(const char **text, unsigned *cpu)
{
    if (**text < '0' || **text > '9') return false;
    *cpu = 0;
    for (; **text >= '0' && **text <= '9'; ++*text) {
        *cpu = 10 * *cpu + (unsigned)(**text - '0');
        if (*cpu >= CPU_SETSIZE) return false;
    }
    return true;
}

/* "0-3,8" */
static bool parse_list(const char *text, cpu_set_t *set)
{
    CPU_ZERO(set);
    for (;;) {
        unsigned first, last;
        if (!read_cpu(&text, &first)) return false;
        last = first;
        if (*text == '-' && (text++, !read_cpu(&text, &last))) return false;
        if (last < first) return false;
        for (unsigned cpu = first; cpu <= last; cpu++) CPU_SET(cpu, set);
        if (!*text) return true;
        if (*text++ != ',') return false;
    }
}

yl_status cpus_bind(const char *list, yl_error *err)
{
    cpu_set_t wanted, usable;
    if (!parse_list(list, &wanted))
        return yl_fail(err, YL_EINVAL, "'%s' is no list of cores: write it like 0-3,8, with numbers below %d", list, CPU_SETSIZE);
    if (usable_set(&usable)) CPU_AND(&wanted, &wanted, &usable);
    if (!CPU_COUNT(&wanted)) {
        char have[128];
        cpus_share(have, sizeof have, 0, cpus_usable());
        return yl_fail(err, YL_EINVAL, "none of the cores %s may be used here: there are %s", list, have);
    }
    if (sched_setaffinity(0, sizeof wanted, &wanted))
        return yl_fail(err, YL_EINVAL, "the system does not let us run on the cores %s: %s", list, strerror(errno));
    return YL_OK;
}

void cpus_share(char *list, size_t n_bytes, uint32_t i, uint32_t n)
{
    cpu_set_t usable;
    unsigned cpus[CPU_SETSIZE];
    size_t n_cpus = 0, used = 0;
    if (usable_set(&usable)) {
        for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
            if (CPU_ISSET(cpu, &usable)) cpus[n_cpus++] = cpu;
        }
    }
    list[0] = 0;
    for (uint32_t j = 0; n_cpus && j < n && j < n_cpus; j++) {
        char one[16];
        int length = snprintf(one, sizeof one, "%s%u", j ? "," : "", cpus[((uint64_t)i * n + j) % n_cpus]);
        if (length < 0 || used + (size_t)length >= n_bytes) return;
        memcpy(list + used, one, (size_t)length + 1);
        used += (size_t)length;
    }
}
