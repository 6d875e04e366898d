/* thread_pool.c: one mailbox a thread.
 *
 * The caller writes the loop into the pool, then raises the order number of each helper that shall take part; a helper that sees
 * its number rise reads the loop, does its piece, and lowers the count of those still at work. A helper without a piece is not
 * disturbed, and nobody touches the loop between the last piece's end and the next order. So the atomics below are all the
 * synchronization of a busy team.
 *
 * Who waits first spins, for the next loop follows within microseconds, then offers its core to others, then sleeps on a condition.
 * A team larger than the machine spins next to nothing: that would keep the very thread it waits for from running. A sleeper
 * announces itself before it looks for the last time, and who brings news looks for sleepers after; both orders are sequentially
 * consistent, so one of the two sees the other. */
#include "thread_pool.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __SSE2__
#include <xmmintrin.h>
#endif

/* Looks before a waiter yields (400: about 10 microseconds), for teams that fit the machine and for larger ones; yields before it
 * sleeps. More spinning was slower by the more, the busier the machine was with others. */
enum { N_SPINS = 400, N_SPINS_CROWDED = 50, N_YIELDS = 3 };

/* A number, and one thread that waits until it has a certain value. */
typedef struct gate {
    _Alignas(64) atomic_uint value; /* a cache line of its own: others' gates do not slow this one down */
    atomic_bool sleeping;
    pthread_mutex_t mutex;
    pthread_cond_t opened;
} gate;

typedef struct helper {
    gate orders; /* value: how many loops this helper was given; the order to end counts as one */
    thread_pool *pool;
    uint32_t thread;
    pthread_t id;
} helper;

struct thread_pool {
    gate at_work; /* value: helpers that still have to finish their piece of the loop */
    uint32_t n_threads;
    uint32_t n_started; /* helpers that are to be joined */
    int n_spins;

    /* The loop, or ended. Written before orders are raised, read after. */
    thread_pool_fn *fn;
    void *arg;
    size_t n, grain;
    uint32_t n_pieces;
    bool ended;

    helper helpers[]; /* [n_threads - 1]; helper i is thread i + 1 */
};

static bool gate_init(gate *g)
{
    atomic_init(&g->value, 0);
    atomic_init(&g->sleeping, false);
    if (pthread_mutex_init(&g->mutex, NULL) != 0) return false;
    if (pthread_cond_init(&g->opened, NULL) == 0) return true;
    pthread_mutex_destroy(&g->mutex);
    return false;
}

static void gate_clear(gate *g)
{
    pthread_cond_destroy(&g->opened);
    pthread_mutex_destroy(&g->mutex);
}

/* After a change of g->value. */
static void gate_wake(gate *g)
{
    if (!atomic_load(&g->sleeping)) return;
    pthread_mutex_lock(&g->mutex);
    pthread_cond_signal(&g->opened);
    pthread_mutex_unlock(&g->mutex);
}

