/* native_mailbox.h: what the two threads of a worker process hand each other.
 *
 * A queue of letters with a lock. A reader either waits on it (the compute thread) or polls its file descriptor beside its sockets
 * (the I/O thread). It counts the bytes in it, so that a writer can wait until a slow network has taken some. */
#ifndef YL_NATIVE_MAILBOX_H
#define YL_NATIVE_MAILBOX_H

#include "worker.h"

typedef enum letter_kind {
    /* to the compute thread */
    LETTER_MESSAGE, /* message: a frame that came in */
    LETTER_LINK_UP, /* epoch */
    LETTER_DAMAGE,  /* epoch, error: weights that it uses in place are damaged */
    LETTER_STOP,
    /* to the I/O thread */
    LETTER_TO_COORDINATOR, /* bytes */
    LETTER_TO_NEXT,        /* bytes */
    LETTER_REWIRE,         /* epoch, endpoint */
    LETTER_STOPPED         /* error: why, or status YL_OK after SHUTDOWN */
} letter_kind;

typedef struct letter {
    struct letter *next;
    letter_kind kind;
    uint64_t epoch;
    worker_message message;
    frame_bytes bytes;
    char endpoint[FRAME_MAX_ENDPOINT + 1];
    yl_error error;
} letter;

letter *letter_new(letter_kind kind); /* NULL: no memory */
void letter_free(letter *l);          /* releases the message and the bytes in it */

typedef struct mailbox mailbox;

yl_status mailbox_new(mailbox **out, yl_error *err);
void mailbox_free(mailbox *m); /* with the letters in it */

void mailbox_push(mailbox *m, letter *l); /* takes it */
letter *mailbox_pop(mailbox *m);          /* the oldest, now the caller's; NULL: none */
void mailbox_wait(mailbox *m);            /* until there is a letter */
int mailbox_fd(const mailbox *m);         /* readable while there may be letters */
void mailbox_clear_fd(mailbox *m);        /* before popping all of them */

/* Waits until at most n_bytes of frames are in it. */
void mailbox_wait_below(mailbox *m, size_t n_bytes);

#endif
