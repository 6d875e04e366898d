/* gguf_image.h: whole GGUF files in memory, honest ones, and the places in them that a test may damage.
 *
 * An image is a block of exactly the file's size, so that the address sanitizer sees a read beyond its end. Whatever cannot be made
 * ends the program: it is the test that is wrong then. */
#ifndef YL_GGUF_IMAGE_H
#define YL_GGUF_IMAGE_H

#include "gguf_writer.h"

typedef struct gguf_image {
    uint8_t *bytes; /* malloc'ed */
    size_t n;
} gguf_image;

/* What a test adds to a file; NULL: nothing. */
typedef void gguf_image_add(gguf_writer *w);

/* A file with keys and tensors, whose data are the bytes 0, 1, 2 ... 255, 0 ... */
gguf_image gguf_image_make(gguf_image_add *add_keys, gguf_image_add *add_tensors);
gguf_image gguf_image_make_aligned(uint32_t alignment, gguf_image_add *add_keys, gguf_image_add *add_tensors);

/* Keys of every type, named after it: "u8" 200, "i8" -100, "u16" 60000, "i16" -30000, "u32" 4000000000, "i32" -2000000000,
 * "u64" 5000000000, "i64" -5000000000, "small i64" 7, "f32" 0.1, "f64" 0.1, "true", "false", "string" "hello" with an o umlaut,
 * "empty string", and the arrays "strings", "no strings", "floats", "no floats", "ints", "wide", "too wide", "flags". */
enum { GGUF_IMAGE_N_KEYS = 23 };
void gguf_image_add_every_type(gguf_writer *w);

/* "first", F32 [2, 3], and "second", Q8_0 [1, 64]. */
void gguf_image_add_two_tensors(gguf_writer *w);

/* One tensor of n_rows rows of n_cols. */
void gguf_image_add_tensor(gguf_writer *w, const char *name, quant_type type, uint64_t n_cols, uint64_t n_rows);

/* Where a text first occurs. */
size_t gguf_image_find(const gguf_image *f, const char *text);

/* Overwrites the number that stands `skip` bytes behind the end of a name. */
void gguf_image_set_u64(gguf_image *f, const char *name, size_t skip, uint64_t v);
void gguf_image_set_u32(gguf_image *f, const char *name, size_t skip, uint32_t v);

#endif
