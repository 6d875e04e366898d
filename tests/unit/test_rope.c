/* test_rope.c: the angles of RoPE, linear scaling, Llama 3.1's factors and YaRN, against their formulas in long double.
 *
 * The pinned values of YaRN were read from llama.cpp's ggml_rope_ext (ggml 0.21), which turned the pair (1, 0). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "rope.h"

enum { N_ROT = 128, N_PAIRS = N_ROT / 2 };

static hparams plain_model(void)
{
    return (hparams){.n_rot = N_ROT,
                     .n_embd_head = N_ROT,
                     .rope_freq_base = 500000,
                     .rope_type = ROPE_SCALING_NONE,
                     .rope_factor = 1,
                     .rope_orig_ctx = 8192,
                     .rope_attn_factor = 1,
                     .rope_ext_factor = 1,
                     .rope_beta_fast = 32,
                     .rope_beta_slow = 1};
}

static long double plain_frequency(const hparams *hp, int pair)
{
    return powl(hp->rope_freq_base, -2.0L * pair / hp->n_rot);
}

/* Pair i must turn by pos * freq[i] and be lengthened by magnitude. */
static void assert_angles(const hparams *hp, const float *factors, const long double *freq, long double magnitude)
{
    static const uint32_t positions[] = {0, 1, 2, 17, 4095, 131071, HPARAMS_MAX_CTX - 1};
    rope *r;
    assert_int_equal(rope_new(&r, hp, factors, NULL), YL_OK);
    for (size_t p = 0; p < sizeof positions / sizeof positions[0]; p++) {
        float cs[N_ROT];
        rope_angles(r, positions[p], cs);
        for (uint32_t i = 0; i < hp->n_rot / 2; i++) {
            long double angle = positions[p] * freq[i], limit = 1e-7L * magnitude; /* an ulp of f32 */
            if (fabsl(cs[2 * i] - cosl(angle) * magnitude) > limit || fabsl(cs[2 * i + 1] - sinl(angle) * magnitude) > limit) {
                fail_msg("position %u, pair %u: (%g, %g)", positions[p], i, (double)cs[2 * i], (double)cs[2 * i + 1]);
            }
        }
    }
    rope_free(r);
}

static void frequencies_fall_geometrically(void **state)
{
    (void)state;
    hparams hp = plain_model();
    long double freq[N_PAIRS];
    for (int i = 0; i < N_PAIRS; i++) freq[i] = plain_frequency(&hp, i);
    assert_angles(&hp, NULL, freq, 1);
    hp.rope_factor = 7; /* without a type of scaling it means nothing */
    assert_angles(&hp, NULL, freq, 1);
}

static void a_part_of_a_head_has_its_own_frequencies(void **state)
{
    (void)state;
    hparams hp = plain_model();
    hp.n_rot = 6;
    long double freq[3];
    for (int i = 0; i < 3; i++) freq[i] = plain_frequency(&hp, i);
    assert_angles(&hp, NULL, freq, 1);
}

static void linear_scaling_divides_positions(void **state)
{
    (void)state;
    hparams hp = plain_model();
    hp.rope_type = ROPE_SCALING_LINEAR;
    hp.rope_factor = 4;
    hp.rope_attn_factor = 1.25;
    long double freq[N_PAIRS];
    for (int i = 0; i < N_PAIRS; i++) freq[i] = plain_frequency(&hp, i) / 4;
    assert_angles(&hp, NULL, freq, 1.25L);
}

static void factors_divide_frequencies(void **state)
{
    (void)state;
    hparams hp = plain_model();
    float factors[N_PAIRS];
    long double freq[N_PAIRS];
    for (int i = 0; i < N_PAIRS; i++) {
        factors[i] = i < 29 ? 1.0f : i < 35 ? 1.0f + (float)(i - 28) : 8.0f;
        freq[i] = plain_frequency(&hp, i) / factors[i];
    }
    assert_angles(&hp, factors, freq, 1);
}

/* Pairs that turn more than 32 times in the context of training are kept, those below one turn are divided. */
static void yarn_divides_slow_pairs_only(void **state)
{
    (void)state;
    hparams hp = plain_model();
    hp.rope_type = ROPE_SCALING_YARN;
    hp.rope_factor = 16;
    long double freq[N_PAIRS], two_pi = 6.28318530717958647692528676655900577L;
    long double low = floorl(N_ROT * logl(8192 / (32 * two_pi)) / (2 * logl(500000)));
    long double high = ceill(N_ROT * logl(8192 / two_pi) / (2 * logl(500000)));
    for (int i = 0; i < N_PAIRS; i++) {
        long double kept = 1 - fminl(1, fmaxl(0, (i - low) / (high - low)));
        freq[i] = plain_frequency(&hp, i) * (kept + (1 - kept) / 16);
        if (i <= low) assert_true(freq[i] == plain_frequency(&hp, i));
    }
    assert_angles(&hp, NULL, freq, 1 + 0.1L * logl(16));

    hp.rope_attn_factor = 0.5;
    assert_angles(&hp, NULL, freq, 0.5L * (1 + 0.1L * logl(16)));

    hp.rope_ext_factor = 0; /* linear scaling, and no longer vectors */
    for (int i = 0; i < N_PAIRS; i++) freq[i] = plain_frequency(&hp, i) / 16;
    assert_angles(&hp, NULL, freq, 0.5L);
}

