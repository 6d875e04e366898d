/* test_tile_cache.c: heads of cache files: what is written is read again, and nothing else is taken for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tile_cache.h"

/* Where fields lie, counted from tile_cache.h's table and not from the code. */
enum { AT_VERSION = 16, AT_LAYOUT = 20, AT_KEY = 24, AT_UNIT = 56, AT_N = 64, AT_CHUNK = 68, AT_LABEL = 88, AT_TENSORS = 192 };

/* A layer of three tensors; the largest is of 2 MiB and a little, so that there are several chunks. */
static tile_cache_head three_tensors(void)
{
    tile_cache_head h = {.unit = TILE_CACHE_LAYER, .layer = 3, .label = "a model.gguf", .n_tensors = 3};
    h.tensors[0] = (tile_cache_tensor){.role = TENSOR_ATTN_NORM, .type = QUANT_F32, .n_rows = 1, .n_cols = 96};
    h.tensors[1] = (tile_cache_tensor){.role = TENSOR_ATTN_Q, .type = QUANT_Q8_0, .n_rows = 2048, .n_cols = 1024};
    h.tensors[2] = (tile_cache_tensor){.role = TENSOR_FFN_DOWN, .type = QUANT_Q6_K, .n_rows = 17, .n_cols = 256};
    uint8_t hashes[3][TILE_CACHE_HASH_BYTES] = {{1}, {2}, {3}};
    assert_int_equal(tile_cache_plan(&h, NULL), YL_OK);
    assert_int_equal(tile_cache_set_key(&h, hashes, NULL), YL_OK);
    return h;
}

/* Its head in a block of exactly its size; free it. */
static uint8_t *written(const tile_cache_head *h)
{
    uint8_t *bytes = malloc((size_t)h->head_bytes);
    uint64_t *hashes = calloc((size_t)h->n_chunks, sizeof *hashes);
    for (uint64_t i = 0; i < h->n_chunks; i++) hashes[i] = 1000 + i;
    tile_cache_write_head(bytes, h, hashes);
    free(hashes);
    return bytes;
}

static void seal(uint8_t *bytes, const tile_cache_head *h)
{
    uint64_t checksum = tile_cache_checksum(bytes + AT_VERSION, (size_t)h->head_bytes - AT_VERSION);
    memcpy(bytes + 8, &checksum, 8);
}

static uint64_t u64_at(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static void the_plan_follows_from_types_and_shapes(void **state)
{
    (void)state;
    tile_cache_head h = three_tensors();
    uint64_t q = 2048 / 16 * (1024 / 64) * 1088, down = 2 * 3392;
    assert_int_equal(h.head_bytes, 4096);
    assert_int_equal(h.tensors[0].layout, MATRIX_ROWS);
    assert_int_equal(h.tensors[0].n_bytes, 96 * 4);
    assert_int_equal(h.tensors[0].offset, 4096);
    assert_int_equal(h.tensors[1].layout, MATRIX_TILES);
    assert_int_equal(h.tensors[1].n_bytes, q);
    assert_int_equal(h.tensors[1].offset, 8192);
    assert_int_equal(h.tensors[2].n_bytes, down);
    assert_int_equal(h.tensors[2].offset % 4096, 0);
    assert_true(h.tensors[2].offset >= 8192 + q && h.tensors[2].offset < 8192 + q + 4096);
    assert_int_equal(h.file_bytes, h.tensors[2].offset + down);
    assert_int_equal(h.n_chunks, (h.file_bytes - 4096 + TILE_CACHE_CHUNK_BYTES - 1) / TILE_CACHE_CHUNK_BYTES);
    uint64_t offset, covered = 0;
    size_t n;
    for (uint64_t i = 0; i < h.n_chunks; i++) {
        tile_cache_chunk(&h, i, &offset, &n);
        assert_int_equal(offset, 4096 + covered);
        covered += n;
    }
    assert_int_equal(4096 + covered, h.file_bytes);
}

static void bytes_are_as_the_specification_has_them(void **state)
{
    (void)state;
    tile_cache_head h = three_tensors();
    uint8_t *b = written(&h);
    assert_memory_equal(b, "YLTILES\n", 8);
    assert_int_equal(b[AT_VERSION], 1);
    assert_int_equal(b[AT_LAYOUT], 1);
    assert_memory_equal(b + AT_KEY, h.key, 32);
    assert_int_equal(b[AT_UNIT], 0);
    assert_int_equal(b[60], 3);
    assert_int_equal(b[AT_N], 3);
    assert_int_equal(b[AT_CHUNK + 2], 0x10);
    assert_int_equal(u64_at(b + 72), h.head_bytes);
    assert_int_equal(u64_at(b + 80), h.file_bytes);
    assert_string_equal((const char *)b + AT_LABEL, "a model.gguf");
    const uint8_t *q = b + AT_TENSORS + 48;
    assert_int_equal(q[0], TENSOR_ATTN_Q);
    assert_int_equal(q[4], QUANT_Q8_0);
    assert_int_equal(q[8], 1);
    assert_int_equal(u64_at(q + 16), 2048);
    assert_int_equal(u64_at(q + 24), 1024);
    assert_int_equal(u64_at(q + 32), 8192);
    assert_int_equal(u64_at(q + 40), h.tensors[1].n_bytes);
    assert_int_equal(u64_at(b + AT_TENSORS + 3 * 48 + 8), 1001);
    assert_int_equal(tile_cache_checksum("", 0), 0x2d06800538d394c2); /* XXH3-64 of nothing, as its specification has it */
    free(b);
}

static void what_is_written_is_read_again(void **state)
{
    (void)state;
    tile_cache_head h = three_tensors(), r;
    uint8_t *b = written(&h);
    yl_error err;
    if (tile_cache_parse(&r, b, (size_t)h.head_bytes, h.file_bytes, &err)) fail_msg("%s", err.msg);
    assert_memory_equal(r.key, h.key, sizeof h.key);
    assert_int_equal(r.unit, h.unit);
    assert_int_equal(r.layer, 3);
    assert_string_equal(r.label, "a model.gguf");
    assert_int_equal(r.n_tensors, 3);
    assert_int_equal(r.head_bytes, h.head_bytes);
    assert_int_equal(r.file_bytes, h.file_bytes);
    assert_int_equal(r.n_chunks, h.n_chunks);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(r.tensors[i].role, h.tensors[i].role);
        assert_int_equal(r.tensors[i].type, h.tensors[i].type);
        assert_int_equal(r.tensors[i].n_rows, h.tensors[i].n_rows);
        assert_int_equal(r.tensors[i].n_cols, h.tensors[i].n_cols);
        assert_int_equal(r.tensors[i].layout, h.tensors[i].layout);
        assert_int_equal(r.tensors[i].offset, h.tensors[i].offset);
        assert_int_equal(r.tensors[i].n_bytes, h.tensors[i].n_bytes);
    }
    for (uint64_t i = 0; i < h.n_chunks; i++) assert_int_equal(tile_cache_chunk_hash(&r, i), 1000 + i);
    free(b);
}

