/* kv_page.h: how keys and values lie in the cache.
 *
 * A page holds 64 positions; a head of a layer has one run of bytes in it for keys and one for values, the same in every page. Keys
 * are transposed in blocks of 16 positions, so that a vector is one element of 16 keys; values are rows, so that a vector is 16
 * elements of one value. q8_0 has one scale for 32 elements of a position, near what it scales:
 *
 *     keys    f16, f32   [4 blocks][n_embd_head][16 positions]
 *             q8_0       [4 blocks][n_embd_head / 32] of: [16 positions] f16 scales, [32][16 positions] int8
 *     values  f16, f32   [64 positions][n_embd_head]
 *             q8_0       [n_embd_head / 32][64 positions] f16 scales, then [64 positions][n_embd_head] int8 */
#ifndef YL_KERNELS_KV_PAGE_H
#define YL_KERNELS_KV_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { KV_PAGE_POSITIONS = 64, KV_BLOCK_POSITIONS = 16 };

/* Element type of the KV cache. */
typedef enum kv_type { KV_F16 = 0, KV_F32 = 1, KV_Q8_0 = 2 } kv_type;
enum { KV_TYPE_LAST = KV_Q8_0 };

/* q8_0: elements of a head that share a scale, and the bytes of 16 keys of so many elements. */
enum { KV_GROUP_ELEMS = 32, KV_KEY_GROUP_BYTES = KV_BLOCK_POSITIONS * (2 + KV_GROUP_ELEMS) };

/* The keys and values of one head of one layer of one sequence: page p holds positions [64 p, 64 p + 64). */
typedef struct kv_head {
    const uint8_t *const *pages; /* first byte of each page */
    size_t k_offset, v_offset;   /* bytes into a page, of this layer and head */
    kv_type type_k, type_v;
} kv_head;

/* "f16", "f32", "q8_0", as options and messages have it. */
static inline const char *kv_type_name(kv_type type)
{
    return type == KV_F16 ? "f16" : type == KV_F32 ? "f32" : "q8_0";
}

/* The type of this name; false: there is none. */
static inline bool kv_type_parse(const char *name, kv_type *out)
{
    for (int type = 0; type <= KV_TYPE_LAST; type++) {
        *out = (kv_type)type;
        if (strcmp(name, kv_type_name(*out)) == 0) return true;
    }
    return false;
}

/* Whether heads of this size can be kept so: q8_0 wants whole groups. */
static inline bool kv_type_takes(kv_type type, uint64_t n_embd_head)
{
    return type != KV_Q8_0 || n_embd_head % KV_GROUP_ELEMS == 0;
}

/* Bytes of one head's keys in a page, or of its values; of both alike. n_embd_head: at most 2^32. */
static inline uint64_t kv_run_bytes(kv_type type, uint64_t n_embd_head)
{
    if (type == KV_Q8_0) return KV_PAGE_POSITIONS * (n_embd_head + 2 * (n_embd_head / KV_GROUP_ELEMS));
    return KV_PAGE_POSITIONS * n_embd_head * (type == KV_F16 ? 2 : 4);
}

#endif
