/* tile_cache.c: heads of cache files, written and read.
 *
 * Everything in a head but its hashes follows from a short list of types and shapes. So reading is: take that list, plan the file
 * anew, and compare. No offset or size of a file is ever believed. */
#include "tile_cache.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "bytes.h"
#include "sha256.h"
#include "tile.h"

static const uint8_t MAGIC[8] = "YLTILES\n";

enum {
    AT_HASH = 8,
    AT_VERSION = 16,
    AT_LAYOUT_VERSION = 20,
    AT_KEY = 24,
    AT_UNIT = 56,
    AT_LAYER = 60,
    AT_N_TENSORS = 64,
    AT_CHUNK_BYTES = 68,
    AT_HEAD_BYTES = 72,
    AT_FILE_BYTES = 80,
    AT_LABEL = 88,
    AT_TENSORS = AT_LABEL + TILE_CACHE_LABEL_BYTES,
    TENSOR_BYTES = 48
};
_Static_assert(AT_TENSORS == 192 && (int)TILE_CACHE_MAX_TENSORS >= (int)TENSOR_LAYER_END, "as tile_cache.h tells");

static const uint64_t MAX_FILE_BYTES = (uint64_t)1 << 46;

bool tile_cache_unit_of(tensor_role role, tile_cache_unit *out)
{
    if ((unsigned)role < TENSOR_LAYER_END)
        *out = TILE_CACHE_LAYER;
    else if (role == TENSOR_TOKEN_EMBD)
        *out = TILE_CACHE_EMBEDDING;
    else if (role == TENSOR_OUTPUT_NORM || role == TENSOR_OUTPUT)
        *out = TILE_CACHE_HEAD;
    else
        return false;
    return true;
}

static bool is_vector(tensor_role role)
{
    return hparams_tensor_spec(&(hparams){0}, role).is_vector;
}

static uint64_t align(uint64_t n)
{
    return (n + TILE_CACHE_ALIGNMENT - 1) / TILE_CACHE_ALIGNMENT * TILE_CACHE_ALIGNMENT;
}

/* Layout and bytes of a tensor by type and shape. */
static yl_status plan_tensor(tile_cache_tensor *t, yl_error *err)
{
    bool possible = quant_traits_of(t->type) && t->n_rows > 0 && t->n_cols > 0;
    t->layout = is_vector(t->role) ? MATRIX_ROWS : MATRIX_TILES;
    if (possible && t->layout == MATRIX_ROWS) {
        possible = t->type == QUANT_F32 && t->n_rows == 1 && t->n_cols <= MAX_FILE_BYTES / 4;
        t->n_bytes = 4 * t->n_cols;
    } else if (possible) {
        possible = tile_matrix_bytes(t->type, t->n_rows, t->n_cols, &t->n_bytes);
    }
    if (!possible) return yl_fail(err, YL_EFORMAT, "a tensor of role %d has a type and shape that cannot be", (int)t->role);
    if (t->n_bytes > MAX_FILE_BYTES) return yl_fail(err, YL_ELIMIT, "a tensor of role %d is too large", (int)t->role);
    return YL_OK;
}

static yl_status check_roles(const tile_cache_head *h, yl_error *err)
{
    if (h->n_tensors < 1 || h->n_tensors > TILE_CACHE_MAX_TENSORS)
        return yl_fail(err, YL_EFORMAT, "%u tensors where there are 1 to %d", h->n_tensors, TILE_CACHE_MAX_TENSORS);
    for (uint32_t i = 0; i < h->n_tensors; i++) {
        tile_cache_unit unit;
        if (!tile_cache_unit_of(h->tensors[i].role, &unit) || unit != h->unit)
            return yl_fail(err, YL_EFORMAT, "tensor %u is not of the file's unit", i);
        if (i > 0 && h->tensors[i].role <= h->tensors[i - 1].role) return yl_fail(err, YL_EFORMAT, "tensor %u is out of order", i);
    }
    return YL_OK;
}

yl_status tile_cache_plan(tile_cache_head *h, yl_error *err)
{
    yl_status status = check_roles(h, err);
    uint64_t n_data = 0; /* bytes from the first tensor's begin to the last one's end */
    for (uint32_t i = 0; i < h->n_tensors && !status; i++) {
        status = plan_tensor(&h->tensors[i], err);
        h->tensors[i].offset = align(n_data);
        n_data = h->tensors[i].offset + h->tensors[i].n_bytes; /* at most 16 * 2^46: no overflow */
    }
    if (status) return status;
    if (n_data > MAX_FILE_BYTES) return yl_fail(err, YL_ELIMIT, "a unit is larger than a cache file may be");
    h->n_chunks = (n_data - 1) / TILE_CACHE_CHUNK_BYTES + 1;
    h->head_bytes = align(AT_TENSORS + (uint64_t)h->n_tensors * TENSOR_BYTES + h->n_chunks * 8);
    h->file_bytes = h->head_bytes + n_data;
    for (uint32_t i = 0; i < h->n_tensors; i++) h->tensors[i].offset += h->head_bytes;
    h->chunk_hashes = NULL;
    return YL_OK;
}

