/* options.c: flags and environment variables become fields of `options`.
 *
 * getopt_long_only does the walking: it knows which argument is the value of a flag, clusters of letters, and "--". Its habit of
 * taking any unambiguous beginning for a long name is undone here: a script that says --temp-k must not come to mean another flag
 * when one is added. Values are parsed strictly: the whole string, within the flag's range. */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "byte_size.h"
#include "drafter.h"
#include "endpoint.h"
#include "engine.h"
#include "option_table.h"

/* Where a value came from, rising: a later source replaces an earlier one. */
enum { SOURCE_DEFAULT, SOURCE_ENVIRONMENT, SOURCE_COMMAND_LINE };

enum { MAX_LONG_NAMES = OPTIONS_MAX_FLAGS * (OPTION_MAX_NAMES + 1) };

extern char **environ;

options options_defaults(command_id command)
{
    return (options){
        .command = command,
        .escape = true,
        .seed = -1,
        .sampling = sampler_default_settings(),
        .draft = "ngram",
        .draft_max = DRAFTER_DEFAULT_MAX,
        .n_predict = -1,
        .n_ctx = -1,
        .n_batch = 2048,
        .n_ubatch = 512,
        .mmap = true,
        .cache = true,
        .n_local = 1,
        .listen = "tcp://*:7620",
        .display_prompt = true,
        .n_chunks = -1,
        .bench = {.n_prompt = "512",
                  .n_gen = "128",
                  .n_start = "0",
                  .n_depth = "0",
                  .n_parallel = "1",
                  .n_batch = "2048",
                  .n_ubatch = "512",
                  .n_threads = "0",
                  .n_local = "1",
                  .type_k = "f16",
                  .type_v = "f16",
                  .n_reps = 5,
                  .warm_up = true,
                  .output = "md"},
        .n_parallel = 1,
    };
}

void options_clear(options *o)
{
    free(o->logit_bias.items);
    free(o->dry_breakers.items);
    free(o->arguments.items);
    o->logit_bias = (option_list){0};
    o->dry_breakers = (option_list){0};
    o->arguments = (option_list){0};
}

/* --- values ------------------------------------------------------------------------------------------------------------------- */

bool options_parse_integer(const char *text, int64_t *out)
{
    if (!isdigit((unsigned char)*text) && *text != '-' && *text != '+') return false;
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    *out = v;
    return !errno && end != text && !*end;
}

static bool parse_number(const char *text, double *out)
{
    if (!*text || isspace((unsigned char)*text)) return false;
    char *end;
    *out = strtod(text, &end);
    return end != text && !*end && isfinite(*out);
}

static bool parse_switch(const char *text, bool *out)
{
    static const char *const on[] = {"1", "on", "true", "yes"}, *const off[] = {"0", "off", "false", "no"};
    for (size_t i = 0; i < sizeof on / sizeof *on; i++)
        if (strcmp(text, on[i]) == 0) return *out = true, true;
    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        if (strcmp(text, off[i]) == 0) return *out = false, true;
    return false;
}

bool options_parse_logit_bias(const char *text, int32_t *token, float *bias)
{
    if (!isdigit((unsigned char)*text)) return false;
    char *end;
    errno = 0;
    long id = strtol(text, &end, 10);
    if (errno || id > INT32_MAX || (*end != '+' && *end != '-')) return false;
    *token = (int32_t)id;
    if (strcmp(end, "-inf") == 0) {
        *bias = -INFINITY;
        return true;
    }
    double v;
    if (!parse_number(end + 1, &v) || !isfinite((float)v)) return false;
    *bias = (float)(*end == '-' ? -v : v);
    return true;
}

static yl_status bad_value(const char *name, const char *text, const char *wanted, yl_error *err)
{
    return yl_fail(err, YL_EINVAL, "%s: '%s' is not %s", name, text, wanted);
}

static yl_status bad_range(const option_spec *spec, const char *name, const char *text, yl_error *err)
{
    return yl_fail(err, YL_EINVAL, "%s: %s is not between %.15g and %.15g", name, text, spec->range.min, spec->range.max);
}

static yl_status set_integer(options *o, const option_spec *spec, const char *name, const char *text, yl_error *err)
{
    int64_t v;
    if (!options_parse_integer(text, &v)) return bad_value(name, text, "a whole number", err);
    if ((double)v < spec->range.min || (double)v > spec->range.max) return bad_range(spec, name, text, err);
    void *field = (char *)o + spec->offset;
    if (spec->kind == OPTION_I64)
        *(int64_t *)field = v;
    else if (spec->kind == OPTION_U32)
        *(uint32_t *)field = (uint32_t)v;
    else
        *(int32_t *)field = (int32_t)v;
    return YL_OK;
}

