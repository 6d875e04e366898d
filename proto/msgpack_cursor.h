/* msgpack_cursor.h: reading MessagePack from bytes that a stranger sent.
 *
 * A cursor walks over bytes and gives one item at a time: a number, a string, or the head of an array. It allocates nothing, copies
 * nothing, never reads past the end, and gives no count that the bytes left could not hold (an element takes a byte at least), so
 * five bytes that claim four billion elements cost five bytes of work. What the items mean is the caller's business.
 * Format: https://github.com/msgpack/msgpack/blob/master/spec.md. */
#ifndef YL_MSGPACK_CURSOR_H
#define YL_MSGPACK_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum msgpack_item_kind {
    ITEM_CUT = 0, /* the bytes end inside the item, or sooner than its count of bytes or elements needs */
    ITEM_UNKNOWN, /* 0xc1, which MessagePack never uses */
    ITEM_NIL,
    ITEM_BOOL,
    ITEM_UINT,  /* any integer >= 0, whichever way it was written */
    ITEM_INT,   /* an integer < 0 */
    ITEM_FLOAT, /* of 32 or 64 bits */
    ITEM_STR,
    ITEM_BIN,
    ITEM_EXT,
    ITEM_ARRAY, /* its head: the elements are the next n items */
    ITEM_MAP    /* its head: n keys and n values follow */
} msgpack_item_kind;

typedef struct msgpack_item {
    msgpack_item_kind kind;
    uint32_t n; /* bytes of a STR, BIN or EXT; elements of an ARRAY; pairs of a MAP */
    union {
        bool b;
        uint64_t u;
        int64_t i;
        double f;
        const uint8_t *data; /* of a STR, BIN or EXT: a view */
    };
} msgpack_item;

typedef struct msgpack_cursor {
    const uint8_t *at, *end;
} msgpack_cursor;

/* Reads the next item. After ITEM_CUT and ITEM_UNKNOWN the cursor's place means nothing. */
msgpack_item msgpack_cursor_next(msgpack_cursor *c);

enum { MSGPACK_CURSOR_MAX_DEPTH = 8 };

/* Steps over the next item and all that is in it: at most MSGPACK_CURSOR_MAX_DEPTH arrays and maps inside each other.
 * False: deeper, cut short, or not MessagePack. */
bool msgpack_cursor_skip(msgpack_cursor *c);

/* What a kind is called in a sentence, "a string". Static. */
const char *msgpack_item_kind_name(msgpack_item_kind kind);

#endif