/* {context of training, base, factor, ext_factor, attn_factor, beta_fast, beta_slow} and what pair `pair` is at position 1000. */
static void yarn_is_llama_cpps(void **state)
{
    (void)state;
    static const struct {
        uint32_t n_rot, orig_ctx;
        double freq_base, factor, ext_factor, attn_factor, beta_fast, beta_slow;
    } models[] = {
        {128, 8192, 500000, 16, 1, 1, 32, 1},
        {64, 4096, 10000, 4, 1, 0.9, 32, 1},
        {128, 4096, 10000, 8, 0.5, 1, 16, 2},
        {96, 32768, 1000000, 4, 0, 1.5, 32, 1},
    };
    static const struct {
        int model, pair;
        float c, s;
    } turned[] = {
        {0, 0, 0.7183036f, 1.056139f},    {0, 9, 0.8008112f, 0.9950335f},    {0, 18, 1.257226f, -0.2253294f},
        {0, 27, -0.5147837f, 1.168926f},  {0, 36, 1.276291f, 0.0497025f},    {0, 45, 1.277235f, 0.007853575f},
        {0, 54, 1.277258f, 0.001240659f}, {0, 63, 1.277259f, 0.0001959903f}, {1, 0, 0.5763072f, 0.8473584f},
        {1, 5, -0.05417026f, -1.023334f}, {1, 10, 0.9744887f, -0.3170457f},  {1, 15, -1.022686f, -0.06527126f},
        {1, 20, 0.2365264f, 0.9970966f},  {1, 25, 1.006811f, 0.1909932f},    {1, 30, 1.023754f, 0.045543f},
        {2, 0, -1.193479f, -0.1863811f},  {2, 9, -1.202134f, -0.1183374f},   {2, 18, -0.275287f, -1.176157f},
        {2, 27, -0.6493072f, -1.018592f}, {2, 36, 0.1194412f, 1.202024f},    {2, 45, 1.185634f, 0.2310853f},
        {2, 54, 1.206266f, 0.06364388f},  {2, 63, 1.207818f, 0.01743584f},   {3, 0, 0.3614824f, -1.455792f},
        {3, 9, 1.492173f, -0.1530382f},   {3, 18, 0.2462948f, 1.479641f},    {3, 27, 1.491672f, 0.1578434f},
        {3, 36, 1.499953f, 0.01185841f},  {3, 45, 1.5f, 0.0008892646f},
    };
    for (size_t i = 0; i < sizeof turned / sizeof turned[0]; i++) {
        hparams hp = plain_model();
        hp.rope_type = ROPE_SCALING_YARN;
        hp.n_rot = models[turned[i].model].n_rot, hp.rope_orig_ctx = models[turned[i].model].orig_ctx;
        hp.rope_freq_base = models[turned[i].model].freq_base, hp.rope_factor = models[turned[i].model].factor;
        hp.rope_ext_factor = models[turned[i].model].ext_factor, hp.rope_attn_factor = models[turned[i].model].attn_factor;
        hp.rope_beta_fast = models[turned[i].model].beta_fast, hp.rope_beta_slow = models[turned[i].model].beta_slow;
        rope *r;
        assert_int_equal(rope_new(&r, &hp, NULL, NULL), YL_OK);
        float cs[N_ROT];
        rope_angles(r, 1000, cs);
        float c = cs[2 * turned[i].pair], s = cs[2 * turned[i].pair + 1];
        if (fabsf(c - turned[i].c) > 3e-4f || fabsf(s - turned[i].s) > 3e-4f) { /* ggml multiplies its way to the angle in f32 */
            fail_msg("model %d, pair %d: (%g, %g), not (%g, %g)", turned[i].model, turned[i].pair, (double)c, (double)s,
                     (double)turned[i].c, (double)turned[i].s);
        }
        rope_free(r);
    }
}

static void factors_and_yarn_combine(void **state)
{
    (void)state;
    hparams hp = plain_model();
    hp.rope_type = ROPE_SCALING_YARN;
    hp.rope_factor = 2;
    hp.rope_orig_ctx = 1; /* every pair is slow */
    float factors[N_PAIRS];
    long double freq[N_PAIRS];
    for (int i = 0; i < N_PAIRS; i++) {
        factors[i] = 3;
        freq[i] = plain_frequency(&hp, i) / (i == 0 ? 3 : 6); /* llama.cpp's limits are never below pair 0 */
    }
    assert_angles(&hp, factors, freq, 1 + 0.1L * logl(2));
}

