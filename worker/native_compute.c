/* native_compute.c: takes frames from one mailbox, steps the worker, puts frames into another. */
#include "native_compute.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_UNSENT_BYTES = 64 << 20 }; /* logits of many rows leave no faster than the network takes them */

struct native_compute {
    pthread_t thread;
    worker *worker;
    letter_pool *letters;
    mailbox *in, *out;
    outbox outbox;
    _Atomic uint64_t steps, pending, loaded, weights;
    _Atomic uint64_t turns; /* of its loop */
    atomic_bool is_waiting; /* for somebody else */
    uint64_t turns_seen;    /* by native_compute_has_moved */
    bool stop;
};

static void say_stopped(native_compute *c, yl_status status, const yl_error *cause)
{
    c->stop = true;
    letter *l = letter_new(c->letters, LETTER_STOPPED);
    if (!l) abort(); /* not even this much memory: nothing can be told any more */
    if (status) l->error = *cause;
    mailbox_push(c->out, l);
}

/* Everything in the outbox becomes letters, and their memory goes to the outbox. */
static void flush(native_compute *c)
{
    while (c->outbox.n) {
        letter *l = letter_new(c->letters, LETTER_TO_NEXT);
        if (!l) {
            yl_error cause;
            yl_status status = yl_fail(&cause, YL_ENOMEM, "no memory to send a frame");
            say_stopped(c, status, &cause);
            return;
        }
        outbox_entry entry = {.bytes = l->bytes};
        outbox_pop(&c->outbox, &entry);
        l->bytes = entry.bytes;
        if (entry.to == WORKER_TO_COORDINATOR) l->kind = LETTER_TO_COORDINATOR;
        mailbox_push(c->out, l);
    }
    c->is_waiting = true;
    mailbox_wait_below(c->out, MAX_UNSENT_BYTES);
    c->is_waiting = false;
}

static void take_letters(native_compute *c)
{
    for (letter *l; (l = mailbox_pop(c->in));) {
        yl_error cause;
        yl_status status = YL_OK;
        switch (l->kind) {
        case LETTER_MESSAGE: /* the worker takes the letter with the message */
            status = worker_receive(c->worker, letter_message(l), &c->outbox, &cause);
            l = NULL;
            break;
        case LETTER_LINK_UP: worker_link_up(c->worker, l->epoch); break;
        case LETTER_DAMAGE: status = worker_lose_weights(c->worker, l->epoch, &l->error, &c->outbox, &cause); break;
        default: c->stop = true; break; /* LETTER_STOP */
        }
        letter_free(l);
        if (status) say_stopped(c, status, &cause);
    }
}

static void ask_for_rewiring(native_compute *c)
{
    letter *l = letter_new(c->letters, LETTER_REWIRE);
    yl_error cause;
    if (!l) {
        say_stopped(c, yl_fail(&cause, YL_ENOMEM, "no memory to rewire"), &cause);
        return;
    }
    l->epoch = worker_epoch(c->worker);
    l->range = *worker_range(c->worker); /* an ASSIGN has just given it */
    memcpy(l->endpoint, worker_next_endpoint(c->worker), strlen(worker_next_endpoint(c->worker)) + 1);
    mailbox_push(c->out, l);
}

static void wait_for_letters(native_compute *c)
{
    c->is_waiting = true;
    mailbox_wait(c->in);
    c->is_waiting = false;
}

static void *compute_main(void *arg)
{
    native_compute *c = arg;
    thread_pool_set_fp_environment();
    for (;;) {
        take_letters(c);
        if (c->stop) break;
        c->pending = worker_n_pending(c->worker); /* known even if the step never ends */
        worker_progress progress;
        yl_error cause;
        yl_status status = worker_step(c->worker, &c->outbox, &progress, &cause);
        flush(c);
        c->steps = worker_n_steps(c->worker);
        c->pending = worker_n_pending(c->worker);
        c->loaded = worker_loaded_bytes(c->worker);
        c->weights = worker_weight_bytes(c->worker);
        c->turns++;
        if (status || progress == WORKER_STOP)
            say_stopped(c, status, &cause);
        else if (progress == WORKER_REWIRE)
            ask_for_rewiring(c);
        else if (progress == WORKER_IDLE)
            wait_for_letters(c);
        if (c->stop) break;
    }
    return NULL;
}

yl_status native_compute_start(native_compute **out_thread, const worker_env *env, letter_pool *letters, mailbox *in, mailbox *out,
                               yl_error *err)
{
    *out_thread = NULL;
    native_compute *c = calloc(1, sizeof *c);
    if (!c) return yl_fail(err, YL_ENOMEM, "no memory for a thread");
    c->letters = letters;
    c->in = in;
    c->out = out;
    yl_status status = worker_new(&c->worker, env, err);
    if (status) {
        free(c);
        return status;
    }
    int failed = pthread_create(&c->thread, NULL, compute_main, c);
    if (failed) {
        worker_free(c->worker);
        free(c);
        return yl_fail(err, YL_EIO, "the compute thread cannot be started: %s", strerror(failed));
    }
    *out_thread = c;
    return YL_OK;
}

void native_compute_stop(native_compute *c)
{
    if (!c) return;
    letter *l = letter_new(c->letters, LETTER_STOP);
    if (!l) abort(); /* the thread could never be told */
    mailbox_push(c->in, l);
    /* It may be waiting for us to send: nobody will. */
    for (letter *unsent; (unsent = mailbox_pop(c->out));) letter_free(unsent);
    pthread_join(c->thread, NULL);
    outbox_clear(&c->outbox);
    worker_free(c->worker);
    free(c);
}

uint64_t native_compute_steps(const native_compute *c)
{
    return c->steps;
}

uint64_t native_compute_pending(const native_compute *c)
{
    return c->pending;
}

uint64_t native_compute_loaded(const native_compute *c)
{
    return c->loaded;
}

uint64_t native_compute_weights(const native_compute *c)
{
    return c->weights;
}

bool native_compute_has_moved(native_compute *c)
{
    uint64_t turns = c->turns;
    bool has_moved = c->is_waiting || turns != c->turns_seen;
    c->turns_seen = turns;
    return has_moved;
}
