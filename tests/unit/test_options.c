/* Flags: llama.cpp's spellings are understood, whatever is not one is refused with a hint, the command line wins. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "option_table.h"
#include "options.h"

/* Parses a command line of the command; the words end at NULL. */
static yl_status parse(options *o, command_id command, yl_error *err, const char *const *words)
{
    static char *argv[64];
    int argc = 0;
    argv[argc++] = (char *)"command";
    for (; *words; words++) argv[argc++] = (char *)*words;
    argv[argc] = NULL;
    return options_parse(o, command, argc, argv, err);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void check(options *o, command_id command, const char *const *words)
{
    yl_error err = {0};
    if (parse(o, command, &err, words)) fail_msg("%s", err.msg);
}

static void check_refused(command_id command, const char *const *words, const char *part)
{
    options o;
    yl_error err = {0};
    assert_int_equal(parse(&o, command, &err, words), YL_EINVAL);
    if (!strstr(err.msg, part)) fail_msg("'%s' does not say '%s'", err.msg, part);
}

static void defaults_are_llama_cpps(void **state)
{
    (void)state;
    options o;
    check(&o, COMMAND_RUN, WORDS("-m", "x"));
    assert_int_equal(o.n_predict, -1);
    assert_int_equal(o.n_batch, 2048);
    assert_int_equal(o.n_ubatch, 512);
    assert_int_equal(o.seed, -1);
    assert_int_equal(o.sampling.top_k, 40);
    assert_true(o.sampling.temp == 0.8f && o.sampling.top_p == 0.95f && o.sampling.min_p == 0.05f);
    assert_true(o.escape && o.mmap && o.cache && !o.mlock && o.display_prompt);
    assert_int_equal(o.type_k, KV_F16);
}

static void the_weight_cache_has_its_flags(void **state)
{
    (void)state;
    options o;
    check(&o, COMMAND_RUN, WORDS("-m", "x", "--no-cache", "--cache-dir", "/somewhere", "--cache-size", "20G"));
    assert_false(o.cache);
    assert_string_equal(o.cache_dir, "/somewhere");
    assert_int_equal(o.cache_size, (uint64_t)20 << 30);
    options_clear(&o);
    check(&o, COMMAND_CACHE, WORDS("rm", "--cache-dir", "x", "a", "b", "--all"));
    assert_int_equal(o.arguments.n, 3);
    assert_string_equal(o.arguments.items[0], "rm");
    assert_string_equal(o.arguments.items[2], "b");
    assert_true(o.all);
    options_clear(&o);
}

static void short_long_and_customary_names_are_understood(void **state)
{
    (void)state;
    options o;
    check(&o, COMMAND_RUN,
          WORDS("-mx.gguf", "-n", "-1", "--n-predict", "7", "-ub", "64", "-ctk", "q8_0", "--cache-type-v=f32", "-sp", "-s", "42",
                "--temp=0", "--top-nsigma", "1.5", "--no-mmap", "--no-escape", "-w", "3", "-vv", "-t4", "Hello"));
    assert_string_equal(o.model, "x.gguf");
    assert_int_equal(o.n_predict, 7);
    assert_int_equal(o.n_ubatch, 64);
    assert_int_equal(o.type_k, KV_Q8_0);
    assert_int_equal(o.type_v, KV_F32);
    assert_true(o.special && !o.mmap && !o.escape);
    assert_int_equal(o.seed, 42);
    assert_true(o.sampling.temp == 0 && o.sampling.top_n_sigma == 1.5f);
    assert_int_equal(o.n_local, 3);
    assert_int_equal(o.verbose, 2);
    assert_int_equal(o.n_threads, 4);
    assert_string_equal(o.prompt, "Hello");
    check(&o, COMMAND_CHAT, WORDS("-m", "x", "-sys", "Be brief."));
    assert_string_equal(o.system_prompt, "Be brief.");
}

static void a_value_may_look_like_a_flag(void **state)
{
    (void)state;
    options o;
    check(&o, COMMAND_RUN, WORDS("-p", "-sp", "-m", "--model"));
    assert_string_equal(o.prompt, "-sp");
    assert_string_equal(o.model, "--model");
    assert_false(o.special);
    check(&o, COMMAND_RUN, WORDS("-m", "x", "--", "-n"));
    assert_string_equal(o.prompt, "-n");
}

static void unknown_flags_get_a_hint(void **state)
{
    (void)state;
    check_refused(COMMAND_RUN, WORDS("--tmep", "1"), "--tmep is not a flag: did you mean --temp?");
    check_refused(COMMAND_RUN, WORDS("--top_k", "1"), "did you mean --top-k?");
    check_refused(COMMAND_RUN, WORDS("--top_k=1"), "did you mean --top-k?");
    check_refused(COMMAND_RUN, WORDS("--contxt-size", "1"), "--contxt-size is not a flag");
    check_refused(COMMAND_RUN, WORDS("-ubb", "1"), "did you mean -ub?");
    check_refused(COMMAND_RUN, WORDS("-Z"), "-Z is not a flag");
    check_refused(COMMAND_RUN, WORDS("--frobnicate"), "--frobnicate is not a flag");
    check_refused(COMMAND_TOKENIZE, WORDS("--temp", "1"), "--temp is not a flag of this command");
    check_refused(COMMAND_RUN, WORDS("--ids"), "--ids is not a flag of this command");
}

static void the_beginning_of_a_name_is_not_the_name(void **state)
{
    (void)state;
    check_refused(COMMAND_RUN, WORDS("--mod", "x"), "did you mean --model?");
    check_refused(COMMAND_RUN, WORDS("--no-displ"), "did you mean --no-display-prompt?");
    check_refused(COMMAND_RUN, WORDS("--mod=x"), "did you mean --model?");
}

static void values_are_parsed_whole_and_within_their_range(void **state)
{
    (void)state;
    check_refused(COMMAND_RUN, WORDS("-n", "12x"), "-n: '12x' is not a whole number");
    check_refused(COMMAND_RUN, WORDS("-n", ""), "is not a whole number");
    check_refused(COMMAND_RUN, WORDS("-n", " 1"), "is not a whole number");
    check_refused(COMMAND_RUN, WORDS("-n", "99999999999999999999"), "is not a whole number");
    check_refused(COMMAND_RUN, WORDS("-n", "-3"), "-n: -3 is not between -2 and 2147483647");
    check_refused(COMMAND_RUN, WORDS("--temp", "nan"), "--temp: 'nan' is not a number");
    check_refused(COMMAND_RUN, WORDS("--temp=1e"), "--temp: '1e' is not a number");
    check_refused(COMMAND_RUN, WORDS("--top-p", "1.5"), "--top-p: 1.5 is not between 0 and 1");
    check_refused(COMMAND_RUN, WORDS("-ub", "0"), "-ub: 0 is not between 1 and 2048");
    check_refused(COMMAND_RUN, WORDS("-ctk", "q4_0"), "is not f16, f32 or q8_0");
    check_refused(COMMAND_RUN, WORDS("--wire", "q4_0"), "is not f32, f16 or q8_0");
    check_refused(COMMAND_RUN, WORDS("-m"), "-m needs a value");
    check_refused(COMMAND_RUN, WORDS("-p", "x", "--model"), "--model needs a value");
    check_refused(COMMAND_RUN, WORDS("--cache-size", "much"), "a number of bytes");
    check_refused(COMMAND_CACHE, WORDS("ls", "-t", "2"), "not a flag of this command");
    check_refused(COMMAND_RUN, WORDS("--mlock=1"), "takes no value");
}

static void arguments_without_a_flag_are_few(void **state)
{
    (void)state;
    options o;
    check(&o, COMMAND_INSPECT, WORDS("m.gguf", "--json"));
    assert_string_equal(o.model, "m.gguf");
    assert_null(o.prompt);
    check_refused(COMMAND_RUN, WORDS("-m", "x", "two", "words"), "'words' is one argument too many");
    check_refused(COMMAND_PERPLEXITY, WORDS("x"), "takes flags only");
    check_refused(COMMAND_RUN, WORDS("-p", "a", "b"), "given twice");
    check_refused(COMMAND_RUN, WORDS("-p", "a", "-f", "b"), "given twice");
    check_refused(COMMAND_LOGITS, WORDS("-p", "a", "--tokens", "1"), "given twice");
}

static void the_environment_is_read_and_the_command_line_wins(void **state)
{
    (void)state;
    options o;
    setenv("YLLAMA_TOP_K", "20", 1);
    setenv("YLLAMA_CTX_SIZE", "128", 1);
    setenv("YLLAMA_MMAP", "on", 1);
    setenv("YLLAMA_NO_DISPLAY_PROMPT", "1", 1);
    setenv("YLLAMA_N_PREDICT", "5", 1);
    setenv("YLLAMA_PROMPT", "from the environment", 1);
    setenv("YLLAMA_LOGIT_BIAS", "7-inf", 1);
    setenv("YLLAMA_VERBOSE", "2", 1);
    setenv("YLLAMA_SEED", "", 1);
    check(&o, COMMAND_RUN, WORDS("-m", "x"));
    assert_int_equal(o.sampling.top_k, 20);
    assert_int_equal(o.n_ctx, 128);
    assert_true(o.mmap);
    assert_false(o.display_prompt);
    assert_int_equal(o.n_predict, 5);
    assert_string_equal(o.prompt, "from the environment");
    assert_int_equal(o.logit_bias.n, 1);
    assert_int_equal(o.verbose, 2);
    assert_int_equal(o.seed, -1);
    options_clear(&o);

    check(&o, COMMAND_RUN, WORDS("-m", "x", "--top-k", "3", "--no-mmap", "-l", "1+1", "-l", "2-1.5", "-f", "file", "-v"));
    assert_int_equal(o.sampling.top_k, 3);
    assert_false(o.mmap);
    assert_int_equal(o.logit_bias.n, 2);
    assert_string_equal(o.logit_bias.items[0], "1+1");
    assert_null(o.prompt);
    assert_string_equal(o.file, "file");
    assert_int_equal(o.verbose, 1);
    options_clear(&o);

    check(&o, COMMAND_TOKENIZE, WORDS("-m", "x", "text")); /* YLLAMA_TOP_K is none of its business */
    assert_string_equal(o.prompt, "text");
    options_clear(&o);

    setenv("YLLAMA_TOP_K", "many", 1);
    check_refused(COMMAND_RUN, WORDS("-m", "x"), "YLLAMA_TOP_K: 'many' is not a whole number");
    static const char *const names[] = {"TOP_K",      "CTX_SIZE", "MMAP", "NO_DISPLAY_PROMPT", "N_PREDICT", "PROMPT",
                                        "LOGIT_BIAS", "VERBOSE",  "SEED"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char variable[64];
        snprintf(variable, sizeof variable, "YLLAMA_%s", names[i]);
        unsetenv(variable);
    }
}

static void sequence_breakers_replace_the_default_ones(void **state)
{
    (void)state;
    options o;
    check(&o, COMMAND_RUN, WORDS("-m", "x"));
    assert_null(o.dry_breakers.items);
    check(&o, COMMAND_RUN, WORDS("--dry-sequence-breaker", ".", "--dry-sequence-breaker", "!"));
    assert_int_equal(o.dry_breakers.n, 2);
    options_clear(&o);
    check(&o, COMMAND_RUN, WORDS("--dry-sequence-breaker", "none"));
    assert_int_equal(o.dry_breakers.n, 0);
    assert_non_null(o.dry_breakers.items);
    options_clear(&o);
}

static void logit_biases_have_one_form(void **state)
{
    (void)state;
    int32_t token;
    float bias;
    assert_true(options_parse_logit_bias("15043+1", &token, &bias));
    assert_true(token == 15043 && bias == 1);
    assert_true(options_parse_logit_bias("15043-0.5", &token, &bias));
    assert_true(bias == -0.5f);
    assert_true(options_parse_logit_bias("1-inf", &token, &bias));
    assert_true(isinf(bias) && bias < 0);
    static const char *const bad[] = {"",     "x",     "1",     "1+", "1+x", "1+inf", "-1+1", "+1", "1*2", "99999999999+1",
                                      "1+1x", "1-nan", "1+1e99"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (options_parse_logit_bias(bad[i], &token, &bias)) fail_msg("'%s' was taken", bad[i]);
    check_refused(COMMAND_RUN, WORDS("-l", "x"), "is not ID+BIAS");
}

/* Help is for reading in a terminal: no line is too wide, every flag of the command is there, once. */
static void help_fits_and_names_every_flag(void **state)
{
    (void)state;
    for (command_id command = 0; command < COMMAND_END; command++) {
        char *text = NULL;
        size_t n = 0;
        FILE *f = open_memstream(&text, &n);
        assert_non_null(f);
        options_print_flags(f, command);
        fclose(f);
        for (const char *line = text; *line; line += strcspn(line, "\n") + (line[strcspn(line, "\n")] == '\n'))
            if (strcspn(line, "\n") > 100) fail_msg("too wide: %.*s", (int)strcspn(line, "\n"), line);
        for (size_t i = 0; i < option_table_n; i++) {
            char name[64];
            snprintf(name, sizeof name, "--%s", option_long_name(&option_table[i]));
            if (option_table[i].commands & 1u << command) assert_non_null(strstr(text, name));
        }
        free(text);
    }
}

/* No two flags of a command share a name. */
static void names_are_unique(void **state)
{
    (void)state;
    for (size_t a = 0; a < option_table_n; a++)
        for (size_t b = a; b < option_table_n; b++)
            for (size_t i = 0; i < OPTION_MAX_NAMES && option_table[a].names[i]; i++)
                for (size_t k = 0; k < OPTION_MAX_NAMES && option_table[b].names[k]; k++)
                    if ((a != b || i != k) && (option_table[a].commands & option_table[b].commands) &&
                        strcmp(option_table[a].names[i], option_table[b].names[k]) == 0)
                        fail_msg("%s is there twice", option_table[a].names[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_llama_cpps),
        cmocka_unit_test(the_weight_cache_has_its_flags),
        cmocka_unit_test(short_long_and_customary_names_are_understood),
        cmocka_unit_test(a_value_may_look_like_a_flag),
        cmocka_unit_test(unknown_flags_get_a_hint),
        cmocka_unit_test(the_beginning_of_a_name_is_not_the_name),
        cmocka_unit_test(values_are_parsed_whole_and_within_their_range),
        cmocka_unit_test(arguments_without_a_flag_are_few),
        cmocka_unit_test(the_environment_is_read_and_the_command_line_wins),
        cmocka_unit_test(sequence_breakers_replace_the_default_ones),
        cmocka_unit_test(logit_biases_have_one_form),
        cmocka_unit_test(help_fits_and_names_every_flag),
        cmocka_unit_test(names_are_unique),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
