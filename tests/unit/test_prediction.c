/* Predictions against figures worked out by hand, on machines with round numbers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "prediction.h"

enum { MAX_NODES = 3, N_LAYER = 8 };

/* Layers of 1 MB and 1 M multiply-adds, a head like a layer; machines of 1 GB/s and 1 G/s: a layer takes 1 ms a row. */
typedef struct rig {
    placement_model m;
    placement_unit layers[N_LAYER];
    placement_node nodes[MAX_NODES];
    placement_link links[(MAX_NODES + 1) * (MAX_NODES + 1)];
    placement_spec spec;
    placement placed;
    prediction p;
} rig;

/* Links of 1 GB/s, so that 1,000 bytes take 1 us. */
static void make_rig(rig *r, uint32_t n_nodes, uint32_t n_seq)
{
    static const char *const names[] = {"a", "b", "c"};
    *r = (rig){.m = {.n_layer = N_LAYER, .n_embd = 250, .embd = {.memory_bytes = 1000000, .read_bytes = 0}}};
    for (uint32_t i = 0; i < N_LAYER; i++) r->layers[i] = (placement_unit){1000000, 1000000, 1000000};
    r->m.head = r->layers[0];
    r->m.layers = r->layers;
    r->m.kv_layer_bytes = 1000;
    for (uint32_t i = 0; i < n_nodes; i++)
        r->nodes[i] =
            (placement_node){.name = names[i], .bytes_per_s = 1e9, .macs_per_s = 1e9, .free_bytes = 100000000, .fixed_bytes = 5000};
    for (uint32_t i = 0; i < (n_nodes + 1) * (n_nodes + 1); i++) r->links[i] = (placement_link){.bytes_per_s = 1e9};
    r->spec = (placement_spec){.model = &r->m, .nodes = r->nodes, .n_nodes = n_nodes, .links = r->links, .n_seq = n_seq};
}

static void predict(rig *r, const char *layers)
{
    yl_error err;
    if (placement_parse(&r->placed, &r->spec, layers, &err)) fail_msg("%s", err.msg);
    prediction_make(&r->p, &r->spec, &r->placed, 512);
}

static void check(double v, double expected)
{
    if (fabs(v - expected) > 1e-9 * fabs(expected)) fail_msg("%.12g, expected %.12g", v, expected);
}

/* 8 layers and a head, 132 bytes there, 4224 back. */
static void one_machine_is_a_sum(void **state)
{
    (void)state;
    rig r;
    make_rig(&r, 1, 4);
    predict(&r, "a=0-7");
    assert_int_equal(r.p.n_stages, 1);
    check(r.p.stages[0].decode_ms, 9);
    assert_int_equal(r.p.stages[0].weight_bytes, 10000000);
    assert_int_equal(r.p.stages[0].kv_bytes, 8000);
    check(r.p.links[0].token_bytes, 132);
    check(r.p.links[1].token_bytes, 4224);
    check(r.p.one.tokens_per_s, 1000 / (9 + 0.000132 + 0.004224));
    check(r.p.one.bottleneck.share, 9 / (9 + 0.000132 + 0.004224));
    assert_int_equal(r.p.one.bottleneck.part, PREDICTION_STAGE);
    /* Four rows at once are bound by arithmetic: 36 ms. */
    check(r.p.many.tokens_per_s, 4000 / (36 + 0.000144 + 0.016512));
    /* 512 rows at once, then the head for the last one. */
    assert_int_equal(r.p.prefill_rows, 512);
    check(r.p.prefill.tokens_per_s, 512000 / (512 * 8 + 1 + 0.002176 + 0.000128));
    assert_int_equal(r.p.alone_one.node, 0);
    check(r.p.alone_one.tokens_per_s, r.p.one.tokens_per_s);
}

static void two_machines_overlap_only_where_there_is_more_than_one_token(void **state)
{
    (void)state;
    rig r;
    make_rig(&r, 2, 4);
    predict(&r, "a=0-3,b=4-7");
    double links = 0.000132 + 0.001128 + 0.004224;
    check(r.p.one.tokens_per_s, 1000 / (9 + links));
    check(r.p.many.tokens_per_s, 4000 / (2 * 10)); /* two groups of two rows; b is busy for 5 ms a row */
    assert_int_equal(r.p.many.bottleneck.index, 1);
    check(r.p.many.bottleneck.share, 1);
    /* 32 pieces of 16 rows: 128 ms a piece and machine... the finest is best where pieces cost nothing of their own. */
    assert_int_equal(r.p.prefill_rows, 16);
    double prefill = 512000 / r.p.prefill.tokens_per_s;
    assert_true(prefill > 33 * 64 && prefill < 33 * 64 + 2);
    assert_int_equal(r.p.alone_one.node, 0); /* both are as good, the first is named */
    assert_true(r.p.alone_one.tokens_per_s > r.p.one.tokens_per_s);
    assert_true(r.p.alone_many.tokens_per_s < r.p.many.tokens_per_s);
}

