/* gguf_parse.c: the header of one GGUF file.
 *
 *   "GGUF"  u32 version  u64 tensors  u64 keys
 *   keys:     string key, u32 type, value                     a string is u64 length and its bytes;
 *   tensors:  string name, u32 dims, u64 ne[dims],            an array is u32 type, u64 count and its elements
 *             u32 type, u64 offset
 *   padding to general.alignment, then the tensors' data; offsets count from there
 *
 * The header is passed once, front to back, by a reader that cannot leave the file. A count is believed only as far as the bytes
 * that are left could hold so many of the smallest thing counted: so the index is never larger than a few times the file, and a
 * file of fifty bytes cannot ask for a gigabyte. Nothing is copied but tensor names, which need a NUL. */
#include <inttypes.h>
#include <stdlib.h>

#include "bytes.h"
#include "gguf_internal.h"

enum {
    MIN_KV_BYTES = 8 + 1 + 4 + 1,             /* a key of one letter, its type, one byte */
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8, /* a name of one letter, one dimension, type and offset */
    MAX_KEY_BYTES = 65535,                    /* by the format's description */
    DEFAULT_ALIGNMENT = 32,
    MIN_ALIGNMENT = 8 /* by the format's description; it lets F32 data be read where it is */
};

static const char ends_early[] = "ends in the middle of its header. Was the download cut short?";

int gguf_shown_bytes(gguf_str s)
{
    return s.n_bytes < 80 ? (int)s.n_bytes : 80;
}

int gguf_str_compare(gguf_str a, gguf_str b)
{
    size_t n = a.n_bytes < b.n_bytes ? a.n_bytes : b.n_bytes;
    int order = n ? memcmp(a.data, b.data, n) : 0;
    return order ? order : (a.n_bytes > b.n_bytes) - (a.n_bytes < b.n_bytes);
}

size_t gguf_type_bytes(gguf_type type)
{
    switch (type) {
    case GGUF_U8:
    case GGUF_I8:
    case GGUF_BOOL: return 1;
    case GGUF_U16:
    case GGUF_I16: return 2;
    case GGUF_U32:
    case GGUF_I32:
    case GGUF_F32: return 4;
    case GGUF_U64:
    case GGUF_I64:
    case GGUF_F64: return 8;
    default: return 0;
    }
}

static bool take_str(byte_reader *r, gguf_str *out)
{
    uint64_t n;
    const uint8_t *bytes;
    byte_reader start = *r;
    if (!bytes_take_u64(r, &n) || !bytes_take(r, n, &bytes)) {
        *r = start;
        return false;
    }
    out->data = (const char *)bytes;
    out->n_bytes = (size_t)n;
    return true;
}

/* What a file that is not GGUF might be, as far as a person is helped by knowing. */
static yl_status not_gguf(const gguf_part *part, yl_error *err)
{
    static const char lfs[] = "version https://git-lfs";
    if (part->n_bytes >= sizeof lfs - 1 && memcmp(part->bytes, lfs, sizeof lfs - 1) == 0) {
        return yl_fail(err, YL_EFORMAT, "is a Git LFS pointer, not the model itself: fetch it with 'git lfs pull'");
    }
    return yl_fail(err, YL_EFORMAT, "is not a GGUF file: it does not begin with 'GGUF'");
}

static yl_status parse_version(gguf_part *part, byte_reader *r, yl_error *err)
{
    uint32_t v;
    if (!bytes_take_u32(r, &v)) return yl_fail(err, YL_EFORMAT, "%s", ends_early);
    part->version = v;
    if (v == 2 || v == 3) return YL_OK;
    uint32_t swapped = __builtin_bswap32(v);
    if (swapped >= 1 && swapped <= 3) {
        return yl_fail(err, YL_EUNSUPPORTED,
                       "is a big endian GGUF file: only little endian ones can be read. Download that variant");
    }
    if (v == 1) return yl_fail(err, YL_EUNSUPPORTED, "is GGUF version 1 (of August 2023): download a newer file of this model");
    return yl_fail(err, YL_EUNSUPPORTED, "is GGUF version %" PRIu32 ": versions 2 and 3 can be read", v);
}

