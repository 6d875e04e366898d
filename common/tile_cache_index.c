/* tile_cache_index.c: the file of hashes: a checksum, the state that it is of, a hash a tensor (zeros: not known).
 *
 *      at  size
 *       0     8  magic "YLHASHES"
 *       8     8  XXH3-64 of all that follows
 *      16     4  version, 1
 *      20     4  n tensors
 *      24    32  state: SHA-256 of the model's identity, then of each of its files device, inode, size, seconds, nanoseconds (u64)
 *      56  32 n  SHA-256s
 *
 * The name is the first 16 bytes of the state in hex, and ".hashes". */
#include "tile_cache_index.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "sha256.h"
#include "tile_cache_internal.h"

enum { AT_HASH = 8, AT_VERSION = 16, AT_N = 20, AT_STATE = 24, AT_HASHES = 56, VERSION = 1, NAME_BYTES = 32 + 8 };

static const uint8_t MAGIC[8] = {'Y', 'L', 'H', 'A', 'S', 'H', 'E', 'S'};
static const uint8_t UNKNOWN[TILE_CACHE_HASH_BYTES];

struct tile_cache_index {
    const tile_cache *cache;
    char name[NAME_BYTES];
    size_t n_tensors, n_bytes;
    uint8_t bytes[]; /* of the file */
};

/* ---- the state of a model's files ---- */

static yl_status hash_files(sha256 *hash, const gguf *model, yl_error *err)
{
    for (uint32_t i = 0; i < gguf_n_parts(model); i++) {
        struct stat st;
        if (stat(gguf_part_path(model, i), &st))
            return yl_fail(err, YL_EIO, "%s: cannot be looked at: %s", gguf_part_path(model, i), strerror(errno));
        uint64_t facts[] = {(uint64_t)st.st_dev, (uint64_t)st.st_ino, (uint64_t)st.st_size, (uint64_t)st.st_mtim.tv_sec,
                            (uint64_t)st.st_mtim.tv_nsec};
        sha256_add(hash, facts, sizeof facts);
    }
    return YL_OK;
}

static yl_status state_of(uint8_t out[TILE_CACHE_HASH_BYTES], const gguf *model, const uint8_t *model_id, yl_error *err)
{
    sha256 *hash;
    yl_status status = sha256_new(&hash, err);
    if (!status) sha256_add(hash, model_id, MODEL_IDENTITY_BYTES);
    if (!status) status = hash_files(hash, model, err);
    if (!status) sha256_end(hash, out);
    sha256_free(hash);
    return status;
}

/* ---- the file ---- */

static void begin_bytes(tile_cache_index *x, const uint8_t state[TILE_CACHE_HASH_BYTES])
{
    uint32_t version = VERSION, n = (uint32_t)x->n_tensors;
    memset(x->bytes, 0, x->n_bytes);
    memcpy(x->bytes, MAGIC, sizeof MAGIC);
    memcpy(x->bytes + AT_VERSION, &version, sizeof version);
    memcpy(x->bytes + AT_N, &n, sizeof n);
    memcpy(x->bytes + AT_STATE, state, TILE_CACHE_HASH_BYTES);
}

/* Takes what the file knows and we do not. A file that is not exactly what we would have written is as none. */
static void merge_file(tile_cache_index *x)
{
    uint8_t *file = malloc(x->n_bytes);
    if (file && tile_cache_get(x->cache, x->name, file, x->n_bytes) && !memcmp(file, x->bytes, AT_HASH) &&
        !memcmp(file + AT_VERSION, x->bytes + AT_VERSION, AT_HASHES - AT_VERSION) &&
        bytes_load_u64(file + AT_HASH) == tile_cache_checksum(file + AT_VERSION, x->n_bytes - AT_VERSION)) {
        for (size_t i = 0; i < x->n_tensors; i++) {
            if (!tile_cache_index_get(x, i)) tile_cache_index_set(x, i, file + AT_HASHES + i * TILE_CACHE_HASH_BYTES);
        }
    }
    free(file);
}

yl_status tile_cache_index_open(tile_cache_index **out, const tile_cache *c, const gguf *model,
                                const uint8_t model_id[MODEL_IDENTITY_BYTES], yl_error *err)
{
    *out = NULL;
    uint8_t state[TILE_CACHE_HASH_BYTES];
    yl_status status = state_of(state, model, model_id, err);
    if (status) return status;
    size_t n = gguf_n_tensors(model), n_bytes = AT_HASHES + n * TILE_CACHE_HASH_BYTES;
    tile_cache_index *x = malloc(sizeof *x + n_bytes);
    if (!x) return yl_fail(err, YL_ENOMEM, "no memory for the hashes of %zu tensors", n);
    *x = (tile_cache_index){.cache = c, .n_tensors = n, .n_bytes = n_bytes};
    char name[TILE_CACHE_NAME_BYTES];
    memcpy(x->name, tile_cache_name(name, state), 32);
    memcpy(x->name + 32, ".hashes", 8);
    begin_bytes(x, state);
    merge_file(x);
    *out = x;
    return YL_OK;
}

void tile_cache_index_free(tile_cache_index *x)
{
    free(x);
}

const uint8_t *tile_cache_index_get(const tile_cache_index *x, size_t i)
{
    const uint8_t *hash = x->bytes + AT_HASHES + i * TILE_CACHE_HASH_BYTES;
    return memcmp(hash, UNKNOWN, sizeof UNKNOWN) != 0 ? hash : NULL;
}

void tile_cache_index_set(tile_cache_index *x, size_t i, const uint8_t hash[TILE_CACHE_HASH_BYTES])
{
    memcpy(x->bytes + AT_HASHES + i * TILE_CACHE_HASH_BYTES, hash, TILE_CACHE_HASH_BYTES);
}

yl_status tile_cache_index_save(tile_cache_index *x, yl_error *err)
{
    tile_cache_lock(x->cache);
    merge_file(x);
    uint64_t checksum = tile_cache_checksum(x->bytes + AT_VERSION, x->n_bytes - AT_VERSION);
    memcpy(x->bytes + AT_HASH, &checksum, sizeof checksum);
    yl_status status = tile_cache_put(x->cache, x->name, x->bytes, x->n_bytes, err);
    tile_cache_unlock(x->cache);
    return status;
}

void tile_cache_index_remove_all(const tile_cache *c)
{
    int fd = openat(c->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d && fd >= 0) close(fd);
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (n == NAME_BYTES - 1 && strcmp(e->d_name + 32, ".hashes") == 0) unlinkat(c->fd, e->d_name, 0);
    }
    if (d) closedir(d);
}
