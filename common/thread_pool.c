/* thread_pool.c: a share of the loop for each thread, and whoever is done takes from the others'.
 *
 * A loop is cut into units of whole grains, and the units into one share a thread: neighbours, so that each thread reads a stream
 * of weights of its own, the same in every loop over the same matrix. What is left of a share is one 64-bit word, [begin, end), on
 * a cache line of its own. A thread takes a block from the front of its share; when that is empty, from the end of the fullest
 * other. A block is a quarter of what is left: few takings while there is much to do, single units at the end, so that all finish
 * together whatever their speeds.
 *
 * Nobody is waited for who holds no block. A helper whose core is taken by another program finds, when it comes at last, that
 * others have emptied its share, and waits on. That this late helper harms no later loop rests on three rules:
 * - Only the caller of thread_pool_run makes a word non-empty, by a store; all others shrink it, by compare-and-swap. So a swap
 * that succeeds takes units of the loop that stands now, even if it was prepared for an earlier one whose word looked the same: a
 *   block is what the word says, and nothing that was read before the swap is used after it.
 * - The loop (fn, arg, limits) is read by those only who hold a block. The swap that took it synchronizes with the store of the
 *   word, before which the loop was written.
 * - The units of a block count as unfinished until its holder has subtracted them, and the caller returns, and may write another
 *   loop, when none is unfinished. So while somebody holds a block, its loop stands; and a helper that takes several blocks and
 *   subtracts them together takes them from one loop.
 *
 * Who waits first spins, for the next loop follows within microseconds, then offers its core to others between looks (in a decode
 * step those threads that bring the next one), then sleeps on a condition. A team larger than the machine does next to none of
 * that: it would keep the very thread it waits for from running. A sleeper
 * announces itself before it looks for the last time, and who brings news looks for sleepers after; both orders are sequentially
 * consistent, so one of the two sees the other.
 *
 * A block whose holder is off its core makes everybody wait until the system lets it on again: some milliseconds. So a helper
 * that has had its core for a while offers it to others at a moment when it holds no block. */
#include "thread_pool.h"

#include "cpus.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef __SSE2__
#include <xmmintrin.h>
#endif

enum {
    SPIN_NS = 3000,         /* before a waiter offers its core to others whenever it has looked */
    LOOK_NS = 100000,       /* before it sleeps, in teams that fit the machine */
    LOOK_CROWDED_NS = 1000, /* in larger ones */
    LOOKS_A_CLOCK = 16,     /* looks between two looks at the clock */
    TURN_NS = 1000000,      /* a helper that has worked so long lets others on its core */
    MAX_UNITS = INT32_MAX,  /* of a loop: the halves of a share's word hold more */
    BLOCKS_A_SHARE = 4      /* of what is left of it, at any time */
};

/* Where one thread waits. */
typedef struct bed {
    atomic_bool sleeping;
    pthread_mutex_t mutex;
    pthread_cond_t woken;
} bed;

typedef struct member {
    _Alignas(64) _Atomic uint64_t left; /* of its share: begin << 32 | end, in units */
    bed bed;                            /* where it waits: for a share or the end; member 0, the caller: for the others */
    thread_pool *pool;
    uint32_t thread;
    pthread_t id;
} member;

struct thread_pool {
    uint32_t n_threads, n_started; /* started: helpers that are to be joined */
    uint64_t look_ns;
    atomic_bool ended;

    /* The loop. */
    thread_pool_fn *fn;
    void *arg;
    size_t n, unit; /* elements */
    uint32_t n_units;

    _Alignas(64) atomic_uint unfinished; /* units */
    member members[];                    /* [n_threads]; the first is whoever calls */
};

/* ---- waiting ---- */

static bool bed_init(bed *b)
{
    atomic_init(&b->sleeping, false);
    if (pthread_mutex_init(&b->mutex, NULL) != 0) return false;
    if (pthread_cond_init(&b->woken, NULL) == 0) return true;
    pthread_mutex_destroy(&b->mutex);
    return false;
}

static void bed_clear(bed *b)
{
    pthread_cond_destroy(&b->woken);
    pthread_mutex_destroy(&b->mutex);
}

