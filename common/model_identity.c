/* model_identity.c: a SHA-256 over a model's table of tensors and samples of their data. */
#include "model_identity.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "sha256.h"

enum { SAMPLE_BYTES = 1024 };

static yl_status hash_sample(sha256 *hash, int fd, uint64_t offset, size_t n, const char *path, yl_error *err)
{
    uint8_t bytes[SAMPLE_BYTES];
    for (size_t got = 0; got < n;) {
        ssize_t r = pread(fd, bytes + got, n - got, (off_t)(offset + got));
        if (r < 0 && errno == EINTR) continue;
        if (r <= 0) return yl_fail(err, YL_EIO, "%s: cannot be read: %s", path, r ? strerror(errno) : "it became shorter");
        got += (size_t)r;
    }
    sha256_add(hash, bytes, n);
    return YL_OK;
}

static void hash_u64(sha256 *hash, uint64_t v)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(v >> (8 * i));
    sha256_add(hash, bytes, sizeof bytes);
}

static yl_status hash_tensor(sha256 *hash, int fd, const gguf_tensor *t, const char *path, yl_error *err)
{
    sha256_add(hash, t->name, strlen(t->name) + 1);
    hash_u64(hash, (uint64_t)t->type);
    for (int i = 0; i < 4; i++) hash_u64(hash, t->ne[i]);
    size_t n = t->n_bytes < SAMPLE_BYTES ? (size_t)t->n_bytes : SAMPLE_BYTES;
    yl_status status = hash_sample(hash, fd, t->offset, n, path, err);
    if (!status) status = hash_sample(hash, fd, t->offset + t->n_bytes - n, n, path, err);
    return status;
}

static yl_status hash_part(sha256 *hash, const gguf *g, uint32_t part, yl_error *err)
{
    const char *path = gguf_part_path(g, part);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return yl_fail(err, YL_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    yl_status status = YL_OK;
    for (size_t i = 0; i < gguf_n_tensors(g) && !status; i++) {
        const gguf_tensor *t = gguf_tensor_at(g, i);
        if (t->part == part) status = hash_tensor(hash, fd, t, path, err);
    }
    close(fd);
    return status;
}

yl_status model_identity(uint8_t out[MODEL_IDENTITY_BYTES], const gguf *g, yl_error *err)
{
    sha256 *hash;
    yl_status status = sha256_new(&hash, err);
    for (uint32_t part = 0; part < gguf_n_parts(g) && !status; part++) status = hash_part(hash, g, part, err);
    if (!status) sha256_end(hash, out);
    sha256_free(hash);
    return status;
}
