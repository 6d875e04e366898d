/* gguf_internal.h: what the files of the GGUF reader share. Nobody else includes this.
 *
 *   gguf_map.c     a file's bytes: mapping it, and advice to the kernel
 *   gguf_parse.c   the header of one file: its keys and its table of tensors
 *   gguf.c         the model: finding the parts of a split one, and looking things up
 *   gguf_values.c  typed reads of metadata */
#ifndef YL_GGUF_INTERNAL_H
#define YL_GGUF_INTERNAL_H

#include "gguf.h"

enum {
    GGUF_MAX_KV = 1 << 16,      /* keys of a file */
    GGUF_MAX_TENSORS = 1 << 17, /* tensors of a file */
    GGUF_MAX_PARTS = 1 << 10,   /* files of a split model */
    GGUF_MAX_NAME_BYTES = 64    /* of a tensor */
};

/* A tensor and the bytes of its name (tensor.name points there). */
typedef struct gguf_tensor_entry {
    gguf_tensor tensor;
    char name[GGUF_MAX_NAME_BYTES + 1];
} gguf_tensor_entry;

/* One file: where its bytes are, and what its header says. */
typedef struct gguf_part {
    char *path;
    const uint8_t *bytes;
    size_t n_bytes;
    bool mapped; /* bytes are a mapping of ours, not a caller's memory */

    uint32_t version;
    gguf_kv *kv;            /* [n_kv] in the file's order */
    const gguf_kv **by_key; /* [n_kv] sorted */
    size_t n_kv;
    gguf_tensor_entry *tensors; /* [n_tensors] in the file's order */
    size_t n_tensors;
} gguf_part;

struct gguf {
    char *path;
    gguf_part *parts; /* [n_parts]; all metadata but split.* is parts[0]'s */
    uint32_t n_parts;
    const gguf_tensor **tensors; /* [n_tensors] of all parts, in order */
    const gguf_tensor **by_name; /* [n_tensors] sorted */
    size_t n_tensors;
};

/* Maps the file part->path: fills bytes, n_bytes, mapped. */
yl_status gguf_map(gguf_part *part, yl_error *err);
void gguf_unmap(gguf_part *part);

/* Reads the header in part->bytes. On failure what was allocated stays in *part, for gguf_part_clear. */
yl_status gguf_parse(gguf_part *part, yl_error *err);

/* NULL: the file has no such key. */
const gguf_kv *gguf_part_find_kv(const gguf_part *part, const char *key);

/* Bytes of one value of a type; 0 for those without a fixed size. */
size_t gguf_type_bytes(gguf_type type);

/* A value of any integer type that fits; kv may be NULL, which gives the fallback. */
yl_status gguf_kv_u32_or(const gguf_kv *kv, uint32_t fallback, uint32_t *out, yl_error *err);

/* Order of byte strings: as memcmp, a prefix before what it begins. */
int gguf_str_compare(gguf_str a, gguf_str b);

/* For "%.*s" in messages: a key's length, cut so that a hostile one leaves room for the rest of the sentence. */
int gguf_shown_bytes(gguf_str s);

#endif
