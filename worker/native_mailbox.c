/* native_mailbox.c: a linked list, a mutex, a condition and an eventfd.
 *
 * A reader that polls empties the queue after it cleared the descriptor, so a letter needs a signal only if the queue was empty. */
#include "native_mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_NS = 100000 }; /* before it sleeps */

struct mailbox {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    letter *first, *last;
    size_t n_bytes;
    atomic_bool has_letters;
    int fd; /* -1: nobody polls */
};

yl_status mailbox_new(mailbox **out, enum mailbox_reader reader, yl_error *err)
{
    *out = NULL;
    mailbox *m = calloc(1, sizeof *m);
    if (!m) return yl_fail(err, YL_ENOMEM, "no memory for a mailbox");
    m->fd = reader == MAILBOX_POLLED ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    if (reader == MAILBOX_POLLED && m->fd < 0) {
        free(m);
        return yl_fail(err, YL_EIO, "no eventfd: %s", strerror(errno));
    }
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->changed, NULL);
    *out = m;
    return YL_OK;
}

void mailbox_free(mailbox *m)
{
    if (!m) return;
    for (letter *l; (l = mailbox_pop(m));) letter_free(l);
    if (m->fd >= 0) close(m->fd);
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

void mailbox_push(mailbox *m, letter *l)
{
    pthread_mutex_lock(&m->lock);
    bool was_empty = !m->first;
    l->next = NULL;
    if (m->last)
        m->last->next = l;
    else
        m->first = l;
    m->last = l;
    m->n_bytes += l->bytes.n;
    atomic_store(&m->has_letters, true);
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    uint64_t one = 1;
    /* Fails only when the counter is full: then it is readable anyway. */
    if (was_empty && m->fd >= 0 && write(m->fd, &one, sizeof one) < 0) return;
}

letter *mailbox_pop(mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    letter *l = m->first;
    if (l) {
        m->first = l->next;
        if (!m->first) m->last = NULL;
        m->n_bytes -= l->bytes.n;
        atomic_store(&m->has_letters, m->first != NULL);
        pthread_cond_broadcast(&m->changed);
    }
    pthread_mutex_unlock(&m->lock);
    return l;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void mailbox_wait(mailbox *m)
{
    for (uint64_t end = now_ns() + LOOK_NS; now_ns() < end;) {
        if (atomic_load_explicit(&m->has_letters, memory_order_relaxed)) return;
        sched_yield(); /* who writes the letter may want this core */
    }
    pthread_mutex_lock(&m->lock);
    while (!m->first) pthread_cond_wait(&m->changed, &m->lock);
    pthread_mutex_unlock(&m->lock);
}

int mailbox_fd(const mailbox *m)
{
    return m->fd;
}

void mailbox_clear_fd(mailbox *m)
{
    uint64_t count;
    if (read(m->fd, &count, sizeof count) < 0) return; /* it was clear */
}

void mailbox_wait_below(mailbox *m, size_t n_bytes)
{
    pthread_mutex_lock(&m->lock);
    while (m->n_bytes > n_bytes) pthread_cond_wait(&m->changed, &m->lock);
    pthread_mutex_unlock(&m->lock);
}
