/* dummy_vocab.c: tokens by counting. */
#include "dummy_vocab.h"

#include <stdlib.h>
#include <string.h>

enum { PIECE_BYTES = 16, N_SPECIAL = 3, N_BYTES = 256 };

/* SentencePiece's mark for a space: U+2581. */
static const char space_mark[] = "\xe2\x96\x81";

/* llama.cpp's numbers for kinds of tokens (llama_token_type in include/llama.h). */
enum { KIND_NORMAL = 1, KIND_UNKNOWN = 2, KIND_CONTROL = 3, KIND_BYTE = 6 };

/* Single characters: the space mark, then ASCII from '!' to '~'. */
enum { N_SINGLE = 1 + '~' - '!' + 1 };

/* The k-th string of letters: first all of length 1 with the mark, then of length 2 without and with it, and so on. */
static void letters(char *out, size_t k)
{
    size_t n_strings = 26, length = 1;
    bool marked = true;
    while (k >= n_strings) {
        k -= n_strings;
        if (marked) {
            n_strings *= 26;
            length++;
        }
        marked = !marked;
    }
    if (marked) out += strlen(strcpy(out, space_mark));
    out[length] = 0;
    for (size_t i = length; i-- > 0; k /= 26) out[i] = (char)('a' + k % 26);
}

static void piece(char *out, uint32_t token)
{
    static const char *const special[N_SPECIAL] = {"<unk>", "<s>", "</s>"};
    if (token < N_SPECIAL) {
        strcpy(out, special[token]);
    } else if (token < N_SPECIAL + N_BYTES) {
        snprintf(out, PIECE_BYTES, "<0x%02X>", (unsigned)(token - N_SPECIAL) & 0xff);
    } else if (token == N_SPECIAL + N_BYTES) {
        strcpy(out, space_mark);
    } else if (token < N_SPECIAL + N_BYTES + N_SINGLE) {
        out[0] = (char)('!' + (token - N_SPECIAL - N_BYTES - 1));
        out[1] = 0;
    } else {
        letters(out, token - N_SPECIAL - N_BYTES - N_SINGLE);
    }
}

static int32_t kind(uint32_t token)
{
    if (token == 0) return KIND_UNKNOWN;
    if (token < N_SPECIAL) return KIND_CONTROL;
    return token < N_SPECIAL + N_BYTES ? KIND_BYTE : KIND_NORMAL;
}

yl_status dummy_vocab_write(gguf_writer *w, uint32_t n_vocab, yl_error *err)
{
    char *text = calloc(n_vocab, PIECE_BYTES);
    const char **pieces = calloc(n_vocab, sizeof *pieces);
    float *scores = calloc(n_vocab, sizeof *scores);
    int32_t *kinds = calloc(n_vocab, sizeof *kinds);
    yl_status status = YL_OK;
    if (!text || !pieces || !scores || !kinds) {
        status = yl_fail(err, YL_ENOMEM, "no memory for a vocabulary of %u tokens", (unsigned)n_vocab);
    } else {
        for (uint32_t i = 0; i < n_vocab; i++) {
            pieces[i] = &text[(size_t)i * PIECE_BYTES];
            piece(&text[(size_t)i * PIECE_BYTES], i);
            kinds[i] = kind(i);
            scores[i] = kinds[i] == KIND_NORMAL ? -(float)(i - N_SPECIAL - N_BYTES) : 0;
        }
        gguf_writer_str(w, "tokenizer.ggml.model", "llama");
        gguf_writer_str(w, "tokenizer.ggml.pre", "default");
        gguf_writer_strings(w, "tokenizer.ggml.tokens", pieces, n_vocab);
        gguf_writer_numbers(w, "tokenizer.ggml.scores", GGUF_F32, scores, n_vocab);
        gguf_writer_numbers(w, "tokenizer.ggml.token_type", GGUF_I32, kinds, n_vocab);
        gguf_writer_u32(w, "tokenizer.ggml.unknown_token_id", 0);
        gguf_writer_u32(w, "tokenizer.ggml.bos_token_id", 1);
        gguf_writer_u32(w, "tokenizer.ggml.eos_token_id", 2);
        gguf_writer_bool(w, "tokenizer.ggml.add_bos_token", true);
        gguf_writer_bool(w, "tokenizer.ggml.add_eos_token", false);
    }
    free(text);
    free((void *)pieces);
    free(scores);
    free(kinds);
    return status;
}
