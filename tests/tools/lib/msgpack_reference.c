/* msgpack_reference.c: msgpack-c's parser is a template that calls a function for each item; ours write the items down.
 *
 * The library's own instance of it allocates what a peer claims. This one allocates nothing: where the library keeps objects we
 * keep an int that nobody looks at. Its stack is as deep as the longest input, so that no input is refused for its depth. */
#include "msgpack_reference.h"

#define MSGPACK_EMBED_STACK_SIZE (MSGPACK_REFERENCE_MAX_BYTES + 1)
#include <msgpack/unpack.h>
#include <msgpack/unpack_define.h>

typedef struct item_list {
    msgpack_item *items;
    size_t n;
} item_list;

static int record(item_list *list, msgpack_item item)
{
    list->items[list->n++] = item;
    return 0;
}

static int record_int(item_list *list, int64_t i)
{
    if (i >= 0) return record(list, (msgpack_item){.kind = ITEM_UINT, .u = (uint64_t)i});
    return record(list, (msgpack_item){.kind = ITEM_INT, .i = i});
}

static int record_uint(item_list *list, uint64_t u)
{
    return record(list, (msgpack_item){.kind = ITEM_UINT, .u = u});
}

static int record_bytes(item_list *list, msgpack_item_kind kind, const char *p, unsigned int n)
{
    return record(list, (msgpack_item){.kind = kind, .n = n, .data = (const uint8_t *)p});
}

/* The names and arguments are the template's. */
static int template_callback_root(item_list *u)
{
    (void)u;
    return 0;
}
static int template_callback_uint8(item_list *u, uint8_t d, int *o)
{
    *o = 0;
    return record_uint(u, d);
}
static int template_callback_uint16(item_list *u, uint16_t d, int *o)
{
    *o = 0;
    return record_uint(u, d);
}
static int template_callback_uint32(item_list *u, uint32_t d, int *o)
{
    *o = 0;
    return record_uint(u, d);
}
static int template_callback_uint64(item_list *u, uint64_t d, int *o)
{
    *o = 0;
    return record_uint(u, d);
}
static int template_callback_int8(item_list *u, int8_t d, int *o)
{
    *o = 0;
    return record_int(u, d);
}
static int template_callback_int16(item_list *u, int16_t d, int *o)
{
    *o = 0;
    return record_int(u, d);
}
static int template_callback_int32(item_list *u, int32_t d, int *o)
{
    *o = 0;
    return record_int(u, d);
}
static int template_callback_int64(item_list *u, int64_t d, int *o)
{
    *o = 0;
    return record_int(u, d);
}
static int template_callback_float(item_list *u, float d, int *o)
{
    *o = 0;
    return record(u, (msgpack_item){.kind = ITEM_FLOAT, .f = d});
}
static int template_callback_double(item_list *u, double d, int *o)
{
    *o = 0;
    return record(u, (msgpack_item){.kind = ITEM_FLOAT, .f = d});
}
static int template_callback_nil(item_list *u, int *o)
{
    *o = 0;
    return record(u, (msgpack_item){.kind = ITEM_NIL});
}
static int template_callback_true(item_list *u, int *o)
{
    *o = 0;
    return record(u, (msgpack_item){.kind = ITEM_BOOL, .b = true});
}
static int template_callback_false(item_list *u, int *o)
{
    *o = 0;
    return record(u, (msgpack_item){.kind = ITEM_BOOL, .b = false});
}
static int template_callback_array(item_list *u, unsigned int n, int *o)
{
    *o = 0;
    return record(u, (msgpack_item){.kind = ITEM_ARRAY, .n = n});
}
static int template_callback_array_item(item_list *u, int *c, int o)
{
    (void)u, (void)c, (void)o;
    return 0;
}
static int template_callback_map(item_list *u, unsigned int n, int *o)
{
    *o = 0;
    return record(u, (msgpack_item){.kind = ITEM_MAP, .n = n});
}
static int template_callback_map_item(item_list *u, int *c, int k, int v)
{
    (void)u, (void)c, (void)k, (void)v;
    return 0;
}
static int template_callback_str(item_list *u, const char *b, const char *p, unsigned int l, int *o)
{
    (void)b, *o = 0;
    return record_bytes(u, ITEM_STR, p, l);
}
static int template_callback_bin(item_list *u, const char *b, const char *p, unsigned int l, int *o)
{
    (void)b, *o = 0;
    return record_bytes(u, ITEM_BIN, p, l);
}
static int template_callback_ext(item_list *u, const char *b, const char *p, unsigned int l, int *o)
{
    (void)b, *o = 0;
    if (l == 0) return -1; /* 2^32 - 1 bytes and a type byte, in 32 bits */
    return record_bytes(u, ITEM_EXT, p + 1, l - 1);
}

#define msgpack_unpack_struct(name) struct template##name
#define msgpack_unpack_func(ret, name) static ret template##name
#define msgpack_unpack_callback(name) template_callback##name
#define msgpack_unpack_object int
#define msgpack_unpack_user item_list
#include <msgpack/unpack_template.h>

size_t msgpack_reference_items(msgpack_item *items, const uint8_t *bytes, size_t n, size_t *n_read)
{
    static struct template_context context;
    template_init(&context);
    context.user = (item_list){.items = items};
    *n_read = 0;
    int result = template_execute(&context, (const char *)bytes, n, n_read);
    (void)template_data;
    return result > 0 ? context.user.n : 0;
}
