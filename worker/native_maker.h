/* native_maker.h: fills one file of the weight cache from a mapped model, by all threads, in bounded steps. */
#ifndef YL_NATIVE_MAKER_H
#define YL_NATIVE_MAKER_H

#include "gguf.h"
#include "tile_cache_dir.h"

typedef struct native_maker native_maker;

/* Begins the file of a planned head with its key. sources: [head->n_tensors], of those types and shapes; kept. Errors as
 * tile_file_create, and YL_ENOMEM. */
yl_status native_maker_new(native_maker **out, const tile_cache *c, const tile_cache_head *head, const gguf_tensor *const *sources,
                           thread_pool *pool, yl_error *err);
void native_maker_free(native_maker *m); /* what was made so far, unless it was taken */

/* Does some tens of MB a thread. *is_done: the file is finished. YL_EFORMAT: a scale is not finite, the message names tensor and
 * block; YL_EIO: the file cannot be written. */
yl_status native_maker_step(native_maker *m, bool *is_done, yl_error *err);

/* The finished file, now the caller's. */
tile_file *native_maker_take(native_maker *m);

#endif
