/* numerics.c: range reduction, a polynomial, and the way back.
 *
 * The f32 exp is N12 of the contract, to the letter. The double functions serve tables and the sampler, so they are written to be
 * read: each brings its argument into a small interval around zero, by steps that are exact or carry what was rounded away, and
 * sums the Taylor series there until the next term no longer matters. Taylor's coefficients need no source; constants of pi and
 * ln 2 are cut into parts so that the first products are exact (Cody and Waite, Software Manual for the Elementary Functions,
 * 1980). The test compares with the C library and pins the bits of some results. */
#include "numerics.h"

#include <stdint.h>
#include <string.h>

static uint32_t float_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static float float_from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint64_t double_bits(double d)
{
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    return bits;
}

static double double_from_bits(uint64_t bits)
{
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

/* Coefficients: expf of Moshier's Cephes library (single precision). Adding 1.5 * 2^23 rounds t to an integer, which then stands
 * in t's low bits; shifted by 23 it lands in the exponent of p. */
float yl_expf(float x)
{
    if (!(x >= -87.0f)) return 0.0f;
    if (x > 88.0f) x = 88.0f;
    float t = x * 1.44269504088896341f + 12582912.0f;
    float n = t - 12582912.0f;
    float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = (p * (r * r) + r) + 1.0f;
    return float_from_bits(float_bits(p) + (float_bits(t) << 23));
}

float yl_siluf(float x)
{
    return x / (1.0f + yl_expf(-x));
}

float yl_sum_partials(const float p[YL_SUM_PARTIALS])
{
    float a[8], b[4];
    for (int i = 0; i < 8; i++) a[i] = p[i] + p[i + 8];
    for (int i = 0; i < 4; i++) b[i] = a[i] + a[i + 4];
    return (b[0] + b[2]) + (b[1] + b[3]);
}

float yl_sum(const float *x, size_t n)
{
    float p[YL_SUM_PARTIALS] = {0};
    size_t i = 0;
    for (; i + YL_SUM_PARTIALS <= n; i += YL_SUM_PARTIALS) {
        for (size_t j = 0; j < YL_SUM_PARTIALS; j++) p[j] += x[i + j];
    }
    for (size_t j = 0; i + j < n; j++) p[j] += x[i + j];
    return yl_sum_partials(p);
}

/* The nearest integer, ties to even, for |x| < 2^51. */
static double nearest(double x)
{
    return (x + 0x1.8p52) - 0x1.8p52;
}

/* x = quarter * pi/2 + the result, which is at most a little over pi/4. pi/2 is two parts of 23 bits and one of 53: for
 * |x| <= 2^30 the number of quarters has 30 bits, so the first two products and differences are exact. */
static double reduce_quarter_turns(double x, unsigned *quarter)
{
    double n = nearest(x * 0x1.45f306dc9c883p-1); /* 2 / pi */
    *quarter = (unsigned)(int64_t)n & 3;
    return ((x - n * 0x1.921fb4p+0) - n * 0x1.4442dp-24) - n * 0x1.8469898cc517p-48;
}

/* Taylor, |r| <= 0.79: the first term left out is below 1e-19. */
static double sin_taylor(double r)
{
    double z = r * r;
    double s = 1.0 / 355687428096000.0; /* 1 / 17! */
    s = s * z - 1.0 / 1307674368000.0;
    s = s * z + 1.0 / 6227020800.0;
    s = s * z - 1.0 / 39916800.0;
    s = s * z + 1.0 / 362880.0;
    s = s * z - 1.0 / 5040.0;
    s = s * z + 1.0 / 120.0;
    s = s * z - 1.0 / 6.0;
    return s * z * r + r;
}

static double cos_taylor(double r)
{
    double z = r * r;
    double c = 1.0 / 20922789888000.0; /* 1 / 16! */
    c = c * z - 1.0 / 87178291200.0;
    c = c * z + 1.0 / 479001600.0;
    c = c * z - 1.0 / 3628800.0;
    c = c * z + 1.0 / 40320.0;
    c = c * z - 1.0 / 720.0;
    c = c * z + 1.0 / 24.0;
    c = c * z - 1.0 / 2.0;
    return c * z + 1.0;
}

/* sin of r plus `quarter` quarter turns. */
static double sin_from_quarter(double r, unsigned quarter)
{
    double s = quarter & 1 ? cos_taylor(r) : sin_taylor(r);
    return quarter & 2 ? -s : s;
}

double yl_sin(double x)
{
    unsigned quarter;
    double r = reduce_quarter_turns(x, &quarter);
    return sin_from_quarter(r, quarter);
}

double yl_cos(double x)
{
    unsigned quarter;
    double r = reduce_quarter_turns(x, &quarter);
    return sin_from_quarter(r, quarter + 1);
}

/* ln 2: its first 32 bits, so that a product with an exponent is exact, and the rest. */
static const double LN2_HI = 0x1.62e42feep-1, LN2_LO = 0x1.a39ef35793c76p-33;

/* x * 2^n without a power of two that is not a double itself: n is within [-1080, 1025]. */
static double scale_by_power_of_two(double x, int n)
{
    int half = n / 2;
    x *= double_from_bits((uint64_t)(1023 + half) << 52);
    return x * double_from_bits((uint64_t)(1023 + n - half) << 52);
}

/* exp(hi + lo) for a lo that is tiny beside hi. */
static double exp_of_sum(double hi, double lo)
{
    if (hi > 709.8) return double_from_bits(0x7ff0000000000000); /* infinity */
    if (hi < -745.2) return 0.0;
    if (hi != hi) return hi;
    double n = nearest(hi * 0x1.71547652b82fep+0); /* 1 / ln 2 */
    double r = ((hi - n * LN2_HI) - n * LN2_LO) + lo;
    double p = 1.0 / 87178291200.0; /* 1 / 14!; |r| <= 0.35: what follows is below 1e-19 */
    p = p * r + 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    return scale_by_power_of_two((p * r * r + r) + 1.0, (int)n);
}

double yl_exp(double x)
{
    return exp_of_sum(x, 0.0);
}

/* The product of a and b is the result plus *error, to twice a double's bits: halves of 26 and 27 bits multiply without rounding
 * (T. J. Dekker, A floating-point technique for extending the available precision, 1971). */
static double product_with_error(double a, double b, double *error)
{
    double a_hi = double_from_bits(double_bits(a) & 0xfffffffff8000000), a_lo = a - a_hi;
    double b_hi = double_from_bits(double_bits(b) & 0xfffffffff8000000), b_lo = b - b_hi;
    double p = a * b;
    *error = ((a_hi * b_hi - p) + a_hi * b_lo + a_lo * b_hi) + a_lo * b_lo;
    return p;
}

/* log(x) is the result plus *lo, good to about 55 bits, so that yl_pow may multiply it by a large exponent.
 * x = 2^n (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)]; with s = f / (2 + f), log(1 + f) = 2 atanh(s) = 2 (s + s^3/3 + s^5/5 + ...)
 * = f - f^2/2 + s (f^2/2 + 2 s^2/3 + 2 s^4/5 + ...). In this form only f - f^2/2 is large, and it is computed with its error. */
static double log_with_error(double x, double *lo)
{
    double n = 0;
    if (x < 0x1p-1022) { /* subnormal */
        x *= 0x1p54;
        n = -54;
    }
    uint64_t bits = double_bits(x);
    uint64_t offset = bits - 0x3fe6a09e667f3bcd; /* sqrt(1/2): the exponent's bits change there */
    int exponent = (int)((int64_t)offset >> 52);
    n += exponent;
    double f = double_from_bits(bits - ((uint64_t)exponent << 52)) - 1.0;

    double square_error, square = product_with_error(f, f, &square_error);
    double half = 0.5 * square;
    double s = f / (2.0 + f), z = s * s;
    double r = 2.0 / 23.0; /* |s| <= 0.172: what follows is below 1e-18 of the result */
    r = r * z + 2.0 / 21.0;
    r = r * z + 2.0 / 19.0;
    r = r * z + 2.0 / 17.0;
    r = r * z + 2.0 / 15.0;
    r = r * z + 2.0 / 13.0;
    r = r * z + 2.0 / 11.0;
    r = r * z + 2.0 / 9.0;
    r = r * z + 2.0 / 7.0;
    r = r * z + 2.0 / 5.0;
    r = r * z + 2.0 / 3.0;
    double small = s * (half + r * z) - 0.5 * square_error;

    double mantissa = f - half; /* |f| > half, so that what was rounded away is (f - mantissa) - half */
    small += ((f - mantissa) - half) + n * LN2_LO;
    double hi = n * LN2_HI + mantissa; /* the first is 0 or the larger one: the same again */
    small += (n * LN2_HI - hi) + mantissa;
    double sum = hi + small;
    *lo = (hi - sum) + small;
    return sum;
}

double yl_log(double x)
{
    double lo;
    return log_with_error(x, &lo);
}

double yl_pow(double x, double y)
{
    double lo, hi = log_with_error(x, &lo);
    double product_error, product = product_with_error(hi, y, &product_error);
    return exp_of_sum(product, product_error + lo * y);
}
