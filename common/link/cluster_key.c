#include "cluster_key.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

enum { KEY_BYTES = 32, CHECK_BYTES = 4, PREFIX_BYTES = 4, TEXT_LENGTH = CLUSTER_KEY_TEXT_BYTES - 1 };

static const char PREFIX[] = "yl1_";

/* The first bytes of the SHA-256 tell a mistyped key; of 256 bits they give away nothing that helps. */
static yl_status add_check(uint8_t key[KEY_BYTES + CHECK_BYTES], yl_error *err)
{
    uint8_t hash[EVP_MAX_MD_SIZE];
    if (!EVP_Digest(key, KEY_BYTES, hash, NULL, EVP_sha256(), NULL)) return yl_fail(err, YL_ENOMEM, "no memory for a key");
    memcpy(key + KEY_BYTES, hash, CHECK_BYTES);
    return YL_OK;
}

yl_status cluster_key_generate(char out[CLUSTER_KEY_TEXT_BYTES], yl_error *err)
{
    uint8_t key[KEY_BYTES + CHECK_BYTES];
    if (RAND_bytes(key, KEY_BYTES) != 1) return yl_fail(err, YL_EIO, "the system has no random numbers for a key");
    yl_status status = add_check(key, err);
    memcpy(out, PREFIX, PREFIX_BYTES);
    for (size_t i = 0; i < sizeof key; i++) snprintf(out + PREFIX_BYTES + 2 * i, 3, "%02x", key[i]);
    OPENSSL_cleanse(key, sizeof key);
    return status;
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Text of the right length to bytes. */
static yl_status read_digits(uint8_t key[KEY_BYTES + CHECK_BYTES], const char *text, yl_error *err)
{
    for (size_t i = 0; i < KEY_BYTES + CHECK_BYTES; i++) {
        int high = digit_of(text[PREFIX_BYTES + 2 * i]), low = digit_of(text[PREFIX_BYTES + 2 * i + 1]);
        if (high < 0 || low < 0) return yl_fail(err, YL_EINVAL, "the key has a character that is no hexadecimal digit");
        key[i] = (uint8_t)(high << 4 | low);
    }
    uint8_t again[KEY_BYTES + CHECK_BYTES];
    memcpy(again, key, sizeof again);
    yl_status status = add_check(again, err);
    if (!status && memcmp(again, key, sizeof again))
        status = yl_fail(err, YL_EINVAL, "the key was mistyped: its last digits do not fit the rest");
    OPENSSL_cleanse(again, sizeof again);
    return status;
}

/* 32 bytes from the key for one purpose. */
static bool derive(uint8_t out[KEY_BYTES], const uint8_t key[KEY_BYTES], const char *purpose)
{
    size_t n = KEY_BYTES;
    EVP_PKEY_CTX *kdf = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);
    bool done = kdf && EVP_PKEY_derive_init(kdf) > 0 && EVP_PKEY_CTX_set_hkdf_md(kdf, EVP_sha256()) > 0 &&
                EVP_PKEY_CTX_set1_hkdf_key(kdf, key, KEY_BYTES) > 0 &&
                EVP_PKEY_CTX_add1_hkdf_info(kdf, (const unsigned char *)purpose, (int)strlen(purpose)) > 0 &&
                EVP_PKEY_derive(kdf, out, &n) > 0 && n == KEY_BYTES;
    EVP_PKEY_CTX_free(kdf);
    return done;
}

/* Any 32 bytes are a secret key of Curve25519. */
static yl_status make_pair(char public_key[CURVE_KEY_BYTES], char secret_key[CURVE_KEY_BYTES], const uint8_t key[KEY_BYTES],
                           const char *purpose, yl_error *err)
{
    uint8_t secret[KEY_BYTES];
    bool done = derive(secret, key, purpose) && zmq_z85_encode(secret_key, secret, KEY_BYTES);
    OPENSSL_cleanse(secret, sizeof secret);
    if (!done) return yl_fail(err, YL_ENOMEM, "no memory for the cluster's keys");
    if (zmq_curve_public(public_key, secret_key))
        return yl_fail(err, YL_EUNSUPPORTED, "this libzmq was built without CURVE: a key is of no use here");
    return YL_OK;
}

yl_status cluster_key_parse(cluster_key *out, const char *text, yl_error *err)
{
    static const char BLANKS[] = " \t\r\n";
    *out = (cluster_key){0};
    text += strspn(text, BLANKS);
    size_t n = strlen(text);
    while (n && strchr(BLANKS, text[n - 1])) n--;
    if (n != TEXT_LENGTH || memcmp(text, PREFIX, PREFIX_BYTES))
        return yl_fail(err, YL_EINVAL, "that is no key: `yllama keygen` makes one, %d characters that begin with %s", TEXT_LENGTH,
                       PREFIX);
    uint8_t key[KEY_BYTES + CHECK_BYTES];
    yl_status status = read_digits(key, text, err);
    if (!status) status = make_pair(out->listening_public, out->listening_secret, key, "yllama cluster 1: listening", err);
    if (!status) status = make_pair(out->connecting_public, out->connecting_secret, key, "yllama cluster 1: connecting", err);
    OPENSSL_cleanse(key, sizeof key);
    return status;
}

yl_status cluster_key_read_file(cluster_key *out, const char *path, yl_error *err)
{
    char text[512];
    FILE *f = fopen(path, "re");
    if (!f) return yl_fail(err, YL_EIO, "%s: the key cannot be read: %s", path, strerror(errno));
    size_t n = fread(text, 1, sizeof text - 1, f);
    bool is_read = !ferror(f);
    fclose(f);
    text[n] = 0;
    yl_status status = is_read ? cluster_key_parse(out, text, err) : yl_fail(err, YL_EIO, "the key cannot be read");
    OPENSSL_cleanse(text, sizeof text);
    if (status) yl_error_context(err, "%s: ", path);
    return status;
}

yl_status cluster_key_tag(uint8_t out[CLUSTER_TAG_BYTES], const cluster_key *key, yl_error *err)
{
    static const char PURPOSE[] = "yllama cluster 1: tag ";
    uint8_t hash[EVP_MAX_MD_SIZE];
    char text[sizeof PURPOSE + CURVE_KEY_BYTES];
    memset(out, 0, CLUSTER_TAG_BYTES);
    if (!key) return YL_OK;
    int n = snprintf(text, sizeof text, "%s%s", PURPOSE, key->listening_public);
    if (!EVP_Digest(text, (size_t)n, hash, NULL, EVP_sha256(), NULL))
        return yl_fail(err, YL_ENOMEM, "no memory for a cluster's tag");
    memcpy(out, hash, CLUSTER_TAG_BYTES);
    return YL_OK;
}

void cluster_key_wipe(void *secret, size_t n_bytes)
{
    OPENSSL_cleanse(secret, n_bytes);
}
