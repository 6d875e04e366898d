/* plan_text.c: a plan for a person: stages, links, what to expect, and whether one machine alone would be faster. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "placement_reason.h"
#include "plan.h"
#include "quantity.h"
#include "slice_range.h"

enum { NUMBER_BYTES = 32, PLACE_BYTES = 96 };

const char *plan_node_name(const plan *p, uint32_t node)
{
    return node < p->spec.n_nodes ? p->spec.nodes[node].name : "coordinator";
}

static void print_head(FILE *f, const plan *p)
{
    const placement_model *m = p->spec.model;
    slice_range whole = {.has_embd = true, .has_head = true, .layer_end = m->n_layer};
    char weights[NUMBER_BYTES], kv[NUMBER_BYTES];
    fprintf(f, "%s\n%" PRIu32 " layers, %s of weights, %s of KV cache (%" PRIu32 " positions x %" PRIu32 " sequence%s)\n\n",
            p->model_path, m->n_layer, quantity_format_bytes(weights, (double)placement_weight_bytes(m, &whole)),
            quantity_format_bytes(kv, (double)placement_kv_bytes(m, &whole)), p->n_ctx, p->spec.n_seq,
            p->spec.n_seq == 1 ? "" : "s");
}

/* ---- stages ---- */

static void print_stage(FILE *f, const plan *p, uint32_t i)
{
    const prediction_stage *s = &p->predicted->stages[i];
    char slice[SLICE_RANGE_TEXT_BYTES], weights[NUMBER_BYTES], kv[NUMBER_BYTES], left[NUMBER_BYTES], token[NUMBER_BYTES],
        rows[NUMBER_BYTES];
    double taken = (double)s->weight_bytes + (double)s->kv_bytes + (double)s->fixed_bytes;
    fprintf(f, "%5" PRIu32 "  %-16s %-29s %7s %7s %9s %9s %9s\n", i + 1, plan_node_name(p, s->node),
            slice_range_format(slice, &s->range), quantity_format_bytes(weights, (double)s->weight_bytes),
            quantity_format_bytes(kv, (double)s->kv_bytes),
            quantity_format_bytes(left, (double)p->spec.nodes[s->node].free_bytes - taken), quantity_format_ms(token, s->decode_ms),
            quantity_format_ms(rows, s->prefill_ms));
}

static void print_left_out(FILE *f, const plan *p, uint32_t node)
{
    char reason[PLACEMENT_REASON_BYTES];
    fprintf(f, "    -  %-16s nothing: %s\n", p->spec.nodes[node].name, placement_reason_format(reason, &p->spec, p->placed, node));
}

static void print_stages(FILE *f, const plan *p)
{
    char rows[NUMBER_BYTES];
    snprintf(rows, sizeof rows, "%" PRIu32 " rows", p->predicted->prefill_rows);
    fprintf(f, "stage  %-16s %-29s %7s %7s %9s %9s %9s\n", "machine", "holds", "weights", "KV", "left", "token", rows);
    for (uint32_t i = 0; i < p->predicted->n_stages; i++) print_stage(f, p, i);
    for (uint32_t i = 0; i < p->spec.n_nodes; i++) {
        if (p->placed->reasons[i] != PLACEMENT_USED) print_left_out(f, p, i);
    }
}

/* ---- links ---- */

static char *format_link(char *buf, const plan *p, const prediction_link *l)
{
    snprintf(buf, PLACE_BYTES, "%s -> %s", plan_node_name(p, l->from), plan_node_name(p, l->to));
    return buf;
}

static void print_links(FILE *f, const plan *p)
{
    fprintf(f, "\n%-38s %12s %12s %14s %12s\n", "link", "round trip", "rate", "bytes a token", "token");
    for (uint32_t i = 0; i <= p->predicted->n_stages; i++) {
        const prediction_link *l = &p->predicted->links[i];
        char place[PLACE_BYTES], rtt[NUMBER_BYTES], rate[NUMBER_BYTES], bytes[NUMBER_BYTES], ms[NUMBER_BYTES];
        size_t n = strlen(quantity_format_bytes(rate, l->link.bytes_per_s));
        snprintf(rate + n, sizeof rate - n, "/s");
        fprintf(f, "%-38s %12s %12s %14s %12s\n", format_link(place, p, l), quantity_format_ms(rtt, l->link.rtt_ms), rate,
                quantity_format_bytes(bytes, l->token_bytes), quantity_format_ms(ms, l->token_ms));
    }
}

