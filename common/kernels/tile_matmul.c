/* tile_matmul.c: which columns of which tile meet which panel when.
 *
 * Whole tiles go in groups, as many as stay in the second-level cache: all tiles of a group meet a panel before the next panel
 * comes. So weights come from memory once, and a panel once a group.
 *
 * What is not yet as kernels read it goes in chunks of columns: weights in rows, which are packed into a piece of a tile, and F16
 * or BF16 that many panels share, which become f32. A chunk stays in the first-level cache and meets all panels at once; until the
 * next one comes, the sums wait where the results go. That changes no bit of them: each is still one sum in the order of columns.
 */
#include "tile_matmul.h"

#include <assert.h>

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Of plain formats a chunk is 16 KiB of f32, and 8 KiB of each panel; of quantized ones, units of so many bytes. */
enum { CHUNK_COLS = 256, CHUNK_BYTES = 16 * 1024 };

/* Where a chunk becomes what kernels read. */
typedef struct scratch {
    _Alignas(TILE_ALIGNMENT) uint8_t packed[CHUNK_BYTES];
    _Alignas(TILE_ALIGNMENT) float wide[CHUNK_COLS * TILE_ROWS];
} scratch;

/* What all tiles of one call have in common. */
typedef struct product {
    const tile_kernels *k;
    float *y;
    size_t y_stride;
    const matrix *w;
    const activations *x;
    size_t row_begin, row_end;
    size_t n_units; /* of a tile */
} product;

/* Units [first, first + n) of tile t, as they are or in scratch. */
typedef struct chunk {
    size_t t, first, n;
    quant_type type;
    const uint8_t *units;
} chunk;

/* A chunk times the panel of activation row x_row, or, if the kernel likes it, two. Returns how many rows that are. */
static size_t times_panel(const product *p, const chunk *c, size_t x_row)
{
    const activations *x = p->x;
    const size_t rest = x->n_rows - x_row, row_bytes = panel_row_bytes(x->n_cols, x->block);
    const size_t unit_cols = tile_unit_cols(p->w->type), first_row = c->t * TILE_ROWS;
    const bool two = x->block == 0 && rest > PANEL_ROWS && panel_width(min_size(rest - PANEL_ROWS, PANEL_ROWS)) == PANEL_ROWS &&
                     p->k->plain_rows > PANEL_ROWS;
    const size_t n_rows = min_size(two ? 2 * PANEL_ROWS : PANEL_ROWS, rest);
    const size_t one_width = two ? PANEL_ROWS : panel_width(n_rows);
    const tile_job job = {.tile = c->units,
                          .panel = x->panels + x_row * row_bytes + one_width * panel_row_bytes(c->first * unit_cols, x->block),
                          .panel_bytes = one_width * row_bytes,
                          .n_units = c->n,
                          .n_cols = min_size(c->n * unit_cols, x->n_cols - c->first * unit_cols),
                          .width = two ? 2 * PANEL_ROWS : one_width,
                          .y = p->y + x_row * p->y_stride + first_row,
                          .y_stride = p->y_stride,
                          .n_rows = n_rows,
                          .row_begin = p->row_begin > first_row ? p->row_begin - first_row : 0,
                          .row_end = min_size(p->row_end - first_row, TILE_ROWS),
                          .from_memory = x_row == 0 && p->w->layout == MATRIX_TILES,
                          .continues = c->first > 0};
    p->k->times[c->type](&job);
    return n_rows;
}

/* Tiles [begin, end); with a plain format, one panel. */
static void times_whole_tiles(const product *p, size_t begin, size_t end)
{
    const size_t n_bytes = tile_bytes(p->w->type, p->w->n_cols);
    for (size_t i = 0; i < p->x->n_rows; i += PANEL_ROWS) {
        for (size_t t = begin; t < end; t++) times_panel(p, &(chunk){t, 0, p->n_units, p->w->type, p->w->data + t * n_bytes}, i);
    }
}

/* Units a chunk. */
static size_t chunk_units(quant_type type)
{
    if (quant_traits_of(type)->act_block == 0) return CHUNK_COLS / tile_unit_cols(type);
    return CHUNK_BYTES / tile_unit_bytes(type);
}

