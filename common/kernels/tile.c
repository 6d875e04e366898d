/* tile.c: how large tiles are, rows out of them, rows that arrive in pieces, and the check of what they hold. */
#include <string.h>

#include "tile_layout.h"

size_t tile_unit_cols(quant_type type)
{
    return (size_t)layouts[type].n_blocks * layouts[type].block_cols;
}

size_t tile_unit_bytes(quant_type type)
{
    return layouts[type].unit_bytes;
}

size_t tile_bytes(quant_type type, size_t n_cols)
{
    return n_units(&layouts[type], n_cols) * layouts[type].unit_bytes;
}

bool tile_matrix_bytes(quant_type type, uint64_t n_rows, uint64_t n_cols, uint64_t *out)
{
    const layout *l = &layouts[type];
    if (n_cols > SIZE_MAX || n_cols % l->block_cols != 0) return false;
    uint64_t tile;
    if (__builtin_mul_overflow((uint64_t)n_units(l, (size_t)n_cols), l->unit_bytes, &tile)) return false;
    return !__builtin_mul_overflow(n_rows / TILE_ROWS + (n_rows % TILE_ROWS != 0), tile, out);
}

/* n numbers of `elem` bytes out of a row's lane. lane: its first number in the unit. */
static inline __attribute__((always_inline)) void gather(uint8_t *out, const uint8_t *lane, size_t n, size_t elem)
{
    for (size_t i = 0; i < n; i++) memcpy(out + i * elem, lane + i * TILE_ROWS * elem, elem);
}

static void get_block(uint8_t *block, const layout *l, size_t row, size_t b, const uint8_t *unit)
{
    for (const part *p = l->parts; p < l->parts + MAX_PARTS && p->elem; p++) {
        if (p->elem == 4)
            gather(block + p->offset, unit + lane_of(p, b, row), p->n_bytes / 4, 4);
        else
            gather(block + p->offset, unit + lane_of(p, b, row), p->n_bytes / 2, 2);
    }
}

void tile_get_block(uint8_t *out, quant_type type, const uint8_t *tile, size_t row, size_t block)
{
    const layout *l = &layouts[type];
    get_block(out, l, row, block % l->n_blocks, tile + block / l->n_blocks * l->unit_bytes);
}

static void get_run(uint8_t *out, size_t elem, size_t row, size_t col, const uint8_t *tile, size_t n)
{
    const uint8_t *lane = tile + (col * TILE_ROWS + row) * elem;
    if (elem == 4)
        gather(out, lane, n, 4);
    else
        gather(out, lane, n, 2);
}

/* One whole row of a tile. */
static void put_row(uint8_t *tile, const layout *l, size_t r, const uint8_t *row, size_t n_cols)
{
    if (is_plain(l)) {
        put_run(tile, l->block_bytes, r, 0, row, n_cols);
        return;
    }
    for (size_t b = 0; b < n_cols / l->block_cols; b++)
        put_block(tile + b / l->n_blocks * l->unit_bytes, l, r, b % l->n_blocks, row + b * l->block_bytes);
}

static void get_row(uint8_t *row, const layout *l, size_t r, const uint8_t *tile, size_t n_cols)
{
    if (is_plain(l)) {
        get_run(row, l->block_bytes, r, 0, tile, n_cols);
        return;
    }
    for (size_t b = 0; b < n_cols / l->block_cols; b++)
        get_block(row + b * l->block_bytes, l, r, b % l->n_blocks, tile + b / l->n_blocks * l->unit_bytes);
}

void tile_unpack(uint8_t *rows, quant_type type, const uint8_t *tile, size_t n_rows, size_t n_cols)
{
    const layout *l = &layouts[type];
    for (size_t r = 0; r < n_rows; r++) get_row(rows + r * row_bytes(l, n_cols), l, r, tile, n_cols);
}

/* Some bytes of a row, from `offset` on. A block of which only a part is here is taken out, completed and put back. */
static void put_part_of_row(uint8_t *tile, const layout *l, size_t r, size_t offset, const uint8_t *data, size_t n_bytes)
{
    uint8_t cut[sizeof(block_q6_K)];
    _Static_assert(sizeof cut >= sizeof(block_q5_K) && sizeof cut >= sizeof(block_iq4_xs), "the largest block");
    while (n_bytes > 0) {
        size_t block = offset / l->block_bytes, begin = offset % l->block_bytes;
        size_t n = min_size(n_bytes, l->block_bytes - begin);
        uint8_t *unit = tile + block / l->n_blocks * l->unit_bytes;
        if (n == l->block_bytes) {
            put_block(unit, l, r, block % l->n_blocks, data);
        } else {
            get_block(cut, l, r, block % l->n_blocks, unit);
            memcpy(cut + begin, data, n);
            put_block(unit, l, r, block % l->n_blocks, cut);
        }
        offset += n;
        data += n;
        n_bytes -= n;
    }
}

