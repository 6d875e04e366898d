/* sampler_random.c: random numbers without state.
 *
 * A number is a function of (seed, index of the token, which draw of that token), so a token drawn again, on another machine or
 * after a rejected draft, meets the same chance. The function is Philox4x32-10 (Salmon, Moraes, Dror, Shaw, Parallel Random
 * Numbers: As Easy as 1, 2, 3, SC 2011): ten rounds of two 32 x 32 multiplications, each mixing its high half into the other words.
 * Its constants and the test's vectors are those of the paper's library, Random123. */
#include "sampler_internal.h"

static const uint32_t MULTIPLIER_0 = 0xd2511f53, MULTIPLIER_1 = 0xcd9e8d57;
static const uint32_t KEY_STEP_0 = 0x9e3779b9, KEY_STEP_1 = 0xbb67ae85; /* golden ratio, sqrt(3) - 1 */

void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)MULTIPLIER_0 * c0, p1 = (uint64_t)MULTIPLIER_1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += KEY_STEP_0;
        k1 += KEY_STEP_1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

double sampler_uniform(uint64_t seed, uint64_t index, uint32_t draw)
{
    uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), draw, 0};
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t r[4];
    philox(counter, key, r);
    uint64_t bits = (uint64_t)r[0] << 32 | r[1];
    return (double)(bits >> 11) * 0x1p-53;
}
