/* placement_exact.c: the best chain, by dynamic programming over sets of nodes.
 *
 * best[used][last][end] is the least cost of a chain that places the units [0, end) on exactly the nodes of the set `used`, the
 * last of them on `last`. What follows depends on these three alone, whatever the order before, so
 *
 *     best[used][last][end] = min over begin < end of  stage(last, begin, end) + entry(begin),
 *     entry(begin)          = min over k in used - last of  best[used - last][k][begin] + link(k, last)
 *
 * (or the larger of two in place of their sum). entry does not depend on `end`: that saves a factor of the number of nodes. There
 * are 2^n n U states for n nodes and U units; 10 nodes and 34 units take about 3 million steps, 10 and 258 about 170 million.
 * Sets are visited as numbers, rising: a subset is smaller than its set.
 * Ties: sets of fewer nodes, then smaller sets as numbers, then, from the end of the chain, larger nodes and later cuts. */
#include "placement_internal.h"

#include <assert.h>
#include <stdlib.h>

enum { NO_NODE = 0xffff };

/* How a state was reached. */
typedef struct step {
    uint16_t begin;  /* of the last stage */
    uint16_t before; /* the node before it, or NO_NODE */
} step;

typedef struct table {
    const placement_problem *p;
    uint64_t *cost; /* [2^n_nodes][n_nodes][n_units + 1] */
    step *steps;    /* likewise */
} table;

static size_t row_of(const table *t, uint32_t used, uint32_t last)
{
    return ((size_t)used * t->p->n_nodes + last) * (t->p->n_units + 1);
}

static uint64_t link_of(const placement_problem *p, uint32_t from, uint32_t to)
{
    return p->links[(size_t)from * (p->n_nodes + 1) + to];
}

/* The least cost of having units [0, begin) done and handed to `last`. */
static uint64_t enter(const table *t, uint32_t before, uint32_t last, uint32_t begin, uint16_t *from)
{
    const placement_problem *p = t->p;
    uint64_t least = PLACEMENT_NEVER;
    *from = NO_NODE;
    if (!before) return begin == 0 ? link_of(p, p->n_nodes, last) : PLACEMENT_NEVER;
    for (uint32_t k = 0; k < p->n_nodes; k++) {
        if (!(before >> k & 1)) continue;
        uint64_t cost = placement_combine(p, t->cost[row_of(t, before, k) + begin], link_of(p, k, last));
        if (cost <= least && cost < PLACEMENT_NEVER) {
            least = cost;
            *from = (uint16_t)k;
        }
    }
    return least;
}

static void fill_row(table *t, uint32_t used, uint32_t last)
{
    const placement_problem *p = t->p;
    const uint64_t *prefix = &p->prefix[(size_t)last * (p->n_units + 1)];
    uint64_t *cost = &t->cost[row_of(t, used, last)];
    step *steps = &t->steps[row_of(t, used, last)];
    for (uint32_t end = 0; end <= p->n_units; end++) cost[end] = PLACEMENT_NEVER;
    for (uint32_t begin = 0; begin < p->n_units; begin++) {
        uint32_t fit = p->fit[(size_t)last * p->n_units + begin];
        if (fit == begin) continue;
        uint16_t from;
        uint64_t entry = enter(t, used & ~(1u << last), last, begin, &from);
        if (entry >= PLACEMENT_NEVER) continue;
        for (uint32_t end = begin + 1; end <= fit; end++) {
            uint64_t busy = prefix[end] - prefix[begin];
            if (busy > p->cap) break;
            uint64_t whole = p->sum == PLACEMENT_LARGEST ? (busy > entry ? busy : entry) : entry + busy;
            if (whole > cost[end] || whole >= PLACEMENT_NEVER) continue; /* an equal one begins later: earlier stages get more */
            cost[end] = whole;
            steps[end] = (step){(uint16_t)begin, from};
        }
    }
}

static void trace(placement_chain *out, const table *t, uint32_t used, uint32_t last)
{
    uint32_t end = t->p->n_units, n = (uint32_t)__builtin_popcount(used);
    out->n_stages = n;
    while (n-- > 0) {
        step s = t->steps[row_of(t, used, last) + end];
        out->nodes[n] = last;
        out->ends[n] = end;
        used &= ~(1u << last);
        last = s.before;
        end = s.begin;
    }
    assert(end == 0 && used == 0);
}

/* Over all sets of the right size, the cheapest chain that places every unit and answers the coordinator. */
static void choose(placement_chain *out, const table *t, uint32_t n_stages, uint64_t *with)
{
    const placement_problem *p = t->p;
    uint32_t best_used = 0, best_last = 0;
    for (uint32_t used = 1; used < 1u << p->n_nodes; used++) {
        uint32_t n = (uint32_t)__builtin_popcount(used);
        if (n_stages && n != n_stages) continue;
        for (uint32_t last = 0; last < p->n_nodes; last++) {
            if (!(used >> last & 1)) continue;
            uint64_t cost = placement_combine(p, t->cost[row_of(t, used, last) + p->n_units], link_of(p, last, p->n_nodes));
            for (uint32_t k = 0; k < p->n_nodes && with; k++) {
                if (used >> k & 1 && cost < with[k]) with[k] = cost;
            }
            bool is_tie = cost == out->cost && best_used;
            if (cost < out->cost || (is_tie && (used == best_used || n < (uint32_t)__builtin_popcount(best_used)))) {
                out->cost = cost;
                best_used = used;
                best_last = last;
            }
        }
    }
    if (best_used) trace(out, t, best_used, best_last);
}

yl_status placement_exact(placement_chain *out, const placement_problem *p, uint32_t n_stages, uint64_t *with, yl_error *err)
{
    assert(p->n_nodes <= PLACEMENT_EXACT_NODES && p->n_units <= PLACEMENT_EXACT_LAYERS + 2);
    *out = (placement_chain){.cost = PLACEMENT_NEVER};
    size_t n = ((size_t)1 << p->n_nodes) * p->n_nodes * (p->n_units + 1);
    table t = {p, calloc(n, sizeof *t.cost), calloc(n, sizeof *t.steps)};
    bool has_memory = t.cost && t.steps;
    for (uint32_t used = 1; has_memory && used < 1u << p->n_nodes; used++) {
        if (n_stages && (uint32_t)__builtin_popcount(used) > n_stages) continue;
        for (uint32_t last = 0; last < p->n_nodes; last++) {
            if (used >> last & 1) fill_row(&t, used, last);
        }
    }
    if (has_memory) choose(out, &t, n_stages, with);
    free(t.cost);
    free(t.steps);
    return has_memory ? YL_OK : yl_fail(err, YL_ENOMEM, "no memory to look for a placement");
}
