/* prediction.c: sums and maxima over a chain. */
#include "prediction.h"

#include "placement_cost.h"

/* Sizes of micro-batches that are tried over several stages: finer ones read the weights too often, coarser ones gain nothing. */
enum { MIN_ROWS = 16, MAX_ROWS = 128, STEP_ROWS = 16 };

/* A group of rows on its way through the chain. */
typedef struct passage {
    double sum_ms;               /* of all stages and links */
    double busy_ms;              /* of the busiest */
    prediction_bottleneck first; /* the one with the largest part of the sum */
    double first_ms;
    prediction_bottleneck busiest;
} passage;

static void add_busy(passage *t, double busy_ms, prediction_part part, uint32_t index)
{
    if (busy_ms <= t->busy_ms) return;
    t->busy_ms = busy_ms;
    t->busiest = (prediction_bottleneck){.part = part, .index = index};
}

static void add_part(passage *t, double ms, double busy_ms, prediction_part part, uint32_t index)
{
    t->sum_ms += ms;
    if (ms > t->first_ms) {
        t->first_ms = ms;
        t->first = (prediction_bottleneck){.part = part, .index = index};
    }
    add_busy(t, busy_ms, part, index);
}

/* What all stages of a stage's host read. */
static void add_host(passage *t, const placement_spec *spec, const placement *p, uint32_t stage, double rows, double head_rows)
{
    const placement_node *node = &spec->nodes[p->stages[stage].node];
    double n_bytes = 0;
    if (node->host == 0) return;
    for (uint32_t i = 0; i < p->n_stages; i++) {
        if (spec->nodes[p->stages[i].node].host != node->host) continue;
        n_bytes += placement_stage_read_bytes(spec->model, &p->stages[i].range, spec->n_past, rows, head_rows);
    }
    add_busy(t, n_bytes / node->host_bytes_per_s * 1e3, PREDICTION_HOST, stage);
}

/* latency_rows: of the largest group; busy_rows: of the average one. Within a prompt no row is answered: neither head nor link. */
static passage pass(const placement_spec *spec, const placement *p, double latency_rows, double busy_rows, bool is_answered)
{
    passage t = {0};
    double answers = is_answered ? latency_rows : 0, busy_answers = is_answered ? busy_rows : 0;
    for (uint32_t i = 0; i <= p->n_stages; i++) {
        bool is_end = i == p->n_stages;
        uint32_t from = i > 0 ? p->stages[i - 1].node : spec->n_nodes, to = is_end ? spec->n_nodes : p->stages[i].node;
        add_part(&t, placement_link_ms(spec, from, to, is_end ? answers : latency_rows),
                 placement_link_busy_ms(spec, from, to, is_end ? busy_answers : busy_rows), PREDICTION_LINK, i);
        if (is_end) break;
        const slice_range *r = &p->stages[i].range;
        add_part(&t, placement_stage_ms(spec, to, r, latency_rows, answers),
                 placement_stage_ms(spec, to, r, busy_rows, busy_answers), PREDICTION_STAGE, i);
        add_host(&t, spec, p, i, busy_rows, busy_answers);
    }
    return t;
}

static double share_of(double part, double whole)
{
    return whole > 0 ? part / whole : 1;
}

static prediction_rate rate_of(double n_tokens, double ms, prediction_bottleneck b, double bottleneck_ms)
{
    b.share = share_of(bottleneck_ms, ms);
    return (prediction_rate){.tokens_per_s = ms > 0 ? n_tokens / ms * 1e3 : 0, .bottleneck = b};
}

/* ---- three ways to use a chain ---- */

static prediction_rate predict_one(const placement_spec *spec, const placement *p)
{
    passage t = pass(spec, p, 1, 1, true);
    return rate_of(1, t.sum_ms, t.first, t.first_ms);
}

static prediction_rate predict_many(const placement_spec *spec, const placement *p)
{
    uint32_t n_groups = p->n_stages < spec->n_seq ? p->n_stages : spec->n_seq;
    uint32_t largest = (spec->n_seq + n_groups - 1) / n_groups;
    passage t = pass(spec, p, largest, (double)spec->n_seq / n_groups, true);
    double busy_ms = n_groups * t.busy_ms;
    if (busy_ms >= t.sum_ms) return rate_of(spec->n_seq, busy_ms, t.busiest, busy_ms);
    return rate_of(spec->n_seq, t.sum_ms, t.first, t.first_ms);
}

