/* test_kv_cache.c: the paged cache against a model that keeps every sequence as a plain list.
 *
 * Each position that is appended gets a number of its own, written into every element of every layer and head, so any page that is
 * shared when it should not be, lost, or given out twice shows as a wrong number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "counting_allocator.h"
#include "kv_cache.h"
#include "prng.h"

enum { N_SEQ = 5, N_CTX = 200, N_LAYER = 2, N_HEAD_KV = 2, N_EMBD_HEAD = 3 };

static const kv_cache_spec small_spec = {.n_layer = N_LAYER,
                                         .n_head_kv = N_HEAD_KV,
                                         .n_embd_head = N_EMBD_HEAD,
                                         .n_ctx = N_CTX,
                                         .n_seq = N_SEQ,
                                         .type_k = KV_F32,
                                         .type_v = KV_F16};

static kv_cache *new_cache(const kv_cache_spec *spec)
{
    kv_cache *c;
    yl_error err;
    assert_int_equal(kv_cache_new(&c, spec, allocator_heap(), &err), YL_OK);
    return c;
}

/* ---- writing and reading a position's number ---- */

/* Numbers up to 2047 are exact in f16; the head's place is mixed in. */
static float number_at(uint32_t number, uint32_t layer, uint32_t head, uint32_t d)
{
    return (float)((number * 37 + layer * 11 + head * 5 + d) % 2047 + 1);
}

static void write_position(kv_cache *c, uint32_t seq, uint32_t pos, uint32_t number)
{
    uint8_t *page = kv_cache_page(c, seq, pos);
    for (uint32_t layer = 0; layer < N_LAYER; layer++) {
        for (uint32_t head = 0; head < N_HEAD_KV; head++) {
            kv_head h = kv_cache_head(c, seq, layer, head);
            float x[N_EMBD_HEAD];
            for (uint32_t d = 0; d < N_EMBD_HEAD; d++) x[d] = number_at(number, layer, head, d);
            assert_int_equal(kernels_named("scalar")->kv_store(page, &h, pos % KV_PAGE_POSITIONS, x, x, N_EMBD_HEAD), 0);
        }
    }
}

static float key_at(const kv_head *h, uint32_t pos, uint32_t d)
{
    size_t block = pos % KV_PAGE_POSITIONS / KV_BLOCK_POSITIONS, lane = pos % KV_BLOCK_POSITIONS;
    float f;
    memcpy(&f, h->pages[pos / KV_PAGE_POSITIONS] + h->k_offset + ((block * N_EMBD_HEAD + d) * KV_BLOCK_POSITIONS + lane) * 4, 4);
    return f;
}

static float value_at(const kv_head *h, uint32_t pos, uint32_t d)
{
    uint16_t f;
    memcpy(&f, h->pages[pos / KV_PAGE_POSITIONS] + h->v_offset + (pos % KV_PAGE_POSITIONS * N_EMBD_HEAD + d) * 2, 2);
    return quant_f16_to_f32(f);
}

static void check_position(const kv_cache *c, uint32_t seq, uint32_t pos, uint32_t number)
{
    for (uint32_t layer = 0; layer < N_LAYER; layer++) {
        for (uint32_t head = 0; head < N_HEAD_KV; head++) {
            kv_head h = kv_cache_head(c, seq, layer, head);
            for (uint32_t d = 0; d < N_EMBD_HEAD; d++) {
                assert_true(key_at(&h, pos, d) == number_at(number, layer, head, d));
                assert_true(value_at(&h, pos, d) == number_at(number, layer, head, d));
            }
        }
    }
}

/* ---- the plain list ---- */

typedef struct plain_cache {
    uint32_t n[N_SEQ], numbers[N_SEQ][N_CTX], next_number;
} plain_cache;