/* The checksum covers the whole head. */
static void any_changed_byte_is_noticed(void **state)
{
    (void)state;
    tile_cache_head h = three_tensors(), r;
    uint8_t *b = written(&h);
    for (size_t i = 0; i < h.head_bytes; i++) {
        b[i] ^= 0x20;
        assert_int_not_equal(tile_cache_parse(&r, b, (size_t)h.head_bytes, h.file_bytes, NULL), YL_OK);
        b[i] ^= 0x20;
    }
    assert_int_equal(tile_cache_parse(&r, b, (size_t)h.head_bytes, h.file_bytes, NULL), YL_OK);
    free(b);
}

/* In blocks of their exact size, so that the address sanitizer sees a read beyond. */
static void any_shorter_head_is_refused(void **state)
{
    (void)state;
    tile_cache_head h = three_tensors(), r;
    uint8_t *b = written(&h);
    for (size_t n = 0; n < h.head_bytes; n += n < 400 ? 1 : 61) {
        uint8_t *part = malloc(n ? n : 1);
        memcpy(part, b, n);
        assert_int_equal(tile_cache_parse(&r, part, n, h.file_bytes, NULL), YL_EFORMAT);
        free(part);
    }
    assert_int_equal(tile_cache_parse(&r, b, (size_t)h.head_bytes, h.file_bytes - 1, NULL), YL_EFORMAT);
    assert_int_equal(tile_cache_parse(&r, b, (size_t)h.head_bytes, h.file_bytes + 1, NULL), YL_EFORMAT);
    free(b);
}