/* Every array element's bytes must be there. Strings have to be walked, because each says its own length. */
static yl_status skip_array(byte_reader *r, gguf_kv *kv, yl_error *err)
{
    uint32_t type;
    if (!bytes_take_u32(r, &type) || !bytes_take_u64(r, &kv->n)) return yl_fail(err, YL_EFORMAT, "%s", ends_early);
    int n_key = gguf_shown_bytes(kv->key);
    if (type == GGUF_ARRAY) return yl_fail(err, YL_EUNSUPPORTED, "key '%.*s' is an array of arrays", n_key, kv->key.data);
    if (type >= GGUF_TYPE_END) {
        return yl_fail(err, YL_EFORMAT, "key '%.*s' is an array of type %" PRIu32 ", which does not exist", n_key, kv->key.data,
                       type);
    }
    kv->elem_type = (gguf_type)type;
    kv->bytes = r->at;
    size_t size = type == GGUF_STRING ? sizeof(uint64_t) : gguf_type_bytes(kv->elem_type); /* at least */
    if (kv->n > r->n_left / size) {
        return yl_fail(err, YL_EFORMAT,
                       "key '%.*s' claims %" PRIu64 " elements, more than the file can hold. Was the download cut short?", n_key,
                       kv->key.data, kv->n);
    }
    const uint8_t *elements;
    if (type != GGUF_STRING) {
        bytes_take(r, kv->n * size, &elements);
    } else {
        for (uint64_t i = 0; i < kv->n; i++) {
            gguf_str s;
            if (!take_str(r, &s)) {
                return yl_fail(err, YL_EFORMAT,
                               "string %" PRIu64 " of key '%.*s' does not end within the file. Was the download cut short?", i,
                               n_key, kv->key.data);
            }
        }
    }
    kv->n_bytes = (size_t)(r->at - kv->bytes);
    return YL_OK;
}

static yl_status parse_value(byte_reader *r, gguf_kv *kv, yl_error *err)
{
    uint32_t type;
    if (!bytes_take_u32(r, &type)) return yl_fail(err, YL_EFORMAT, "%s", ends_early);
    int n_key = gguf_shown_bytes(kv->key);
    if (type >= GGUF_TYPE_END) {
        return yl_fail(err, YL_EFORMAT, "key '%.*s' has type %" PRIu32 ", which does not exist", n_key, kv->key.data, type);
    }
    kv->type = kv->elem_type = (gguf_type)type;
    if (kv->type == GGUF_ARRAY) return skip_array(r, kv, err);
    kv->n = 1;
    if (kv->type == GGUF_STRING) {
        gguf_str s;
        if (!take_str(r, &s))
            return yl_fail(err, YL_EFORMAT, "key '%.*s' does not end within the file. Was the download cut short?", n_key,
                           kv->key.data);
        kv->bytes = (const uint8_t *)s.data;
        kv->n_bytes = s.n_bytes;
        return YL_OK;
    }
    kv->n_bytes = gguf_type_bytes(kv->type);
    if (!bytes_take(r, kv->n_bytes, &kv->bytes)) return yl_fail(err, YL_EFORMAT, "%s", ends_early);
    return YL_OK;
}

static int compare_keys(const void *a, const void *b)
{
    return gguf_str_compare((*(const gguf_kv *const *)a)->key, (*(const gguf_kv *const *)b)->key);
}

static yl_status index_keys(gguf_part *part, yl_error *err)
{
    for (size_t i = 0; i < part->n_kv; i++) part->by_key[i] = &part->kv[i];
    qsort(part->by_key, part->n_kv, sizeof *part->by_key, compare_keys);
    for (size_t i = 1; i < part->n_kv; i++) {
        gguf_str key = part->by_key[i]->key;
        if (gguf_str_compare(part->by_key[i - 1]->key, key) != 0) continue;
        return yl_fail(err, YL_EFORMAT, "key '%.*s' is there twice", gguf_shown_bytes(key), key.data);
    }
    return YL_OK;
}

static yl_status parse_keys(gguf_part *part, byte_reader *r, uint64_t n, yl_error *err)
{
    if (n > r->n_left / MIN_KV_BYTES) {
        return yl_fail(err, YL_EFORMAT, "claims %" PRIu64 " keys, more than its %zu bytes can hold. Was the download cut short?", n,
                       part->n_bytes);
    }
    if (n > GGUF_MAX_KV) return yl_fail(err, YL_ELIMIT, "has %" PRIu64 " keys, the limit is %d", n, GGUF_MAX_KV);
    part->kv = calloc(n ? n : 1, sizeof *part->kv);
    part->by_key = calloc(n ? n : 1, sizeof *part->by_key);
    if (!part->kv || !part->by_key) return yl_fail(err, YL_ENOMEM, "no memory for an index of %" PRIu64 " keys", n);
    for (; part->n_kv < n; part->n_kv++) {
        gguf_kv *kv = &part->kv[part->n_kv];
        if (!take_str(r, &kv->key)) return yl_fail(err, YL_EFORMAT, "%s", ends_early);
        if (kv->key.n_bytes == 0) return yl_fail(err, YL_EFORMAT, "key %zu has no name", part->n_kv);
        if (kv->key.n_bytes > MAX_KEY_BYTES) {
            return yl_fail(err, YL_EFORMAT, "the name of key %zu is %zu bytes long, at most %d are allowed", part->n_kv,
                           kv->key.n_bytes, MAX_KEY_BYTES);
        }
        yl_status status = parse_value(r, kv, err);
        if (status) return status;
    }
    return index_keys(part, err);
}

