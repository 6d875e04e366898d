/* test_kernels_vector.c: norm, RoPE, SwiGLU, attention and the cache's layout of each table of kernels, against the contract
 * written down a second time (contract.h), to the bit. */
#include <math.h>

#include "attention.h"
#include "contract.h"
#include "kernel_harness.h"

static void rmsnorm_gives_the_contracts_bits(void **state)
{
    (void)state;
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t n = 1; n <= 100; n++) {
            float *x = new_floats(n), *w = new_floats(n), *expected = new_floats(n), *y = marked_floats(n);
            contract_rmsnorm(expected, x, w, n, 1e-5f);
            table->rmsnorm(y, x, w, n, 1e-5f);
            assert_same_bits(table->isa, "rmsnorm", n, expected, y, n);
            table->rmsnorm(x, x, w, n, 1e-5f);
            assert_same_bits(table->isa, "rmsnorm in place", n, expected, x, n);
            free_marked(y, n);
            free(x);
            free(w);
            free(expected);
        }
    }
}

static void rope_turns_pairs_of_neighbours(void **state)
{
    (void)state;
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t n_rot = 2; n_rot <= 70; n_rot += 2) {
            enum { HEADS = 3 };
            size_t n_embd_head = n_rot + n_rot % 3, n = HEADS * n_embd_head;
            float *x = marked_floats(n), *cs = new_floats(n_rot), *expected = new_floats(n);
            memcpy(expected, x, n * sizeof *x);
            for (size_t h = 0; h < HEADS; h++) {
                for (size_t k = 0; k < n_rot; k += 2) {
                    float *pair = expected + h * n_embd_head + k, a = pair[0], b = pair[1];
                    float ac = a * cs[k], bs = b * cs[k + 1], as = a * cs[k + 1], bc = b * cs[k];
                    pair[0] = ac - bs;
                    pair[1] = as + bc;
                }
            }
            table->rope(x, cs, HEADS, n_embd_head, n_rot);
            assert_same_bits(table->isa, "rope", n_rot, expected, x, n);
            free_marked(x, n);
            free(cs);
            free(expected);
        }
    }
}

static void swiglu_and_add_give_the_contracts_bits(void **state)
{
    (void)state;
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t n = 1; n <= 100; n++) {
            float *g = marked_floats(n), *u = new_floats(n), *swiglu = new_floats(n), *sum = new_floats(n);
            for (size_t k = 0; k < n; k++) {
                g[k] *= k % 5 ? 10.0f : 200.0f; /* both ends of exp as well */
                float silu = g[k] / (1.0f + contract_exp(-g[k]));
                swiglu[k] = silu * u[k];
                sum[k] = swiglu[k] + u[k];
            }
            table->swiglu(g, u, n);
            assert_same_bits(table->isa, "swiglu", n, swiglu, g, n);
            table->add(g, u, n);
            assert_same_bits(table->isa, "add", n, sum, g, n);
            free_marked(g, n);
            free(u);
            free(swiglu);
            free(sum);
        }
    }
}

static void max_sum_exp_gives_the_contracts_bits(void **state)
{
    (void)state;
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t n = 1; n <= 300; n += n < 70 ? 1 : 77) {
            float *x = new_floats(n), *e = new_floats(n), largest = -INFINITY, max, sum;
            for (size_t k = 0; k < n; k++) {
                x[k] *= 60;
                if (x[k] > largest) largest = x[k];
            }
            for (size_t k = 0; k < n; k++) e[k] = contract_exp(x[k] - largest);
            float expected = contract_sum(e, n);
            table->max_sum_exp(x, n, &max, &sum);
            assert_same_bits(table->isa, "max", n, &largest, &max, 1);
            assert_same_bits(table->isa, "sum of exp", n, &expected, &sum, 1);
            free(x);
            free(e);
        }
    }
}

/* A cache of one head, filled by kv_store, and what it should hold. */
typedef struct cache {
    kv_head head;
    uint8_t **pages;
    size_t n_pages, n_pos, n_embd_head;
    float *k, *v; /* [n_pos, n_embd_head], rounded to the cache's types */
} cache;

/* A key or value as the cache holds it. */
static void round_to(kv_type type, float *x, size_t n)
{
    for (size_t i = 0; type == KV_F16 && i < n; i++) x[i] = contract_f16(quant_f32_to_f16(x[i]));
    for (size_t i = 0; type == KV_Q8_0 && i < n; i += 32) {
        int8_t q[32];
        float d = contract_f16(quant_f32_to_f16(contract_quantize(q, x + i, 32)));
        for (size_t k = 0; k < 32; k++) x[i + k] = d * (float)q[k];
    }
}

