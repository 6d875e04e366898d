/* gguf_writer.h: writes GGUF files of version 3, for tests.
 *
 * Everything about the header is collected first: keys, then tensors. gguf_writer_begin_data writes it; from then on the tensors'
 * bytes are handed over in the order in which they were named, in pieces of any size, so a model need not fit into memory.
 * A test that wants the bytes and no file gives it a stream from open_memstream. */
#ifndef YL_GGUF_WRITER_H
#define YL_GGUF_WRITER_H

#include <stdio.h>

#include "gguf.h"

typedef struct gguf_writer gguf_writer;

/* Writes to `file`, which stays the caller's. alignment: a power of two from 8 up; what is not 32 becomes the key
 * general.alignment. */
yl_status gguf_writer_new(gguf_writer **out, FILE *file, uint32_t alignment, yl_error *err);
void gguf_writer_free(gguf_writer *w);

/* Keys. A lack of memory is remembered and told by gguf_writer_begin_data. */
void gguf_writer_u8(gguf_writer *w, const char *key, uint8_t v);
void gguf_writer_u16(gguf_writer *w, const char *key, uint16_t v);
void gguf_writer_u32(gguf_writer *w, const char *key, uint32_t v);
void gguf_writer_u64(gguf_writer *w, const char *key, uint64_t v);
void gguf_writer_i8(gguf_writer *w, const char *key, int8_t v);
void gguf_writer_i16(gguf_writer *w, const char *key, int16_t v);
void gguf_writer_i32(gguf_writer *w, const char *key, int32_t v);
void gguf_writer_i64(gguf_writer *w, const char *key, int64_t v);
void gguf_writer_f32(gguf_writer *w, const char *key, float v);
void gguf_writer_f64(gguf_writer *w, const char *key, double v);
void gguf_writer_bool(gguf_writer *w, const char *key, bool v);
void gguf_writer_str(gguf_writer *w, const char *key, const char *v);
void gguf_writer_strings(gguf_writer *w, const char *key, const char *const *v, size_t n);
/* An array of n numbers of any type; values: as they lie in memory. */
void gguf_writer_numbers(gguf_writer *w, const char *key, gguf_type type, const void *values, size_t n);

/* A tensor of n_dims dimensions ne. Its type must be supported and its rows whole blocks. */
void gguf_writer_tensor(gguf_writer *w, const char *name, quant_type type, uint32_t n_dims, const uint64_t *ne);

/* Writes the header. After it only gguf_writer_data and gguf_writer_finish may be called. */
yl_status gguf_writer_begin_data(gguf_writer *w, yl_error *err);
/* The next bytes of the tensors' data. They may span several tensors; padding between tensors is the writer's. */
yl_status gguf_writer_data(gguf_writer *w, const void *bytes, size_t n_bytes, yl_error *err);
/* Pads the last tensor, flushes, and checks that every tensor got its bytes. */
yl_status gguf_writer_finish(gguf_writer *w, yl_error *err);

#endif
