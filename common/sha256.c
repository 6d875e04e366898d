/* sha256.c: OpenSSL's, which uses the processor's instructions for it. */
#include "sha256.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdlib.h>

struct sha256 {
    EVP_MD_CTX *md;
};

yl_status sha256_new(sha256 **out, yl_error *err)
{
    sha256 *h = calloc(1, sizeof *h);
    if (h) h->md = EVP_MD_CTX_new();
    /* The first time takes what memory it needs. */
    bool ready = h && h->md && EVP_DigestInit_ex(h->md, EVP_sha256(), NULL);
    *out = ready ? h : NULL;
    if (ready) return YL_OK;
    sha256_free(h);
    return yl_fail(err, YL_ENOMEM, "no memory for a SHA-256");
}

void sha256_free(sha256 *h)
{
    if (!h) return;
    EVP_MD_CTX_free(h->md);
    free(h);
}

void sha256_begin(sha256 *h)
{
    EVP_DigestInit_ex(h->md, NULL, NULL);
}

void sha256_add(sha256 *h, const void *bytes, size_t n_bytes)
{
    EVP_DigestUpdate(h->md, bytes, n_bytes);
}

void sha256_end(sha256 *h, uint8_t out[SHA256_BYTES])
{
    EVP_DigestFinal_ex(h->md, out, NULL);
}
