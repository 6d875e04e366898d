/* Placement on uneven machines against brute force: every order of every set of nodes, every way to cut, by costs that are written
 * down here a second time. Then memory, ties, and the search over orders. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "placement.h"
#include "placement_internal.h"
#include "prng.h"

enum { MAX_NODES = 12, MAX_LAYERS = 40, N_CASES = 1000, SEED = 20 };

typedef struct rig {
    placement_model m;
    placement_unit layers[MAX_LAYERS];
    placement_node nodes[MAX_NODES];
    placement_link links[(MAX_NODES + 1) * (MAX_NODES + 1)];
    placement_spec spec;
} rig;

/* ---- costs, once more ---- */

static double max2(double a, double b)
{
    return a > b ? a : b;
}

static const placement_unit *unit_at(const rig *r, uint32_t unit)
{
    if (unit == 0) return &r->m.embd;
    return unit <= r->m.n_layer ? &r->layers[unit - 1] : &r->m.head;
}

static double line(const double *ms, double rows)
{
    if (rows <= 8) return ms[0] + (ms[1] - ms[0]) * (rows - 1) / 7;
    if (rows <= 64) return ms[1] + (ms[2] - ms[1]) * (rows - 8) / 56;
    return ms[2] * rows / 64;
}

static double unit_ms(const rig *r, uint32_t node, uint32_t unit, double rows)
{
    const placement_node *n = &r->nodes[node];
    const placement_unit *u = unit_at(r, unit);
    double bytes = (double)u->read_bytes, macs = (double)u->macs, ms = 0;
    if (unit == 0) return n->bytes_per_s > 0 ? 1e3 * rows * bytes / n->bytes_per_s : 0;
    if (n->layer_ms[0] == 0)
        ms = max2(1e3 * bytes / n->bytes_per_s, 1e3 * rows * macs / n->macs_per_s);
    else if (unit == r->m.n_layer + 1 && n->head_ms[0] > 0)
        ms = line(n->head_ms, rows);
    else {
        double b = bytes / (double)r->layers[0].read_bytes, c = macs / (double)r->layers[0].macs;
        double own[3] = {n->layer_ms[0] * b, n->layer_ms[1] * (b + c) / 2, n->layer_ms[2] * c};
        ms = line(own, rows);
    }
    if (unit == r->m.n_layer + 1) return ms;
    double past = rows * r->spec.n_past, read = 0, multiply = 0;
    if (n->bytes_per_s > 0) read = 1e3 * past * (double)r->m.kv_row_bytes / n->bytes_per_s;
    if (n->macs_per_s > 0) multiply = 1e3 * past * (double)r->m.kv_row_macs / n->macs_per_s;
    return ms + max2(read, multiply);
}

static double stage_ms(const rig *r, uint32_t node, uint32_t begin, uint32_t end, double rows)
{
    double ms = 0;
    for (uint32_t u = begin; u < end; u++) ms += unit_ms(r, node, u, rows);
    return ms;
}

static double link_busy(const rig *r, uint32_t from, uint32_t to, double rows)
{
    uint32_t n = r->spec.n_nodes;
    double bytes = 128 + rows * (from == n ? 4 : to == n ? 4096 : 4.0 * r->m.n_embd);
    return 1e3 * bytes / r->links[from * (n + 1) + to].bytes_per_s;
}

static double link_ms(const rig *r, uint32_t from, uint32_t to, double rows)
{
    return r->links[from * (r->spec.n_nodes + 1) + to].rtt_ms / 2 + link_busy(r, from, to, rows);
}

static bool fits(const rig *r, uint32_t node, uint32_t begin, uint32_t end)
{
    uint64_t n = r->nodes[node].fixed_bytes;
    bool has_layer = false;
    for (uint32_t u = begin; u < end; u++) {
        bool is_head = u == r->m.n_layer + 1, is_layer = u > 0 && !is_head;
        has_layer |= is_layer;
        n += unit_at(r, u)->memory_bytes + (is_layer ? r->m.kv_layer_bytes : 0);
    }
    if (has_layer) n += r->m.shared_bytes;
    if (begin == 0 && end == r->m.n_layer + 2 && r->m.tied_embeddings) n -= r->m.embd.memory_bytes;
    return n <= r->nodes[node].free_bytes;
}

