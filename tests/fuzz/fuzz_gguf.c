/* fuzz_gguf.c: any bytes are either refused with a sentence, or a model that can be read in full.
 *
 * The input is copied to a block of exactly its size, so that the address sanitizer sees the first byte read beyond it. */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    uint8_t *bytes = malloc(n_bytes ? n_bytes : 1);
    assert(bytes);
    memcpy(bytes, data, n_bytes);
    gguf *g;
    yl_error err = {0};
    if (gguf_open_memory(&g, bytes, n_bytes, &err) == YL_OK) {
        uint64_t first = gguf_walk(g);
        assert(gguf_walk(g) == first);
        gguf_free(g);
    } else {
        assert(!g && err.status != YL_OK && err.msg[0]);
    }
    free(bytes);
    return 0;
}
