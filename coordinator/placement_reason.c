/* placement_reason.c: one sentence a reason. */
#include "placement_reason.h"

#include <stdio.h>

#include "quantity.h"

char *placement_reason_format(char buf[PLACEMENT_REASON_BYTES], const placement_spec *spec, const placement *p, uint32_t node)
{
    const placement_node *n = &spec->nodes[node];
    char a[32], b[32];
    if (p->reasons[node] == PLACEMENT_NO_MEMORY)
        snprintf(buf, PLACEMENT_REASON_BYTES, "no memory for any part (%s free, scratch takes %s)",
                 quantity_format_bytes(a, (double)n->free_bytes), quantity_format_bytes(b, (double)n->fixed_bytes));
    else if (p->reasons[node] != PLACEMENT_SLOWER)
        snprintf(buf, PLACEMENT_REASON_BYTES, "as asked for");
    else if (p->cost_with_ms[node] > 0)
        snprintf(buf, PLACEMENT_REASON_BYTES, "not faster with it (%s %s at best, without it %s)",
                 quantity_format_ms(a, p->cost_with_ms[node]), spec->objective == PLACEMENT_LATENCY ? "a token" : "of work a round",
                 quantity_format_ms(b, p->cost_ms));
    else
        snprintf(buf, PLACEMENT_REASON_BYTES, "no chain with it was found to be faster");
    return buf;
}