/* ---- what to expect ---- */

static void print_rate(FILE *f, const plan *p, const char *what, const prediction_rate *r)
{
    char number[NUMBER_BYTES], place[PLACE_BYTES];
    const prediction_bottleneck *b = &r->bottleneck;
    fprintf(f, "%-26s %10s  ", what, quantity_format_number(number, r->tokens_per_s));
    if (b->part == PREDICTION_LINK) {
        fprintf(f, "the link %s", format_link(place, p, &p->predicted->links[b->index]));
    } else {
        fprintf(f, "%s%s", plan_node_name(p, p->predicted->stages[b->index].node),
                b->part == PREDICTION_HOST ? " and others: their host's memory" : "");
    }
    fprintf(f, ", %.0f %% of the time\n", 100 * (b->share < 1 ? b->share : 1));
}

static void print_rates(FILE *f, const plan *p)
{
    const prediction *q = p->predicted;
    char what[NUMBER_BYTES];
    fprintf(f, "\n%-26s %10s  bottleneck\n", "expected", "tokens/s");
    snprintf(what, sizeof what, "prompt of %d tokens", PREDICTION_PROMPT);
    print_rate(f, p, what, &q->prefill);
    print_rate(f, p, "one stream", &q->one);
    if (p->spec.n_seq == 1) return;
    snprintf(what, sizeof what, "%" PRIu32 " streams together", p->spec.n_seq);
    print_rate(f, p, what, &q->many);
}

static void compare_alone(FILE *f, const plan *p, const char *what, const prediction_alone *alone, const prediction_rate *chain)
{
    char a[NUMBER_BYTES], b[NUMBER_BYTES];
    if (alone->node == PREDICTION_ALONE_NONE || alone->tokens_per_s < chain->tokens_per_s * PREDICTION_WORTH_SAYING) return;
    fprintf(f, "%s alone is faster for %s: %s tokens/s, not %s.\n", plan_node_name(p, (uint32_t)alone->node), what,
            quantity_format_number(a, alone->tokens_per_s), quantity_format_number(b, chain->tokens_per_s));
}

static void print_alone(FILE *f, const plan *p)
{
    const prediction *q = p->predicted;
    fputc('\n', f);
    bool was_searched = p->placed->cost_ms > 0; /* not placed by hand, nor evenly */
    bool had_choice = false;
    for (uint32_t i = 0; i < p->spec.n_nodes; i++) had_choice |= p->placed->reasons[i] == PLACEMENT_SLOWER;
    if (was_searched && p->placed->is_exact && had_choice && q->n_stages == 1)
        fprintf(f, "%s alone is faster than any chain.\n", plan_node_name(p, q->stages[0].node));
    if (q->n_stages > 1 && q->alone_one.node == PREDICTION_ALONE_NONE) fprintf(f, "No machine holds the whole model alone.\n");
    compare_alone(f, p, "a prompt", &q->alone_prefill, &q->prefill);
    compare_alone(f, p, "one stream", &q->alone_one, &q->one);
    if (p->spec.n_seq > 1) compare_alone(f, p, "many streams", &q->alone_many, &q->many);
    if (was_searched && !p->placed->is_exact)
        fprintf(f, "So many machines or layers are placed by search: a better chain may exist.\n");
    if (p->is_link_assumed) fprintf(f, "Links are assumed to be of 1 gbit with 0.3 ms a round trip: --link says otherwise.\n");
    if (p->is_arithmetic_assumed)
        fprintf(f, "Arithmetic is assumed from the bandwidth where it is not said (:200GMAC/s behind it): prompts may differ.\n");
}

yl_status plan_write_text(const plan *p, console *c, yl_error *err)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f) return yl_fail(err, YL_ENOMEM, "no memory for a table");
    print_head(f, p);
    print_stages(f, p);
    print_links(f, p);
    print_rates(f, p);
    print_alone(f, p);
    bool is_whole = fclose(f) == 0;
    if (is_whole) console_write(c, text, n);
    free(text);
    return is_whole ? console_check(c, err) : yl_fail(err, YL_ENOMEM, "no memory for a table");
}
