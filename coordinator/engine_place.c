/* engine_place.c: which of the workers that joined gets which layers.
 *
 * They are machines of different speed and memory, which they have told. By default the placement is the best there is for them
 * (placement.h): of one stream, the least time a token; of several, of all together. A worker that would make that slower gets
 * nothing and stands by. A user may say otherwise: by hand, or in equal parts. */
#include "engine_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "placement_reason.h"
#include "plan_machines.h"
#include "prediction.h"

_Static_assert(ENGINE_MAX_WORKERS + ENGINE_MAX_STANDBY <= PLACEMENT_MAX_NODES, "every worker that is here can be placed on");

/* Workers in the order of their names, and what each gets. */
struct engine_places {
    uint32_t workers[PLACEMENT_MAX_NODES]; /* their places in the cluster */
    plan_worker known[PLACEMENT_MAX_NODES];
    plan_machines machines;
    placement_spec spec;
    placement placed;
};

static bool is_even(const engine *e)
{
    return e->o.layers && strcmp(e->o.layers, ENGINE_LAYERS_EVEN) == 0;
}

static model_use use_of(const engine *e, uint32_t n_threads)
{
    return (
        model_use){.n_ctx = e->n_ctx, .n_seq = e->o.n_seq, .type_k = e->o.type_k, .type_v = e->o.type_v, .n_threads = n_threads};
}

/* The costs were read for a worker of one thread. */
static uint64_t fixed_bytes(const engine *e, uint32_t n_threads)
{
    model_use one = use_of(e, 1), many = use_of(e, n_threads);
    return e->costs.fixed_bytes - model_costs_fixed_bytes(&e->hp, &one) + model_costs_fixed_bytes(&e->hp, &many);
}

static plan_worker describe(const engine *e, const cluster_worker *w)
{
    return (plan_worker){.name = w->name,
                         .limits = {.read_small_pages = (double)w->bytes_per_s, .dot_int8 = (double)w->macs_per_s},
                         .free_bytes = w->memory_bytes,
                         .fixed_bytes = fixed_bytes(e, w->n_threads),
                         .is_near = w->is_near,
                         .rtt_ms = (double)w->rtt_us / 1e3};
}

static bool maps_weights(const engine *e, const cluster_worker *w)
{
    return e->o.load != FRAME_LOAD_HEAP && memcmp(w->model_id, e->model_id, sizeof w->model_id) == 0;
}

/* Of the whole model; those that are in it twice count twice. */
static uint64_t weight_bytes(const engine *e)
{
    slice_range whole = {.has_embd = true, .layer_end = e->hp.n_layer}, head = {.has_head = true};
    return placement_weight_bytes(&e->costs.model, &whole) + placement_weight_bytes(&e->costs.model, &head);
}

/* Puts a worker where its name belongs. */
static void insert(engine_places *p, const engine *e, uint32_t worker)
{
    const char *name = cluster_worker_at(e->cluster, worker)->name;
    uint32_t i = p->machines.n++;
    for (; i > 0 && strcmp(cluster_worker_at(e->cluster, p->workers[i - 1])->name, name) > 0; i--)
        p->workers[i] = p->workers[i - 1];
    p->workers[i] = worker;
}

static void fill_spec(engine_places *p, const engine *e)
{
    p->spec = (placement_spec){.model = &e->costs.model,
                               .nodes = p->machines.nodes,
                               .n_nodes = p->machines.n,
                               .links = p->machines.links,
                               .n_seq = e->o.n_seq,
                               .n_past = PREDICTION_PAST < e->n_ctx ? PREDICTION_PAST : e->n_ctx,
                               .wire = e->o.wire,
                               .objective = e->o.n_seq > 1 ? PLACEMENT_THROUGHPUT : PLACEMENT_LATENCY};
}

/* The workers that are here, of which those that came first count when there are more than n_max. NULL: no memory. */
static engine_places *survey(const engine *e, uint32_t n_max)
{
    engine_places *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    for (uint32_t i = 0; i < cluster_n_places(e->cluster) && p->machines.n < n_max; i++) {
        if (cluster_worker_at(e->cluster, i)) insert(p, e, i);
    }
    uint32_t n = p->machines.n;
    for (uint32_t i = 0; i < n; i++) p->known[i] = describe(e, cluster_worker_at(e->cluster, p->workers[i]));
    plan_machines_joined(&p->machines, p->known, n);
    fill_spec(p, e);
    return p;
}

