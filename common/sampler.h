/* sampler.h: which token comes next.
 *
 * A sampler is a pure function of (logits, history, settings, seed, index of the token): the same seed gives the same text on any
 * machine, over any number of workers, after a failover, with or without speculation. Random numbers come from a counter generator
 * over (seed, index, draw); exp and log are ours (numerics.h). State (the history for penalties, mirostat's mu) advances by
 * sampler_accept only.
 *
 * The last stage sends the k largest logits, a list of ids that were asked for, and max and sum of exp over all of them, not the
 * whole vocabulary: 4 KB a token, not 513 KB. The sampler says before what it needs (sampler_needs) and after whether what it got
 * was enough to be *exactly* what the whole logits would have given; if not it says so, and the caller fetches all logits.
 *
 * Settings, order and defaults are llama.cpp's (common/common.h, common_params_sampling; src/llama-sampler.cpp): logit bias,
 * penalties, DRY, top-n-sigma, top-k, typical-p, top-p, min-p, XTC, temperature (with dynamic range); greedy at temp <= 0;
 * mirostat 1 and 2 instead of the truncating samplers. Where we differ on purpose: sums and probabilities are doubles; a token
 * whose logit is -infinity is no candidate at all; bias, penalties and DRY work with mirostat too; a temp <= 0 is greedy whatever
 * dynatemp_range says; a repetition ends at the newest complete sequence breaker, even inside a longer one (sampler_dry.c). */
#ifndef YL_SAMPLER_H
#define YL_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

typedef struct sampler_logit_bias {
    int32_t token;
    float bias; /* -INFINITY: never */
} sampler_logit_bias;

enum {
    SAMPLER_MAX_TOP = 1024,    /* sampler_needs asks for no more candidates */
    SAMPLER_MAX_LISTED = 4096, /* nor lists more tokens: beyond, all logits are asked for */
    SAMPLER_MAX_BREAKER = 64,
    SAMPLER_MAX_TAKE_BACK = 64,
    SAMPLER_MAX_VOCAB = 1 << 24
};

typedef struct sampler_settings {
    uint64_t seed;
    float temp;                                /* 0.8; <= 0: greedy */
    float dynatemp_range;                      /* 0: off */
    float dynatemp_exponent;                   /* 1 */
    int32_t top_k;                             /* 40; <= 0: all */
    float top_p;                               /* 0.95; 1: off */
    float min_p;                               /* 0.05; 0: off */
    float typical_p;                           /* 1: off */
    float top_n_sigma;                         /* -1: off */
    float xtc_probability;                     /* 0: off */
    float xtc_threshold;                       /* 0.1; > 0.5: off */
    int32_t repeat_last_n;                     /* 64; 0: off; -1, and all beyond the context: the whole context */
    float repeat_penalty;                      /* 1: off */
    float presence_penalty, frequency_penalty; /* 0: off */
    float dry_multiplier;                      /* 0: off */
    float dry_base;                            /* 1.75 */
    int32_t dry_allowed_length;                /* 2 */
    int32_t dry_penalty_last_n;                /* -1: the whole context; 0: off */
    /* [n_dry_breakers] token sequences that a repetition may not cross, each of at most SAMPLER_MAX_BREAKER tokens; borrowed. A
     * text breaker such as "\n" stands for every token that contains it, and for every way to spell it over several tokens. */
    const int32_t *const *dry_breakers;
    const size_t *dry_breaker_lens;
    size_t n_dry_breakers;
    int32_t mirostat;                     /* 0: off, 1, 2 */
    float mirostat_tau;                   /* 5 */
    float mirostat_eta;                   /* 0.1 */
    const sampler_logit_bias *logit_bias; /* [n_logit_bias], borrowed */
    size_t n_logit_bias;
    const int32_t *banned; /* [n_banned] tokens never sampled (end tokens under --ignore-eos), borrowed */
    size_t n_banned;
    size_t min_keep; /* 0; typical-p, top-p, min-p and XTC leave at least so many candidates */
} sampler_settings;

/* llama.cpp's defaults. */
sampler_settings sampler_default_settings(void);

