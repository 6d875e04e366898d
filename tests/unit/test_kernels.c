/* test_kernels.c: matmul and quantize of each table against the contract written down a second time (contract.h), to the bit.
 *
 * Each product is made twice, of weights as GGUF holds them and of the same in tiles. Inputs lie in blocks of their exact size, at
 * odd addresses where any is allowed, and must be unchanged afterwards; outputs lie between marks. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>

#include "contract.h"
#include "kernel_harness.h"
#include "panel.h"

/* One row of activations alone, with a panel of its own: free it. */
static activations activations_one(const activations *x, size_t row)
{
    activations one = *x;
    one.n_rows = 1;
    one.x += row * x->n_cols;
    if (one.block) one.q += row * x->n_cols, one.d += row * x->n_cols / one.block;
    one.panels = malloc(panel_set_bytes(1, x->n_cols, x->block));
    assert_non_null(one.panels);
    activations_pack(&one, 0, 1);
    return one;
}

/* With what the contract says of their product. */
static problem contract_problem(quant_type type, size_t n_rows, size_t n_cols, size_t n_x, fill how)
{
    problem p = problem_new(type, n_rows, n_cols, n_x, how);
    p.expected = new_floats(n_x * n_rows);
    for (size_t i = 0; i < n_x; i++) {
        const int8_t *q = p.x.q ? p.x.q + i * n_cols : NULL;
        const float *d = p.x.d ? p.x.d + i * n_cols / p.x.block : NULL;
        for (size_t r = 0; r < n_rows; r++) {
            p.expected[i * n_rows + r] = contract_dot(type, p.w.data + r * p.w.row_bytes, p.x.x + i * n_cols, q, d, n_cols);
        }
    }
    return p;
}

static uint64_t checksum(const void *data, size_t n)
{
    const uint8_t *p = data;
    uint64_t sum = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < n; i++) sum = (sum ^ p[i]) * 1099511628211u;
    return sum;
}

static uint64_t problem_checksum(const problem *p)
{
    size_t n = (size_t)p->x.n_rows * p->x.n_cols;
    uint64_t sum = checksum(p->w.data, p->w_bytes) ^ checksum(p->x.x, n * sizeof(float)) * 3;
    sum ^= checksum(p->tiled.data, p->tiled_bytes) * 11 ^ checksum(p->x.panels, p->panel_bytes) * 13;
    if (p->x.block) sum ^= checksum(p->x.q, n) * 5 ^ checksum(p->x.d, n / p->x.block * sizeof(float)) * 7;
    return sum;
}

/* For messages: which format in which layout. */
static const char *what_is(const matrix *w)
{
    static char text[32];
    snprintf(text, sizeof text, "%s %s", quant_traits_of(w->type)->name, w->layout == MATRIX_TILES ? "tiles" : "rows");
    return text;
}

static void check_matmul(const kernels *table, quant_type type, size_t n_rows, size_t n_cols, size_t n_x, fill how)
{
    problem p = contract_problem(type, n_rows, n_cols, n_x, how);
    uint64_t before = problem_checksum(&p);
    const matrix *layouts[] = {&p.w, &p.tiled};
    for (int i = 0; i < 2; i++) {
        float *y = marked_floats(n_x * n_rows);
        table->matmul(y, n_rows, layouts[i], &p.x, 0, n_rows);
        assert_same_bits(table->isa, what_is(layouts[i]), n_cols, p.expected, y, n_x * n_rows);
        free_marked(y, n_x * n_rows);
    }
    assert_true(problem_checksum(&p) == before);
    problem_free(&p);
}

static const size_t row_counts[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 33};
enum { N_ROW_COUNTS = sizeof row_counts / sizeof row_counts[0] };

