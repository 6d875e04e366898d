/* forward_internal.h: what the files of the forward pass share. */
#ifndef YL_FORWARD_INTERNAL_H
#define YL_FORWARD_INTERNAL_H

#include "attention.h"
#include "forward.h"
#include "rope.h"

/* Rows in one of the forms in which matmuls take them (activations in kernels.h). */
typedef struct input_form {
    int8_t *q;       /* [rows, n_cols]; NULL: f32 */
    float *d;        /* [rows, n_cols / block] */
    uint8_t *panels; /* panel_set_bytes(rows, n_cols, block) */
} input_form;

struct forward {
    const slice *slice;
    const hparams *hp;
    kv_cache *cache;
    const kernels *kernels;
    thread_pool *pool;
    const allocator *alloc;
    rope *rope;       /* NULL for a slice without layers */
    size_t n_bytes;   /* of this struct and the scratch behind it */
    size_t n_q, n_kv; /* elements of a row's queries, and of its keys or values: heads * n_embd_head */
    size_t n_scores;  /* floats of scratch that one thread's attention needs */
    float attn_scale; /* 1 / sqrt(n_embd_head) */
    uint32_t n_ctx;

    /* Scratch for one tile. */
    float *normed;                 /* [rows, n_embd] */
    float *q, *k, *v;              /* [rows, n_q], [rows, n_kv], [rows, n_kv] */
    float *attn;                   /* [rows, n_q] */
    float *gate, *up;              /* [rows, n_ff] */
    float *delta;                  /* [rows, n_embd], what is added to the residual stream */
    input_form f32, q8_32, q8_256; /* what the next matmul takes: as it is, in blocks of 32, of 256 */
    float *scores;                 /* [n_threads, n_scores], for attention */
    uint8_t *spoiled;              /* [rows], 1 where a key or value was not finite */
    float *angles;                 /* [n_ctx, n_rot], filled as positions are met, and kept */
    uint8_t *has_angles;           /* [n_ctx] */
};

/* One tile on its way through one layer: what the threads are handed. */
typedef struct tile {
    forward *f;
    const layer_weights *w;
    uint32_t layer; /* absolute */
    uint32_t n;
    float *x; /* [n, n_embd], the residual stream */
    const forward_row *rows;
    int32_t *faults;
} tile;

/* Attention of all rows of a tile, from f->q and the cache to f->attn. Runs the threads. */
void forward_attention(tile *t);

#endif
