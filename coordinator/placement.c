/* placement.c: from a spec to a placement, and why nodes are left out.
 *
 * Latency is one search. Throughput is one for each number of stages, because it decides how many rows share a reading of the
 * weights: the busiest stage or link is made as little busy as can be; then, with that as a limit, the latency. */
#include "placement.h"

#include <inttypes.h>
#include <stdlib.h>

#include "placement_cost.h"
#include "placement_internal.h"

typedef struct finder {
    placement_problem p;
    bool is_exact;
    uint64_t with[PLACEMENT_MAX_NODES]; /* cost of the best chain that uses each node */
} finder;

/* n_stages 0: any number. */
static yl_status search(finder *f, placement_chain *out, uint32_t n_stages, uint64_t *with, yl_error *err)
{
    return f->is_exact ? placement_exact(out, &f->p, n_stages, with, err) : placement_by_order(out, &f->p, err);
}

static yl_status find_latency(finder *f, placement_chain *out, yl_error *err)
{
    yl_status status = placement_problem_set_times(&f->p, 1, PLACEMENT_ADD, PLACEMENT_NEVER, err);
    return status ? status : search(f, out, 0, f->with, err);
}

/* A round of all groups over a chain whose busiest part takes `busiest` a group. */
static uint64_t round_of(uint64_t busiest, uint32_t n_stages)
{
    uint64_t round;
    if (busiest >= PLACEMENT_NEVER || __builtin_mul_overflow(busiest, (uint64_t)n_stages, &round)) return PLACEMENT_NEVER;
    return round < PLACEMENT_NEVER ? round : PLACEMENT_NEVER;
}

/* The same round by the number of stages that a chain has, which a search over orders may have chosen differently. */
static yl_status measure_round(finder *f, placement_chain *chain, uint64_t *round, yl_error *err)
{
    placement_problem *p = &f->p;
    *round = PLACEMENT_NEVER;
    if (chain->cost >= PLACEMENT_NEVER) return YL_OK;
    double rows = placement_group_rows(p->spec->n_seq, chain->n_stages);
    yl_status status = placement_problem_set_times(p, rows, PLACEMENT_LARGEST, PLACEMENT_NEVER, err);
    if (status) return status;
    uint32_t from = p->n_nodes, begin = 0;
    chain->cost = 0;
    for (uint32_t i = 0; i < chain->n_stages; i++) {
        const uint64_t *prefix = &p->prefix[(size_t)chain->nodes[i] * (p->n_units + 1)];
        chain->cost = placement_combine(p, chain->cost, p->links[(size_t)from * (p->n_nodes + 1) + chain->nodes[i]]);
        chain->cost = placement_combine(p, chain->cost, prefix[chain->ends[i]] - prefix[begin]);
        from = chain->nodes[i];
        begin = chain->ends[i];
    }
    chain->cost = placement_combine(p, chain->cost, p->links[(size_t)from * (p->n_nodes + 1) + p->n_nodes]);
    *round = round_of(chain->cost, chain->n_stages);
    return YL_OK;
}

/* The least latency among chains that are no busier than `busiest`. Cannot fail to find the chain that gave this figure. */
static yl_status settle_ties(finder *f, placement_chain *out, uint32_t n_stages, double n_rows, uint64_t busiest, yl_error *err)
{
    yl_status status = placement_problem_set_times(&f->p, n_rows, PLACEMENT_ADD, busiest, err);
    return status ? status : search(f, out, n_stages, NULL, err);
}

static yl_status find_throughput(finder *f, placement_chain *out, yl_error *err)
{
    *out = (placement_chain){.cost = PLACEMENT_NEVER};
    uint64_t busiest = PLACEMENT_NEVER;
    double n_rows = 1;
    uint32_t n_max = f->p.n_nodes < f->p.n_units ? f->p.n_nodes : f->p.n_units;
    for (uint32_t n = 1; n <= n_max; n += f->is_exact ? 1 : 1 + n / 8) { /* a search over orders finds other numbers too */
        uint64_t with[PLACEMENT_MAX_NODES];
        for (uint32_t i = 0; i < f->p.n_nodes; i++) with[i] = PLACEMENT_NEVER;
        double rows = placement_group_rows(f->p.spec->n_seq, n);
        placement_chain chain;
        yl_status status = placement_problem_set_times(&f->p, rows, PLACEMENT_LARGEST, PLACEMENT_NEVER, err);
        uint64_t round = PLACEMENT_NEVER;
        if (!status) status = search(f, &chain, n, with, err);
        if (!status) status = measure_round(f, &chain, &round, err);
        if (status) return status;
        for (uint32_t i = 0; i < f->p.n_nodes; i++) {
            uint64_t with_it = round_of(with[i], n);
            if (with_it < f->with[i]) f->with[i] = with_it;
        }
        if (round >= out->cost) continue;
        *out = chain;
        out->cost = round;
        busiest = chain.cost;
        n_rows = rows;
    }
    if (out->cost >= PLACEMENT_NEVER || !f->is_exact) return YL_OK;
    uint64_t round = out->cost;
    yl_status status = settle_ties(f, out, out->n_stages, n_rows, busiest, err);
    out->cost = round;
    return status;
}

