/* What `yllama bench` plans, counts and compares with: lists, statistics, costs, limits of the machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "bench_cost.h"
#include "bench_plan.h"
#include "bench_stats.h"
#include "limit_probe.h"
#include "model_maker.h"
#include "peak.h"
#include "scratch_dir.h"

/* ---- plans ---- */

static options asking(const char *n_prompt, const char *n_gen, const char *n_depth, const char *n_parallel)
{
    options o = options_defaults(COMMAND_BENCH);
    o.bench.n_prompt = n_prompt;
    o.bench.n_gen = n_gen;
    o.bench.n_depth = n_depth;
    o.bench.n_parallel = n_parallel;
    return o;
}

static void check_names(const bench_plan *p, const char *const *names, size_t n)
{
    assert_int_equal(p->n, n);
    for (size_t i = 0; i < n; i++) {
        char name[BENCH_NAME_BYTES];
        assert_string_equal(bench_test_name(name, &p->tests[i]), names[i]);
    }
}

static void a_plan_is_every_combination(void **state)
{
    (void)state;
    options o = asking("512,64", "128", "0,4096", "1,8");
    bench_plan p;
    assert_int_equal(bench_plan_make(&p, &o, NULL), YL_OK);
    static const char *const names[] = {
        "pp512",         "pp64",         "tg128",         "pp512 x 8",         "pp64 x 8",         "tg128 x 8",
        "pp512 @ d4096", "pp64 @ d4096", "tg128 @ d4096", "pp512 x 8 @ d4096", "pp64 x 8 @ d4096", "tg128 x 8 @ d4096"};
    check_names(&p, names, 12);
    assert_int_equal(bench_plan_group_end(&p, 0), 12);
    uint32_t n_seq, n_ctx;
    bench_plan_needs(&p, 0, 3, &n_seq, &n_ctx);
    assert_int_equal(n_seq, 1);
    assert_int_equal(n_ctx, 512);
    bench_plan_needs(&p, 0, 12, &n_seq, &n_ctx);
    assert_int_equal(n_seq, 8);
    assert_int_equal(n_ctx, 4096 + 512);
    bench_plan_clear(&p);
}

static void zero_leaves_a_kind_out_and_a_start_stands_alone(void **state)
{
    (void)state;
    options o = asking("0", "4", "7", "1");
    o.bench.n_start = "0,5";
    o.bench.n_threads = "1,2";
    bench_plan p;
    assert_int_equal(bench_plan_make(&p, &o, NULL), YL_OK);
    static const char *const names[] = {"tg4 @ d7", "start5", "tg4 @ d7", "start5"};
    check_names(&p, names, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(bench_plan_group_end(&p, i), i + 1);
        assert_int_equal(p.tests[i].setup.n_threads, 1 + i / 2);
    }
    bench_plan_clear(&p);
}

static void tests_share_an_engine_where_settings_are_the_same(void **state)
{
    (void)state;
    options o = asking("8", "4", "0", "1");
    o.bench.n_local = "1,2";
    o.bench.n_ubatch = "64,128";
    o.bench.type_k = "f32,f16";
    o.bench.isa = "scalar";
    bench_plan p;
    assert_int_equal(bench_plan_make(&p, &o, NULL), YL_OK);
    assert_int_equal(p.n, 16);
    for (size_t i = 0; i < p.n; i += 2) {
        const bench_setup *s = &p.tests[i].setup;
        assert_int_equal(bench_plan_group_end(&p, i), i + 2);
        assert_int_equal(s->n_local, 1 + i / 8);
        assert_int_equal(s->n_ubatch, i / 4 % 2 ? 128 : 64);
        assert_int_equal(s->type_k, i / 2 % 2 ? KV_F16 : KV_F32);
        assert_int_equal(s->type_v, KV_F16);
        assert_string_equal(s->isa, "scalar");
    }
    bench_plan_clear(&p);
}

static void check_refused(const options *o, yl_status status, const char *flag, const char *text)
{
    bench_plan p;
    yl_error err;
    assert_int_equal(bench_plan_make(&p, o, &err), status);
    if (!strstr(err.msg, flag) || !strstr(err.msg, text)) fail_msg("%s", err.msg);
    bench_plan_clear(&p);
}

