/* placement_problem.c: a spec's doubles and bytes, checked once and turned into tables.
 *
 * Which slices fit is monotone both ways: a longer slice needs more, and a slice that begins later less. (Also with tied
 * embeddings: there the embedding costs nothing beside the head, and that is no less than without it.) So one walk with two ends
 * finds, for each beginning, how far a slice may reach. */
#include "placement_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "placement_cost.h"

/* ---- memory ---- */

uint64_t placement_weight_bytes(const placement_model *m, const slice_range *r)
{
    uint64_t n = r->has_embd ? m->embd.memory_bytes : 0;
    for (uint32_t i = r->layer_begin; i < r->layer_end; i++) n += m->layers[i].memory_bytes;
    if (r->layer_end > r->layer_begin) n += m->shared_bytes;
    if (r->has_head) n += m->head.memory_bytes;
    if (r->has_head && r->has_embd && m->tied_embeddings) n -= m->embd.memory_bytes;
    return n;
}

uint64_t placement_kv_bytes(const placement_model *m, const slice_range *r)
{
    return (uint64_t)(r->layer_end - r->layer_begin) * m->kv_layer_bytes;
}

static uint64_t room_of(const placement_node *node)
{
    return node->free_bytes > node->fixed_bytes ? node->free_bytes - node->fixed_bytes : 0;
}

bool placement_fits(const placement_model *m, const placement_node *node, const slice_range *r)
{
    uint64_t room = room_of(node);
    return room > 0 && placement_weight_bytes(m, r) + placement_kv_bytes(m, r) <= room;
}

/* Bytes of the units before each, as the walk below needs them: [n_units + 1]. */
static void sum_memory(const placement_model *m, uint64_t *before)
{
    for (uint32_t u = 0; u < placement_n_units(m); u++) {
        bool is_layer = u > 0 && u <= m->n_layer;
        before[u + 1] = before[u] + placement_unit_at(m, u)->memory_bytes + (is_layer ? m->kv_layer_bytes : 0);
    }
}

static uint64_t segment_bytes(const placement_model *m, const uint64_t *before, uint32_t begin, uint32_t end)
{
    uint32_t n_units = m->n_layer + 2;
    uint32_t layer_begin = begin > 1 ? begin : 1, layer_end = end < n_units ? end : n_units - 1;
    uint64_t n = before[end] - before[begin] + (layer_end > layer_begin ? m->shared_bytes : 0);
    return begin == 0 && end == n_units && m->tied_embeddings ? n - m->embd.memory_bytes : n;
}

static void find_fits(placement_problem *p, const uint64_t *before)
{
    const placement_model *m = p->spec->model;
    for (uint32_t node = 0; node < p->n_nodes; node++) {
        uint64_t room = room_of(&p->spec->nodes[node]);
        uint32_t end = 0;
        for (uint32_t begin = 0; begin < p->n_units; begin++) {
            if (end < begin) end = begin;
            while (room > 0 && end < p->n_units && segment_bytes(m, before, begin, end + 1) <= room) end++;
            p->fit[(size_t)node * p->n_units + begin] = end;
        }
    }
}

yl_status placement_problem_init(placement_problem *p, const placement_spec *spec, yl_error *err)
{
    size_t n = spec->n_nodes, n_units = placement_n_units(spec->model);
    *p = (placement_problem){.spec = spec, .n_nodes = spec->n_nodes, .n_units = (uint32_t)n_units, .cap = PLACEMENT_NEVER};
    p->fit = calloc(n * n_units, sizeof *p->fit);
    p->prefix = calloc(n * (n_units + 1), sizeof *p->prefix);
    p->links = calloc((n + 1) * (n + 1), sizeof *p->links);
    uint64_t *before = calloc(n_units + 1, sizeof *before);
    bool has_memory = p->fit && p->prefix && p->links && before;
    if (has_memory) {
        sum_memory(spec->model, before);
        find_fits(p, before);
    } else {
        placement_problem_clear(p);
    }
    free(before);
    return has_memory ? YL_OK : yl_fail(err, YL_ENOMEM, "no memory to place %zu units on %zu machines", n_units, n);
}

