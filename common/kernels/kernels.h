/* kernels.h: the operations where the time goes.
 *
 * One table an instruction set, chosen once by main and handed to whoever computes. Every table computes the same bits; scalar.c is
 * the definition (numerics contract: docs in common/NUMERICS.md). A weight row times an activation row is one result that depends
 * on those two rows only, so any split of rows over threads, batches or machines gives the same. */
#ifndef YL_KERNELS_H
#define YL_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quant.h"

/* How the bytes of a matrix lie. */
typedef enum matrix_layout {
    MATRIX_ROWS, /* rows of blocks as GGUF holds them, any alignment */
    MATRIX_TILES /* tiles of 16 interleaved rows (tile.h), aligned to 64 */
} matrix_layout;

/* A weight matrix [n_rows, n_cols]. A view: whoever made it owns the bytes. */
typedef struct matrix {
    quant_type type;
    uint32_t n_rows, n_cols;
    size_t row_bytes; /* of a row as GGUF holds it, whatever the layout */
    const uint8_t *data;
    matrix_layout layout;
} matrix;

/* n rows of activations as a matmul wants them. Which form depends on the weights' type (quant_traits.act_block):
 * f32 as they are, or int8 with one scale a block. Views into the caller's scratch. */
typedef struct activations {
    uint32_t n_rows, n_cols;
    uint32_t block;  /* 0, 32 or 256 */
    const float *x;  /* [n_rows, n_cols], always */
    int8_t *q;       /* [n_rows, n_cols], block > 0 */
    float *d;        /* [n_rows, n_cols / block], block > 0 */
    uint8_t *panels; /* the same once more, as kernels read it beside tiles (panel.h); for weights in tiles */
} activations;

/* Fills the panels that hold rows [row_begin, row_end) from x, q and d. row_begin: a multiple of PANEL_ROWS; row_end too, or
 * n_rows: so threads may share the work. panels: panel_set_bytes. */
void activations_pack(const activations *a, size_t row_begin, size_t row_end);

enum { KV_PAGE_POSITIONS = 64, KV_BLOCK_POSITIONS = 16 };

/* Element type of the KV cache. */
typedef enum kv_type { KV_F16 = 0, KV_F32 = 1 } kv_type;

/* The keys and values of one head of one layer of one sequence: page p holds positions [64 p, 64 p + 64).
 * In a page, at k_offset: keys, [4 blocks][n_embd_head][16 positions]; at v_offset: values, [64 positions][n_embd_head]. */
typedef struct kv_head {
    const uint8_t *const *pages; /* first byte of each page */
    size_t k_offset, v_offset;   /* bytes into a page, of this layer and head */
    kv_type type_k, type_v;
} kv_head;

typedef struct kernels {
    const char *isa;  /* as in --isa: "scalar", "avx2", "avx512", "neon", "dotprod", "wasm" */
    bool wants_tiles; /* matmul is much faster on weights in tiles */

    /* Quantizes n values in blocks of `block` (32 or 256; n a multiple): q [n] int8 in [-127, 127], d [n / block]. A
     * block with a value that is not finite gets a d that is not, so that every result made from it is not. N2. */
    void (*quantize)(int8_t *q, float *d, const float *x, size_t n, size_t block);

    /* y[i * y_stride + r] = w row r . x row i, for r in [row_begin, row_end) and every row i of x. w->n_cols == x->n_cols, and x
     * is in the form of w's type; for weights in tiles its panels are filled. N3 to N8. Bound by the weights' bytes for few rows of
     * x, by multiply-adds for many. */
    void (*matmul)(float *y, size_t y_stride, const matrix *w, const activations *x, size_t row_begin, size_t row_end);

    /* y = x / rms(x) * w, each [n]; y may be x. N10. */
    void (*rmsnorm)(float *y, const float *x, const float *w, size_t n, float eps);

    /* Turns the first n_rot elements of each of n_head heads of n_embd_head in place. x: [n_head, n_embd_head]; cs: rope_angles.
     * Pairs are neighbours (2i, 2i+1): GGUF files of architecture llama hold wq and wk permuted for that. N13. */
    void (*rope)(float *x, const float *cs, size_t n_head, size_t n_embd_head, size_t n_rot);

    /* g = silu(g) * u, each [n]. */
    void (*swiglu)(float *g, const float *u, size_t n);

    /* y = y + x, each [n]. */
    void (*add)(float *y, const float *x, size_t n);

    /* Attention of n_q query heads that share one KV head, at one position: all positions [0, n_pos) are attended, n_pos >= 1. N11.
     * q, out: [n_q, n_embd_head]; scale: 1 / sqrt(n_embd_head); scores: scratch of at least n_q * (n_pos rounded up to 16) floats.
     */
    void (*attention)(float *out, const float *q, size_t n_q, const kv_head *kv, size_t n_pos, size_t n_embd_head, float scale,
                      float *scores);

    /* Stores one position's key and value of one head into its page (head: offsets and types; its pages are not looked at).
     * page: first byte, pos_in_page < 64. k, v: [n_embd_head].
     * Returns 0, or 1 if a value is not finite in the cache's type (then zeros are stored). */
    int (*kv_store)(uint8_t *page, const kv_head *head, size_t pos_in_page, const float *k, const float *v, size_t n_embd_head);

    /* Largest value of x and sum of exp(x - max) by N10, for a softmax over logits. n >= 1. */
    void (*max_sum_exp)(const float *x, size_t n, float *max, float *sum_exp);
} kernels;

/* The best table that this machine can run. */
const kernels *kernels_best(void);
/* By name; NULL: unknown, or this machine cannot run it. */
const kernels *kernels_named(const char *isa);

#endif
