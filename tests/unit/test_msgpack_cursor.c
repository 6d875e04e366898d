/* test_msgpack_cursor.c: each of MessagePack's formats, and where it ends.
 *
 * Expected values follow the format's specification, https://github.com/msgpack/msgpack/blob/master/spec.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "msgpack_cursor.h"

typedef struct format_case {
    size_t n; /* of bytes */
    uint8_t bytes[20];
    msgpack_item_kind kind;
    uint64_t value; /* of an integer, by its 64 bits; of a bool; else n of the item */
} format_case;

static const format_case cases[] = {
    {1, {0x00}, ITEM_UINT, 0},
    {1, {0x7f}, ITEM_UINT, 127},
    {1, {0xe0}, ITEM_INT, (uint64_t)-32},
    {1, {0xff}, ITEM_INT, (uint64_t)-1},
    {2, {0xcc, 0x05}, ITEM_UINT, 5},
    {3, {0xcd, 0x01, 0x02}, ITEM_UINT, 0x0102},
    {5, {0xce, 0xff, 0xff, 0xff, 0xff}, ITEM_UINT, 0xffffffff},
    {9, {0xcf, 1, 2, 3, 4, 5, 6, 7, 8}, ITEM_UINT, 0x0102030405060708},
    {2, {0xd0, 0x7f}, ITEM_UINT, 127},
    {2, {0xd0, 0x80}, ITEM_INT, (uint64_t)-128},
    {3, {0xd1, 0x7f, 0xff}, ITEM_UINT, 32767},
    {3, {0xd1, 0x80, 0x00}, ITEM_INT, (uint64_t)-32768},
    {5, {0xd2, 0xff, 0xff, 0xff, 0xfe}, ITEM_INT, (uint64_t)-2},
    {9, {0xd3, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, ITEM_UINT, INT64_MAX},
    {9, {0xd3, 0x80}, ITEM_INT, UINT64_C(1) << 63},
    {9, {0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, ITEM_INT, (uint64_t)-1},
    {1, {0xc0}, ITEM_NIL, 0},
    {1, {0xc2}, ITEM_BOOL, 0},
    {1, {0xc3}, ITEM_BOOL, 1},
    {1, {0xa0}, ITEM_STR, 0},
    {3, {0xa2, 'a', 'b'}, ITEM_STR, 2},
    {3, {0xd9, 0x01, 'a'}, ITEM_STR, 1},
    {4, {0xda, 0x00, 0x01, 'a'}, ITEM_STR, 1},
    {6, {0xdb, 0x00, 0x00, 0x00, 0x01, 'a'}, ITEM_STR, 1},
    {2, {0xc4, 0x00}, ITEM_BIN, 0},
    {4, {0xc5, 0x00, 0x01, 'a'}, ITEM_BIN, 1},
    {6, {0xc6, 0x00, 0x00, 0x00, 0x01, 'a'}, ITEM_BIN, 1},
    {3, {0xd4, 0x01, 0x02}, ITEM_EXT, 1},
    {4, {0xd5, 0x01}, ITEM_EXT, 2},
    {6, {0xd6, 0x01}, ITEM_EXT, 4},
    {10, {0xd7, 0x01}, ITEM_EXT, 8},
    {18, {0xd8, 0x01}, ITEM_EXT, 16},
    {3, {0xc7, 0x00, 0x01}, ITEM_EXT, 0},
    {5, {0xc8, 0x00, 0x01, 0x02, 0x03}, ITEM_EXT, 1},
    {7, {0xc9, 0x00, 0x00, 0x00, 0x01, 0x02, 0x03}, ITEM_EXT, 1},
    {1, {0x90}, ITEM_ARRAY, 0},
    {1, {0x80}, ITEM_MAP, 0},
    {3, {0xdc, 0x00, 0x00}, ITEM_ARRAY, 0},
    {5, {0xdd, 0x00, 0x00, 0x00, 0x00}, ITEM_ARRAY, 0},
    {3, {0xde, 0x00, 0x00}, ITEM_MAP, 0},
    {5, {0xdf, 0x00, 0x00, 0x00, 0x00}, ITEM_MAP, 0},
    {5, {0xca, 0x3f, 0x80, 0x00, 0x00}, ITEM_FLOAT, 0},
    {9, {0xcb, 0x3f, 0xf0}, ITEM_FLOAT, 0},
};

/* Reads one item from a heap block of n bytes; *n_read: how far the cursor went. */
static msgpack_item read_item(const uint8_t *bytes, size_t n, size_t *n_read, bool *is_skipped)
{
    uint8_t *heap = malloc(n ? n : 1);
    assert_non_null(heap);
    memcpy(heap, bytes, n);
    msgpack_cursor c = {heap, heap + n}, skip = c;
    msgpack_item item = msgpack_cursor_next(&c);
    *n_read = (size_t)(c.at - heap);
    *is_skipped = msgpack_cursor_skip(&skip) && skip.at == skip.end;
    free(heap);
    return item;
}

static void every_format_is_read_to_its_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n_read;
        bool is_skipped;
        msgpack_item item = read_item(cases[i].bytes, cases[i].n, &n_read, &is_skipped);
        assert_int_equal(item.kind, cases[i].kind);
        assert_int_equal(n_read, cases[i].n);
        assert_true(is_skipped);
        switch (item.kind) {
        case ITEM_UINT: assert_true(item.u == cases[i].value); break;
        case ITEM_INT: assert_true((uint64_t)item.i == cases[i].value); break;
        case ITEM_BOOL: assert_int_equal(item.b, cases[i].value); break;
        case ITEM_FLOAT: assert_true(item.f == 1.0); break;
        default: assert_int_equal(item.n, cases[i].value); break;
        }
    }
}

