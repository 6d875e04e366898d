/* placement_cost.c: a roofline, or what was measured instead of it.
 *
 * A layer that multiplies r rows reads its weights once and does r times its multiply-adds; the two overlap, so the longer one is
 * its time. A worker that measured itself knows better, for three numbers of rows; a straight line between them is the same
 * picture with the corner cut. */
#include "placement_cost.h"

#include <assert.h>

static const double batch_rows[PLACEMENT_N_BATCHES] = {1, 8, 64};

uint32_t placement_n_units(const placement_model *m)
{
    return m->n_layer + 2;
}

const placement_unit *placement_unit_at(const placement_model *m, uint32_t unit)
{
    return unit == 0 ? &m->embd : unit > m->n_layer ? &m->head : &m->layers[unit - 1];
}

slice_range placement_range_of(const placement_model *m, uint32_t unit_begin, uint32_t unit_end)
{
    assert(unit_begin < unit_end && unit_end <= placement_n_units(m));
    slice_range r = {.has_embd = unit_begin == 0, .has_head = unit_end == placement_n_units(m)};
    r.layer_begin = r.has_embd ? 0 : unit_begin - 1;
    r.layer_end = r.has_head ? m->n_layer : unit_end - 1;
    return r;
}

/* ---- stages ---- */

static double larger(double a, double b)
{
    return a > b ? a : b;
}

/* Of a measured line: ms for 1, 8 and 64 rows. */
static double read_off(const double *ms, double n_rows)
{
    unsigned i = 1;
    if (n_rows >= batch_rows[2]) return ms[2] * n_rows / batch_rows[2];
    while (n_rows > batch_rows[i]) i++;
    return ms[i - 1] + (ms[i] - ms[i - 1]) * (n_rows - batch_rows[i - 1]) / (batch_rows[i] - batch_rows[i - 1]);
}

static double ratio(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

static double measured_ms(const placement_model *m, const placement_node *node, uint32_t unit, double n_rows)
{
    if (unit > m->n_layer && node->head_ms[0] > 0) return read_off(node->head_ms, n_rows);
    const placement_unit *u = placement_unit_at(m, unit), *measured = &m->layers[0];
    double by_bytes = ratio((double)u->read_bytes, (double)measured->read_bytes);
    double by_macs = ratio((double)u->macs, (double)measured->macs);
    double ms[PLACEMENT_N_BATCHES];
    ms[0] = node->layer_ms[0] * by_bytes;
    ms[1] = node->layer_ms[1] * (by_bytes + by_macs) / 2;
    ms[2] = node->layer_ms[2] * by_macs;
    return read_off(ms, n_rows);
}

static double past_ms(const placement_spec *spec, const placement_node *node, double n_rows)
{
    double positions = n_rows * spec->n_past;
    return larger(ratio(positions * (double)spec->model->kv_row_bytes, node->bytes_per_s),
                  ratio(positions * (double)spec->model->kv_row_macs, node->macs_per_s)) *
           1e3;
}

double placement_unit_ms(const placement_spec *spec, uint32_t node, uint32_t unit, double n_rows)
{
    const placement_model *m = spec->model;
    const placement_node *n = &spec->nodes[node];
    const placement_unit *u = placement_unit_at(m, unit);
    if (unit == 0) return ratio(n_rows * (double)u->read_bytes, n->bytes_per_s) * 1e3;
    double ms = n->layer_ms[0] > 0 ? measured_ms(m, n, unit, n_rows)
                                   : larger((double)u->read_bytes / n->bytes_per_s, n_rows * (double)u->macs / n->macs_per_s) * 1e3;
    return unit <= m->n_layer ? ms + past_ms(spec, n, n_rows) : ms;
}

double placement_stage_ms(const placement_spec *spec, uint32_t node, const slice_range *r, double n_rows, double n_head_rows)
{
    double ms = r->has_embd ? placement_unit_ms(spec, node, 0, n_rows) : 0;
    for (uint32_t i = r->layer_begin; i < r->layer_end; i++) ms += placement_unit_ms(spec, node, i + 1, n_rows);
    if (r->has_head && n_head_rows > 0) ms += placement_unit_ms(spec, node, spec->model->n_layer + 1, n_head_rows);
    return ms;
}

double placement_stage_read_bytes(const placement_model *m, const slice_range *r, uint32_t n_past, double n_rows,
                                  double n_head_rows)
{
    double n = r->has_embd ? n_rows * (double)m->embd.read_bytes : 0;
    for (uint32_t i = r->layer_begin; i < r->layer_end; i++)
        n += (double)m->layers[i].read_bytes + n_rows * n_past * (double)m->kv_row_bytes;
    if (r->has_head && n_head_rows > 0) n += (double)m->head.read_bytes;
    return n;
}

/* ---- links ---- */

double placement_link_bytes(const placement_spec *spec, uint32_t from, uint32_t to, double n_rows)
{
    double row = from == spec->n_nodes ? 4.0
                 : to == spec->n_nodes ? PLACEMENT_ANSWER_BYTES
                                       : (double)wire_row_bytes(spec->wire, spec->model->n_embd);
    return PLACEMENT_FRAME_BYTES + n_rows * row;
}

static const placement_link *link_between(const placement_spec *spec, uint32_t from, uint32_t to)
{
    return &spec->links[(size_t)from * (spec->n_nodes + 1) + to];
}

double placement_link_busy_ms(const placement_spec *spec, uint32_t from, uint32_t to, double n_rows)
{
    return placement_link_bytes(spec, from, to, n_rows) / link_between(spec, from, to)->bytes_per_s * 1e3;
}

double placement_link_ms(const placement_spec *spec, uint32_t from, uint32_t to, double n_rows)
{
    return link_between(spec, from, to)->rtt_ms / 2 + placement_link_busy_ms(spec, from, to, n_rows);
}

double placement_group_rows(uint32_t n_seq, uint32_t n_stages)
{
    return n_seq > n_stages ? (double)n_seq / n_stages : 1;
}
