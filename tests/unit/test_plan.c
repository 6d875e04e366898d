/* `yllama plan` without a model: machines as they are described, and the table that is printed of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "plan.h"
#include "plan_machines.h"

enum { N_LAYER = 32, MAX_COLUMNS = 100, OUTPUT_BYTES = 8192 };

/* ---- machines ---- */

static void machines_are_read(void **state)
{
    (void)state;
    static plan_machines m;
    yl_error err = {0};
    if (plan_machines_assume(&m, "8GB:50GB/s,desk-1=16GiB:80GB/s:200GMAC/s,512MB:3GB/s", 7, &err)) fail_msg("%s", err.msg);
    assert_int_equal(m.n, 3);
    assert_string_equal(m.nodes[0].name, "A");
    assert_string_equal(m.nodes[1].name, "desk-1");
    assert_string_equal(m.nodes[2].name, "C");
    assert_int_equal(m.nodes[0].free_bytes, 8000000000);
    assert_int_equal(m.nodes[1].free_bytes, (uint64_t)16 << 30);
    assert_int_equal(m.nodes[2].fixed_bytes, 7);
    assert_true(m.nodes[0].bytes_per_s == 50e9 && m.nodes[0].macs_per_s == 200e9 && m.nodes[1].macs_per_s == 200e9);
    assert_true(m.is_arithmetic_assumed);
    assert_int_equal(plan_machines_assume(&m, "8GB:50GB/s:1TMAC/s", 0, NULL), YL_OK);
    assert_false(m.is_arithmetic_assumed);
}

static void descriptions_that_say_something_else_are_refused(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"", "'' in '' is not a number in GB"},
        {"8GB", "'8GB' is not MEMORY:BANDWIDTH"},
        {"8GB:", "'' in '8GB:' is not a number in GB/s"},
        {"8GB:50GB", "'50GB' in '8GB:50GB'"},
        {"8:50GB/s", "'8' in '8:50GB/s'"},
        {"8GB:50GB/s:", "'' in"},
        {"8GB:50GB/s:9", "is not a number in GMAC/s"},
        {"8GB:50GB/s:9GMAC/s:1", "is not MEMORY:BANDWIDTH"},
        {"8GB:50GB/s,", "'' in ''"},
        {"=8GB:50GB/s", "'' is no name"},
        {"a b=8GB:50GB/s", "'a b' is no name"},
        {"12345678901234567=8GB:50GB/s", "is no name"},
        {"a=8GB:50GB/s,a=8GB:50GB/s", "two machines named 'a'"},
        {"B=8GB:50GB/s,8GB:50GB/s", "two machines named 'B'"},
        {"99999999TB:50GB/s", "more memory than there is"},
    };
    static plan_machines m;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        yl_error err = {0};
        assert_int_equal(plan_machines_assume(&m, bad[i][0], 0, &err), YL_EINVAL);
        if (!strstr(err.msg, bad[i][1])) fail_msg("'%s': '%s' does not say '%s'", bad[i][0], err.msg, bad[i][1]);
    }
    char text[PLACEMENT_MAX_NODES * 10 + 20] = "1GB:1GB/s";
    for (int i = 0; i < PLACEMENT_MAX_NODES - 1; i++) strcat(text, ",1GB:1GB/s");
    assert_int_equal(plan_machines_assume(&m, text, 0, NULL), YL_OK);
    assert_string_equal(m.nodes[25].name, "Z");
    assert_string_equal(m.nodes[26].name, "M27");
}

