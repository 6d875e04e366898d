/* sampler_internal.h: the parts of the sampler, for its own files and their tests. From one logit to the token:
 *
 *   sampler_history.c    the tokens so far, and how often each occurs
 *   sampler_dry.c        which tokens would prolong a repetition, and how long it is
 *   sampler_adjust.c     from both and the settings: whose logit changes, and to what
 *   sampler_ranking.c    checked logits become candidates in order, as far as their order is proven
 *   sampler_chain.c      candidates are cut and one is drawn; sampler_mirostat.c its other way of cutting
 *   sampler_random.c     the random numbers
 *
 * Candidates are keys of top_logits.h throughout. */
#ifndef YL_SAMPLER_INTERNAL_H
#define YL_SAMPLER_INTERNAL_H

#include "sampler.h"

/* Scratch that only grows; its content does not survive growing. */
typedef struct key_buffer {
    uint64_t *v;
    size_t capacity;
} key_buffer;

bool key_buffer_reserve(key_buffer *b, size_t n);

/* ---- random numbers ---- */

enum { DRAW_TOKEN = 0, DRAW_XTC = 1 }; /* which number of a token's own */

/* Philox4x32-10: four words from a counter of four and a key of two. */
void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* In [0, 1), of 53 bits. */
double sampler_uniform(uint64_t seed, uint64_t index, uint32_t draw);

/* ---- history ---- */

/* How often each token occurs: open addressing, linear probing, at most half full. A slot with count 0 is free. */
typedef struct token_counts {
    int32_t *tokens;  /* [n_slots] */
    uint32_t *counts; /* [n_slots] */
    size_t n_slots;   /* 0 or a power of two */
    size_t n_used;
} token_counts;

typedef struct token_history {
    int32_t *tokens; /* the newest is tokens[n - 1]; at least the newest window + SAMPLER_MAX_TAKE_BACK of them are there */
    size_t n, capacity;
    size_t window;       /* how far anyone looks back; 0: nothing is kept */
    size_t count_window; /* how far counts look back, <= window */
    token_counts counts;
} token_history;

void token_history_init(token_history *h, size_t count_window, size_t other_window);
bool token_history_copy(token_history *to, const token_history *from); /* false: no memory, and `to` is empty */
void token_history_free(token_history *h);
void token_history_clear(token_history *h);
bool token_history_push(token_history *h, int32_t token); /* false: no memory, and nothing changed */
/* Undoes a push. At most SAMPLER_MAX_TAKE_BACK times before the next one. */
void token_history_pop(token_history *h);
uint32_t token_history_count(const token_history *h, int32_t token);

/* ---- DRY ---- */

/* Token sequences by their last token, so that a lookup by the token that just went by finds those that may end there. */
typedef struct dry_breakers {
    int32_t *tokens; /* all sequences one behind the other */
    size_t *begin;   /* [n + 1] */
    size_t n;
} dry_breakers;

bool dry_breakers_init(dry_breakers *b, const int32_t *const *sequences, const size_t *lens, size_t n);
bool dry_breakers_copy(dry_breakers *to, const dry_breakers *from);
void dry_breakers_free(dry_breakers *b);

/* A token that would prolong a repetition, packed to be sorted: by token, then the longest repetition first. */
static inline uint64_t dry_hit(int32_t token, uint32_t length)
{
    return (uint64_t)(uint32_t)token << 32 | (UINT32_MAX - length);
}

static inline int32_t dry_hit_token(uint64_t hit)
{
    return (int32_t)(hit >> 32);
}

static inline uint32_t dry_hit_length(uint64_t hit)
{
    return UINT32_MAX - (uint32_t)hit;
}

/* Finds which tokens, put after tokens[n], would prolong a repetition of at least allowed_length, none of it crossing a breaker.
 * Writes hits[<= n], ascending by token, each once; returns how many. z, tmp: scratch of n. n <= INT32_MAX. */
size_t dry_find(const int32_t *tokens, size_t n, uint32_t allowed_length, const dry_breakers *b, uint32_t *z, uint64_t *hits,
                uint64_t *tmp);

/* ---- adjustments ---- */

/* What the settings say of a token whatever the history. */
typedef struct fixed_bias {
    int32_t token;
    bool never;
    double bias;
} fixed_bias;

