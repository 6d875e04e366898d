/* test_native_cache.c: a slice's tensors hashed, tiled and found, without a worker around it. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "model_maker.h"
#include "native_cache.h"
#include "scratch_dir.h"
#include "slice_range.h"
#include "tensor_hashes.h"
#include "tile.h"
#include "tile_cache_index.h"

enum { MAX_TENSORS = 64, N_THREADS = 3 };

typedef struct rig {
    scratch_dir dir;
    char model[SCRATCH_PATH_BYTES], cache[SCRATCH_PATH_BYTES];
    hparams hp;
    native_source *source;
    thread_pool *pool;
    frame_tensor tensors[MAX_TENSORS]; /* of the whole model */
    const gguf_tensor *sources[MAX_TENSORS];
    uint32_t n;
    int n_damages;
} rig;

static void make_model(rig *r, const model_spec *spec)
{
    yl_error err = {0};
    if (model_maker_write(r->model, spec, &err)) fail_msg("%s", err.msg);
}

static void open_model(rig *r)
{
    yl_error err = {0};
    if (native_source_new(&r->source, r->model, &err)) fail_msg("%s", err.msg);
    const gguf *g = native_source_model(r->source);
    if (hparams_read(&r->hp, g, &err)) fail_msg("%s", err.msg);
    slice_range range = {.has_embd = true, .has_head = true, .layer_end = r->hp.n_layer};
    r->n = 0;
    for (uint32_t i = 0; i < slice_range_n_tensors(&range); i++) {
        slice_tensor st = slice_range_tensor_at(&range, &r->hp, i);
        const gguf_tensor *t;
        assert_int_equal(hparams_find_tensor(&t, g, &r->hp, st.role, st.layer, NULL), YL_OK);
        if (!t) continue;
        r->sources[r->n] = t;
        r->tensors[r->n++] =
            (frame_tensor){.role = st.role, .layer = st.layer, .type = t->type, .n_rows = t->ne[1], .n_cols = t->ne[0]};
    }
}

static void close_model(rig *r)
{
    native_source_free(r->source);
    r->source = NULL;
}

/* Two layers of several formats; the vocabulary is no multiple of 16. */
static model_spec small_spec(void)
{
    model_spec spec = model_spec_default();
    spec.hp.n_vocab = 323;
    spec.types[TENSOR_ATTN_Q] = QUANT_Q8_0;
    spec.types[TENSOR_ATTN_K] = QUANT_F16;
    spec.types[TENSOR_FFN_GATE] = QUANT_Q4_K;
    spec.types[TENSOR_FFN_UP] = QUANT_Q5_1;
    spec.types[TENSOR_FFN_DOWN] = QUANT_Q6_K;
    spec.types[TENSOR_OUTPUT] = QUANT_Q3_K;
    return spec;
}

static int set_up(void **state)
{
    rig *r = calloc(1, sizeof *r);
    *state = r;
    if (!scratch_dir_init(&r->dir)) return -1;
    scratch_dir_path(&r->dir, r->model, "m.gguf");
    scratch_dir_path(&r->dir, r->cache, "cache");
    assert_int_equal(thread_pool_new(&r->pool, N_THREADS, NULL), YL_OK);
    return 0;
}

static int tear_down(void **state)
{
    rig *r = *state;
    close_model(r);
    thread_pool_free(r->pool);
    tile_cache *c;
    tile_cache_entry *entries;
    size_t n;
    if (!tile_cache_open(&c, r->cache, 0, NULL)) {
        tile_cache_list(&entries, &n, c, NULL);
        for (size_t i = 0; i < n; i++) assert_int_equal(tile_cache_remove(c, entries[i].name), TILE_CACHE_REMOVED);
        free(entries);
        tile_cache_index_remove_all(c);
        tile_cache_free(c);
        assert_int_equal(rmdir(r->cache), 0); /* nothing else stays */
    }
    scratch_dir_clear(&r->dir);
    free(r);
    return 0;
}

/* ---- hashes ---- */

