/* kernel_data.h: what kernels are tested with: random numbers, numbers at the edge of something, matrices and activations.
 *
 * The same on every machine: tables of other instruction sets are tested in other programs (kernel_bits.c), whose results are
 * compared. Without memory a program ends. */
#ifndef YL_TEST_KERNEL_DATA_H
#define YL_TEST_KERNEL_DATA_H

#include <stddef.h>
#include <stdint.h>

#include "kernels.h"

/* Random numbers: a 64-bit linear congruential generator (Knuth's MMIX), its upper bits. A program begins with the seed. */
enum { SEED = 20261124 };
uint32_t random_bits(void);
/* Within [-1, 1). */
float random_float(void);
void random_floats(float *x, size_t n);

/* One of: an ordinary number, any bits, a subnormal, one at the edge of something. */
typedef enum data_kind { FINITE, ANY } data_kind;
float odd_float(data_kind kind);

/* All formats that can be computed with. */
enum { N_TYPES = 15 };
extern const quant_type all_types[N_TYPES];

/* How weights and activations are filled: any bits, or the largest of everything. */
typedef enum fill { FILL_RANDOM, FILL_ONES, FILL_ZEROS, FILL_END } fill;

/* A matrix and activations that fit together. Memory is of its exact size, so that sanitizers see what is read beyond. */
typedef struct problem {
    matrix w, tiled; /* the same matrix in both layouts */
    activations x;
    uint8_t *w_memory; /* the matrix begins at its second byte */
    size_t w_bytes, tiled_bytes, panel_bytes;
    float *x_memory;
    float *expected; /* [x.n_rows, w.n_rows], of malloc; NULL until somebody knows */
} problem;

problem problem_new(quant_type type, size_t n_rows, size_t n_cols, size_t n_x, fill how);
void problem_free(problem *p);

#endif