/* The last token's head comes on top. */
static double prompt_ms(const placement_spec *spec, const placement *p, uint32_t n_rows, passage *t)
{
    uint32_t n_pieces = (PREDICTION_PROMPT + n_rows - 1) / n_rows, last = p->stages[p->n_stages - 1].node;
    double rows = (double)PREDICTION_PROMPT / n_pieces;
    *t = pass(spec, p, rows, rows, false);
    return t->sum_ms + (n_pieces - 1) * t->busy_ms + placement_unit_ms(spec, last, spec->model->n_layer + 1, 1);
}

static prediction_rate predict_prefill(const placement_spec *spec, const placement *p, uint32_t max_rows, uint32_t *n_rows)
{
    passage t, best;
    uint32_t whole = max_rows < PREDICTION_PROMPT ? max_rows : PREDICTION_PROMPT;
    double best_ms = prompt_ms(spec, p, whole, &best);
    *n_rows = whole;
    for (uint32_t rows = MIN_ROWS; rows <= MAX_ROWS && rows < whole && p->n_stages > 1; rows += STEP_ROWS) {
        double ms = prompt_ms(spec, p, rows, &t);
        if (ms >= best_ms) continue;
        best_ms = ms;
        best = t;
        *n_rows = rows;
    }
    uint32_t n_pieces = (PREDICTION_PROMPT + *n_rows - 1) / *n_rows;
    return rate_of(PREDICTION_PROMPT, best_ms, best.busiest, n_pieces * best.busy_ms);
}

/* ---- what the parts are ---- */

static void describe_stage(prediction_stage *s, const placement_spec *spec, const placement_stage *placed, uint32_t prefill_rows)
{
    const placement_node *node = &spec->nodes[placed->node];
    *s = (prediction_stage){.node = placed->node,
                            .range = placed->range,
                            .weight_bytes = placement_weight_bytes(spec->model, &placed->range),
                            .kv_bytes = placement_kv_bytes(spec->model, &placed->range),
                            .fixed_bytes = node->fixed_bytes,
                            .is_over_memory = !placement_fits(spec->model, node, &placed->range),
                            .decode_ms = placement_stage_ms(spec, placed->node, &placed->range, 1, 1),
                            .prefill_ms = placement_stage_ms(spec, placed->node, &placed->range, prefill_rows, 0)};
}

static void describe_link(prediction_link *l, const placement_spec *spec, uint32_t from, uint32_t to)
{
    *l = (prediction_link){.from = from,
                           .to = to,
                           .link = spec->links[(size_t)from * (spec->n_nodes + 1) + to],
                           .token_bytes = placement_link_bytes(spec, from, to, 1),
                           .token_ms = placement_link_ms(spec, from, to, 1)};
}

static void keep_faster(prediction_alone *best, uint32_t node, double tokens_per_s)
{
    if (best->node != PREDICTION_ALONE_NONE && tokens_per_s <= best->tokens_per_s) return;
    *best = (prediction_alone){(int32_t)node, tokens_per_s};
}

static void try_alone(prediction *out, const placement_spec *spec, uint32_t max_rows)
{
    out->alone_prefill.node = out->alone_one.node = out->alone_many.node = PREDICTION_ALONE_NONE;
    placement alone = {.n_stages = 1};
    alone.stages[0].range = placement_range_of(spec->model, 0, placement_n_units(spec->model));
    for (uint32_t i = 0; i < spec->n_nodes; i++) {
        if (!placement_fits(spec->model, &spec->nodes[i], &alone.stages[0].range)) continue;
        uint32_t n_rows;
        alone.stages[0].node = i;
        keep_faster(&out->alone_prefill, i, predict_prefill(spec, &alone, max_rows, &n_rows).tokens_per_s);
        keep_faster(&out->alone_one, i, predict_one(spec, &alone).tokens_per_s);
        keep_faster(&out->alone_many, i, predict_many(spec, &alone).tokens_per_s);
    }
}

void prediction_make(prediction *out, const placement_spec *spec, const placement *p, uint32_t max_rows)
{
    *out = (prediction){.n_stages = p->n_stages};
    out->prefill = predict_prefill(spec, p, max_rows, &out->prefill_rows);
    out->one = predict_one(spec, p);
    out->many = predict_many(spec, p);
    for (uint32_t i = 0; i < p->n_stages; i++) describe_stage(&out->stages[i], spec, &p->stages[i], out->prefill_rows);
    for (uint32_t i = 0; i <= p->n_stages; i++)
        describe_link(&out->links[i], spec, i > 0 ? p->stages[i - 1].node : spec->n_nodes,
                      i < p->n_stages ? p->stages[i].node : spec->n_nodes);
    try_alone(out, spec, max_rows);
}