/* A chain: nodes and the end of each one's units. */
typedef struct chain {
    uint32_t n, nodes[MAX_NODES], ends[MAX_NODES];
} chain;

static double rows_of(const rig *r, uint32_t n_stages)
{
    return max2(1, (double)r->spec.n_seq / n_stages);
}

static double chain_cost(const rig *r, const chain *c, placement_objective objective)
{
    double sum = 0, busiest = 0, rows = objective == PLACEMENT_LATENCY ? 1 : rows_of(r, c->n);
    uint32_t from = r->spec.n_nodes, begin = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        double ms = stage_ms(r, c->nodes[i], begin, c->ends[i], rows);
        sum += link_ms(r, from, c->nodes[i], rows) + ms;
        busiest = max2(busiest, max2(ms, link_busy(r, from, c->nodes[i], rows)));
        from = c->nodes[i];
        begin = c->ends[i];
    }
    sum += link_ms(r, from, r->spec.n_nodes, rows);
    busiest = max2(busiest, link_busy(r, from, r->spec.n_nodes, rows));
    return objective == PLACEMENT_LATENCY ? sum : c->n * busiest;
}

/* ---- brute force ---- */

typedef struct brute {
    const rig *r;
    double best, with[MAX_NODES]; /* of all chains, of those that use a node; infinite: none */
} brute;

static void try_chains(brute *b, chain *c, uint32_t begin)
{
    const rig *r = b->r;
    if (begin == r->m.n_layer + 2) {
        double cost = chain_cost(r, c, r->spec.objective);
        if (cost < b->best) b->best = cost;
        for (uint32_t i = 0; i < c->n; i++)
            if (cost < b->with[c->nodes[i]]) b->with[c->nodes[i]] = cost;
        return;
    }
    for (uint32_t node = 0; node < r->spec.n_nodes; node++) {
        bool is_used = false;
        for (uint32_t i = 0; i < c->n; i++) is_used |= c->nodes[i] == node;
        if (is_used) continue;
        c->nodes[c->n++] = node;
        for (uint32_t end = begin + 1; end <= r->m.n_layer + 2; end++) {
            if (!fits(r, node, begin, end)) continue;
            c->ends[c->n - 1] = end;
            try_chains(b, c, end);
        }
        c->n--;
    }
}

static brute find_by_force(const rig *r)
{
    brute b = {.r = r, .best = INFINITY};
    for (uint32_t i = 0; i < MAX_NODES; i++) b.with[i] = INFINITY;
    chain c = {0};
    try_chains(&b, &c, 0);
    return b;
}

/* ---- cases ---- */

static double between(prng *p, double low, double high)
{
    return low + (high - low) * (double)prng_f32(p);
}

static void random_node(rig *r, uint32_t i, prng *p, uint64_t whole)
{
    placement_node *n = &r->nodes[i];
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"};
    *n = (placement_node){.name = names[i], .fixed_bytes = (uint64_t)prng_int(p, 0, 50000)};
    n->free_bytes = (uint64_t)between(p, 0, 1.2 * (double)whole);
    bool is_measured = prng_int(p, 0, 2), is_bare = is_measured && prng_int(p, 0, 2);
    if (!is_bare) n->bytes_per_s = between(p, 1e8, 1e9);
    if (!is_bare) n->macs_per_s = between(p, 1e8, 4e9);
    if (!is_measured) return;
    n->layer_ms[0] = between(p, 0.1, 5);
    n->layer_ms[1] = n->layer_ms[0] * between(p, 1, 8);
    n->layer_ms[2] = n->layer_ms[1] * between(p, 1, 8);
    if (prng_int(p, 0, 2))
        for (int k = 0; k < 3; k++) n->head_ms[k] = n->layer_ms[k] * between(p, 0.5, 4);
}

static void random_links(rig *r, prng *p)
{
    bool are_slow = prng_int(p, 0, 2);
    uint32_t n = r->spec.n_nodes + 1;
    for (uint32_t i = 0; i < n * n; i++)
        r->links[i] =
            (placement_link){.rtt_ms = between(p, 0, are_slow ? 5 : 0.2), .bytes_per_s = between(p, 1e6, are_slow ? 2e7 : 1e9)};
}

