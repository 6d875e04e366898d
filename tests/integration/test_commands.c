/* test_commands.c: every command of yllama on the model that the repository ships. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include <cjson/cJSON.h>

#include "child.h"
#include "scratch_dir.h"

#define YLLAMA YLLAMA_BIN_DIR "/yllama"
#define MODEL YLLAMA_SOURCE_DIR "/deploy/local/model/kingjames.gguf"

enum { PATIENCE_MS = 240000, MAX_ARGS = 40 };

typedef struct rig {
    scratch_dir dir;
    child child;
} rig;

static int set_up(void **state)
{
    rig *r = calloc(1, sizeof *r);
    *state = r;
    return scratch_dir_init(&r->dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    rig *r = *state;
    scratch_dir_clear(&r->dir);
    free(r);
    return 0;
}

/* Runs yllama COMMAND -m MODEL ..., the last argument NULL, and returns what it wrote. */
static const char *run(rig *r, const char *input, const char *command, ...)
{
    const char *argv[MAX_ARGS] = {YLLAMA, command, "-m", MODEL};
    va_list args;
    va_start(args, command);
    for (int i = 4; i < MAX_ARGS - 1; i++) {
        argv[i] = va_arg(args, const char *);
        if (!argv[i]) break;
    }
    va_end(args);
    assert_true(child_start(&r->child, argv, input, r->dir.path));
    bool ended = child_wait(&r->child, PATIENCE_MS);
    child_end(&r->child);
    if (!ended || r->child.exit_code != 0) fail_msg("exit code %d: %s", r->child.exit_code, r->child.err);
    return r->child.out;
}

static void tokenize_shows_pieces(void **state)
{
    const char *out = run(*state, NULL, "tokenize", "-p", "In the beginning", NULL);
    assert_non_null(strstr(out, "<|begin_of_text|>"));
    assert_non_null(strstr(out, "' the'"));
    char again[256];
    snprintf(again, sizeof again, "%s", run(*state, NULL, "tokenize", "-p", "In the beginning", "--ids", NULL));
    assert_int_equal(again[0], '[');
    assert_string_equal(run(*state, "In the beginning", "tokenize", "--ids", NULL), again); /* from a pipe */
}

static void inspect_describes_the_model(void **state)
{
    const char *out = run(*state, NULL, "inspect", NULL);
    assert_non_null(strstr(out, "llama"));
    assert_non_null(strstr(out, "Q8_0"));
    assert_int_equal(run(*state, NULL, "inspect", "--json", NULL)[0], '{');
}

static void plan_foresees_machines_and_this_one(void **state)
{
    rig *r = *state;
    const char *out = run(r, NULL, "plan", "--assume", "big=8GB:50GB/s,small=60MB:3GB/s", "-c", "256", NULL);
    assert_non_null(strstr(out, "big              embedding, layers 0-"));
    assert_non_null(strstr(out, "big alone is faster than any chain."));
    assert_int_equal(run(r, NULL, "plan", "--assume", "8GB:50GB/s", "--json", NULL)[0], '{');
    out = run(r, NULL, "plan", "--local", "2", "-c", "256", "-np", "4", NULL); /* measures */
    assert_non_null(strstr(out, "worker-1"));
    assert_non_null(strstr(out, "4 streams together"));
}

/* Exit code 1: it does not fit; 2: the question is wrong. */
static void a_plan_that_cannot_be_made_is_refused(void **state)
{
    rig *r = *state;
    static const struct {
        const char *flag, *value, *assume;
        int exit_code;
        const char *message;
    } cases[] = {
        {"-c", "2048", "1MB:50GB/s", 1, "kingjames.gguf: needs "},
        {"--layers", "A=0-0", "8GB:50GB/s", 2, "--layers: nobody has layers 1 to "},
        {"--link", "fast", "8GB:50GB/s", 2, "--link: 'fast' is not RATE,ROUNDTRIP"},
        {"--objective", "fast", "8GB:50GB/s", 2, "--objective: 'fast' is neither"},
        {"-np", "0", "8GB:50GB/s", 2, "-np: 0 is not between"},
        {"--assume", "8GB", "8GB:50GB/s", 2, "--assume: '8GB' is not MEMORY:BANDWIDTH"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *argv[] = {YLLAMA, "plan", "-m", MODEL, "--assume", cases[i].assume, cases[i].flag, cases[i].value, NULL};
        assert_true(child_start(&r->child, argv, NULL, r->dir.path));
        bool ended = child_wait(&r->child, PATIENCE_MS);
        child_end(&r->child);
        assert_true(ended);
        if (r->child.exit_code != cases[i].exit_code || !strstr(r->child.err, cases[i].message))
            fail_msg("%s %s: exit code %d: %s", cases[i].flag, cases[i].value, r->child.exit_code, r->child.err);
    }
}

static size_t read_file(const char *path, uint8_t *buf, size_t capacity)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(buf, 1, capacity, f);
    fclose(f);
    return n;
}

