/* test_tile.c: weights to tiles and back: nothing is lost, whatever the shape and however they arrive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel_harness.h"
#include "tile.h"

/* A matrix of random bytes, and room for its tiles. */
typedef struct sample {
    quant_type type;
    size_t n_rows, n_cols, row_bytes, n_bytes;
    uint8_t *rows;
    uint8_t *tiles; /* tile_bytes(...) each */
    size_t tile_size, tiles_bytes;
} sample;

static sample sample_new(quant_type type, size_t n_rows, size_t n_blocks)
{
    const quant_traits *t = quant_traits_of(type);
    sample s = {.type = type, .n_rows = n_rows, .n_cols = n_blocks * t->block_elems, .row_bytes = n_blocks * t->block_bytes};
    s.n_bytes = n_rows * s.row_bytes;
    s.rows = malloc(s.n_bytes);
    assert_non_null(s.rows);
    for (size_t i = 0; i < s.n_bytes; i++) s.rows[i] = (uint8_t)random_bits();
    uint64_t n;
    assert_true(tile_matrix_bytes(type, n_rows, s.n_cols, &n));
    s.tiles_bytes = (size_t)n;
    s.tile_size = tile_bytes(type, s.n_cols);
    assert_int_equal(s.tiles_bytes, (n_rows + TILE_ROWS - 1) / TILE_ROWS * s.tile_size);
    assert_int_equal(s.tile_size % TILE_ALIGNMENT, 0);
    void *p = NULL;
    assert_int_equal(posix_memalign(&p, TILE_ALIGNMENT, s.tiles_bytes), 0);
    s.tiles = p;
    memset(s.tiles, 0xa5, s.tiles_bytes);
    return s;
}

static void sample_free(sample *s)
{
    free(s->rows);
    free(s->tiles);
}

static size_t rows_of_tile(const sample *s, size_t tile)
{
    size_t rest = s->n_rows - tile * TILE_ROWS;
    return rest < TILE_ROWS ? rest : TILE_ROWS;
}

static void pack_all(const sample *s)
{
    for (size_t t = 0; t * TILE_ROWS < s->n_rows; t++)
        tile_pack(s->tiles + t * s->tile_size, s->type, s->rows + t * TILE_ROWS * s->row_bytes, rows_of_tile(s, t), s->n_cols);
}

static void assert_holds_the_rows(const sample *s)
{
    uint8_t *back = malloc(s->n_bytes);
    assert_non_null(back);
    for (size_t t = 0; t * TILE_ROWS < s->n_rows; t++)
        tile_unpack(back + t * TILE_ROWS * s->row_bytes, s->type, s->tiles + t * s->tile_size, rows_of_tile(s, t), s->n_cols);
    assert_memory_equal(back, s->rows, s->n_bytes);
    free(back);
}

static const size_t row_counts[] = {1, 2, 15, 16, 17, 31, 32, 40};
static const size_t block_counts[] = {1, 2, 3, 4, 7, 64, 65, 130};
enum { N_ROW_COUNTS = 8, N_BLOCK_COUNTS = 8 };

/* Runs check over every format and many shapes. */
static void over_samples(void (*check)(sample *s))
{
    for (size_t t = 0; t < N_TYPES; t++) {
        for (size_t r = 0; r < N_ROW_COUNTS; r++) {
            for (size_t b = 0; b < N_BLOCK_COUNTS; b++) {
                sample s = sample_new(all_types[t], row_counts[r], block_counts[b]);
                check(&s);
                sample_free(&s);
            }
        }
    }
}

static void check_round_trip(sample *s)
{
    pack_all(s);
    assert_holds_the_rows(s);
}

static void tiles_hold_every_byte_of_the_rows(void **state)
{
    (void)state;
    over_samples(check_round_trip);
}

/* What is not from the rows is zero: so many bytes of the tiles as the rows have are not of the filling. */
static void check_filling(sample *s)
{
    memset(s->rows, 0xff, s->n_bytes);
    pack_all(s);
    size_t n_ones = 0;
    for (size_t i = 0; i < s->tiles_bytes; i++) {
        assert_true(s->tiles[i] == 0xff || s->tiles[i] == 0);
        n_ones += s->tiles[i] == 0xff;
    }
    assert_int_equal(n_ones, s->n_bytes);
}

static void tiles_are_filled_up_with_zeros(void **state)
{
    (void)state;
    over_samples(check_filling);
}