/* Pieces of the rig point at each other, so it is filled in place. */
static void connect_rig(rig *r, uint32_t n_nodes, uint32_t n_layer)
{
    r->m.n_layer = n_layer;
    r->m.layers = r->layers;
    r->spec.model = &r->m;
    r->spec.nodes = r->nodes;
    r->spec.links = r->links;
    r->spec.n_nodes = n_nodes;
}

static void random_rig(rig *r, prng *p, uint32_t n_nodes, uint32_t n_layer)
{
    *r = (rig){0};
    connect_rig(r, n_nodes, n_layer);
    uint64_t whole = 0;
    for (uint32_t i = 0; i < n_layer; i++) {
        uint64_t bytes = (uint64_t)prng_int(p, 100000, 1000000);
        r->layers[i] =
            (placement_unit){.memory_bytes = bytes + (uint64_t)prng_int(p, 0, 1000), .read_bytes = bytes, .macs = 2 * bytes};
        whole += bytes;
    }
    uint64_t matrix = (uint64_t)prng_int(p, 100000, 2000000);
    r->m.tied_embeddings = prng_int(p, 0, 2);
    r->m.embd = (placement_unit){.memory_bytes = matrix, .read_bytes = 1000};
    r->m.head = (placement_unit){.memory_bytes = matrix + 100, .read_bytes = matrix, .macs = 2 * matrix};
    r->m.n_embd = (uint32_t)prng_int(p, 64, 4096);
    r->m.shared_bytes = (uint64_t)prng_int(p, 0, 300000);
    r->m.kv_layer_bytes = (uint64_t)prng_int(p, 0, 200000);
    r->m.kv_row_bytes = (uint64_t)prng_int(p, 0, 1000);
    r->m.kv_row_macs = (uint64_t)prng_int(p, 0, 1000);
    r->spec.n_seq = (uint32_t)prng_int(p, 1, 20) * (prng_int(p, 0, 4) ? 1 : 10);
    r->spec.n_past = (uint32_t)prng_int(p, 0, 500);
    whole += 2 * matrix + n_layer * r->m.kv_layer_bytes;
    for (uint32_t i = 0; i < n_nodes; i++) random_node(r, i, p, whole);
    random_links(r, p);
}

/* A case where every number is round: layers of 1 MB, machines of 1 GB/s, links that cost nothing to speak of. */
static void plain_rig(rig *r, uint32_t n_nodes, uint32_t n_layer)
{
    *r = (rig){.m = {.n_embd = 1, .embd = {1000, 0, 0}, .head = {1000000, 1000000, 1}}, .spec = {.n_seq = 1}};
    connect_rig(r, n_nodes, n_layer);
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"};
    for (uint32_t i = 0; i < n_layer; i++) r->layers[i] = (placement_unit){1000000, 1000000, 1};
    for (uint32_t i = 0; i < n_nodes; i++)
        r->nodes[i] = (placement_node){.name = names[i], .bytes_per_s = 1e9, .macs_per_s = 1e9, .free_bytes = 1u << 30};
    for (uint32_t i = 0; i < (n_nodes + 1) * (n_nodes + 1); i++) r->links[i] = (placement_link){.bytes_per_s = 1e12};
}

/* ---- checks ---- */

static bool is_near(double a, double b)
{
    return fabs(a - b) <= 1e-6 * max2(fabs(a), fabs(b));
}