static void append_both(kv_cache *c, plain_cache *p, uint32_t seq, uint32_t n)
{
    yl_error err;
    if (n > N_CTX - p->n[seq]) {
        assert_int_equal(kv_cache_append(c, seq, n, &err), YL_ELIMIT);
        return;
    }
    assert_int_equal(kv_cache_append(c, seq, n, &err), YL_OK);
    for (uint32_t i = 0; i < n; i++) {
        p->numbers[seq][p->n[seq]] = ++p->next_number;
        write_position(c, seq, p->n[seq]++, p->next_number);
    }
}

static void truncate_both(kv_cache *c, plain_cache *p, uint32_t seq, uint32_t n)
{
    kv_cache_truncate(c, seq, n);
    if (n < p->n[seq]) p->n[seq] = n;
}

static void fork_both(kv_cache *c, plain_cache *p, uint32_t from, uint32_t to, uint32_t n)
{
    yl_error err;
    if (n > p->n[from]) {
        assert_int_equal(kv_cache_fork(c, from, to, n, &err), YL_ELIMIT);
        return;
    }
    assert_int_equal(kv_cache_fork(c, from, to, n, &err), YL_OK);
    memcpy(p->numbers[to], p->numbers[from], n * sizeof(uint32_t));
    p->n[to] = n;
}

static void clear_both(kv_cache *c, plain_cache *p)
{
    kv_cache_clear(c);
    memset(p->n, 0, sizeof p->n);
}

static void random_operation(kv_cache *c, plain_cache *p, prng *r)
{
    uint32_t seq = (uint32_t)prng_int(r, 0, N_SEQ), other = (seq + (uint32_t)prng_int(r, 1, N_SEQ)) % N_SEQ;
    int dice = prng_int(r, 0, 100);
    if (dice < 45)
        append_both(c, p, seq, (uint32_t)prng_int(r, 0, dice < 35 ? 20 : 150));
    else if (dice < 70)
        truncate_both(c, p, seq, (uint32_t)prng_int(r, 0, N_CTX));
    else if (dice < 99)
        fork_both(c, p, seq, other, (uint32_t)prng_int(r, 0, (int)p->n[seq] + 2));
    else
        clear_both(c, p);
}

static void check_both(const kv_cache *c, const plain_cache *p)
{
    for (uint32_t seq = 0; seq < N_SEQ; seq++) {
        assert_int_equal(kv_cache_length(c, seq), p->n[seq]);
        for (uint32_t pos = 0; pos < p->n[seq]; pos++) check_position(c, seq, pos, p->numbers[seq][pos]);
    }
}

/* Whatever is appended, truncated, forked and cleared, each sequence holds what it would hold alone. */
static void sequences_are_as_if_alone(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        prng r = prng_stream(seed, 1, 2);
        kv_cache *c = new_cache(&small_spec);
        plain_cache p = {0};
        for (int i = 0; i < 200; i++) {
            random_operation(c, &p, &r);
            check_both(c, &p);
        }
        kv_cache_free(c);
    }
}

/* After any history every sequence can be filled to its limit: no page was lost, and none is missing for copies. */
static void no_page_leaks(void **state)
{
    (void)state;
    kv_cache *c = new_cache(&small_spec);
    plain_cache p = {0};
    prng r = prng_stream(7, 0, 0);
    for (int round = 0; round < 30; round++) {
        for (int i = 0; i < 30; i++) random_operation(c, &p, &r);
        for (uint32_t seq = 0; seq < N_SEQ; seq++) append_both(c, &p, seq, N_CTX - p.n[seq]);
        check_both(c, &p);
        for (uint32_t seq = 0; seq < N_SEQ; seq++) truncate_both(c, &p, seq, (uint32_t)prng_int(&r, 0, N_CTX));
    }
    kv_cache_free(c);
}

/* All sequences share one, then all go on inside the shared page: the most copies that can be asked for. */
static void every_fork_can_go_on(void **state)
{
    (void)state;
    kv_cache *c = new_cache(&small_spec);
    plain_cache p = {0};
    append_both(c, &p, 0, N_CTX - 1);
    for (uint32_t seq = 1; seq < N_SEQ; seq++) fork_both(c, &p, 0, seq, N_CTX - 1);
    for (uint32_t seq = 0; seq < N_SEQ; seq++) append_both(c, &p, seq, 1);
    check_both(c, &p);
    kv_cache_free(c);
}

