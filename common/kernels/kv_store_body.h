/* kv_store_body.h: storing keys and values, written once over the vocabulary of simd_f32.h; included as ops_body.h is.
 *
 * Once a row and KV head: next to nothing beside reading them. kv_page.h has the layouts. */
#ifndef YL_KERNELS_KV_STORE_BODY_H
#define YL_KERNELS_KV_STORE_BODY_H

#include <math.h> /* INFINITY */

#include "ops_body.h"

VF_INLINE size_t kv_elem_bytes(kv_type type)
{
    return type == KV_F16 ? sizeof(uint16_t) : type == KV_F32 ? sizeof(float) : sizeof(int8_t);
}

/* Whether x, [n], is finite as values of the cache; from 65520 on, nearest even makes an f16 infinite. */
static int plain_is_finite(const float *x, kv_type type, size_t n)
{
    float limit = type == KV_F16 ? 65520.0f : INFINITY;
    size_t whole = n - n % VF_LANES;
    int finite = vf_all_less(vf_abs(vf_load_n(x + whole, n % VF_LANES)), limit);
    for (size_t i = 0; i < whole; i += VF_LANES) finite &= vf_all_less(vf_abs(vf_load(x + i)), limit);
    return finite;
}

/* The same of q8_0, where the scales are f16. */
static int groups_are_finite(const float *x, size_t n)
{
    int finite = 1;
    for (size_t i = 0; i < n; i += KV_GROUP_ELEMS) {
        vf m = vf_max_magnitude(vf_max_magnitude(vf_zero(), vf_load(x + i)), vf_load(x + i + VF_LANES));
        finite &= vf_top_magnitude(m) / 127.0f < 65520.0f;
    }
    return finite;
}

static int kv_is_finite(const float *x, kv_type type, size_t n)
{
    return type == KV_Q8_0 ? groups_are_finite(x, n) : plain_is_finite(x, type, n);
}

/* 16 values in the cache's type, f16 or f32. */
VF_INLINE void kv_convert(uint8_t out[VF_LANES * sizeof(float)], kv_type type, vf x)
{
    if (type == KV_F16) {
        vf_store_f16(out, x);
    } else {
        vf_store(out, x);
    }
}

/* The key of one position, f16 or f32: a lane of a block of 16, each element 16 elements behind the one before. key: the first. */
VF_INLINE void store_plain_key(uint8_t *key, kv_type type, const float *k, size_t n_embd_head, int finite)
{
    size_t elem_bytes = kv_elem_bytes(type);
    for (size_t d = 0; d < n_embd_head; d += VF_LANES) {
        size_t n = n_embd_head - d < VF_LANES ? n_embd_head - d : VF_LANES;
        uint8_t values[VF_LANES * sizeof(float)];
        kv_convert(values, type, finite ? vf_load_n(k + d, n) : vf_zero());
        for (size_t i = 0; i < n; i++, key += KV_BLOCK_POSITIONS * elem_bytes) memcpy(key, values + i * elem_bytes, elem_bytes);
    }
}

static void store_plain_value(uint8_t *value, kv_type type, const float *v, size_t n_embd_head, int finite)
{
    for (size_t d = 0; d < n_embd_head; d += VF_LANES) {
        size_t n = n_embd_head - d < VF_LANES ? n_embd_head - d : VF_LANES;
        uint8_t values[VF_LANES * sizeof(float)];
        kv_convert(values, type, finite ? vf_load_n(v + d, n) : vf_zero());
        memcpy(value + d * kv_elem_bytes(type), values, n * kv_elem_bytes(type));
    }
}

/* A group of 32 elements in q8_0; its scale goes to d. */
static void quantize_group(uint8_t *d, int8_t q[KV_GROUP_ELEMS], const float *x, int finite)
{
    uint16_t scale = 0;
    if (finite) {
        scale = quant_f32_to_f16(quantize_block(q, x, KV_GROUP_ELEMS));
    } else {
        memset(q, 0, KV_GROUP_ELEMS);
    }
    memcpy(d, &scale, sizeof scale);
}

/* block: its first group, of n_embd_head / 32. */
static void store_key_groups(uint8_t *block, size_t lane, const float *k, size_t n_embd_head, int finite)
{
    for (size_t d = 0; d < n_embd_head; d += KV_GROUP_ELEMS, block += KV_KEY_GROUP_BYTES) {
        int8_t q[KV_GROUP_ELEMS];
        quantize_group(block + 2 * lane, q, k + d, finite);
        uint8_t *key = block + 2 * KV_BLOCK_POSITIONS + lane;
        for (size_t i = 0; i < KV_GROUP_ELEMS; i++) key[i * KV_BLOCK_POSITIONS] = (uint8_t)q[i];
    }
}

/* values: the page's. */
static void store_value_groups(uint8_t *values, size_t pos_in_page, const float *v, size_t n_embd_head, int finite)
{
    uint8_t *d = values + 2 * pos_in_page, *q = values + n_embd_head / KV_GROUP_ELEMS * 2 * KV_PAGE_POSITIONS;
    q += pos_in_page * n_embd_head;
    for (size_t i = 0; i < n_embd_head; i += KV_GROUP_ELEMS, d += 2 * KV_PAGE_POSITIONS)
        quantize_group(d, (int8_t *)q + i, v + i, finite);
}

static void store_key(uint8_t *keys, kv_type type, size_t pos_in_page, const float *k, size_t n_embd_head, int finite)
{
    size_t block = pos_in_page / KV_BLOCK_POSITIONS, lane = pos_in_page % KV_BLOCK_POSITIONS;
    uint8_t *key = keys + (block * n_embd_head * KV_BLOCK_POSITIONS + lane) * kv_elem_bytes(type);
    switch (type) {
    case KV_F16: store_plain_key(key, KV_F16, k, n_embd_head, finite); return;
    case KV_F32: store_plain_key(key, KV_F32, k, n_embd_head, finite); return;
    case KV_Q8_0:
        store_key_groups(keys + block * (n_embd_head / KV_GROUP_ELEMS) * KV_KEY_GROUP_BYTES, lane, k, n_embd_head, finite);
        return;
    }
}

static void store_value(uint8_t *values, kv_type type, size_t pos_in_page, const float *v, size_t n_embd_head, int finite)
{
    if (type == KV_Q8_0) {
        store_value_groups(values, pos_in_page, v, n_embd_head, finite);
    } else {
        store_plain_value(values + pos_in_page * n_embd_head * kv_elem_bytes(type), type, v, n_embd_head, finite);
    }
}

static int kv_store(uint8_t *page, const kv_head *head, size_t pos_in_page, const float *k, const float *v, size_t n_embd_head)
{
    int finite = kv_is_finite(k, head->type_k, n_embd_head) && kv_is_finite(v, head->type_v, n_embd_head);
    store_key(page + head->k_offset, head->type_k, pos_in_page, k, n_embd_head, finite);
    store_value(page + head->v_offset, head->type_v, pos_in_page, v, n_embd_head, finite);
    return !finite;
}

#endif