static void every_format_is_cut_if_a_byte_is_missing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t n = 0; n < cases[i].n; n++) {
            size_t n_read;
            bool is_skipped;
            assert_int_equal(read_item(cases[i].bytes, n, &n_read, &is_skipped).kind, ITEM_CUT);
            assert_false(is_skipped);
        }
    }
}

/* A byte an element, two a pair: less cannot hold them. */
static void counts_beyond_the_bytes_are_cut(void **state)
{
    static const uint8_t array[] = {0x93, 1, 2, 3}, map[] = {0x82, 1, 2, 3, 4};
    (void)state;
    size_t n_read;
    bool is_skipped;
    assert_int_equal(read_item(array, 4, &n_read, &is_skipped).kind, ITEM_ARRAY);
    assert_true(is_skipped);
    assert_int_equal(n_read, 1);
    assert_int_equal(read_item(array, 3, &n_read, &is_skipped).kind, ITEM_CUT);
    assert_int_equal(read_item(map, 5, &n_read, &is_skipped).kind, ITEM_MAP);
    assert_true(is_skipped);
    assert_int_equal(read_item(map, 4, &n_read, &is_skipped).kind, ITEM_CUT);
}

static void the_unused_byte_is_refused_anywhere(void **state)
{
    static const uint8_t alone[] = {0xc1}, inside[] = {0x92, 0x01, 0xc1};
    (void)state;
    size_t n_read;
    bool is_skipped;
    assert_int_equal(read_item(alone, 1, &n_read, &is_skipped).kind, ITEM_UNKNOWN);
    assert_false(is_skipped);
    read_item(inside, 3, &n_read, &is_skipped);
    assert_false(is_skipped);
}

static void skipping_keeps_to_its_depth(void **state)
{
    (void)state;
    for (size_t depth = 0; depth < 64; depth++) {
        uint8_t bytes[65];
        memset(bytes, 0x91, depth);
        bytes[depth] = 0xc0;
        size_t n_read;
        bool is_skipped;
        read_item(bytes, depth + 1, &n_read, &is_skipped);
        assert_int_equal(is_skipped, depth <= MSGPACK_CURSOR_MAX_DEPTH);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_is_read_to_its_end), cmocka_unit_test(every_format_is_cut_if_a_byte_is_missing),
        cmocka_unit_test(counts_beyond_the_bytes_are_cut), cmocka_unit_test(the_unused_byte_is_refused_anywhere),
        cmocka_unit_test(skipping_keeps_to_its_depth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