static void logits_are_the_same_bytes_over_any_workers(void **state)
{
    rig *r = *state;
    enum { CAPACITY = 1 << 20 };
    uint8_t *one = malloc(CAPACITY), *three = malloc(CAPACITY);
    char path[SCRATCH_PATH_BYTES];
    scratch_dir_path(&r->dir, path, "logits.f32");
    run(r, NULL, "logits", "--tokens", "1 2 3 40 50 60", "-o", path, NULL);
    size_t n = read_file(path, one, CAPACITY);
    assert_true(n > 0 && n % (6 * 4) == 0);
    run(r, NULL, "logits", "--tokens", "1 2 3 40 50 60", "-o", path, "--local", "3", "-ub", "2", NULL);
    assert_int_equal(read_file(path, three, CAPACITY), n);
    assert_memory_equal(one, three, n);
    free(one);
    free(three);
}

/* Text of the book that it was trained on is foreseen far better than noise is, and the figure depends on no worker. */
static void perplexity_tells_text_from_noise(void **state)
{
    rig *r = *state;
    char path[SCRATCH_PATH_BYTES], first[4096];
    FILE *f = fopen(scratch_dir_path(&r->dir, path, "text.txt"), "w");
    assert_non_null(f);
    for (int i = 0; i < 40; i++)
        fputs("And the LORD spake unto Moses, saying, Speak unto the children of Israel, and say unto them. ", f);
    fclose(f);
    snprintf(first, sizeof first, "%s", run(r, NULL, "perplexity", "-f", path, "-c", "64", NULL));
    assert_string_equal(run(r, NULL, "perplexity", "-f", path, "-c", "64", "--local", "2", NULL), first);
    const char *figure = strstr(first, "PPL = ");
    assert_non_null(figure);
    double text = atof(figure + 6);
    f = fopen(path, "w");
    for (int i = 0; i < 150; i++) fprintf(f, "%c%c%d", 'a' + i * 7 % 26, 'A' + i * 11 % 26, i * 13 % 97);
    fclose(f);
    double noise = atof(strstr(run(r, NULL, "perplexity", "-f", path, "-c", "64", NULL), "PPL = ") + 6);
    assert_true(text > 1 && text < 40);
    assert_true(noise > 10 * text);
}

/* A conversation without a terminal: lines in, answers out. The second answer depends on the first turn, and on no worker. */
static void chat_answers_lines(void **state)
{
    rig *r = *state;
    char both[4096];
    static const char *const LINES = "Who art thou?\nWhat sayest thou?\n";
    snprintf(both, sizeof both, "%s", run(r, LINES, "chat", "--chat-template", "chatml", "-n", "12", "--temp", "0", NULL));
    assert_string_equal(run(r, LINES, "chat", "--chat-template", "chatml", "-n", "12", "--temp", "0", "--local", "2", NULL), both);
    const char *first = run(r, "Who art thou?\n", "chat", "--chat-template", "chatml", "-n", "12", "--temp", "0", NULL);
    assert_true(strlen(first) > 10);
    assert_memory_equal(first, both, strlen(first));
    assert_true(strlen(both) > strlen(first) + 5);
}

/* A bench row by its test's name: what it says must be numbers, and fit together. */
static void check_bench_row(const cJSON *row, const char *test)
{
    assert_non_null(row);
    assert_string_equal(cJSON_GetObjectItem(row, "test")->valuestring, test);
    assert_true(cJSON_GetObjectItem(row, "n_workers")->valuedouble == 2);
    assert_true(cJSON_GetObjectItem(row, "model_bytes")->valuedouble > 1e6);
    double ms = cJSON_GetObjectItem(row, "ms")->valuedouble, memory = cJSON_GetObjectItem(row, "workers_peak_bytes")->valuedouble;
    assert_true(ms > 0 && memory > 1e6 && cJSON_GetObjectItem(row, "coordinator_peak_bytes")->valuedouble > 1e6);
    const cJSON *rate = cJSON_GetObjectItem(row, "tokens_s"), *share = cJSON_GetObjectItem(row, "share");
    if (strncmp(test, "start", 5) == 0) {
        assert_true(cJSON_IsNull(rate) && cJSON_IsNull(share));
        return;
    }
    double n = cJSON_GetObjectItem(row, "n_tokens")->valuedouble * cJSON_GetObjectItem(row, "n_parallel")->valuedouble;
    assert_true(rate->valuedouble * ms > 999.9 * n && rate->valuedouble * ms < 1000.1 * n);
    assert_true(share->valuedouble > 0 && cJSON_GetObjectItem(row, "read_4k")->valuedouble > 0);
}