/* ---- who gets what ---- */

static uint32_t most_even(const engine *e)
{
    return e->o.n_join < e->hp.n_layer + 1 ? e->o.n_join : e->hp.n_layer + 1;
}

static yl_status place_evenly(engine_places *p, const engine *e, yl_error *err)
{
    slice_range ranges[PLACEMENT_MAX_NODES];
    yl_status status = engine_cut_evenly(e, ranges, p->machines.n, err);
    p->placed.n_stages = p->machines.n;
    for (uint32_t i = 0; i < p->machines.n && !status; i++) p->placed.stages[i] = (placement_stage){i, ranges[i]};
    return status;
}

/* A worker that has the file maps the weights, so they need not all be in memory at a time. True: there is such a one. */
static bool count_weights_as_mapped(engine_places *p, const engine *e)
{
    bool has_one = false;
    for (uint32_t i = 0; i < p->machines.n; i++) {
        if (!maps_weights(e, cluster_worker_at(e->cluster, p->workers[i]))) continue;
        p->machines.nodes[i].free_bytes += weight_bytes(e);
        has_one = true;
    }
    return has_one;
}

static yl_status place_best(engine_places *p, const engine *e, yl_error *err)
{
    yl_status status = placement_find(&p->placed, &p->spec, err);
    if (status == YL_ENOMEM && count_weights_as_mapped(p, e) && !placement_find(&p->placed, &p->spec, NULL)) {
        engine_log(e, ENGINE_LOG_WARN, "the model is larger than the free memory of the workers: it will be slow");
        return YL_OK;
    }
    if (status == YL_ENOMEM) yl_error_context(err, "%s: ", e->o.model_path);
    return status;
}

yl_status engine_places_find(engine_places **out, const engine *e, bool is_first, yl_error *err)
{
    engine_places *p = *out = survey(e, is_even(e) ? most_even(e) : PLACEMENT_MAX_NODES);
    if (!p) return yl_fail(err, YL_ENOMEM, "no memory to place the model on workers");
    yl_status status = is_even(e)                ? place_evenly(p, e, err)
                       : e->o.layers && is_first ? placement_parse(&p->placed, &p->spec, e->o.layers, err)
                                                 : place_best(p, e, err);
    if (!status) return YL_OK;
    engine_places_free(p);
    *out = NULL;
    return status;
}

void engine_places_free(engine_places *p)
{
    free(p);
}

uint32_t engine_places_n_stages(const engine_places *p)
{
    return p->placed.n_stages;
}

static void tell_stage(const engine *e, const stage *s)
{
    char slice[SLICE_RANGE_TEXT_BYTES];
    engine_log(e, ENGINE_LOG_INFO, "worker '%s' gets %s", s->name, slice_range_format(slice, &s->range));
}

yl_status engine_places_take(engine *e, const engine_places *p, yl_error *err)
{
    yl_status status = YL_OK;
    e->n_stages = p->placed.n_stages;
    for (uint32_t i = 0; i < e->n_stages && !status; i++) {
        stage *s = &e->stages[i];
        const placement_stage *placed = &p->placed.stages[i];
        s->worker = (int)p->workers[placed->node];
        s->range = placed->range;
        snprintf(s->name, sizeof s->name, "%s", p->known[placed->node].name);
        status = engine_list_tensors(e, s, err);
        tell_stage(e, s);
    }
    for (uint32_t i = 0; i < p->machines.n && !status; i++) {
        char reason[PLACEMENT_REASON_BYTES];
        if (p->placed.reasons[i] == PLACEMENT_USED) continue;
        engine_note(e, "worker '%s' stands by: %s", p->known[i].name, placement_reason_format(reason, &p->spec, &p->placed, i));
    }
    return status;
}

bool engine_worker_fits(const engine *e, uint32_t worker, const slice_range *r)
{
    const cluster_worker *w = cluster_worker_at(e->cluster, worker);
    plan_worker known = describe(e, w);
    placement_node node = {.free_bytes = known.free_bytes, .fixed_bytes = known.fixed_bytes};
    if (maps_weights(e, w)) node.free_bytes += weight_bytes(e);
    return !known.free_bytes || placement_fits(&e->costs.model, &node, r);
}

