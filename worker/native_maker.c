/* native_maker.c: rows of a mapped model to tiles in a file.
 *
 * A thread packs some tiles into a buffer that stays in its cache and writes the buffer: the weights cross memory once on their way
 * in and once on their way out. Scales are checked while a tile's rows are hot. Rows that were packed are dropped from the
 * process's pages, so that a worker never holds its slice twice. */
#include "native_maker.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tile.h"

enum { STEP_BYTES = 48 << 20 /* a thread */, BUFFER_BYTES = 256 << 10 };

/* What went wrong in a piece of a step. */
typedef struct failure {
    size_t tile; /* the piece's first */
    yl_error error;
} failure;

struct native_maker {
    tile_file *file;
    tile_cache_head head;
    const gguf_tensor *sources[TILE_CACHE_MAX_TENSORS];
    thread_pool *pool;
    uint32_t n_threads;
    size_t buffer_bytes; /* of each thread */
    uint8_t *buffers;
    failure *failures; /* [n_threads] the first of each, in this step */
    uint32_t tensor;   /* under way */
    uint64_t tile;     /* of it: first that is not done */
};

/* A tensor's tiles. */
typedef struct tiling {
    const tile_cache_tensor *to;
    const gguf_tensor *from;
    size_t tile_bytes, rows_bytes; /* of a tile, and of its sixteen rows in the model */
    uint64_t n_tiles;
} tiling;

static tiling tiling_of(const native_maker *m)
{
    tiling t = {.to = &m->head.tensors[m->tensor], .from = m->sources[m->tensor]};
    uint64_t row_bytes = t.from->n_bytes / t.to->n_rows;
    t.rows_bytes = TILE_ROWS * (size_t)row_bytes;
    t.tile_bytes = tile_bytes(t.to->type, (size_t)t.to->n_cols);
    t.n_tiles = (t.to->n_rows + TILE_ROWS - 1) / TILE_ROWS;
    return t;
}

yl_status native_maker_new(native_maker **out, const tile_cache *c, const tile_cache_head *head, const gguf_tensor *const *sources,
                           thread_pool *pool, yl_error *err)
{
    *out = NULL;
    native_maker *m = calloc(1, sizeof *m);
    if (!m) return yl_fail(err, YL_ENOMEM, "no memory to make a cache file");
    m->head = *head;
    memcpy(m->sources, sources, head->n_tensors * sizeof *sources);
    m->pool = pool;
    m->n_threads = thread_pool_n_threads(pool);
    m->buffer_bytes = BUFFER_BYTES;
    for (uint32_t i = 0; i < head->n_tensors; i++) {
        size_t one =
            head->tensors[i].layout == MATRIX_TILES ? tile_bytes(head->tensors[i].type, (size_t)head->tensors[i].n_cols) : 0;
        if (one > m->buffer_bytes) m->buffer_bytes = (one + TILE_ALIGNMENT - 1) / TILE_ALIGNMENT * TILE_ALIGNMENT;
    }
    m->failures = calloc(m->n_threads, sizeof *m->failures);
    void *buffers = NULL;
    bool enough = m->failures && !posix_memalign(&buffers, TILE_ALIGNMENT, m->n_threads * m->buffer_bytes);
    m->buffers = buffers;
    yl_status status = enough ? YL_OK : yl_fail(err, YL_ENOMEM, "no memory to make a cache file");
    if (!status) status = tile_file_create(&m->file, c, head, err);
    if (status) {
        native_maker_free(m);
        return status;
    }
    *out = m;
    return YL_OK;
}

void native_maker_free(native_maker *m)
{
    if (!m) return;
    tile_file_close(m->file);
    free(m->buffers);
    free(m->failures);
    free(m);
}

tile_file *native_maker_take(native_maker *m)
{
    tile_file *f = m->file;
    m->file = NULL;
    return f;
}

