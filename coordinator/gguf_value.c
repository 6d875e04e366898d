/* gguf_value.c: a walk over the elements of a value (a scalar is one element), and two ways to write one. */
#include "gguf_value.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "tokenizer.h"

enum { MAX_PRINTED_BYTES = 60, MAX_PRINTED_ELEMS = 6 };

/* One element, widened. */
typedef enum element_kind { ELEMENT_SIGNED, ELEMENT_UNSIGNED, ELEMENT_F32, ELEMENT_F64, ELEMENT_BOOL, ELEMENT_STRING } element_kind;
typedef struct element {
    element_kind kind;
    int64_t i;
    uint64_t u;
    double d;
    gguf_str s;
} element;

static const struct {
    const char *name;
    size_t n_bytes; /* of a number */
} types[GGUF_TYPE_END] = {
    [GGUF_U8] = {"u8", 1},         [GGUF_I8] = {"i8", 1},       [GGUF_U16] = {"u16", 2}, [GGUF_I16] = {"i16", 2},
    [GGUF_U32] = {"u32", 4},       [GGUF_I32] = {"i32", 4},     [GGUF_F32] = {"f32", 4}, [GGUF_BOOL] = {"bool", 1},
    [GGUF_STRING] = {"string", 0}, [GGUF_ARRAY] = {"array", 0}, [GGUF_U64] = {"u64", 8}, [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

const char *gguf_value_type_name(gguf_type type)
{
    return (unsigned)type < GGUF_TYPE_END ? types[type].name : "unknown";
}

static bool take_string(byte_reader *r, element *out)
{
    uint64_t n;
    const uint8_t *data;
    if (!bytes_take_u64(r, &n) || !bytes_take(r, n, &data)) return false;
    *out = (element){.kind = ELEMENT_STRING, .s = {(const char *)data, (size_t)n}};
    return true;
}

/* Takes an element from the front. False: there is none (the file's bytes were checked, so it is the end). */
static bool take_element(byte_reader *r, gguf_type type, element *out)
{
    if (type == GGUF_STRING) return take_string(r, out);
    const uint8_t *p;
    if ((unsigned)type >= GGUF_TYPE_END || types[type].n_bytes == 0 || !bytes_take(r, types[type].n_bytes, &p)) return false;
    float f;
    *out = (element){.kind = ELEMENT_SIGNED};
    switch (type) {
    case GGUF_U8: *out = (element){.kind = ELEMENT_UNSIGNED, .u = *p}; break;
    case GGUF_U16: *out = (element){.kind = ELEMENT_UNSIGNED, .u = bytes_load_u16(p)}; break;
    case GGUF_U32: *out = (element){.kind = ELEMENT_UNSIGNED, .u = bytes_load_u32(p)}; break;
    case GGUF_U64: *out = (element){.kind = ELEMENT_UNSIGNED, .u = bytes_load_u64(p)}; break;
    case GGUF_I8: out->i = (int8_t)*p; break;
    case GGUF_I16: out->i = (int16_t)bytes_load_u16(p); break;
    case GGUF_I32: out->i = (int32_t)bytes_load_u32(p); break;
    case GGUF_I64: out->i = (int64_t)bytes_load_u64(p); break;
    case GGUF_BOOL: *out = (element){.kind = ELEMENT_BOOL, .u = *p != 0}; break;
    case GGUF_F32:
        memcpy(&f, p, sizeof f);
        *out = (element){.kind = ELEMENT_F32, .d = (double)f};
        break;
    case GGUF_F64:
        out->kind = ELEMENT_F64;
        memcpy(&out->d, p, sizeof out->d);
        break;
    default: return false;
    }
    return true;
}

/* The value of an entry that is no array: its string has no length in front. */
static bool scalar(const gguf_kv *kv, element *out)
{
    byte_reader r = {kv->bytes, kv->n_bytes};
    if (kv->type != GGUF_STRING) return take_element(&r, kv->type, out);
    *out = (element){.kind = ELEMENT_STRING, .s = {(const char *)kv->bytes, kv->n_bytes}};
    return true;
}

/* The shortest decimal that reads back as the same number. buf: at least 32 bytes. */
static const char *shortest(char *buf, double d, element_kind kind)
{
    for (int precision = 6; precision <= 17; precision++) {
        snprintf(buf, 32, "%.*g", precision, d);
        double back = strtod(buf, NULL);
        if (kind == ELEMENT_F32 ? (float)back == (float)d : back == d) break;
    }
    return buf;
}

/* --- text --------------------------------------------------------------------------------------------------------------------- */

char *gguf_value_text(gguf_str s, gguf_value_use use)
{
    if (s.n_bytes > SIZE_MAX / 4) return NULL;
    char *text = malloc(3 * (s.n_bytes + 4) + 13);
    if (!text) return NULL;
    utf8_stream stream = {0};
    size_t n = utf8_stream_feed(&stream, s.data, s.n_bytes, text);
    n += utf8_stream_end(&stream, text + n);
    text[n] = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        bool is_control = c < 0x20 || c == 0x7f;
        if (c == 0 || (is_control && use == GGUF_VALUE_FOR_TERMINAL)) text[i] = '?';
    }
    return text;
}

static void print_string(FILE *f, gguf_str s, size_t max_bytes)
{
    bool is_cut = s.n_bytes > max_bytes;
    if (is_cut) s.n_bytes = max_bytes;
    char *text = gguf_value_text(s, GGUF_VALUE_FOR_TERMINAL);
    fprintf(f, "\"%s%s\"", text ? text : "", is_cut ? "..." : "");
    free(text);
}

static void print_element(FILE *f, const element *e, size_t max_bytes)
{
    char number[32];
    switch (e->kind) {
    case ELEMENT_SIGNED: fprintf(f, "%" PRId64, e->i); break;
    case ELEMENT_UNSIGNED: fprintf(f, "%" PRIu64, e->u); break;
    case ELEMENT_F32:
    case ELEMENT_F64: fputs(shortest(number, e->d, e->kind), f); break;
    case ELEMENT_BOOL: fputs(e->u ? "true" : "false", f); break;
    case ELEMENT_STRING: print_string(f, e->s, max_bytes); break;
    }
}

void gguf_value_print(FILE *f, const gguf_kv *kv)
{
    byte_reader r = {kv->bytes, kv->n_bytes};
    element e;
    if (kv->type != GGUF_ARRAY) {
        if (scalar(kv, &e)) print_element(f, &e, MAX_PRINTED_BYTES);
        return;
    }
    fprintf(f, "%" PRIu64 " x %s [", kv->n, gguf_value_type_name(kv->elem_type));
    for (uint64_t i = 0; i < kv->n && i < MAX_PRINTED_ELEMS && take_element(&r, kv->elem_type, &e); i++) {
        if (i) fputs(", ", f);
        print_element(f, &e, MAX_PRINTED_BYTES / MAX_PRINTED_ELEMS);
    }
    fputs(kv->n > MAX_PRINTED_ELEMS ? ", ...]" : "]", f);
}

/* --- JSON --------------------------------------------------------------------------------------------------------------------- */

static cJSON *element_json(const element *e)
{
    char number[32];
    cJSON *json = NULL;
    char *text;
    switch (e->kind) {
    case ELEMENT_SIGNED: snprintf(number, sizeof number, "%" PRId64, e->i); return cJSON_CreateRaw(number);
    case ELEMENT_UNSIGNED: snprintf(number, sizeof number, "%" PRIu64, e->u); return cJSON_CreateRaw(number);
    case ELEMENT_F32:
    case ELEMENT_F64: return isfinite(e->d) ? cJSON_CreateRaw(shortest(number, e->d, e->kind)) : cJSON_CreateNull();
    case ELEMENT_BOOL: return cJSON_CreateBool(e->u != 0);
    case ELEMENT_STRING:
        text = gguf_value_text(e->s, GGUF_VALUE_FOR_JSON);
        if (text) json = cJSON_CreateString(text);
        free(text);
        return json;
    }
    return NULL;
}

static cJSON *long_array_json(const gguf_kv *kv)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "type", gguf_value_type_name(kv->elem_type));
    cJSON_AddNumberToObject(json, "length", (double)kv->n);
    return json;
}

cJSON *gguf_value_json(const gguf_kv *kv, size_t max_elems)
{
    byte_reader r = {kv->bytes, kv->n_bytes};
    element e;
    if (kv->type != GGUF_ARRAY) return scalar(kv, &e) ? element_json(&e) : NULL;
    if (kv->n > max_elems) return long_array_json(kv);
    cJSON *array = cJSON_CreateArray();
    while (array && take_element(&r, kv->elem_type, &e)) cJSON_AddItemToArray(array, element_json(&e));
    return array;
}