const gguf_kv *gguf_part_find_kv(const gguf_part *part, const char *key)
{
    gguf_str wanted = {key, strlen(key)};
    size_t begin = 0, end = part->n_kv;
    while (begin < end) {
        size_t mid = begin + (end - begin) / 2;
        int order = gguf_str_compare(wanted, part->by_key[mid]->key);
        if (order == 0) return part->by_key[mid];
        if (order < 0)
            end = mid;
        else
            begin = mid + 1;
    }
    return NULL;
}

static yl_status parse_tensor_name(byte_reader *r, gguf_tensor_entry *entry, size_t i, yl_error *err)
{
    gguf_str name;
    if (!take_str(r, &name)) return yl_fail(err, YL_EFORMAT, "%s", ends_early);
    if (name.n_bytes == 0) return yl_fail(err, YL_EFORMAT, "tensor %zu has no name", i);
    if (name.n_bytes > GGUF_MAX_NAME_BYTES) {
        return yl_fail(err, YL_EFORMAT, "the name of tensor %zu is %zu bytes long, at most %d are allowed", i, name.n_bytes,
                       GGUF_MAX_NAME_BYTES);
    }
    for (size_t k = 0; k < name.n_bytes; k++) {
        unsigned char c = (unsigned char)name.data[k];
        if (c < 0x20 || c == 0x7f) return yl_fail(err, YL_EFORMAT, "the name of tensor %zu has a control byte in it", i);
    }
    memcpy(entry->name, name.data, name.n_bytes);
    entry->name[name.n_bytes] = 0;
    entry->tensor.name = entry->name;
    return YL_OK;
}

/* A type that we lack, with what to look for instead. */
static yl_status unsupported_type(const char *name, uint32_t type, yl_error *err)
{
    const char *type_name = quant_type_name(type);
    return yl_fail(err, YL_EUNSUPPORTED,
                   "tensor '%s' is of type %s (number %" PRIu32 "), which cannot be computed with here. Download another "
                   "quantization of this model, such as Q4_K_M or Q8_0",
                   name, type_name, type);
}

/* Dimensions, type and size. Elements are held to 63 bits (as in llama.cpp): then no product of dimensions overflows later. */
static yl_status parse_tensor_shape(byte_reader *r, gguf_tensor *t, yl_error *err)
{
    if (!bytes_take_u32(r, &t->n_dims)) return yl_fail(err, YL_EFORMAT, "%s", ends_early);
    if (t->n_dims < 1 || t->n_dims > 4) {
        return yl_fail(err, YL_EFORMAT, "tensor '%s' has %" PRIu32 " dimensions, 1 to 4 are possible", t->name, t->n_dims);
    }
    uint64_t n = 1;
    bool overflow = false;
    for (uint32_t i = 0; i < 4; i++) {
        t->ne[i] = 1;
        if (i < t->n_dims && !bytes_take_u64(r, &t->ne[i])) return yl_fail(err, YL_EFORMAT, "%s", ends_early);
        if (t->ne[i] == 0) return yl_fail(err, YL_EFORMAT, "tensor '%s' has no elements (dimension %" PRIu32 " is 0)", t->name, i);
        overflow |= __builtin_mul_overflow(n, t->ne[i], &n);
    }
    uint32_t type;
    if (!bytes_take_u32(r, &type)) return yl_fail(err, YL_EFORMAT, "%s", ends_early);
    const quant_traits *traits = quant_traits_of(type);
    if (!traits) return unsupported_type(t->name, type, err);
    t->type = (quant_type)type;
    if (t->ne[0] % traits->block_elems != 0) {
        return yl_fail(err, YL_EFORMAT, "tensor '%s' has rows of %" PRIu64 " elements, not a multiple of %s's block of %" PRIu32,
                       t->name, t->ne[0], traits->name, traits->block_elems);
    }
    /* Whole rows are whole blocks, so the tensor's bytes are those of one row of all its elements. */
    if (overflow || n > INT64_MAX || !quant_row_bytes(type, n, &t->n_bytes)) {
        return yl_fail(err, YL_EFORMAT, "tensor '%s' has more elements than 63 bits can count", t->name);
    }
    return YL_OK;
}

