/* sequence_breakers.h: which tokens end a repetition, for the DRY sampler.
 *
 * A user names texts ("\n", ":"), the sampler compares tokens. A text may be part of one token, or begin at the end of one token
 * and go on in the next ones. So each text becomes a set of token sequences: every token that contains it, and every token that
 * ends with its beginning, followed by the tokens of its rest. As llama.cpp does it (src/llama-sampling.cpp,
 * get_overlapping_token_sequences). */
#ifndef YL_SEQUENCE_BREAKERS_H
#define YL_SEQUENCE_BREAKERS_H

#include "options.h"
#include "tokenizer.h"

typedef struct sequence_breakers {
    const int32_t **sequences; /* [n] */
    size_t *lens;              /* [n] */
    size_t n;
    token_list tokens; /* what the sequences point into */
} sequence_breakers;

/* texts->items NULL: llama.cpp's default breakers. With `escape`, escapes in texts are replaced first. YL_ENOMEM. */
yl_status sequence_breakers_find(sequence_breakers *out, const tokenizer *t, const option_list *texts, bool escape, yl_error *err);
void sequence_breakers_clear(sequence_breakers *b);

#endif
