/* test_slice.c: lists of tensors that a peer may announce, and bytes that come in chunks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "counting_allocator.h"
#include "slice.h"
#include "tile.h"
#include "toy_model.h"

static const hparams small_hp = {.n_vocab = 40,
                                 .n_ctx_train = 64,
                                 .n_embd = 64,
                                 .n_layer = 3,
                                 .n_ff = 96,
                                 .n_head = 4,
                                 .n_head_kv = 2,
                                 .n_embd_head = 16,
                                 .n_rot = 16,
                                 .rms_eps = 1e-5f,
                                 .rope_freq_base = 10000,
                                 .rope_factor = 1,
                                 .rope_orig_ctx = 64,
                                 .rope_attn_factor = 1,
                                 .rope_ext_factor = 1,
                                 .rope_beta_fast = 32,
                                 .rope_beta_slow = 1};

enum { MAX_LIST = 80 };

typedef struct list {
    frame_tensor tensors[MAX_LIST];
    const toy_tensor *sources[MAX_LIST];
    uint32_t n;
} list;

static toy_model *new_model(bool tied, bool has_biases)
{
    toy_spec spec = {.hp = small_hp, .has_biases = has_biases, .has_rope_factors = true, .seed = 3};
    spec.hp.tied_embeddings = tied;
    toy_spec_set_types(&spec, QUANT_Q8_0);
    return toy_model_new(&spec);
}

/* The list that a coordinator would send. */
static list list_for(const toy_model *m, slice_range range)
{
    list l = {.n = 0};
    for (uint32_t i = 0; i < slice_range_n_tensors(&range); i++) {
        slice_tensor wanted = slice_range_tensor_at(&range, &m->hp, i);
        const toy_tensor *t = toy_model_find(m, wanted.role, wanted.layer);
        if (!t) continue;
        l.sources[l.n] = t;
        l.tensors[l.n++] =
            (frame_tensor){.role = t->role, .layer = t->layer, .type = t->type, .n_rows = t->n_rows, .n_cols = t->n_cols};
    }
    return l;
}

static const slice_range whole = {.has_embd = true, .has_head = true, .layer_begin = 0, .layer_end = 3};
static const slice_range middle = {.layer_begin = 1, .layer_end = 2};

static slice *new_slice(const toy_model *m, slice_range range)
{
    list l = list_for(m, range);
    slice *s;
    yl_error err;
    assert_int_equal(slice_new(&s, &m->hp, &range, l.tensors, l.n, allocator_heap(), &err), YL_OK);
    return s;
}

static void use_all(slice *s, const list *l)
{
    for (uint32_t i = 0; i < l->n; i++) assert_int_equal(slice_use(s, i, l->sources[i]->data, NULL), YL_OK);
}

/* Refused with a reason that has `word` in it. */
static void assert_list_refused(const toy_model *m, slice_range range, const list *l, yl_status status, const char *word)
{
    slice *s;
    yl_error err;
    counting_allocator count;
    counting_allocator_init(&count, 0);
    assert_int_equal(slice_new(&s, &m->hp, &range, l->tensors, l->n, &count.allocator, &err), status);
    assert_null(s);
    assert_non_null(strstr(err.msg, word));
    assert_int_equal(count.n_live, 0);
}

/* ---- lists ---- */

static void each_range_of_a_model_makes_a_slice(void **state)
{
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        toy_model *m = new_model(tied, true);
        for (uint32_t begin = 0; begin <= 3; begin++) {
            for (uint32_t end = begin; end <= 3; end++) {
                slice_range range = {.has_embd = begin == 0, .has_head = end == 3, .layer_begin = begin, .layer_end = end};
                if (begin == end && begin != 0 && begin != 3) continue;
                list l = list_for(m, range);
                slice *s = new_slice(m, range);
                assert_false(slice_is_loaded(s));
                use_all(s, &l);
                assert_true(slice_is_loaded(s));
                assert_int_equal(slice_owned_bytes(s), 0);
                slice_free(s);
            }
        }
        toy_model_free(m);
    }
}