/* ---- the answer ---- */

static const double PS_PER_MS = 1e9;

static void explain(placement *out, const finder *f)
{
    for (uint32_t i = 0; i < f->p.n_nodes; i++) {
        bool has_room = false;
        for (uint32_t u = 0; u < f->p.n_units; u++) has_room |= f->p.fit[(size_t)i * f->p.n_units + u] > u;
        bool is_known = f->with[i] < PLACEMENT_NEVER;
        out->reasons[i] = has_room && (is_known || !f->is_exact) ? PLACEMENT_SLOWER : PLACEMENT_NO_MEMORY;
        out->cost_with_ms[i] = is_known ? (double)f->with[i] / PS_PER_MS : 0;
    }
    for (uint32_t i = 0; i < out->n_stages; i++) {
        out->reasons[out->stages[i].node] = PLACEMENT_USED;
        out->cost_with_ms[out->stages[i].node] = 0;
    }
}

static void write_chain(placement *out, const finder *f, const placement_chain *chain)
{
    *out = (placement){.n_stages = chain->n_stages, .cost_ms = (double)chain->cost / PS_PER_MS, .is_exact = f->is_exact};
    uint32_t begin = 0;
    for (uint32_t i = 0; i < chain->n_stages; i++) {
        out->stages[i].node = chain->nodes[i];
        out->stages[i].range = placement_range_of(f->p.spec->model, begin, chain->ends[i]);
        begin = chain->ends[i];
    }
    explain(out, f);
}

static yl_status does_not_fit(const placement_spec *spec, yl_error *err)
{
    static const double GB = 1e9;
    slice_range whole = placement_range_of(spec->model, 0, placement_n_units(spec->model));
    double kv = (double)placement_kv_bytes(spec->model, &whole) / GB;
    double needed = (double)placement_weight_bytes(spec->model, &whole) / GB + kv, together = 0;
    for (uint32_t i = 0; i < spec->n_nodes; i++) {
        const placement_node *n = &spec->nodes[i];
        if (n->free_bytes > n->fixed_bytes) together += (double)(n->free_bytes - n->fixed_bytes) / GB;
    }
    bool has_sum = together >= needed;
    return yl_fail(err, YL_ENOMEM,
                   "needs %.3g GB (%.3g of it KV cache), the machine%s %.3g GB%s beside scratch%s: add a worker, or take a smaller "
                   "quantization or -c",
                   needed, kv, spec->n_nodes == 1 ? " has" : "s have", together, spec->n_nodes == 1 ? "" : " together",
                   has_sum ? ", but whole layers do not fill it" : "");
}

yl_status placement_find(placement *out, const placement_spec *spec, yl_error *err)
{
    *out = (placement){0};
    yl_status status = placement_check(spec, err);
    if (status) return status;
    finder f = {.is_exact = spec->n_nodes <= PLACEMENT_EXACT_NODES && spec->model->n_layer <= PLACEMENT_EXACT_LAYERS};
    status = placement_problem_init(&f.p, spec, err);
    if (status) return status;
    for (uint32_t i = 0; i < spec->n_nodes; i++) f.with[i] = PLACEMENT_NEVER;
    placement_chain chain;
    status = spec->objective == PLACEMENT_LATENCY ? find_latency(&f, &chain, err) : find_throughput(&f, &chain, err);
    if (!status && chain.cost >= PLACEMENT_NEVER) status = does_not_fit(spec, err);
    if (!status) write_chain(out, &f, &chain);
    placement_problem_clear(&f.p);
    return status;
}
