/* tile_cache.h: the format of a file of the weight cache: some tensors of a model as kernels read them (tile.h).
 *
 * Putting a model's rows into tiles takes seconds, so it is done once. A file holds one *unit*: a layer, the embedding, or the
 * output head (final norm, and output matrix where it is not the embedding). A slice of a model is a list of such files. The bytes
 * are the same wherever they lie: mapped by a native worker, or in a canister's memory. No file and no socket in here: see
 * tile_cache_file.h.
 *
 * Numbers are little endian; tensors begin at multiples of 4096 bytes from the file's start.
 *
 *      at  size
 *       0     8  magic "YLTILES\n"
 *       8     8  XXH3-64 (seed 0) of the bytes [16, head_bytes)
 *      16     4  version of this format, 1
 *      20     4  version of the tiles' layout, TILE_LAYOUT_VERSION
 *      24    32  key: SHA-256 of what the file was made from, below
 *      56     4  unit: 0 layer, 1 embedding, 2 output head
 *      60     4  number of the layer, else 0. With the label it tells a person where the file came from; it is no part of the key,
 *                because equal layers are one file
 *      64     4  n_tensors, 1 to 16
 *      68     4  bytes of a chunk, 1048576
 *      72     8  head_bytes: of all that comes before the first tensor, a multiple of 4096
 *      80     8  file_bytes: of the whole file, which ends with its last tensor
 *      88   104  label: name of the model's file, UTF-8, cut if need be, filled up with at least one zero
 *     192  48 n  tensors, by rising role, each
 *                    0  4  role, a number of FRAMES.md's table (tensor_role)
 *                    4  4  type, GGML's number (quant_type)
 *                    8  4  layout: 0 rows of F32 (norms, biases), 1 tiles (matrices)
 *                   12  4  zero
 *                   16  8  n_rows (1 for vectors)
 *                   24  8  n_cols
 *                   32  8  offset in the file: the first multiple of 4096 behind the tensor before (or head_bytes)
 *                   40  8  bytes: 4 n_cols, or tile_matrix_bytes
 *     ...   8 c  XXH3-64 (seed 0) of each chunk: chunk i is the bytes from head_bytes + 1048576 i on, the last one what is left
 *     ...        zeros up to head_bytes; bytes between tensors are zeros too
 *
 * A reader checks magic, versions, the hash of the head, and that sizes and offsets are those that follow from types and shapes:
 * one list of tensors has exactly one layout. Then it may use the tensors; that their bytes are whole is told by the chunks'
 * hashes.
 *
 * key = SHA-256 of: "yllama tiles", the two versions and n_tensors (u32 each), then for each tensor role and type (u32), n_rows and
 * n_cols (u64), and the SHA-256 of its bytes as GGUF has them. A file is named after it, 64 hexadecimal digits and ".tiles". */
#ifndef YL_TILE_CACHE_H
#define YL_TILE_CACHE_H

#include "hparams.h"
#include "kernels.h"

enum {
    TILE_CACHE_VERSION = 1,
    TILE_CACHE_CHUNK_BYTES = 1 << 20,
    TILE_CACHE_ALIGNMENT = 4096,
    TILE_CACHE_HASH_BYTES = 32, /* of a SHA-256 */
    TILE_CACHE_MAX_TENSORS = 16,
    TILE_CACHE_LABEL_BYTES = 104,
    TILE_CACHE_NAME_BYTES = 2 * TILE_CACHE_HASH_BYTES + 7 /* "<hex>.tiles", NUL-terminated */
};

typedef enum tile_cache_unit { TILE_CACHE_LAYER = 0, TILE_CACHE_EMBEDDING = 1, TILE_CACHE_HEAD = 2 } tile_cache_unit;

typedef struct tile_cache_tensor {
    tensor_role role;
    quant_type type;
    uint64_t n_rows, n_cols;
    /* follow from those */
    matrix_layout layout;
    uint64_t offset, n_bytes;
} tile_cache_tensor;

/* What the head of a file says. */
typedef struct tile_cache_head {
    uint8_t key[TILE_CACHE_HASH_BYTES];
    tile_cache_unit unit;
    uint32_t layer;
    char label[TILE_CACHE_LABEL_BYTES]; /* NUL-terminated */
    uint32_t n_tensors;
    tile_cache_tensor tensors[TILE_CACHE_MAX_TENSORS]; /* by rising role */
    uint64_t head_bytes, file_bytes, n_chunks;
    const uint8_t *chunk_hashes; /* view into the bytes that were parsed: n_chunks numbers of 8 bytes; NULL in a plan */
} tile_cache_head;

/* The unit that a role belongs to. False: to none (rope_freqs is of the whole model). */
bool tile_cache_unit_of(tensor_role role, tile_cache_unit *out);

/* Fills in what follows from unit, n_tensors and each tensor's role, type and shape (all else is left as it is).
 * YL_EFORMAT: no tensors or too many, roles that do not rise or are not of the unit, a type or shape that cannot be; YL_ELIMIT:
 * larger than a file may be. */
yl_status tile_cache_plan(tile_cache_head *h, yl_error *err);

/* The key of a planned file. hashes: [n_tensors] SHA-256s of the tensors' bytes in GGUF. YL_ENOMEM. */
yl_status tile_cache_set_key(tile_cache_head *h, const uint8_t (*hashes)[TILE_CACHE_HASH_BYTES], yl_error *err);

/* The name of the file with that key. Returns name. */
char *tile_cache_name(char name[TILE_CACHE_NAME_BYTES], const uint8_t key[TILE_CACHE_HASH_BYTES]);

/* Writes the head of a planned file. out: [head_bytes]; hashes: [n_chunks]. */
void tile_cache_write_head(uint8_t *out, const tile_cache_head *h, const uint64_t *hashes);

/* Reads and checks the head of a file of file_bytes bytes, of which the first n_bytes are there. Any bytes may be given. YL_EFORMAT
 * says what is wrong with them, YL_EUNSUPPORTED that they are of another version; then *out is undefined. Tensors are not looked
 * at.
 */
yl_status tile_cache_parse(tile_cache_head *out, const uint8_t *bytes, size_t n_bytes, uint64_t file_bytes, yl_error *err);

/* Chunk i < n_chunks: where it lies, and its hash in a parsed head. */
void tile_cache_chunk(const tile_cache_head *h, uint64_t i, uint64_t *offset, size_t *n_bytes);
uint64_t tile_cache_chunk_hash(const tile_cache_head *h, uint64_t i);

/* XXH3-64 of some bytes, the format's checksum. */
uint64_t tile_cache_checksum(const void *bytes, size_t n_bytes);

#endif