static void matmul_gives_the_contracts_bits(void **state)
{
    (void)state;
    static const size_t blocks[] = {1, 2, 3, 4, 5, 8, 9, 16};
    static const size_t plain[] = {1, 2, 3, 15, 16, 17, 63, 64, 65, 130, 200};
    static const size_t x_counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t t = 0; t < N_TYPES; t++) {
            const quant_traits *traits = quant_traits_of(all_types[t]);
            bool is_plain = traits->act_block == 0;
            for (size_t c = 0; c < (is_plain ? 11 : 8); c++) {
                size_t n_cols = is_plain ? plain[c] : blocks[c] * traits->block_elems;
                for (size_t r = 0; r < N_ROW_COUNTS; r++) {
                    check_matmul(table, all_types[t], row_counts[r], n_cols, x_counts[(r * 7 + c) % 20], FILL_RANDOM);
                }
            }
        }
    }
}

/* Largest integers of either sign: what an accumulator of too few bits would get wrong. */
static void matmul_of_extreme_values_gives_the_contracts_bits(void **state)
{
    (void)state;
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t t = 0; t < N_TYPES; t++) {
            for (fill how = FILL_ONES; how < FILL_END; how++) {
                for (size_t n_x = 1; n_x <= 5; n_x++) check_matmul(table, all_types[t], 17, 512, n_x, how);
            }
        }
    }
}

static void matmul_of_many_activation_rows_gives_the_contracts_bits(void **state)
{
    (void)state;
    static const size_t x_counts[] = {31, 63, 64, 65, 130};
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t t = 0; t < N_TYPES; t++) {
            for (size_t n = 0; n < 5; n++) check_matmul(table, all_types[t], 18, 256, x_counts[n], FILL_RANDOM);
        }
    }
}

/* Rows that are longer than what is packed or converted at a time. */
static void matmul_of_long_rows_gives_the_contracts_bits(void **state)
{
    (void)state;
    static const size_t x_counts[] = {1, 2, 3, 8, 21};
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t t = 0; t < N_TYPES; t++) {
            const size_t block = quant_traits_of(all_types[t])->block_elems;
            for (size_t n = 0; n < 5; n++)
                check_matmul(table, all_types[t], 21, block == 1 ? 777 : 19 * 256 + block % 256, x_counts[n], FILL_RANDOM);
        }
    }
}

/* The same with weight rows in two parts, whose results lie beside each other. */
static void matmul_of_many_activation_rows_in_parts_gives_the_bits_of_the_whole(void **state)
{
    (void)state;
    enum { ROWS = 20, N_X = 67, SPLIT = 7 };
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t t = 0; t < N_TYPES; t++) {
            problem p = contract_problem(all_types[t], ROWS, 256, N_X, FILL_RANDOM);
            const matrix *layouts[] = {&p.w, &p.tiled};
            for (int l = 0; l < 2; l++) {
                float *y = marked_floats(N_X * ROWS);
                table->matmul(y, ROWS, layouts[l], &p.x, SPLIT, ROWS);
                table->matmul(y, ROWS, layouts[l], &p.x, 0, SPLIT);
                assert_same_bits(table->isa, what_is(layouts[l]), 256, p.expected, y, N_X * ROWS);
                free_marked(y, N_X * ROWS);
            }
            problem_free(&p);
        }
    }
}

/* Rows of weights split as threads split them, activation rows one by one, results in a wider matrix: the same bits, and nothing
 * else is written. */