/* One token whose logit changes. raw and adjusted belong to the row that is being sampled. */
typedef struct adjustment {
    int32_t token;
    bool never;
    double bias;
    double subtrahend; /* frequency, presence and DRY */
    bool repeated;     /* repeat_penalty applies */
    float raw, adjusted;
} adjustment;

struct sampler {
    sampler_settings settings; /* its pointers are NULL: what they held lies below */
    uint32_t n_vocab;
    size_t dry_window;
    fixed_bias *fixed; /* [n_fixed] ascending */
    size_t n_fixed;
    dry_breakers breakers;

    token_history past;
    double mu;
    bool has_sampled;      /* mirostat: what the last sample chose, */
    int32_t sampled_token; /* for accept */
    double sampled_surprise;

    bool prepared; /* the adjustments are those of the history */
    adjustment *adjustments;
    int32_t *listed; /* their tokens */
    size_t n_adjustments, adjustments_capacity;
    uint32_t *dry_z;
    size_t dry_z_capacity;
    key_buffer dry_hits, top, by_token, ranked, chosen, tmp;
};

/* The tokens of logit_bias and banned, each once, ascending. false: no memory. */
bool fixed_biases_init(fixed_bias **out, size_t *n, const sampler_settings *set);

/* Brings adjustments and listed up to date with the history. false: no memory. */
bool sampler_prepare(sampler *s);

/* Sets raw and adjusted of one adjustment. raw: finite or -infinity. */
void adjustment_apply(adjustment *a, const sampler_settings *set, float raw);

/* ---- ranking ---- */

/* Candidates in order after adjustment, as far as known. Their order is that of the whole row; tokens at -infinity are left out. */
typedef struct ranking {
    const uint64_t *keys;
    size_t n;
    bool complete; /* no candidate follows */
    const adjustment *adjustments;
    size_t n_adjustments;
    const float *row; /* all logits of the row before adjustment, or NULL */
    uint32_t n_vocab;
    float max, sum_exp; /* of the row before adjustment */
} ranking;

/* From candidates: checks all that came. *enough = false: a token that was asked for is missing. */
yl_status ranking_from_candidates(ranking *r, sampler *s, const sampler_logits *logits, bool *enough, yl_error *err);
/* From all logits: looks at the n_top largest of them. */
yl_status ranking_from_row(ranking *r, sampler *s, const sampler_logits *logits, uint32_t n_top, yl_error *err);

/* Sum over all candidates, known or not, of exp((logit - first logit) / temp), after adjustment. false: not to be had without the
 * row. r->n >= 1. The value does not depend on how many candidates are known, nor on whether the row is there. */
bool ranking_mass(const ranking *r, double temp, double *mass);

/* Where, below the first logit, a candidate lies at n_sigma standard deviations of all logits: its square. false as above. */
bool ranking_sigma_distance(const ranking *r, double n_sigma, double *distance_squared);

/* ---- cutting and drawing ---- */

/* What is still in the race. */
typedef struct candidates {
    const uint64_t *keys;
    size_t n;
    bool partial; /* others follow keys[n - 1] that are not known */
    bool whole;   /* no sampler has cut anything: the mass is ranking_mass */
} candidates;

typedef struct choice {
    int32_t token;
    double probability;
} choice;

/* Is the first candidate the answer whatever the cutting samplers do? */
bool chain_is_greedy(const sampler_settings *set);
bool xtc_is_on(const sampler_settings *set);

/* Both: false if the candidates do not prove the choice. r is the last that was made from s, r->n >= 1; !chain_is_greedy. */
bool chain_choose(sampler *s, const ranking *r, uint64_t index, choice *out);
bool mirostat_choose(const sampler *s, const ranking *r, uint64_t index, choice *out);

/* Parts that the chain and mirostat share. weight: exp((key's logit - first's) / temp). */
double candidate_weight(uint64_t key, uint64_t first, double temp);
double candidates_sum(const candidates *c, double temp);
/* Draws by u in [0, 1) from n candidates whose weights add up to total. false: the sum of all n stays at or below u * total, which
 * is left in *reached. */
bool candidates_draw(const uint64_t *keys, size_t n, double temp, double total, double u, choice *out, double *reached);

#endif
