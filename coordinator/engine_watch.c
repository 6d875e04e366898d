/* engine_watch.c: how the chain is, for whoever asks by CHAIN.
 *
 * An answer waits for nobody: it holds what is known, and asks the stages for new counts, which the next answer has. */
#include "engine_internal.h"

#include <stdlib.h>
#include <string.h>

enum { STATS_LATE_MS = 2000 }; /* a stage that has not answered for so long is asked again */

yl_status engine_watch_init(engine *e, yl_error *err)
{
    e->n_turns_kept = 8 * e->max_stages; /* four times as many as are on their way */
    e->turns = calloc(e->n_turns_kept, sizeof *e->turns);
    e->watched = calloc(e->max_stages, sizeof *e->watched);
    return e->turns && e->watched ? YL_OK : yl_fail(err, YL_ENOMEM, "no memory for %u stages", e->max_stages);
}

void engine_watch_clear(engine *e)
{
    free(e->turns);
    free(e->watched);
}

void engine_watch_sent(engine *e, uint64_t id, uint64_t now_ns)
{
    e->turns[id % e->n_turns_kept] = (turn){id, now_ns};
}

void engine_watch_returned(engine *e, uint64_t id, uint64_t now_ns)
{
    const turn *t = &e->turns[id % e->n_turns_kept];
    if (t->id != id || !t->sent_ns) return; /* of a LOGITS, or of one that was overwritten */
    e->n_turns++;
    e->turn_ns += now_ns - t->sent_ns;
}

static frame_bin view(const char *text)
{
    return (frame_bin){(const uint8_t *)text, strlen(text)};
}

static void look_at(const engine *e, const stage *s, frame_chain_stage *out)
{
    const cluster_worker *w = s->worker < 0 ? NULL : cluster_worker_at(e->cluster, (uint32_t)s->worker);
    *out = (frame_chain_stage){.name = view(s->name), .range = s->range, .weight_bytes = s->weight_bytes};
    if (!w) return;
    out->state = s->is_ready ? FRAME_STAGE_SERVING : FRAME_STAGE_LOADING;
    out->isa = view(w->isa);
    out->n_threads = w->n_threads;
    out->memory_bytes = w->memory_bytes;
    out->loaded = w->loaded;
    out->pending = w->pending;
    out->rtt_us = w->rtt_us;
    if (s->is_ready) {
        out->weight_bytes = s->ready.weight_bytes;
        out->kv_bytes = s->ready.kv_bytes;
        out->scratch_bytes = s->ready.scratch_bytes;
    }
    out->at_ms = s->stats_ms;
    if (s->stats_ms) out->stats = s->stats;
}

/* That it cannot be reached is noticed by the next poll. */
static void ask_for_counts(engine *e, stage *s, uint64_t now)
{
    if (s->worker < 0 || !s->is_ready || (s->stats_id && now - s->stats_asked_ms < STATS_LATE_MS)) return;
    s->stats_id = pipeline_take_id(e->pipeline);
    s->stats_asked_ms = now;
    frame f = {.kind = FRAME_STATS, .epoch = e->epoch, .stats = {.id = s->stats_id}};
    cluster_send(e->cluster, (uint32_t)s->worker, &f, NULL);
}

void engine_watch_answer(void *ctx, const frame *question, frame *answer)
{
    engine *e = ctx;
    uint64_t now = cluster_now_ms();
    uint32_t n_working = 0;
    for (uint32_t i = 0; i < e->n_stages; i++) {
        ask_for_counts(e, &e->stages[i], now);
        look_at(e, &e->stages[i], &e->watched[i]);
        n_working += e->stages[i].worker >= 0;
    }
    uint32_t n_here = cluster_n_here(e->cluster);
    *answer = (frame){.kind = FRAME_CHAIN,
                      .epoch = e->epoch,
                      .chain = {.id = question->chain.id,
                                .now_ms = now,
                                .n_ctx = e->n_ctx,
                                .n_seq = e->o.n_seq,
                                .frames_in_flight = pipeline_n_in_flight(e->pipeline),
                                .rows_in_flight = pipeline_rows_in_flight(e->pipeline),
                                .n_turns = e->n_turns,
                                .turn_ns = e->turn_ns,
                                .n_standby = n_here > n_working ? n_here - n_working : 0,
                                .n_stages = e->n_stages,
                                .stages = e->watched}};
}