/* Other heads' bytes before, between and behind, as in a real page. */
enum { PAGE_GAP = 24 };

static cache cache_new(const kernels *table, kv_type type_k, kv_type type_v, size_t n_pos, size_t n_embd_head)
{
    cache c = {.n_pages = (n_pos + KV_PAGE_POSITIONS - 1) / KV_PAGE_POSITIONS, .n_pos = n_pos, .n_embd_head = n_embd_head};
    size_t k_bytes = (size_t)kv_run_bytes(type_k, n_embd_head), v_bytes = (size_t)kv_run_bytes(type_v, n_embd_head);
    c.pages = calloc(c.n_pages, sizeof *c.pages);
    assert_non_null(c.pages);
    for (size_t p = 0; p < c.n_pages; p++) {
        c.pages[p] = calloc(1, PAGE_GAP + k_bytes + PAGE_GAP + v_bytes);
        assert_non_null(c.pages[p]);
    }
    c.head = (kv_head){(const uint8_t *const *)c.pages, PAGE_GAP, PAGE_GAP + k_bytes + PAGE_GAP, type_k, type_v};
    c.k = new_floats(n_pos * n_embd_head);
    c.v = new_floats(n_pos * n_embd_head);
    for (size_t j = 0; j < n_pos; j++) {
        float *k = c.k + j * n_embd_head, *v = c.v + j * n_embd_head;
        int bad = table->kv_store(c.pages[j / KV_PAGE_POSITIONS], &c.head, j % KV_PAGE_POSITIONS, k, v, n_embd_head);
        assert_int_equal(bad, 0);
        round_to(type_k, k, n_embd_head);
        round_to(type_v, v, n_embd_head);
    }
    return c;
}

static void cache_free(cache *c)
{
    for (size_t p = 0; p < c->n_pages; p++) free(c->pages[p]);
    free(c->pages);
    free(c->k);
    free(c->v);
}

/* n_row rows of n_head queries, which lie one after the other; the first attends n_pos positions. */
static void attend(const kernels *table, const cache *c, const float *q, float *out, size_t n_pos, size_t n_head, size_t n_row,
                   float scale)
{
    attention a = {.kv = c->head,
                   .n_query = n_head * n_row,
                   .n_head = n_head,
                   .n_pos = n_pos,
                   .n_embd_head = c->n_embd_head,
                   .out = out,
                   .out_stride = n_head * c->n_embd_head};
    size_t n_scratch = (size_t)attention_scratch_floats(a.n_query, attention_last_n_pos(&a), c->n_embd_head);
    float *scratch = marked_floats(n_scratch);
    attention_use_scratch(&a, scratch);
    attention_pack_queries(&a, q, a.out_stride, scale);
    table->attention_scores(&a, 0, attention_n_pages(&a));
    table->attention_softmax(&a, 0, a.n_query);
    table->attention_values(&a, 0, c->n_embd_head);
    free_marked(scratch, n_scratch);
}

static void check_attention(const kernels *table, kv_type type_k, kv_type type_v, size_t n_pos, size_t n_embd_head, size_t n_head,
                            size_t n_row)
{
    cache c = cache_new(table, type_k, type_v, n_pos + n_row - 1, n_embd_head);
    size_t n = n_head * n_row * n_embd_head;
    float *q = new_floats(n), *out = marked_floats(n), *expected = new_floats(n), scale = 1.0f / sqrtf((float)n_embd_head);
    for (size_t i = 0; i < n_head * n_row; i++) {
        size_t at = i * n_embd_head;
        for (size_t d = 0; d < n_embd_head; d++) q[at + d] *= 8;
        contract_attention(expected + at, q + at, c.k, c.v, n_pos + i / n_head, n_embd_head, scale);
    }
    attend(table, &c, q, out, n_pos, n_head, n_row, scale);
    assert_same_bits(table->isa, "attention, positions", n_pos, expected, out, n);
    free_marked(out, n);
    free(q);
    free(expected);
    cache_free(&c);
}

static kv_type type_for(size_t type, size_t n_embd_head)
{
    kv_type t = (kv_type)(type % (KV_TYPE_LAST + 1));
    return kv_type_takes(t, n_embd_head) ? t : KV_F16;
}

