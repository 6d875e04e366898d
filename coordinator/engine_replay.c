/* engine_replay.c: a stage lost what it held, and nobody shall notice.
 *
 * A stage that finds its weights damaged, or that was replaced by another one, has no sequences any more, and the stages beside it
 * hold too much. So the epoch rises: every stage is assigned its slice anew, drops what it held, loads what it has lost, and
 * says READY. Frames of the old epoch may still arrive; nobody acts on them. Then the pipeline feeds each sequence's tokens again,
 * and since a row's numbers depend on the tokens only, the answers that are still due have the bits that they would have had.
 *
 * A loss is noted where it is heard of, deep in the handling of frames, whose callers leave with YL_EREPLAY; the loops of
 * engine.c, which hold no state of the old epoch, then call engine_recover. One interrupted on the way goes on with the next call.
 */
#include "engine_internal.h"

#include <inttypes.h>
#include <stdio.h>

enum { WINDOW_MS = 60000 };

yl_status engine_count_loss(engine *e, const yl_error *cause, yl_error *err)
{
    uint64_t now = cluster_now_ms();
    uint32_t n_recent = 0;
    for (uint32_t i = 0; i < e->n_losses && i < ENGINE_MAX_REPLAYS; i++) n_recent += now - e->lost_ms[i] < WINDOW_MS;
    if (n_recent == ENGINE_MAX_REPLAYS)
        return yl_fail(err, YL_EPEER, "%s (this happened %d times within a minute: giving up)", cause->msg, ENGINE_MAX_REPLAYS + 1);
    e->lost_ms[e->n_losses++ % ENGINE_MAX_REPLAYS] = now;
    return YL_OK;
}

yl_status engine_lose(engine *e, const yl_error *cause, yl_error *err)
{
    yl_status status = engine_count_loss(e, cause, err);
    if (status) return status;
    e->is_lost = true;
    e->loss = *cause;
    return yl_fail(err, YL_EREPLAY, "%s", cause->msg);
}

/* Says once what happened, and what it costs. */
static void tell_loss(engine *e, uint64_t n_tokens)
{
    if (!e->loss.msg[0]) return;
    if (n_tokens)
        engine_log(e, ENGINE_LOG_WARN, "%s; %" PRIu64 " tokens are computed again", e->loss.msg, n_tokens);
    else
        engine_log(e, ENGINE_LOG_WARN, "%s; it begins again", e->loss.msg);
    e->loss.msg[0] = 0;
}

yl_status engine_recover(engine *e, yl_error *err)
{
    while (e->is_lost) {
        e->is_lost = false;
        yl_status status = engine_fill_chain(e, err);
        if (!status) {
            tell_loss(e, pipeline_restart(e->pipeline, e->n_stages));
            status = engine_assign(e, err);
        }
        if (!status) status = engine_wait_until_ready(e, err);
        if (status == YL_EREPLAY) continue; /* lost again, and noted */
        if (status == YL_ECANCELED) e->is_lost = true;
        if (status) return status;
    }
    return YL_OK;
}