/* Reads a placement back, and checks that it is one: all units in order, no node twice, no memory passed. */
static chain check_whole(const rig *r, const placement *p)
{
    chain c = {.n = p->n_stages};
    uint32_t next = 0;
    assert_true(p->n_stages > 0 && p->n_stages <= r->spec.n_nodes);
    for (uint32_t i = 0; i < p->n_stages; i++) {
        const slice_range *range = &p->stages[i].range;
        hparams hp = {.n_layer = r->m.n_layer};
        assert_int_equal(slice_range_check(range, &hp, NULL), YL_OK);
        assert_true(range->has_embd == (i == 0) && range->has_head == (i == p->n_stages - 1));
        uint32_t begin = range->has_embd ? 0 : range->layer_begin + 1, end = range->layer_end + 1 + range->has_head;
        assert_int_equal(begin, next);
        c.nodes[i] = p->stages[i].node;
        c.ends[i] = next = end;
        for (uint32_t k = 0; k < i; k++) assert_int_not_equal(c.nodes[k], c.nodes[i]);
        assert_true(fits(r, c.nodes[i], begin, end));
        assert_int_equal(p->reasons[c.nodes[i]], PLACEMENT_USED);
    }
    assert_int_equal(next, r->m.n_layer + 2);
    return c;
}

static void check_left_out(const rig *r, const placement *p, const brute *b)
{
    for (uint32_t i = 0; i < r->spec.n_nodes; i++) {
        if (p->reasons[i] == PLACEMENT_USED) continue;
        if (isfinite(b->with[i])) {
            assert_int_equal(p->reasons[i], PLACEMENT_SLOWER);
            if (!is_near(p->cost_with_ms[i], b->with[i]))
                fail_msg("node %u: %.9g, by force %.9g", i, p->cost_with_ms[i], b->with[i]);
        } else {
            assert_int_equal(p->reasons[i], PLACEMENT_NO_MEMORY);
        }
    }
}

static void random_cases_equal_brute_force(void **state)
{
    (void)state;
    unsigned n_placed = 0, n_refused = 0, n_chains = 0;
    for (unsigned i = 0; i < N_CASES; i++) {
        prng p = prng_stream(SEED, i, 0);
        rig r;
        random_rig(&r, &p, (uint32_t)prng_int(&p, 1, 5), (uint32_t)prng_int(&p, 1, 6));
        for (int objective = 0; objective < 2; objective++) {
            r.spec.objective = (placement_objective)objective;
            brute b = find_by_force(&r);
            placement found;
            yl_error err;
            yl_status status = placement_find(&found, &r.spec, &err);
            if (!isfinite(b.best)) {
                assert_int_equal(status, YL_ENOMEM);
                assert_non_null(strstr(err.msg, "needs "));
                n_refused++;
                continue;
            }
            if (status) fail_msg("case %u, seed %d: %s", i, SEED, err.msg);
            chain c = check_whole(&r, &found);
            if (!is_near(found.cost_ms, b.best) || !is_near(chain_cost(&r, &c, r.spec.objective), b.best))
                fail_msg("case %u, seed %d, objective %d: %.9g ms (%.9g said), by force %.9g", i, SEED, objective,
                         chain_cost(&r, &c, r.spec.objective), found.cost_ms, b.best);
            assert_true(found.is_exact);
            check_left_out(&r, &found, &b);
            n_placed++;
            n_chains += c.n > 1;
        }
    }
    /* Otherwise the cases say little. */
    assert_true(n_placed > 1000 && n_refused > 50 && n_chains > 300);
}

/* Ten nodes are more than brute force can do, but the answer must be one, and no worse than with some of them only. */
static void ten_nodes_are_no_worse_than_nine(void **state)
{
    (void)state;
    rig r;
    prng p = prng_stream(SEED, 1, 1);
    random_rig(&r, &p, 10, 24);
    placement all, fewer;
    for (int objective = 0; objective < 2; objective++) {
        r.spec.objective = (placement_objective)objective;
        assert_int_equal(placement_find(&all, &r.spec, NULL), YL_OK);
        chain c = check_whole(&r, &all);
        assert_true(all.is_exact && is_near(chain_cost(&r, &c, r.spec.objective), all.cost_ms));
        for (uint32_t left_out = 0; left_out < 10; left_out += 3) {
            uint64_t free_bytes = r.nodes[left_out].free_bytes;
            r.nodes[left_out].free_bytes = 0;
            yl_status status = placement_find(&fewer, &r.spec, NULL);
            r.nodes[left_out].free_bytes = free_bytes;
            if (status) continue;
            assert_true(fewer.cost_ms >= all.cost_ms);
            assert_int_equal(fewer.reasons[left_out], PLACEMENT_NO_MEMORY);
            if (all.reasons[left_out] != PLACEMENT_USED) assert_true(fewer.cost_ms == all.cost_ms);
        }
    }
}