/* Cut anywhere, and put in any order: here from the last piece to the first. */
static void check_pieces(sample *s)
{
    enum { MAX_PIECES = 64 };
    size_t cuts[MAX_PIECES + 1] = {0}, n = 0;
    while (cuts[n] < s->n_bytes && n < MAX_PIECES) {
        size_t rest = s->n_bytes - cuts[n], most = random_bits() % 4 ? 2 * s->row_bytes : 20 * s->row_bytes;
        size_t piece = n + 1 == MAX_PIECES ? rest : 1 + random_bits() % most;
        cuts[n + 1] = cuts[n] + (piece < rest ? piece : rest);
        n++;
    }
    memset(s->tiles, 0, s->tiles_bytes);
    for (size_t i = n; i-- > 0;) {
        size_t piece = cuts[i + 1] - cuts[i];
        uint8_t *exact = malloc(piece);
        assert_non_null(exact);
        memcpy(exact, s->rows + cuts[i], piece);
        tile_put(s->tiles, s->type, s->n_rows, s->n_cols, cuts[i], exact, piece);
        free(exact);
    }
    uint8_t *whole = malloc(s->tiles_bytes);
    assert_non_null(whole);
    memcpy(whole, s->tiles, s->tiles_bytes);
    pack_all(s);
    assert_memory_equal(whole, s->tiles, s->tiles_bytes);
    free(whole);
}

static void tiles_filled_by_pieces_are_the_same(void **state)
{
    (void)state;
    over_samples(check_pieces);
}

static void check_rows_as_f32(sample *s)
{
    float *expected = malloc(s->n_cols * sizeof(float)), *y = malloc(s->n_cols * sizeof(float));
    assert_true(expected && y);
    pack_all(s);
    for (size_t r = 0; r < s->n_rows; r++) {
        quant_dequantize_row(s->type, s->rows + r * s->row_bytes, expected, s->n_cols);
        tile_dequantize_row(s->type, s->tiles, r, y, s->n_cols);
        assert_memory_equal(y, expected, s->n_cols * sizeof(float));
    }
    free(expected);
    free(y);
}

static void a_row_of_a_tile_has_the_values_of_the_row(void **state)
{
    (void)state;
    over_samples(check_rows_as_f32);
}

/* One bad scale among many good ones, at any block of any row, is found in its tile, as it is in rows. */
static void scales_that_are_not_finite_are_found(void **state)
{
    (void)state;
    enum { ROWS = 35, BLOCKS = 5 };
    for (size_t t = 0; t < N_TYPES; t++) {
        sample s = sample_new(all_types[t], ROWS, BLOCKS);
        memset(s.rows, 0, s.n_bytes);
        for (size_t at = 0; at + 1 < s.n_bytes; at++) {
            s.rows[at] = 0xff;
            s.rows[at + 1] = 0x7f; /* an f16, bf16 or half of an f32 that is NaN, if these are both of its bytes */
            size_t n_blocks = ROWS * BLOCKS, bad = quant_check_finite(s.type, s.rows, n_blocks);
            pack_all(&s);
            size_t expected = bad == n_blocks ? (size_t)3 : bad / BLOCKS / TILE_ROWS;
            assert_int_equal(tile_check_finite(s.type, s.tiles, 3, s.n_cols), expected);
            s.rows[at] = s.rows[at + 1] = 0;
        }
        sample_free(&s);
    }
}

static void sizes_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    uint64_t n;
    assert_false(tile_matrix_bytes(QUANT_Q4_K, 16, 255, &n));
    assert_false(tile_matrix_bytes(QUANT_F32, UINT64_MAX, UINT64_MAX, &n));
    assert_false(tile_matrix_bytes(QUANT_F32, (uint64_t)1 << 62, 1, &n));
    assert_true(tile_matrix_bytes(QUANT_Q8_0, 17, 96, &n));
    assert_int_equal(n, 2 * 2 * sizeof(tile_q8_0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_hold_every_byte_of_the_rows),    cmocka_unit_test(tiles_are_filled_up_with_zeros),
        cmocka_unit_test(tiles_filled_by_pieces_are_the_same),  cmocka_unit_test(a_row_of_a_tile_has_the_values_of_the_row),
        cmocka_unit_test(scales_that_are_not_finite_are_found), cmocka_unit_test(sizes_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests_name("tile", tests, NULL, NULL);
}
