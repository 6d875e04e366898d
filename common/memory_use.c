#include "memory_use.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A number of kB out of a file of "Name:   123 kB" lines, in bytes; 0: not there. */
static uint64_t read_bytes(const char *path, const char *name)
{
    FILE *f = fopen(path, "re");
    if (!f) return 0;
    char line[256];
    uint64_t kib = 0;
    size_t n = strlen(name);
    while (fgets(line, sizeof line, f)) {
        if (!strncmp(line, name, n) && line[n] == ':') {
            kib = strtoull(line + n + 1, NULL, 10);
            break;
        }
    }
    fclose(f);
    return kib * 1024;
}

uint64_t memory_use_available(void)
{
    return read_bytes("/proc/meminfo", "MemAvailable");
}

uint64_t memory_use_resident(uint64_t *peak)
{
    *peak = read_bytes("/proc/self/status", "VmHWM");
    return read_bytes("/proc/self/status", "VmRSS");
}
