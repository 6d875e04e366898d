/* memory_use.h: memory of the machine and of this process, as Linux counts it in /proc. */
#ifndef YL_MEMORY_USE_H
#define YL_MEMORY_USE_H

#include <stdint.h>

/* Bytes that programs can still take without swapping; 0: the system does not say. */
uint64_t memory_use_available(void);

/* Bytes of this process that are in memory, and the most there ever were (*peak); 0: the system does not say. */
uint64_t memory_use_resident(uint64_t *peak);

#endif
