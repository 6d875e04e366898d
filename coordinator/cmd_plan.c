/* cmd_plan.c: `yllama plan`: how a model would be cut over machines, and how fast that would be, before any of them is started.
 *
 * Machines are what --assume says, and are placed on as best they can be; or they are local workers, which are equal and get equal
 * parts, as `yllama run --local N` gives them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "model_costs.h"
#include "plan.h"
#include "plan_machines.h"
#include "session.h"

enum { ASSUMED_THREADS = 16 };

/* Everything that a plan points to; large, hence on the heap. */
typedef struct workspace {
    gguf *g;
    hparams hp;
    model_costs costs;
    plan_machines machines;
    placement placed;
    prediction predicted;
    plan plan;
} workspace;

static yl_status check_options(const options *o, yl_error *err)
{
    if (!o->model) return yl_fail(err, YL_EINVAL, "which model? Name its file: -m model.gguf");
    if (o->objective && strcmp(o->objective, "latency") != 0 && strcmp(o->objective, "throughput") != 0)
        return yl_fail(err, YL_EINVAL, "--objective: '%s' is neither latency nor throughput", o->objective);
    if (!o->assume && (o->link || o->objective))
        return yl_fail(err, YL_EINVAL, "%s is about machines: describe them with --assume", o->link ? "--link" : "--objective");
    return YL_OK;
}

static uint32_t threads_of(const options *o)
{
    if (o->n_threads > 0) return (uint32_t)o->n_threads;
    if (o->assume) return ASSUMED_THREADS;
    long n_cores = sysconf(_SC_NPROCESSORS_ONLN);
    return n_cores > (long)o->n_local ? (uint32_t)n_cores / o->n_local : 1;
}

static yl_status read_model(workspace *w, const options *o, yl_error *err)
{
    yl_status status = gguf_open(&w->g, o->model, err);
    if (!status) status = hparams_read(&w->hp, w->g, err);
    if (status) {
        session_name_model(o->model, err);
        return status;
    }
    if (!wire_type_takes(o->wire, w->hp.n_embd))
        return yl_fail(err, YL_EUNSUPPORTED, "%s: --wire %s has blocks of 32 values, and rows of %u are no multiple of that",
                       o->model, wire_type_name(o->wire), w->hp.n_embd);
    uint32_t trained = w->hp.n_ctx_train ? w->hp.n_ctx_train : ENGINE_DEFAULT_CTX;
    w->plan.n_ctx = o->n_ctx > 0                                    ? (uint32_t)o->n_ctx
                    : o->n_ctx == 0 || trained < ENGINE_DEFAULT_CTX ? trained
                                                                    : ENGINE_DEFAULT_CTX;
    model_use use = {
        .n_ctx = w->plan.n_ctx, .n_seq = o->n_parallel, .type_k = o->type_k, .type_v = o->type_v, .n_threads = threads_of(o)};
    status = model_costs_read(&w->costs, w->g, &w->hp, &use, err);
    if (status) session_name_model(o->model, err);
    return status;
}

static void fill_spec(workspace *w, const options *o)
{
    bool is_throughput = o->objective && strcmp(o->objective, "throughput") == 0;
    w->plan.spec = (placement_spec){.model = &w->costs.model,
                                    .nodes = w->machines.nodes,
                                    .n_nodes = w->machines.n,
                                    .links = w->machines.links,
                                    .n_seq = o->n_parallel,
                                    .n_past = PREDICTION_PAST < w->plan.n_ctx ? PREDICTION_PAST : w->plan.n_ctx,
                                    .wire = o->wire,
                                    .objective = is_throughput ? PLACEMENT_THROUGHPUT : PLACEMENT_LATENCY};
}

/* Equal parts by the bytes that a token reads, as the engine cuts them. */
static yl_status place_evenly(workspace *w, yl_error *err)
{
    const placement_model *m = &w->costs.model;
    slice_range ranges[PLACEMENT_MAX_NODES];
    placement_costs costs = {.layer = (double)m->layers[0].read_bytes, .head = (double)m->head.read_bytes};
    yl_status status = placement_even(ranges, w->machines.n, m->n_layer, &costs, err);
    if (status) return status;
    w->placed = (placement){.n_stages = w->machines.n};
    for (uint32_t i = 0; i < w->machines.n; i++) w->placed.stages[i] = (placement_stage){i, ranges[i]};
    return YL_OK;
}

static yl_status place_by_hand(workspace *w, const options *o, yl_error *err)
{
    if (strcmp(o->layers, ENGINE_LAYERS_EVEN) == 0) return place_evenly(w, err);
    return placement_parse(&w->placed, &w->plan.spec, o->layers, err);
}

