/* plan_json.c: a plan for a program. Names are those of placement.h and prediction.h; times in ms, sizes in bytes. */
#include <cjson/cJSON.h>
#include <string.h>

#include "plan.h"

static void add_stages(cJSON *root, const plan *p)
{
    cJSON *array = cJSON_AddArrayToObject(root, "stages");
    for (uint32_t i = 0; i < p->predicted->n_stages; i++) {
        const prediction_stage *s = &p->predicted->stages[i];
        cJSON *object = cJSON_CreateObject();
        cJSON_AddStringToObject(object, "machine", plan_node_name(p, s->node));
        cJSON_AddBoolToObject(object, "embedding", s->range.has_embd);
        cJSON_AddNumberToObject(object, "layer_begin", s->range.layer_begin);
        cJSON_AddNumberToObject(object, "layer_end", s->range.layer_end);
        cJSON_AddBoolToObject(object, "head", s->range.has_head);
        cJSON_AddNumberToObject(object, "weight_bytes", (double)s->weight_bytes);
        cJSON_AddNumberToObject(object, "kv_bytes", (double)s->kv_bytes);
        cJSON_AddNumberToObject(object, "fixed_bytes", (double)s->fixed_bytes);
        cJSON_AddNumberToObject(object, "free_bytes", (double)p->spec.nodes[s->node].free_bytes);
        cJSON_AddBoolToObject(object, "is_over_memory", s->is_over_memory);
        cJSON_AddNumberToObject(object, "decode_ms", s->decode_ms);
        cJSON_AddNumberToObject(object, "prefill_ms", s->prefill_ms);
        cJSON_AddItemToArray(array, object);
    }
}

static void add_left_out(cJSON *root, const plan *p)
{
    static const char *const reasons[] = {
        [PLACEMENT_NO_MEMORY] = "memory", [PLACEMENT_SLOWER] = "slower", [PLACEMENT_NOT_ASKED] = "not asked"};
    cJSON *array = cJSON_AddArrayToObject(root, "left_out");
    for (uint32_t i = 0; i < p->spec.n_nodes; i++) {
        placement_reason reason = p->placed->reasons[i];
        if (reason == PLACEMENT_USED) continue;
        cJSON *object = cJSON_CreateObject();
        cJSON_AddStringToObject(object, "machine", plan_node_name(p, i));
        cJSON_AddStringToObject(object, "reason", reasons[reason]);
        if (p->placed->cost_with_ms[i] > 0) cJSON_AddNumberToObject(object, "cost_with_ms", p->placed->cost_with_ms[i]);
        cJSON_AddItemToArray(array, object);
    }
}

static void add_links(cJSON *root, const plan *p)
{
    cJSON *array = cJSON_AddArrayToObject(root, "links");
    for (uint32_t i = 0; i <= p->predicted->n_stages; i++) {
        const prediction_link *l = &p->predicted->links[i];
        cJSON *object = cJSON_CreateObject();
        cJSON_AddStringToObject(object, "from", plan_node_name(p, l->from));
        cJSON_AddStringToObject(object, "to", plan_node_name(p, l->to));
        cJSON_AddNumberToObject(object, "rtt_ms", l->link.rtt_ms);
        cJSON_AddNumberToObject(object, "bytes_per_s", l->link.bytes_per_s);
        cJSON_AddNumberToObject(object, "token_bytes", l->token_bytes);
        cJSON_AddNumberToObject(object, "token_ms", l->token_ms);
        cJSON_AddItemToArray(array, object);
    }
}

static void add_rate(cJSON *root, const plan *p, const char *name, const prediction_rate *r, const prediction_alone *alone)
{
    static const char *const parts[] = {[PREDICTION_STAGE] = "stage", [PREDICTION_LINK] = "link", [PREDICTION_HOST] = "host"};
    cJSON *object = cJSON_AddObjectToObject(root, name), *bottleneck = cJSON_AddObjectToObject(object, "bottleneck");
    cJSON_AddNumberToObject(object, "tokens_per_s", r->tokens_per_s);
    cJSON_AddStringToObject(bottleneck, "part", parts[r->bottleneck.part]);
    cJSON_AddNumberToObject(bottleneck, "index", r->bottleneck.index);
    cJSON_AddNumberToObject(bottleneck, "share", r->bottleneck.share);
    if (alone->node == PREDICTION_ALONE_NONE) {
        cJSON_AddNullToObject(object, "alone");
        return;
    }
    cJSON *best = cJSON_AddObjectToObject(object, "alone");
    cJSON_AddStringToObject(best, "machine", plan_node_name(p, (uint32_t)alone->node));
    cJSON_AddNumberToObject(best, "tokens_per_s", alone->tokens_per_s);
}

yl_status plan_write_json(const plan *p, console *c, yl_error *err)
{
    const prediction *q = p->predicted;
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "model", p->model_path);
    cJSON_AddStringToObject(root, "objective", p->spec.objective == PLACEMENT_LATENCY ? "latency" : "throughput");
    cJSON_AddNumberToObject(root, "n_ctx", p->n_ctx);
    cJSON_AddNumberToObject(root, "n_seq", p->spec.n_seq);
    cJSON_AddBoolToObject(root, "is_exact", p->placed->is_exact);
    cJSON_AddNumberToObject(root, "prefill_rows", q->prefill_rows);
    add_stages(root, p);
    add_left_out(root, p);
    add_links(root, p);
    add_rate(root, p, "prefill", &q->prefill, &q->alone_prefill);
    add_rate(root, p, "one", &q->one, &q->alone_one);
    add_rate(root, p, "many", &q->many, &q->alone_many);
    char *text = cJSON_Print(root); /* NULL too when one of the calls above had no memory for the root */
    cJSON_Delete(root);
    if (!text) return yl_fail(err, YL_ENOMEM, "no memory for JSON");
    if (console_write(c, text, strlen(text))) console_write(c, "\n", 1);
    cJSON_free(text);
    return console_check(c, err);
}
