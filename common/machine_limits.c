/* machine_limits.c: peak.h's loops on a team of threads, timed.
 *
 * A buffer is read in pieces of a mebibyte, so that a thread whose core is shared with another program reads fewer of them: what is
 * measured is the machine, not its slowest core. The best of several tries counts, because a limit is what can be reached. */
#include "machine_limits.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "peak.h"
#include "thread_pool.h"

enum { N_TRIES = 3, N_PIECES_A_THREAD = 16 };
static const size_t HUGE_PAGE_BYTES = 2u << 20, PIECE_BYTES = 1u << 20;
static const size_t BUFFER_BYTES =
    256u << 20; /* what sysconf says of the last cache is that of all cores of a machine, if true at all */
static const size_t N_MULTIPLY_ADDS_A_PIECE = 20u << 20; /* of int8: 1 to 5 ms a thread in all */

struct machine_meter {
    void *mapped; /* the buffers, and room to align them */
    size_t mapped_bytes;
    const uint8_t *small, *huge; /* [BUFFER_BYTES] each; huge is NULL for MACHINE_METER_PLACEMENT */
};

/* ---- buffers ---- */

yl_status machine_meter_new(machine_meter **out, machine_meter_scope scope, yl_error *err)
{
    *out = NULL;
    size_t n_buffers = scope == MACHINE_METER_ALL ? 2 : 1;
    machine_meter *m = calloc(1, sizeof *m);
    if (!m) return yl_fail(err, YL_ENOMEM, "no memory to measure the machine");
    m->mapped_bytes = n_buffers * BUFFER_BYTES + HUGE_PAGE_BYTES;
    m->mapped = mmap(NULL, m->mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m->mapped == MAP_FAILED) {
        free(m);
        return yl_fail(err, YL_ENOMEM, "no memory to measure the machine: it takes %zu buffer%s of %zu MiB", n_buffers,
                       n_buffers > 1 ? "s" : "", BUFFER_BYTES >> 20);
    }
    uint8_t *small = (uint8_t *)m->mapped + (HUGE_PAGE_BYTES - (uintptr_t)m->mapped % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
    uint8_t *huge = n_buffers > 1 ? small + BUFFER_BYTES : NULL;
    /* Advice only: a system without huge pages gives two equal figures. */
    madvise(small, BUFFER_BYTES, MADV_NOHUGEPAGE);
    if (huge) madvise(huge, BUFFER_BYTES, MADV_HUGEPAGE);
    memset(small, 1, n_buffers * BUFFER_BYTES); /* untouched pages are all the same one, and in the cache */
    m->small = small;
    m->huge = huge;
    *out = m;
    return YL_OK;
}

void machine_meter_free(machine_meter *m)
{
    if (!m) return;
    munmap(m->mapped, m->mapped_bytes);
    free(m);
}

/* ---- one try ---- */

typedef struct job {
    uint64_t (*read)(const uint8_t *data, size_t n);
    const uint8_t *data;
    uint64_t (*compute)(size_t n, size_t *done);
    size_t n;              /* multiply-adds of a piece */
    atomic_size_t n_done;  /* bytes, multiply-adds */
    _Atomic uint64_t kept; /* what the loops return, so that they are run */
} job;

static void read_pieces(void *arg, size_t begin, size_t end, uint32_t thread)
{
    (void)thread;
    job *j = arg;
    j->kept += j->read(j->data + begin * PIECE_BYTES, (end - begin) * PIECE_BYTES);
    j->n_done += (end - begin) * PIECE_BYTES;
}

static void compute_pieces(void *arg, size_t begin, size_t end, uint32_t thread)
{
    (void)thread;
    job *j = arg;
    size_t n_done = 0;
    for (size_t i = begin; i < end; i++) j->kept += j->compute(j->n, &n_done);
    j->n_done += n_done;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Runs a job's n pieces and keeps the rate in *best if it is better. */
static void try_job(thread_pool *pool, job *j, size_t n_pieces, thread_pool_fn *fn, double *best)
{
    j->n_done = 0;
    double begin = now_s();
    thread_pool_run(pool, n_pieces, 1, fn, j);
    double rate = (double)j->n_done / (now_s() - begin);
    if (rate > *best) *best = rate;
}

yl_status machine_meter_read(const machine_meter *m, uint32_t n_threads, const kernels *k, machine_limits *out, yl_error *err)
{
    *out = (machine_limits){0};
    thread_pool *pool;
    yl_status status = thread_pool_new(&pool, n_threads, err);
    if (status) return status;
    const peak_loops *loops = peak_loops_for(k->isa);
    size_t n_read = BUFFER_BYTES / PIECE_BYTES, n_compute = (size_t)n_threads * N_PIECES_A_THREAD;
    for (unsigned i = 0; i < N_TRIES; i++) {
        job dot = {.compute = loops->dot_int8, .n = N_MULTIPLY_ADDS_A_PIECE};
        job multiply_add = {.compute = loops->multiply_add_f32, .n = N_MULTIPLY_ADDS_A_PIECE / 4};
        try_job(pool, &dot, n_compute, compute_pieces, &out->dot_int8);
        if (m->huge) try_job(pool, &multiply_add, n_compute, compute_pieces, &out->multiply_add_f32);
        for (unsigned way = 0; way < 2; way++) {
            job small = {.read = way ? loops->read_ahead : loops->read, .data = m->small}, huge = small;
            huge.data = m->huge;
            try_job(pool, &small, n_read, read_pieces, &out->read_small_pages);
            if (m->huge) try_job(pool, &huge, n_read, read_pieces, &out->read_huge_pages);
        }
    }
    thread_pool_free(pool);
    return YL_OK;
}
