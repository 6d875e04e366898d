/* gguf.h: reading GGUF model files.
 *
 * A GGUF file is a header of typed key/value pairs, a table of tensors (name, shape, type, offset), and the tensors' data, aligned.
 * A model may be split over several files ("-00001-of-00003.gguf"): they are opened together and read as one. Files are mapped,
 * not read: opening costs the header only, and data pages come from the disk as they are touched.
 * Every byte is hostile. Every count, length and offset is held against what the file really has before anything is allocated or
 * read; what is wrong is told in one sentence that names the key or tensor.
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little endian). */
#ifndef YL_GGUF_H
#define YL_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quant.h"
#include "status.h"

/* Types of metadata values, by their number in the file. */
typedef enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_END
} gguf_type;

/* A string inside the file: not NUL-terminated, any bytes. */
typedef struct gguf_str {
    const char *data;
    size_t n_bytes;
} gguf_str;

/* One metadata entry: views into the file, valid until gguf_free. */
typedef struct gguf_kv {
    gguf_str key;
    gguf_type type;
    gguf_type elem_type;  /* of an array; else equal to `type` */
    uint64_t n;           /* elements of an array; else 1 */
    const uint8_t *bytes; /* the value, little endian, unaligned, already checked to lie in the file. Of a string: its characters,
                           * without the length; of an array: its elements, one after the other (strings with their u64 length) */
    size_t n_bytes;
} gguf_kv;

/* One tensor. Its data was checked to lie within its file; it is not read before somebody looks. */
typedef struct gguf_tensor {
    const char *name;    /* NUL-terminated, no control bytes, at most 64 bytes; unique in the model */
    quant_type type;     /* a supported type */
    uint32_t n_dims;     /* 1 to 4 */
    uint64_t ne[4];      /* elements a dimension, ne[0] is a row's length (contiguous); 1 beyond n_dims */
    uint64_t n_bytes;    /* of data */
    const uint8_t *data; /* mapped; aligned to the file's general.alignment as far as a page goes, and so to at least 8 */
    uint32_t part;       /* which file of a split model, from 0 */
    uint64_t offset;     /* of data from the start of that file */
} gguf_tensor;

/* An open model. Immutable after gguf_open, so threads may share it. */
typedef struct gguf gguf;

/* Opens a model and maps its files (all parts, when `path` names any part of a split model).
 * YL_EIO (cannot be opened or mapped), YL_EFORMAT, YL_EUNSUPPORTED (big endian, version 1, a tensor type that cannot be computed
 * with: the message names tensor, type and what to download instead; arrays of arrays), YL_ELIMIT, YL_ENOMEM; then *out is NULL.
 * Messages begin with the file's path. */
yl_status gguf_open(gguf **out, const char *path, yl_error *err);

/* Reads a whole file that lies in memory (for tests and fuzzing); a part of a split model is refused (YL_EUNSUPPORTED). The bytes
 * must outlive the gguf, and tensors are as aligned as they are. */
yl_status gguf_open_memory(gguf **out, const uint8_t *bytes, size_t n_bytes, yl_error *err);

void gguf_free(gguf *g);

const char *gguf_path(const gguf *g); /* the path it was opened with */
uint32_t gguf_version(const gguf *g);
uint32_t gguf_n_parts(const gguf *g);
const char *gguf_part_path(const gguf *g, uint32_t part);
uint64_t gguf_file_bytes(const gguf *g); /* all parts together */

/* Metadata: of the first part. */
size_t gguf_n_kv(const gguf *g);
const gguf_kv *gguf_kv_at(const gguf *g, size_t i);
const gguf_kv *gguf_find_kv(const gguf *g, const char *key); /* NULL: not there */

/* Typed reads. Any integer type is accepted for an integer that fits, any float or integer type for a float.
 * `_or`: a missing key gives the default; a wrong type is YL_EFORMAT either way. Without `_or` a missing key is YL_EFORMAT.
 * Messages name the key; the path is the caller's to put in front. */
yl_status gguf_get_u32(const gguf *g, const char *key, uint32_t *out, yl_error *err);
yl_status gguf_get_u32_or(const gguf *g, const char *key, uint32_t fallback, uint32_t *out, yl_error *err);
yl_status gguf_get_f64_or(const gguf *g, const char *key, double fallback, double *out, yl_error *err);
yl_status gguf_get_bool_or(const gguf *g, const char *key, bool fallback, bool *out, yl_error *err);
yl_status gguf_get_str(const gguf *g, const char *key, gguf_str *out, yl_error *err);
yl_status gguf_get_str_or(const gguf *g, const char *key, const char *fallback, gguf_str *out, yl_error *err);

/* Arrays, copied out: *out is a malloc'ed array of *n elements that the caller frees (NULL and 0 for an empty one); strings in it
 * are views into the file. i32s takes integers of any type that fit. A missing key or another element type is YL_EFORMAT. */
yl_status gguf_get_strings(const gguf *g, const char *key, gguf_str **out, size_t *n, yl_error *err);
yl_status gguf_get_f32s(const gguf *g, const char *key, float **out, size_t *n, yl_error *err);
yl_status gguf_get_i32s(const gguf *g, const char *key, int32_t **out, size_t *n, yl_error *err);

size_t gguf_n_tensors(const gguf *g);
const gguf_tensor *gguf_tensor_at(const gguf *g, size_t i);
size_t gguf_tensor_number(const gguf *g, const gguf_tensor *t); /* i of gguf_tensor_at; gguf_n_tensors: it is not of this model */
const gguf_tensor *gguf_find_tensor(const gguf *g, const char *name); /* NULL: not there */

/* Tells the kernel that the pages of a tensor will be read soon / are not needed any more. Advice only. */
void gguf_advise_needed(const gguf *g, const gguf_tensor *t);
void gguf_advise_done(const gguf *g, const gguf_tensor *t);
/* The same of the whole pages within [data, data + n) of a mapped model. */
void gguf_drop_pages(const uint8_t *data, uint64_t n);

#endif