/* After the change that a sleeper there waits for. */
static void bed_wake(bed *b)
{
    if (!atomic_load(&b->sleeping)) return;
    pthread_mutex_lock(&b->mutex);
    pthread_cond_signal(&b->woken);
    pthread_mutex_unlock(&b->mutex);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void spin_pause(void)
{
#if defined(__SSE2__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Units in a share's word. */
static uint32_t n_left(uint64_t left)
{
    return (uint32_t)left - (uint32_t)(left >> 32);
}

typedef bool condition_fn(const member *m);

static bool has_share(const member *m)
{
    return n_left(atomic_load(&m->left)) || atomic_load_explicit(&m->pool->ended, memory_order_acquire);
}

static bool all_finished(const member *m)
{
    return !atomic_load(&m->pool->unfinished);
}

/* Returns when the condition holds for m, the thread that asks. */
static void wait_until(member *m, condition_fn *holds)
{
    uint64_t begin = now_ns(), waited_ns;
    do {
        for (int i = 0; i < LOOKS_A_CLOCK; i++) {
            if (holds(m)) return;
            spin_pause();
        }
        waited_ns = now_ns() - begin;
        if (waited_ns > SPIN_NS) sched_yield();
    } while (waited_ns < m->pool->look_ns);
    bed *b = &m->bed;
    pthread_mutex_lock(&b->mutex);
    atomic_store(&b->sleeping, true);
    while (!holds(m)) pthread_cond_wait(&b->woken, &b->mutex);
    atomic_store(&b->sleeping, false);
    pthread_mutex_unlock(&b->mutex);
}

/* ---- working ---- */

/* Some units of the loop, [begin, end). */
typedef struct block {
    uint32_t begin, end;
} block;

enum share_end { SHARE_FRONT, SHARE_BACK };

/* Takes a block from one end of a share. False: it is empty. */
static bool take(member *from, enum share_end side, block *out)
{
    uint64_t left = atomic_load_explicit(&from->left, memory_order_relaxed);
    for (;;) {
        uint32_t n = (n_left(left) + BLOCKS_A_SHARE - 1) / BLOCKS_A_SHARE;
        if (!n) return false;
        uint32_t begin = (uint32_t)(left >> 32), end = (uint32_t)left;
        uint64_t rest = side == SHARE_FRONT ? left + ((uint64_t)n << 32) : left - n;
        if (atomic_compare_exchange_weak_explicit(&from->left, &left, rest, memory_order_acquire, memory_order_relaxed)) {
            *out = side == SHARE_FRONT ? (block){begin, begin + n} : (block){end - n, end};
            return true;
        }
    }
}

/* The share in which most is left; NULL: all are empty. */
static member *fullest_share(thread_pool *p)
{
    member *fullest = NULL;
    uint32_t most = 0;
    for (uint32_t i = 0; i < p->n_threads; i++) {
        uint32_t n = n_left(atomic_load_explicit(&p->members[i].left, memory_order_relaxed));
        if (n <= most) continue;
        most = n;
        fullest = &p->members[i];
    }
    return fullest;
}

static bool take_any(member *m, block *out)
{
    if (take(m, SHARE_FRONT, out)) return true;
    for (member *other; (other = fullest_share(m->pool));) {
        if (take(other, SHARE_BACK, out)) return true;
    }
    return false;
}

static void do_block(const thread_pool *p, block b, uint32_t thread)
{
    p->fn(p->arg, b.begin * p->unit, b.end == p->n_units ? p->n : b.end * p->unit, thread);
}

/* These units are finished, and their holder has no block any more. */
static void settle(thread_pool *p, uint32_t n_units)
{
    if (n_units && atomic_fetch_sub(&p->unfinished, n_units) == n_units) bed_wake(&p->members[0].bed);
}

/* Does blocks until no share has any. *turn_end_ns: when a helper next lets others on its core; NULL: never. */
static void work(member *m, uint64_t *turn_end_ns)
{
    thread_pool *p = m->pool;
    uint32_t n_done = 0;
    for (block b; take_any(m, &b);) {
        do_block(p, b, m->thread);
        n_done += b.end - b.begin;
        if (!turn_end_ns || now_ns() < *turn_end_ns) continue;
        settle(p, n_done);
        n_done = 0;
        sched_yield();
        *turn_end_ns = now_ns() + TURN_NS;
    }
    settle(p, n_done);
}

static void *help(void *arg)
{
    member *m = arg;
    uint64_t turn_end_ns = now_ns() + TURN_NS;
    thread_pool_set_fp_environment(); /* a thread inherits its creator's, whatever that is */
    for (;;) {
        wait_until(m, has_share);
        if (atomic_load(&m->pool->ended)) return NULL;
        work(m, &turn_end_ns);
    }
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

/* Cuts the loop into units: grains, or as many grains together as it takes to be at most MAX_UNITS. */
static void set_loop(thread_pool *p, size_t n, size_t grain, thread_pool_fn *fn, void *arg)
{
    size_t n_grains = n / grain + (n % grain != 0);
    size_t grains_a_unit = n_grains / MAX_UNITS + (n_grains % MAX_UNITS != 0);
    p->fn = fn;
    p->arg = arg;
    p->n = n;
    p->unit = grains_a_unit * grain;
    p->n_units = (uint32_t)(n_grains / grains_a_unit + (n_grains % grains_a_unit != 0));
    atomic_store_explicit(&p->unfinished, p->n_units, memory_order_relaxed);
}

/* Shares are as even as can be: the first n_units mod n_shares of them have one unit more. Helpers without one are not disturbed.
 */
static void give_shares(thread_pool *p)
{
    uint32_t n_shares = p->n_units < p->n_threads ? p->n_units : p->n_threads;
    uint32_t each = p->n_units / n_shares, longer = p->n_units % n_shares, begin = 0;
    for (uint32_t i = 0; i < n_shares; i++) {
        uint32_t end = begin + each + (i < longer);
        atomic_store(&p->members[i].left, (uint64_t)begin << 32 | end);
        begin = end;
    }
    for (uint32_t i = 1; i < n_shares; i++) bed_wake(&p->members[i].bed);
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
    set_loop(p, n, grain, fn, arg);
    give_shares(p);
    work(&p->members[0], NULL);
    wait_until(&p->members[0], all_finished);
}

/* ---- beginning and end ---- */

static yl_status start_helper(thread_pool *p, member *m, yl_error *err)
{
    int error = pthread_create(&m->id, NULL, help, m);
    if (error)
        return yl_fail(err, YL_EIO, "cannot start thread %u of %u: %s. Ask for fewer threads", m->thread, p->n_threads,
                       strerror(error));
    p->n_started++;
    return YL_OK;
}

/* Everything but the threads. NULL: no memory. */
static thread_pool *make_pool(uint32_t n_threads)
{
    size_t n_bytes = sizeof(thread_pool) + n_threads * sizeof(member);
    thread_pool *p = aligned_alloc(_Alignof(thread_pool), n_bytes); /* n_bytes is a multiple: both structs are padded to lines */
    if (!p) return NULL;
    memset(p, 0, n_bytes);
    p->look_ns = n_threads <= cpus_usable() ? LOOK_NS : LOOK_CROWDED_NS;
    while (p->n_threads < n_threads) {
        member *m = &p->members[p->n_threads];
        if (!bed_init(&m->bed)) {
            thread_pool_free(p);
            return NULL;
        }
        m->pool = p;
        m->thread = p->n_threads++;
    }
    return p;
}

yl_status thread_pool_new(thread_pool **out, uint32_t n_threads, yl_error *err)
{
    *out = NULL;
    if (n_threads == 0 || n_threads > THREAD_POOL_MAX)
        return yl_fail(err, YL_EINVAL, "%u threads asked for; 1 to %d are possible", n_threads, THREAD_POOL_MAX);
    thread_pool *p = make_pool(n_threads);
    if (!p) return yl_fail(err, YL_ENOMEM, "no memory for a team of %u threads", n_threads);
    for (uint32_t i = 1; i < n_threads; i++) {
        yl_status status = start_helper(p, &p->members[i], err);
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
    atomic_store(&p->ended, true);
    for (uint32_t i = 1; i <= p->n_started; i++) bed_wake(&p->members[i].bed);
    for (uint32_t i = 1; i <= p->n_started; i++) pthread_join(p->members[i].id, NULL);
    for (uint32_t i = 0; i < p->n_threads; i++) bed_clear(&p->members[i].bed);
    free(p);
}

uint32_t thread_pool_n_threads(const thread_pool *p)
{
    return p ? p->n_threads : 1;
}