void placement_problem_clear(placement_problem *p)
{
    free(p->fit);
    free(p->prefix);
    free(p->links);
    *p = (placement_problem){0};
}

/* ---- times ---- */

/* False: it is no time at all, or too long. */
static bool to_picoseconds(double ms, uint64_t *out)
{
    if (!(ms >= 0 && ms <= PLACEMENT_MAX_MS)) return false;
    *out = (uint64_t)(ms * 1e9 + 0.5);
    return true;
}

static yl_status set_node(placement_problem *p, uint32_t node, double n_rows, yl_error *err)
{
    uint64_t *prefix = &p->prefix[(size_t)node * (p->n_units + 1)], time;
    for (uint32_t u = 0; u < p->n_units; u++) {
        double ms = placement_unit_ms(p->spec, node, u, n_rows);
        if (!to_picoseconds(ms, &time))
            return yl_fail(err, YL_EINVAL, "machine '%s' would take %g ms for a layer: its speed is not that of a computer",
                           p->spec->nodes[node].name, ms);
        prefix[u + 1] = prefix[u] + time;
    }
    return YL_OK;
}

static const char *name_of(const placement_spec *spec, uint32_t node)
{
    return node < spec->n_nodes ? spec->nodes[node].name : "the coordinator";
}

static yl_status set_link(placement_problem *p, uint32_t from, uint32_t to, double n_rows, yl_error *err)
{
    uint64_t busy, latency, *link = &p->links[(size_t)from * (p->n_nodes + 1) + to];
    if (!to_picoseconds(placement_link_busy_ms(p->spec, from, to, n_rows), &busy) ||
        !to_picoseconds(placement_link_ms(p->spec, from, to, n_rows), &latency))
        return yl_fail(err, YL_EINVAL, "the link from %s to %s is too slow to be one", name_of(p->spec, from),
                       name_of(p->spec, to));
    *link = p->sum == PLACEMENT_LARGEST ? busy : busy > p->cap ? PLACEMENT_NEVER : latency;
    return YL_OK;
}

yl_status placement_problem_set_times(placement_problem *p, double n_rows, placement_sum sum, uint64_t cap, yl_error *err)
{
    p->sum = sum;
    p->cap = cap;
    for (uint32_t node = 0; node < p->n_nodes; node++) {
        yl_status status = set_node(p, node, n_rows, err);
        if (status) return status;
    }
    for (uint32_t from = 0; from <= p->n_nodes; from++) {
        for (uint32_t to = 0; to <= p->n_nodes; to++) {
            yl_status status = from == to ? YL_OK : set_link(p, from, to, n_rows, err);
            if (status) return status;
        }
    }
    return YL_OK;
}

/* ---- checks ---- */

static bool is_rate(double v)
{
    return isfinite(v) && v > 0;
}

/* All measured, or none. */
static bool are_times(const double *ms, bool *measured)
{
    unsigned n_zero = 0;
    for (unsigned i = 0; i < PLACEMENT_N_BATCHES; i++) {
        if (!isfinite(ms[i]) || ms[i] < 0 || ms[i] > PLACEMENT_MAX_MS) return false;
        n_zero += ms[i] == 0;
    }
    *measured = n_zero == 0;
    return n_zero == 0 || n_zero == PLACEMENT_N_BATCHES;
}

