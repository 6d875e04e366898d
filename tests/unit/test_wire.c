/* test_wire.c: activations as they travel: what arrives, in how many bytes, and that every table of kernels writes the same. */
#include <math.h>
#include <stdio.h>

#include "kernel_harness.h"
#include "wire.h"

enum { N = 3 * 352 }; /* rows of 352: no multiple of 256 */
static const wire_type TYPES[] = {WIRE_F32, WIRE_F16, WIRE_Q8_0};

static void names_are_read_back(void **state)
{
    (void)state;
    wire_type type;
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++) {
        assert_true(wire_type_parse(wire_type_name(TYPES[i]), &type));
        assert_int_equal(type, TYPES[i]);
    }
    assert_false(wire_type_parse("q4_0", &type));
    assert_false(wire_type_parse("", &type));
}

static void rows_have_a_size(void **state)
{
    (void)state;
    assert_int_equal(wire_row_bytes(WIRE_F32, 44), 176);
    assert_int_equal(wire_row_bytes(WIRE_F16, 44), 88);
    assert_int_equal(wire_row_bytes(WIRE_Q8_0, 64), 72);
    assert_true(wire_type_takes(WIRE_F16, 44));
    assert_false(wire_type_takes(WIRE_Q8_0, 44));
    assert_true(wire_type_takes(WIRE_Q8_0, 64));
}

/* Writes to an odd address of exactly the room that it needs, reads back. */
static void carry(wire_type type, const float *x, float *y, size_t n, const kernels *k, wire_loss *loss, uint8_t *copy)
{
    size_t n_bytes = wire_row_bytes(type, (uint32_t)n);
    uint8_t *bytes = malloc(n_bytes + 1);
    assert_non_null(bytes);
    wire_write(bytes + 1, type, x, n, k, loss);
    wire_read(y, type, bytes + 1, n);
    if (copy) memcpy(copy, bytes + 1, n_bytes);
    free(bytes);
}

static void f32_arrives_as_it_left(void **state)
{
    (void)state;
    wire_loss loss = {0};
    float *x = new_floats(N), *y = new_floats(N);
    carry(WIRE_F32, x, y, N, kernels_best(), &loss, NULL);
    assert_memory_equal(x, y, N * sizeof *x);
    assert_true(loss.power == 0 && loss.error == 0);
    free(x);
    free(y);
}

static void f16_arrives_as_its_nearest(void **state)
{
    (void)state;
    wire_loss loss = {0};
    float *x = new_floats(N), *y = new_floats(N);
    carry(WIRE_F16, x, y, N - 7, kernels_best(), &loss, NULL);
    for (size_t i = 0; i < N - 7; i++) assert_true(y[i] == quant_f16_to_f32(quant_f32_to_f16(x[i])));
    free(x);
    free(y);
}

/* By N2, written down once more. */
static void q8_0_arrives_as_blocks_of_32(void **state)
{
    (void)state;
    wire_loss loss = {0};
    float *x = new_floats(N), *y = new_floats(N);
    carry(WIRE_Q8_0, x, y, N, kernels_best(), &loss, NULL);
    for (size_t b = 0; b < N; b += 32) {
        float amax = 0;
        for (size_t i = b; i < b + 32; i++) amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
        for (size_t i = b; i < b + 32; i++) {
            float q = rintf(x[i] * (127 / amax));
            assert_true(y[i] == amax / 127 * q);
        }
    }
    free(x);
    free(y);
}

static void the_loss_is_what_was_lost(void **state)
{
    (void)state;
    float *x = new_floats(N), *y = new_floats(N);
    double relative[3];
    for (size_t t = 0; t < 3; t++) {
        double power = 0, error = 0;
        wire_loss loss = {0};
        carry(TYPES[t], x, y, N, kernels_best(), &loss, NULL);
        for (size_t i = 0; i < N; i++) {
            power += (double)x[i] * x[i];
            error += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
        }
        relative[t] = sqrt(error / power);
        if (TYPES[t] == WIRE_F32) continue;
        assert_true(fabs(loss.power - power) < 1e-9 * power && fabs(loss.error - error) < 1e-9 * error);
        carry(TYPES[t], x, y, N, kernels_best(), &loss, NULL); /* it adds */
        assert_true(fabs(loss.power - 2 * power) < 1e-9 * power);
    }
    assert_true(relative[0] == 0 && relative[1] > 0 && relative[1] < 5e-4 && relative[2] > relative[1] && relative[2] < 2e-2);
    free(x);
    free(y);
}

static void what_became_infinite_arrives_so_and_is_not_counted(void **state)
{
    (void)state;
    float x[512] = {[3] = 65520, [300] = 1}, y[512];
    wire_loss loss = {0};
    carry(WIRE_F16, x, y, 512, kernels_best(), &loss, NULL);
    assert_true(isinf(y[3]) && y[300] == 1);
    assert_true(loss.power == 1 && loss.error == 0);
    x[3] = INFINITY;
    carry(WIRE_Q8_0, x, y, 512, kernels_best(), &loss, NULL);
    assert_false(isfinite(y[3]));
    assert_true(y[300] == 1 && loss.power == 2);
}

static void every_table_writes_the_same_bytes(void **state)
{
    (void)state;
    float *x = new_floats(N), *y = new_floats(N);
    static uint8_t expected[4 * N], bytes[4 * N];
    for (size_t t = 0; t < 3; t++) {
        wire_loss first = {0};
        size_t n_bytes = wire_row_bytes(TYPES[t], N), i = 0;
        carry(TYPES[t], x, y, N, kernels_named("scalar"), &first, expected);
        for (const kernels *k; (k = next_table(&i));) {
            wire_loss loss = {0};
            carry(TYPES[t], x, y, N, k, &loss, bytes);
            assert_memory_equal(bytes, expected, n_bytes);
            assert_true(loss.power == first.power && loss.error == first.error);
        }
    }
    free(x);
    free(y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_read_back),
        cmocka_unit_test(rows_have_a_size),
        cmocka_unit_test(f32_arrives_as_it_left),
        cmocka_unit_test(f16_arrives_as_its_nearest),
        cmocka_unit_test(q8_0_arrives_as_blocks_of_32),
        cmocka_unit_test(the_loss_is_what_was_lost),
        cmocka_unit_test(what_became_infinite_arrives_so_and_is_not_counted),
        cmocka_unit_test(every_table_writes_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
