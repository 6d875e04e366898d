/* dummy_vocab.h: a SentencePiece vocabulary of any size that nobody trained.
 *
 * <unk>, <s>, </s>, the 256 bytes, the printable characters, then all strings of lower case letters by length, each also with the
 * space mark in front. Shorter strings have better scores, so any English text is cut into pieces of a few letters. */
#ifndef YL_DUMMY_VOCAB_H
#define YL_DUMMY_VOCAB_H

#include "gguf_writer.h"

/* Writes the keys tokenizer.ggml.* for exactly n_vocab tokens. YL_ENOMEM. */
yl_status dummy_vocab_write(gguf_writer *w, uint32_t n_vocab, yl_error *err);

#endif
