/* gguf_walk.h: looks at everything that an open GGUF model offers, for tests with hostile files.
 *
 * Whatever gguf_open took must be safe to read in full: all keys by all typed reads, all tensors to their last byte, and the
 * hyperparameters. Under sanitizers any read outside the file ends the program; contradictions end it by assert. */
#ifndef YL_GGUF_WALK_H
#define YL_GGUF_WALK_H

#include "gguf.h"

/* Returns a checksum of what was seen, so that no compiler leaves the reading out. */
uint64_t gguf_walk(const gguf *g);

#endif
