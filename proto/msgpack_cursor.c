/* msgpack_cursor.c: one byte says what comes, and how many bytes its number, length or count has. */
#include "msgpack_cursor.h"

#include <string.h>

static const msgpack_item cut = {.kind = ITEM_CUT};

static size_t n_left(const msgpack_cursor *c)
{
    return (size_t)(c->end - c->at);
}

/* A big-endian number of n_bytes. */
static bool read_uint(msgpack_cursor *c, size_t n_bytes, uint64_t *out)
{
    if (n_left(c) < n_bytes) return false;
    uint64_t u = 0;
    for (size_t i = 0; i < n_bytes; i++) u = u << 8 | c->at[i];
    c->at += n_bytes;
    *out = u;
    return true;
}

static msgpack_item uint_item(uint64_t u)
{
    return (msgpack_item){.kind = ITEM_UINT, .u = u};
}

static msgpack_item unsigned_number(msgpack_cursor *c, size_t n_bytes)
{
    uint64_t u;
    return read_uint(c, n_bytes, &u) ? uint_item(u) : cut;
}

static msgpack_item signed_number(msgpack_cursor *c, size_t n_bytes)
{
    uint64_t u;
    if (!read_uint(c, n_bytes, &u)) return cut;
    unsigned n_unused = 64 - 8 * (unsigned)n_bytes;
    if (!(u << n_unused >> 63)) return uint_item(u);
    uint64_t below_zero = ~u << n_unused >> n_unused; /* -1 - value: a shift of negative numbers is not portable */
    return (msgpack_item){.kind = ITEM_INT, .i = -1 - (int64_t)below_zero};
}

static msgpack_item float_number(msgpack_cursor *c, size_t n_bytes)
{
    uint64_t u;
    if (!read_uint(c, n_bytes, &u)) return cut;
    msgpack_item item = {.kind = ITEM_FLOAT};
    if (n_bytes == 4) {
        uint32_t bits = (uint32_t)u;
        float f;
        memcpy(&f, &bits, sizeof f);
        item.f = f;
    } else {
        memcpy(&item.f, &u, sizeof item.f);
    }
    return item;
}

/* The next n bytes, of a STR, BIN or EXT. */
static msgpack_item bytes(msgpack_cursor *c, msgpack_item_kind kind, uint64_t n)
{
    if (n_left(c) < n) return cut;
    msgpack_item item = {.kind = kind, .n = (uint32_t)n, .data = c->at};
    c->at += n;
    return item;
}

static msgpack_item counted_bytes(msgpack_cursor *c, msgpack_item_kind kind, size_t n_count_bytes)
{
    uint64_t n;
    return read_uint(c, n_count_bytes, &n) ? bytes(c, kind, n) : cut;
}

/* An EXT: its type byte, which nothing here asks for, then n bytes. */
static msgpack_item ext(msgpack_cursor *c, uint64_t n)
{
    if (n_left(c) < 1) return cut;
    c->at++;
    return bytes(c, ITEM_EXT, n);
}

static msgpack_item counted_ext(msgpack_cursor *c, size_t n_count_bytes)
{
    uint64_t n;
    return read_uint(c, n_count_bytes, &n) ? ext(c, n) : cut;
}

/* The head of an ARRAY or MAP. */
static msgpack_item head(msgpack_cursor *c, msgpack_item_kind kind, uint64_t n)
{
    uint64_t n_items = kind == ITEM_MAP ? 2 * n : n;
    if (n_left(c) < n_items) return cut;
    return (msgpack_item){.kind = kind, .n = (uint32_t)n};
}

static msgpack_item counted_head(msgpack_cursor *c, msgpack_item_kind kind, size_t n_count_bytes)
{
    uint64_t n;
    return read_uint(c, n_count_bytes, &n) ? head(c, kind, n) : cut;
}

