/* model_identity.c: a SHA-256 over a model's table of tensors and samples of their data. */
#include "model_identity.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>

enum { SAMPLE_BYTES = 1024 };

static yl_status hash_sample(EVP_MD_CTX *md, int fd, uint64_t offset, size_t n, const char *path, yl_error *err)
{
    uint8_t bytes[SAMPLE_BYTES];
    for (size_t got = 0; got < n;) {
        ssize_t r = pread(fd, bytes + got, n - got, (off_t)(offset + got));
        if (r < 0 && errno == EINTR) continue;
        if (r <= 0) return yl_fail(err, YL_EIO, "%s: cannot be read: %s", path, r ? strerror(errno) : "it became shorter");
        got += (size_t)r;
    }
    EVP_DigestUpdate(md, bytes, n);
    return YL_OK;
}

static void hash_u64(EVP_MD_CTX *md, uint64_t v)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(v >> (8 * i));
    EVP_DigestUpdate(md, bytes, sizeof bytes);
}

static yl_status hash_tensor(EVP_MD_CTX *md, int fd, const gguf_tensor *t, const char *path, yl_error *err)
{
    EVP_DigestUpdate(md, t->name, strlen(t->name) + 1);
    hash_u64(md, (uint64_t)t->type);
    for (int i = 0; i < 4; i++) hash_u64(md, t->ne[i]);
    size_t n = t->n_bytes < SAMPLE_BYTES ? (size_t)t->n_bytes : SAMPLE_BYTES;
    yl_status status = hash_sample(md, fd, t->offset, n, path, err);
    if (!status) status = hash_sample(md, fd, t->offset + t->n_bytes - n, n, path, err);
    return status;
}

static yl_status hash_part(EVP_MD_CTX *md, const gguf *g, uint32_t part, yl_error *err)
{
    const char *path = gguf_part_path(g, part);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return yl_fail(err, YL_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    yl_status status = YL_OK;
    for (size_t i = 0; i < gguf_n_tensors(g) && !status; i++) {
        const gguf_tensor *t = gguf_tensor_at(g, i);
        if (t->part == part) status = hash_tensor(md, fd, t, path, err);
    }
    close(fd);
    return status;
}

yl_status model_identity(uint8_t out[MODEL_IDENTITY_BYTES], const gguf *g, yl_error *err)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    if (!md || !EVP_DigestInit_ex(md, EVP_sha256(), NULL)) {
        EVP_MD_CTX_free(md);
        return yl_fail(err, YL_ENOMEM, "no memory for a SHA-256");
    }
    yl_status status = YL_OK;
    for (uint32_t part = 0; part < gguf_n_parts(g) && !status; part++) status = hash_part(md, g, part, err);
    if (!status) EVP_DigestFinal_ex(md, out, NULL);
    EVP_MD_CTX_free(md);
    return status;
}