static void assert_refused(hparams hp, const float *factors, const char *word)
{
    rope *r = (rope *)&hp; /* anything but NULL */
    yl_error err;
    assert_int_equal(rope_new(&r, &hp, factors, &err), YL_EINVAL);
    assert_null(r);
    if (!strstr(err.msg, word)) fail_msg("'%s' does not speak of '%s'", err.msg, word);
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    const double bad[] = {0, -1, NAN, INFINITY, -INFINITY, 1e300};
    hparams hp = plain_model();
    hp.n_rot = 0;
    assert_refused(hp, NULL, "even number");
    hp.n_rot = 7;
    assert_refused(hp, NULL, "even number");
    hp.n_rot = 0xfffffffe;
    assert_refused(hp, NULL, "even number");
    hp = plain_model();
    hp.rope_type = (rope_scaling)77;
    assert_refused(hp, NULL, "77");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        hp = plain_model(), hp.rope_freq_base = bad[i];
        assert_refused(hp, NULL, "base");
        hp = plain_model(), hp.rope_factor = bad[i];
        assert_refused(hp, NULL, "scaling factor");
        hp = plain_model(), hp.rope_attn_factor = bad[i];
        assert_refused(hp, NULL, "attention factor");
        hp = plain_model(), hp.rope_type = ROPE_SCALING_YARN, hp.rope_beta_fast = bad[i];
        assert_refused(hp, NULL, "beta_fast");
        hp = plain_model(), hp.rope_type = ROPE_SCALING_YARN, hp.rope_beta_slow = bad[i];
        assert_refused(hp, NULL, "beta_slow");
        if (bad[i] == 0) continue;
        hp = plain_model(), hp.rope_type = ROPE_SCALING_YARN, hp.rope_ext_factor = bad[i];
        assert_refused(hp, NULL, "ext_factor");
    }
    hp = plain_model(), hp.rope_type = ROPE_SCALING_YARN, hp.rope_orig_ctx = 0;
    assert_refused(hp, NULL, "context of training");
    hp = plain_model(), hp.rope_type = ROPE_SCALING_YARN, hp.rope_freq_base = 1;
    assert_refused(hp, NULL, "base above 1");
}

static void factors_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    const float bad[] = {0, -1, NAN, INFINITY};
    float factors[N_PAIRS];
    for (size_t b = 0; b < sizeof bad / sizeof bad[0]; b++) {
        for (int i = 0; i < N_PAIRS; i++) factors[i] = 1;
        factors[63] = bad[b];
        assert_refused(plain_model(), factors, "factor 63");
    }
    factors[63] = 1e-38f;
    assert_refused(plain_model(), factors, "pair 63");
    hparams hp = plain_model();
    hp.rope_freq_base = 1e-300;
    assert_refused(hp, NULL, "radians");
}

/* The ends of what YaRN can be told: nothing but a status comes back, and no arithmetic is undefined. */
static void extreme_yarn_is_harmless(void **state)
{
    (void)state;
    const double values[] = {5e-324, 1e-300, 1.0000000000000002, 1e10, 1e19};
    for (int n = 0; n < 5 * 5 * 5; n++) {
        hparams hp = plain_model();
        hp.rope_type = ROPE_SCALING_YARN;
        hp.rope_beta_fast = values[n % 5], hp.rope_beta_slow = values[n / 5 % 5];
        hp.rope_freq_base = values[2 + n / 25 % 3];
        hp.rope_orig_ctx = n % 2 ? 1 : UINT32_MAX;
        rope *r;
        if (rope_new(&r, &hp, NULL, NULL) != YL_OK) continue;
        float cs[N_ROT];
        rope_angles(r, HPARAMS_MAX_CTX - 1, cs);
        for (int i = 0; i < N_ROT; i++) assert_true(isfinite(cs[i]));
        rope_free(r);
    }
    rope_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frequencies_fall_geometrically),
        cmocka_unit_test(a_part_of_a_head_has_its_own_frequencies),
        cmocka_unit_test(linear_scaling_divides_positions),
        cmocka_unit_test(factors_divide_frequencies),
        cmocka_unit_test(yarn_divides_slow_pairs_only),
        cmocka_unit_test(yarn_is_llama_cpps),
        cmocka_unit_test(factors_and_yarn_combine),
        cmocka_unit_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(factors_that_make_no_sense_are_refused),
        cmocka_unit_test(extreme_yarn_is_harmless),
    };
    return cmocka_run_group_tests_name("rope", tests, NULL, NULL);
}
