/* fuzz_tile_cache.c: any bytes are either refused with a sentence, or a head that is written again byte for byte.
 *
 * The input's checksum is put right first, or nothing beyond it would ever be looked at; its last byte says whether. */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tile_cache.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

enum { AT_HASH = 8, AT_VERSION = 16, AT_HEAD_BYTES = 72, AT_FILE_BYTES = 80 };

static void seal(uint8_t *bytes, size_t n_bytes)
{
    uint64_t head_bytes, checksum;
    if (n_bytes < AT_FILE_BYTES) return;
    memcpy(&head_bytes, bytes + AT_HEAD_BYTES, sizeof head_bytes);
    if (head_bytes < AT_VERSION || head_bytes > n_bytes) return;
    checksum = tile_cache_checksum(bytes + AT_VERSION, (size_t)head_bytes - AT_VERSION);
    memcpy(bytes + AT_HASH, &checksum, sizeof checksum);
}

static void write_again(const tile_cache_head *h, const uint8_t *bytes)
{
    uint64_t *hashes = calloc((size_t)h->n_chunks, sizeof *hashes);
    uint8_t *again = malloc((size_t)h->head_bytes);
    assert(hashes && again);
    for (uint64_t i = 0; i < h->n_chunks; i++) {
        uint64_t offset;
        size_t n;
        tile_cache_chunk(h, i, &offset, &n);
        assert(n > 0 && offset >= h->head_bytes && offset + n <= h->file_bytes);
        hashes[i] = tile_cache_chunk_hash(h, i);
    }
    tile_cache_write_head(again, h, hashes);
    /* Zeros behind the last hash and in the label are not looked at by a reader, so the checksum may differ, and they may. */
    assert(!memcmp(again, bytes, AT_HASH) && !memcmp(again + AT_VERSION, bytes + AT_VERSION, 88 - AT_VERSION));
    assert(!memcmp(again + 192, bytes + 192, 48 * (size_t)h->n_tensors + 8 * (size_t)h->n_chunks));
    free(again);
    free(hashes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    uint8_t *bytes = malloc(n_bytes ? n_bytes : 1);
    assert(bytes);
    if (n_bytes) memcpy(bytes, data, n_bytes);
    if (n_bytes && bytes[n_bytes - 1] % 2 == 0) seal(bytes, n_bytes);
    uint64_t file_bytes = n_bytes;
    if (n_bytes >= AT_FILE_BYTES + 8) memcpy(&file_bytes, bytes + AT_FILE_BYTES, sizeof file_bytes);
    tile_cache_head h;
    yl_error err = {0};
    if (tile_cache_parse(&h, bytes, n_bytes, file_bytes, &err) == YL_OK) {
        for (uint32_t i = 0; i < h.n_tensors; i++) {
            assert(h.tensors[i].offset >= h.head_bytes && h.tensors[i].offset % TILE_CACHE_ALIGNMENT == 0);
            assert(h.tensors[i].n_bytes > 0 && h.tensors[i].offset + h.tensors[i].n_bytes <= h.file_bytes);
        }
        write_again(&h, bytes);
    } else {
        assert(err.status != YL_OK && err.msg[0]);
    }
    free(bytes);
    return 0;
}
