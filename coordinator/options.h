/* options.h: what the command line and the environment ask for.
 *
 * Flags are a table (option_table.c): their names, what value they take, where it goes, which commands know them, and what help
 * says of them. Parsing, the environment and help all walk that table, so a flag is described once. Names and defaults are
 * llama.cpp's (https://github.com/ggml-org/llama.cpp, common/arg.cpp and common/common.h) where llama.cpp has such a flag.
 *
 * Every flag is also an environment variable, YLLAMA_ and its long name in capitals: --top-k 20 is YLLAMA_TOP_K=20. The command
 * line wins. */
#ifndef YL_OPTIONS_H
#define YL_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "kernels.h"
#include "sampler.h"
#include "status.h"
#include "wire.h"

typedef enum command_id {
    COMMAND_RUN,
    COMMAND_CHAT,
    COMMAND_TOKENIZE,
    COMMAND_INSPECT,
    COMMAND_LOGITS,
    COMMAND_PERPLEXITY,
    COMMAND_CACHE,
    COMMAND_BENCH,
    COMMAND_PLAN,
    COMMAND_KEYGEN,
    COMMAND_TOP,
    COMMAND_END
} command_id;

enum { OPTIONS_MAX_FLAGS = 112 };

/* Values of a flag that may be given again and again. Strings belong to argv or the environment. */
typedef struct option_list {
    const char **items;
    size_t n;
} option_list;

/* What `yllama bench` is to measure: values separated by commas, each. bench_plan.c takes them apart. */
typedef struct bench_options {
    const char *n_prompt, *n_gen, *n_start, *n_depth, *n_parallel;
    const char *n_batch, *n_ubatch, *n_threads, *n_local, *type_k, *type_v, *isa;
    uint32_t n_reps;
    bool warm_up, is_paced;
    const char *output; /* "md", "csv", "json", "jsonl" */
} bench_options;

typedef struct options {
    command_id command;

    const char *model;
    const char *prompt; /* -p or, for commands that take one, the argument without a flag; NULL: none */
    const char *file;
    const char *system_prompt;
    const char *chat_template;
    bool escape;

    int64_t seed;              /* -1: a random one */
    sampler_settings sampling; /* its seed, breakers, biases and banned tokens are filled in by session_new_sampler */
    bool ignore_eos;
    option_list logit_bias;   /* "ID+BIAS", checked */
    option_list dry_breakers; /* n 0 and items not NULL: none at all; items NULL: the default ones */

    const char *draft;  /* "ngram" or "none" */
    uint32_t draft_max; /* tokens of a draft */

    int32_t n_predict;
    int32_t n_ctx; /* -1: not said; 0: the model's own */
    uint32_t n_batch, n_ubatch;
    int32_t n_threads; /* <= 0: cores / n_local */
    kv_type type_k, type_v;
    wire_type wire;
    bool mmap, mlock, cache;
    const char *cache_dir; /* NULL: the default (tile_cache_open) */
    uint64_t cache_size;   /* bytes; 0: the default */

    uint32_t n_local;
    const char *workers; /* of other machines: how many come, or the addresses of those that are called; NULL: local ones */
    uint32_t n_join;     /* how many that is; 0: local ones */
    const char *dial;    /* the addresses, or NULL */
    const char *listen, *key, *key_file;
    uint32_t result_port;
    bool discover;
    bool is_insecure;
    const char *layers; /* who gets which (placement_parse), or "even"; NULL: not said */
    const char *worker_program;
    bool stream_weights;
    const char *isa;
    bool pin;
    float timeout_s; /* 0: the engine's default */

    bool special;
    bool display_prompt;
    uint32_t verbose; /* how often -v was given */
    const char *log_file;

    bool ids, show_count, no_bos, no_parse_special; /* tokenize */
    bool json, tensors, show_template;              /* inspect */
    const char *tokens;                             /* logits: "1 2 3" */
    const char *output;
    int32_t n_chunks; /* perplexity; -1: all */
    bench_options bench;

    option_list arguments; /* cache: what is not a flag, in order */
    bool all;

    const char *assume, *link, *objective; /* plan; NULL: not said */
    uint32_t n_parallel;

    const char *connect; /* top; NULL: this machine's only coordinator */
    float interval_s;    /* 0: the default */
    bool once;

    bool help, version;

    /* Where each flag's value came from, by its place in the table. */
    unsigned char source[OPTIONS_MAX_FLAGS];
} options;

/* What the defaults are before anything was said. */
options options_defaults(command_id command);

/* Reads environ and argv[1 ...] (argv[0] is the command's name) into *o. Strings stay where they are. Release with options_clear.
 * YL_EINVAL: an unknown flag (the message says which one may be meant), a value that is not what the flag takes, an argument too
 * many. With --help or --version what is missing is not complained of. */
yl_status options_parse(options *o, command_id command, int argc, char **argv, yl_error *err);
void options_clear(options *o);

/* A flag with a value of ID(+/-)BIAS, taken apart. False: it is not of that form, or the bias is not finite (-inf may be). */
bool options_parse_logit_bias(const char *text, int32_t *token, float *bias);

/* Writes the flags that a command takes, grouped, each with what it does and its default; at most 100 columns wide. */
void options_print_flags(FILE *f, command_id command);

/* A number as flags take it: the whole text, nothing behind it. False: it is none. */
bool options_parse_integer(const char *text, int64_t *out);

/* The candidate most like `word`, or NULL when none is near enough to be what was meant. */
const char *options_nearest(const char *word, const char *const *candidates, size_t n);

#endif