static void a_link_is_read(void **state)
{
    (void)state;
    placement_link l;
    assert_int_equal(plan_link_parse(&l, "1gbit,0.3ms", NULL), YL_OK);
    assert_true(l.bytes_per_s == 125e6 && l.rtt_ms == 0.3);
    static const char *const bad[] = {"",           "1gbit",      "1gbit,",    ",1ms",     "1ms,1gbit",
                                      "1gbit,1ms,", "1gbit, 1ms", "1GB/s,1ms", "1gbit,0ms"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (plan_link_parse(&l, bad[i], NULL) != YL_EINVAL) fail_msg("'%s' was taken", bad[i]);
}

static void the_coordinator_is_near_the_first_machine(void **state)
{
    (void)state;
    static plan_machines m;
    assert_int_equal(plan_machines_assume(&m, "1GB:1GB/s,1GB:1GB/s", 0, NULL), YL_OK);
    plan_machines_connect(&m, (placement_link){.rtt_ms = 9}, (placement_link){.rtt_ms = 1});
    assert_true(m.links[2 * 3 + 0].rtt_ms == 1 && m.links[0 * 3 + 2].rtt_ms == 1);
    assert_true(m.links[2 * 3 + 1].rtt_ms == 9 && m.links[1 * 3 + 2].rtt_ms == 9 && m.links[0 * 3 + 1].rtt_ms == 9);
}

static placement_link link_of(const plan_machines *m, uint32_t from, uint32_t to)
{
    return m->links[from * (m->n + 1) + to];
}

static void workers_that_joined_are_machines(void **state)
{
    (void)state;
    static plan_machines m;
    const plan_worker workers[] = {
        {"a", {.read_small_pages = 50e9, .dot_int8 = 400e9}, 8000000000, 7, false, 2.5},
        {"b", {.read_small_pages = 20e9, .dot_int8 = 100e9}, 4000000000, 7, false, 0.1},
        {"c", {0}, 0, 7, true, 9},                                    /* did not measure, nor knows its memory */
        {"d", {.read_small_pages = 1, .dot_int8 = 1}, 5, 7, true, 0}, /* not a computer */
    };
    plan_machines_joined(&m, workers, 3);
    assert_int_equal(m.n, 3);
    assert_string_equal(m.nodes[0].name, "a");
    assert_int_equal(m.nodes[0].free_bytes, 8000000000);
    assert_int_equal(m.nodes[1].fixed_bytes, 7);
    assert_true(m.nodes[0].bytes_per_s == 45e9 && m.nodes[0].macs_per_s == 240e9);
    assert_true(m.nodes[2].bytes_per_s == m.nodes[1].bytes_per_s && m.nodes[2].macs_per_s == m.nodes[1].macs_per_s);
    assert_int_equal(m.nodes[2].free_bytes, (uint64_t)1 << 47);
    /* Between a and b the longer round trip of theirs; a short one is as good as the usual one; c is on the coordinator's machine.
     */
    assert_true(link_of(&m, 0, 1).rtt_ms == 2.5 && link_of(&m, 1, 0).rtt_ms == 2.5 && link_of(&m, 3, 0).rtt_ms == 2.5);
    assert_true(link_of(&m, 1, 3).rtt_ms == PLAN_LINK.rtt_ms && link_of(&m, 1, 3).bytes_per_s == PLAN_LINK.bytes_per_s);
    assert_true(link_of(&m, 2, 3).rtt_ms == PLAN_NEAR_LINK.rtt_ms && link_of(&m, 2, 1).rtt_ms == 9);

    plan_machines_joined(&m, workers, 4);
    assert_true(m.nodes[3].bytes_per_s == 1e8 && m.nodes[3].macs_per_s == 1e8);
    assert_true(link_of(&m, 2, 3).rtt_ms == PLAN_NEAR_LINK.rtt_ms);

    plan_machines_joined(&m, &workers[2], 1);
    assert_true(m.nodes[0].bytes_per_s == 1e10 && m.nodes[0].macs_per_s == PLAN_MACS_A_BYTE * 1e10);
}

/* ---- what is printed ---- */

typedef struct rig {
    placement_model m;
    placement_unit layers[N_LAYER];
    plan_machines machines;
    placement placed;
    prediction predicted;
    plan plan;
    char out[OUTPUT_BYTES];
} rig;

static int set_up(void **state)
{
    rig *r = calloc(1, sizeof *r);
    *state = r;
    if (!r) return -1;
    r->m = (placement_model){.n_layer = N_LAYER,
                             .n_embd = 4096,
                             .layers = r->layers,
                             .embd = {300000000, 2304, 0},
                             .head = {430000000, 430000000, 525336576},
                             .kv_layer_bytes = 16777216,
                             .kv_row_bytes = 4096,
                             .kv_row_macs = 8192};
    for (uint32_t i = 0; i < N_LAYER; i++) r->layers[i] = (placement_unit){130000000, 130000000, 218103808};
    return 0;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

/* What a writer puts on standard output. */
static const char *printed(rig *r, yl_status (*write_plan)(const plan *, console *, yl_error *))
{
    console c = {0};
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    fflush(stdout);
    int old = dup(STDOUT_FILENO);
    assert_true(old >= 0 && dup2(fds[1], STDOUT_FILENO) >= 0);
    yl_status status = write_plan(&r->plan, &c, NULL);
    fflush(stdout);
    assert_true(dup2(old, STDOUT_FILENO) >= 0);
    close(old);
    close(fds[1]);
    size_t n = 0;
    for (ssize_t got; n < sizeof r->out - 1 && (got = read(fds[0], r->out + n, sizeof r->out - 1 - n)) > 0;) n += (size_t)got;
    close(fds[0]);
    r->out[n] = 0;
    assert_int_equal(status, YL_OK);
    return r->out;
}

static const char *plan_for(rig *r, const char *machines, const char *layers, uint32_t n_seq, placement_objective objective)
{
    yl_error err = {0};
    yl_status status = plan_machines_assume(&r->machines, machines, 50000000, &err);
    plan_machines_connect(&r->machines, (placement_link){0.3, 125e6}, (placement_link){0.04, 2e9});
    r->plan = (plan){.model_path = "m.gguf", .n_ctx = 4096, .placed = &r->placed, .predicted = &r->predicted};
    r->plan.spec = (placement_spec){.model = &r->m,
                                    .nodes = r->machines.nodes,
                                    .n_nodes = r->machines.n,
                                    .links = r->machines.links,
                                    .n_seq = n_seq,
                                    .n_past = 256,
                                    .objective = objective};
    if (!status)
        status =
            layers ? placement_parse(&r->placed, &r->plan.spec, layers, &err) : placement_find(&r->placed, &r->plan.spec, &err);
    if (status) fail_msg("%s", err.msg);
    prediction_make(&r->predicted, &r->plan.spec, &r->placed, 512);
    return printed(r, plan_write_text);
}

static void check_says(const char *out, const char *part)
{
    if (!strstr(out, part)) fail_msg("it does not say '%s':\n%s", part, out);
}

static void check_width(const char *out)
{
    for (const char *line = out; *line; line += strcspn(line, "\n") + (line[strcspn(line, "\n")] == '\n'))
        if (strcspn(line, "\n") > MAX_COLUMNS) fail_msg("too wide: %.*s", (int)strcspn(line, "\n"), line);
}

static void a_chain_is_shown_with_its_bottleneck(void **state)
{
    rig *r = *state;
    const char *out =
        plan_for(r, "laptop=3.5GB:50GB/s:200GMAC/s,desk=3GB:80GB/s:300GMAC/s,phone=60MB:9GB/s", NULL, 1, PLACEMENT_LATENCY);
    check_width(out);
    check_says(out, "32 layers, 4.89 GB of weights, 537 MB of KV cache (4096 positions x 1 sequence)\n");
    check_says(out, "embedding, layers 0-");
    check_says(out, ", head");
    check_says(out, "phone            nothing: no memory for any part (60.0 MB free, scratch takes 50.0 MB)");
    check_says(out, "coordinator -> laptop");
    check_says(out, "laptop -> desk                              0.30 ms     125 MB/s        16.5 KB      0.28 ms");
    check_says(out, "No machine holds the whole model alone.");
    check_says(out, "laptop, 54 % of the time");
    assert_null(strstr(out, "streams together"));
    assert_null(strstr(out, "alone is faster"));
}

static void one_machine_that_is_faster_alone_is_named(void **state)
{
    rig *r = *state;
    const char *out = plan_for(r, "a=8GB:50GB/s,b=8GB:80GB/s", NULL, 1, PLACEMENT_LATENCY);
    check_says(out, "b alone is faster than any chain.");
    check_says(out, "a                nothing: not faster with it (");
    check_says(out, " ms a token at best, without it ");
    out = plan_for(r, "a=8GB:50GB/s,b=100MB:80GB/s", NULL, 1, PLACEMENT_LATENCY);
    assert_null(strstr(out, "than any chain")); /* there was none */
    out = plan_for(r, "a=8GB:50GB/s,b=8GB:80GB/s", "a=0-15,b=16-31", 8, PLACEMENT_LATENCY);
    check_width(out);
    check_says(out, "b alone is faster for one stream: ");
    check_says(out, "8 streams together");
    assert_null(strstr(out, "than any chain"));
    out = plan_for(r, "a=8GB:50GB/s,b=8GB:80GB/s,c=8GB:1GB/s", "a=0-31", 1, PLACEMENT_LATENCY);
    check_says(out, "c                nothing: as asked for");
    check_says(out, "b alone is faster for a prompt: ");
    assert_null(strstr(out, "than any chain"));
}

static void the_longest_names_still_fit(void **state)
{
    rig *r = *state;
    r->plan.is_link_assumed = r->plan.is_arithmetic_assumed = true;
    const char *out = plan_for(r, "a-name-of-16-let=8GB:50GB/s,another_sixteen.=8GB:80GB/s",
                               "a-name-of-16-let=0-15,another_sixteen.=16-31", 128, PLACEMENT_THROUGHPUT);
    check_width(out);
    check_says(out, "a-name-of-16-let -> another_sixteen.");
}

static void json_holds_the_same(void **state)
{
    rig *r = *state;
    plan_for(r, "a=8GB:50GB/s,b=8GB:80GB/s", NULL, 4, PLACEMENT_THROUGHPUT);
    const char *out = printed(r, plan_write_json);
    assert_int_equal(out[0], '{');
    check_says(out, "\"objective\":\t\"throughput\"");
    check_says(out, "\"machine\":\t\"b\"");
    check_says(out, "\"tokens_per_s\":");
    check_says(out, "\"bottleneck\":");
    check_says(out, "\"layer_end\":\t32");
    check_says(out, "\"is_exact\":\ttrue");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(machines_are_read),
        cmocka_unit_test(descriptions_that_say_something_else_are_refused),
        cmocka_unit_test(a_link_is_read),
        cmocka_unit_test(the_coordinator_is_near_the_first_machine),
        cmocka_unit_test(workers_that_joined_are_machines),
        cmocka_unit_test_setup_teardown(a_chain_is_shown_with_its_bottleneck, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_machine_that_is_faster_alone_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_longest_names_still_fit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(json_holds_the_same, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