static void a_slow_link_is_the_bottleneck(void **state)
{
    (void)state;
    rig r;
    make_rig(&r, 2, 8);
    r.links[0 * 3 + 1] = (placement_link){.rtt_ms = 50, .bytes_per_s = 1e9}; /* a to b */
    predict(&r, "a=0-3,b=4-7");
    assert_int_equal(r.p.one.bottleneck.part, PREDICTION_LINK);
    assert_int_equal(r.p.one.bottleneck.index, 1);
    check(r.p.one.tokens_per_s, 1000 / (9 + 25 + 0.000132 + 0.001128 + 0.004224));
    /* A group of four rows: 16 + 20 ms and the link, a round trip that two groups of 20 ms do not fill. */
    check(r.p.many.tokens_per_s, 8000 / (36 + 25 + 0.000144 + 0.004128 + 0.016512));
    r.links[0 * 3 + 1] = (placement_link){.bytes_per_s = 1e4};
    predict(&r, "a=0-3,b=4-7");
    assert_int_equal(r.p.many.bottleneck.part, PREDICTION_LINK);
    assert_int_equal(r.p.prefill.bottleneck.part, PREDICTION_LINK);
    check(r.p.many.tokens_per_s, 8000 / (2 * 412.8)); /* 128 + 4 * 1000 bytes, twice a round */
    r.spec.wire = WIRE_F16;
    predict(&r, "a=0-3,b=4-7");
    check(r.p.many.tokens_per_s, 8000 / (2 * 212.8));
}

/* More machines than streams: the rest idles. */
static void one_stream_keeps_one_machine_busy(void **state)
{
    (void)state;
    rig r;
    make_rig(&r, 3, 1);
    predict(&r, "a=0-2,b=3-5,c=6-7");
    check(r.p.many.tokens_per_s, r.p.one.tokens_per_s);
    r.spec.n_seq = 2;
    predict(&r, "a=0-2,b=3-5,c=6-7");
    check(r.p.many.tokens_per_s, 2 * r.p.one.tokens_per_s);
}

static void workers_of_one_host_share_its_memory(void **state)
{
    (void)state;
    rig r;
    make_rig(&r, 2, 2);
    for (uint32_t i = 0; i < N_LAYER; i++) r.layers[i].macs = 1;
    r.m.head.macs = 1;
    predict(&r, "a=0-3,b=4-7");
    check(r.p.many.tokens_per_s, 2000 / (2 * 5.0));
    double apart = r.p.one.tokens_per_s;
    for (uint32_t i = 0; i < 2; i++) {
        r.nodes[i].host = 7;
        r.nodes[i].host_bytes_per_s = 1.2e9;
    }
    predict(&r, "a=0-3,b=4-7");
    check(r.p.many.tokens_per_s, 2000 / (2 * 9 / 1.2)); /* nine units of 1 MB a group */
    assert_int_equal(r.p.many.bottleneck.part, PREDICTION_HOST);
    check(r.p.one.tokens_per_s, apart); /* they take turns */
    r.nodes[1].host_bytes_per_s = 0;
    assert_int_equal(placement_check(&r.spec, NULL), YL_EINVAL);
}

static void measured_times_are_used_as_they_are(void **state)
{
    (void)state;
    rig r;
    make_rig(&r, 1, 8);
    r.nodes[0] = (placement_node){.name = "a", .layer_ms = {2, 4, 32}, .head_ms = {3, 6, 24}, .free_bytes = 100000000};
    r.layers[7] = (placement_unit){2000000, 2000000, 1000000}; /* twice the bytes, the same arithmetic */
    predict(&r, "a=0-7");
    check(r.p.stages[0].decode_ms, 7 * 2 + 4 + 3);
    check(r.p.stages[0].prefill_ms, 8 * (7 * 32 + 32)); /* 512 rows are eight times 64 */
    check(r.p.many.tokens_per_s, 8000 / (7 * 4 + 6 + 6 + 0.00016 + 0.032896));
}

static void the_past_is_read_and_multiplied(void **state)
{
    (void)state;
    rig r;
    make_rig(&r, 1, 1);
    r.spec.n_past = 100;
    r.m.kv_row_bytes = 1000;
    predict(&r, "a=0-7");
    check(r.p.stages[0].decode_ms, 9 + 8 * 0.1);
    r.m.kv_row_macs = 3000;
    predict(&r, "a=0-7");
    check(r.p.stages[0].decode_ms, 9 + 8 * 0.3);
}

static void too_little_memory_is_marked(void **state)
{
    (void)state;
    rig r;
    make_rig(&r, 2, 1);
    r.nodes[1].free_bytes = 5000000 + 4 * 1000 + 5000; /* four layers, a head, their KV, scratch */
    predict(&r, "a=0-3,b=4-7");
    assert_false(r.p.stages[0].is_over_memory || r.p.stages[1].is_over_memory);
    r.nodes[1].free_bytes--;
    predict(&r, "a=0-3,b=4-7");
    assert_true(r.p.stages[1].is_over_memory);
    assert_int_equal(r.p.alone_one.node, 0);
    r.nodes[0].free_bytes = 10000000;
    predict(&r, "a=0-3,b=4-7");
    assert_int_equal(r.p.alone_one.node, PREDICTION_ALONE_NONE);
    assert_int_equal(r.p.alone_many.node, PREDICTION_ALONE_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_machine_is_a_sum),
        cmocka_unit_test(two_machines_overlap_only_where_there_is_more_than_one_token),
        cmocka_unit_test(a_slow_link_is_the_bottleneck),
        cmocka_unit_test(one_stream_keeps_one_machine_busy),
        cmocka_unit_test(workers_of_one_host_share_its_memory),
        cmocka_unit_test(measured_times_are_used_as_they_are),
        cmocka_unit_test(the_past_is_read_and_multiplied),
        cmocka_unit_test(too_little_memory_is_marked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