static yl_status set_list(options *o, const option_spec *spec, const char *name, const char *text, bool starts_new, yl_error *err)
{
    option_list *list = (option_list *)(void *)((char *)o + spec->offset);
    int32_t token;
    float bias;
    if (list == &o->logit_bias && !options_parse_logit_bias(text, &token, &bias))
        return bad_value(name, text, "ID+BIAS or ID-BIAS, like 15043+1 or 15043-inf", err);
    if (starts_new) list->n = 0;
    const char **items = realloc(list->items, (list->n + 1) * sizeof *items);
    if (!items) return yl_fail(err, YL_ENOMEM, "no memory for %s", name);
    list->items = items;
    if (list == &o->dry_breakers && strcmp(text, "none") == 0)
        list->n = 0;
    else
        items[list->n++] = text;
    return YL_OK;
}

/* Stores a value of a flag. text is NULL for flags without one; is_negative: it was given by its second name. */
static yl_status set(options *o, const option_spec *spec, const char *name, const char *text, bool is_negative,
                     unsigned char source, yl_error *err)
{
    unsigned char *known = &o->source[spec - option_table];
    bool is_first = *known != source;
    *known = source;
    void *field = (char *)o + spec->offset;
    double v;
    switch (spec->kind) {
    case OPTION_FLAG: *(bool *)field = !is_negative; return YL_OK;
    case OPTION_COUNT: *(uint32_t *)field = is_first ? 1 : *(uint32_t *)field + 1; return YL_OK;
    case OPTION_STRING: *(const char **)field = text; return YL_OK;
    case OPTION_LIST: return set_list(o, spec, name, text, is_first, err);
    case OPTION_I32:
    case OPTION_U32:
    case OPTION_I64: return set_integer(o, spec, name, text, err);
    case OPTION_F32:
        if (!parse_number(text, &v)) return bad_value(name, text, "a number", err);
        if (v < spec->range.min || v > spec->range.max) return bad_range(spec, name, text, err);
        *(float *)field = (float)v;
        return YL_OK;
    case OPTION_SIZE:
        return byte_size_parse(text, field) ? YL_OK : bad_value(name, text, "a number of bytes, like 500M or 20G", err);
    case OPTION_KV_TYPE:
        if (!kv_type_parse(text, field)) return bad_value(name, text, "f16, f32 or q8_0", err);
        return YL_OK;
    case OPTION_WIRE:
        if (!wire_type_parse(text, field)) return bad_value(name, text, "f32, f16 or q8_0", err);
        return YL_OK;
    }
    return YL_OK;
}

static bool takes_value(const option_spec *spec)
{
    return spec->kind != OPTION_FLAG && spec->kind != OPTION_COUNT;
}

/* --- environment -------------------------------------------------------------------------------------------------------------- */

/* "YLLAMA_TOP_K" is --top-k. `variable` is what stands before '='. */
static bool is_variable_of(const char *variable, size_t n, const char *long_name)
{
    static const char prefix[] = "YLLAMA_";
    size_t n_prefix = sizeof prefix - 1;
    if (n != n_prefix + strlen(long_name) || memcmp(variable, prefix, n_prefix) != 0) return false;
    for (size_t i = n_prefix; i < n; i++) {
        char c = long_name[i - n_prefix];
        if (variable[i] != (c == '-' ? '_' : (char)toupper((unsigned char)c))) return false;
    }
    return true;
}

static yl_status set_from_variable(options *o, const option_spec *spec, const char *variable, size_t n, bool is_negative,
                                   yl_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)n, variable);
    const char *text = variable + n + 1;
    if (takes_value(spec)) return set(o, spec, name, text, false, SOURCE_ENVIRONMENT, err);
    if (spec->kind == OPTION_COUNT) {
        int64_t count;
        if (!options_parse_integer(text, &count)) return bad_value(name, text, "a whole number", err);
        if ((double)count < spec->range.min || (double)count > spec->range.max) return bad_range(spec, name, text, err);
        *(uint32_t *)(void *)((char *)o + spec->offset) = (uint32_t)count;
        o->source[spec - option_table] = SOURCE_ENVIRONMENT;
        return YL_OK;
    }
    bool is_on;
    if (!parse_switch(text, &is_on)) return bad_value(name, text, "1 or 0", err);
    return set(o, spec, name, NULL, is_on == is_negative, SOURCE_ENVIRONMENT, err);
}

static bool has_variable(const option_spec *spec, command_id command)
{
    bool is_question = spec->offset == offsetof(options, help) || spec->offset == offsetof(options, version);
    return (spec->commands & 1u << command) != 0 && !is_question;
}