/* Against the library's own, with a tensor that takes several steps of several pieces. */
static void hashes_are_those_of_whole_tensors(void **state)
{
    rig *r = *state;
    model_spec spec = model_spec_default();
    spec.hp.n_vocab = 80000; /* 82 MB, twice */
    make_model(r, &spec);
    open_model(r);
    tensor_hash *list = calloc(r->n, sizeof *list);
    for (uint32_t i = 0; i < r->n; i++) list[i] = (tensor_hash){native_source_model(r->source), r->sources[i], {0}};
    tensor_hashes *h;
    assert_int_equal(tensor_hashes_new(&h, list, r->n, r->pool, NULL), YL_OK);
    int n_steps = 1;
    while (!tensor_hashes_step(h)) n_steps++;
    assert_true(n_steps > 1);
    tensor_hashes_free(h);
    for (uint32_t i = 0; i < r->n; i++) {
        uint8_t expected[TILE_CACHE_HASH_BYTES];
        EVP_Digest(list[i].tensor->data, (size_t)list[i].tensor->n_bytes, expected, NULL, EVP_sha256(), NULL);
        assert_memory_equal(list[i].hash, expected, sizeof expected);
    }
    free(list);
}

/* ---- the store ---- */

static void ignore_line(void *ctx, int level, const char *line)
{
    (void)ctx;
    (void)level;
    (void)line;
}

static void count_damage(void *ctx, uint64_t epoch, const yl_error *cause)
{
    (void)epoch;
    (void)cause;
    ((rig *)ctx)->n_damages++;
}

static native_cache *new_cache(rig *r)
{
    native_cache_options o = {
        .dir = r->cache, .source = r->source, .pool = r->pool, .say = ignore_line, .on_damage = count_damage, .ctx = r};
    native_cache *c;
    yl_error err;
    if (native_cache_new(&c, &o, &err)) fail_msg("%s", err.msg);
    return c;
}

static yl_status load(const rig *r, const weight_store *s, bool may_make, yl_error *err)
{
    weight_order order = {.epoch = 1, .tensors = r->tensors, .n = r->n, .from_source = r->source != NULL, .may_make = may_make};
    yl_status status = s->begin(s->ctx, &order, err);
    double share = 0, before = 0;
    for (bool is_done = false; !status && !is_done; before = share) {
        status = s->step(s->ctx, &is_done, &share, err);
        if (!status) assert_true(share >= before && share <= 1);
    }
    if (!status) assert_true(share == 1);
    return status;
}

/* What the store has of tensor i is what tiling its bytes gives. */
static void expect_tiles(const rig *r, const weight_store *s, uint32_t i)
{
    const frame_tensor *t = &r->tensors[i];
    const uint8_t *found = s->find(s->ctx, i);
    assert_int_equal(found == NULL, t->role == TENSOR_ROPE_FREQS);
    if (!found) return;
    assert_int_equal((uintptr_t)found % TILE_ALIGNMENT, 0);
    if (hparams_tensor_spec(&r->hp, t->role).is_vector) {
        assert_memory_equal(found, r->sources[i]->data, r->sources[i]->n_bytes);
        return;
    }
    uint64_t n;
    assert_true(tile_matrix_bytes(t->type, t->n_rows, t->n_cols, &n));
    const allocator *heap = allocator_heap();
    uint8_t *expected = heap->alloc(heap->ctx, (size_t)n);
    tile_put(expected, t->type, (size_t)t->n_rows, (size_t)t->n_cols, 0, r->sources[i]->data, (size_t)r->sources[i]->n_bytes);
    assert_memory_equal(found, expected, (size_t)n);
    heap->release(heap->ctx, expected, (size_t)n);
}

static void what_is_made_are_the_models_tiles(void **state)
{
    rig *r = *state;
    model_spec spec = small_spec();
    make_model(r, &spec);
    open_model(r);
    native_cache *c = new_cache(r);
    weight_store s = native_cache_view(c);
    yl_error err = {0};
    if (load(r, &s, false, &err)) fail_msg("%s", err.msg); /* nothing is there, and nothing may be made */
    for (uint32_t i = 0; i < r->n; i++) assert_null(s.find(s.ctx, i));
    s.end(s.ctx);
    for (int start = 0; start < 2; start++) {
        if (load(r, &s, true, &err)) fail_msg("%s", err.msg);
        for (uint32_t i = 0; i < r->n; i++) expect_tiles(r, &s, i);
        s.end(s.ctx);
    }
    if (load(r, &s, false, &err)) fail_msg("%s", err.msg);
    for (uint32_t i = 0; i < r->n; i++) expect_tiles(r, &s, i);
    s.end(s.ctx);
    native_cache_free(c);
    assert_int_equal(r->n_damages, 0);
}

