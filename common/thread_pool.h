/* thread_pool.h: a team of threads that run one function over a range together.
 *
 * A forward pass is a few hundred short parallel loops a token; starting or waking threads for each would cost more than the work.
 * So the team spins for a moment between loops before it sleeps. Who is faster does more: cores differ, and other programs take
 * their part of them. Threads split rows, never a sum: results do not depend on who does what. */
#ifndef YL_THREAD_POOL_H
#define YL_THREAD_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

typedef struct thread_pool thread_pool;

enum { THREAD_POOL_MAX = 256 };

/* n_threads counts the caller: 1 starts none. Each thread sets the floating-point environment of the contract (round to nearest,
 * subnormals kept). YL_EINVAL: 0 or more than THREAD_POOL_MAX; YL_EIO: the system
 * gives no more threads; then none is left running. */
yl_status thread_pool_new(thread_pool **out, uint32_t n_threads, yl_error *err);
void thread_pool_free(thread_pool *p);
uint32_t thread_pool_n_threads(const thread_pool *p); /* NULL: 1 */

/* Does [begin, end) of a loop; `thread` is 0 ... n_threads-1, for scratch memory of its own. */
typedef void thread_pool_fn(void *arg, size_t begin, size_t end, uint32_t thread);

/* Runs fn over [0, n) in blocks whose limits are multiples of `grain` (>= 1; the last block ends at n), and returns when all are
 * done. A thread does any number of blocks, as many as it finds time for; a helper that does not come in time does none, and is not
 * waited for. The caller takes part, as thread 0; it does all in one block if pool is NULL or n at most grain. Sets the caller's
 * floating-point environment too. One caller at a time; fn must not call it for the same pool. n 0: nothing is run. */
void thread_pool_run(thread_pool *pool, size_t n, size_t grain, thread_pool_fn *fn, void *arg);

/* Sets the calling thread's floating-point environment as the contract wants it. */
void thread_pool_set_fp_environment(void);

#endif
