/* gguf_writer.c: two growing buffers, for the keys and for the tensors' descriptions, and then a stream. */
#include "gguf_writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct buffer {
    uint8_t *bytes;
    size_t n, capacity;
} buffer;

struct gguf_writer {
    FILE *file;
    uint64_t alignment;
    buffer keys, tensors;
    uint64_t n_keys, n_tensors;
    uint64_t *tensor_bytes; /* [n_tensors] without padding */
    uint64_t data_bytes;    /* of all tensors, padded */
    uint64_t current;       /* tensor that data goes to, and how much it has */
    uint64_t current_bytes;
    bool no_memory;
};

static void append(gguf_writer *w, buffer *b, const void *bytes, size_t n)
{
    if (w->no_memory || n == 0) return;
    if (b->n + n > b->capacity) {
        size_t capacity = b->n + n > 2 * b->capacity ? b->n + n : 2 * b->capacity;
        uint8_t *grown = realloc(b->bytes, capacity);
        if (!grown) {
            w->no_memory = true;
            return;
        }
        b->bytes = grown;
        b->capacity = capacity;
    }
    memcpy(b->bytes + b->n, bytes, n);
    b->n += n;
}

static void append_u32(gguf_writer *w, buffer *b, uint32_t v)
{
    append(w, b, &v, sizeof v);
}

static void append_u64(gguf_writer *w, buffer *b, uint64_t v)
{
    append(w, b, &v, sizeof v);
}

static void append_str(gguf_writer *w, buffer *b, const char *s)
{
    append_u64(w, b, strlen(s));
    append(w, b, s, strlen(s));
}

static void begin_key(gguf_writer *w, const char *key, gguf_type type)
{
    append_str(w, &w->keys, key);
    append_u32(w, &w->keys, type);
    w->n_keys++;
}

static void number(gguf_writer *w, const char *key, gguf_type type, const void *value, size_t n_bytes)
{
    begin_key(w, key, type);
    append(w, &w->keys, value, n_bytes);
}

yl_status gguf_writer_new(gguf_writer **out, FILE *file, uint32_t alignment, yl_error *err)
{
    *out = NULL;
    if (alignment < 8 || (alignment & (alignment - 1)) != 0) {
        return yl_fail(err, YL_EINVAL, "alignment %u is not a power of two of at least 8", (unsigned)alignment);
    }
    gguf_writer *w = calloc(1, sizeof *w);
    if (!w) return yl_fail(err, YL_ENOMEM, "no memory for a GGUF writer");
    w->file = file;
    w->alignment = alignment;
    if (alignment != 32) gguf_writer_u32(w, "general.alignment", alignment);
    *out = w;
    return YL_OK;
}

void gguf_writer_free(gguf_writer *w)
{
    if (!w) return;
    free(w->keys.bytes);
    free(w->tensors.bytes);
    free(w->tensor_bytes);
    free(w);
}

void gguf_writer_u8(gguf_writer *w, const char *key, uint8_t v)
{
    number(w, key, GGUF_U8, &v, sizeof v);
}

void gguf_writer_u16(gguf_writer *w, const char *key, uint16_t v)
{
    number(w, key, GGUF_U16, &v, sizeof v);
}

void gguf_writer_u32(gguf_writer *w, const char *key, uint32_t v)
{
    number(w, key, GGUF_U32, &v, sizeof v);
}

void gguf_writer_u64(gguf_writer *w, const char *key, uint64_t v)
{
    number(w, key, GGUF_U64, &v, sizeof v);
}

void gguf_writer_i8(gguf_writer *w, const char *key, int8_t v)
{
    number(w, key, GGUF_I8, &v, sizeof v);
}

void gguf_writer_i16(gguf_writer *w, const char *key, int16_t v)
{
    number(w, key, GGUF_I16, &v, sizeof v);
}

void gguf_writer_i32(gguf_writer *w, const char *key, int32_t v)
{
    number(w, key, GGUF_I32, &v, sizeof v);
}

void gguf_writer_i64(gguf_writer *w, const char *key, int64_t v)
{
    number(w, key, GGUF_I64, &v, sizeof v);
}

void gguf_writer_f32(gguf_writer *w, const char *key, float v)
{
    number(w, key, GGUF_F32, &v, sizeof v);
}

void gguf_writer_f64(gguf_writer *w, const char *key, double v)
{
    number(w, key, GGUF_F64, &v, sizeof v);
}

void gguf_writer_bool(gguf_writer *w, const char *key, bool v)
{
    uint8_t byte = v;
    number(w, key, GGUF_BOOL, &byte, sizeof byte);
}

void gguf_writer_str(gguf_writer *w, const char *key, const char *v)
{
    begin_key(w, key, GGUF_STRING);
    append_str(w, &w->keys, v);
}

