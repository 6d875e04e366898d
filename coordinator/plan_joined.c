/* plan_joined.c: workers that joined, as machines: from what they say of themselves, none of which is believed blindly. */
#include <string.h>

#include "plan_machines.h"

static const uint64_t UNKNOWN_MEMORY = UINT64_C(1) << 47; /* what a process can address: the worker itself knows its limit */
static const double LEAST_RATE = 1e8;                     /* bytes, or multiply-adds, a second */
static const double NOMINAL_BYTES_PER_S = 1e10;           /* where nobody measured: what counts is that it is the same for all */

static double least_known(const double *rates, uint32_t n)
{
    double least = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (rates[i] > 0 && (least <= 0 || rates[i] < least)) least = rates[i];
    }
    return least;
}

static double settle(double rate, double least, double nominal)
{
    if (!(rate > 0)) rate = least > 0 ? least : nominal;
    return rate > LEAST_RATE ? rate : LEAST_RATE;
}

static void set_speeds(plan_machines *m)
{
    double bytes[PLACEMENT_MAX_NODES], macs[PLACEMENT_MAX_NODES];
    for (uint32_t i = 0; i < m->n; i++) {
        bytes[i] = m->nodes[i].bytes_per_s;
        macs[i] = m->nodes[i].macs_per_s;
    }
    double least_bytes = least_known(bytes, m->n), least_macs = least_known(macs, m->n);
    for (uint32_t i = 0; i < m->n; i++) {
        placement_node *node = &m->nodes[i];
        node->bytes_per_s = settle(node->bytes_per_s, least_bytes, NOMINAL_BYTES_PER_S);
        node->macs_per_s = settle(node->macs_per_s, least_macs, PLAN_MACS_A_BYTE * node->bytes_per_s);
    }
}

/* b NULL: the coordinator. */
static placement_link link_between(const plan_worker *a, const plan_worker *b)
{
    if (a->is_near && (!b || b->is_near)) return PLAN_NEAR_LINK;
    placement_link link = PLAN_LINK;
    if (a->rtt_ms > link.rtt_ms) link.rtt_ms = a->rtt_ms;
    if (b && b->rtt_ms > link.rtt_ms) link.rtt_ms = b->rtt_ms;
    return link;
}

void plan_machines_joined(plan_machines *out, const plan_worker *workers, uint32_t n)
{
    memset(out, 0, sizeof *out);
    out->n = n;
    for (uint32_t i = 0; i < n; i++) {
        const plan_worker *w = &workers[i];
        out->nodes[i] = (placement_node){.name = w->name,
                                         .free_bytes = w->free_bytes ? w->free_bytes : UNKNOWN_MEMORY,
                                         .fixed_bytes = w->fixed_bytes};
        plan_node_set_speed(&out->nodes[i], &w->limits);
        for (uint32_t k = 0; k <= n; k++) {
            const plan_worker *other = k < n ? &workers[k] : NULL;
            out->links[(size_t)i * (n + 1) + k] = out->links[(size_t)k * (n + 1) + i] = link_between(w, other);
        }
    }
    set_speeds(out);
}
