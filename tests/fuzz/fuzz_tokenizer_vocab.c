/* fuzz_tokenizer_vocab.c: any file that gguf accepts is refused as a vocabulary with a sentence, or encodes and decodes whatever it
 * is given without harm. */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void use(const tokenizer *t, const char *text, size_t n_bytes)
{
    token_list tokens = {0};
    unsigned flags = TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL;
    assert(tokenizer_encode(t, &tokens, text, n_bytes, flags, NULL) == YL_OK);
    for (size_t i = 0; i < tokens.n; i++) assert(tokens.data[i] >= 0 && (uint32_t)tokens.data[i] < tokenizer_n_vocab(t));
    char *back;
    size_t n_back;
    assert(tokenizer_decode(t, tokens.data, tokens.n, true, true, &back, &n_back, NULL) == YL_OK);
    free(back);
    token_list_clear(&tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const char text[] = "ab abc <s>aab</s>\n  1234 \xc3\xa9\xff";
    uint8_t *bytes = malloc(n_bytes ? n_bytes : 1);
    gguf *g = NULL;
    tokenizer *t = NULL;
    yl_error err = {0};
    assert(bytes);
    memcpy(bytes, data, n_bytes);
    if (gguf_open_memory(&g, bytes, n_bytes, &err) == YL_OK) {
        if (tokenizer_new(&t, g, &err) == YL_OK) {
            use(t, text, sizeof text - 1);
            use(t, (const char *)bytes, n_bytes < 4096 ? n_bytes : 4096);
        } else {
            assert(!t && err.status != YL_OK && err.msg[0]);
        }
    }
    tokenizer_free(t);
    gguf_free(g);
    free(bytes);
    return 0;
}
