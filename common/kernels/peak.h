/* peak.h: loops that do nothing but what a kernel is bound by, so that a bench can say how much of the machine a kernel uses.
 *
 * They compute nothing that anybody wants. One table an instruction set, in files named like the kernels' so that the build gives
 * them the same flags; machine_limits.h runs them on several threads and keeps the time. */
#ifndef YL_KERNELS_PEAK_H
#define YL_KERNELS_PEAK_H

#include <stddef.h>
#include <stdint.h>

typedef struct peak_loops {
    /* Reads n bytes (a multiple of 256, aligned to 64) once, in order, and adds them up: bound by memory. `read_ahead` does the
     * same and asks for lines 4 KiB ahead; which of the two is faster depends on the processor. The sum is returned so that the
     * reading is not left out. */
    uint64_t (*read)(const uint8_t *data, size_t n);
    uint64_t (*read_ahead)(const uint8_t *data, size_t n);

    /* At least n multiply-adds in registers: products of int8 summed in int32 by the instruction that has the highest rate (where
     * it sums in int16, as AVX2's does, without the widening that a kernel needs now and then), and of f32, multiplied and added
     * apart as the numerics contract wants it. Each returns something that depends on all of them, and adds to *done how many there
     * were. */
    uint64_t (*dot_int8)(size_t n, size_t *done);
    uint64_t (*multiply_add_f32)(size_t n, size_t *done);
} peak_loops;

/* The loops for a table of kernels by its name; those in plain C for a name without any. As with kernels_named the caller makes
 * sure that this machine can run them: isa is that of a table which kernels.h gave out. */
const peak_loops *peak_loops_for(const char *isa);

/* The tables, for peak.c. */
extern const peak_loops peak_loops_scalar, peak_loops_avx2, peak_loops_avx512;

#endif
