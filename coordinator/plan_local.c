/* plan_local.c: this machine as workers would find it.
 *
 * A glance: a buffer four times as large as most caches is read, multipliers are kept busy for some milliseconds, and the best of a
 * few tries counts. (machine_limits.h takes five times as long and is worth more.) What is measured so is the best that memory and
 * multipliers give; a worker reaches a part of it, because it also waits for its threads, adds scales and attends: with the
 * two shares below, prompts of models of 1B parameters (Q8_0, Q4_0, Q4_K_M on two cores with AVX-512) came within 15 %, and answers
 * as near as the bandwidth of two readings within a minute was to itself. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels.h"
#include "peak.h"
#include "plan_machines.h"
#include "thread_pool.h"

enum { N_TRIES = 3, PIECES_A_THREAD = 4, WORKERS_HOST = 1 };
static const size_t BUFFER_BYTES = 128u << 20, PIECE_BYTES = 1u << 20, N_MACS_A_PIECE = 20u << 20;
static const double SHARE_OF_MEMORY = 0.9, SHARE_OF_ARITHMETIC = 0.6;

/* A second's worth, of some threads together. */
typedef struct limits {
    double bytes, macs;
} limits;

typedef struct job {
    const peak_loops *loops;
    uint8_t *buffer;
    bool reads_ahead;
    atomic_size_t n_done;  /* bytes, multiply-adds */
    _Atomic uint64_t kept; /* what the loops return, so that they are run */
} job;

static void touch_pieces(void *arg, size_t begin, size_t end, uint32_t thread)
{
    (void)thread;
    job *j = arg;
    memset(j->buffer + begin * PIECE_BYTES, 1, (end - begin) * PIECE_BYTES); /* untouched pages are all the same one */
}

static void read_pieces(void *arg, size_t begin, size_t end, uint32_t thread)
{
    (void)thread;
    job *j = arg;
    uint64_t (*read)(const uint8_t *, size_t) = j->reads_ahead ? j->loops->read_ahead : j->loops->read;
    j->kept += read(j->buffer + begin * PIECE_BYTES, (end - begin) * PIECE_BYTES);
    j->n_done += (end - begin) * PIECE_BYTES;
}

static void multiply_pieces(void *arg, size_t begin, size_t end, uint32_t thread)
{
    (void)thread;
    job *j = arg;
    size_t n_done = 0;
    for (size_t i = begin; i < end; i++) j->kept += j->loops->dot_int8(N_MACS_A_PIECE, &n_done);
    j->n_done += n_done;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void keep_best(double *best, job *j, thread_pool *pool, size_t n_pieces, thread_pool_fn *fn)
{
    j->n_done = 0;
    double begin = now_s();
    thread_pool_run(pool, n_pieces, 1, fn, j);
    double rate = (double)j->n_done / (now_s() - begin);
    if (rate > *best) *best = rate;
}

static yl_status measure(limits *out, job *j, uint32_t n_threads, yl_error *err)
{
    *out = (limits){0};
    thread_pool *pool;
    yl_status status = thread_pool_new(&pool, n_threads, err);
    if (status) return status;
    thread_pool_run(pool, BUFFER_BYTES / PIECE_BYTES, 1, touch_pieces, j);
    for (unsigned i = 0; i < N_TRIES; i++) {
        for (unsigned way = 0; way < 2; way++) {
            j->reads_ahead = way == 1;
            keep_best(&out->bytes, j, pool, BUFFER_BYTES / PIECE_BYTES, read_pieces);
        }
        keep_best(&out->macs, j, pool, (size_t)n_threads * PIECES_A_THREAD, multiply_pieces);
    }
    thread_pool_free(pool);
    out->bytes *= SHARE_OF_MEMORY;
    out->macs *= SHARE_OF_ARITHMETIC;
    return YL_OK;
}

/* own: of one worker while the others wait; all: of all at the same time. */
static yl_status measure_both(limits *own, limits *all, uint32_t n, uint32_t n_threads, yl_error *err)
{
    job j = {.loops = peak_loops_for(kernels_best()->isa), .buffer = aligned_alloc(PIECE_BYTES, BUFFER_BYTES)};
    if (!j.buffer)
        return yl_fail(err, YL_ENOMEM, "no %zu MiB to measure this machine: describe it with --assume", BUFFER_BYTES >> 20);
    yl_status status = measure(own, &j, n_threads, err);
    if (!status && n > 1)
        status = measure(all, &j, n * n_threads, err);
    else
        *all = *own;
    free(j.buffer);
    return status;
}

static uint64_t available_bytes(void)
{
    FILE *f = fopen("/proc/meminfo", "re");
    char line[128];
    unsigned long long kib = 0;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "MemAvailable: %llu", &kib) == 1) break;
    }
    if (f) fclose(f);
    return kib * 1024;
}

yl_status plan_machines_local(plan_machines *out, uint32_t n, uint32_t n_threads, uint64_t fixed_bytes, uint64_t *free_bytes,
                              yl_error *err)
{
    memset(out, 0, sizeof *out);
    if (n == 0 || n > PLACEMENT_MAX_NODES || n_threads == 0 || n_threads > THREAD_POOL_MAX / n)
        return yl_fail(err, YL_EINVAL, "at most %d workers and %d threads of all of them can be planned", PLACEMENT_MAX_NODES,
                       THREAD_POOL_MAX);
    *free_bytes = available_bytes();
    if (*free_bytes == 0)
        return yl_fail(err, YL_EIO, "this machine does not say how much memory is free: describe it with --assume");
    limits own, all;
    yl_status status = measure_both(&own, &all, n, n_threads, err);
    if (status) return status;
    out->n = n;
    for (uint32_t i = 0; i < n; i++) {
        snprintf(out->names[i], PLAN_NAME_BYTES, "worker-%u", (unsigned)i);
        out->nodes[i] = (placement_node){.name = out->names[i],
                                         .fixed_bytes = fixed_bytes,
                                         .bytes_per_s = own.bytes,
                                         .macs_per_s = own.macs,
                                         .host = WORKERS_HOST,
                                         .host_bytes_per_s = all.bytes};
    }
    return YL_OK;
}