static void views_show_the_bytes_that_were_handed_in(void **state)
{
    (void)state;
    toy_model *m = new_model(false, true);
    list l = list_for(m, whole);
    slice *s = new_slice(m, whole);
    use_all(s, &l);
    const layer_weights *w = slice_layer(s, 2);
    assert_ptr_equal(w->attn_norm, toy_model_find(m, TENSOR_ATTN_NORM, 2)->data);
    assert_ptr_equal(w->attn_v.data, toy_model_find(m, TENSOR_ATTN_V, 2)->data);
    assert_ptr_equal(w->ffn_down.data, toy_model_find(m, TENSOR_FFN_DOWN, 2)->data);
    assert_ptr_equal(w->bias_up, toy_model_find(m, TENSOR_FFN_UP_BIAS, 2)->data);
    assert_int_equal(w->attn_v.n_rows, 32);
    assert_int_equal(w->attn_v.n_cols, 64);
    assert_int_equal(w->attn_v.row_bytes, 68);
    assert_int_equal(w->attn_v.type, QUANT_Q8_0);
    assert_ptr_equal(slice_token_embd(s)->data, toy_model_find(m, TENSOR_TOKEN_EMBD, 0)->data);
    assert_ptr_equal(slice_output(s)->data, toy_model_find(m, TENSOR_OUTPUT, 0)->data);
    assert_ptr_equal(slice_output_norm(s), toy_model_find(m, TENSOR_OUTPUT_NORM, 0)->data);
    assert_ptr_equal(slice_rope_factors(s), toy_model_find(m, TENSOR_ROPE_FREQS, 0)->data);
    slice_free(s);
    toy_model_free(m);
}

static void tied_embeddings_serve_as_the_output_matrix(void **state)
{
    (void)state;
    toy_model *m = new_model(true, false);
    slice_range head = {.has_head = true, .layer_begin = 3, .layer_end = 3};
    list l = list_for(m, head);
    slice *s = new_slice(m, head);
    use_all(s, &l);
    assert_ptr_equal(slice_output(s)->data, toy_model_find(m, TENSOR_TOKEN_EMBD, 0)->data);
    slice_free(s);
    toy_model_free(m);
}

static void a_list_without_a_tensor_is_refused(void **state)
{
    (void)state;
    toy_model *m = new_model(false, false);
    list all = list_for(m, whole);
    for (uint32_t missing = 0; missing < all.n; missing++) {
        char name[TENSOR_NAME_BYTES];
        tensor_role role = all.tensors[missing].role;
        if (role == TENSOR_ROPE_FREQS) continue; /* optional */
        list l = all;
        memmove(&l.tensors[missing], &l.tensors[missing + 1], (l.n - missing - 1) * sizeof l.tensors[0]);
        l.n--;
        assert_list_refused(m, whole, &l, YL_EFORMAT, tensor_role_name(name, role, all.tensors[missing].layer));
    }
    toy_model_free(m);
}

static void a_list_with_a_wrong_tensor_is_refused(void **state)
{
    (void)state;
    toy_model *m = new_model(false, true);
    const list good = list_for(m, middle);
    const uint32_t norm = 1, q = 2; /* after rope_freqs */
    assert_int_equal(good.tensors[norm].role, TENSOR_ATTN_NORM);
    assert_int_equal(good.tensors[q].role, TENSOR_ATTN_Q);

    list l = good;
    l.tensors[q] = l.tensors[norm];
    assert_list_refused(m, middle, &l, YL_EFORMAT, "twice");
    l = good;
    l.tensors[q].layer = 2;
    assert_list_refused(m, middle, &l, YL_EFORMAT, "layer 2");
    l = good;
    l.tensors[q].role = (tensor_role)1000;
    assert_list_refused(m, middle, &l, YL_EFORMAT, "role 1000");
    l = good;
    l.tensors[q].role = (tensor_role)-1;
    assert_list_refused(m, middle, &l, YL_EFORMAT, "role");
    l = good;
    l.tensors[q] = (frame_tensor){.role = TENSOR_OUTPUT_NORM, .type = QUANT_F32, .n_rows = 1, .n_cols = 64};
    assert_list_refused(m, middle, &l, YL_EFORMAT, "does not use");
    l = good;
    l.tensors[q].n_rows = 63;
    assert_list_refused(m, middle, &l, YL_EFORMAT, "63 x 64");
    l = good;
    l.tensors[q].type = QUANT_Q4_K; /* rows of 64 */
    assert_list_refused(m, middle, &l, YL_EFORMAT, "Q4_K");
    l = good;
    l.tensors[q].type = (quant_type)16;
    assert_list_refused(m, middle, &l, YL_EFORMAT, "IQ2_XXS");
    l = good;
    l.tensors[norm].type = QUANT_F16;
    assert_list_refused(m, middle, &l, YL_EFORMAT, "must be F32");
    l = good;
    l.n = 0;
    assert_list_refused(m, middle, &l, YL_EFORMAT, "0 tensors");
    l.n = 18;
    assert_list_refused(m, middle, &l, YL_EFORMAT, "18 tensors");
    toy_model_free(m);
}

