/* native_verifier.h: a thread that checks cache files while they are used. */
#ifndef YL_NATIVE_VERIFIER_H
#define YL_NATIVE_VERIFIER_H

#include "tile_cache_dir.h"

typedef struct native_verifier native_verifier;

/* Called from the thread when a chunk is not as it was written: the file has been unlinked. epoch: of native_verifier_begin. */
typedef void native_verifier_fn(void *ctx, uint64_t epoch, const tile_file *f, uint64_t chunk);

/* Starts the thread, which waits. YL_ENOMEM, YL_EIO. */
yl_status native_verifier_new(native_verifier **out, native_verifier_fn *on_damage, void *ctx, yl_error *err);
void native_verifier_free(native_verifier *v); /* NULL: nothing */

/* Checks each chunk of these files once, from a moment later on, instead of what was to be checked before. It holds the files
 * itself. n 0: nothing. No memory: they are not checked. */
void native_verifier_begin(native_verifier *v, uint64_t epoch, tile_file *const *files, size_t n);

#endif