/* YL_EINVAL: what cannot be meant, such as NaN, a probability beyond [0, 1], mirostat 3. The message names the flag as the command
 * line spells it. Whether tokens are within the vocabulary is sampler_new's to see. */
yl_status sampler_check_settings(const sampler_settings *s, yl_error *err);

typedef struct sampler_candidate {
    int32_t token;
    float logit;
} sampler_candidate;

/* What the last stage answers for one row. max and sum_exp are always given, and are the row's: as kernels.max_sum_exp computes
 * them (N10 over yl_expf). All logits and a few of them then lead to the same bits because both are weighed against these two. */
typedef struct sampler_logits {
    uint32_t n_vocab;
    const float *all;             /* [n_vocab] every logit, or NULL; -infinity: never */
    const sampler_candidate *top; /* [n_top >= 1] the largest logits, by logit descending, then id ascending (when all is NULL) */
    size_t n_top;
    const sampler_candidate *listed; /* [n_listed] the tokens asked for by sampler_needs, by id ascending; may hold others too */
    size_t n_listed;
    float max;     /* largest logit of the row */
    float sum_exp; /* sum over the row of exp(logit - max) */
} sampler_logits;

typedef struct sampler sampler;

/* n_vocab bounds token ids; n_ctx is what repeat_last_n and dry_penalty_last_n -1 stand for. Settings are copied, with what they
 * point to. YL_EINVAL as sampler_check_settings, or a token beyond n_vocab; YL_ELIMIT: more than SAMPLER_MAX_VOCAB; YL_ENOMEM. Then
 * *out is NULL. */
yl_status sampler_new(sampler **out, const sampler_settings *s, uint32_t n_vocab, uint32_t n_ctx, yl_error *err);
sampler *sampler_clone(const sampler *from); /* with its state; NULL: no memory */
void sampler_free(sampler *s);

/* What the next sample needs: how many top candidates, and which tokens besides (penalised, biased, banned). The list belongs to
 * the sampler and changes with the next accept or reset. *all: nothing less than all logits can do, or would be cheaper (then the
 * others are 0). Memory may run out here: that too is `all`, and the next sample says so. */
typedef struct sampler_request {
    bool all;
    uint32_t n_top;        /* <= SAMPLER_MAX_TOP, <= n_vocab */
    const int32_t *listed; /* ascending, each once */
    size_t n_listed;       /* <= SAMPLER_MAX_LISTED */
} sampler_request;
sampler_request sampler_needs(sampler *s);

typedef enum sampler_verdict {
    SAMPLER_ENOUGH, /* *token is exactly what all logits would have given, and *probability the same bits */
    SAMPLER_MORE    /* the candidates do not prove it: ask for all logits of this row and call again */
} sampler_verdict;

/* Chooses the token at `index` (how many tokens were generated before it in this sequence). Changes no state but scratch memory:
 * calling it twice gives the same. *probability (may be NULL): of the token among what was sampled from, 1 when greedy. With `all`
 * logits the verdict is always ENOUGH; on MORE *token and *probability are left alone. Any other number of candidates than
 * sampler_needs named may be given: too few give MORE. YL_EFORMAT: logits that are NaN or +infinity or not in order, ids beyond
 * n_vocab or twice, max and sum_exp that contradict them. YL_EINVAL: no token is left, all are banned or at -infinity. YL_ENOMEM.
 */
yl_status sampler_sample(sampler *s, const sampler_logits *logits, uint64_t index, int32_t *token, float *probability,
                         sampler_verdict *verdict, yl_error *err);

/* Tells that a token of the prompt or of the answer is now part of the history. A sampled token that is the last sample's moves
 * mirostat's mu too. YL_EINVAL: a token beyond n_vocab; YL_ENOMEM; then nothing changed. */
yl_status sampler_accept(sampler *s, int32_t token, bool sampled, yl_error *err);

/* Takes the last n tokens back, n <= SAMPLER_MAX_TAKE_BACK, all of them accepted with `sampled` false since the last one that was
 * sampled: as if they had never been. So sampler_needs can be asked about samples that lie ahead. */
void sampler_take_back(sampler *s, size_t n);

/* Forgets history and state, keeps settings and memory. */
void sampler_reset(sampler *s);

#endif
