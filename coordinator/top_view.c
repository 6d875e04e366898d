/* top_view.c: rates between two answers, and the table of them. */
#include "top_view.h"

#include <inttypes.h>
#include <stdlib.h>

#include <cjson/cJSON.h>

#include "quantity.h"

enum { NUMBER_BYTES = 32 };

/* Counters begin anew with a wiring: a difference is one only if nothing went down. */
static bool is_later(const frame_chain_stage *a, const frame_chain_stage *b)
{
    const frame_stats *x = &a->stats, *y = &b->stats;
    return a->at_ms && b->at_ms > a->at_ms && y->n_rows >= x->n_rows && y->n_frames >= x->n_frames &&
           y->compute_ns >= x->compute_ns && y->queue_ns >= x->queue_ns && y->bytes_in >= x->bytes_in &&
           y->bytes_out >= x->bytes_out;
}

top_stage top_stage_between(const frame_chain *before, const frame_chain *now, uint32_t i)
{
    top_stage t = {0};
    if (!before || i >= before->n_stages || i >= now->n_stages) return t;
    const frame_chain_stage *a = &before->stages[i], *b = &now->stages[i];
    if (!is_later(a, b)) return t;
    double seconds = (double)(b->at_ms - a->at_ms) / 1e3, rows = (double)(b->stats.n_rows - a->stats.n_rows);
    double compute_ms = (double)(b->stats.compute_ns - a->stats.compute_ns) / 1e6;
    t.is_known = true;
    t.in_bytes_s = (double)(b->stats.bytes_in - a->stats.bytes_in) / seconds;
    t.out_bytes_s = (double)(b->stats.bytes_out - a->stats.bytes_out) / seconds;
    if (rows <= 0) return t;
    t.rows_per_s = rows / seconds;
    t.compute_ms = compute_ms / rows;
    t.queue_ms = (double)(b->stats.queue_ns - a->stats.queue_ns) / 1e6 / rows;
    double idle_ms = seconds * 1e3 - compute_ms;
    t.idle_ms = idle_ms > 0 ? idle_ms / rows : 0; /* a step that spans both moments counts whole in one of them */
    return t;
}

top_chain top_chain_between(const frame_chain *before, const frame_chain *now)
{
    top_chain t = {0};
    if (!before || now->now_ms <= before->now_ms || now->n_turns <= before->n_turns || now->turn_ns < before->turn_ns) return t;
    double n = (double)(now->n_turns - before->n_turns);
    t.is_known = true;
    t.turns_per_s = n / ((double)(now->now_ms - before->now_ms) / 1e3);
    t.turn_ms = (double)(now->turn_ns - before->turn_ns) / 1e6 / n;
    t.wire_ms = t.turn_ms;
    for (uint32_t i = 0; i < now->n_stages; i++) {
        const frame_chain_stage *b = &now->stages[i];
        if (i >= before->n_stages || !is_later(&before->stages[i], b) || b->stats.n_frames == before->stages[i].stats.n_frames)
            return (top_chain){0};
        const frame_stats *x = &before->stages[i].stats;
        double busy_ns = (double)(b->stats.compute_ns - x->compute_ns) + (double)(b->stats.queue_ns - x->queue_ns);
        t.wire_ms -= busy_ns / 1e6 / (double)(b->stats.n_frames - x->n_frames);
    }
    if (t.wire_ms < 0) t.wire_ms = 0; /* counted at slightly different moments */
    return t;
}

/* ---- for a person ---- */

static const char *format_ms(char *buf, bool is_known, double ms)
{
    snprintf(buf, NUMBER_BYTES, !is_known ? "-" : ms >= 99.95 ? "%.0f ms" : ms >= 9.995 ? "%.1f ms" : "%.2f ms", ms);
    return buf;
}

static const char *format_rate(char *buf, bool is_known, double bytes_per_s)
{
    char bytes[NUMBER_BYTES];
    if (is_known)
        snprintf(buf, NUMBER_BYTES, "%s/s", quantity_format_bytes(bytes, bytes_per_s));
    else
        snprintf(buf, NUMBER_BYTES, "-");
    return buf;
}