msgpack_item msgpack_cursor_next(msgpack_cursor *c)
{
    if (c->at == c->end) return cut;
    uint8_t byte = *c->at++;
    if (byte < 0x80) return uint_item(byte);
    if (byte < 0x90) return head(c, ITEM_MAP, byte & 0x0f);
    if (byte < 0xa0) return head(c, ITEM_ARRAY, byte & 0x0f);
    if (byte < 0xc0) return bytes(c, ITEM_STR, byte & 0x1f);
    if (byte >= 0xe0) return (msgpack_item){.kind = ITEM_INT, .i = (int64_t)byte - 0x100};
    switch (byte) {
    case 0xc0: return (msgpack_item){.kind = ITEM_NIL};
    case 0xc2: return (msgpack_item){.kind = ITEM_BOOL, .b = false};
    case 0xc3: return (msgpack_item){.kind = ITEM_BOOL, .b = true};
    case 0xc4: return counted_bytes(c, ITEM_BIN, 1);
    case 0xc5: return counted_bytes(c, ITEM_BIN, 2);
    case 0xc6: return counted_bytes(c, ITEM_BIN, 4);
    case 0xc7: return counted_ext(c, 1);
    case 0xc8: return counted_ext(c, 2);
    case 0xc9: return counted_ext(c, 4);
    case 0xca: return float_number(c, 4);
    case 0xcb: return float_number(c, 8);
    case 0xcc: return unsigned_number(c, 1);
    case 0xcd: return unsigned_number(c, 2);
    case 0xce: return unsigned_number(c, 4);
    case 0xcf: return unsigned_number(c, 8);
    case 0xd0: return signed_number(c, 1);
    case 0xd1: return signed_number(c, 2);
    case 0xd2: return signed_number(c, 4);
    case 0xd3: return signed_number(c, 8);
    case 0xd4: return ext(c, 1);
    case 0xd5: return ext(c, 2);
    case 0xd6: return ext(c, 4);
    case 0xd7: return ext(c, 8);
    case 0xd8: return ext(c, 16);
    case 0xd9: return counted_bytes(c, ITEM_STR, 1);
    case 0xda: return counted_bytes(c, ITEM_STR, 2);
    case 0xdb: return counted_bytes(c, ITEM_STR, 4);
    case 0xdc: return counted_head(c, ITEM_ARRAY, 2);
    case 0xdd: return counted_head(c, ITEM_ARRAY, 4);
    case 0xde: return counted_head(c, ITEM_MAP, 2);
    case 0xdf: return counted_head(c, ITEM_MAP, 4);
    }
    return (msgpack_item){.kind = ITEM_UNKNOWN};
}

bool msgpack_cursor_skip(msgpack_cursor *c)
{
    uint64_t n_open[MSGPACK_CURSOR_MAX_DEPTH + 1]; /* items still to come, of what is open at each depth */
    size_t depth = 0;
    n_open[0] = 1;
    for (;;) {
        while (n_open[depth] == 0) {
            if (depth == 0) return true;
            depth--;
        }
        n_open[depth]--;
        msgpack_item item = msgpack_cursor_next(c);
        if (item.kind == ITEM_CUT || item.kind == ITEM_UNKNOWN) return false;
        if (item.kind != ITEM_ARRAY && item.kind != ITEM_MAP) continue;
        if (depth == MSGPACK_CURSOR_MAX_DEPTH) return false;
        n_open[++depth] = item.kind == ITEM_MAP ? 2 * (uint64_t)item.n : item.n;
    }
}

const char *msgpack_item_kind_name(msgpack_item_kind kind)
{
    switch (kind) {
    case ITEM_CUT: return "an item cut short";
    case ITEM_UNKNOWN: return "a byte 0xc1";
    case ITEM_NIL: return "nil";
    case ITEM_BOOL: return "a bool";
    case ITEM_UINT: return "an integer";
    case ITEM_INT: return "a negative integer";
    case ITEM_FLOAT: return "a float";
    case ITEM_STR: return "a string";
    case ITEM_BIN: return "a bin";
    case ITEM_EXT: return "an extension";
    case ITEM_ARRAY: return "an array";
    case ITEM_MAP: return "a map";
    }
    return "nothing known";
}
