/* placement_internal.h: a placement problem as whole numbers, for the two searches.
 *
 * Times are picoseconds in 64 bits: sums and maxima are then exact and do not depend on the order in which they are taken, so what
 * costs the same compares as equal, on every machine. */
#ifndef YL_PLACEMENT_INTERNAL_H
#define YL_PLACEMENT_INTERNAL_H

#include "placement.h"

static const double PLACEMENT_MAX_MS = 1e6; /* of a unit or a link */
/* More than any placement costs: 4,098 units and 321 links, 10^15 picoseconds each at most, stay below. */
static const uint64_t PLACEMENT_NEVER = UINT64_MAX / 2;

/* How stages and links add up along a chain. */
typedef enum placement_sum {
    PLACEMENT_ADD,    /* their sum: latency; a stage or link busy for longer than `cap` is not taken */
    PLACEMENT_LARGEST /* the busiest one */
} placement_sum;

typedef struct placement_problem {
    const placement_spec *spec;
    uint32_t n_nodes, n_units;
    uint32_t *fit;    /* [n_nodes][n_units] end of the longest slice that begins there and fits; its begin if none does */
    uint64_t *prefix; /* [n_nodes][n_units + 1] time of the units before */
    uint64_t *links;  /* [n_nodes + 1][n_nodes + 1] */
    placement_sum sum;
    uint64_t cap; /* busy time; PLACEMENT_NEVER: none */
} placement_problem;

/* What a search found. */
typedef struct placement_chain {
    uint64_t cost; /* PLACEMENT_NEVER: nothing fits */
    uint32_t n_stages;
    uint32_t nodes[PLACEMENT_MAX_NODES];
    uint32_t ends[PLACEMENT_MAX_NODES]; /* one past each stage's last unit */
} placement_chain;

/* Memory limits; times are not there yet. YL_ENOMEM. */
yl_status placement_problem_init(placement_problem *p, const placement_spec *spec, yl_error *err);
void placement_problem_clear(placement_problem *p);
/* Times for n_rows rows at once. YL_EINVAL: one is beyond PLACEMENT_MAX_MS; the message names the node. */
yl_status placement_problem_set_times(placement_problem *p, double n_rows, placement_sum sum, uint64_t cap, yl_error *err);

static inline uint64_t placement_combine(const placement_problem *p, uint64_t a, uint64_t b)
{
    if (a >= PLACEMENT_NEVER || b >= PLACEMENT_NEVER) return PLACEMENT_NEVER;
    if (p->sum == PLACEMENT_LARGEST) return a > b ? a : b;
    return a + b;
}

/* The best chain by dynamic programming over (set of nodes used, last of them, units placed). n_stages: so many stages exactly; 0:
 * any number. with: [n_nodes] lowered to the cost of the best chain that uses each node, or NULL. YL_ENOMEM.
 * Requires n_nodes <= PLACEMENT_EXACT_NODES and n_units <= PLACEMENT_EXACT_LAYERS + 2. */
yl_status placement_exact(placement_chain *out, const placement_problem *p, uint32_t n_stages, uint64_t *with, yl_error *err);

/* A good chain by local search over orders of nodes. YL_ENOMEM. */
yl_status placement_by_order(placement_chain *out, const placement_problem *p, yl_error *err);

#endif
