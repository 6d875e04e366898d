/* machine_limits.h: what the machine can do at most, measured: bytes a second from memory, multiply-adds a second in registers.
 *
 * Memory bandwidth belongs to whoever else runs on the machine, too: it may halve from one minute to the next. So a measurement of
 * speed is worth something beside a reading of the limits taken right before and after it, on as many threads. */
#ifndef YL_MACHINE_LIMITS_H
#define YL_MACHINE_LIMITS_H

#include <stdint.h>

#include "kernels.h"
#include "status.h"

/* A second's worth, of all threads together. */
typedef struct machine_limits {
    double read_small_pages; /* bytes read in order from a buffer much larger than the caches, in pages of 4 KiB */
    double read_huge_pages;  /* the same in huge pages, where the system has them */
    double dot_int8;         /* multiply-adds of int8 */
    double multiply_add_f32; /* of f32, multiplied and added apart */
} machine_limits;

/* What is measured: everything, or only what a placement of layers asks for, in half the time and memory. */
typedef enum machine_meter_scope {
    MACHINE_METER_ALL,
    MACHINE_METER_PLACEMENT /* read_small_pages and dot_int8; the others are 0 */
} machine_meter_scope;

/* Buffers to read from, of 256 MiB each: two, or one for MACHINE_METER_PLACEMENT. */
typedef struct machine_meter machine_meter;

/* YL_ENOMEM. Free with machine_meter_free. */
yl_status machine_meter_new(machine_meter **out, machine_meter_scope scope, yl_error *err);
void machine_meter_free(machine_meter *m);

/* Measures on n_threads threads with the instructions that k may use; takes about a fifth of a second. Each figure is the best of a
 * few tries. YL_EINVAL, YL_EIO, YL_ENOMEM: no such number of threads can be had. */
yl_status machine_meter_read(const machine_meter *m, uint32_t n_threads, const kernels *k, machine_limits *out, yl_error *err);

#endif
