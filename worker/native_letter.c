/* native_letter.c: a list of unused letters behind a lock that is held for a few instructions. */
#include "native_letter.h"

#include <pthread.h>
#include <stdlib.h>

/* Unused letters that are kept, and memory that one keeps: decode frames of some dozens of sequences, not those of prompts. */
enum { MAX_KEPT = 32, MAX_KEPT_BYTES = 1 << 20 };

struct letter_pool {
    pthread_mutex_t lock;
    letter *first;
    uint32_t n;
};

static void destroy(letter *l)
{
    frame_bytes_clear(&l->bytes);
    free(l);
}

yl_status letter_pool_new(letter_pool **out, yl_error *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out) return yl_fail(err, YL_ENOMEM, "no memory for letters between threads");
    pthread_mutex_init(&(*out)->lock, NULL);
    return YL_OK;
}

void letter_pool_free(letter_pool *p)
{
    if (!p) return;
    for (letter *l; (l = p->first);) {
        p->first = l->next;
        destroy(l);
    }
    pthread_mutex_destroy(&p->lock);
    free(p);
}

letter *letter_new(letter_pool *p, letter_kind kind)
{
    pthread_mutex_lock(&p->lock);
    letter *l = p->first;
    if (l) {
        p->first = l->next;
        p->n--;
    }
    pthread_mutex_unlock(&p->lock);
    if (!l) l = calloc(1, sizeof *l);
    if (!l) return NULL;
    l->pool = p;
    l->kind = kind;
    l->bytes.n = 0;
    l->error = (yl_error){0};
    return l;
}

/* Nothing is in it any more. */
static void give_back(letter *l)
{
    letter_pool *p = l->pool;
    if (l->bytes.capacity > MAX_KEPT_BYTES) frame_bytes_clear(&l->bytes);
    pthread_mutex_lock(&p->lock);
    bool keep = p->n < MAX_KEPT;
    if (keep) {
        l->next = p->first;
        p->first = l;
        p->n++;
    }
    pthread_mutex_unlock(&p->lock);
    if (!keep) destroy(l);
}

/* ZeroMQ has no more use for the bytes. It says so on a thread of its own. That what the sender did to the letter comes before is
 * ensured by ZeroMQ too; is_handed_over says it again, where the thread sanitizer sees it. */
static void bytes_are_done(void *data, void *hint)
{
    letter *l = hint;
    (void)data;
    (void)atomic_load_explicit(&l->is_handed_over, memory_order_acquire);
    give_back(l);
}

void letter_free(letter *l)
{
    if (!l) return;
    bool is_outgoing = l->kind != LETTER_MESSAGE;
    if (l->has_msg) {
        zmq_msg_t msg;
        zmq_msg_init(&msg);
        zmq_msg_move(&msg, &l->msg);
        l->has_msg = false;
        zmq_msg_close(&msg);
        if (is_outgoing) return; /* bytes_are_done gave it back */
    }
    give_back(l);
}

letter *letter_receive(letter_pool *p, void *socket)
{
    letter *l = letter_new(p, LETTER_MESSAGE);
    if (!l) return NULL;
    zmq_msg_init(&l->msg);
    l->has_msg = true;
    l->arrived = 0;
    if (zmq_msg_recv(&l->msg, socket, ZMQ_DONTWAIT) >= 0) return l;
    letter_free(l);
    return NULL;
}

static void release(void *hint)
{
    letter_free(hint);
}

worker_message letter_message(letter *l)
{
    return (worker_message){
        .data = zmq_msg_data(&l->msg), .n_bytes = zmq_msg_size(&l->msg), .release = release, .hint = l, .arrived = l->arrived};
}

bool letter_send(letter *l, void *socket)
{
    if (!l->has_msg && zmq_msg_init_data(&l->msg, l->bytes.data, l->bytes.n, bytes_are_done, l)) return false;
    /* Once it is sent, another thread may use the letter already: the message must not lie in it. */
    zmq_msg_t msg;
    zmq_msg_init(&msg);
    zmq_msg_move(&msg, &l->msg);
    l->has_msg = false;
    atomic_store_explicit(&l->is_handed_over, true, memory_order_release);
    if (zmq_msg_send(&msg, socket, ZMQ_DONTWAIT) >= 0) return true;
    zmq_msg_init(&l->msg);
    zmq_msg_move(&l->msg, &msg);
    l->has_msg = true;
    return false;
}
