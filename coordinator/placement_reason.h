/* placement_reason.h: why a machine has nothing, in words. */
#ifndef YL_PLACEMENT_REASON_H
#define YL_PLACEMENT_REASON_H

#include "placement.h"

enum { PLACEMENT_REASON_BYTES = 160 };

/* "not faster with it (41.2 ms a token at best, without it 40.1 ms)", of a node that is not PLACEMENT_USED. Returns buf. */
char *placement_reason_format(char buf[PLACEMENT_REASON_BYTES], const placement_spec *spec, const placement *p, uint32_t node);

#endif
