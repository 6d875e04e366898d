/* native_keeper.h: fills a file of the weight cache with tiles that lie in memory, tensor by tensor, in bounded steps. */
#ifndef YL_NATIVE_KEEPER_H
#define YL_NATIVE_KEEPER_H

#include "native_units.h"

/* Start with {.cache, .pool}. */
typedef struct native_keeper {
    const tile_cache *cache;
    thread_pool *pool;
    const native_unit *unit; /* with its tensor k: what is under way; NULL: nothing */
    uint32_t k;
    uint64_t offset; /* of it: bytes that are written */
} native_keeper;

/* Writes some tens of MB of the unit's tensor k, [n_bytes] of its head's, from bytes on; begins the file with the first
 * tensor, and ends it with the last: unit->file. It is done when k is among kept_bits; another in between begins it anew. YL_EIO,
 * YL_ELIMIT, YL_ENOMEM. */
yl_status native_keeper_step(native_keeper *keeper, native_unit *unit, uint32_t k, const uint8_t *bytes, yl_error *err);

#endif
