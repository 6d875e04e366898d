/* placement_order.c: a good chain where there are too many nodes or layers to be sure of the best.
 *
 * For a given order of the nodes the best cuts are easy: dynamic programming over (node, units placed), a node may be passed over.
 * What is hard is the order. We begin with two, the fastest node first and the nodes as they were named, and move single nodes to
 * other places as long as that makes the chain cheaper. The work is bounded, not the distance from the best: a chain that needs two
 * nodes moved at once is not found. */
#include "placement_internal.h"

#include <stdlib.h>
#include <string.h>

static const double MAX_STEPS = 5e7; /* of the inner loop, for all orders together: less than a tenth of a second */

enum { NO_PLACE = 0xffffffff };

typedef struct search {
    const placement_problem *p;
    uint64_t *cost;   /* [n_nodes][n_units + 1]: the node at this place is the last one used */
    uint32_t *begins; /* likewise, of its stage */
    uint32_t *before; /* likewise, the place before it or NO_PLACE */
    uint64_t n_left;  /* orders that may still be looked at */
} search;

static uint64_t link_of(const placement_problem *p, uint32_t from, uint32_t to)
{
    return p->links[(size_t)from * (p->n_nodes + 1) + to];
}

static uint64_t enter(const search *s, const uint32_t *order, uint32_t place, uint32_t begin, uint32_t *from)
{
    const placement_problem *p = s->p;
    *from = NO_PLACE;
    if (begin == 0) return link_of(p, p->n_nodes, order[place]);
    uint64_t least = PLACEMENT_NEVER;
    for (uint32_t k = 0; k < place; k++) {
        uint64_t cost = placement_combine(p, s->cost[(size_t)k * (p->n_units + 1) + begin], link_of(p, order[k], order[place]));
        if (cost < least) {
            least = cost;
            *from = k;
        }
    }
    return least;
}

static void fill_place(search *s, const uint32_t *order, uint32_t place)
{
    const placement_problem *p = s->p;
    size_t row = (size_t)place * (p->n_units + 1);
    const uint64_t *prefix = &p->prefix[(size_t)order[place] * (p->n_units + 1)];
    for (uint32_t end = 0; end <= p->n_units; end++) s->cost[row + end] = PLACEMENT_NEVER;
    for (uint32_t begin = 0; begin < p->n_units; begin++) {
        uint32_t fit = p->fit[(size_t)order[place] * p->n_units + begin], from;
        if (fit == begin) continue;
        uint64_t entry = enter(s, order, place, begin, &from);
        if (entry >= PLACEMENT_NEVER) continue;
        for (uint32_t end = begin + 1; end <= fit; end++) {
            uint64_t whole = placement_combine(p, entry, prefix[end] - prefix[begin]);
            if (prefix[end] - prefix[begin] > p->cap) break;
            if (whole > s->cost[row + end] || whole >= PLACEMENT_NEVER) continue;
            s->cost[row + end] = whole;
            s->begins[row + end] = begin;
            s->before[row + end] = from;
        }
    }
}

static void trace(placement_chain *out, const search *s, const uint32_t *order, uint32_t place)
{
    uint32_t end = s->p->n_units, n = 0;
    for (uint32_t k = place; k != NO_PLACE; n++) {
        size_t at = (size_t)k * (s->p->n_units + 1) + end;
        end = s->begins[at];
        k = s->before[at];
    }
    out->n_stages = n;
    for (end = s->p->n_units; n-- > 0;) {
        size_t at = (size_t)place * (s->p->n_units + 1) + end;
        out->nodes[n] = order[place];
        out->ends[n] = end;
        end = s->begins[at];
        place = s->before[at];
    }
}

/* The best cuts for an order, if they are better than *out. */
static bool improve(placement_chain *out, search *s, const uint32_t *order)
{
    const placement_problem *p = s->p;
    uint64_t before = out->cost;
    s->n_left--;
    for (uint32_t place = 0; place < p->n_nodes; place++) fill_place(s, order, place);
    for (uint32_t place = 0; place < p->n_nodes; place++) {
        uint64_t cost = s->cost[(size_t)place * (p->n_units + 1) + p->n_units];
        cost = placement_combine(p, cost, link_of(p, order[place], p->n_nodes));
        if (cost >= out->cost) continue;
        out->cost = cost;
        trace(out, s, order, place);
    }
    return out->cost < before;
}

static void move(uint32_t *order, uint32_t from, uint32_t to)
{
    uint32_t node = order[from];
    if (from < to)
        memmove(&order[from], &order[from + 1], (to - from) * sizeof *order);
    else
        memmove(&order[to + 1], &order[to], (from - to) * sizeof *order);
    order[to] = node;
}

static void search_from(placement_chain *out, search *s, uint32_t *order)
{
    placement_chain best = {.cost = PLACEMENT_NEVER};
    bool is_better = improve(&best, s, order);
    while (is_better) {
        is_better = false;
        for (uint32_t from = 0; from < s->p->n_nodes; from++) {
            for (uint32_t to = 0; to < s->p->n_nodes && s->n_left; to++) {
                if (from == to) continue;
                move(order, from, to);
                if (improve(&best, s, order))
                    is_better = true;
                else
                    move(order, to, from);
            }
        }
    }
    if (best.cost < out->cost) *out = best;
}

/* By the time of the whole model, the fastest first; equal ones as they were named. */
static void sort_by_speed(uint32_t *order, const placement_problem *p)
{
    for (uint32_t i = 1; i < p->n_nodes; i++) {
        for (uint32_t k = i; k > 0; k--) {
            size_t whole = p->n_units, row = p->n_units + 1;
            if (p->prefix[order[k] * row + whole] >= p->prefix[order[k - 1] * row + whole]) break;
            move(order, k, k - 1);
        }
    }
}

yl_status placement_by_order(placement_chain *out, const placement_problem *p, yl_error *err)
{
    *out = (placement_chain){.cost = PLACEMENT_NEVER};
    size_t n = (size_t)p->n_nodes * (p->n_units + 1);
    search s = {.p = p,
                .cost = calloc(n, sizeof *s.cost),
                .begins = calloc(n, sizeof *s.begins),
                .before = calloc(n, sizeof *s.before)};
    bool has_memory = s.cost && s.begins && s.before;
    uint64_t n_orders = (uint64_t)(MAX_STEPS / ((double)n * (p->n_nodes + p->n_units / 2.0)));
    for (unsigned way = 0; way < 2 && has_memory; way++) {
        uint32_t order[PLACEMENT_MAX_NODES];
        for (uint32_t i = 0; i < p->n_nodes; i++) order[i] = i;
        if (way == 0) sort_by_speed(order, p);
        s.n_left = n_orders / 2 + 1;
        search_from(out, &s, order);
    }
    free(s.cost);
    free(s.begins);
    free(s.before);
    return has_memory ? YL_OK : yl_fail(err, YL_ENOMEM, "no memory to look for a placement");
}
