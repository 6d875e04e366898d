/* plan_local.c: this machine as workers would find it.
 *
 * What is measured is the best that memory and multipliers give; a worker reaches a part of it, because it also waits for its
 * threads, adds scales and attends: with the two shares below, prompts of models of 1B parameters (Q8_0, Q4_0, Q4_K_M on two cores
 * with AVX-512) came within 15 %, and answers as near as the bandwidth of two readings within a minute was to itself. */
#include <stdio.h>
#include <string.h>

#include "kernels.h"
#include "machine_limits.h"
#include "memory_use.h"
#include "plan_machines.h"
#include "thread_pool.h"

enum { WORKERS_HOST = 1 };
static const double SHARE_OF_MEMORY = 0.9, SHARE_OF_ARITHMETIC = 0.6;

void plan_node_set_speed(placement_node *node, const machine_limits *limits)
{
    node->bytes_per_s = limits->read_small_pages * SHARE_OF_MEMORY;
    node->macs_per_s = limits->dot_int8 * SHARE_OF_ARITHMETIC;
}

/* own: of one worker while the others wait; all: of all at the same time. */
static yl_status measure(machine_limits *own, machine_limits *all, uint32_t n, uint32_t n_threads, yl_error *err)
{
    machine_meter *meter;
    yl_status status = machine_meter_new(&meter, MACHINE_METER_PLACEMENT, err);
    if (status) return status;
    status = machine_meter_read(meter, n_threads, kernels_best(), own, err);
    *all = *own;
    if (!status && n > 1) status = machine_meter_read(meter, n * n_threads, kernels_best(), all, err);
    machine_meter_free(meter);
    return status;
}

yl_status plan_machines_local(plan_machines *out, uint32_t n, uint32_t n_threads, uint64_t fixed_bytes, uint64_t *free_bytes,
                              yl_error *err)
{
    memset(out, 0, sizeof *out);
    if (n == 0 || n > PLACEMENT_MAX_NODES || n_threads == 0 || n_threads > THREAD_POOL_MAX / n)
        return yl_fail(err, YL_EINVAL, "at most %d workers and %d threads of all of them can be planned", PLACEMENT_MAX_NODES,
                       THREAD_POOL_MAX);
    *free_bytes = memory_use_available();
    if (*free_bytes == 0)
        return yl_fail(err, YL_EIO, "this machine does not say how much memory is free: describe it with --assume");
    machine_limits own, all;
    yl_status status = measure(&own, &all, n, n_threads, err);
    if (status) return status;
    out->n = n;
    for (uint32_t i = 0; i < n; i++) {
        snprintf(out->names[i], PLAN_NAME_BYTES, "worker-%u", (unsigned)i);
        out->nodes[i] = (placement_node){.name = out->names[i],
                                         .fixed_bytes = fixed_bytes,
                                         .host = WORKERS_HOST,
                                         .host_bytes_per_s = all.read_small_pages * SHARE_OF_MEMORY};
        plan_node_set_speed(&out->nodes[i], &own);
    }
    return YL_OK;
}