/* ---- machines that were described ---- */

static yl_status plan_assumed(workspace *w, const options *o, yl_error *err)
{
    placement_link link = PLAN_LINK;
    yl_status status = o->link ? plan_link_parse(&link, o->link, err) : YL_OK;
    if (!status) status = plan_machines_assume(&w->machines, o->assume, w->costs.fixed_bytes, err);
    if (status) return status;
    plan_machines_connect(&w->machines, link, PLAN_NEAR_LINK);
    w->plan.is_link_assumed = !o->link && w->machines.n > 1;
    w->plan.is_arithmetic_assumed = w->machines.is_arithmetic_assumed;
    fill_spec(w, o);
    if (o->layers) return place_by_hand(w, o, err);
    status = placement_find(&w->placed, &w->plan.spec, err);
    if (status == YL_ENOMEM) session_name_model(o->model, err);
    return status;
}

/* ---- local workers ---- */

/* They share the machine's memory: each has free what it needs, and all of what is left over. */
static yl_status share_memory(workspace *w, uint64_t free_bytes, yl_error *err)
{
    uint64_t needs[PLACEMENT_MAX_NODES] = {0}, sum = 0;
    for (uint32_t i = 0; i < w->placed.n_stages; i++) {
        const placement_stage *s = &w->placed.stages[i];
        needs[s->node] = placement_weight_bytes(&w->costs.model, &s->range) + placement_kv_bytes(&w->costs.model, &s->range) +
                         w->costs.fixed_bytes;
        sum += needs[s->node];
    }
    if (sum > free_bytes)
        return yl_fail(
            err, YL_ENOMEM,
            "needs %.3g GB, this machine has %.3g GB free: take a smaller quantization or -c, or more machines (--assume)",
            (double)sum / 1e9, (double)free_bytes / 1e9);
    for (uint32_t i = 0; i < w->machines.n; i++) w->machines.nodes[i].free_bytes = needs[i] + (free_bytes - sum);
    return YL_OK;
}

static yl_status plan_local(workspace *w, const options *o, yl_error *err)
{
    uint64_t free_bytes;
    yl_status status = plan_machines_local(&w->machines, o->n_local, threads_of(o), w->costs.fixed_bytes, &free_bytes, err);
    if (status) return status;
    plan_machines_connect(&w->machines, PLAN_NEAR_LINK, PLAN_NEAR_LINK);
    fill_spec(w, o);
    status = o->layers ? place_by_hand(w, o, err) : place_evenly(w, err);
    if (!status) status = share_memory(w, free_bytes, err);
    if (!status) status = placement_check(&w->plan.spec, err);
    if (status == YL_ENOMEM) session_name_model(o->model, err);
    return status;
}

/* A placement by hand may ask for more than there is: it is shown, and refused. */
static yl_status check_memory(const workspace *w, yl_error *err)
{
    for (uint32_t i = 0; i < w->predicted.n_stages; i++) {
        const prediction_stage *s = &w->predicted.stages[i];
        const placement_node *n = &w->machines.nodes[s->node];
        if (!s->is_over_memory) continue;
        double needed = (double)s->weight_bytes + (double)s->kv_bytes + (double)s->fixed_bytes;
        return yl_fail(err, YL_ENOMEM, "%s has %.3g GB free, its slice needs %.3g GB: give it fewer layers (--layers)", n->name,
                       (double)n->free_bytes / 1e9, needed / 1e9);
    }
    return YL_OK;
}

static yl_status make_plan(workspace *w, const options *o, console *c, yl_error *err)
{
    w->plan.model_path = o->model;
    w->plan.placed = &w->placed;
    w->plan.predicted = &w->predicted;
    yl_status status = read_model(w, o, err);
    if (!status) status = o->assume ? plan_assumed(w, o, err) : plan_local(w, o, err);
    if (status) return status;
    prediction_make(&w->predicted, &w->plan.spec, &w->placed, o->n_ubatch);
    status = o->json ? plan_write_json(&w->plan, c, err) : plan_write_text(&w->plan, c, err);
    return status ? status : check_memory(w, err);
}

yl_status cmd_plan(const options *o, console *c, yl_error *err)
{
    yl_status status = check_options(o, err);
    if (status) return status;
    workspace *w = calloc(1, sizeof *w);
    if (!w) return yl_fail(err, YL_ENOMEM, "no memory for a plan");
    status = make_plan(w, o, c, err);
    model_costs_clear(&w->costs);
    gguf_free(w->g);
    free(w);
    return status;
}