static void an_output_matrix_beside_tied_embeddings_is_refused(void **state)
{
    (void)state;
    toy_model *m = new_model(true, false);
    list l = list_for(m, whole);
    l.tensors[l.n++] = (frame_tensor){.role = TENSOR_OUTPUT, .type = QUANT_F32, .n_rows = 40, .n_cols = 64};
    assert_list_refused(m, whole, &l, YL_EFORMAT, "output.weight");
    toy_model_free(m);
}

static void bad_dimensions_and_ranges_are_refused(void **state)
{
    (void)state;
    toy_model *m = new_model(false, false);
    list l = list_for(m, middle);
    assert_list_refused(m, (slice_range){.layer_begin = 2, .layer_end = 4}, &l, YL_EFORMAT, "layers");
    m->hp.n_embd = 0;
    assert_list_refused(m, middle, &l, YL_EFORMAT, "0");
    m->hp.n_embd = 64;
    toy_model_free(m);
}

/* ---- bytes ---- */

/* Tiles that somebody else made, used where they are and copied. */
static void tiles_are_used_in_place_or_copied(void **state)
{
    (void)state;
    toy_model *m = new_model(false, false);
    const toy_tensor *norm = toy_model_find(m, TENSOR_ATTN_NORM, 1), *q = toy_model_find(m, TENSOR_ATTN_Q, 1);
    const allocator *heap = allocator_heap();
    slice *s = new_slice(m, middle);
    slice_set_tiles(s, NULL);
    size_t n = (size_t)slice_tensor_memory_bytes(s, 2);
    uint64_t expected;
    assert_true(tile_matrix_bytes(QUANT_Q8_0, q->n_rows, q->n_cols, &expected));
    assert_int_equal(n, expected);
    assert_int_equal(slice_tensor_memory_bytes(s, 1), norm->n_bytes);
    uint8_t *tiles = heap->alloc(heap->ctx, n), *vector = heap->alloc(heap->ctx, norm->n_bytes);
    tile_put(tiles, QUANT_Q8_0, (size_t)q->n_rows, (size_t)q->n_cols, 0, q->data, q->n_bytes);
    memcpy(vector, norm->data, norm->n_bytes);
    assert_int_equal(slice_use_tiles(s, 1, vector, NULL), YL_OK);
    assert_int_equal(slice_use_tiles(s, 2, tiles, NULL), YL_OK);
    assert_int_equal(slice_use_tiles(s, 2, tiles, NULL), YL_EINVAL);
    assert_int_equal(slice_use_tiles(s, 1000, tiles, NULL), YL_EINVAL);
    assert_ptr_equal(slice_layer(s, 1)->attn_norm, vector);
    assert_ptr_equal(slice_layer(s, 1)->attn_q.data, tiles);
    assert_int_equal(slice_layer(s, 1)->attn_q.layout, MATRIX_TILES);
    assert_int_equal(slice_owned_bytes(s), 0);
    slice_free(s);

    s = new_slice(m, middle);
    slice_set_tiles(s, NULL);
    assert_int_equal(slice_copy_tiles(s, 1, vector, NULL), YL_OK);
    assert_int_equal(slice_copy_tiles(s, 2, tiles, NULL), YL_OK);
    assert_int_equal(slice_copy_tiles(s, 2, tiles, NULL), YL_EINVAL);
    heap->release(heap->ctx, vector, norm->n_bytes);
    assert_memory_equal(slice_layer(s, 1)->attn_norm, norm->data, norm->n_bytes);
    assert_memory_equal(slice_layer(s, 1)->attn_q.data, tiles, n);
    assert_int_equal(slice_layer(s, 1)->attn_q.layout, MATRIX_TILES);
    assert_int_equal(slice_owned_bytes(s), n + norm->n_bytes);
    heap->release(heap->ctx, tiles, n);
    slice_free(s);
    toy_model_free(m);
}