static void values_that_cannot_be_meant_are_named(void **state)
{
    (void)state;
    options o = asking("512,x", "1", "0", "1");
    check_refused(&o, YL_EINVAL, "-p", "'x'");
    o = asking("512,", "1", "0", "1");
    check_refused(&o, YL_EINVAL, "-p", "512,");
    o = asking("", "1", "0", "1");
    check_refused(&o, YL_EINVAL, "-p", "''");
    o = asking("1", "-1", "0", "1");
    check_refused(&o, YL_EINVAL, "-n", "-1");
    o = asking("1", "1", "99999999999", "1");
    check_refused(&o, YL_EINVAL, "-d", "99999999999");
    o = asking("1", "1", "0", "0");
    check_refused(&o, YL_EINVAL, "-np", "0");
    o = asking("0", "0", "0", "1");
    check_refused(&o, YL_EINVAL, "-p", "nothing");
    o = asking("1", "1", "0", "1");
    o.bench.type_v = "f16,f64";
    check_refused(&o, YL_EINVAL, "-ctv", "'f64'");
    o.bench.type_v = "f16";
    o.bench.isa = "scalar,mmx";
    check_refused(&o, YL_EINVAL, "--isa", "'mmx'");
    o.bench.isa = NULL;
    o.bench.n_prompt = "11111111111111111111111111111111111111111111";
    check_refused(&o, YL_EINVAL, "-p", "too long");
    static const char many[] = "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1";
    o = asking(many, many, many, many);
    check_refused(&o, YL_ELIMIT, "4096", "fewer");
    char more[2 * (BENCH_MAX_VALUES + 1)];
    for (size_t i = 0; i < sizeof more; i++) more[i] = i % 2 ? ',' : '1';
    more[sizeof more - 1] = 0;
    o = asking(more, "1", "0", "1");
    check_refused(&o, YL_EINVAL, "-p", "64");
}

/* ---- statistics ---- */

static void statistics_are_the_textbooks(void **state)
{
    (void)state;
    double odd[] = {9, 2, 4};
    bench_stats s = bench_stats_of(odd, 3);
    assert_true(s.median == 4 && s.min == 2 && s.max == 9 && s.mean == 5);
    assert_true(s.deviation * s.deviation > 12.999 && s.deviation * s.deviation < 13.001); /* (16 + 9 + 1) / 2 */
    double even[] = {1, 8, 2, 4};
    s = bench_stats_of(even, 4);
    assert_true(s.median == 3 && s.min == 1 && s.max == 8);
    double one[] = {7};
    s = bench_stats_of(one, 1);
    assert_true(s.median == 7 && s.min == 7 && s.max == 7 && s.mean == 7 && s.deviation == 0);
}

/* ---- costs ---- */

/* A model of 2 layers; its tensors are counted by hand below. */
static void check_costs(const gguf *g, const hparams *hp)
{
    double kv = hp->n_embd_head * hp->n_head_kv, embd = hp->n_embd, ff = hp->n_ff;
    double layer_weights = embd * (hp->n_head * hp->n_embd_head) * 2 + embd * kv * 2 + 3 * embd * ff,
           head_weights = embd * hp->n_vocab;
    double layer_bytes = layer_weights * 34 / 32 + 2 * embd * 4,
           head_bytes = head_weights * 34 / 32 + embd * 4; /* Q8_0, norms F32 */
    double attention_macs = 2.0 * hp->n_layer * hp->n_head * hp->n_embd_head;
    bench_test t = {{"scalar", 1, 1, 2048, 512, KV_F16, KV_F16}, BENCH_GENERATE, 1, 99, 1};
    bench_cost c = bench_cost_of(&t, g, hp);
    assert_true(c.bytes == hp->n_layer * layer_bytes + head_bytes + hp->n_layer * 100 * kv * 4);
    assert_true(c.macs_int8 == hp->n_layer * layer_weights + head_weights);
    assert_true(c.macs_f32 == attention_macs * 100);

    t.n_parallel = 8; /* weights once, caches eight times */
    t.setup.type_k = KV_F32;
    c = bench_cost_of(&t, g, hp);
    assert_true(c.bytes == hp->n_layer * layer_bytes + head_bytes + 8 * hp->n_layer * 100 * kv * 6);
    assert_true(c.macs_int8 == 8 * (hp->n_layer * layer_weights + head_weights));

    t = (bench_test){{"scalar", 1, 1, 2048, 64, KV_F16, KV_F16}, BENCH_PROMPT, 129, 0, 1};
    c = bench_cost_of(&t, g, hp); /* three micro-batches, one row of logits */
    assert_true(c.macs_int8 == 129 * hp->n_layer * layer_weights + head_weights);
    assert_true(c.macs_f32 == attention_macs * 65 * 129);
    assert_true(c.bytes == 3 * hp->n_layer * layer_bytes + head_bytes + 3 * 65 * hp->n_layer * kv * 4);
}

static void costs_are_those_of_the_tensors(void **state)
{
    (void)state;
    scratch_dir dir;
    assert_true(scratch_dir_init(&dir));
    char path[SCRATCH_PATH_BYTES];
    model_spec spec = model_spec_default();
    model_spec_set_type(&spec, QUANT_Q8_0);
    yl_error err;
    if (model_maker_write(scratch_dir_path(&dir, path, "m.gguf"), &spec, &err)) fail_msg("%s", err.msg);
    gguf *g;
    hparams hp;
    assert_int_equal(gguf_open(&g, path, &err), YL_OK);
    assert_int_equal(hparams_read(&hp, g, &err), YL_OK);
    check_costs(g, &hp);
    gguf_free(g);
    scratch_dir_clear(&dir);
}