static yl_status parse_tensors(gguf_part *part, byte_reader *r, uint64_t n, yl_error *err)
{
    if (n > r->n_left / MIN_TENSOR_BYTES) {
        return yl_fail(err, YL_EFORMAT, "claims %" PRIu64 " tensors, more than its %zu bytes can hold. Was the download cut short?",
                       n, part->n_bytes);
    }
    if (n > GGUF_MAX_TENSORS) return yl_fail(err, YL_ELIMIT, "has %" PRIu64 " tensors, the limit is %d", n, GGUF_MAX_TENSORS);
    part->tensors = calloc(n ? n : 1, sizeof *part->tensors);
    if (!part->tensors) return yl_fail(err, YL_ENOMEM, "no memory for an index of %" PRIu64 " tensors", n);
    for (; part->n_tensors < n; part->n_tensors++) {
        gguf_tensor_entry *entry = &part->tensors[part->n_tensors];
        yl_status status = parse_tensor_name(r, entry, part->n_tensors, err);
        if (!status) status = parse_tensor_shape(r, &entry->tensor, err);
        if (status) return status;
        if (!bytes_take_u64(r, &entry->tensor.offset)) return yl_fail(err, YL_EFORMAT, "%s", ends_early);
    }
    return YL_OK;
}

/* Turns offsets into places: from the start of the data to the start of the file. */
static yl_status place_tensors(gguf_part *part, uint64_t header_bytes, uint32_t alignment, yl_error *err)
{
    uint64_t data_begin = (header_bytes + alignment - 1) / alignment * alignment;
    for (size_t i = 0; i < part->n_tensors; i++) {
        gguf_tensor *t = &part->tensors[i].tensor;
        if (t->offset % alignment != 0) {
            return yl_fail(err, YL_EFORMAT, "tensor '%s' begins at offset %" PRIu64 ", not a multiple of the alignment %" PRIu32,
                           t->name, t->offset, alignment);
        }
        uint64_t end;
        if (__builtin_add_overflow(t->offset, data_begin, &t->offset) || __builtin_add_overflow(t->offset, t->n_bytes, &end)) {
            return yl_fail(err, YL_EFORMAT, "tensor '%s' ends beyond what 64 bits can count", t->name);
        }
        if (end > part->n_bytes) {
            return yl_fail(err, YL_EFORMAT, "tensor '%s' ends at byte %" PRIu64 ", the file has %zu. Was the download cut short?",
                           t->name, end, part->n_bytes);
        }
        t->data = part->bytes + t->offset;
    }
    return YL_OK;
}

static int compare_offsets(const void *a, const void *b)
{
    uint64_t x = (*(const gguf_tensor *const *)a)->offset, y = (*(const gguf_tensor *const *)b)->offset;
    return (x > y) - (x < y);
}

/* No honest file lets two tensors share bytes. */
static yl_status refuse_overlap(const gguf_part *part, yl_error *err)
{
    const gguf_tensor **order = calloc(part->n_tensors ? part->n_tensors : 1, sizeof *order);
    if (!order) return yl_fail(err, YL_ENOMEM, "no memory for an index of %zu tensors", part->n_tensors);
    for (size_t i = 0; i < part->n_tensors; i++) order[i] = &part->tensors[i].tensor;
    qsort(order, part->n_tensors, sizeof *order, compare_offsets);
    yl_status status = YL_OK;
    for (size_t i = 1; i < part->n_tensors && !status; i++) {
        if (order[i - 1]->offset + order[i - 1]->n_bytes <= order[i]->offset) continue;
        status = yl_fail(err, YL_EFORMAT, "tensors '%s' and '%s' overlap", order[i - 1]->name, order[i]->name);
    }
    free(order);
    return status;
}

yl_status gguf_parse(gguf_part *part, yl_error *err)
{
    byte_reader r = {part->bytes, part->n_bytes};
    const uint8_t *magic;
    if (!bytes_take(&r, 4, &magic) || memcmp(magic, "GGUF", 4) != 0) return not_gguf(part, err);
    yl_status status = parse_version(part, &r, err);
    if (status) return status;
    uint64_t n_tensors, n_kv;
    if (!bytes_take_u64(&r, &n_tensors) || !bytes_take_u64(&r, &n_kv)) return yl_fail(err, YL_EFORMAT, "%s", ends_early);
    status = parse_keys(part, &r, n_kv, err);
    if (status) return status;
    uint32_t alignment;
    status = gguf_kv_u32_or(gguf_part_find_kv(part, "general.alignment"), DEFAULT_ALIGNMENT, &alignment, err);
    if (status) return status;
    if (alignment < MIN_ALIGNMENT || (alignment & (alignment - 1)) != 0) {
        return yl_fail(err, YL_EFORMAT, "general.alignment is %" PRIu32 ", not a power of two of at least %d", alignment,
                       MIN_ALIGNMENT);
    }
    status = parse_tensors(part, &r, n_tensors, err);
    if (!status) status = place_tensors(part, part->n_bytes - r.n_left, alignment, err);
    if (!status) status = refuse_overlap(part, err);
    return status;
}