static yl_status check_scales(const gguf_tensor *t, uint64_t offset, uint64_t n_bytes, yl_error *err)
{
    const quant_traits *traits = quant_traits_of(t->type);
    size_t n = (size_t)(n_bytes / traits->block_bytes), bad = quant_check_finite(t->type, t->data + offset, n);
    if (bad == n) return YL_OK;
    return yl_fail(err, YL_EFORMAT,
                   "tensor %s: block %" PRIu64 " of %" PRIu64 " is not a finite number. Is the model file damaged?", t->name,
                   offset / traits->block_bytes + bad, t->n_bytes / traits->block_bytes);
}

/* Tiles [begin, end) of the step, some at a time. */
static yl_status make_tiles(const native_maker *m, const tiling *t, uint64_t begin, uint64_t end, uint8_t *buffer, yl_error *err)
{
    yl_status status = YL_OK;
    uint64_t a_buffer = m->buffer_bytes / t->tile_bytes;
    for (uint64_t at = begin; at < end && !status;) {
        uint64_t first = at;
        for (; at < end && at - first < a_buffer && !status; at++) {
            uint64_t offset = at * t->rows_bytes, rest = t->from->n_bytes - offset;
            uint64_t n_bytes = rest < t->rows_bytes ? rest : t->rows_bytes, rows_left = t->to->n_rows - at * TILE_ROWS;
            status = check_scales(t->from, offset, n_bytes, err);
            if (status) break;
            tile_pack(buffer + (at - first) * t->tile_bytes, t->to->type, t->from->data + offset,
                      rows_left < TILE_ROWS ? (size_t)rows_left : TILE_ROWS, (size_t)t->to->n_cols);
        }
        if (!status)
            status =
                tile_file_write(m->file, t->to->offset + first * t->tile_bytes, buffer, (size_t)(at - first) * t->tile_bytes, err);
    }
    return status;
}

static void make_some(void *arg, size_t begin, size_t end, uint32_t thread)
{
    native_maker *m = arg;
    tiling t = tiling_of(m);
    failure f = {.tile = begin}, *first = &m->failures[thread];
    f.error.status = make_tiles(m, &t, m->tile + begin, m->tile + end, m->buffers + thread * m->buffer_bytes, &f.error);
    if (f.error.status && (!first->error.status || begin < first->tile)) *first = f;
}

/* The first error in the order of tiles, so that the same file gives the same message. */
static yl_status first_error(const native_maker *m, yl_error *err)
{
    const failure *first = m->failures;
    for (const failure *f = m->failures + 1; f < m->failures + m->n_threads; f++) {
        if (f->error.status && (!first->error.status || f->tile < first->tile)) first = f;
    }
    if (first->error.status && err) *err = first->error;
    return first->error.status;
}

/* Some tiles of the matrix under way. */
static yl_status step_matrix(native_maker *m, yl_error *err)
{
    tiling t = tiling_of(m);
    uint64_t left = t.n_tiles - m->tile, n = (uint64_t)STEP_BYTES * m->n_threads / t.tile_bytes + 1;
    if (n > left) n = left;
    memset(m->failures, 0, m->n_threads * sizeof *m->failures);
    thread_pool_run(m->pool, (size_t)n, 1, make_some, m);
    uint64_t begin = m->tile * t.rows_bytes, end = (m->tile + n) * t.rows_bytes;
    gguf_drop_pages(t.from->data + begin, (end < t.from->n_bytes ? end : t.from->n_bytes) - begin);
    m->tile += n;
    if (m->tile == t.n_tiles) {
        m->tile = 0;
        m->tensor++;
    }
    return first_error(m, err);
}

static yl_status step_vector(native_maker *m, yl_error *err)
{
    const gguf_tensor *t = m->sources[m->tensor];
    yl_status status = check_scales(t, 0, t->n_bytes, err);
    if (!status) status = tile_file_write(m->file, m->head.tensors[m->tensor].offset, t->data, (size_t)t->n_bytes, err);
    m->tensor++;
    return status;
}

yl_status native_maker_step(native_maker *m, bool *is_done, yl_error *err)
{
    *is_done = m->tensor == m->head.n_tensors;
    if (*is_done) return tile_file_finish(m->file, m->pool, err);
    return m->head.tensors[m->tensor].layout == MATRIX_TILES ? step_matrix(m, err) : step_vector(m, err);
}
