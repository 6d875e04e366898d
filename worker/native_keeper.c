/* native_keeper.c: memory to a file, by all threads. */
#include "native_keeper.h"

#include <stdlib.h>

enum { STEP_BYTES = 48 << 20 /* a thread */, PIECE_BYTES = 1 << 20 };

/* A step's bytes, in pieces: what the threads are handed. */
typedef struct writing {
    const tile_file *file;
    const uint8_t *bytes;
    uint64_t offset, n_bytes; /* offset: in the file */
    yl_error *errors;         /* [n_threads] */
} writing;

static void write_some(void *arg, size_t begin, size_t end, uint32_t thread)
{
    const writing *w = arg;
    uint64_t from = begin * (uint64_t)PIECE_BYTES, to = end * (uint64_t)PIECE_BYTES;
    if (to > w->n_bytes) to = w->n_bytes;
    yl_error *err = &w->errors[thread];
    if (!err->status) tile_file_write(w->file, w->offset + from, w->bytes + from, (size_t)(to - from), err);
}

static yl_status write_piece(const native_keeper *keeper, const writing *piece, yl_error *err)
{
    uint32_t n_threads = thread_pool_n_threads(keeper->pool);
    writing w = *piece;
    w.errors = calloc(n_threads, sizeof *w.errors);
    if (!w.errors) return yl_fail(err, YL_ENOMEM, "no memory to write a cache file");
    thread_pool_run(keeper->pool, (size_t)((w.n_bytes - 1) / PIECE_BYTES + 1), 1, write_some, &w);
    yl_status status = YL_OK;
    for (uint32_t i = 0; i < n_threads && !status; i++) {
        status = w.errors[i].status;
        if (status && err) *err = w.errors[i];
    }
    free(w.errors);
    return status;
}

yl_status native_keeper_step(native_keeper *keeper, native_unit *unit, uint32_t k, const uint8_t *bytes, yl_error *err)
{
    yl_status status = unit->begun ? YL_OK : tile_file_create(&unit->begun, keeper->cache, &unit->head, err);
    if (status) return status;
    const tile_cache_tensor *t = &unit->head.tensors[k];
    uint64_t rest = t->n_bytes - keeper->offset, most = (uint64_t)STEP_BYTES * thread_pool_n_threads(keeper->pool);
    writing piece = {.file = unit->begun,
                     .bytes = bytes + keeper->offset,
                     .offset = t->offset + keeper->offset,
                     .n_bytes = rest < most ? rest : most};
    status = write_piece(keeper, &piece, err);
    if (status) return status;
    keeper->offset += piece.n_bytes;
    if (keeper->offset < t->n_bytes) return YL_OK;
    keeper->offset = 0;
    unit->kept_bits |= UINT32_C(1) << k;
    if (unit->kept_bits != (UINT32_C(1) << unit->head.n_tensors) - 1) return YL_OK;
    status = tile_file_finish(unit->begun, keeper->pool, err);
    if (status) return status;
    unit->file = unit->begun;
    unit->begun = NULL;
    unit->was_made = true;
    return YL_OK;
}