static void matmul_in_parts_gives_the_bits_of_the_whole(void **state)
{
    (void)state;
    enum { ROWS = 37, COLS = 256, N_X = 6, STRIDE = ROWS + 5 };
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t t = 0; t < N_TYPES; t++) {
            problem p = contract_problem(all_types[t], ROWS, COLS, N_X, FILL_RANDOM);
            float *y = marked_floats(N_X * STRIDE), *expected = new_floats(N_X * STRIDE);
            memcpy(expected, y, N_X * STRIDE * sizeof *y);
            for (size_t n = 0; n < N_X; n++) memcpy(expected + n * STRIDE, p.expected + n * ROWS, ROWS * sizeof *y);
            for (size_t n = 0; n < N_X; n++) {
                activations one = activations_one(&p.x, n);
                size_t split = random_bits() % (ROWS + 1);
                const matrix *w = n % 2 ? &p.w : &p.tiled;
                table->matmul(y + n * STRIDE, STRIDE, w, &one, split, ROWS);
                table->matmul(y + n * STRIDE, STRIDE, w, &one, 0, split);
                free(one.panels);
            }
            assert_same_bits(table->isa, quant_traits_of(all_types[t])->name, COLS, expected, y, N_X * STRIDE);
            free_marked(y, N_X * STRIDE);
            free(expected);
            problem_free(&p);
        }
    }
}

/* Rows of weights that were not asked for are another thread's: their results are not touched. */
static void check_some_rows(const size_t n_x)
{
    enum { ROWS = 37 };
    static const size_t ranges[][2] = {{5, 30}, {9, 11}, {0, 17}, {36, 37}, {20, 20}};
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t t = 0; t < N_TYPES; t++) {
            problem p = contract_problem(all_types[t], ROWS, 256, n_x, FILL_RANDOM);
            const matrix *layouts[] = {&p.w, &p.tiled};
            for (size_t c = 0; c < 2 * sizeof ranges / sizeof ranges[0]; c++) {
                const size_t *range = ranges[c / 2];
                float *y = marked_floats(n_x * ROWS), *expected = new_floats(n_x * ROWS);
                memcpy(expected, y, n_x * ROWS * sizeof *y);
                for (size_t n = 0; n < n_x; n++)
                    memcpy(expected + n * ROWS + range[0], p.expected + n * ROWS + range[0], (range[1] - range[0]) * sizeof *y);
                table->matmul(y, ROWS, layouts[c % 2], &p.x, range[0], range[1]);
                assert_same_bits(table->isa, what_is(layouts[c % 2]), 256, expected, y, n_x * ROWS);
                free_marked(y, n_x * ROWS);
                free(expected);
            }
            problem_free(&p);
        }
    }
}

static void matmul_of_some_rows_leaves_the_others_alone(void **state)
{
    (void)state;
    check_some_rows(1);
    check_some_rows(2);
    check_some_rows(6);
}

/* Against the values that quant_dequantize_row gives, in double: the contract is not only kept but is a product of matrices. */
static void matmul_is_close_to_the_exact_product(void **state)
{
    (void)state;
    enum { ROWS = 5, COLS = 1024 };
    size_t i = 0;
    const kernels *table = next_table(&i);
    for (size_t t = 0; t < N_TYPES; t++) {
        problem p = contract_problem(all_types[t], ROWS, COLS, 1, FILL_RANDOM);
        float y[ROWS], w[COLS];
        table->matmul(y, ROWS, &p.w, &p.x, 0, ROWS);
        for (size_t r = 0; r < ROWS; r++) {
            quant_dequantize_row(all_types[t], p.w.data + r * p.w.row_bytes, w, COLS);
            double sum = 0, magnitude = 0;
            for (size_t k = 0; k < COLS; k++) {
                double x = p.x.block ? (double)p.x.q[k] * (double)p.x.d[k / p.x.block] : (double)p.x.x[k];
                sum += (double)w[k] * x;
                magnitude += fabs((double)w[k] * x);
            }
            if (fabs((double)y[r] - sum) > 1e-5 * magnitude) {
                fail_msg("%s: row %zu is %g, not %g", quant_traits_of(all_types[t])->name, r, (double)y[r], sum);
            }
        }
        problem_free(&p);
    }
}

