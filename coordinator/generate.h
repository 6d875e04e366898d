/* generate.h: a prompt in, tokens out: the loop that everybody knows.
 *
 * Feeds the prompt, samples a token from the last row's answer, feeds it, and so on, until an end token, a limit, or the caller
 * says stop. Asks the last stage for what the sampler needs, and again for all logits when that was not enough. With a drafter,
 * tokens that it foresees are fed along; what comes out is the same. */
#ifndef YL_GENERATE_H
#define YL_GENERATE_H

#include "drafter.h"
#include "engine.h"
#include "sampler.h"

typedef enum generate_stop { GENERATE_STOP_END, GENERATE_STOP_LIMIT, GENERATE_STOP_CONTEXT, GENERATE_STOP_CALLER } generate_stop;

typedef struct generate_options {
    uint32_t seq;
    uint32_t n_past;   /* positions of the sequence that are already fed and stay */
    int64_t n_predict; /* tokens at most; -1: until an end token or the context is full */
    drafter *drafter;  /* NULL: no drafts. It knows the n_past tokens before, and is told of all others */
    uint64_t index;    /* of the first token in the sampler's random stream: tokens sampled before in this sequence */
    /* Each token as it is sampled, end tokens too (is_end; then nothing follows). False: stop (the token counts as given). */
    bool (*on_token)(void *ctx, token_id token, bool is_end);
    /* Prompt progress, n_done of n_prompt rows; may be NULL. */
    void (*on_prompt)(void *ctx, size_t n_done, size_t n_prompt);
    void *ctx;
} generate_options;

typedef struct generate_result {
    generate_stop stop;
    uint32_t n_past;        /* positions fed that count: prompt and all tokens but the last */
    uint64_t n_generated;   /* tokens sampled, an end token included */
    double prompt_ms;       /* to the first token */
    double generate_ms;     /* from the first token to the last */
    uint64_t n_asked_again; /* tokens that needed all logits */
    uint64_t n_steps;       /* times that the chain was waited for after the prompt */
    uint64_t n_drafted;     /* tokens that were fed before they were sampled */
    uint64_t n_kept;        /* and then were the sample */
} generate_result;

/* prompt: n >= 1 tokens, at positions n_past ... YL_EINVAL: none, or a drafter that knows less than n_past tokens. The sampler is
 * told of every token (accept). On YL_ECANCELED result is filled in, too. */
yl_status generate(engine *e, const tokenizer *t, sampler *s, const token_id *prompt, size_t n, const generate_options *options,
                   generate_result *result, yl_error *err);

#endif