/* ---- key ---- */

static void hash_u32(sha256 *hash, uint32_t v)
{
    sha256_add(hash, &v, sizeof v);
}

static void hash_u64(sha256 *hash, uint64_t v)
{
    sha256_add(hash, &v, sizeof v);
}

yl_status tile_cache_set_key(tile_cache_head *h, const uint8_t (*hashes)[TILE_CACHE_HASH_BYTES], yl_error *err)
{
    static const char WHAT[] = "yllama tiles";
    sha256 *hash;
    yl_status status = sha256_new(&hash, err);
    if (status) return status;
    sha256_add(hash, WHAT, sizeof WHAT - 1);
    hash_u32(hash, TILE_CACHE_VERSION);
    hash_u32(hash, TILE_LAYOUT_VERSION);
    hash_u32(hash, h->n_tensors);
    for (uint32_t i = 0; i < h->n_tensors; i++) {
        const tile_cache_tensor *t = &h->tensors[i];
        hash_u32(hash, (uint32_t)t->role);
        hash_u32(hash, (uint32_t)t->type);
        hash_u64(hash, t->n_rows);
        hash_u64(hash, t->n_cols);
        sha256_add(hash, hashes[i], TILE_CACHE_HASH_BYTES);
    }
    sha256_end(hash, h->key);
    sha256_free(hash);
    return YL_OK;
}

char *tile_cache_name(char name[TILE_CACHE_NAME_BYTES], const uint8_t key[TILE_CACHE_HASH_BYTES])
{
    static const char DIGITS[] = "0123456789abcdef";
    for (int i = 0; i < TILE_CACHE_HASH_BYTES; i++) {
        name[2 * i] = DIGITS[key[i] >> 4];
        name[2 * i + 1] = DIGITS[key[i] & 15];
    }
    memcpy(name + (size_t)2 * TILE_CACHE_HASH_BYTES, ".tiles", 7);
    return name;
}

/* ---- writing ---- */

static void store_u32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, sizeof v);
}

static void store_u64(uint8_t *p, uint64_t v)
{
    memcpy(p, &v, sizeof v);
}

static void write_tensor(uint8_t *p, const tile_cache_tensor *t)
{
    store_u32(p, (uint32_t)t->role);
    store_u32(p + 4, (uint32_t)t->type);
    store_u32(p + 8, t->layout == MATRIX_TILES);
    store_u64(p + 16, t->n_rows);
    store_u64(p + 24, t->n_cols);
    store_u64(p + 32, t->offset);
    store_u64(p + 40, t->n_bytes);
}

void tile_cache_write_head(uint8_t *out, const tile_cache_head *h, const uint64_t *hashes)
{
    memset(out, 0, (size_t)h->head_bytes);
    memcpy(out, MAGIC, sizeof MAGIC);
    store_u32(out + AT_VERSION, TILE_CACHE_VERSION);
    store_u32(out + AT_LAYOUT_VERSION, TILE_LAYOUT_VERSION);
    memcpy(out + AT_KEY, h->key, sizeof h->key);
    store_u32(out + AT_UNIT, h->unit);
    store_u32(out + AT_LAYER, h->layer);
    store_u32(out + AT_N_TENSORS, h->n_tensors);
    store_u32(out + AT_CHUNK_BYTES, TILE_CACHE_CHUNK_BYTES);
    store_u64(out + AT_HEAD_BYTES, h->head_bytes);
    store_u64(out + AT_FILE_BYTES, h->file_bytes);
    memcpy(out + AT_LABEL, h->label, strnlen(h->label, sizeof h->label - 1));
    uint8_t *p = out + AT_TENSORS;
    for (uint32_t i = 0; i < h->n_tensors; i++, p += TENSOR_BYTES) write_tensor(p, &h->tensors[i]);
    for (uint64_t i = 0; i < h->n_chunks; i++) store_u64(p + 8 * i, hashes[i]);
    store_u64(out + AT_HASH, tile_cache_checksum(out + AT_VERSION, (size_t)h->head_bytes - AT_VERSION));
}

/* ---- reading ---- */

static void read_tensor(tile_cache_tensor *t, const uint8_t *p)
{
    uint32_t role = bytes_load_u32(p), type = bytes_load_u32(p + 4);
    *t = (tile_cache_tensor){.role = role < TENSOR_ROLE_END ? (tensor_role)role : TENSOR_ROLE_END,
                             .type = type < QUANT_TYPE_END ? (quant_type)type : QUANT_TYPE_END,
                             .n_rows = bytes_load_u64(p + 16),
                             .n_cols = bytes_load_u64(p + 24)};
}

