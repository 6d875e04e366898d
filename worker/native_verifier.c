/* native_verifier.c: reads whole files at the lowest priority there is.
 *
 * A start checks a file's head only: hashing gigabytes would cost what mapping saves. The rest is checked here, once, while the
 * model answers already. The thread runs when nobody else wants a processor (SCHED_IDLE), and waits a moment first so that the
 * first answer has the memory's bandwidth for itself. It can be told to leave its files between any two chunks, and nobody waits
 * for it until the process ends. */
#include "native_verifier.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOMENT_MS = 500 };

/* Files to be checked. */
typedef struct batch {
    uint64_t epoch;
    size_t n;
    tile_file *files[];
} batch;

struct native_verifier {
    native_verifier_fn *on_damage;
    void *ctx;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    batch *next;              /* NULL: none */
    atomic_bool is_cancelled; /* what is under way; without the lock, which a thread of low priority should not hold often */
    bool stop;
};

static void free_batch(batch *b)
{
    if (!b) return;
    for (size_t i = 0; i < b->n; i++) tile_file_close(b->files[i]);
    free(b);
}

/* Waits a moment. False: it was cancelled. */
static bool wait_a_moment(native_verifier *v)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += MOMENT_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&v->lock);
    while (!v->is_cancelled && pthread_cond_timedwait(&v->changed, &v->lock, &until) != ETIMEDOUT) continue;
    bool go_on = !v->is_cancelled;
    pthread_mutex_unlock(&v->lock);
    return go_on;
}

static void check_files(native_verifier *v, const batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        uint64_t n_chunks = tile_file_head(b->files[i])->n_chunks;
        for (uint64_t chunk = 0; chunk < n_chunks; chunk++) {
            if (v->is_cancelled) return;
            if (tile_file_chunk_is_whole(b->files[i], chunk)) continue;
            tile_file_unlink(b->files[i]);
            v->on_damage(v->ctx, b->epoch, b->files[i], chunk);
            break; /* on to the next file: until we are told to leave, what else is damaged goes in the same sweep */
        }
    }
}

static void *verifier_main(void *arg)
{
    native_verifier *v = arg;
    struct sched_param priority = {0};
    pthread_setschedparam(pthread_self(), SCHED_IDLE, &priority);
    for (;;) {
        pthread_mutex_lock(&v->lock);
        while (!v->next && !v->stop) pthread_cond_wait(&v->changed, &v->lock);
        batch *b = v->next;
        v->next = NULL;
        v->is_cancelled = v->stop;
        bool stop = v->stop;
        pthread_mutex_unlock(&v->lock);
        if (b && !stop && wait_a_moment(v)) check_files(v, b);
        free_batch(b);
        if (stop) return NULL;
    }
}

yl_status native_verifier_new(native_verifier **out, native_verifier_fn *on_damage, void *ctx, yl_error *err)
{
    *out = NULL;
    native_verifier *v = calloc(1, sizeof *v);
    if (!v) return yl_fail(err, YL_ENOMEM, "no memory for a thread");
    v->on_damage = on_damage;
    v->ctx = ctx;
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->changed, NULL);
    int failed = pthread_create(&v->thread, NULL, verifier_main, v);
    if (failed) {
        pthread_cond_destroy(&v->changed);
        pthread_mutex_destroy(&v->lock);
        free(v);
        return yl_fail(err, YL_EIO, "a thread cannot be started: %s", strerror(failed));
    }
    *out = v;
    return YL_OK;
}

static void replace(native_verifier *v, batch *b, bool stop)
{
    pthread_mutex_lock(&v->lock);
    batch *old = v->next;
    v->next = b;
    v->is_cancelled = true;
    v->stop = stop;
    pthread_cond_broadcast(&v->changed);
    pthread_mutex_unlock(&v->lock);
    free_batch(old);
}

void native_verifier_begin(native_verifier *v, uint64_t epoch, tile_file *const *files, size_t n)
{
    batch *b = n ? malloc(sizeof *b + n * sizeof *b->files) : NULL;
    if (b) {
        *b = (batch){.epoch = epoch, .n = n};
        for (size_t i = 0; i < n; i++) b->files[i] = tile_file_hold(files[i]);
    }
    replace(v, b, false);
}

void native_verifier_free(native_verifier *v)
{
    if (!v) return;
    replace(v, NULL, true);
    pthread_join(v->thread, NULL);
    pthread_cond_destroy(&v->changed);
    pthread_mutex_destroy(&v->lock);
    free(v);
}