static void attention_gives_the_contracts_bits(void **state)
{
    (void)state;
    static const size_t positions[] = {1, 2, 15, 16, 17, 63, 64, 65, 128, 150};
    static const size_t head_sizes[] = {2, 8, 15, 16, 17, 32, 64, 80, 96, 128};
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t p = 0; p < 10; p++) {
            for (size_t s = 0; s < 10; s++) {
                kv_type type_k = type_for(p, head_sizes[s]), type_v = type_for(s, head_sizes[s]);
                check_attention(table, type_k, type_v, positions[p], head_sizes[s], 1 + (p + s) % 9, 1);
                check_attention(table, type_v, type_k, positions[p], head_sizes[s], 1 + p % 5, 1 + s % 6);
                check_attention(table, KV_F16, KV_F16, positions[p], head_sizes[s], 4, 3);
            }
        }
    }
}

/* Scores that overflowed do not disappear in exp. */
static void attention_of_an_infinite_score_is_not_finite(void **state)
{
    (void)state;
    enum { N_POS = 20, HEAD = 8 };
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        cache c = cache_new(table, KV_F32, KV_F32, N_POS, HEAD);
        float q[HEAD], k[HEAD] = {3e38f, 3e38f, -3e38f, -3e38f}, v[HEAD] = {0}, out[HEAD];
        for (size_t d = 0; d < HEAD; d++) q[d] = 100;
        assert_int_equal(table->kv_store(c.pages[0], &c.head, 5, k, v, HEAD), 0);
        attend(table, &c, q, out, N_POS, 1, 1, 1.0f);
        for (size_t d = 0; d < HEAD; d++) assert_false(isfinite(out[d]));
        cache_free(&c);
    }
}

/* Keys [4 blocks][n_embd_head][16 positions], values [64][n_embd_head]; no other byte changes. */
static void kv_store_writes_keys_transposed(void **state)
{
    (void)state;
    enum { HEAD = 3, N_HALVES = 2 * KV_PAGE_POSITIONS * HEAD };
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t pos = 0; pos < KV_PAGE_POSITIONS; pos++) {
            uint16_t page[N_HALVES + 1] = {0}, expected[N_HALVES + 1] = {0};
            kv_head head = {NULL, 2, 2 + KV_PAGE_POSITIONS * HEAD * 2, KV_F16, KV_F16};
            float k[HEAD] = {1, 2, 3}, v[HEAD] = {4, 5, 6};
            for (size_t d = 0; d < HEAD; d++) {
                expected[1 + pos / 16 * 16 * HEAD + d * 16 + pos % 16] = quant_f32_to_f16(k[d]);
                expected[1 + KV_PAGE_POSITIONS * HEAD + pos * HEAD + d] = quant_f32_to_f16(v[d]);
            }
            assert_int_equal(table->kv_store((uint8_t *)page, &head, pos, k, v, HEAD), 0);
            assert_memory_equal(page, expected, sizeof page);
        }
    }
}

/* q8_0: a group of keys is 16 f16 scales and [32][16] int8, values are scales [n / 32][64] and then rows. */
static void kv_store_writes_q8_0_beside_its_scales(void **state)
{
    (void)state;
    enum { HEAD = 64, RUN = KV_PAGE_POSITIONS * (HEAD + 2 * HEAD / 32) };
    const kernels *table;
    assert_int_equal(kv_run_bytes(KV_Q8_0, HEAD), RUN);
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t pos = 0; pos < KV_PAGE_POSITIONS; pos++) {
            uint8_t page[2 * RUN + 2] = {0}, expected[2 * RUN + 2] = {0};
            kv_head head = {NULL, 2, 2 + RUN, KV_Q8_0, KV_Q8_0};
            float *k = new_floats(HEAD), *v = new_floats(HEAD);
            for (size_t d = 0; d < HEAD; d++) {
                int8_t kq[32], vq[32];
                uint16_t ks = quant_f32_to_f16(contract_quantize(kq, k + d / 32 * 32, 32));
                uint16_t vs = quant_f32_to_f16(contract_quantize(vq, v + d / 32 * 32, 32));
                uint8_t *group = expected + 2 + (pos / 16 * (HEAD / 32) + d / 32) * 544;
                memcpy(group + 2 * (pos % 16), &ks, 2);
                group[32 + d % 32 * 16 + pos % 16] = (uint8_t)kq[d % 32];
                memcpy(expected + 2 + RUN + (d / 32 * 64 + pos) * 2, &vs, 2);
                expected[2 + RUN + HEAD / 32 * 128 + pos * HEAD + d] = (uint8_t)vq[d % 32];
            }
            assert_int_equal(table->kv_store(page, &head, pos, k, v, HEAD), 0);
            assert_memory_equal(page, expected, sizeof page);
            free(k);
            free(v);
        }
    }
}