static void vectors_that_are_not_aligned_are_copied(void **state)
{
    (void)state;
    toy_model *m = new_model(false, false);
    slice *s = new_slice(m, middle);
    const toy_tensor *norm = toy_model_find(m, TENSOR_ATTN_NORM, 1), *q = toy_model_find(m, TENSOR_ATTN_Q, 1);
    uint8_t *odd_norm = malloc(norm->n_bytes + 1), *odd_q = malloc(q->n_bytes + 1);
    memcpy(odd_norm + 1, norm->data, norm->n_bytes);
    memcpy(odd_q + 1, q->data, q->n_bytes);
    assert_int_equal(slice_use(s, 1, odd_norm + 1, NULL), YL_OK);
    assert_int_equal(slice_use(s, 2, odd_q + 1, NULL), YL_OK);
    assert_memory_equal(slice_layer(s, 1)->attn_norm, norm->data, norm->n_bytes);
    assert_ptr_equal(slice_layer(s, 1)->attn_q.data, odd_q + 1); /* kernels take any alignment */
    assert_int_equal(slice_owned_bytes(s), norm->n_bytes);
    slice_free(s);
    free(odd_norm);
    free(odd_q);
    toy_model_free(m);
}

static void bytes_are_given_once(void **state)
{
    (void)state;
    toy_model *m = new_model(false, false);
    slice *s = new_slice(m, middle);
    const toy_tensor *norm = toy_model_find(m, TENSOR_ATTN_NORM, 1);
    yl_error err;
    assert_int_equal(slice_use(s, 1, norm->data, &err), YL_OK);
    assert_int_equal(slice_use(s, 1, norm->data, &err), YL_EINVAL);
    assert_int_equal(slice_write(s, 1, 0, norm->data, norm->n_bytes, &err), YL_EFORMAT);
    assert_int_equal(slice_use(s, slice_n_tensors(s), norm->data, &err), YL_EINVAL);
    assert_int_equal(slice_write(s, UINT32_MAX, 0, norm->data, 1, &err), YL_EFORMAT);
    slice_free(s);
    toy_model_free(m);
}

/* A head whose output matrix takes two whole chunks and a rest. */
typedef struct big_head {
    toy_model *m;
    slice *s;
    list l;
    const toy_tensor *output;
    counting_allocator count;
} big_head;

enum { OUTPUT = 1 }; /* its place in the list */

static big_head *new_big_head(void)
{
    big_head *b = calloc(1, sizeof *b);
    toy_spec spec = {.hp = small_hp, .seed = 5};
    spec.hp.n_vocab = 10000; /* 10000 * 64 * 4 bytes = 2.44 MiB */
    toy_spec_set_types(&spec, QUANT_F32);
    b->m = toy_model_new(&spec);
    slice_range head = {.has_head = true, .layer_begin = 3, .layer_end = 3};
    b->l = list_for(b->m, head);
    counting_allocator_init(&b->count, 0);
    assert_int_equal(slice_new(&b->s, &b->m->hp, &head, b->l.tensors, b->l.n, &b->count.allocator, NULL), YL_OK);
    b->output = b->l.sources[OUTPUT];
    return b;
}

static void free_big_head(big_head *b)
{
    slice_free(b->s);
    assert_int_equal(b->count.n_live, 0);
    toy_model_free(b->m);
    free(b);
}

static yl_status write_chunk(big_head *b, uint32_t chunk, size_t n_bytes)
{
    return slice_write(b->s, OUTPUT, (uint64_t)chunk * FRAME_CHUNK_BYTES, b->output->data + chunk * FRAME_CHUNK_BYTES, n_bytes,
                       NULL);
}