/* Full pages are shared, and stay so; a partly filled one is copied when one side goes on. */
static void a_fork_shares_pages_until_they_are_written(void **state)
{
    (void)state;
    kv_cache *c = new_cache(&small_spec);
    plain_cache p = {0};
    append_both(c, &p, 0, 100);
    fork_both(c, &p, 0, 1, 100);
    append_both(c, &p, 1, 1);
    assert_ptr_equal(kv_cache_page(c, 0, 0), kv_cache_page(c, 1, 0));
    assert_ptr_not_equal(kv_cache_page(c, 0, 99), kv_cache_page(c, 1, 99));
    uint8_t *own = kv_cache_page(c, 0, 99);
    append_both(c, &p, 0, 1); /* nobody shares it any more: no copy */
    assert_ptr_equal(kv_cache_page(c, 0, 100), own);
    check_both(c, &p);
    kv_cache_free(c);
}

/* Attention loads whole blocks of 16 positions: what lies behind the end must be finite. */
static void slots_behind_the_end_of_a_used_page_are_zeroed(void **state)
{
    (void)state;
    kv_cache *c = new_cache(&small_spec);
    yl_error err;
    assert_int_equal(kv_cache_append(c, 0, 64, &err), YL_OK);
    uint8_t *page = kv_cache_page(c, 0, 0);
    size_t page_bytes = N_LAYER * N_HEAD_KV * KV_PAGE_POSITIONS * N_EMBD_HEAD * (4 + 2);
    memset(page, 0xff, page_bytes); /* NaN everywhere */
    kv_cache_clear(c);
    assert_int_equal(kv_cache_append(c, 3, 1, &err), YL_OK);
    assert_ptr_equal(kv_cache_page(c, 3, 0), page); /* a used page is taken before a fresh one */
    for (size_t i = 0; i < page_bytes; i++) assert_int_equal(page[i], 0);
    kv_cache_free(c);
}

static void pages_are_aligned(void **state)
{
    (void)state;
    kv_cache *c = new_cache(&small_spec);
    yl_error err;
    assert_int_equal(kv_cache_append(c, 1, N_CTX, &err), YL_OK);
    for (uint32_t pos = 0; pos < N_CTX; pos += KV_PAGE_POSITIONS) assert_int_equal((uintptr_t)kv_cache_page(c, 1, pos) % 64, 0);
    kv_head last = kv_cache_head(c, 1, N_LAYER - 1, N_HEAD_KV - 1);
    assert_int_equal(last.k_offset % 64, 0);
    assert_int_equal(last.v_offset % 64, 0);
    kv_cache_free(c);
}

static void a_slice_without_layers_keeps_lengths(void **state)
{
    (void)state;
    kv_cache_spec spec = small_spec;
    spec.n_layer = 0;
    kv_cache *c = new_cache(&spec);
    yl_error err;
    assert_int_equal(kv_cache_append(c, 0, 130, &err), YL_OK);
    assert_int_equal(kv_cache_fork(c, 0, 1, 100, &err), YL_OK);
    assert_int_equal(kv_cache_append(c, 1, 100, &err), YL_OK);
    assert_int_equal(kv_cache_append(c, 1, 1, &err), YL_ELIMIT);
    kv_cache_truncate(c, 0, 3);
    assert_int_equal(kv_cache_length(c, 0), 3);
    assert_int_equal(kv_cache_length(c, 1), 200);
    kv_cache_clear(c);
    assert_int_equal(kv_cache_length(c, 1), 0);
    kv_cache_free(c);
}

