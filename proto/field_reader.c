/* field_reader.c: every failure goes through field_refuse, every item through take. */
#include "field_reader.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "frame_text.h"

void field_refuse(field_reader *r, const char *field, const char *format, ...)
{
    if (r->status) return;
    r->status = YL_EFORMAT;
    char what[256];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (!r->list) {
        yl_fail(r->err, YL_EFORMAT, "%s: %s: %s", r->frame, field, what);
    } else if (!field) {
        yl_fail(r->err, YL_EFORMAT, "%s: %s[%u]: %s", r->frame, r->list, r->index, what);
    } else {
        yl_fail(r->err, YL_EFORMAT, "%s: %s[%u].%s: %s", r->frame, r->list, r->index, field, what);
    }
}

/* The next item of the open array, if it is of the wanted kind. */
static bool take(field_reader *r, const char *field, msgpack_item_kind wanted, msgpack_item *item)
{
    if (r->status) return false;
    if (r->n_left == 0) {
        field_refuse(r, field, "missing");
        return false;
    }
    r->n_left--;
    *item = msgpack_cursor_next(&r->in);
    if (item->kind == wanted) return true;
    if (item->kind == ITEM_CUT) {
        field_refuse(r, field, "the bytes end inside it");
    } else {
        field_refuse(r, field, "%s is wanted here, not %s", msgpack_item_kind_name(wanted), msgpack_item_kind_name(item->kind));
    }
    return false;
}

uint64_t field_u64(field_reader *r, const char *field, uint64_t min, uint64_t max)
{
    msgpack_item item;
    if (!take(r, field, ITEM_UINT, &item)) return 0;
    if (item.u >= min && item.u <= max) return item.u;
    field_refuse(r, field, "%llu is not in [%llu, %llu]", (unsigned long long)item.u, (unsigned long long)min,
                 (unsigned long long)max);
    return 0;
}

uint32_t field_u32(field_reader *r, const char *field, uint32_t min, uint32_t max)
{
    return (uint32_t)field_u64(r, field, min, max);
}

bool field_bool(field_reader *r, const char *field)
{
    msgpack_item item;
    return take(r, field, ITEM_BOOL, &item) && item.b;
}

double field_f64(field_reader *r, const char *field)
{
    msgpack_item item;
    if (!take(r, field, ITEM_FLOAT, &item)) return 0;
    if (isfinite(item.f)) return item.f;
    field_refuse(r, field, "not a finite number");
    return 0;
}

float field_f32(field_reader *r, const char *field)
{
    float f = (float)field_f64(r, field);
    if (isfinite(f)) return f;
    field_refuse(r, field, "too large for 32 bits");
    return 0;
}

static frame_bin take_bytes(field_reader *r, const char *field, msgpack_item_kind wanted, size_t min, size_t max)
{
    msgpack_item item;
    if (!take(r, field, wanted, &item)) return (frame_bin){0};
    if (item.n >= min && item.n <= max) return (frame_bin){item.data, item.n};
    field_refuse(r, field, "%u bytes are not in [%zu, %zu]", item.n, min, max);
    return (frame_bin){0};
}

frame_bin field_bin(field_reader *r, const char *field, size_t min, size_t max)
{
    return take_bytes(r, field, ITEM_BIN, min, max);
}

frame_bin field_str(field_reader *r, const char *field, size_t min, size_t max)
{
    frame_bin s = take_bytes(r, field, ITEM_STR, min, max);
    if (s.n_bytes && !frame_text_is_valid(s.data, s.n_bytes)) field_refuse(r, field, "not UTF-8, or with control characters");
    return s;
}

uint32_t field_open_array(field_reader *r, const char *field)
{
    msgpack_item item;
    uint32_t n = take(r, field, ITEM_ARRAY, &item) ? item.n : 0;
    uint32_t outer = r->n_left;
    r->n_left = n;
    return outer;
}

void field_close_array(field_reader *r, uint32_t outer)
{
    for (; r->n_left && !r->status; r->n_left--) {
        if (!msgpack_cursor_skip(&r->in)) field_refuse(r, "an appended field", "cut short, nested too deeply or not MessagePack");
    }
    r->n_left = outer;
}

uint32_t field_open_list(field_reader *r, const char *name, uint32_t min, uint32_t max, uint32_t *outer)
{
    *outer = field_open_array(r, name);
    if (!r->status && (r->n_left < min || r->n_left > max))
        field_refuse(r, name, "%u elements are not in [%u, %u]", r->n_left, min, max);
    r->list = name;
    return r->status ? 0 : r->n_left;
}

uint32_t field_open_element(field_reader *r, uint32_t index)
{
    r->index = index;
    return field_open_array(r, NULL);
}

void field_close_list(field_reader *r, uint32_t outer)
{
    r->list = NULL;
    field_close_array(r, outer);
}
