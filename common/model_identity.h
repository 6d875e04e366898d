/* model_identity.h: do two files hold the same model?
 *
 * A worker may be pointed to a model file of its own; before it uses those weights it must know that they are the coordinator's.
 * Hashing gigabytes at every start would cost seconds, so the identity is a SHA-256 over the table of tensors (names, types,
 * shapes) and over the first and last 1,024 bytes of each tensor's data. It tells models, fine-tunes and quantizations apart; it
 * does not notice damage in the middle of a tensor. */
#ifndef YL_MODEL_IDENTITY_H
#define YL_MODEL_IDENTITY_H

#include "gguf.h"

enum { MODEL_IDENTITY_BYTES = 32 };

/* Reads the samples with pread, so that no page of the mapped file becomes resident. YL_EIO: a file could not be read. */
yl_status model_identity(uint8_t out[MODEL_IDENTITY_BYTES], const gguf *g, yl_error *err);

#endif