/* The slice goes in the middle of the work, at every step of it. */
static void work_can_end_at_any_step(void **state)
{
    rig *r = *state;
    model_spec spec = small_spec();
    make_model(r, &spec);
    open_model(r);
    native_cache *c = new_cache(r);
    weight_store s = native_cache_view(c);
    bool is_done = false;
    double share = 0;
    for (int n_steps = 0; !is_done; n_steps++) {
        weight_order order = {.epoch = 1, .tensors = r->tensors, .n = r->n, .from_source = true, .may_make = true};
        assert_int_equal(s.begin(s.ctx, &order, NULL), YL_OK);
        for (int i = 0; i < n_steps && !is_done; i++) assert_int_equal(s.step(s.ctx, &is_done, &share, NULL), YL_OK);
        if (is_done)
            for (uint32_t i = 0; i < r->n; i++) expect_tiles(r, &s, i);
        s.end(s.ctx);
    }
    native_cache_free(c);
}

static void a_number_that_is_not_finite_is_named(void **state)
{
    rig *r = *state;
    model_spec spec = small_spec();
    make_model(r, &spec);
    open_model(r);
    uint32_t i = 0;
    while (r->tensors[i].role != TENSOR_ATTN_Q || r->tensors[i].type != QUANT_Q8_0) i++;
    /* the scale of block 20 of a tensor of blocks of 34 bytes */
    static const uint8_t INFINITE[2] = {0x00, 0x7c};
    off_t at = (off_t)r->sources[i]->offset + 20 * 34;
    close_model(r);
    int fd = open(r->model, O_RDWR);
    assert_int_equal(pwrite(fd, INFINITE, 2, at), 2);
    close(fd);
    open_model(r);
    native_cache *c = new_cache(r);
    weight_store s = native_cache_view(c);
    yl_error err = {0};
    assert_int_equal(load(r, &s, true, &err), YL_EFORMAT);
    assert_non_null(strstr(err.msg, "attn_q.weight: block 20 of"));
    s.end(s.ctx);
    native_cache_free(c);
}

/* ---- what is kept of what was sent ---- */

static uint8_t *tiles_of(const rig *r, uint32_t i, size_t *n)
{
    const frame_tensor *t = &r->tensors[i];
    const allocator *heap = allocator_heap();
    uint64_t n_tiles;
    bool is_vector = hparams_tensor_spec(&r->hp, t->role).is_vector;
    assert_true(tile_matrix_bytes(t->type, t->n_rows, t->n_cols, &n_tiles));
    *n = is_vector ? (size_t)r->sources[i]->n_bytes : (size_t)n_tiles;
    uint8_t *tiles = heap->alloc(heap->ctx, *n);
    if (is_vector)
        memcpy(tiles, r->sources[i]->data, *n);
    else
        tile_put(tiles, t->type, (size_t)t->n_rows, (size_t)t->n_cols, 0, r->sources[i]->data, (size_t)r->sources[i]->n_bytes);
    return tiles;
}

static weight_order sent_order(rig *r)
{
    static const uint8_t ID[FRAME_ID_BYTES] = {0xab, 0xcd};
    for (uint32_t i = 0; i < r->n; i++) {
        r->tensors[i].has_hash = true;
        EVP_Digest(r->sources[i]->data, (size_t)r->sources[i]->n_bytes, r->tensors[i].hash, NULL, EVP_sha256(), NULL);
    }
    return (weight_order){.epoch = 1, .model_id = {ID, sizeof ID}, .tensors = r->tensors, .n = r->n, .may_make = true};
}

static void finish_steps(const weight_store *s)
{
    bool is_done = false;
    double share;
    while (!is_done) assert_int_equal(s->step(s->ctx, &is_done, &share, NULL), YL_OK);
}