void gguf_writer_strings(gguf_writer *w, const char *key, const char *const *v, size_t n)
{
    begin_key(w, key, GGUF_ARRAY);
    append_u32(w, &w->keys, GGUF_STRING);
    append_u64(w, &w->keys, n);
    for (size_t i = 0; i < n; i++) append_str(w, &w->keys, v[i]);
}

void gguf_writer_numbers(gguf_writer *w, const char *key, gguf_type type, const void *values, size_t n)
{
    static const uint8_t sizes[GGUF_TYPE_END] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
        [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
    };
    begin_key(w, key, GGUF_ARRAY);
    append_u32(w, &w->keys, type);
    append_u64(w, &w->keys, n);
    append(w, &w->keys, values, n * sizes[type]);
}

static uint64_t padded(const gguf_writer *w, uint64_t n)
{
    return (n + w->alignment - 1) / w->alignment * w->alignment;
}

void gguf_writer_tensor(gguf_writer *w, const char *name, quant_type type, uint32_t n_dims, const uint64_t *ne)
{
    uint64_t *grown = realloc(w->tensor_bytes, (w->n_tensors + 1) * sizeof *grown);
    if (!grown) {
        w->no_memory = true;
        return;
    }
    w->tensor_bytes = grown;
    uint64_t n_bytes = 0;
    quant_row_bytes(type, ne[0], &n_bytes);
    append_str(w, &w->tensors, name);
    append_u32(w, &w->tensors, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) {
        append_u64(w, &w->tensors, ne[i]);
        if (i > 0) n_bytes *= ne[i];
    }
    append_u32(w, &w->tensors, type);
    append_u64(w, &w->tensors, w->data_bytes);
    w->tensor_bytes[w->n_tensors++] = n_bytes;
    w->data_bytes += padded(w, n_bytes);
}

static yl_status put(gguf_writer *w, const void *bytes, size_t n, yl_error *err)
{
    if (n == 0 || fwrite(bytes, n, 1, w->file) == 1) return YL_OK;
    return yl_fail(err, YL_EIO, "cannot be written: %s", strerror(errno));
}

static yl_status put_zeros(gguf_writer *w, uint64_t n, yl_error *err)
{
    static const uint8_t zeros[4096];
    yl_status status = YL_OK;
    for (; n > 0 && !status; n -= n < sizeof zeros ? n : sizeof zeros) {
        status = put(w, zeros, n < sizeof zeros ? (size_t)n : sizeof zeros, err);
    }
    return status;
}

yl_status gguf_writer_begin_data(gguf_writer *w, yl_error *err)
{
    if (w->no_memory) return yl_fail(err, YL_ENOMEM, "no memory for the header");
    uint8_t start[24] = "GGUF";
    uint32_t version = 3;
    memcpy(start + 4, &version, sizeof version);
    memcpy(start + 8, &w->n_tensors, sizeof w->n_tensors);
    memcpy(start + 16, &w->n_keys, sizeof w->n_keys);
    uint64_t n = sizeof start + w->keys.n + w->tensors.n;
    yl_status status = put(w, start, sizeof start, err);
    if (!status) status = put(w, w->keys.bytes, w->keys.n, err);
    if (!status) status = put(w, w->tensors.bytes, w->tensors.n, err);
    if (!status) status = put_zeros(w, padded(w, n) - n, err);
    return status;
}

/* Pads the current tensor and goes on to the next. */
static yl_status end_tensor(gguf_writer *w, yl_error *err)
{
    yl_status status = put_zeros(w, padded(w, w->current_bytes) - w->current_bytes, err);
    w->current++;
    w->current_bytes = 0;
    return status;
}

yl_status gguf_writer_data(gguf_writer *w, const void *bytes, size_t n_bytes, yl_error *err)
{
    const uint8_t *p = bytes;
    while (n_bytes > 0) {
        if (w->current == w->n_tensors) return yl_fail(err, YL_EINVAL, "more data than the tensors have room for");
        uint64_t room = w->tensor_bytes[w->current] - w->current_bytes;
        size_t n = n_bytes < room ? n_bytes : (size_t)room;
        yl_status status = put(w, p, n, err);
        if (status) return status;
        w->current_bytes += n;
        p += n;
        n_bytes -= n;
        if (n == room) status = end_tensor(w, err);
        if (status) return status;
    }
    return YL_OK;
}

yl_status gguf_writer_finish(gguf_writer *w, yl_error *err)
{
    if (w->current != w->n_tensors) {
        return yl_fail(err, YL_EINVAL, "tensor %llu of %llu did not get all its data", (unsigned long long)w->current,
                       (unsigned long long)w->n_tensors);
    }
    if (fflush(w->file) != 0) return yl_fail(err, YL_EIO, "cannot be written: %s", strerror(errno));
    return YL_OK;
}