static const char *format_rtt(char *buf, uint64_t us)
{
    snprintf(buf, NUMBER_BYTES, us ? "%.2f ms" : "-", (double)us / 1e3);
    return buf;
}

/* "serving"; "loading 40 %". */
static const char *format_state(char *buf, const frame_chain_stage *s)
{
    double share = s->weight_bytes ? (double)s->loaded / (double)s->weight_bytes : 0;
    switch (s->state) {
    case FRAME_STAGE_MISSING: return "missing";
    case FRAME_STAGE_SERVING: return "serving";
    default: snprintf(buf, NUMBER_BYTES, "loading %.0f %%", 100 * (share < 1 ? share : 1)); return buf;
    }
}

static void print_stage(FILE *f, uint32_t i, const frame_chain_stage *s, const top_stage *t)
{
    char slice[SLICE_RANGE_TEXT_BYTES], state[NUMBER_BYTES], compute[NUMBER_BYTES], queue[NUMBER_BYTES], idle[NUMBER_BYTES],
        in[NUMBER_BYTES], out[NUMBER_BYTES], rtt[NUMBER_BYTES], rss[NUMBER_BYTES], may[NUMBER_BYTES], rows[NUMBER_BYTES];
    bool has_rows = t->rows_per_s > 0;
    snprintf(rows, sizeof rows, t->is_known ? "%.1f" : "-", t->rows_per_s);
    fprintf(f, "%5" PRIu32 "  %-16.*s %-29s %-13s %9s %9s %9s %8s %7" PRIu64 " %10s %10s %8s  %s of %s\n", i + 1,
            (int)s->name.n_bytes, (const char *)s->name.data, slice_range_format(slice, &s->range), format_state(state, s),
            format_ms(compute, has_rows, t->compute_ms), format_ms(queue, has_rows, t->queue_ms),
            format_ms(idle, has_rows, t->idle_ms), rows, s->pending, format_rate(in, t->is_known, t->in_bytes_s),
            format_rate(out, t->is_known, t->out_bytes_s), format_rtt(rtt, s->rtt_us),
            s->stats.rss_bytes ? quantity_format_bytes(rss, (double)s->stats.rss_bytes) : "-",
            s->memory_bytes ? quantity_format_bytes(may, (double)s->memory_bytes) : "-");
}

void top_print_text(FILE *f, const char *address, const frame_chain *before, const frame_chain *now)
{
    fprintf(f, "%s: %" PRIu32 " sequence%s of %" PRIu32 " positions; on the way: %" PRIu64 " micro-batch%s, %" PRIu64 " row%s",
            address, now->n_seq, now->n_seq == 1 ? "" : "s", now->n_ctx, now->frames_in_flight,
            now->frames_in_flight == 1 ? "" : "es", now->rows_in_flight, now->rows_in_flight == 1 ? "" : "s");
    if (now->n_standby) fprintf(f, "; %" PRIu32 " worker%s by", now->n_standby, now->n_standby == 1 ? " stands" : "s stand");
    fprintf(f, "\n%5s  %-16s %-29s %-13s %9s %9s %9s %8s %7s %10s %10s %8s  %s\n", "stage", "worker", "slice", "", "compute",
            "queue", "idle", "rows/s", "pending", "in", "out", "trip", "memory");
    for (uint32_t i = 0; i < now->n_stages; i++) {
        top_stage t = top_stage_between(before, now, i);
        print_stage(f, i, &now->stages[i], &t);
    }
    top_chain c = top_chain_between(before, now);
    if (c.is_known)
        fprintf(f, "%.1f micro-batches a second; one takes %.2f ms, %.2f ms of it on all links together\n", c.turns_per_s,
                c.turn_ms, c.wire_ms);
    else
        fprintf(f, "nothing is being computed\n");
}

/* ---- for a program ---- */

static void add_text(cJSON *to, const char *name, frame_bin text)
{
    char buf[FRAME_MAX_NAME + 1];
    snprintf(buf, sizeof buf, "%.*s", (int)text.n_bytes, (const char *)text.data);
    cJSON_AddStringToObject(to, name, buf);
}