/* Heads of a page lie one behind the other, keys before values, each with room for what its type takes. */
static void heads_do_not_overlap(void **state)
{
    (void)state;
    kv_cache_spec spec = small_spec;
    spec.type_k = KV_Q8_0;
    spec.n_embd_head = 64;
    kv_cache *c = new_cache(&spec);
    yl_error err;
    assert_int_equal(kv_cache_append(c, 2, 70, &err), YL_OK);
    size_t offset = 0;
    for (uint32_t layer = 0; layer < N_LAYER; layer++) {
        for (uint32_t head = 0; head < N_HEAD_KV; head++) {
            kv_head h = kv_cache_head(c, 2, layer, head);
            assert_int_equal(h.k_offset, offset);
            assert_int_equal(h.v_offset, offset + KV_PAGE_POSITIONS * (64 + 2 * 2)); /* two f16 scales for 64 int8 */
            offset = h.v_offset + KV_PAGE_POSITIONS * 64 * 2;
        }
    }
    assert_int_equal(kv_cache_page(c, 2, 64) - kv_cache_page(c, 2, 63), offset);
    kv_cache_free(c);
}

static void impossible_shapes_are_refused(void **state)
{
    (void)state;
    kv_cache *c;
    yl_error err;
    kv_cache_spec zero = small_spec, type = small_spec, huge = small_spec;
    zero.n_ctx = 0;
    assert_int_equal(kv_cache_new(&c, &zero, allocator_heap(), &err), YL_EINVAL);
    assert_null(c);
    type.type_v = (kv_type)7;
    assert_int_equal(kv_cache_new(&c, &type, allocator_heap(), &err), YL_EINVAL);
    type.type_v = KV_Q8_0; /* heads of 3 */
    assert_int_equal(kv_cache_new(&c, &type, allocator_heap(), &err), YL_EINVAL);
    assert_non_null(strstr(err.msg, "multiple"));
    assert_null(c);
    huge.n_ctx = huge.n_seq = huge.n_head_kv = huge.n_embd_head = huge.n_layer = UINT32_MAX;
    assert_true(kv_cache_bytes(&huge) == UINT64_MAX);
    assert_int_equal(kv_cache_new(&c, &huge, allocator_heap(), &err), YL_ELIMIT);
    assert_null(c);
}

static void bytes_are_told_exactly(void **state)
{
    (void)state;
    counting_allocator count;
    counting_allocator_init(&count, 0);
    kv_cache *c;
    assert_int_equal(kv_cache_new(&c, &small_spec, &count.allocator, NULL), YL_OK);
    assert_int_equal(count.n_bytes, kv_cache_bytes(&small_spec));
    size_t n_calls = count.n_calls;
    for (uint32_t seq = 0; seq < N_SEQ; seq++) assert_int_equal(kv_cache_append(c, seq, N_CTX, NULL), YL_OK);
    assert_int_equal(kv_cache_fork(c, 0, 1, 70, NULL), YL_OK);
    assert_int_equal(kv_cache_append(c, 1, 1, NULL), YL_OK);
    assert_int_equal(count.n_calls, n_calls); /* nothing is allocated while tokens pass */
    kv_cache_free(c);
    assert_int_equal(count.n_live, 0);
}

static void failing_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    yl_status status = YL_ENOMEM;
    for (size_t k = 1; status; k++) {
        counting_allocator count;
        counting_allocator_init(&count, k);
        kv_cache *c;
        yl_error err;
        status = kv_cache_new(&c, &small_spec, &count.allocator, &err);
        assert_int_equal(status, status ? YL_ENOMEM : YL_OK);
        assert_int_equal(c == NULL, status != YL_OK);
        assert_in_range(k, 1, 20);
        kv_cache_free(c);
        assert_int_equal(count.n_live, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_are_as_if_alone),
        cmocka_unit_test(no_page_leaks),
        cmocka_unit_test(every_fork_can_go_on),
        cmocka_unit_test(a_fork_shares_pages_until_they_are_written),
        cmocka_unit_test(slots_behind_the_end_of_a_used_page_are_zeroed),
        cmocka_unit_test(pages_are_aligned),
        cmocka_unit_test(a_slice_without_layers_keeps_lengths),
        cmocka_unit_test(heads_do_not_overlap),
        cmocka_unit_test(impossible_shapes_are_refused),
        cmocka_unit_test(bytes_are_told_exactly),
        cmocka_unit_test(failing_memory_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