static void the_slower_of_reading_and_computing_is_the_floor(void **state)
{
    (void)state;
    machine_limits l = {.read_small_pages = 10, .read_huge_pages = 20, .dot_int8 = 8, .multiply_add_f32 = 2};
    bench_cost c = {.bytes = 100, .macs_int8 = 16, .macs_f32 = 4};
    bench_floor f = bench_cost_floor(&c, &l, BENCH_PAGES_SMALL);
    assert_true(f.seconds == 10 && f.bound == BENCH_BOUND_MEMORY && f.rate == 10);
    f = bench_cost_floor(&c, &l, BENCH_PAGES_HUGE);
    assert_true(f.seconds == 5 && f.rate == 20);
    c.macs_f32 = 16; /* 2 s of int8, 8 s of f32 */
    f = bench_cost_floor(&c, &l, BENCH_PAGES_HUGE);
    assert_true(f.seconds == 10 && f.bound == BENCH_BOUND_ARITHMETIC && f.rate == 3.2);
}

/* A chain is only as busy as there are pieces of work for its stages. */
static void threads_count_where_there_is_work(void **state)
{
    (void)state;
    bench_test t = {{"scalar", 2, 3, 2048, 64, KV_F16, KV_F16}, BENCH_GENERATE, 100, 0, 1};
    assert_int_equal(bench_cost_n_threads(&t), 2);
    t.n_parallel = 2;
    assert_int_equal(bench_cost_n_threads(&t), 4);
    t.n_parallel = 8;
    assert_int_equal(bench_cost_n_threads(&t), 6);
    t = (bench_test){t.setup, BENCH_PROMPT, 65, 0, 1};
    assert_int_equal(bench_cost_n_threads(&t), 4);
}

/* ---- the machine ---- */

static void peak_loops_do_what_they_count(void **state)
{
    (void)state;
    static uint8_t data[4096] __attribute__((aligned(64)));
    data[0] = 1;
    data[4096 - 8] = 2;
    static const char *const isas[] = {"scalar", "avx2", "avx512"};
    for (size_t i = 0; i < 3; i++) {
        if (!kernels_named(isas[i])) continue;
        const peak_loops *loops = peak_loops_for(isas[i]);
        assert_int_equal(loops->read(data, sizeof data), 3);
        assert_int_equal(loops->read_ahead(data, sizeof data), 3);
        size_t n_dot = 0, n_multiply_add = 5;
        loops->dot_int8(100000, &n_dot);
        loops->multiply_add_f32(100000, &n_multiply_add);
        assert_in_range(n_dot, 100000, 110000);
        assert_in_range(n_multiply_add, 100005, 110005);
    }
    assert_ptr_equal(peak_loops_for("none"), &peak_loops_scalar);
}

static void do_nothing(void *ctx)
{
    (void)ctx;
}

static void a_probe_measures_and_leaves_no_process(void **state)
{
    (void)state;
    limit_probe *p;
    machine_limits l;
    yl_error err;
    assert_int_equal(limit_probe_new(&p, MACHINE_METER_ALL, &err), YL_OK);
    for (uint32_t n = 1; n <= 2; n++) {
        if (limit_probe_read(p, n, "scalar", do_nothing, NULL, &l, &err)) fail_msg("%s", err.msg);
        assert_true(l.read_small_pages > 1e7 && l.read_huge_pages > 1e7);
        assert_true(l.dot_int8 > 1e7 && l.multiply_add_f32 > 1e7);
        assert_true(l.read_small_pages < 1e13 && l.dot_int8 < 1e15); /* nothing was left out by the compiler */
    }
    assert_int_equal(limit_probe_read(p, 0, "scalar", do_nothing, NULL, &l, &err), YL_EINVAL);
    assert_int_equal(limit_probe_read(p, 1, "scalar", do_nothing, NULL, &l, &err), YL_OK); /* it still answers */
    limit_probe_free(p);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_is_every_combination),
        cmocka_unit_test(zero_leaves_a_kind_out_and_a_start_stands_alone),
        cmocka_unit_test(tests_share_an_engine_where_settings_are_the_same),
        cmocka_unit_test(values_that_cannot_be_meant_are_named),
        cmocka_unit_test(statistics_are_the_textbooks),
        cmocka_unit_test(costs_are_those_of_the_tensors),
        cmocka_unit_test(the_slower_of_reading_and_computing_is_the_floor),
        cmocka_unit_test(threads_count_where_there_is_work),
        cmocka_unit_test(peak_loops_do_what_they_count),
        cmocka_unit_test(a_probe_measures_and_leaves_no_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
