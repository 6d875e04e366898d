/* numerics.h: elementary functions with the same bits on every machine.
 *
 * The C library's exp, sin, cos, pow differ between platforms in their last bits, and a logit must not. These use + - * / and bit
 * operations only, each IEEE operation correctly rounded and never fused (every file is compiled with -ffp-contract=off), so x86,
 * ARM and wasm agree. */
#ifndef YL_NUMERICS_H
#define YL_NUMERICS_H

#include <stddef.h>

/* exp(x) in f32, at most 1 ulp on [-87, 88]. Not x >= -87 (NaN too): +0. x is cut at 88. N12 of the contract. */
float yl_expf(float x);

/* x / (1 + exp(-x)) */
float yl_siluf(float x);

/* double, relative error below 1e-14 (sin, cos: absolute error below 1e-14 for |x| <= 2^30; pow: below 2e-14 when the result is
 * not within [1e-100, 1e100]). Results that are subnormal have the bits left that a subnormal has. */
double yl_sin(double x);           /* |x| <= 2^30 */
double yl_cos(double x);           /* |x| <= 2^30 */
double yl_log(double x);           /* x > 0, finite */
double yl_exp(double x);           /* infinite above 709.8, 0 below -745.2, NaN for NaN */
double yl_pow(double x, double y); /* x > 0 and y finite */

/* Sum of n values in f32 by N10: 16 partials by index modulo 16, then a fixed tree. */
float yl_sum(const float *x, size_t n);

enum { YL_SUM_PARTIALS = 16 };
/* The tree alone, for who makes the partials while computing what is summed. */
float yl_sum_partials(const float p[YL_SUM_PARTIALS]);

#endif