static void check_quantize(const kernels *table, const float *x, size_t n, size_t block)
{
    int8_t *q = malloc(n), *expected_q = malloc(n);
    float *d = marked_floats(n / block), *expected_d = new_floats(n / block);
    table->quantize(q, d, x, n, block);
    for (size_t b = 0; b < n / block; b++) expected_d[b] = contract_quantize(expected_q + b * block, x + b * block, block);
    assert_same_bits(table->isa, "quantize: scale", block, expected_d, d, n / block);
    assert_memory_equal(q, expected_q, n);
    free_marked(d, n / block);
    free(expected_d);
    free(expected_q);
    free(q);
}

/* Values that lie within a bit or two of halfway between integers: the last bit of 127 / amax decides. */
static void random_near_ties(float *x, size_t n, size_t block)
{
    for (size_t i = 0; i < n; i += block) {
        float amax = 1 + fabsf(random_float());
        for (size_t k = 1; k < block; k++) x[i + k] = amax * (((float)(random_bits() % 126) + 0.5f) / 127.0f);
        x[i] = amax;
    }
}

static void quantize_gives_the_contracts_bits(void **state)
{
    (void)state;
    enum { N = 1 << 14 };
    float *x = new_floats(N);
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        random_floats(x, N);
        check_quantize(table, x, N, 32);
        check_quantize(table, x, N, 256);
        for (size_t k = 0; k < N; k++) x[k] = ldexpf(random_float(), (int)(random_bits() % 240) - 130);
        check_quantize(table, x, N, 32);
        random_near_ties(x, N, 256);
        check_quantize(table, x, N, 256);
        for (size_t k = 0; k < N; k++) x[k] = k % 256 ? (float)((int)(random_bits() % 509) - 254) / 2 : 127; /* ties: to even */
        check_quantize(table, x, N, 256);
        for (size_t n = 32; n <= 1024; n += 32) check_quantize(table, x, n, 32);
    }
    free(x);
}

/* Blocks around the smallest magnitude that is not taken for zero. */
static void quantize_of_the_smallest_values_gives_the_contracts_bits(void **state)
{
    (void)state;
    static const float largest[] = {0, 0x1p-149f, 0x1.fffffep-101f, 0x1p-100f, 0x1.000002p-100f, 0x1p-99f};
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t n = 0; n < sizeof largest / sizeof largest[0]; n++) {
            for (size_t block = 32; block <= 256; block += 224) {
                float x[256] = {0};
                x[3] = -largest[n];
                x[31] = largest[n] / 2;
                check_quantize(table, x, block, block);
            }
        }
    }
}

/* A value that is not finite is seen in every result of its block, and in no other block's. */
static void quantize_keeps_what_is_not_finite(void **state)
{
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t b = 0; b < 3; b++) {
            float x[64], d[2];
            int8_t q[64];
            random_floats(x, 64);
            x[17] = bad[b];
            table->quantize(q, d, x, 64, 32);
            assert_false(isfinite(d[0]));
            assert_true(isfinite(d[1]) && d[1] > 0);
            for (size_t k = 0; k < 32; k++) assert_int_equal(q[k], 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matmul_gives_the_contracts_bits),
        cmocka_unit_test(matmul_of_extreme_values_gives_the_contracts_bits),
        cmocka_unit_test(matmul_of_many_activation_rows_gives_the_contracts_bits),
        cmocka_unit_test(matmul_of_long_rows_gives_the_contracts_bits),
        cmocka_unit_test(matmul_of_many_activation_rows_in_parts_gives_the_bits_of_the_whole),
        cmocka_unit_test(matmul_in_parts_gives_the_bits_of_the_whole),
        cmocka_unit_test(matmul_of_some_rows_leaves_the_others_alone),
        cmocka_unit_test(matmul_is_close_to_the_exact_product),
        cmocka_unit_test(quantize_gives_the_contracts_bits),
        cmocka_unit_test(quantize_of_the_smallest_values_gives_the_contracts_bits),
        cmocka_unit_test(quantize_keeps_what_is_not_finite),
    };
    return cmocka_run_group_tests_name("kernels", tests, NULL, NULL);
}
