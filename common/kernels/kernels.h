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

#include "kv_page.h"
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
    uint8_t *panels; /* the same once more, as kernels read it beside tiles (panel.h); for tables that want tiles */
} activations;

/* Fills the panels that hold rows [row_begin, row_end) from x, q and d. row_begin: a multiple of PANEL_ROWS; row_end too, or
 * n_rows: so threads may share the work. panels: panel_set_bytes. */
void activations_pack(const activations *a, size_t row_begin, size_t row_end);

/* Queries that share the keys and values of one head: n_head query heads of each of some rows, which stand at consecutive positions
 * of one sequence. Query i is head i mod n_head of row i / n_head. A view into the caller's scratch (attention.h). */
typedef struct attention {
    kv_head kv;
    size_t n_query, n_head;
    size_t n_pos; /* row 0 attends the positions [0, n_pos), n_pos >= 1; each later row one more than the row before it */
    size_t n_embd_head;
    const float *q; /* [n_embd_head][n_query], times 1 / sqrt(n_embd_head) */
    float *scores;  /* [pages][n_query][64 positions]: scores, later their exponentials */
    float *sums;    /* [n_query], of the exponentials */
    float *values;  /* [n_embd_head / 16, rounded up][n_query][16]: sums of values; may lie where q does */
    float *out;     /* row r, head h: [n_embd_head] at r * out_stride + h * n_embd_head */
    size_t out_stride;
} attention;

typedef struct kernels {
    const char *isa;  /* as in --isa: "scalar", ... */
    bool wants_tiles; /* matmul reads panels, and is faster on weights in tiles than in rows */

    /* Quantizes n values in blocks of `block` (32 or 256; n a multiple): q [n] int8 in [-127, 127], d [n / block]. A
     * block with a value that is not finite gets a d that is not, so that every result made from it is not. N2. */
    void (*quantize)(int8_t *q, float *d, const float *x, size_t n, size_t block);

    /* y[i * y_stride + r] = w row r . x row i, for r in [row_begin, row_end) and every row i of x. w->n_cols == x->n_cols, and x
     * is in the form of w's type, its panels filled if wants_tiles. N3 to N8. Bound by the weights' bytes for few rows of
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

    /* Attention (N11) in three steps, each of which may be cut between threads; the next begins when all of one is done.
     * Scores of all queries at the positions of pages [page_begin, page_end). Scores of positions that a query does not attend are
     * left as anything. */
    void (*attention_scores)(const attention *a, size_t page_begin, size_t page_end);
    /* Scores of queries [begin, end) become exponentials, +0 where a query does not attend, up to the end of the last page; sums.
     */
    void (*attention_softmax)(const attention *a, size_t begin, size_t end);
    /* Elements [d_begin, d_end) of out, for all queries. d_begin: a multiple of 16; d_end too, or n_embd_head. */
    void (*attention_values)(const attention *a, size_t d_begin, size_t d_end);

    /* Stores one position's key and value of one head into its page (head: offsets and types; its pages are not looked at).
     * page: first byte, pos_in_page < 64. k, v: [n_embd_head], a number that the types take (kv_type_takes).
     * Returns 0, or 1 if a value is not finite in the cache's type (then zeros are stored). */
    int (*kv_store)(uint8_t *page, const kv_head *head, size_t pos_in_page, const float *k, const float *v, size_t n_embd_head);

    /* Largest value of x and sum of exp(x - max) by N10, for a softmax over logits. n >= 1. */
    void (*max_sum_exp)(const float *x, size_t n, float *max, float *sum_exp);
} kernels;

/* The best table that this machine can run. */
const kernels *kernels_best(void);
/* By name; NULL: unknown, or this machine cannot run it. */
const kernels *kernels_named(const char *isa);
/* The names of those that this machine can run, best first: "avx2, scalar". list: [n_bytes], cut where it is full. */
void kernels_list(char *list, size_t n_bytes);

#endif