/* ---- ties ---- */

static void equal_machines_are_taken_in_their_order(void **state)
{
    (void)state;
    rig r;
    placement p;
    plain_rig(&r, 4, 9);
    assert_int_equal(placement_find(&p, &r.spec, NULL), YL_OK); /* one stream: nothing is gained by a second one */
    assert_int_equal(p.n_stages, 1);
    assert_int_equal(p.stages[0].node, 0);
    assert_int_equal(p.reasons[1], PLACEMENT_SLOWER);

    for (uint32_t i = 0; i < 4; i++) r.nodes[i].free_bytes = 4000000; /* ten units of 1 MB in pieces of at most four */
    assert_int_equal(placement_find(&p, &r.spec, NULL), YL_OK);
    assert_int_equal(p.n_stages, 3);
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(p.stages[i].node, i);
    assert_int_equal(p.stages[0].range.layer_end, 3); /* 1 kB of embedding leaves no room for a fourth */
    assert_int_equal(p.stages[1].range.layer_end, 7);

    r.nodes[3] = r.nodes[2];
    r.nodes[3].name = "d";
    r.nodes[0].free_bytes = r.nodes[1].free_bytes = 1u << 30;
    r.spec.objective = PLACEMENT_THROUGHPUT;
    placement again;
    assert_int_equal(placement_find(&p, &r.spec, NULL), YL_OK);
    assert_int_equal(placement_find(&again, &r.spec, NULL), YL_OK);
    assert_memory_equal(p.stages, again.stages, p.n_stages * sizeof *p.stages);
}

/* The busiest stage alone does not say where the other layers go: the latency does. */
static void throughput_breaks_ties_by_latency(void **state)
{
    (void)state;
    rig r;
    placement p;
    plain_rig(&r, 2, 9);
    for (uint32_t i = 0; i < 9; i++) r.layers[i].macs = 1000000;
    r.m.head.macs = 1000000;
    r.spec.n_seq = 64;
    r.spec.objective = PLACEMENT_THROUGHPUT;
    assert_int_equal(placement_find(&p, &r.spec, NULL), YL_OK);
    assert_int_equal(p.n_stages, 2); /* bound by arithmetic, two machines do twice as much */
    assert_int_equal(p.stages[0].range.layer_end, 5);
    assert_true(is_near(p.cost_ms, 2 * 32 * 5.0));

    r.links[0 * 3 + 1].rtt_ms = 50; /* a to b */
    assert_int_equal(placement_find(&p, &r.spec, NULL), YL_OK);
    assert_int_equal(p.stages[0].node, 1);
    assert_int_equal(p.stages[1].node, 0);
}

/* Bound by memory, a second stage only has the weights read twice: the same rate, so one is enough. */
static void reading_the_weights_twice_is_no_gain(void **state)
{
    (void)state;
    rig r;
    placement p;
    plain_rig(&r, 2, 9);
    r.spec.n_seq = 8;
    r.spec.objective = PLACEMENT_THROUGHPUT;
    assert_int_equal(placement_find(&p, &r.spec, NULL), YL_OK);
    assert_int_equal(p.n_stages, 1);
    assert_true(is_near(p.cost_ms, 10));
    assert_true(is_near(p.cost_with_ms[1], 10));
}

static void the_head_is_weighed_and_may_stand_alone(void **state)
{
    (void)state;
    rig r;
    placement p;
    plain_rig(&r, 2, 4);
    r.m.head = (placement_unit){40000000, 40000000, 1};
    r.nodes[0].free_bytes = 5000000;
    r.nodes[1].free_bytes = 40000000;
    assert_int_equal(placement_find(&p, &r.spec, NULL), YL_OK);
    assert_int_equal(p.n_stages, 2);
    assert_int_equal(p.stages[0].range.layer_end, 4);
    assert_int_equal(p.stages[1].range.layer_begin, 4);
    assert_true(p.stages[1].range.has_head);
    r.nodes[1].free_bytes--;
    yl_error err;
    assert_int_equal(placement_find(&p, &r.spec, &err), YL_ENOMEM);
}

