/* speed_report.c: differences of counters, divided by rows. */
#include "speed_report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void speed_report_clear(speed_report *r)
{
    free(r->before);
    free(r->at_first_token);
    free(r->after);
    *r = (speed_report){0};
}

yl_status speed_report_begin(speed_report *r, engine *e, yl_error *err)
{
    uint32_t n = engine_max_stages(e);
    *r = (speed_report){.n_stages = engine_n_stages(e)};
    r->before = calloc(n, sizeof *r->before);
    r->at_first_token = calloc(n, sizeof *r->at_first_token);
    r->after = calloc(n, sizeof *r->after);
    if (!r->before || !r->at_first_token || !r->after) return yl_fail(err, YL_ENOMEM, "no memory for a report");
    return engine_stages(e, r->before, err);
}

yl_status speed_report_first_token(speed_report *r, engine *e, yl_error *err)
{
    r->has_first_token = true;
    yl_error cause; /* also written when a worker was lost meanwhile, and replaced: callers look at err later */
    yl_status status = engine_stages(e, r->at_first_token, &cause);
    if (status && err) *err = cause;
    return status;
}

static double rate(double n, double ms)
{
    return ms > 0 ? n * 1e3 / ms : 0;
}

/* Milliseconds a row that a stage computed between two readings; 0 when there was no row. */
static double ms_a_row(const engine_stage *from, const engine_stage *to)
{
    uint64_t n_rows = to->stats.n_rows - from->stats.n_rows;
    return n_rows > 0 ? (double)(to->stats.compute_ns - from->stats.compute_ns) * 1e-6 / (double)n_rows : 0;
}

/* A chain that was wired anew counts from there on, over the stages that it has now. */
static void forget_other_wirings(speed_report *r)
{
    for (uint32_t i = 0; i < r->n_stages; i++) {
        if (r->before[i].wiring != r->after[i].wiring) r->before[i].stats = (frame_stats){0};
        if (r->at_first_token[i].wiring != r->after[i].wiring) r->at_first_token[i].stats = (frame_stats){0};
    }
}

/* Of activations that a stage sent: the root of the mean square of what was lost, against that of what was sent. */
static double relative_loss(const wire_loss *before, const wire_loss *after)
{
    double power = after->power - before->power, error = after->error - before->error;
    return power > 0 && error > 0 ? sqrt(error / power) : 0;
}

static void write_stage(const speed_report *r, uint32_t i, console *c)
{
    const engine_stage *before = &r->before[i], *after = &r->after[i];
    const engine_stage *middle = r->has_first_token ? &r->at_first_token[i] : after;
    uint64_t n_rows = after->stats.n_rows - before->stats.n_rows;
    double per_row = n_rows > 0 ? 1.0 / (double)n_rows : 0;
    char slice[SLICE_RANGE_TEXT_BYTES], weights[32], kv[32], in[32], out[32], lost[48] = "";
    double loss = relative_loss(&before->stats.loss, &after->stats.loss);
    if (loss > 0) snprintf(lost, sizeof lost, ", rounded by %.1e of it", loss);
    console_note(c, "%s: %s: %.2f ms/token in the prompt, %.2f in the answer; weights %s, KV %s; %s/token in, %s out%s",
                 after->name, slice_range_format(slice, &after->range), ms_a_row(before, middle), ms_a_row(middle, after),
                 console_format_bytes(weights, (double)after->weight_bytes), console_format_bytes(kv, (double)after->kv_bytes),
                 console_format_bytes(in, (double)(after->stats.bytes_in - before->stats.bytes_in) * per_row),
                 console_format_bytes(out, (double)(after->stats.bytes_out - before->stats.bytes_out) * per_row), lost);
}

/* What a plan would have said of this chain, beside what was measured. */
static yl_status write_outlook(const speed_report *r, const engine *e, console *c, yl_error *err)
{
    engine_outlook outlook = {.stages = calloc(r->n_stages, sizeof *outlook.stages)};
    if (!outlook.stages) return yl_fail(err, YL_ENOMEM, "no memory for a report");
    if (engine_look_ahead(e, &outlook)) {
        for (uint32_t i = 0; i < r->n_stages; i++) {
            const engine_stage *middle = r->has_first_token ? &r->at_first_token[i] : &r->after[i];
            console_log(c, ENGINE_LOG_INFO,
                        "%s: foreseen %.2f ms/token in a prompt of 512 tokens, measured %.2f; in an answer %.2f, %.2f",
                        r->after[i].name, outlook.stages[i].prompt_ms, ms_a_row(&r->before[i], middle), outlook.stages[i].answer_ms,
                        ms_a_row(middle, &r->after[i]));
        }
        console_log(c, ENGINE_LOG_INFO, "foreseen: %.1f tokens/s in a prompt of 512 tokens, %.1f in an answer, one token a step",
                    outlook.prompt_rate, outlook.answer_rate);
        if (outlook.alone)
            console_log(c, ENGINE_LOG_INFO, "worker '%s' alone would be faster: %.1f tokens/s in an answer", outlook.alone,
                        outlook.alone_rate);
    }
    free(outlook.stages);
    return YL_OK;
}

yl_status speed_report_end(speed_report *r, engine *e, console *c, const generate_result *result, size_t n_prompt, uint64_t seed,
                           yl_error *err)
{
    yl_status status = engine_stages(e, r->after, err);
    if (status) return status;
    r->n_stages = engine_n_stages(e);
    forget_other_wirings(r);
    double n_tokens = result->n_generated > 1 ? (double)result->n_generated - 1 : 0; /* the first came with the prompt */
    console_note(c, "prompt: %zu tokens, %.1f tokens/s, %s after %.2f s", n_prompt, rate((double)n_prompt, result->prompt_ms),
                 r->has_first_token ? "first token" : "read", result->prompt_ms * 1e-3);
    char drafts[64] = "";
    if (result->n_drafted > 0)
        snprintf(drafts, sizeof drafts, "; %" PRIu64 " of %" PRIu64 " drafted tokens kept", result->n_kept, result->n_drafted);
    console_note(c, "answer: %" PRIu64 " tokens, %.1f tokens/s, seed %" PRIu64 "%s", result->n_generated,
                 rate(n_tokens, result->generate_ms), seed, drafts);
    console_log(c, ENGINE_LOG_INFO, "%" PRIu64 " tokens in %" PRIu64 " steps, %.2f each", (uint64_t)n_tokens, result->n_steps,
                result->n_steps > 0 ? n_tokens / (double)result->n_steps : 0);
    if (result->n_asked_again > 0) console_log(c, ENGINE_LOG_INFO, "%" PRIu64 " tokens needed all logits", result->n_asked_again);
    for (uint32_t i = 0; i < r->n_stages; i++) write_stage(r, i, c);
    return write_outlook(r, e, c, err);
}
