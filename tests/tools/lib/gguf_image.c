/* gguf_image.c: gguf_writer into a stream of memory. */
#include "gguf_image.h"

#include <stdlib.h>
#include <string.h>

static void give_up(const char *why)
{
    fprintf(stderr, "gguf_image: %s\n", why);
    abort();
}

static void must(yl_status status, const yl_error *err)
{
    if (status) give_up(err->msg);
}

/* Bytes until the tensors are full. */
static void write_data(gguf_writer *w)
{
    yl_error err;
    for (uint8_t byte = 0; gguf_writer_finish(w, NULL) != YL_OK; byte++) must(gguf_writer_data(w, &byte, 1, &err), &err);
}

gguf_image gguf_image_make_aligned(uint32_t alignment, gguf_image_add *add_keys, gguf_image_add *add_tensors)
{
    char *bytes;
    size_t n;
    gguf_writer *w;
    yl_error err;
    FILE *file = open_memstream(&bytes, &n);
    if (!file) give_up("no memory for a stream");
    must(gguf_writer_new(&w, file, alignment, &err), &err);
    if (add_keys) add_keys(w);
    if (add_tensors) add_tensors(w);
    must(gguf_writer_begin_data(w, &err), &err);
    write_data(w);
    gguf_writer_free(w);
    fclose(file);
    gguf_image exact = {malloc(n), n};
    if (!exact.bytes) give_up("no memory for a file");
    memcpy(exact.bytes, bytes, n);
    free(bytes);
    return exact;
}

gguf_image gguf_image_make(gguf_image_add *add_keys, gguf_image_add *add_tensors)
{
    return gguf_image_make_aligned(32, add_keys, add_tensors);
}

void gguf_image_add_every_type(gguf_writer *w)
{
    static const char *const strings[] = {"eins", "", "drei"};
    static const float floats[] = {1.5f, -2.25f};
    static const int32_t ints[] = {-1, 0, 2147483647};
    static const uint64_t wide[] = {1, 2, 3}, too_wide[] = {1, 1ull << 31};
    static const uint8_t flags[] = {1, 0};
    gguf_writer_u8(w, "u8", 200);
    gguf_writer_i8(w, "i8", -100);
    gguf_writer_u16(w, "u16", 60000);
    gguf_writer_i16(w, "i16", -30000);
    gguf_writer_u32(w, "u32", 4000000000u);
    gguf_writer_i32(w, "i32", -2000000000);
    gguf_writer_u64(w, "u64", 5000000000u);
    gguf_writer_i64(w, "i64", -5000000000);
    gguf_writer_i64(w, "small i64", 7);
    gguf_writer_f32(w, "f32", 0.1f);
    gguf_writer_f64(w, "f64", 0.1);
    gguf_writer_bool(w, "true", true);
    gguf_writer_bool(w, "false", false);
    gguf_writer_str(w, "string", "h\xc3\xb6llo");
    gguf_writer_str(w, "empty string", "");
    gguf_writer_strings(w, "strings", strings, 3);
    gguf_writer_strings(w, "no strings", NULL, 0);
    gguf_writer_numbers(w, "floats", GGUF_F32, floats, 2);
    gguf_writer_numbers(w, "no floats", GGUF_F32, NULL, 0);
    gguf_writer_numbers(w, "ints", GGUF_I32, ints, 3);
    gguf_writer_numbers(w, "wide", GGUF_U64, wide, 3);
    gguf_writer_numbers(w, "too wide", GGUF_U64, too_wide, 2);
    gguf_writer_numbers(w, "flags", GGUF_BOOL, flags, 2);
}

void gguf_image_add_tensor(gguf_writer *w, const char *name, quant_type type, uint64_t n_cols, uint64_t n_rows)
{
    uint64_t ne[2] = {n_cols, n_rows};
    gguf_writer_tensor(w, name, type, 2, ne);
}

void gguf_image_add_two_tensors(gguf_writer *w)
{
    gguf_image_add_tensor(w, "first", QUANT_F32, 3, 2);
    gguf_image_add_tensor(w, "second", QUANT_Q8_0, 64, 1);
}

size_t gguf_image_find(const gguf_image *f, const char *text)
{
    uint8_t *at = memmem(f->bytes, f->n, text, strlen(text));
    if (!at) give_up("a text is not in the file");
    return (size_t)(at - f->bytes);
}

void gguf_image_set_u64(gguf_image *f, const char *name, size_t skip, uint64_t v)
{
    memcpy(f->bytes + gguf_image_find(f, name) + strlen(name) + skip, &v, sizeof v);
}

void gguf_image_set_u32(gguf_image *f, const char *name, size_t skip, uint32_t v)
{
    memcpy(f->bytes + gguf_image_find(f, name) + strlen(name) + skip, &v, sizeof v);
}
