/* prng.h: random numbers for tests: fast, small, and the same on every machine.
 *
 * splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014): a counter and a mixing function. Any state
 * is a good one, so a seed and a few numbers that say what the stream is for can simply be mixed together. */
#ifndef YL_PRNG_H
#define YL_PRNG_H

#include <stdint.h>

typedef struct prng {
    uint64_t state;
} prng;

static inline uint64_t prng_u64(prng *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* The stream number (a, b) of a seed. */
static inline prng prng_stream(uint64_t seed, uint64_t a, uint64_t b)
{
    prng r = {seed};
    r.state = prng_u64(&r) ^ a;
    r.state = prng_u64(&r) ^ b;
    return r;
}

/* In [0, 1), 24 random bits. */
static inline float prng_f32(prng *r)
{
    return (float)(prng_u64(r) >> 40) * 0x1p-24f;
}

/* In [begin, end). Not exactly even: good enough for tests. */
static inline int prng_int(prng *r, int begin, int end)
{
    return begin + (int)((prng_u64(r) >> 32) * (uint64_t)(end - begin) >> 32);
}

#endif
