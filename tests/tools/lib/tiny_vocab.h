/* tiny_vocab.h: vocabularies of a few tokens, so that a test can say by hand what a text becomes.
 *
 * A byte-level one begins with GPT-2's 256 letters, so the token of a byte is the byte; a SentencePiece one begins with <unk>, <s>,
 * </s> and the 256 bytes <0x00> to <0xFF>, so the token of a byte is the byte + 3. What a test names follows behind. */
#ifndef YL_TINY_VOCAB_H
#define YL_TINY_VOCAB_H

#include "gguf_writer.h"
#include "tokenizer.h"

/* llama.cpp's numbers for kinds of tokens (llama_token_type in include/llama.h). */
enum { KIND_NORMAL = 1, KIND_UNKNOWN = 2, KIND_CONTROL = 3, KIND_USER_DEFINED = 4, KIND_UNUSED = 5, KIND_BYTE = 6 };

enum { TINY_BPE_FIRST = 256, TINY_SPM_FIRST = 259, TINY_MAX_TOKENS = 512 };

typedef struct tiny_vocab {
    const char *model;            /* "gpt2" or "llama" */
    const char *pre;              /* NULL: no such key */
    const char *tokens[64];       /* up to NULL: the tokens TINY_BPE_FIRST or TINY_SPM_FIRST and up */
    int32_t kinds[64];            /* of those; 0 means KIND_NORMAL */
    float scores[64];             /* of those */
    const char *merges[64];       /* up to NULL */
    void (*more)(gguf_writer *w); /* writes further keys; NULL: none */
} tiny_vocab;

/* A vocabulary as a file in memory: what gguf_open_memory takes. The caller frees *bytes. */
yl_status tiny_vocab_write(const tiny_vocab *v, uint8_t **bytes, size_t *n_bytes, yl_error *err);

/* The tokenizer of a vocabulary, with the file that it needs. */
typedef struct tiny_tokenizer {
    uint8_t *bytes;
    gguf *g;
    tokenizer *t;
} tiny_tokenizer;

yl_status tiny_tokenizer_new(tiny_tokenizer *out, const tiny_vocab *v, yl_error *err);
void tiny_tokenizer_clear(tiny_tokenizer *t);

#endif
