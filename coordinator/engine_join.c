/* engine_join.c: workers on other machines: listen, wait until enough have said HELLO, make them the stages of the chain. Meanwhile
 * the model is hashed: ASSIGN tells what its tensors are, so that workers know what they have.
 *
 * A worker has no rank: the stages are the workers in the order of their names, so the same workers make the same chain whoever
 * came first. One that leaves before the chain is wired is waited for again, or another in its place. Who comes later stands by. */
#include "engine_internal.h"

#include "cpus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void say(void *ctx, const char *line)
{
    const engine *e = ctx;
    if (e->o.on_note) e->o.on_note(e->o.ctx, line);
}

/* Control where the user says; results at the same host, at a port of its own. */
static yl_status listen_for_workers(engine *e, yl_error *err)
{
    cluster_options o = {.key = e->o.key,
                         .timeout_ms = e->o.timeout_ms,
                         .n_wanted = e->o.n_join,
                         .n_places = e->o.n_join + ENGINE_MAX_STANDBY,
                         .say = say,
                         .ctx = e};
    yl_status status = endpoint_parse(&o.control, e->o.listen, ENDPOINT_CONTROL_PORT, err);
    if (status) return status;
    if (!o.control.is_tcp) return yl_fail(err, YL_EINVAL, "--listen takes tcp://HOST:PORT: '%s' is for this machine", e->o.listen);
    status = link_check_guarded(e->o.key, e->o.is_insecure, &o.control, err);
    o.results = o.control;
    o.results.port = e->o.result_port;
    return status ? status : cluster_new(&e->cluster, &o, err);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const cluster_worker *const *)a)->name, (*(const cluster_worker *const *)b)->name);
}

yl_status engine_make_stages_of_workers(engine *e, yl_error *err)
{
    const cluster_worker **order = calloc(e->n_stages, sizeof *order);
    if (!order) return yl_fail(err, YL_ENOMEM, "no memory for %u stages", e->n_stages);
    for (uint32_t place = 0, n = 0; n < e->n_stages; place++) {
        order[n] = cluster_worker_at(e->cluster, place);
        n += order[n] != NULL;
    }
    qsort(order, e->n_stages, sizeof *order, by_name);
    for (uint32_t i = 0; i < e->n_stages; i++) {
        stage *s = &e->stages[i];
        s->worker = cluster_find(e->cluster, order[i]->name);
        snprintf(s->name, sizeof s->name, "%s", order[i]->name);
    }
    free(order);
    return YL_OK;
}

/* Workers outlive us, and know the epochs of the last coordinator: ours must be later, or frames of its that are still on their way
 * would be taken for ours. */
static uint64_t first_epoch(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

/* Hashes that cannot be had are no reason to stop: weights are then sent at every start. */
static void begin_hashing(engine *e)
{
    tile_cache *cache = NULL;
    yl_error cause;
    if (!e->o.no_cache && tile_cache_open(&cache, e->o.cache_dir, e->o.cache_size, &cause))
        engine_log(e, ENGINE_LOG_WARN, "%s: the model is hashed at every start", cause.msg);
    if (weight_hashes_new(&e->hashes, e->model, e->model_id, cache, cpus_usable(), &cause))
        engine_log(e, ENGINE_LOG_WARN, "%s: workers keep no weights", cause.msg);
}

static yl_status finish_hashing(engine *e, yl_error *err)
{
    yl_status status = YL_OK;
    while (!status && e->hashes && !weight_hashes_are_done(e->hashes)) {
        if (e->o.on_progress) e->o.on_progress(e->o.ctx, "hashing the model", weight_hashes_share(e->hashes));
        status = engine_wait_a_moment(e, err);
    }
    return status;
}

yl_status engine_gather(engine *e, yl_error *err)
{
    yl_status status = listen_for_workers(e, err);
    if (status) return status;
    begin_hashing(e);
    char address[ENDPOINT_BYTES], line[YL_ERROR_MSG_BYTES];
    endpoint_format(address, cluster_control_endpoint(e->cluster));
    snprintf(line, sizeof line, "waiting for %u workers at %s (%s)", e->n_stages, address,
             e->o.key ? "encrypted, with the cluster's key" : "open: without a key");
    say(e, line);
    do { /* while the model is hashed who was here may leave */
        while (!status && cluster_n_here(e->cluster) < e->n_stages) status = engine_wait_a_moment(e, err);
        if (!status) status = finish_hashing(e, err);
    } while (!status && cluster_n_here(e->cluster) < e->n_stages);
    if (status) return status;
    cluster_set_gathering(e->cluster, false);
    e->epoch = first_epoch();
    return engine_make_stages_of_workers(e, err);
}
