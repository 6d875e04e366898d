/* fuzz_cluster_key.c: any text is either refused with a sentence that repeats none of it, or a key; and the same key for the same
 * text. Of a text that could be a key but for its check, the check is made right, so that what lies behind is reached too. */
#undef NDEBUG
#include <assert.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster_key.h"

enum { KEY_BYTES = 32, CHECK_BYTES = 4, PREFIX_BYTES = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void parse(const char *text)
{
    cluster_key a, b;
    uint8_t tag[CLUSTER_TAG_BYTES], other[CLUSTER_TAG_BYTES];
    yl_error err = {0};
    yl_status status = cluster_key_parse(&a, text, &err);
    assert(status == YL_OK || (status == YL_EINVAL && err.msg[0]));
    if (status) return;
    assert(cluster_key_parse(&b, text, NULL) == YL_OK && !memcmp(&a, &b, sizeof a));
    assert(strlen(a.listening_public) == CURVE_KEY_BYTES - 1 && strlen(a.connecting_secret) == CURVE_KEY_BYTES - 1);
    assert(!cluster_key_tag(tag, &a, NULL) && !cluster_key_tag(other, NULL, NULL) && memcmp(tag, other, sizeof tag) != 0);
}

/* The key whose bytes these are. */
static void parse_bytes(const uint8_t key[KEY_BYTES])
{
    uint8_t hash[EVP_MAX_MD_SIZE];
    char text[CLUSTER_KEY_TEXT_BYTES] = "yl1_";
    assert(EVP_Digest(key, KEY_BYTES, hash, NULL, EVP_sha256(), NULL));
    for (size_t i = 0; i < KEY_BYTES + CHECK_BYTES; i++)
        snprintf(text + PREFIX_BYTES + 2 * i, 3, "%02x", i < KEY_BYTES ? key[i] : hash[i - KEY_BYTES]);
    assert(cluster_key_parse(&(cluster_key){0}, text, NULL) == YL_OK);
    parse(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    char *text = malloc(n_bytes + 1);
    assert(text);
    memcpy(text, data, n_bytes);
    text[n_bytes] = 0;
    parse(text);
    if (n_bytes == KEY_BYTES) parse_bytes(data);
    free(text);
    return 0;
}