static yl_status read_variable(options *o, const char *variable, yl_error *err)
{
    const char *equals = strchr(variable, '=');
    if (strncmp(variable, "YLLAMA_", 7) != 0 || !equals || !equals[1]) return YL_OK; /* an empty one counts as unset */
    size_t n = (size_t)(equals - variable);
    for (size_t i = 0; i < option_table_n; i++) {
        const option_spec *spec = &option_table[i];
        if (!has_variable(spec, o->command)) continue;
        if (spec->negative && is_variable_of(variable, n, spec->negative))
            return set_from_variable(o, spec, variable, n, true, err);
        for (size_t k = 0; k < OPTION_MAX_NAMES && spec->names[k]; k++)
            if (!option_name_is_short(spec->names[k]) && is_variable_of(variable, n, spec->names[k]))
                return set_from_variable(o, spec, variable, n, false, err);
    }
    return YL_OK;
}

/* --- command line ------------------------------------------------------------------------------------------------------------- */

/* What getopt wants to know about a command's flags. A long name's value is 256 + 2 * its place in the table, + 1 if negative. */
typedef struct name_list {
    struct option names[MAX_LONG_NAMES + 1];
    size_t n;
    char letters[2 * OPTIONS_MAX_FLAGS + 3];
} name_list;

static void add_name(name_list *l, const char *name, const option_spec *spec, bool is_negative)
{
    int value = 256 + 2 * (int)(spec - option_table) + is_negative;
    l->names[l->n++] = (struct option){name, takes_value(spec) ? required_argument : no_argument, NULL, value};
}

static void collect_names(name_list *l, command_id command)
{
    memset(l, 0, sizeof *l);
    char *letter = l->letters;
    *letter++ = '-'; /* arguments come in their order, as option 1 */
    *letter++ = ':'; /* a missing value is told apart from an unknown flag */
    for (size_t i = 0; i < option_table_n; i++) {
        const option_spec *spec = &option_table[i];
        if (!(spec->commands & 1u << command)) continue;
        for (size_t k = 0; k < OPTION_MAX_NAMES && spec->names[k]; k++) {
            if (strlen(spec->names[k]) > 1) {
                add_name(l, spec->names[k], spec, false);
                continue;
            }
            *letter++ = spec->names[k][0];
            if (takes_value(spec)) *letter++ = ':';
        }
        if (spec->negative) add_name(l, spec->negative, spec, true);
    }
}

static const option_spec *spec_of_letter(int letter, command_id command)
{
    for (size_t i = 0; i < option_table_n; i++)
        for (size_t k = 0; k < OPTION_MAX_NAMES && option_table[i].names[k]; k++) {
            const char *name = option_table[i].names[k];
            if (name[0] == letter && !name[1] && (option_table[i].commands & 1u << command)) return &option_table[i];
        }
    return NULL;
}

/* The number of edits (a letter more, less, other, or two swapped) between two short words. */
static size_t edit_distance(const char *a, const char *b)
{
    enum { MAX = 40 };
    size_t n_a = strlen(a), n_b = strlen(b);
    if (n_a >= MAX || n_b >= MAX) return MAX;
    size_t d[MAX][MAX];
    for (size_t i = 0; i <= n_a; i++) d[i][0] = i;
    for (size_t k = 0; k <= n_b; k++) d[0][k] = k;
    for (size_t i = 1; i <= n_a; i++)
        for (size_t k = 1; k <= n_b; k++) {
            size_t best = d[i - 1][k - 1] + (a[i - 1] != b[k - 1]);
            if (d[i - 1][k] + 1 < best) best = d[i - 1][k] + 1;
            if (d[i][k - 1] + 1 < best) best = d[i][k - 1] + 1;
            bool is_swap = i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1];
            if (is_swap && d[i - 2][k - 2] + 1 < best) best = d[i - 2][k - 2] + 1;
            d[i][k] = best;
        }
    return d[n_a][n_b];
}

const char *options_nearest(const char *word, const char *const *candidates, size_t n)
{
    const char *best = NULL;
    size_t best_distance = strlen(word) / 3 + 1; /* one edit in a word of two letters, more in longer ones */
    for (size_t i = 0; i < n; i++) {
        size_t n_word = strlen(word);
        size_t distance = n_word >= 3 && strncmp(candidates[i], word, n_word) == 0 ? 1 : edit_distance(word, candidates[i]);
        if (distance < best_distance || (distance == best_distance && !best)) {
            best = candidates[i];
            best_distance = distance;
        }
    }
    return best;
}