void tile_put(uint8_t *tiles, quant_type type, size_t n_rows, size_t n_cols, size_t offset, const uint8_t *data, size_t n_bytes)
{
    const layout *l = &layouts[type];
    size_t row_size = row_bytes(l, n_cols), tile_size = tile_bytes(type, n_cols);
    while (n_bytes > 0) {
        size_t row = offset / row_size, begin = offset % row_size;
        size_t n_in_tile = min_size(TILE_ROWS - row % TILE_ROWS, n_rows - row);
        uint8_t *tile = tiles + row / TILE_ROWS * tile_size;
        size_t n = min_size(n_bytes, row_size - begin);
        if (begin == 0 && row % TILE_ROWS == 0 && n_bytes >= n_in_tile * row_size) {
            n = n_in_tile * row_size;
            tile_pack(tile, type, data, n_in_tile, n_cols);
        } else if (n == row_size) {
            put_row(tile, l, row % TILE_ROWS, data, n_cols);
        } else {
            put_part_of_row(tile, l, row % TILE_ROWS, begin, data, n);
        }
        offset += n;
        data += n;
        n_bytes -= n;
    }
}

void tile_dequantize_row(quant_type type, const uint8_t *tiles, size_t row, float *y, size_t n_cols)
{
    const layout *l = &layouts[type];
    const uint8_t *tile = tiles + row / TILE_ROWS * tile_bytes(type, n_cols);
    if (is_plain(l)) {
        uint8_t run[PLAIN_RUN * 4];
        for (size_t col = 0; col < n_cols; col += PLAIN_RUN) {
            size_t n = min_size(PLAIN_RUN, n_cols - col);
            get_run(run, l->block_bytes, row % TILE_ROWS, col, tile, n);
            quant_dequantize_row(type, run, y + col, n);
        }
        return;
    }
    for (size_t b = 0; b < n_cols / l->block_cols; b++) {
        uint8_t block[sizeof(block_q6_K)];
        tile_get_block(block, type, tile, row % TILE_ROWS, b);
        quant_dequantize_row(type, block, y + b * l->block_cols, l->block_cols);
    }
}

/* Is there an f16 (mask 0x7c00) or bf16 (0x7f80) among them with all bits of the exponent set? */
static bool halves_are_finite(const uint8_t *halves, size_t n, uint16_t mask)
{
    unsigned bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, halves + 2 * i, sizeof h);
        bad |= (h & mask) == mask;
    }
    return !bad;
}

static bool floats_are_finite(const uint8_t *floats, size_t n)
{
    unsigned bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t f;
        memcpy(&f, floats + 4 * i, sizeof f);
        bad |= (f & 0x7f800000u) == 0x7f800000u;
    }
    return !bad;
}

static bool scales_are_finite(const layout *l, const uint8_t *unit)
{
    bool good = true;
    for (const part *p = l->parts; p < l->parts + MAX_PARTS && p->elem; p++) {
        if (p->is_scale) good &= halves_are_finite(unit + p->at, (size_t)l->n_blocks * (p->n_bytes / 2) * TILE_ROWS, 0x7c00);
    }
    return good;
}

size_t tile_check_finite(quant_type type, const uint8_t *tiles, size_t n_tiles, size_t n_cols)
{
    const layout *l = &layouts[type];
    size_t n = n_units(l, n_cols), bytes = n * l->unit_bytes;
    for (size_t t = 0; t < n_tiles; t++, tiles += bytes) {
        bool good = true;
        if (type == QUANT_F32) good = floats_are_finite(tiles, bytes / 4);
        if (type == QUANT_F16) good = halves_are_finite(tiles, bytes / 2, 0x7c00);
        if (type == QUANT_BF16) good = halves_are_finite(tiles, bytes / 2, 0x7f80);
        for (size_t u = 0; u < n && good; u++) good = scales_are_finite(l, tiles + u * l->unit_bytes);
        if (!good) return t;
    }
    return n_tiles;
}