/* The table says of a tensor what the plan says. */
static bool tensor_is_as_planned(const uint8_t *p, const tile_cache_tensor *t)
{
    uint8_t expected[TENSOR_BYTES] = {0};
    write_tensor(expected, t);
    return memcmp(p, expected, sizeof expected) == 0;
}

static yl_status read_fields(tile_cache_head *h, const uint8_t *bytes, yl_error *err)
{
    if (memcmp(bytes, MAGIC, sizeof MAGIC) != 0) return yl_fail(err, YL_EFORMAT, "is no file of the weight cache");
    uint32_t version = bytes_load_u32(bytes + AT_VERSION), layout = bytes_load_u32(bytes + AT_LAYOUT_VERSION);
    if (version != TILE_CACHE_VERSION || layout != TILE_LAYOUT_VERSION)
        return yl_fail(err, YL_EUNSUPPORTED, "is of version %u.%u of the format, this program's is %d.%d", version, layout,
                       TILE_CACHE_VERSION, TILE_LAYOUT_VERSION);
    uint32_t unit = bytes_load_u32(bytes + AT_UNIT);
    if (unit > TILE_CACHE_HEAD) return yl_fail(err, YL_EFORMAT, "has a unit that does not exist");
    *h = (tile_cache_head){.unit = (tile_cache_unit)unit,
                           .layer = bytes_load_u32(bytes + AT_LAYER),
                           .n_tensors = bytes_load_u32(bytes + AT_N_TENSORS)};
    memcpy(h->key, bytes + AT_KEY, sizeof h->key);
    memcpy(h->label, bytes + AT_LABEL, sizeof h->label);
    if (h->label[sizeof h->label - 1]) return yl_fail(err, YL_EFORMAT, "has a label without an end");
    if (bytes_load_u32(bytes + AT_CHUNK_BYTES) != TILE_CACHE_CHUNK_BYTES)
        return yl_fail(err, YL_EFORMAT, "has chunks of another size");
    return YL_OK;
}

yl_status tile_cache_parse(tile_cache_head *out, const uint8_t *bytes, size_t n_bytes, uint64_t file_bytes, yl_error *err)
{
    if (n_bytes < AT_TENSORS) return yl_fail(err, YL_EFORMAT, "is too short for a cache file");
    yl_status status = read_fields(out, bytes, err);
    if (status) return status;
    if (out->n_tensors > TILE_CACHE_MAX_TENSORS || n_bytes - AT_TENSORS < (size_t)out->n_tensors * TENSOR_BYTES)
        return yl_fail(err, YL_EFORMAT, "has a table of %u tensors that does not fit", out->n_tensors);
    for (uint32_t i = 0; i < out->n_tensors; i++) read_tensor(&out->tensors[i], bytes + AT_TENSORS + (size_t)i * TENSOR_BYTES);
    status = tile_cache_plan(out, err);
    if (status) return status;
    bool as_planned =
        bytes_load_u64(bytes + AT_HEAD_BYTES) == out->head_bytes && bytes_load_u64(bytes + AT_FILE_BYTES) == out->file_bytes;
    for (uint32_t i = 0; i < out->n_tensors; i++)
        as_planned &= tensor_is_as_planned(bytes + AT_TENSORS + (size_t)i * TENSOR_BYTES, &out->tensors[i]);
    if (!as_planned) return yl_fail(err, YL_EFORMAT, "has offsets or sizes that do not follow from its tensors");
    if (file_bytes != out->file_bytes || n_bytes < out->head_bytes)
        return yl_fail(err, YL_EFORMAT, "has %llu bytes where its head says %llu", (unsigned long long)file_bytes,
                       (unsigned long long)out->file_bytes);
    if (bytes_load_u64(bytes + AT_HASH) != tile_cache_checksum(bytes + AT_VERSION, (size_t)out->head_bytes - AT_VERSION))
        return yl_fail(err, YL_EFORMAT, "has a damaged head");
    out->chunk_hashes = bytes + AT_TENSORS + (size_t)out->n_tensors * TENSOR_BYTES;
    return YL_OK;
}

/* ---- chunks ---- */

void tile_cache_chunk(const tile_cache_head *h, uint64_t i, uint64_t *offset, size_t *n_bytes)
{
    *offset = h->head_bytes + i * TILE_CACHE_CHUNK_BYTES;
    uint64_t rest = h->file_bytes - *offset;
    *n_bytes = rest < TILE_CACHE_CHUNK_BYTES ? (size_t)rest : TILE_CACHE_CHUNK_BYTES;
}

uint64_t tile_cache_chunk_hash(const tile_cache_head *h, uint64_t i)
{
    return bytes_load_u64(h->chunk_hashes + 8 * i);
}

uint64_t tile_cache_checksum(const void *bytes, size_t n_bytes)
{
    return XXH3_64bits(bytes, n_bytes);
}
