/* native_letter.h: what the two threads of a worker process hand each other, and ZeroMQ.
 *
 * A letter is used again and again, with the memory of the frame in it: one that came in is free when the worker is done with the
 * message, one that goes out when ZeroMQ is done with the bytes. So a decode step allocates none, and its bytes are not copied. */
#ifndef YL_NATIVE_LETTER_H
#define YL_NATIVE_LETTER_H

#include <stdatomic.h>
#include <zmq.h>

#include "worker.h"

typedef enum letter_kind {
    /* to the compute thread */
    LETTER_MESSAGE, /* a frame that came in */
    LETTER_LINK_UP, /* epoch */
    LETTER_DAMAGE,  /* epoch, error: weights that it uses in place are damaged */
    LETTER_STOP,
    /* to the I/O thread */
    LETTER_TO_COORDINATOR, /* bytes */
    LETTER_TO_NEXT,        /* bytes */
    LETTER_REWIRE,         /* epoch, endpoint, range */
    LETTER_STOPPED         /* error: why, or status YL_OK after SHUTDOWN */
} letter_kind;

typedef struct letter_pool letter_pool;

typedef struct letter {
    struct letter *next; /* for whoever has it */
    letter_pool *pool;
    letter_kind kind;
    uint64_t epoch;
    frame_bytes bytes; /* its memory is the letter's */
    zmq_msg_t msg;     /* if has_msg: what came in, or bytes that a socket did not take yet */
    bool has_msg;
    uint64_t arrived;           /* of a LETTER_MESSAGE with a data frame: nanoseconds, monotonic */
    atomic_bool is_handed_over; /* to ZeroMQ */
    char endpoint[FRAME_MAX_ENDPOINT + 1];
    slice_range range;
    yl_error error;
} letter;

/* Any thread may take letters and give them back. It must outlive them, and the sockets that they were sent through. */
yl_status letter_pool_new(letter_pool **out, yl_error *err);
void letter_pool_free(letter_pool *p);

letter *letter_new(letter_pool *p, letter_kind kind); /* NULL: no memory */
void letter_free(letter *l);                          /* back to the pool, with what is in it */

/* Receives a message as a LETTER_MESSAGE. NULL: there is none, or no memory. */
letter *letter_receive(letter_pool *p, void *socket);

/* The message in a LETTER_MESSAGE. Its release is letter_free: the letter belongs to whoever has the message. */
worker_message letter_message(letter *l);

/* Sends bytes. True: the letter is gone. False: the socket takes nothing now; the letter is still the caller's. */
bool letter_send(letter *l, void *socket);

#endif
