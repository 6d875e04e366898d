/* test_top_view.c: what two answers of a coordinator say about the time between them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cjson/cJSON.h>

#include "top_view.h"

#define TEXT(s)                                                                                                                    \
    {                                                                                                                              \
        (const uint8_t *)(s), sizeof(s) - 1                                                                                        \
    }

/* Two stages, a second apart: 100 rows in 50 micro-batches that were away for 18 ms each. */
static const frame_chain_stage BEFORE[] = {
    {.name = TEXT("desk"),
     .state = FRAME_STAGE_SERVING,
     .range = {.has_embd = true, .layer_end = 10},
     .memory_bytes = 8000000000,
     .rtt_us = 340,
     .at_ms = 1000,
     .stats = {.n_frames = 10, .n_rows = 10, .compute_ns = 5000000, .queue_ns = 1000000, .bytes_in = 100, .bytes_out = 1000}},
    {.name = TEXT("attic"),
     .state = FRAME_STAGE_SERVING,
     .range = {.layer_begin = 10, .layer_end = 16, .has_head = true},
     .at_ms = 1000}};
static const frame_chain_stage AFTER[] = {{.name = TEXT("desk"),
                                           .state = FRAME_STAGE_SERVING,
                                           .range = {.has_embd = true, .layer_end = 10},
                                           .memory_bytes = 8000000000,
                                           .rtt_us = 340,
                                           .at_ms = 2000,
                                           .stats = {.n_frames = 60,
                                                     .n_rows = 110,
                                                     .compute_ns = 405000000,
                                                     .queue_ns = 101000000,
                                                     .bytes_in = 500100,
                                                     .bytes_out = 2001000,
                                                     .rss_bytes = 1500000000}},
                                          {.name = TEXT("attic"),
                                           .state = FRAME_STAGE_SERVING,
                                           .range = {.layer_begin = 10, .layer_end = 16, .has_head = true},
                                           .at_ms = 2000,
                                           .stats = {.n_frames = 50, .n_rows = 100, .compute_ns = 200000000}}};

static frame_chain moment(const frame_chain_stage *stages, uint64_t now_ms, uint64_t n_turns, uint64_t turn_ms)
{
    return (frame_chain){.now_ms = now_ms,
                         .n_ctx = 4096,
                         .n_seq = 1,
                         .n_turns = n_turns,
                         .turn_ns = turn_ms * 1000000,
                         .n_stages = 2,
                         .stages = stages};
}

static void assert_near(double got, double wanted)
{
    if (got < wanted - 1e-6 || got > wanted + 1e-6) fail_msg("%g is not %g", got, wanted);
}

static void a_row_costs_what_the_counts_grew_by(void **state)
{
    (void)state;
    frame_chain a = moment(BEFORE, 1010, 10, 100), b = moment(AFTER, 2010, 60, 1000);
    top_stage t = top_stage_between(&a, &b, 0);
    assert_true(t.is_known);
    assert_near(t.rows_per_s, 100);
    assert_near(t.compute_ms, 4);
    assert_near(t.queue_ms, 1);
    assert_near(t.idle_ms, 6);
    assert_near(t.in_bytes_s, 500000);
    assert_near(t.out_bytes_s, 2000000);
    top_chain c = top_chain_between(&a, &b);
    assert_true(c.is_known);
    assert_near(c.turns_per_s, 50);
    assert_near(c.turn_ms, 18);
    assert_near(c.wire_ms, 18 - 8 - 2 - 4);
}

static void what_began_anew_is_not_compared(void **state)
{
    (void)state;
    frame_chain a = moment(AFTER, 1010, 60, 1000), b = moment(BEFORE, 2010, 70, 1100);
    assert_false(top_stage_between(&a, &b, 0).is_known);
    assert_false(top_chain_between(&a, &b).is_known);
    assert_false(top_stage_between(NULL, &b, 0).is_known);
    assert_false(top_stage_between(&a, &a, 0).is_known);
    assert_false(top_stage_between(&a, &b, 2).is_known);
    /* A chain that does nothing has no time a row, but is known to do nothing. */
    frame_chain_stage still[] = {BEFORE[0], BEFORE[1]};
    still[0].at_ms = still[1].at_ms = 2000;
    a = moment(BEFORE, 1010, 10, 100);
    b = moment(still, 2010, 10, 100);
    top_stage t = top_stage_between(&a, &b, 0);
    assert_true(t.is_known);
    assert_near(t.rows_per_s, 0);
    assert_near(t.compute_ms, 0);
    assert_false(top_chain_between(&a, &b).is_known);
}

