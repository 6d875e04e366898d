/* scalar_peak.c: the loops in plain C, as the compiler makes them for the oldest machine that the program runs on. */
#define PEAK_VECTOR_BYTES 16
#include "peak_body.h"

enum { N_VALUES = 1024 };

/* Bytes widened before: SSE2 and NEON multiply pairs of int16 and add them up in one instruction, and have none for bytes. Each
 * step multiplies other pairs than the last one did. */
static uint64_t dot_int8(size_t n, size_t *done)
{
    const size_t n_steps = n / N_VALUES + 1;
    int16_t a[2 * N_VALUES], b[N_VALUES];
    for (size_t i = 0; i < 2 * N_VALUES; i++) a[i] = (int8_t)(i * n_steps);
    for (size_t i = 0; i < N_VALUES; i++) b[i] = (int8_t)(i + n_steps);
    int32_t sum = 0;
    for (size_t step = 0; step < n_steps; step++) {
        const int16_t *from = a + step % N_VALUES;
        for (size_t i = 0; i < N_VALUES; i++) sum += (int32_t)from[i] * b[i];
    }
    *done += n_steps * N_VALUES;
    return (uint64_t)(uint32_t)sum;
}

const peak_loops peak_loops_scalar = {peak_read, peak_read_ahead, dot_int8, peak_multiply_add_f32};