/* ---- before anybody is waited for ---- */

/* Each name in "a=0-9,b=10-31" is a worker's. Returns how many there are; cuts the text up. */
static uint32_t name_workers(engine_places *p, char *text)
{
    uint32_t n = 0;
    for (char *at = text, *next; at && n < PLACEMENT_MAX_NODES; at = next) {
        next = strchr(at, ',');
        if (next) next++;
        at[strcspn(at, ",=")] = 0;
        p->known[n++].name = at;
    }
    return n;
}

/* What is wrong with --layers whoever will come: held against workers of just the names that it has. */
static yl_status check_layers(const engine *e, yl_error *err)
{
    engine_places *p = calloc(1, sizeof *p);
    size_t n_bytes = strlen(e->o.layers) + 1;
    char *names = malloc(n_bytes);
    yl_status status = p && names ? YL_OK : yl_fail(err, YL_ENOMEM, "no memory for --layers");
    if (!status) {
        memcpy(names, e->o.layers, n_bytes);
        plan_machines_joined(&p->machines, p->known, name_workers(p, names));
        fill_spec(p, e);
        status = placement_parse(&p->placed, &p->spec, e->o.layers, err);
    }
    if (!status && p->placed.n_stages > e->o.n_join)
        status = yl_fail(err, YL_EINVAL, "--layers names %u workers: wait for as many (--workers %u)", p->placed.n_stages,
                         p->placed.n_stages);
    free(names);
    free(p);
    return status;
}

yl_status engine_places_prepare(engine *e, yl_error *err)
{
    model_use use = use_of(e, 1);
    yl_status status = model_costs_read(&e->costs, e->model, &e->hp, &use, err);
    if (status) yl_error_context(err, "%s: ", e->o.model_path);
    if (status || !e->o.layers) return status;
    if (!is_even(e)) return check_layers(e, err);
    slice_range *ranges = calloc(e->o.n_join, sizeof *ranges);
    if (!ranges) return yl_fail(err, YL_ENOMEM, "no memory for %u stages", e->o.n_join);
    status = engine_cut_evenly(e, ranges, e->o.n_join, err);
    free(ranges);
    return status;
}

/* ---- what to expect ---- */

static bool find_node(const engine_places *p, int worker, uint32_t *node)
{
    for (*node = 0; *node < p->machines.n; (*node)++) {
        if ((int)p->workers[*node] == worker) return true;
    }
    return false;
}

/* The chain as it is, whoever placed it. */
static bool describe_chain(engine_places *p, const engine *e)
{
    p->placed.n_stages = e->n_stages;
    for (uint32_t i = 0; i < e->n_stages; i++) {
        p->placed.stages[i].range = e->stages[i].range;
        if (!find_node(p, e->stages[i].worker, &p->placed.stages[i].node)) return false;
    }
    return e->n_stages > 0 && !placement_check(&p->spec, NULL);
}

static void write_outlook(engine_outlook *out, const engine_places *p, const prediction *q)
{
    *out = (engine_outlook){.prompt_rate = q->prefill.tokens_per_s, .answer_rate = q->one.tokens_per_s, .stages = out->stages};
    if (q->alone_one.node != PREDICTION_ALONE_NONE && q->alone_one.tokens_per_s > q->one.tokens_per_s * PREDICTION_WORTH_SAYING) {
        out->alone = p->known[q->alone_one.node].name;
        out->alone_rate = q->alone_one.tokens_per_s;
    }
    for (uint32_t i = 0; i < q->n_stages; i++)
        out->stages[i] = (engine_stage_outlook){q->stages[i].prefill_ms / q->prefill_rows, q->stages[i].decode_ms};
}

bool engine_look_ahead(const engine *e, engine_outlook *out)
{
    engine_places *p = e->locals ? NULL : survey(e, PLACEMENT_MAX_NODES);
    prediction *q = calloc(1, sizeof *q);
    bool is_known = p && q && describe_chain(p, e);
    if (is_known) {
        prediction_make(q, &p->spec, &p->placed, e->o.n_ubatch);
        write_outlook(out, p, q);
    }
    free(q);
    free(p);
    return is_known;
}
