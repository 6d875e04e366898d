/* native_keeper.c: memory to a file.
 *
 * One thread writes: the kernel lets one at a time write to a file, and others that wait for it would spin. */
#include "native_keeper.h"

enum { STEP_BYTES = 64 << 20 };

yl_status native_keeper_step(native_keeper *keeper, native_unit *unit, uint32_t k, const uint8_t *bytes, yl_error *err)
{
    yl_status status = unit->begun ? YL_OK : tile_file_create(&unit->begun, keeper->cache, &unit->head, err);
    if (status) return status;
    if (keeper->unit != unit || keeper->k != k) {
        keeper->unit = unit;
        keeper->k = k;
        keeper->offset = 0;
    }
    const tile_cache_tensor *t = &unit->head.tensors[k];
    uint64_t rest = t->n_bytes - keeper->offset, n_bytes = rest < STEP_BYTES ? rest : STEP_BYTES;
    status = tile_file_write(unit->begun, t->offset + keeper->offset, bytes + keeper->offset, (size_t)n_bytes, err);
    if (status) return status;
    keeper->offset += n_bytes;
    if (keeper->offset < t->n_bytes) return YL_OK;
    unit->kept_bits |= UINT32_C(1) << k;
    if (unit->kept_bits != (UINT32_C(1) << unit->head.n_tensors) - 1) return YL_OK;
    status = tile_file_finish(unit->begun, keeper->pool, err);
    if (status) return status;
    unit->file = unit->begun;
    unit->begun = NULL;
    unit->was_made = true;
    return YL_OK;
}
