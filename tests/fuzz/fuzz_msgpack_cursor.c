/* fuzz_msgpack_cursor.c: our cursor and msgpack-c's parser see the same items in the same bytes.
 *
 * What the cursor walks to its end msgpack-c reads too, item for item, and the other way round. */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "msgpack_reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* All items of the first object, 0 if it is not whole. */
static size_t cursor_items(msgpack_item *items, const uint8_t *bytes, size_t n_bytes, size_t *n_read)
{
    msgpack_cursor c = {bytes, bytes + n_bytes};
    size_t n = 0;
    for (uint64_t n_open = 1; n_open; n_open--) {
        msgpack_item item = msgpack_cursor_next(&c);
        if (item.kind == ITEM_CUT || item.kind == ITEM_UNKNOWN) return 0;
        if (item.kind == ITEM_ARRAY) n_open += item.n;
        if (item.kind == ITEM_MAP) n_open += 2 * (uint64_t)item.n;
        items[n++] = item;
    }
    *n_read = (size_t)(c.at - bytes);
    return n;
}

static void assert_same(const msgpack_item *a, const msgpack_item *b)
{
    assert(a->kind == b->kind && a->n == b->n);
    switch (a->kind) {
    case ITEM_BOOL: assert(a->b == b->b); break;
    case ITEM_FLOAT: assert(a->f == b->f || (a->f != a->f && b->f != b->f)); break;
    case ITEM_UINT:
    case ITEM_INT: assert(a->u == b->u); break;
    case ITEM_STR:
    case ITEM_BIN:
    case ITEM_EXT: assert(a->n == 0 || a->data == b->data); break;
    default: break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    if (n_bytes == 0 || n_bytes > MSGPACK_REFERENCE_MAX_BYTES) return 0;
    uint8_t *bytes = malloc(n_bytes);
    msgpack_item *ours = malloc(n_bytes * sizeof *ours), *theirs = malloc(n_bytes * sizeof *theirs);
    assert(bytes && ours && theirs);
    memcpy(bytes, data, n_bytes);
    size_t our_end = 0, their_end = 0;
    size_t n_ours = cursor_items(ours, bytes, n_bytes, &our_end);
    size_t n_theirs = msgpack_reference_items(theirs, bytes, n_bytes, &their_end);
    assert(n_ours == n_theirs);
    assert(n_ours == 0 || our_end == their_end);
    for (size_t i = 0; i < n_ours; i++) assert_same(&ours[i], &theirs[i]);

    /* Skipping takes what walking takes, unless it is nested too deeply. */
    msgpack_cursor skip = {bytes, bytes + n_bytes};
    if (msgpack_cursor_skip(&skip)) assert(n_ours && (size_t)(skip.at - bytes) == our_end);
    free(bytes);
    free(ours);
    free(theirs);
    return 0;
}