static void chunks_come_in_any_order(void **state)
{
    (void)state;
    big_head *b = new_big_head();
    size_t rest = b->output->n_bytes - 2 * FRAME_CHUNK_BYTES;
    assert_int_equal(write_chunk(b, 2, rest), YL_OK);
    assert_int_equal(write_chunk(b, 0, FRAME_CHUNK_BYTES), YL_OK);
    assert_false(slice_tensor_is_loaded(b->s, OUTPUT));
    assert_int_equal(write_chunk(b, 1, FRAME_CHUNK_BYTES), YL_OK);
    assert_true(slice_tensor_is_loaded(b->s, OUTPUT));
    assert_memory_equal(slice_output(b->s)->data, b->output->data, b->output->n_bytes);
    assert_int_equal(slice_owned_bytes(b->s), b->output->n_bytes);
    assert_int_equal(slice_total_bytes(b->s), b->output->n_bytes + 64 * 4);
    free_big_head(b);
}

/* The same into tiles, by two threads: every row is there, no second copy is held, and a bad number is named by its block. */
static void chunks_are_put_into_tiles(void **state)
{
    (void)state;
    thread_pool *pool;
    assert_int_equal(thread_pool_new(&pool, 2, NULL), YL_OK);
    big_head *b = new_big_head();
    slice_set_tiles(b->s, pool);
    size_t rest = b->output->n_bytes - 2 * FRAME_CHUNK_BYTES;
    assert_int_equal(write_chunk(b, 2, rest), YL_OK);
    assert_int_equal(write_chunk(b, 0, FRAME_CHUNK_BYTES), YL_OK);
    assert_int_equal(write_chunk(b, 1, FRAME_CHUNK_BYTES), YL_OK);
    const matrix *w = slice_output(b->s);
    assert_int_equal(w->layout, MATRIX_TILES);
    for (uint32_t r = 0; r < w->n_rows; r++) {
        float row[64];
        tile_dequantize_row(w->type, w->data, r, row, w->n_cols);
        assert_memory_equal(row, b->output->data + r * sizeof row, sizeof row);
    }
    assert_int_equal(slice_owned_bytes(b->s), 10000 / TILE_ROWS * tile_bytes(w->type, w->n_cols));
    assert_int_equal(slice_memory_bytes(b->s), slice_owned_bytes(b->s) + 64 * 4);
    free_big_head(b);

    b = new_big_head();
    slice_set_tiles(b->s, pool);
    uint8_t *bad = malloc(FRAME_CHUNK_BYTES);
    memcpy(bad, b->output->data, FRAME_CHUNK_BYTES);
    memset(bad + 40000, 0xff, 4); /* a NaN */
    yl_error err;
    assert_int_equal(slice_write(b->s, OUTPUT, 0, bad, FRAME_CHUNK_BYTES, NULL), YL_OK);
    assert_int_equal(write_chunk(b, 1, FRAME_CHUNK_BYTES), YL_OK);
    assert_int_equal(slice_write(b->s, OUTPUT, 2 * FRAME_CHUNK_BYTES, b->output->data + 2 * FRAME_CHUNK_BYTES, rest, &err),
                     YL_EFORMAT);
    assert_non_null(strstr(err.msg, "block 10000 "));
    free(bad);
    free_big_head(b);
    thread_pool_free(pool);
}

static void chunks_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    big_head *b = new_big_head();
    const uint8_t *data = b->output->data;
    size_t rest = b->output->n_bytes - 2 * FRAME_CHUNK_BYTES;
    assert_int_equal(slice_write(b->s, OUTPUT, 1, data, FRAME_CHUNK_BYTES, NULL), YL_EFORMAT);
    assert_int_equal(slice_write(b->s, OUTPUT, 0, data, FRAME_CHUNK_BYTES - 1, NULL), YL_EFORMAT);
    assert_int_equal(slice_write(b->s, OUTPUT, 0, data, 0, NULL), YL_EFORMAT);
    assert_int_equal(slice_write(b->s, OUTPUT, 3 * FRAME_CHUNK_BYTES, data, FRAME_CHUNK_BYTES, NULL), YL_EFORMAT);
    assert_int_equal(slice_write(b->s, OUTPUT, UINT64_MAX / FRAME_CHUNK_BYTES * FRAME_CHUNK_BYTES, data, rest, NULL), YL_EFORMAT);
    assert_int_equal(write_chunk(b, 2, rest - 1), YL_EFORMAT);
    assert_int_equal(write_chunk(b, 2, FRAME_CHUNK_BYTES), YL_EFORMAT);
    assert_int_equal(slice_owned_bytes(b->s), 0); /* a bad chunk makes the slice allocate nothing */
    assert_int_equal(write_chunk(b, 2, rest), YL_OK);
    assert_int_equal(write_chunk(b, 2, rest), YL_EFORMAT); /* twice */
    assert_int_equal(slice_use(b->s, OUTPUT, data, NULL), YL_EINVAL);
    free_big_head(b);
}

