/* engine_failover.c: a worker is lost, and another takes its layers.
 *
 * A lost worker leaves a stage without one. Who stands by takes exactly that slice, so that all other stages keep their weights and
 * only their sequences are fed again. Is nobody there with the memory for it, the model is placed anew on the workers that are
 * left; is none left, or have they too little memory, one is waited for. Then the chain is wired as after any loss
 * (engine_replay.c).
 *
 * A worker that is silent, or whose connection closed, is lost however often that happens, as long as there are others. One that
 * refuses its part or answers what nobody asked may do so again, so that is counted like other losses; and before the chain has
 * worked it is not the worker that is wrong but what was asked of it, which is final unless somebody stands by. */
#include "engine_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { WAIT_FACTOR = 6 }; /* of the timeout: how long a worker is waited for when none is left */

/* The first worker that is no stage and has the memory for a slice (NULL: for any), or -1. */
static int find_standby(engine *e, const slice_range *r)
{
    for (uint32_t i = 0; i < cluster_n_places(e->cluster); i++) {
        const cluster_worker *w = cluster_worker_at(e->cluster, i);
        if (!w || w->why_lost[0] || engine_stage_of_worker(e, (int)i)) continue;
        if (!r || engine_worker_fits(e, i, r)) return (int)i;
    }
    return -1;
}

yl_status engine_lose_worker(engine *e, uint32_t worker, const char *why, yl_error *err)
{
    char name[FRAME_MAX_NAME + 1];
    snprintf(name, sizeof name, "%s", cluster_worker_at(e->cluster, worker)->name);
    stage *s = engine_stage_of_worker(e, (int)worker);
    cluster_drop(e->cluster, worker);
    if (!s) {
        engine_note(e, "worker '%s' has left (%s); %u workers are here", name, why, cluster_n_here(e->cluster));
        return YL_OK;
    }
    if (e->locals) return yl_fail(err, YL_EPEER, "worker '%s' was lost: %s", name, why);
    s->worker = -1;
    snprintf(s->why_lost, sizeof s->why_lost, "%s", why);
    e->is_lost = true;
    return yl_fail(err, YL_EREPLAY, "worker '%s' was lost (%s)", name, why);
}

yl_status engine_lose_stage(engine *e, stage *s, const yl_error *cause, yl_error *err)
{
    if (e->locals || (!e->was_ready && find_standby(e, NULL) < 0)) return yl_fail(err, YL_EPEER, "%s", cause->msg);
    if (s->worker < 0) return yl_fail(err, YL_EREPLAY, "%s", cause->msg); /* it is lost already */
    yl_status status = engine_count_loss(e, cause, err);
    return status ? status : engine_lose_worker(e, (uint32_t)s->worker, cause->msg, err);
}

/* The sentence is told together with what the loss costs, when that is known. */
static void tell_later(engine *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void tell_later(engine *e, const char *format, ...)
{
    if (e->loss.msg[0]) engine_log(e, ENGINE_LOG_WARN, "%s", e->loss.msg);
    va_list args;
    va_start(args, format);
    vsnprintf(e->loss.msg, sizeof e->loss.msg, format, args);
    va_end(args);
}

/* Gives a stage without a worker to one that stands by. False: nobody does who has the memory. */
static bool replace(engine *e, stage *s)
{
    int standby = find_standby(e, &s->range);
    if (standby < 0) return false;
    const char *name = cluster_worker_at(e->cluster, (uint32_t)standby)->name;
    tell_later(e, "worker '%s' was lost (%s): its layers go to '%s'", s->name, s->why_lost, name);
    s->worker = standby;
    snprintf(s->name, sizeof s->name, "%s", name);
    return true;
}

/* Those that are left have too little memory for the model: until one joins, or leaves. */
static yl_status wait_for_change(engine *e, uint64_t deadline, yl_error *err)
{
    yl_status status = YL_OK;
    uint32_t n = cluster_n_here(e->cluster);
    while (!status && cluster_n_here(e->cluster) == n && cluster_now_ms() < deadline) status = engine_wait_a_moment(e, err);
    return status;
}

static const stage *lost_stage(const engine *e)
{
    const stage *s = e->stages;
    while (s->worker >= 0) s++; /* there is one */
    return s;
}

/* Who gets what of those that are left; waits for one more if they have too little memory. YL_EPEER: in vain. */
static yl_status find_places(engine_places **out, engine *e, yl_error *err)
{
    yl_error cause;
    uint64_t limit_ms = (uint64_t)WAIT_FACTOR * e->o.timeout_ms, deadline = cluster_now_ms() + limit_ms;
    for (bool was_told = false;; was_told = true) {
        yl_status status = engine_places_find(out, e, false, &cause);
        if (!status) return YL_OK;
        const stage *s = lost_stage(e);
        if (status != YL_ENOMEM || cluster_now_ms() >= deadline)
            return yl_fail(err, YL_EPEER, "worker '%s' was lost (%s), and %s", s->name, s->why_lost, cause.msg);
        if (!was_told)
            engine_log(e, ENGINE_LOG_WARN, "worker '%s' was lost (%s), and %s: waiting %.0f s for one to join", s->name,
                       s->why_lost, cause.msg, (double)limit_ms / 1e3);
        status = wait_for_change(e, deadline, err);
        if (status) return status;
    }
}

/* The whole model, for the workers that are left. */
static yl_status cut_anew(engine *e, yl_error *err)
{
    engine_places *places;
    yl_status status = find_places(&places, e, err);
    if (status) return status;
    uint32_t n = engine_places_n_stages(places);
    for (uint32_t i = 0; i < e->n_stages; i++) {
        const stage *s = &e->stages[i];
        if (s->worker < 0)
            tell_later(e, "worker '%s' was lost (%s): the layers are shared out over %u worker%s", s->name, s->why_lost, n,
                       n == 1 ? "" : "s");
    }
    status = engine_places_take(e, places, err);
    engine_places_free(places);
    return status;
}

static yl_status wait_for_one(engine *e, yl_error *err)
{
    uint64_t now = cluster_now_ms(), limit_ms = (uint64_t)WAIT_FACTOR * e->o.timeout_ms, deadline = now + limit_ms;
    yl_status status = YL_OK;
    if (cluster_n_here(e->cluster)) return YL_OK;
    const stage *last = &e->stages[0];
    engine_log(e, ENGINE_LOG_WARN, "worker '%s' was lost (%s), and none is left: waiting %.0f s for one to join", last->name,
               last->why_lost, (double)limit_ms / 1e3);
    cluster_set_gathering(e->cluster, true);
    while (!status && !cluster_n_here(e->cluster)) {
        if (cluster_now_ms() > deadline)
            return yl_fail(err, YL_EPEER,
                           "worker '%s' was lost (%s), none is left, and within %.0f s (6 times --timeout) none has joined",
                           last->name, last->why_lost, (double)limit_ms / 1e3);
        status = engine_wait_a_moment(e, err);
    }
    cluster_set_gathering(e->cluster, false);
    return status;
}

yl_status engine_fill_chain(engine *e, yl_error *err)
{
    e->epoch++; /* what still comes from the chain as it was is of no use */
    yl_status status = wait_for_one(e, err);
    for (uint32_t i = 0; i < e->n_stages && !status; i++) {
        if (e->stages[i].worker < 0 && !replace(e, &e->stages[i])) return cut_anew(e, err);
    }
    return status;
}