static yl_status unknown_flag(const char *typed, const name_list *l, command_id command, yl_error *err)
{
    for (size_t i = 0; i < option_table_n; i++)
        for (size_t k = 0; k < OPTION_MAX_NAMES && option_table[i].names[k]; k++)
            if (strcmp(typed + strspn(typed, "-"), option_table[i].names[k]) == 0 && !(option_table[i].commands & 1u << command))
                return yl_fail(err, YL_EINVAL, "%s is not a flag of this command", typed);
    const char *names[MAX_LONG_NAMES];
    for (size_t i = 0; i < l->n; i++) names[i] = l->names[i].name;
    char word[64];
    snprintf(word, sizeof word, "%s", typed + strspn(typed, "-"));
    word[strcspn(word, "=")] = 0;
    for (char *c = word; *c; c++)
        if (*c == '_') *c = '-';
    const char *near = strlen(word) > 1 ? options_nearest(word, names, l->n) : NULL;
    if (!near) return yl_fail(err, YL_EINVAL, "%s is not a flag", typed);
    return yl_fail(err, YL_EINVAL, "%s is not a flag: did you mean %s%s?", typed, option_name_is_short(near) ? "-" : "--", near);
}

static bool is_abbreviated(const char *typed, const char *name)
{
    typed += strspn(typed, "-");
    return strcspn(typed, "=") != strlen(name);
}

static yl_status append(option_list *list, const char *text, yl_error *err)
{
    const char **items = realloc(list->items, (list->n + 1) * sizeof *items);
    if (!items) return yl_fail(err, YL_ENOMEM, "no memory for '%s'", text);
    list->items = items;
    items[list->n++] = text;
    return YL_OK;
}

/* An argument that is no flag: the prompt; of `inspect` the model; `cache` takes several. */
static yl_status set_argument(options *o, const char *text, unsigned *n_arguments, yl_error *err)
{
    if (o->command == COMMAND_CACHE) return append(&o->arguments, text, err);
    if ((*n_arguments)++ > 0)
        return yl_fail(err, YL_EINVAL, "'%s' is one argument too many: put a text of several words in quotes", text);
    if (o->command == COMMAND_INSPECT)
        o->model = text;
    else if (o->command == COMMAND_RUN || o->command == COMMAND_TOKENIZE)
        o->prompt = text;
    else
        return yl_fail(err, YL_EINVAL, "'%s': this command takes flags only", text);
    return YL_OK;
}

static yl_status refused(int option, const char *typed, const name_list *l, const options *o, yl_error *err)
{
    if (option == ':') return yl_fail(err, YL_EINVAL, "%s needs a value", typed);
    if (optopt >= 256) return yl_fail(err, YL_EINVAL, "%s: this flag takes no value", typed);
    char letter[3] = {'-', (char)optopt, 0};
    return unknown_flag(optopt && typed[1] != '-' && strlen(typed) == 2 ? letter : typed, l, o->command, err);
}

static yl_status read_command_line(options *o, int argc, char **argv, unsigned *n_arguments, yl_error *err)
{
    name_list list;
    collect_names(&list, o->command);
    opterr = 0;
    optind = 0; /* start afresh */
    for (yl_status status = YL_OK;;) {
        const char *typed = optind == 0 ? argv[argc > 1 ? 1 : 0] : argv[optind < argc ? optind : argc - 1];
        int which = -1;
        int option = getopt_long_only(argc, argv, list.letters, list.names, &which);
        if (option == -1) break;
        if (option == '?' || option == ':') return refused(option, typed, &list, o, err);
        if (option == 1) {
            status = set_argument(o, optarg, n_arguments, err);
        } else if (option >= 256) {
            if (is_abbreviated(typed, list.names[which].name)) return unknown_flag(typed, &list, o->command, err);
            const option_spec *spec = &option_table[(option - 256) / 2];
            char name[64];
            snprintf(name, sizeof name, "%.*s", (int)strcspn(typed, "="), typed);
            status = set(o, spec, name, optarg, option % 2 == 1, SOURCE_COMMAND_LINE, err);
        } else {
            char name[3] = {'-', (char)option, 0};
            status = set(o, spec_of_letter(option, o->command), name, optarg, false, SOURCE_COMMAND_LINE, err);
        }
        if (status) return status;
    }
    for (yl_status status = YL_OK; optind < argc; optind++) { /* behind "--" */
        status = set_argument(o, argv[optind], n_arguments, err);
        if (status) return status;
    }
    return YL_OK;
}

static unsigned char source_of(const options *o, size_t offset)
{
    for (size_t i = 0; i < option_table_n; i++)
        if (option_table[i].offset == offset) return o->source[i];
    return SOURCE_DEFAULT;
}

