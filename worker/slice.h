/* slice.h: the weights of one slice, ready to compute with.
 *
 * A slice holds views: where a tensor's bytes lie (a mapped file, or memory of the slice's own that was copied or streamed into) is
 * settled when it is loaded. Nothing here knows files or sockets: bytes are handed in. */
#ifndef YL_SLICE_H
#define YL_SLICE_H

#include "allocator.h"
#include "frames.h"
#include "kernels.h"
#include "slice_range.h"
#include "thread_pool.h"

typedef struct layer_weights {
    const float *attn_norm;                              /* [n_embd] */
    matrix attn_q;                                       /* [n_head * n_embd_head, n_embd] */
    matrix attn_k, attn_v;                               /* [n_head_kv * n_embd_head, n_embd] */
    matrix attn_output;                                  /* [n_embd, n_head * n_embd_head] */
    const float *ffn_norm;                               /* [n_embd] */
    matrix ffn_gate, ffn_up;                             /* [n_ff, n_embd] */
    matrix ffn_down;                                     /* [n_embd, n_ff] */
    const float *bias_q, *bias_k, *bias_v, *bias_output; /* NULL: none */
    const float *bias_gate, *bias_up, *bias_down;
} layer_weights;

typedef struct slice slice;

/* Makes an empty slice: its dimensions and the list of its tensors, no bytes yet. tensors: copied. Checks that the list is what the
 * range needs: known roles, shapes as hparams_tensor_spec says, types that can be computed with, none missing, none twice. */
yl_status slice_new(slice **out, const hparams *hp, const slice_range *range, const frame_tensor *tensors, uint32_t n_tensors,
                    const allocator *alloc, yl_error *err);
void slice_free(slice *s);

uint32_t slice_n_tensors(const slice *s);
const frame_tensor *slice_tensor_info(const slice *s, uint32_t i);
uint64_t slice_tensor_bytes(const slice *s, uint32_t i);
uint64_t slice_total_bytes(const slice *s); /* of all tensors */

/* Matrices that are written shall lie in tiles (tile.h), put there as their bytes arrive by the threads of `pool` (NULL: none),
 * which must outlive the writing. To be called before the first byte. What is used in place keeps its rows. */
void slice_set_tiles(slice *s, thread_pool *pool);
/* Memory that all tensors take when they are written, not used in place: in tiles a little more than the tensors' bytes. */
uint64_t slice_memory_bytes(const slice *s);
uint64_t slice_tensor_memory_bytes(const slice *s, uint32_t i); /* of one */

/* Uses bytes in place: `data` must outlive the slice, and nobody looks at them now (a NaN shows in results). Vectors are copied if
 * `data` is not aligned to 4. YL_EINVAL: no such tensor, or it has bytes; YL_ENOMEM. */
yl_status slice_use(slice *s, uint32_t i, const uint8_t *data, yl_error *err);

/* Uses a tensor's tiles in place (a vector's bytes): slice_tensor_memory_bytes bytes, aligned to 64, that outlive the slice and
 * were checked by whoever made them. slice_set_tiles must have been called. Errors as slice_use. */
yl_status slice_use_tiles(slice *s, uint32_t i, const uint8_t *tiles, yl_error *err);
/* Copies them into memory of the slice's own. */
yl_status slice_copy_tiles(slice *s, uint32_t i, const uint8_t *tiles, yl_error *err);

/* Gives the tensor memory of the slice's own and copies [offset, offset + n_bytes) of its bytes there. Chunks may come in any
 * order, but each byte once: offsets are multiples of FRAME_CHUNK_BYTES, lengths FRAME_CHUNK_BYTES or the rest. A chunk that does
 * not fit, or came already, is YL_EFORMAT. When the last chunk is in, scales are checked: YL_EFORMAT names the tensor, which is
 * then as if none had come. YL_ENOMEM: nothing changed. */
yl_status slice_write(slice *s, uint32_t i, uint64_t offset, const uint8_t *data, size_t n_bytes, yl_error *err);

/* The same by the calling thread alone, which may be one of the pool's. */
yl_status slice_write_alone(slice *s, uint32_t i, uint64_t offset, const uint8_t *data, size_t n_bytes, yl_error *err);

/* Takes back what came of a tensor that has not all its bytes. */
void slice_forget(slice *s, uint32_t i);

/* A tensor's own memory, with all its bytes, slice_tensor_memory_bytes of them; NULL: it has none, or not all are here. */
const uint8_t *slice_owned_tensor(const slice *s, uint32_t i);
/* The same bytes lie elsewhere, too, as slice_use_tiles wants them: uses those, and gives its own memory back. No views of the
 * forward pass may be in use. */
void slice_move(slice *s, uint32_t i, const uint8_t *tiles);

/* Has the tensor all its bytes? */
bool slice_tensor_is_loaded(const slice *s, uint32_t i);
bool slice_is_loaded(const slice *s);

/* Memory of the slice's own (not what it uses in place). */
uint64_t slice_owned_bytes(const slice *s);

/* Valid once slice_is_loaded. */
const hparams *slice_hparams(const slice *s);
const slice_range *slice_range_of(const slice *s);
const layer_weights *slice_layer(const slice *s, uint32_t layer); /* range.layer_begin <= layer < layer_end */
const matrix *slice_token_embd(const slice *s);                   /* has_embd */
const float *slice_output_norm(const slice *s);                   /* has_head */
const matrix *slice_output(const slice *s);                       /* has_head; token_embd for tied embeddings */
const float *slice_rope_factors(const slice *s);                  /* [n_rot / 2] or NULL */

#endif