static void a_tensor_with_a_bad_number_is_refused_and_can_come_again(void **state)
{
    (void)state;
    big_head *b = new_big_head();
    size_t rest = b->output->n_bytes - 2 * FRAME_CHUNK_BYTES;
    uint8_t *bad = malloc(FRAME_CHUNK_BYTES);
    memcpy(bad, b->output->data, FRAME_CHUNK_BYTES);
    memset(bad + 400, 0xff, 4); /* a NaN */
    yl_error err;
    assert_int_equal(slice_write(b->s, OUTPUT, 0, bad, FRAME_CHUNK_BYTES, &err), YL_OK);
    assert_int_equal(write_chunk(b, 1, FRAME_CHUNK_BYTES), YL_OK);
    assert_int_equal(slice_write(b->s, OUTPUT, 2 * FRAME_CHUNK_BYTES, b->output->data + 2 * FRAME_CHUNK_BYTES, rest, &err),
                     YL_EFORMAT);
    assert_non_null(strstr(err.msg, "output.weight"));
    assert_non_null(strstr(err.msg, "block 100 "));
    assert_int_equal(slice_owned_bytes(b->s), 0);
    for (uint32_t chunk = 0; chunk < 3; chunk++)
        assert_int_equal(write_chunk(b, chunk, chunk < 2 ? FRAME_CHUNK_BYTES : rest), YL_OK);
    assert_true(slice_tensor_is_loaded(b->s, OUTPUT));
    free(bad);
    free_big_head(b);
}

static void failing_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    toy_model *m = new_model(false, true);
    list l = list_for(m, whole);
    yl_status status = YL_ENOMEM;
    for (size_t k = 1; status; k++) {
        counting_allocator count;
        counting_allocator_init(&count, k);
        slice *s;
        yl_error err;
        status = slice_new(&s, &m->hp, &whole, l.tensors, l.n, &count.allocator, &err);
        assert_int_equal(s == NULL, status != YL_OK);
        for (uint32_t i = 0; !status && i < l.n; i++)
            status = slice_write(s, i, 0, l.sources[i]->data, l.sources[i]->n_bytes, &err);
        assert_int_equal(status, status ? YL_ENOMEM : YL_OK);
        assert_int_equal(s && slice_is_loaded(s), status == YL_OK);
        assert_in_range(k, 1, 2 * l.n + 5);
        slice_free(s);
        assert_int_equal(count.n_live, 0);
    }
    toy_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_range_of_a_model_makes_a_slice),
        cmocka_unit_test(views_show_the_bytes_that_were_handed_in),
        cmocka_unit_test(tied_embeddings_serve_as_the_output_matrix),
        cmocka_unit_test(a_list_without_a_tensor_is_refused),
        cmocka_unit_test(a_list_with_a_wrong_tensor_is_refused),
        cmocka_unit_test(an_output_matrix_beside_tied_embeddings_is_refused),
        cmocka_unit_test(bad_dimensions_and_ranges_are_refused),
        cmocka_unit_test(tiles_are_used_in_place_or_copied),
        cmocka_unit_test(vectors_that_are_not_aligned_are_copied),
        cmocka_unit_test(bytes_are_given_once),
        cmocka_unit_test(chunks_come_in_any_order),
        cmocka_unit_test(chunks_are_put_into_tiles),
        cmocka_unit_test(chunks_that_do_not_fit_are_refused),
        cmocka_unit_test(a_tensor_with_a_bad_number_is_refused_and_can_come_again),
        cmocka_unit_test(failing_memory_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
