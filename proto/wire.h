/* wire.h: how activations travel from one stage to the next.
 *
 * As f32 they arrive as they left. f16 halves the bytes and q8_0 leaves 28 % of them; what is lost is the same on every machine
 * (N1, N2 of common/NUMERICS.md), but where it is lost depends on where the model was cut. */
#ifndef YL_WIRE_H
#define YL_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kernels;

/* Their numbers in an ASSIGN. */
typedef enum wire_type {
    WIRE_F32 = 0,
    WIRE_F16 = 1,  /* nearest even; from 65520 on infinite, which the next stage finds */
    WIRE_Q8_0 = 2, /* blocks of 32 values: scale d as f32, then 32 signed bytes q; a value is d * q */
    WIRE_TYPE_LAST = WIRE_Q8_0
} wire_type;

const char *wire_type_name(wire_type type); /* "f16" */
/* False: no such type. */
bool wire_type_parse(const char *text, wire_type *out);
/* Can rows of n_embd values travel so? q8_0 wants a multiple of 32. */
bool wire_type_takes(wire_type type, uint32_t n_embd);

/* Bytes of a row of n_embd values, which the type takes. */
size_t wire_row_bytes(wire_type type, uint32_t n_embd);

/* How much was lost: sums over all values x that left, and y that arrived. Blocks in which one became infinite are left out. */
typedef struct wire_loss {
    double power; /* of x * x */
    double error; /* of (x - y) * (x - y) */
} wire_loss;

/* Writes n values, one or more whole rows, to out (of wire_row_bytes each, any alignment). Adds to *loss, unless the type is f32,
 * which loses nothing. */
void wire_write(uint8_t *out, wire_type type, const float *x, size_t n, const struct kernels *k, wire_loss *loss);

/* Reads n values back. */
void wire_read(float *x, wire_type type, const uint8_t *in, size_t n);

#endif