static yl_status check_node(const placement_node *n, yl_error *err)
{
    bool layer_measured, head_measured;
    if (!are_times(n->layer_ms, &layer_measured) || !are_times(n->head_ms, &head_measured))
        return yl_fail(err, YL_EINVAL, "machine '%s': times of 1, 8 and 64 rows must be positive and at most %g ms, or all 0",
                       n->name, PLACEMENT_MAX_MS);
    if (head_measured && !layer_measured)
        return yl_fail(err, YL_EINVAL, "machine '%s': the head was measured, a layer was not", n->name);
    bool has_bytes = is_rate(n->bytes_per_s), has_macs = is_rate(n->macs_per_s);
    if ((!has_bytes && (n->bytes_per_s != 0 || !layer_measured)) || (!has_macs && (n->macs_per_s != 0 || !layer_measured)))
        return yl_fail(err, YL_EINVAL, "machine '%s': its memory and arithmetic need a speed above 0, or layers that were measured",
                       n->name);
    if (n->host != 0 && !is_rate(n->host_bytes_per_s))
        return yl_fail(err, YL_EINVAL, "machine '%s': the memory that it shares with others needs a speed above 0", n->name);
    return YL_OK;
}

static yl_status check_links(const placement_spec *spec, yl_error *err)
{
    for (uint32_t from = 0; from <= spec->n_nodes; from++) {
        for (uint32_t to = 0; to <= spec->n_nodes; to++) {
            const placement_link *l = &spec->links[(size_t)from * (spec->n_nodes + 1) + to];
            if (from != to && !(is_rate(l->bytes_per_s) && isfinite(l->rtt_ms) && l->rtt_ms >= 0))
                return yl_fail(err, YL_EINVAL, "the link from %s to %s needs a speed above 0 and a round trip that is not negative",
                               name_of(spec, from), name_of(spec, to));
        }
    }
    return YL_OK;
}

static bool add(uint64_t *sum, uint64_t n)
{
    return !__builtin_add_overflow(*sum, n, sum);
}

static yl_status check_model(const placement_model *m, yl_error *err)
{
    if (m->n_layer == 0 || m->n_layer > HPARAMS_MAX_LAYER || m->n_embd == 0 || m->n_embd > HPARAMS_MAX_EMBD)
        return yl_fail(err, YL_ELIMIT, "a model of %" PRIu32 " layers, %" PRIu32 " wide: at most %d and %d, at least 1", m->n_layer,
                       m->n_embd, HPARAMS_MAX_LAYER, HPARAMS_MAX_EMBD);
    uint64_t sum = 0, kv;
    bool fits = !__builtin_mul_overflow(m->kv_layer_bytes, (uint64_t)m->n_layer, &kv) && add(&sum, kv) &&
                add(&sum, m->shared_bytes) && add(&sum, m->embd.memory_bytes) && add(&sum, m->head.memory_bytes);
    for (uint32_t i = 0; i < m->n_layer && fits; i++) fits = add(&sum, m->layers[i].memory_bytes);
    if (!fits || sum > UINT64_MAX / 4) return yl_fail(err, YL_ELIMIT, "the model needs more memory than can be counted");
    if (m->tied_embeddings && m->head.memory_bytes < m->embd.memory_bytes)
        return yl_fail(err, YL_EINVAL, "a head that shares the embedding's matrix is at least as large as that");
    return YL_OK;
}

yl_status placement_check(const placement_spec *spec, yl_error *err)
{
    if (spec->n_nodes == 0 || spec->n_nodes > PLACEMENT_MAX_NODES)
        return yl_fail(err, YL_ELIMIT, "%" PRIu32 " machines: at least 1 and at most %d can be placed on", spec->n_nodes,
                       PLACEMENT_MAX_NODES);
    if (spec->n_seq == 0 || spec->n_seq > PLACEMENT_MAX_SEQ)
        return yl_fail(err, YL_ELIMIT, "%" PRIu32 " sequences: at least 1, at most %d", spec->n_seq, PLACEMENT_MAX_SEQ);
    if (spec->n_past > HPARAMS_MAX_CTX) return yl_fail(err, YL_ELIMIT, "%" PRIu32 " positions are too many", spec->n_past);
    yl_status status = check_model(spec->model, err);
    for (uint32_t i = 0; i < spec->n_nodes && !status; i++) status = check_node(&spec->nodes[i], err);
    if (!status) status = check_links(spec, err);
    return status;
}