/* With a checksum that fits: whoever wrote it meant it. */
static void contradictions_are_refused(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint64_t value;
        size_t n;
        yl_status status;
        const char *word;
    } CASES[] = {
        {0, 0x1234, 4, YL_EFORMAT, "no file of the weight cache"},
        {AT_VERSION, 2, 4, YL_EUNSUPPORTED, "version 2.1"},
        {AT_LAYOUT, 9, 4, YL_EUNSUPPORTED, "version 1.9"},
        {AT_UNIT, 3, 4, YL_EFORMAT, "unit"},
        {AT_UNIT, TILE_CACHE_HEAD, 4, YL_EFORMAT, "not of the file's unit"},
        {AT_N, 0, 4, YL_EFORMAT, "0 tensors"},
        {AT_N, 17, 4, YL_EFORMAT, "17 tensors"},
        {AT_N, UINT32_MAX, 4, YL_EFORMAT, "tensors"},
        {AT_N, 2, 4, YL_EFORMAT, "do not follow"},
        {AT_CHUNK, 1 << 19, 4, YL_EFORMAT, "chunks of another size"},
        {72, 8192, 8, YL_EFORMAT, "do not follow"},
        {80, 1, 8, YL_EFORMAT, "do not follow"},
        {AT_LABEL + 103, 'x', 1, YL_EFORMAT, "label"},
        {AT_TENSORS + 48, TENSOR_ATTN_NORM, 4, YL_EFORMAT, "out of order"},
        {AT_TENSORS + 48, TENSOR_ROPE_FREQS, 4, YL_EFORMAT, "not of the file's unit"},
        {AT_TENSORS + 48, UINT32_MAX, 4, YL_EFORMAT, "not of the file's unit"},
        {AT_TENSORS + 48 + 4, 4, 4, YL_EFORMAT, "cannot be"},
        {AT_TENSORS + 48 + 4, UINT32_MAX, 4, YL_EFORMAT, "cannot be"},
        {AT_TENSORS + 48 + 8, 0, 4, YL_EFORMAT, "do not follow"},
        {AT_TENSORS + 48 + 12, 1, 4, YL_EFORMAT, "do not follow"},
        {AT_TENSORS + 48 + 16, 0, 8, YL_EFORMAT, "cannot be"},
        {AT_TENSORS + 48 + 16, UINT64_MAX, 8, YL_EFORMAT, "cannot be"},
        {AT_TENSORS + 48 + 16, (uint64_t)1 << 40, 8, YL_ELIMIT, "too large"},
        {AT_TENSORS + 48 + 24, 33, 8, YL_EFORMAT, "cannot be"},
        {AT_TENSORS + 48 + 24, 0, 8, YL_EFORMAT, "cannot be"},
        {AT_TENSORS + 16, 2, 8, YL_EFORMAT, "cannot be"},
        {AT_TENSORS + 24, UINT64_MAX / 4 + 2, 8, YL_EFORMAT, "cannot be"},
        {AT_TENSORS + 48 + 32, 4096, 8, YL_EFORMAT, "do not follow"},
        {AT_TENSORS + 48 + 40, 64, 8, YL_EFORMAT, "do not follow"},
    };
    tile_cache_head h = three_tensors(), r;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        uint8_t *b = written(&h);
        yl_error err = {0};
        memcpy(b + CASES[i].at, &CASES[i].value, CASES[i].n);
        seal(b, &h);
        assert_int_equal(tile_cache_parse(&r, b, (size_t)h.head_bytes, h.file_bytes, &err), CASES[i].status);
        if (!strstr(err.msg, CASES[i].word)) fail_msg("case %zu: '%s' does not say '%s'", i, err.msg, CASES[i].word);
        free(b);
    }
}

/* One thing that differs, another key; what is only told to people makes none. */
static void the_key_tells_what_a_file_was_made_from(void **state)
{
    (void)state;
    tile_cache_head a = three_tensors(), b = a;
    uint8_t hashes[3][TILE_CACHE_HASH_BYTES] = {{1}, {2}, {3}};
    b.layer = 9;
    memcpy(b.label, "another", 8);
    assert_int_equal(tile_cache_set_key(&b, hashes, NULL), YL_OK);
    assert_memory_equal(a.key, b.key, sizeof a.key);
    hashes[1][31] = 1;
    assert_int_equal(tile_cache_set_key(&b, hashes, NULL), YL_OK);
    assert_memory_not_equal(a.key, b.key, sizeof a.key);
    hashes[1][31] = 0;
    b.tensors[1].n_rows++;
    assert_int_equal(tile_cache_set_key(&b, hashes, NULL), YL_OK);
    assert_memory_not_equal(a.key, b.key, sizeof a.key);
    b = a;
    b.tensors[1].type = QUANT_Q4_0;
    assert_int_equal(tile_cache_set_key(&b, hashes, NULL), YL_OK);
    assert_memory_not_equal(a.key, b.key, sizeof a.key);
    b = a;
    b.tensors[1].role = TENSOR_ATTN_K;
    assert_int_equal(tile_cache_set_key(&b, hashes, NULL), YL_OK);
    assert_memory_not_equal(a.key, b.key, sizeof a.key);
    char name[TILE_CACHE_NAME_BYTES];
    uint8_t key[TILE_CACHE_HASH_BYTES] = {0x01, 0xaf};
    assert_string_equal(tile_cache_name(name, key), "01af000000000000000000000000000000000000000000000000000000000000.tiles");
}

static void every_role_has_its_unit(void **state)
{
    (void)state;
    for (int role = 0; role < TENSOR_ROLE_END; role++) {
        tile_cache_unit unit;
        bool has_one = tile_cache_unit_of((tensor_role)role, &unit);
        assert_int_equal(has_one, role != TENSOR_ROPE_FREQS);
        if (!has_one) continue;
        assert_int_equal(unit == TILE_CACHE_LAYER, role < TENSOR_LAYER_END);
        assert_int_equal(unit == TILE_CACHE_EMBEDDING, role == TENSOR_TOKEN_EMBD);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_plan_follows_from_types_and_shapes),
        cmocka_unit_test(bytes_are_as_the_specification_has_them),
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(any_changed_byte_is_noticed),
        cmocka_unit_test(any_shorter_head_is_refused),
        cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(the_key_tells_what_a_file_was_made_from),
        cmocka_unit_test(every_role_has_its_unit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