#define BENCH_FLAGS "-p", "9", "-n", "3", "-d", "70", "-np", "2", "--start", "4", "-r", "1", "--local", "2", "-t", "1"

static void bench_writes_rows_that_programs_read(void **state)
{
    rig *r = *state;
    static const char *const tests[] = {"pp9 x 2 @ d70", "tg3 x 2 @ d70", "start4"};
    cJSON *all = cJSON_Parse(run(r, NULL, "bench", BENCH_FLAGS, "-o", "json", NULL));
    assert_int_equal(cJSON_GetArraySize(all), 3);
    for (int i = 0; i < 3; i++) check_bench_row(cJSON_GetArrayItem(all, i), tests[i]);
    size_t n_values = (size_t)cJSON_GetArraySize(cJSON_GetArrayItem(all, 0));
    cJSON_Delete(all);
    const char *line = run(r, NULL, "bench", BENCH_FLAGS, "-o", "jsonl", NULL);
    for (int i = 0; i < 3; i++, line = strchr(line, '\n') + 1) {
        cJSON *row = cJSON_Parse(line); /* up to the end of the object */
        check_bench_row(row, tests[i]);
        cJSON_Delete(row);
    }
    assert_int_equal(*line, 0);
    line = run(r, NULL, "bench", BENCH_FLAGS, "-o", "csv", NULL);
    for (int i = 0; i < 4; i++, line = strchr(line, '\n') + 1) { /* no value here has a comma in it */
        size_t n = 1;
        for (const char *c = line; *c != '\n'; c++) n += *c == ',';
        assert_int_equal(n, n_values);
    }
    assert_int_equal(*line, 0);
}

/* A line, a repetition, a row; then nobody asks any more. */
static void a_paced_bench_takes_turns(void **state)
{
    const char *line = run(*state, "\n\n\n", "bench", "-p", "5", "-n", "3", "-r", "2", "--paced", "-o", "jsonl", NULL);
    static const char *const tests[] = {"pp5", "pp5", "tg3"};
    for (int i = 0; i < 3; i++, line = strchr(line, '\n') + 1) {
        cJSON *row = cJSON_Parse(line);
        assert_string_equal(cJSON_GetObjectItem(row, "test")->valuestring, tests[i]);
        assert_true(cJSON_GetObjectItem(row, "n_reps")->valuedouble == 1);
        cJSON_Delete(row);
    }
    assert_int_equal(*line, 0);
}

static void bench_writes_a_table(void **state)
{
    const char *line = run(*state, NULL, "bench", BENCH_FLAGS, "-ub", "4", NULL);
    assert_non_null(strstr(line, "| pp9 x 2 @ d70, ub 4 |"));
    for (int i = 0; i < 5; i++, line = strchr(line, '\n') + 1) {
        size_t n = 0;
        for (const char *c = line; *c != '\n'; c++) n += *c == '|';
        assert_int_equal(n, 12);
    }
    assert_int_equal(*line, 0);
}

/* What the README promises of a first run. */
static void the_model_writes_words(void **state)
{
    const char *out = run(*state, NULL, "run", "-p", "And the LORD said unto", "-n", "32", "--seed", "1", "--local", "2", NULL);
    assert_memory_equal(out, "And the LORD said unto", 22);
    size_t n_words = 0;
    for (const char *c = out; *c; c++) n_words += *c == ' ';
    assert_true(n_words > 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokenize_shows_pieces),
        cmocka_unit_test(inspect_describes_the_model),
        cmocka_unit_test(plan_foresees_machines_and_this_one),
        cmocka_unit_test(a_plan_that_cannot_be_made_is_refused),
        cmocka_unit_test(logits_are_the_same_bytes_over_any_workers),
        cmocka_unit_test(perplexity_tells_text_from_noise),
        cmocka_unit_test(chat_answers_lines),
        cmocka_unit_test(bench_writes_rows_that_programs_read),
        cmocka_unit_test(a_paced_bench_takes_turns),
        cmocka_unit_test(bench_writes_a_table),
        cmocka_unit_test(the_model_writes_words),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