static void the_message_says_what_is_missing(void **state)
{
    (void)state;
    rig r;
    placement p;
    yl_error err;
    plain_rig(&r, 2, 9);
    for (uint32_t i = 0; i < 9; i++) r.layers[i].memory_bytes = 1000000000;
    r.m.kv_layer_bytes = 100000000;
    r.nodes[0].free_bytes = 4000000000;
    r.nodes[1].free_bytes = 3200000000;
    r.nodes[1].fixed_bytes = 100000000;
    assert_int_equal(placement_find(&p, &r.spec, &err), YL_ENOMEM);
    assert_string_equal(err.msg,
                        "needs 9.9 GB (0.9 of it KV cache), the machines have 7.1 GB together beside scratch: add a worker, or "
                        "take a smaller quantization or -c");
    r.nodes[0].free_bytes = 6900000000;
    assert_int_equal(placement_find(&p, &r.spec, &err), YL_ENOMEM);
    assert_non_null(strstr(err.msg, "but whole layers do not fill it"));
}

/* ---- many nodes ---- */

static void an_order_is_never_better_than_the_best(void **state)
{
    (void)state;
    double worst = 1;
    unsigned n_equal = 0, n = 0;
    for (unsigned i = 0; i < 200; i++) {
        prng p = prng_stream(SEED, i, 2);
        rig r;
        random_rig(&r, &p, (uint32_t)prng_int(&p, 2, 7), (uint32_t)prng_int(&p, 4, 20));
        placement_problem problem;
        placement_chain best, good;
        assert_int_equal(placement_problem_init(&problem, &r.spec, NULL), YL_OK);
        for (int sum = 0; sum < 2; sum++) {
            assert_int_equal(placement_problem_set_times(&problem, 2, (placement_sum)sum, PLACEMENT_NEVER, NULL), YL_OK);
            assert_int_equal(placement_exact(&best, &problem, 0, NULL, NULL), YL_OK);
            assert_int_equal(placement_by_order(&good, &problem, NULL), YL_OK);
            assert_true(good.cost >= best.cost);
            if (good.cost == PLACEMENT_NEVER) continue;
            double ratio = (double)good.cost / (double)best.cost;
            worst = max2(worst, ratio);
            n_equal += good.cost == best.cost;
            n++;
        }
        placement_problem_clear(&problem);
    }
    if (worst > 1.5 || n_equal < n * 9 / 10) fail_msg("%u of %u equal, the worst %.3f times the best", n_equal, n, worst);
}

static void twelve_nodes_are_placed_within_their_memory(void **state)
{
    (void)state;
    unsigned n_placed = 0;
    for (unsigned i = 0; i < 10; i++) {
        prng p = prng_stream(SEED, i, 3);
        rig r;
        random_rig(&r, &p, 12, 40);
        for (int objective = 0; objective < 2; objective++) {
            r.spec.objective = (placement_objective)objective;
            placement found;
            if (placement_find(&found, &r.spec, NULL)) continue;
            chain c = check_whole(&r, &found);
            assert_false(found.is_exact);
            assert_true(is_near(chain_cost(&r, &c, r.spec.objective), found.cost_ms));
            for (uint32_t node = 0; node < 12; node++) {
                chain alone = {.n = 1, .nodes = {node}, .ends = {42}};
                if (fits(&r, node, 0, 42)) assert_true(found.cost_ms <= chain_cost(&r, &alone, r.spec.objective) * (1 + 1e-9));
            }
            n_placed++;
        }
    }
    assert_true(n_placed >= 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_cases_equal_brute_force),
        cmocka_unit_test(ten_nodes_are_no_worse_than_nine),
        cmocka_unit_test(equal_machines_are_taken_in_their_order),
        cmocka_unit_test(throughput_breaks_ties_by_latency),
        cmocka_unit_test(reading_the_weights_twice_is_no_gain),
        cmocka_unit_test(the_head_is_weighed_and_may_stand_alone),
        cmocka_unit_test(the_message_says_what_is_missing),
        cmocka_unit_test(an_order_is_never_better_than_the_best),
        cmocka_unit_test(twelve_nodes_are_placed_within_their_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