/* A text comes from one place. What the command line names replaces what the environment named. */
static yl_status settle_text_source(options *o, unsigned n_arguments, yl_error *err)
{
    bool takes_argument = n_arguments > 0 && o->command != COMMAND_INSPECT;
    unsigned char prompt = source_of(o, offsetof(options, prompt)), file = source_of(o, offsetof(options, file)),
                  tokens = source_of(o, offsetof(options, tokens));
    bool by_p = prompt == SOURCE_COMMAND_LINE, by_f = file == SOURCE_COMMAND_LINE, by_tokens = tokens == SOURCE_COMMAND_LINE;
    if (takes_argument + by_p + by_f + by_tokens > 1)
        return yl_fail(err, YL_EINVAL, "the text is given twice: by %s and %s",
                       by_p   ? "--prompt"
                       : by_f ? "--file"
                              : "--tokens",
                       takes_argument ? "an argument"
                       : by_tokens    ? "--tokens"
                                      : "--file");
    bool is_said = takes_argument || by_p || by_f || by_tokens;
    if (is_said && !takes_argument && !by_p) o->prompt = NULL;
    if (is_said && !by_f) o->file = NULL;
    if (is_said && !by_tokens) o->tokens = NULL;
    return YL_OK;
}

/* --workers N, or a list of addresses. */
static yl_status read_workers(options *o, yl_error *err)
{
    int64_t n;
    size_t n_addresses = 0;
    if (!o->workers) return YL_OK;
    if (options_parse_integer(o->workers, &n)) {
        if (n < 1 || n > ENGINE_MAX_WORKERS)
            return yl_fail(err, YL_EINVAL, "--workers: %s is not between 1 and %d", o->workers, ENGINE_MAX_WORKERS);
        o->n_join = (uint32_t)n;
        return YL_OK;
    }
    yl_status status = endpoint_parse_list(NULL, ENGINE_MAX_WORKERS, &n_addresses, o->workers, ENDPOINT_CONTROL_PORT, err);
    if (status) yl_error_context(err, "--workers takes a number, or addresses with commas between them: ");
    o->n_join = (uint32_t)n_addresses;
    o->dial = o->workers;
    return status;
}

/* Workers are ours or they join; a key comes from one place. */
static yl_status settle_workers(options *o, yl_error *err)
{
    unsigned char join = source_of(o, offsetof(options, workers)), listen = source_of(o, offsetof(options, listen)),
                  local = source_of(o, offsetof(options, n_local)), bench = source_of(o, offsetof(options, bench.n_local)),
                  key = source_of(o, offsetof(options, key)), file = source_of(o, offsetof(options, key_file));
    if (bench > local) local = bench;
    if (join == SOURCE_COMMAND_LINE && local == SOURCE_COMMAND_LINE)
        return yl_fail(err, YL_EINVAL, "--local starts workers here, --workers waits for others to join: one of them");
    if (local == SOURCE_COMMAND_LINE) o->workers = NULL;
    yl_status status = read_workers(o, err);
    if (status) return status;
    if (listen == SOURCE_COMMAND_LINE && (!o->n_join || o->dial))
        return yl_fail(err, YL_EINVAL, "--listen is for workers that join: how many? --workers N");
    if (source_of(o, offsetof(options, layers)) == SOURCE_COMMAND_LINE && !o->n_join && o->command != COMMAND_PLAN)
        return yl_fail(err, YL_EINVAL, "--layers is for workers that join (--workers N): local ones get equal parts");
    if (source_of(o, offsetof(options, discover)) == SOURCE_COMMAND_LINE && (!o->n_join || o->dial))
        return yl_fail(err, YL_EINVAL, "--discover is for workers that look for this coordinator: how many? --workers N");
    if (key == SOURCE_COMMAND_LINE && key == file) return yl_fail(err, YL_EINVAL, "the key is given twice: --key and --key-file");
    if (file > key) o->key = NULL;
    if (key >= file) o->key_file = NULL;
    return YL_OK;
}

yl_status options_parse(options *o, command_id command, int argc, char **argv, yl_error *err)
{
    *o = options_defaults(command);
    unsigned n_arguments = 0;
    yl_status status = YL_OK;
    for (char **variable = environ; !status && *variable; variable++) status = read_variable(o, *variable, err);
    if (!status) status = read_command_line(o, argc, argv, &n_arguments, err);
    if (!status) status = settle_text_source(o, n_arguments, err);
    if (!status) status = settle_workers(o, err);
    if (status) options_clear(o);
    return status;
}
