/* gguf_values.c: metadata as C values.
 *
 * Files disagree about the width of a number (u32 here, u64 there), so a reader asks for a meaning, not for a type: any integer
 * that fits is an integer, any number is a float. What a key holds beyond that is its reader's business. */
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>

#include "bytes.h"
#include "gguf_internal.h"

static const char *type_name(gguf_type type)
{
    static const char *const names[GGUF_TYPE_END] = {
        [GGUF_U8] = "u8",   [GGUF_I8] = "i8",   [GGUF_U16] = "u16",     [GGUF_I16] = "i16",         [GGUF_U32] = "u32",
        [GGUF_I32] = "i32", [GGUF_F32] = "f32", [GGUF_BOOL] = "a bool", [GGUF_STRING] = "a string", [GGUF_ARRAY] = "an array",
        [GGUF_U64] = "u64", [GGUF_I64] = "i64", [GGUF_F64] = "f64",
    };
    return names[type];
}

static yl_status wrong_type(const gguf_kv *kv, const char *wanted, yl_error *err)
{
    int n_key = gguf_shown_bytes(kv->key);
    if (kv->type == GGUF_ARRAY) {
        return yl_fail(err, YL_EFORMAT, "key '%.*s' is an array (elements: %s), expected %s", n_key, kv->key.data,
                       type_name(kv->elem_type), wanted);
    }
    return yl_fail(err, YL_EFORMAT, "key '%.*s' is %s, expected %s", n_key, kv->key.data, type_name(kv->type), wanted);
}

static yl_status missing(const char *key, yl_error *err)
{
    return yl_fail(err, YL_EFORMAT, "key '%s' is missing", key);
}

/* An integer of any type in 65 bits: its value is `bits`, or, if negative, (int64_t)bits. */
typedef struct wide_int {
    uint64_t bits;
    bool negative;
} wide_int;

static wide_int wide_from_signed(int64_t v)
{
    return (wide_int){(uint64_t)v, v < 0};
}

/* False: not an integer type. p: a value of that type. */
static bool load_integer(gguf_type type, const uint8_t *p, wide_int *out)
{
    switch (type) {
    case GGUF_U8: *out = (wide_int){p[0], false}; return true;
    case GGUF_U16: *out = (wide_int){bytes_load_u16(p), false}; return true;
    case GGUF_U32: *out = (wide_int){bytes_load_u32(p), false}; return true;
    case GGUF_U64: *out = (wide_int){bytes_load_u64(p), false}; return true;
    case GGUF_I8: *out = wide_from_signed((int8_t)p[0]); return true;
    case GGUF_I16: *out = wide_from_signed((int16_t)bytes_load_u16(p)); return true;
    case GGUF_I32: *out = wide_from_signed((int32_t)bytes_load_u32(p)); return true;
    case GGUF_I64: *out = wide_from_signed((int64_t)bytes_load_u64(p)); return true;
    default: return false;
    }
}

static float load_f32(const uint8_t *p)
{
    float f;
    memcpy(&f, p, sizeof f);
    return f;
}

static bool load_number(gguf_type type, const uint8_t *p, double *out)
{
    wide_int i;
    if (type == GGUF_F32) {
        *out = (double)load_f32(p);
    } else if (type == GGUF_F64) {
        memcpy(out, p, sizeof *out);
    } else if (load_integer(type, p, &i)) {
        *out = i.negative ? (double)(int64_t)i.bits : (double)i.bits;
    } else {
        return false;
    }
    return true;
}

yl_status gguf_kv_u32_or(const gguf_kv *kv, uint32_t fallback, uint32_t *out, yl_error *err)
{
    *out = fallback;
    if (!kv) return YL_OK;
    wide_int i;
    if (!load_integer(kv->type, kv->bytes, &i)) return wrong_type(kv, "an integer", err);
    if (i.negative || i.bits > UINT32_MAX) {
        return yl_fail(err, YL_EFORMAT, "key '%.*s' does not fit 32 bits without a sign", gguf_shown_bytes(kv->key), kv->key.data);
    }
    *out = (uint32_t)i.bits;
    return YL_OK;
}

yl_status gguf_get_u32_or(const gguf *g, const char *key, uint32_t fallback, uint32_t *out, yl_error *err)
{
    return gguf_kv_u32_or(gguf_find_kv(g, key), fallback, out, err);
}

yl_status gguf_get_u32(const gguf *g, const char *key, uint32_t *out, yl_error *err)
{
    const gguf_kv *kv = gguf_find_kv(g, key);
    return kv ? gguf_kv_u32_or(kv, 0, out, err) : missing(key, err);
}

yl_status gguf_get_f64_or(const gguf *g, const char *key, double fallback, double *out, yl_error *err)
{
    const gguf_kv *kv = gguf_find_kv(g, key);
    *out = fallback;
    if (!kv || load_number(kv->type, kv->bytes, out)) return YL_OK;
    return wrong_type(kv, "a number", err);
}

