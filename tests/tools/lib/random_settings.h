/* random_settings.h: settings of the sampler as users might combine them, and worse. */
#ifndef YL_RANDOM_SETTINGS_H
#define YL_RANDOM_SETTINGS_H

#include "prng.h"
#include "sampler.h"

enum { RANDOM_MAX_BIAS = 6, RANDOM_MAX_BANNED = 3, RANDOM_MAX_BREAKERS = 4, RANDOM_MAX_BREAKER_LEN = 3 };

/* Settings with the lists they point to. */
typedef struct random_settings {
    sampler_settings s;
    sampler_logit_bias bias[RANDOM_MAX_BIAS];
    int32_t banned[RANDOM_MAX_BANNED];
    int32_t breaker_tokens[RANDOM_MAX_BREAKERS][RANDOM_MAX_BREAKER_LEN];
    const int32_t *breakers[RANDOM_MAX_BREAKERS];
    size_t breaker_lens[RANDOM_MAX_BREAKERS];
} random_settings;

void make_settings(random_settings *out, uint32_t n_vocab, prng *r);

/* Text with repetitions: some tokens are frequent, some stretches come again. */
void make_history(int32_t *tokens, size_t n, uint32_t n_vocab, prng *r);

#endif