/* 127 * 65520 / 127 is where the scale becomes infinite. */
static void kv_store_of_a_scale_that_does_not_fit_stores_zeros(void **state)
{
    (void)state;
    enum { HEAD = 32 };
    static const struct {
        float value;
        int fails;
    } cases[] = {{8321039.0f, 0}, {8321040.0f, 1}, {-8321040.0f, 1}, {3e38f, 1}, {INFINITY, 1}, {-INFINITY, 1}, {NAN, 1}};
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
            for (int is_value = 0; is_value < 2; is_value++) {
                float good[HEAD] = {1}, bad[HEAD] = {1};
                bad[n + 5] = cases[n].value;
                uint8_t page[2 * KV_PAGE_POSITIONS * (HEAD + 2)] = {0}, zeros[sizeof page] = {0};
                kv_head head = {NULL, 0, sizeof page / 2, KV_Q8_0, KV_Q8_0};
                int result = table->kv_store(page, &head, 7, is_value ? good : bad, is_value ? bad : good, HEAD);
                assert_int_equal(result, cases[n].fails);
                assert_int_equal(memcmp(page, zeros, sizeof page) == 0, cases[n].fails);
            }
        }
    }
}

static void kv_store_of_a_value_that_does_not_fit_stores_zeros(void **state)
{
    (void)state;
    static const struct {
        float value;
        int f16_fails, f32_fails;
    } cases[] = {{65504, 0, 0},    {65519.996f, 0, 0}, {65520, 1, 0}, {-65520, 1, 0},
                 {INFINITY, 1, 1}, {-INFINITY, 1, 1},  {NAN, 1, 1}};
    const kernels *table;
    for (size_t i = 0; (table = next_table(&i));) {
        for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
            for (int is_value = 0; is_value < 2; is_value++) {
                float k[2] = {1, is_value ? 1 : cases[n].value}, v[2] = {is_value ? cases[n].value : 1, 1};
                uint8_t page[2 * KV_PAGE_POSITIONS * 2 * 4] = {0}, zeros[sizeof page] = {0};
                memset(page, 0, sizeof page);
                kv_head f16 = {NULL, 0, sizeof page / 2, KV_F16, KV_F16}, f32 = {NULL, 0, sizeof page / 2, KV_F32, KV_F32};
                assert_int_equal(table->kv_store(page, &f16, 7, k, v, 2), cases[n].f16_fails);
                assert_int_equal(memcmp(page, zeros, sizeof page) == 0, cases[n].f16_fails);
                memset(page, 0, sizeof page);
                assert_int_equal(table->kv_store(page, &f32, 7, k, v, 2), cases[n].f32_fails);
                assert_int_equal(memcmp(page, zeros, sizeof page) == 0, cases[n].f32_fails);
            }
        }
    }
}

static void tables_are_found_by_name(void **state)
{
    (void)state;
    assert_non_null(kernels_best());
    assert_ptr_equal(kernels_named(kernels_best()->isa), kernels_best());
    assert_non_null(kernels_named("scalar"));
    assert_null(kernels_named("mmx"));
    assert_null(kernels_named(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rmsnorm_gives_the_contracts_bits),
        cmocka_unit_test(rope_turns_pairs_of_neighbours),
        cmocka_unit_test(swiglu_and_add_give_the_contracts_bits),
        cmocka_unit_test(max_sum_exp_gives_the_contracts_bits),
        cmocka_unit_test(attention_gives_the_contracts_bits),
        cmocka_unit_test(attention_of_an_infinite_score_is_not_finite),
        cmocka_unit_test(kv_store_writes_keys_transposed),
        cmocka_unit_test(kv_store_writes_q8_0_beside_its_scales),
        cmocka_unit_test(kv_store_of_a_scale_that_does_not_fit_stores_zeros),
        cmocka_unit_test(kv_store_of_a_value_that_does_not_fit_stores_zeros),
        cmocka_unit_test(tables_are_found_by_name),
    };
    return cmocka_run_group_tests_name("kernels: vectors and attention", tests, NULL, NULL);
}