yl_status gguf_get_bool_or(const gguf *g, const char *key, bool fallback, bool *out, yl_error *err)
{
    const gguf_kv *kv = gguf_find_kv(g, key);
    *out = fallback;
    if (!kv) return YL_OK;
    if (kv->type != GGUF_BOOL) return wrong_type(kv, "a bool", err);
    if (kv->bytes[0] > 1) {
        return yl_fail(err, YL_EFORMAT, "key '%.*s' is a bool, but its value is %u", gguf_shown_bytes(kv->key), kv->key.data,
                       (unsigned)kv->bytes[0]);
    }
    *out = kv->bytes[0] == 1;
    return YL_OK;
}

static yl_status string_of(const gguf_kv *kv, gguf_str *out, yl_error *err)
{
    if (kv->type != GGUF_STRING) return wrong_type(kv, "a string", err);
    *out = (gguf_str){(const char *)kv->bytes, kv->n_bytes};
    return YL_OK;
}

yl_status gguf_get_str(const gguf *g, const char *key, gguf_str *out, yl_error *err)
{
    const gguf_kv *kv = gguf_find_kv(g, key);
    return kv ? string_of(kv, out, err) : missing(key, err);
}

yl_status gguf_get_str_or(const gguf *g, const char *key, const char *fallback, gguf_str *out, yl_error *err)
{
    const gguf_kv *kv = gguf_find_kv(g, key);
    if (kv) return string_of(kv, out, err);
    *out = (gguf_str){fallback, strlen(fallback)};
    return YL_OK;
}

/* Room for the elements of an array key: *out is NULL for an empty one. The parser has seen every element's bytes, so the size is
 * bounded by the file's. elem_bytes is ours, not the file's. */
static yl_status array_room(const gguf_kv *kv, size_t elem_bytes, void **out, size_t *n, yl_error *err)
{
    *out = NULL;
    *n = 0;
    if (kv->n == 0) return YL_OK;
    *out = calloc((size_t)kv->n, elem_bytes);
    if (!*out)
        return yl_fail(err, YL_ENOMEM, "no memory for the %" PRIu64 " elements of '%.*s'", kv->n, gguf_shown_bytes(kv->key),
                       kv->key.data);
    *n = (size_t)kv->n;
    return YL_OK;
}

yl_status gguf_get_strings(const gguf *g, const char *key, gguf_str **out, size_t *n, yl_error *err)
{
    *out = NULL;
    *n = 0;
    const gguf_kv *kv = gguf_find_kv(g, key);
    if (!kv) return missing(key, err);
    if (kv->type != GGUF_ARRAY || kv->elem_type != GGUF_STRING) return wrong_type(kv, "an array of strings", err);
    void *room;
    yl_status status = array_room(kv, sizeof **out, &room, n, err);
    if (status) return status;
    *out = room;
    const uint8_t *p = kv->bytes;
    for (size_t i = 0; i < *n; i++) {
        size_t n_bytes = (size_t)bytes_load_u64(p);
        (*out)[i] = (gguf_str){(const char *)p + sizeof(uint64_t), n_bytes};
        p += sizeof(uint64_t) + n_bytes;
    }
    return YL_OK;
}

yl_status gguf_get_f32s(const gguf *g, const char *key, float **out, size_t *n, yl_error *err)
{
    *out = NULL;
    *n = 0;
    const gguf_kv *kv = gguf_find_kv(g, key);
    if (!kv) return missing(key, err);
    if (kv->type != GGUF_ARRAY || kv->elem_type != GGUF_F32) return wrong_type(kv, "an array of f32", err);
    void *room;
    yl_status status = array_room(kv, sizeof **out, &room, n, err);
    if (status) return status;
    *out = room;
    if (*n) memcpy(*out, kv->bytes, *n * sizeof **out);
    return YL_OK;
}

/* False: not an integer, or too large. */
static bool load_i32(gguf_type type, const uint8_t *p, int32_t *out)
{
    wide_int v;
    if (!load_integer(type, p, &v)) return false;
    if (v.negative ? (int64_t)v.bits < INT32_MIN : v.bits > INT32_MAX) return false;
    *out = (int32_t)v.bits;
    return true;
}

yl_status gguf_get_i32s(const gguf *g, const char *key, int32_t **out, size_t *n, yl_error *err)
{
    *out = NULL;
    *n = 0;
    const gguf_kv *kv = gguf_find_kv(g, key);
    if (!kv) return missing(key, err);
    size_t size = gguf_type_bytes(kv->elem_type);
    wide_int first;
    if (kv->type != GGUF_ARRAY || (kv->n > 0 && !load_integer(kv->elem_type, kv->bytes, &first))) {
        return wrong_type(kv, "an array of integers", err);
    }
    void *room;
    yl_status status = array_room(kv, sizeof **out, &room, n, err);
    if (status) return status;
    int32_t *values = room;
    for (size_t i = 0; i < *n; i++) {
        if (load_i32(kv->elem_type, kv->bytes + i * size, &values[i])) continue;
        free(values);
        *n = 0;
        return yl_fail(err, YL_EFORMAT, "element %zu of key '%.*s' does not fit 32 bits", i, gguf_shown_bytes(kv->key),
                       kv->key.data);
    }
    *out = values;
    return YL_OK;
}
