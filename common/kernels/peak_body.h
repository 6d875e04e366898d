/* peak_body.h: the loops that are the same in every instruction set but for the width of a vector. A file that includes this first
 * defines PEAK_VECTOR_BYTES as the width of its registers; the compiler does the rest. */
#ifndef YL_KERNELS_PEAK_BODY_H
#define YL_KERNELS_PEAK_BODY_H

#include "peak.h"

typedef uint64_t peak_u64s __attribute__((vector_size(PEAK_VECTOR_BYTES)));
typedef float peak_f32s __attribute__((vector_size(PEAK_VECTOR_BYTES)));

enum {
    PEAK_CHAINS =
        12, /* independent sums: enough to hide the latency of an addition behind a multiplication, and they fit in 16 registers */
    PEAK_LINES = 256, /* bytes that a step of a reading loop takes: four cache lines */
    PEAK_AHEAD = 4096
};

static inline uint64_t peak_sum(peak_u64s v)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < PEAK_VECTOR_BYTES / 8; i++) sum += v[i];
    return sum;
}

static inline void peak_add_lines(peak_u64s sums[4], const uint8_t *data)
{
    const peak_u64s *v = (const peak_u64s *)(const void *)data;
    for (size_t i = 0; i < PEAK_LINES / PEAK_VECTOR_BYTES; i++) sums[i % 4] += v[i];
}

static uint64_t peak_read(const uint8_t *data, size_t n)
{
    peak_u64s sums[4] = {{0}};
    for (size_t i = 0; i < n; i += PEAK_LINES) peak_add_lines(sums, data + i);
    return peak_sum(sums[0] + sums[1] + sums[2] + sums[3]);
}

static uint64_t peak_read_ahead(const uint8_t *data, size_t n)
{
    peak_u64s sums[4] = {{0}};
    for (size_t i = 0; i < n; i += PEAK_LINES) {
        for (size_t line = 0; line < PEAK_LINES; line += 64) __builtin_prefetch(data + i + PEAK_AHEAD + line, 0, 2);
        peak_add_lines(sums, data + i);
    }
    return peak_sum(sums[0] + sums[1] + sums[2] + sums[3]);
}

/* A multiplication and an addition a lane, independent of each other: what limits both together. The factor is 1, so that
 * no product overflows or becomes subnormal, and volatile, so that the compiler does not know it. */
static uint64_t peak_multiply_add_f32(size_t n, size_t *done)
{
    enum { CHAINS = PEAK_CHAINS / 2 };
    const size_t n_a_step = CHAINS * PEAK_VECTOR_BYTES / sizeof(float), n_steps = n / n_a_step + 1;
    volatile float one = 1;
    const peak_f32s factor = (peak_f32s){0} + one;
    peak_f32s products[CHAINS], sums[CHAINS];
    for (size_t i = 0; i < CHAINS; i++) products[i] = sums[i] = factor + (float)i;
    for (size_t step = 0; step < n_steps; step++)
        for (size_t i = 0; i < CHAINS; i++) {
            products[i] *= factor;
            sums[i] += factor;
        }
    float all = 0;
    for (size_t i = 0; i < CHAINS; i++) all += products[i][0] + sums[i][PEAK_VECTOR_BYTES / sizeof(float) - 1];
    *done += n_steps * n_a_step;
    return (uint64_t)all;
}

#endif
