/* native_mailbox.c: a linked list, a mutex, a condition and an eventfd. */
#include "native_mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mailbox {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    letter *first, *last;
    size_t n_bytes;
    int fd;
};

letter *letter_new(letter_kind kind)
{
    letter *l = calloc(1, sizeof *l);
    if (l) l->kind = kind;
    return l;
}

void letter_free(letter *l)
{
    if (!l) return;
    if (l->message.release) l->message.release(l->message.hint);
    frame_bytes_clear(&l->bytes);
    free(l);
}

yl_status mailbox_new(mailbox **out, yl_error *err)
{
    *out = NULL;
    mailbox *m = calloc(1, sizeof *m);
    if (!m) return yl_fail(err, YL_ENOMEM, "no memory for a mailbox");
    m->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->fd < 0) {
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
    close(m->fd);
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

void mailbox_push(mailbox *m, letter *l)
{
    pthread_mutex_lock(&m->lock);
    l->next = NULL;
    if (m->last)
        m->last->next = l;
    else
        m->first = l;
    m->last = l;
    m->n_bytes += l->bytes.n;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    uint64_t one = 1;
    /* Fails only when the counter is full: then it is readable anyway. */
    if (write(m->fd, &one, sizeof one) < 0) return;
}

letter *mailbox_pop(mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    letter *l = m->first;
    if (l) {
        m->first = l->next;
        if (!m->first) m->last = NULL;
        m->n_bytes -= l->bytes.n;
        pthread_cond_broadcast(&m->changed);
    }
    pthread_mutex_unlock(&m->lock);
    return l;
}

void mailbox_wait(mailbox *m)
{
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