/* Last tensor first: the order does not matter. */
static void keep_all(const rig *r, const weight_store *s)
{
    for (uint32_t i = r->n; i-- > 0;) {
        size_t n;
        uint8_t *tiles = tiles_of(r, i, &n);
        assert_int_equal(s->wants(s->ctx, i), r->tensors[i].role != TENSOR_ROPE_FREQS);
        while (s->wants(s->ctx, i)) s->keep(s->ctx, i, tiles);
        allocator_heap()->release(allocator_heap()->ctx, tiles, n);
    }
}

static void what_was_sent_is_kept_under_the_names_of_what_is_made(void **state)
{
    rig *r = *state;
    model_spec spec = small_spec();
    make_model(r, &spec);
    open_model(r);
    native_source *source = r->source;
    weight_order order = sent_order(r);
    yl_error err = {0};
    for (int pass = 0; pass < 3; pass++) { /* sent; found by a worker without the model; and by one that has it */
        r->source = pass < 2 ? NULL : source;
        order.from_source = pass == 2;
        native_cache *c = new_cache(r);
        weight_store s = native_cache_view(c);
        if (s.begin(s.ctx, &order, &err)) fail_msg("%s", err.msg);
        finish_steps(&s);
        assert_int_equal(s.own_bytes(s.ctx) > 0, pass == 0);
        if (pass == 0) keep_all(r, &s);
        assert_int_equal(s.own_bytes(s.ctx), 0);
        for (uint32_t i = 0; i < r->n; i++) {
            assert_false(s.wants(s.ctx, i));
            expect_tiles(r, &s, i);
        }
        s.end(s.ctx);
        native_cache_free(c);
    }
    r->source = source;
    assert_int_equal(r->n_damages, 0);
}

static void keeping_can_end_in_the_middle(void **state)
{
    rig *r = *state;
    model_spec spec = small_spec();
    make_model(r, &spec);
    open_model(r);
    native_source *source = r->source;
    r->source = NULL;
    weight_order order = sent_order(r);
    native_cache *c = new_cache(r);
    weight_store s = native_cache_view(c);
    for (uint32_t n_kept = 0; n_kept < r->n; n_kept++) {
        assert_int_equal(s.begin(s.ctx, &order, NULL), YL_OK);
        finish_steps(&s);
        for (uint32_t i = 0; i < n_kept; i++) {
            size_t n;
            uint8_t *tiles = tiles_of(r, i, &n);
            while (s.wants(s.ctx, i)) s.keep(s.ctx, i, tiles);
            allocator_heap()->release(allocator_heap()->ctx, tiles, n);
        }
        s.end(s.ctx); /* tear_down sees that nothing half is left */
    }
    native_cache_free(c);
    r->source = source;
}

/* The worker's own file is not what the coordinator's is, though its samples are the same. */
static void another_hash_than_the_coordinators_is_told(void **state)
{
    rig *r = *state;
    model_spec spec = small_spec();
    make_model(r, &spec);
    open_model(r);
    weight_order order = sent_order(r);
    order.from_source = true;
    uint32_t i = 0;
    while (r->tensors[i].role != TENSOR_FFN_DOWN) i++;
    r->tensors[i].hash[0] ^= 1;
    native_cache *c = new_cache(r);
    weight_store s = native_cache_view(c);
    yl_error err = {0};
    yl_status status = s.begin(s.ctx, &order, &err);
    bool is_done = false;
    double share;
    while (!status && !is_done) status = s.step(s.ctx, &is_done, &share, &err);
    assert_int_equal(status, YL_EFORMAT);
    assert_non_null(strstr(err.msg, "blk.0.ffn_down.weight has other bytes than the coordinator's"));
    s.end(s.ctx);
    native_cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hashes_are_those_of_whole_tensors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_made_are_the_models_tiles, set_up, tear_down),
        cmocka_unit_test_setup_teardown(work_can_end_at_any_step, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_number_that_is_not_finite_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_sent_is_kept_under_the_names_of_what_is_made, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keeping_can_end_in_the_middle, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_hash_than_the_coordinators_is_told, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