/* Where unit u of a row begins among GGUF's bytes. */
static size_t row_offset(const matrix *w, size_t row, size_t u)
{
    const quant_traits *traits = quant_traits_of(w->type);
    return row * w->row_bytes + u * (tile_unit_cols(w->type) / traits->block_elems) * traits->block_bytes;
}

/* Packs a chunk of weights in rows. Meanwhile its share of the next tile is asked for, whose rows are one stream of bytes: 16
 * streams, of the same tile's next chunk, would be half as fast. */
static void pack_chunk(const product *p, chunk *c, scratch *s)
{
    const matrix *w = p->w;
    const size_t row = c->t * TILE_ROWS, col = c->first * tile_unit_cols(w->type);
    const size_t next = row_offset(w, row + TILE_ROWS, 0) + TILE_ROWS * row_offset(w, 0, c->first);
    tile_pack_columns(s->packed, w->type,
                      &(tile_rows){.data = w->data + row_offset(w, row, c->first),
                                   .stride = w->row_bytes,
                                   .n_rows = min_size(TILE_ROWS, w->n_rows - row),
                                   .n_cols = min_size(c->n * tile_unit_cols(w->type), w->n_cols - col),
                                   .next = next < w->n_rows * w->row_bytes ? w->data + next : NULL});
    c->units = s->packed;
}

static void widen_chunk(const product *p, chunk *c, scratch *s)
{
    p->k->widen(s->wide, c->type, c->units, c->n * tile_unit_cols(c->type));
    c->type = QUANT_F32;
    c->units = (const uint8_t *)s->wide;
}

/* Asks for n_bytes from p on, into the second-level cache. */
static void ask_for(const uint8_t *p, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i += TILE_ALIGNMENT) __builtin_prefetch(p + i, 0, 2);
}

/* A chunk that is ready times all panels. Meanwhile n_bytes from `next` on are asked for, the next chunk. */
static void times_all_panels(const product *p, const chunk *c, const uint8_t *next, size_t n_bytes)
{
    const size_t share = n_bytes * PANEL_ROWS / p->x->n_rows;
    for (size_t i = 0; i < p->x->n_rows;) {
        const size_t n = times_panel(p, c, i);
        ask_for(next + i / PANEL_ROWS * share, n / PANEL_ROWS * share);
        i += n;
    }
}

static void times_tile_in_chunks(const product *p, size_t t, bool widen)
{
    const matrix *w = p->w;
    const size_t n_bytes = tile_unit_bytes(w->type), n = chunk_units(w->type);
    scratch s;
    for (size_t first = 0; first < p->n_units; first += n) {
        chunk c = {t, first, min_size(n, p->n_units - first), w->type, NULL};
        const uint8_t *in_tile = w->data + (t * p->n_units + first) * n_bytes;
        if (w->layout == MATRIX_ROWS)
            pack_chunk(p, &c, &s);
        else
            c.units = in_tile;
        if (widen) widen_chunk(p, &c, &s);
        times_all_panels(p, &c, in_tile + c.n * n_bytes, w->layout == MATRIX_ROWS ? 0 : c.n * n_bytes);
    }
}

void tile_matmul(const tile_kernels *k, float *y, size_t y_stride, const matrix *w, const activations *x, size_t row_begin,
                 size_t row_end)
{
    assert(w->n_cols == x->n_cols && row_end <= w->n_rows && x->block == quant_traits_of(w->type)->act_block && x->panels);
    if (row_begin == row_end) return;
    const size_t n_bytes = tile_bytes(w->type, w->n_cols);
    const product p = {k, y, y_stride, w, x, row_begin, row_end, n_bytes / tile_unit_bytes(w->type)};
    const size_t begin = row_begin / TILE_ROWS, end = (row_end - 1) / TILE_ROWS + 1;
    const bool is_plain_batch = x->block == 0 && x->n_rows > PANEL_ROWS;
    if (w->layout == MATRIX_ROWS || is_plain_batch) {
        for (size_t t = begin; t < end; t++) times_tile_in_chunks(&p, t, is_plain_batch && w->type != QUANT_F32);
        return;
    }
    const size_t group = n_bytes < k->group_bytes ? k->group_bytes / n_bytes : 1;
    for (size_t t = begin; t < end; t += group) times_whole_tiles(&p, t, min_size(t + group, end));
}
