/* engine_join.c: workers on other machines: listen or call them, wait until enough have said HELLO, make them the stages of the
 * chain.
 *
 * A worker has no rank: the stages are the workers in the order of their names, so the same workers make the same chain whoever
 * came first. One that leaves before the chain is wired is waited for again, or another in its place. Who comes later stands by. */
#include "engine_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void say(void *ctx, const char *line)
{
    const engine *e = ctx;
    if (e->o.on_note) e->o.on_note(e->o.ctx, line);
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

static void say_what_is_awaited(engine *e)
{
    char address[ENDPOINT_BYTES], line[YL_ERROR_MSG_BYTES];
    const char *guard = e->o.key ? "encrypted, with the cluster's key" : "open: without a key";
    endpoint_format(address, cluster_control_endpoint(e->cluster));
    if (e->o.dial)
        snprintf(line, sizeof line, "calling %u workers (%s)", e->n_stages, guard);
    else
        snprintf(line, sizeof line, "waiting for %u workers at %s (%s)", e->n_stages, address, guard);
    say(e, line);
}

yl_status engine_gather(engine *e, yl_error *err)
{
    yl_status status = e->o.dial ? call_workers(e, err) : listen_for_workers(e, err);
    if (status) return status;
    say_what_is_awaited(e);
    uint64_t deadline = cluster_now_ms() + e->o.timeout_ms; /* for those that are there already, if anywhere */
    while (!status && cluster_n_here(e->cluster) < e->n_stages) {
        status = engine_wait_a_moment(e, err);
        if (!status && e->o.dial && cluster_now_ms() > deadline) status = cluster_check_dialled(e->cluster, err);
    }
    if (status) return status;
    cluster_set_gathering(e->cluster, false);
    e->epoch = first_epoch();
    return engine_make_stages_of_workers(e, err);
}