static void spin_pause(void)
{
#if defined(__SSE2__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Returns when g->value is `wanted`. One waiter a gate. */
static void gate_wait(gate *g, unsigned wanted, int n_spins)
{
    for (int i = 0; i < n_spins; i++) {
        if (atomic_load_explicit(&g->value, memory_order_acquire) == wanted) return;
        spin_pause();
    }
    for (int i = 0; i < N_YIELDS; i++) {
        if (atomic_load_explicit(&g->value, memory_order_acquire) == wanted) return;
        sched_yield();
    }
    pthread_mutex_lock(&g->mutex);
    atomic_store(&g->sleeping, true);
    while (atomic_load(&g->value) != wanted) pthread_cond_wait(&g->opened, &g->mutex);
    atomic_store(&g->sleeping, false);
    pthread_mutex_unlock(&g->mutex);
}

void thread_pool_set_fp_environment(void)
{
#if defined(__SSE2__)
    _mm_setcsr(0x1f80); /* exceptions masked, round to nearest, subnormals neither flushed nor read as zero */
#elif defined(__aarch64__)
    uint64_t fpcr = 0;
    __asm__ volatile("msr fpcr, %0" : : "r"(fpcr));
#endif
}

/* Pieces are whole grains, as even as can be: the first n_grains mod n_pieces of them have one grain more. */
static void do_piece(const thread_pool *p, uint32_t piece)
{
    size_t n_grains = p->n / p->grain + (p->n % p->grain != 0);
    size_t each = n_grains / p->n_pieces, longer = n_grains % p->n_pieces;
    size_t begin = piece * each + (piece < longer ? piece : longer);
    size_t end = begin + each + (piece < longer);
    p->fn(p->arg, begin * p->grain, piece == p->n_pieces - 1 ? p->n : end * p->grain, piece);
}

static void *help(void *arg)
{
    helper *h = arg;
    thread_pool *p = h->pool;
    thread_pool_set_fp_environment(); /* a thread inherits its creator's, whatever that is */
    for (unsigned order = 1;; order++) {
        gate_wait(&h->orders, order, p->n_spins);
        if (p->ended) return NULL;
        do_piece(p, h->thread);
        if (atomic_fetch_sub(&p->at_work.value, 1) == 1) gate_wake(&p->at_work);
    }
}

static void give_order(helper *h)
{
    atomic_fetch_add(&h->orders.value, 1);
    gate_wake(&h->orders);
}

static yl_status start_helper(thread_pool *p, uint32_t i, yl_error *err)
{
    helper *h = &p->helpers[i];
    h->pool = p;
    h->thread = i + 1;
    if (!gate_init(&h->orders)) return yl_fail(err, YL_ENOMEM, "no memory for thread %u of the team", h->thread);
    int error = pthread_create(&h->id, NULL, help, h);
    if (error) {
        gate_clear(&h->orders);
        return yl_fail(err, YL_EIO, "cannot start thread %u of %u: %s. Ask for fewer threads", h->thread, p->n_threads,
                       strerror(error));
    }
    p->n_started++;
    return YL_OK;
}

yl_status thread_pool_new(thread_pool **out, uint32_t n_threads, yl_error *err)
{
    *out = NULL;
    if (n_threads == 0 || n_threads > THREAD_POOL_MAX) {
        return yl_fail(err, YL_EINVAL, "%u threads asked for; 1 to %d are possible", n_threads, THREAD_POOL_MAX);
    }
    size_t n_bytes = sizeof(thread_pool) + (n_threads - 1) * sizeof(helper);
    thread_pool *p = aligned_alloc(_Alignof(thread_pool), n_bytes); /* n_bytes is a multiple: both structs are padded to lines */
    if (!p) return yl_fail(err, YL_ENOMEM, "no memory for a team of %u threads", n_threads);
    memset(p, 0, n_bytes);
    p->n_threads = n_threads;
    p->n_spins = (long)n_threads <= sysconf(_SC_NPROCESSORS_ONLN) ? N_SPINS : N_SPINS_CROWDED;
    if (!gate_init(&p->at_work)) {
        free(p);
        return yl_fail(err, YL_ENOMEM, "no memory for a team of %u threads", n_threads);
    }
    for (uint32_t i = 0; i < n_threads - 1; i++) {
        yl_status status = start_helper(p, i, err);
        if (status) {
            thread_pool_free(p);
            return status;
        }
    }
    *out = p;
    return YL_OK;
}

void thread_pool_free(thread_pool *p)
{
    if (!p) return;
    p->ended = true;
    for (uint32_t i = 0; i < p->n_started; i++) give_order(&p->helpers[i]);
    for (uint32_t i = 0; i < p->n_started; i++) {
        pthread_join(p->helpers[i].id, NULL);
        gate_clear(&p->helpers[i].orders);
    }
    gate_clear(&p->at_work);
    free(p);
}

uint32_t thread_pool_n_threads(const thread_pool *p)
{
    return p ? p->n_threads : 1;
}

void thread_pool_run(thread_pool *p, size_t n, size_t grain, thread_pool_fn *fn, void *arg)
{
    assert(grain >= 1);
    thread_pool_set_fp_environment();
    if (n == 0) return;
    if (!p || p->n_threads == 1 || n <= grain) {
        fn(arg, 0, n, 0);
        return;
    }
    size_t n_grains = n / grain + (n % grain != 0);
    p->fn = fn;
    p->arg = arg;
    p->n = n;
    p->grain = grain;
    p->n_pieces = n_grains < p->n_threads ? (uint32_t)n_grains : p->n_threads;
    atomic_store(&p->at_work.value, p->n_pieces - 1);
    for (uint32_t i = 0; i < p->n_pieces - 1; i++) give_order(&p->helpers[i]);
    do_piece(p, 0);
    gate_wait(&p->at_work, 0, p->n_spins);
}
