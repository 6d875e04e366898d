/* sha256.h: SHA-256 of bytes that come piece by piece. */
#ifndef YL_SHA256_H
#define YL_SHA256_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

enum { SHA256_BYTES = 32 };

typedef struct sha256 sha256;

/* It has begun. Nothing below allocates. YL_ENOMEM: *out is NULL. */
yl_status sha256_new(sha256 **out, yl_error *err);
void sha256_free(sha256 *h);

/* Begins anew; more bytes; the hash of all since it began. */
void sha256_begin(sha256 *h);
void sha256_add(sha256 *h, const void *bytes, size_t n_bytes);
void sha256_end(sha256 *h, uint8_t out[SHA256_BYTES]);

#endif