/* A hostile coordinator's numbers give odd figures, and nothing else. */
static void extreme_counts_do_no_harm(void **state)
{
    (void)state;
    frame_chain_stage extreme[] = {AFTER[0], {.state = FRAME_STAGE_MISSING}};
    extreme[0].at_ms = extreme[0].loaded = extreme[0].pending = extreme[0].rtt_us = UINT64_MAX;
    extreme[0].stats =
        (frame_stats){UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    frame_chain a = moment(BEFORE, 1010, 10, 100), b = moment(extreme, UINT64_MAX, UINT64_MAX, 1);
    b.turn_ns = UINT64_MAX;
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    yl_error err;
    top_print_text(f, "tcp://192.0.2.1:7620", &a, &b);
    assert_int_equal(top_print_json(f, &a, &b, &err), YL_OK);
    fclose(f);
    assert_non_null(strstr(text, "missing"));
    free(text);
}

static char *print(void (*how)(FILE *f, const frame_chain *a, const frame_chain *b), const frame_chain *a, const frame_chain *b)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    how(f, a, b);
    fclose(f);
    return text;
}

static void as_text(FILE *f, const frame_chain *a, const frame_chain *b)
{
    top_print_text(f, "tcp://192.0.2.1:7620", a, b);
}

static void as_json(FILE *f, const frame_chain *a, const frame_chain *b)
{
    yl_error err;
    assert_int_equal(top_print_json(f, a, b, &err), YL_OK);
}

static void the_table_has_it_all(void **state)
{
    (void)state;
    static const char *const WORDS[] = {"tcp://192.0.2.1:7620: 1 sequence of 4096 positions",
                                        "desk",
                                        "embedding, layers 0-9",
                                        "4.00 ms",
                                        "1.00 ms",
                                        "6.00 ms",
                                        "100.0",
                                        "500 KB/s",
                                        "2.00 MB/s",
                                        "0.34 ms",
                                        "1.50 GB of 8.00 GB",
                                        "attic",
                                        "50.0 micro-batches a second; one takes 18.00 ms, 4.00 ms"};
    frame_chain a = moment(BEFORE, 1010, 10, 100), b = moment(AFTER, 2010, 60, 1000);
    char *text = print(as_text, &a, &b);
    for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++)
        if (!strstr(text, WORDS[i])) fail_msg("no '%s' in\n%s", WORDS[i], text);
    free(text);
    frame_chain_stage loading[] = {BEFORE[0], BEFORE[1]};
    loading[0] = (frame_chain_stage){.name = TEXT("desk"), .state = FRAME_STAGE_LOADING, .loaded = 30, .weight_bytes = 120};
    b = moment(loading, 2010, 0, 0);
    b.n_standby = 2;
    text = print(as_text, NULL, &b);
    assert_non_null(strstr(text, "loading 25 %"));
    assert_non_null(strstr(text, "2 workers stand by"));
    assert_non_null(strstr(text, "nothing is being computed"));
    free(text);
}

static void json_has_it_all(void **state)
{
    (void)state;
    frame_chain a = moment(BEFORE, 1010, 10, 100), b = moment(AFTER, 2010, 60, 1000);
    char *text = print(as_json, &a, &b);
    cJSON *root = cJSON_Parse(text);
    assert_non_null(root);
    assert_near(cJSON_GetObjectItem(root, "wire_ms")->valuedouble, 4);
    cJSON *stage = cJSON_GetArrayItem(cJSON_GetObjectItem(root, "stages"), 0);
    assert_string_equal(cJSON_GetObjectItem(stage, "worker")->valuestring, "desk");
    assert_near(cJSON_GetObjectItem(stage, "compute_ms")->valuedouble, 4);
    assert_near(cJSON_GetObjectItem(stage, "n_rows")->valuedouble, 110);
    cJSON_Delete(root);
    free(text);
    text = print(as_json, NULL, &b);
    root = cJSON_Parse(text);
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(root, "turn_ms")));
    cJSON_Delete(root);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_costs_what_the_counts_grew_by),
        cmocka_unit_test(what_began_anew_is_not_compared),
        cmocka_unit_test(extreme_counts_do_no_harm),
        cmocka_unit_test(the_table_has_it_all),
        cmocka_unit_test(json_has_it_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
