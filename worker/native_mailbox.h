/* native_mailbox.h: a queue of letters between two threads of a worker process.
 *
 * A reader either waits for letters (the compute thread) or polls a file descriptor beside its sockets (the I/O thread). The queue
 * counts the bytes in it, so that a writer can wait until a slow network has taken some. */
#ifndef YL_NATIVE_MAILBOX_H
#define YL_NATIVE_MAILBOX_H

#include "native_letter.h"

typedef struct mailbox mailbox;

enum mailbox_reader { MAILBOX_WAITED_FOR, MAILBOX_POLLED };

yl_status mailbox_new(mailbox **out, enum mailbox_reader reader, yl_error *err);
void mailbox_free(mailbox *m); /* with the letters in it */

void mailbox_push(mailbox *m, letter *l); /* takes it */
letter *mailbox_pop(mailbox *m);          /* the oldest, now the caller's; NULL: none */

/* Until there is a letter. Looks for one for a moment before it sleeps: between the tokens of an answer less time passes than
 * waking takes. */
void mailbox_wait(mailbox *m);

int mailbox_fd(const mailbox *m);  /* of one that is polled: readable while there may be letters */
void mailbox_clear_fd(mailbox *m); /* before popping all of them */

/* Waits until at most n_bytes of frames are in it. */
void mailbox_wait_below(mailbox *m, size_t n_bytes);

#endif