static void add_number(cJSON *to, const char *name, bool is_known, double value)
{
    if (is_known)
        cJSON_AddNumberToObject(to, name, value);
    else
        cJSON_AddNullToObject(to, name);
}

static cJSON *stage_object(const frame_chain_stage *s, const top_stage *t)
{
    static const char *const states[] = {"missing", "loading", "serving"};
    bool has_rows = t->rows_per_s > 0;
    cJSON *o = cJSON_CreateObject();
    add_text(o, "worker", s->name);
    cJSON_AddStringToObject(o, "state", states[s->state]);
    cJSON_AddBoolToObject(o, "embedding", s->range.has_embd);
    cJSON_AddNumberToObject(o, "layer_begin", s->range.layer_begin);
    cJSON_AddNumberToObject(o, "layer_end", s->range.layer_end);
    cJSON_AddBoolToObject(o, "head", s->range.has_head);
    add_text(o, "isa", s->isa);
    cJSON_AddNumberToObject(o, "threads", s->n_threads);
    add_number(o, "rows_per_s", t->is_known, t->rows_per_s);
    add_number(o, "compute_ms", has_rows, t->compute_ms);
    add_number(o, "queue_ms", has_rows, t->queue_ms);
    add_number(o, "idle_ms", has_rows, t->idle_ms);
    add_number(o, "in_bytes_per_s", t->is_known, t->in_bytes_s);
    add_number(o, "out_bytes_per_s", t->is_known, t->out_bytes_s);
    add_number(o, "round_trip_ms", s->rtt_us > 0, (double)s->rtt_us / 1e3);
    cJSON_AddNumberToObject(o, "pending", (double)s->pending);
    cJSON_AddNumberToObject(o, "memory_bytes", (double)s->memory_bytes);
    cJSON_AddNumberToObject(o, "weight_bytes", (double)s->weight_bytes);
    cJSON_AddNumberToObject(o, "loaded_bytes", (double)s->loaded);
    cJSON_AddNumberToObject(o, "kv_bytes", (double)s->kv_bytes);
    cJSON_AddNumberToObject(o, "scratch_bytes", (double)s->scratch_bytes);
    cJSON_AddNumberToObject(o, "n_frames", (double)s->stats.n_frames);
    cJSON_AddNumberToObject(o, "n_rows", (double)s->stats.n_rows);
    cJSON_AddNumberToObject(o, "rss_bytes", (double)s->stats.rss_bytes);
    cJSON_AddNumberToObject(o, "peak_rss_bytes", (double)s->stats.peak_rss_bytes);
    return o;
}

yl_status top_print_json(FILE *f, const frame_chain *before, const frame_chain *now, yl_error *err)
{
    cJSON *root = cJSON_CreateObject();
    top_chain c = top_chain_between(before, now);
    cJSON_AddNumberToObject(root, "n_ctx", now->n_ctx);
    cJSON_AddNumberToObject(root, "n_seq", now->n_seq);
    cJSON_AddNumberToObject(root, "frames_in_flight", (double)now->frames_in_flight);
    cJSON_AddNumberToObject(root, "rows_in_flight", (double)now->rows_in_flight);
    cJSON_AddNumberToObject(root, "standby", now->n_standby);
    cJSON_AddNumberToObject(root, "n_turns", (double)now->n_turns);
    add_number(root, "turns_per_s", c.is_known, c.turns_per_s);
    add_number(root, "turn_ms", c.is_known, c.turn_ms);
    add_number(root, "wire_ms", c.is_known, c.wire_ms);
    cJSON *stages = cJSON_AddArrayToObject(root, "stages");
    for (uint32_t i = 0; i < now->n_stages; i++) {
        top_stage t = top_stage_between(before, now, i);
        cJSON_AddItemToArray(stages, stage_object(&now->stages[i], &t));
    }
    char *text = cJSON_PrintUnformatted(root);
    cJSON_Delete(root);
    if (!text) return yl_fail(err, YL_ENOMEM, "no memory for JSON");
    fprintf(f, "%s\n", text);
    free(text);
    return YL_OK;
}
