/* native_compute.h: the thread of a worker process that computes. */
#ifndef YL_NATIVE_COMPUTE_H
#define YL_NATIVE_COMPUTE_H

#include <stdatomic.h>

#include "native_mailbox.h"

typedef struct native_compute native_compute;

/* Starts the thread: frames come from `in`, what is to be sent goes to `out`. These, the letters and the env must outlive it. */
yl_status native_compute_start(native_compute **out_thread, const worker_env *env, letter_pool *letters, mailbox *in, mailbox *out,
                               yl_error *err);

/* Tells it to stop after its step, waits for it, frees it. NULL: nothing. */
void native_compute_stop(native_compute *c);

/* What HEARTBEAT tells. */
uint64_t native_compute_steps(const native_compute *c);
uint64_t native_compute_pending(const native_compute *c);
uint64_t native_compute_loaded(const native_compute *c);
/* Of how many bytes that is. */
uint64_t native_compute_weights(const native_compute *c);

/* Has it done a step since the last call, or waits for frames, or for these to leave? One thread asks. */
bool native_compute_has_moved(native_compute *c);

#endif
