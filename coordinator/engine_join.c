/* engine_join.c: workers on other machines: listen or call them, wait until enough have said HELLO, make stages of them. Meanwhile
 * the model is hashed: ASSIGN tells what its tensors are, so that workers know what they have.
 *
 * A worker has no rank: they are placed on in the order of their names, so the same workers make the same chain whoever came first.
 * One that leaves before the chain is wired is waited for again, or another in its place. Who comes later stands by. */
#include "engine_internal.h"

#include "cpus.h"

#include <stdlib.h>
#include <time.h>

enum { ANSWER_MS = 500 }; /* for an answer to the first HEARTBEAT; who takes longer is placed as if that were not known */

static void say(void *ctx, const char *line)
{
    engine_note(ctx, "%s", line);
}

static cluster_options options_of_cluster(engine *e)
{
    return (cluster_options){.key = e->o.key,
                             .timeout_ms = e->o.timeout_ms,
                             .n_wanted = e->o.n_join,
                             .n_places = e->o.n_join + ENGINE_MAX_STANDBY,
                             .say = say,
                             .ctx = e};
}

/* Control where the user says; results at the same host, at a port of its own. */
static yl_status listen_for_workers(engine *e, yl_error *err)
{
    cluster_options o = options_of_cluster(e);
    o.announce = e->o.announce;
    yl_status status = endpoint_parse(&o.control, e->o.listen, ENDPOINT_CONTROL_PORT, err);
    if (status) return status;
    if (!o.control.is_tcp) return yl_fail(err, YL_EINVAL, "--listen takes tcp://HOST:PORT: '%s' is for this machine", e->o.listen);
    status = link_check_guarded(e->o.key, e->o.is_insecure, &o.control, err);
    o.results = o.control;
    o.results.port = e->o.result_port;
    return status ? status : cluster_new(&e->cluster, &o, err);
}

/* Workers listen, and results come to this machine: to all of its addresses, or without a key to those that it alone reaches. */
static yl_status call_workers(engine *e, yl_error *err)
{
    cluster_options o = options_of_cluster(e);
    bool is_guarded = e->o.key || e->o.is_insecure;
    size_t n;
    endpoint *addresses = calloc(ENGINE_MAX_WORKERS, sizeof *addresses);
    if (!addresses) return yl_fail(err, YL_ENOMEM, "no memory for %u addresses", e->o.n_join);
    yl_status status = endpoint_parse_list(addresses, ENGINE_MAX_WORKERS, &n, e->o.dial, ENDPOINT_CONTROL_PORT, err);
    for (size_t i = 0; i < n && !status; i++) status = link_check_guarded(e->o.key, e->o.is_insecure, &addresses[i], err);
    o.control.is_tcp = o.results.is_tcp = true;
    o.results.port = e->o.result_port;
    if (!status) status = endpoint_set_host(&o.results, is_guarded ? "*" : "127.0.0.1", err);
    o.dial = addresses;
    o.n_dial = (uint32_t)n;
    if (!status) status = cluster_new(&e->cluster, &o, err);
    free(addresses);
    return status;
}

/* Workers outlive us, and know the epochs of the last coordinator: ours must be later, or frames of its that are still on their way
 * would be taken for ours. */
static uint64_t first_epoch(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

/* Everybody has answered a HEARTBEAT: how far away it is is known. */
static bool all_have_answered(const engine *e)
{
    for (uint32_t i = 0; i < cluster_n_places(e->cluster); i++) {
        const cluster_worker *w = cluster_worker_at(e->cluster, i);
        if (w && !w->rtt_us) return false;
    }
    return true;
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

static bool are_hashed(const engine *e)
{
    return !e->hashes || weight_hashes_are_done(e->hashes);
}

/* Until enough are here, the model is hashed, and it is known how far away they are. */
static yl_status wait_for_all(engine *e, yl_error *err)
{
    uint64_t deadline = 0;                                      /* for answers, once enough are here */
    uint64_t called_until = cluster_now_ms() + e->o.timeout_ms; /* who is there already, if anywhere, has come by then */
    for (;;) {
        bool are_here = cluster_n_here(e->cluster) >= e->o.n_join;
        if (!are_here) deadline = 0; /* while the model is hashed who was here may leave */
        if (are_here && !deadline) deadline = cluster_now_ms() + ANSWER_MS;
        if (are_here && are_hashed(e) && (all_have_answered(e) || cluster_now_ms() > deadline)) return YL_OK;
        if (are_here && !are_hashed(e) && e->o.on_progress)
            e->o.on_progress(e->o.ctx, "hashing the model", weight_hashes_share(e->hashes));
        yl_status status = engine_wait_a_moment(e, err);
        if (!status && !are_here && e->o.dial && cluster_now_ms() > called_until) status = cluster_check_dialled(e->cluster, err);
        if (status) return status;
    }
}

static void say_what_is_awaited(engine *e)
{
    char address[ENDPOINT_BYTES];
    const char *guard = e->o.key ? "encrypted, with the cluster's key" : "open: without a key";
    endpoint_format(address, cluster_control_endpoint(e->cluster));
    if (e->o.dial)
        engine_note(e, "calling %u workers (%s)", e->o.n_join, guard);
    else
        engine_note(e, "waiting for %u workers at %s (%s)", e->o.n_join, address, guard);
}

yl_status engine_gather(engine *e, yl_error *err)
{
    yl_status status = e->o.dial ? call_workers(e, err) : listen_for_workers(e, err);
    if (status) return status;
    begin_hashing(e);
    say_what_is_awaited(e);
    status = wait_for_all(e, err);
    if (status) return status;
    cluster_set_gathering(e->cluster, false);
    e->epoch = first_epoch();
    engine_places *places;
    status = engine_places_find(&places, e, true, err);
    if (status) return status;
    status = engine_places_take(e, places, err);
    engine_places_free(places);
    return status;
}
