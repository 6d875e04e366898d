/* cluster_key.h: the secret that the programs of one cluster share.
 *
 * A key is 32 random bytes, written as one line. Both key pairs of CurveZMQ are derived from it (HKDF-SHA256): one for every socket
 * that listens, one for every socket that connects. So either side proves that it knows the key, and nothing else is needed to
 * know each other. */
#ifndef YL_CLUSTER_KEY_H
#define YL_CLUSTER_KEY_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

enum { CLUSTER_KEY_TEXT_BYTES = 77, CURVE_KEY_BYTES = 41, CLUSTER_TAG_BYTES = 16 };

/* The pairs, in Z85 as ZeroMQ takes them. Secret as the key itself. */
typedef struct cluster_key {
    char listening_public[CURVE_KEY_BYTES], listening_secret[CURVE_KEY_BYTES];
    char connecting_public[CURVE_KEY_BYTES], connecting_secret[CURVE_KEY_BYTES];
} cluster_key;

/* A new key as text: "yl1_", 64 hexadecimal digits, 8 more that tell a mistyped one. YL_EIO: the system has no random numbers. */
yl_status cluster_key_generate(char out[CLUSTER_KEY_TEXT_BYTES], yl_error *err);

/* Reads a key; blanks around it are fine. YL_EINVAL: it is none. No message ever repeats any of it. */
yl_status cluster_key_parse(cluster_key *out, const char *text, yl_error *err);
/* The same from a file that holds nothing else. YL_EIO: it cannot be read. */
yl_status cluster_key_read_file(cluster_key *out, const char *path, yl_error *err);

/* What tells clusters from each other, and may be known to anybody: of the public key of those that listen. NULL: zeros, the tag of
 * all that go without a key. YL_ENOMEM. */
yl_status cluster_key_tag(uint8_t out[CLUSTER_TAG_BYTES], const cluster_key *key, yl_error *err);

/* Overwrites a secret: a key, or its text where it stands in a command line. */
void cluster_key_wipe(void *secret, size_t n_bytes);

#endif
