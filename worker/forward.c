/* forward.c: the forward pass of Llama, one layer at a time.
 *
 * forward_layer reads like the architecture: norm; queries, keys, values; turn, store, attend; project, add; norm; gate and up;
 * down, add. Rows are worked on in tiles of FORWARD_TILE_ROWS, so that scratch stays small and the weights are read once a tile.
 *
 * A step is a loop over one of three things. It may be cut between threads anywhere: no step adds across its loop.
 * - Rows: norm, RoPE, quantizing and packing. Small; a lone row is done by the caller, since waking threads would cost more.
 * - Weight rows: the matmuls, where the time goes. What follows element by element (bias, SwiGLU, residual) is done in the same
 *   piece, while it is in the cache. So a decode step wakes the threads five times a layer.
 * - KV heads and rows: attention (forward_attention.c).
 *
 * Non-finite numbers. No kernel hides one: a NaN or an infinity in a row makes what is computed from the row NaN or infinite too,
 * and the residual stream keeps it. So two looks find everything: kv_store's, before others could read a key or value, and one at
 * the end of the layer. A row that fails either is zeroed as a whole at the end of the layer and reported. If its keys and values
 * were finite they stay in the cache: rows of the same tile have seen them, and rows of a later one must see the same. */
#include "forward.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "forward_internal.h"
#include "panel.h"
#include "tile.h"

/* Weight rows are cut at multiples of this: kernels work on so many at once, and so many floats are a cache line. */
enum { WEIGHT_ROWS_GRAIN = 16 };

/* Hands out pieces of one block, each aligned to 64. Without a block it only counts. */
typedef struct cutter {
    uint8_t *block;
    uint64_t used; /* UINT64_MAX: too large */
} cutter;

static void *cut(cutter *c, uint64_t n, uint64_t elem_bytes)
{
    uint64_t at = c->used, n_bytes, end;
    if (__builtin_mul_overflow(n, elem_bytes, &n_bytes) || __builtin_add_overflow(at, n_bytes, &end) || end > UINT64_MAX - 63) {
        c->used = UINT64_MAX;
        return NULL;
    }
    c->used = (end + 63) / 64 * 64;
    return c->block ? c->block + at : NULL;
}

/* Panels of a tile of rows with so many values. */
static uint8_t *cut_panels(cutter *c, uint64_t n_cols, size_t block)
{
    return cut(c, FORWARD_TILE_ROWS, n_cols < UINT32_MAX ? panel_row_bytes((size_t)n_cols, block) : UINT64_MAX);
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Gives f its dimensions, and its scratch out of a block that begins with f itself. */
static void lay_out(forward *f, cutter *c, const hparams *hp, uint32_t n_ctx, uint32_t n_threads)
{
    const uint64_t rows = FORWARD_TILE_ROWS;
    const uint64_t n_q = (uint64_t)hp->n_head * hp->n_embd_head, n_kv = (uint64_t)hp->n_head_kv * hp->n_embd_head;
    const uint64_t n_input = larger(hp->n_embd, larger(n_q, hp->n_ff)); /* the longest row that is multiplied */
    const uint32_t n_group = hp->n_head / hp->n_head_kv;                /* query heads that share a KV head */
    const uint64_t n_scores = attention_scratch_floats((uint64_t)n_group * attention_rows(n_group), n_ctx, hp->n_embd_head);
    f->n_ctx = n_ctx;
    f->n_q = (size_t)n_q;
    f->n_kv = (size_t)n_kv;
    f->n_scores = (size_t)n_scores;
    cut(c, 1, sizeof *f);
    f->normed = cut(c, rows * hp->n_embd, sizeof(float));
    f->q = cut(c, rows * n_q, sizeof(float));
    f->k = cut(c, rows * n_kv, sizeof(float));
    f->v = cut(c, rows * n_kv, sizeof(float));
    f->attn = cut(c, rows * n_q, sizeof(float));
    f->gate = cut(c, rows * hp->n_ff, sizeof(float));
    f->up = cut(c, rows * hp->n_ff, sizeof(float));
    f->delta = cut(c, rows * hp->n_embd, sizeof(float));
    f->f32 = (input_form){NULL, NULL, cut_panels(c, n_input, 0)};
    f->q8_32 = (input_form){cut(c, rows * n_input, 1), cut(c, rows * (n_input / 32), sizeof(float)), cut_panels(c, n_input, 32)};
    f->q8_256 = (input_form){cut(c, rows * n_input, 1), cut(c, rows * (n_input / 256), sizeof(float)), cut_panels(c, n_input, 256)};
    f->scores = cut(c, n_scores, (uint64_t)n_threads * sizeof(float));
    f->spoiled = cut(c, rows, 1);
    f->angles = cut(c, n_ctx, (uint64_t)hp->n_rot * sizeof(float));
    f->has_angles = cut(c, n_ctx, 1);
}

uint64_t forward_scratch_bytes(const hparams *hp, uint32_t n_ctx, uint32_t n_threads)
{
    forward f;
    cutter counter = {NULL, 0};
    lay_out(&f, &counter, hp, n_ctx, n_threads);
    return counter.used;
}

yl_status forward_new(forward **out, const slice *s, kv_cache *cache, uint32_t n_ctx, const kernels *k, thread_pool *pool,
                      const allocator *alloc, yl_error *err)
{
    *out = NULL;
    assert(slice_is_loaded(s));
    const hparams *hp = slice_hparams(s);
    const slice_range *range = slice_range_of(s);
    uint64_t n_bytes = forward_scratch_bytes(hp, n_ctx, thread_pool_n_threads(pool));
    if (n_bytes > SIZE_MAX)
        return yl_fail(err, YL_ELIMIT, "scratch for %" PRIu32 " positions is larger than this machine can address. Ask for fewer",
                       n_ctx);
    forward *f = allocator_array(alloc, 1, (size_t)n_bytes);
    if (!f)
        return yl_fail(err, YL_ENOMEM, "no memory for %" PRIu64 " bytes of scratch. Ask for fewer positions than %" PRIu32, n_bytes,
                       n_ctx);
    cutter pieces = {(uint8_t *)f, 0};
    lay_out(f, &pieces, hp, n_ctx, thread_pool_n_threads(pool));
    f->slice = s;
    f->hp = hp;
    f->cache = cache;
    f->kernels = k;
    f->pool = pool;
    f->alloc = alloc;
    f->n_bytes = (size_t)n_bytes;
    f->attn_scale = (float)(1.0 / sqrt((double)hp->n_embd_head));
    if (range->layer_begin < range->layer_end) {
        yl_status status = rope_new(&f->rope, hp, slice_rope_factors(s), err);
        if (status) {
            forward_free(f);
            return status;
        }
    }
    *out = f;
    return YL_OK;
}

void forward_free(forward *f)
{
    if (!f) return;
    rope_free(f->rope);
    allocator_release_array(f->alloc, f, 1, f->n_bytes);
}

/* Infinity and NaN have all exponent bits set: adding one to the exponent carries into the sign, which nothing else does. */
static bool is_finite(const float *x, size_t n)
{
    uint32_t carry = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        carry |= (bits & 0x7f800000u) + 0x00800000u;
    }
    return carry >> 31 == 0;
}

/* In which forms matrices want their input: a set of these, or-ed. They are block sizes, F32's in the place of 0. */
enum { INPUT_F32 = 1, INPUT_Q8_32 = 32, INPUT_Q8_256 = 256 };

static unsigned input_of(const matrix *w)
{
    unsigned block = quant_traits_of(w->type)->act_block;
    return block ? block : INPUT_F32;
}

/* n rows of x, [n, n_cols], in one of the forms. */
static activations activations_of(const forward *f, const float *x, size_t n_cols, size_t n, unsigned block)
{
    const input_form *form = block == 0 ? &f->f32 : block == 32 ? &f->q8_32 : &f->q8_256;
    return (activations){.n_rows = (uint32_t)n,
                         .n_cols = (uint32_t)n_cols,
                         .block = block,
                         .x = x,
                         .q = form->q,
                         .d = form->d,
                         .panels = form->panels};
}

/* Brings rows [begin, end) of n into one of the forms. begin is a multiple of PANEL_ROWS, end too or n. */
static void prepare_form(const forward *f, const float *x, size_t n_cols, size_t n, size_t begin, size_t end, unsigned block)
{
    activations a = activations_of(f, x, n_cols, n, block);
    size_t at = begin * n_cols;
    if (block) f->kernels->quantize(a.q + at, a.d + at / block, x + at, (end - begin) * n_cols, block);
    if (f->kernels->wants_tiles) activations_pack(&a, begin, end);
}

static void prepare_input(const forward *f, const float *x, size_t n_cols, size_t n, size_t begin, size_t end, unsigned forms)
{
    if (forms & INPUT_F32) prepare_form(f, x, n_cols, n, begin, end, 0);
    if (forms & INPUT_Q8_32) prepare_form(f, x, n_cols, n, begin, end, 32);
    if (forms & INPUT_Q8_256) prepare_form(f, x, n_cols, n, begin, end, 256);
}

/* Elements [begin, end) of y = w x + bias for n rows. x: [n, n_cols], prepared for w; y: [n, n_rows]; bias: NULL for none. */
static void multiply(const forward *f, float *y, const matrix *w, const float *bias, const float *x, size_t n, size_t begin,
                     size_t end)
{
    activations a = activations_of(f, x, w->n_cols, n, quant_traits_of(w->type)->act_block);
    f->kernels->matmul(y, w->n_rows, w, &a, begin, end);
    for (size_t i = 0; bias && i < n; i++) f->kernels->add(y + i * w->n_rows + begin, bias + begin, end - begin);
}

static void step_attn_norm(void *arg, size_t begin, size_t end, uint32_t thread)
{
    const tile *t = arg;
    const forward *f = t->f;
    (void)thread;
    size_t n_embd = f->hp->n_embd;
    for (size_t i = begin; i < end; i++)
        f->kernels->rmsnorm(f->normed + i * n_embd, t->x + i * n_embd, t->w->attn_norm, n_embd, f->hp->rms_eps);
    unsigned forms = input_of(&t->w->attn_q) | input_of(&t->w->attn_k) | input_of(&t->w->attn_v);
    prepare_input(f, f->normed, n_embd, t->n, begin, end, forms);
}

/* One of several matrices that share an input and whose rows are numbered on, this one's from `first`: its part of [begin, end). */
static void multiply_part(const tile *t, float *y, const matrix *w, const float *bias, size_t first, size_t begin, size_t end)
{
    size_t from = begin > first ? begin - first : 0;
    size_t to = end < first ? 0 : end - first < w->n_rows ? end - first : w->n_rows;
    if (from < to) multiply(t->f, y, w, bias, t->f->normed, t->n, from, to);
}

static void step_qkv(void *arg, size_t begin, size_t end, uint32_t thread)
{
    const tile *t = arg;
    const forward *f = t->f;
    (void)thread;
    multiply_part(t, f->q, &t->w->attn_q, t->w->bias_q, 0, begin, end);
    multiply_part(t, f->k, &t->w->attn_k, t->w->bias_k, f->n_q, begin, end);
    multiply_part(t, f->v, &t->w->attn_v, t->w->bias_v, f->n_q + f->n_kv, begin, end);
}

/* Stores row i's keys and values. False: one of them is not finite in the cache's type. */
static bool store_row(const tile *t, size_t i)
{
    const forward *f = t->f;
    const hparams *hp = f->hp;
    const forward_row *row = &t->rows[i];
    uint32_t layer = t->layer - slice_range_of(f->slice)->layer_begin;
    uint8_t *page = kv_cache_page(f->cache, row->seq, row->pos);
    int bad = 0;
    for (uint32_t head = 0; head < hp->n_head_kv; head++) {
        kv_head place = kv_cache_head(f->cache, row->seq, layer, head);
        size_t at = i * f->n_kv + (size_t)head * hp->n_embd_head;
        bad |= f->kernels->kv_store(page, &place, row->pos % KV_PAGE_POSITIONS, f->k + at, f->v + at, hp->n_embd_head);
    }
    return !bad;
}

static void step_rope_and_store(void *arg, size_t begin, size_t end, uint32_t thread)
{
    const tile *t = arg;
    const forward *f = t->f;
    const hparams *hp = f->hp;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        float *q = f->q + i * f->n_q, *k = f->k + i * f->n_kv, *v = f->v + i * f->n_kv;
        const float *angles = f->angles + (size_t)t->rows[i].pos * hp->n_rot;
        f->kernels->rope(q, angles, hp->n_head, hp->n_embd_head, hp->n_rot);
        f->kernels->rope(k, angles, hp->n_head_kv, hp->n_embd_head, hp->n_rot);
        f->spoiled[i] = !store_row(t, i);
        if (!f->spoiled[i]) continue;
        memset(k, 0, f->n_kv * sizeof *k); /* all heads of the row, not only the bad one */
        memset(v, 0, f->n_kv * sizeof *v);
        store_row(t, i);
    }
}

static void step_attn_input(void *arg, size_t begin, size_t end, uint32_t thread)
{
    const tile *t = arg;
    (void)thread;
    prepare_input(t->f, t->f->attn, t->f->n_q, t->n, begin, end, input_of(&t->w->attn_output));
}

/* Elements [begin, end) of x = x + (w input + bias). */
static void multiply_into_residual(const tile *t, const matrix *w, const float *bias, const float *input, size_t begin, size_t end)
{
    const forward *f = t->f;
    multiply(f, f->delta, w, bias, input, t->n, begin, end);
    for (size_t i = 0; i < t->n; i++) {
        size_t at = i * f->hp->n_embd + begin;
        f->kernels->add(t->x + at, f->delta + at, end - begin);
    }
}

static void step_attn_output(void *arg, size_t begin, size_t end, uint32_t thread)
{
    const tile *t = arg;
    (void)thread;
    multiply_into_residual(t, &t->w->attn_output, t->w->bias_output, t->f->attn, begin, end);
}

static void step_ffn_norm(void *arg, size_t begin, size_t end, uint32_t thread)
{
    const tile *t = arg;
    const forward *f = t->f;
    (void)thread;
    size_t n_embd = f->hp->n_embd;
    for (size_t i = begin; i < end; i++)
        f->kernels->rmsnorm(f->normed + i * n_embd, t->x + i * n_embd, t->w->ffn_norm, n_embd, f->hp->rms_eps);
    prepare_input(f, f->normed, n_embd, t->n, begin, end, input_of(&t->w->ffn_gate) | input_of(&t->w->ffn_up));
}

static void step_gate_up_swiglu(void *arg, size_t begin, size_t end, uint32_t thread)
{
    const tile *t = arg;
    const forward *f = t->f;
    (void)thread;
    multiply(f, f->gate, &t->w->ffn_gate, t->w->bias_gate, f->normed, t->n, begin, end);
    multiply(f, f->up, &t->w->ffn_up, t->w->bias_up, f->normed, t->n, begin, end);
    for (size_t i = 0; i < t->n; i++) {
        size_t at = i * f->hp->n_ff + begin;
        f->kernels->swiglu(f->gate + at, f->up + at, end - begin);
    }
}

static void step_ffn_input(void *arg, size_t begin, size_t end, uint32_t thread)
{
    const tile *t = arg;
    (void)thread;
    prepare_input(t->f, t->f->gate, t->f->hp->n_ff, t->n, begin, end, input_of(&t->w->ffn_down));
}

static void step_ffn_down(void *arg, size_t begin, size_t end, uint32_t thread)
{
    const tile *t = arg;
    (void)thread;
    multiply_into_residual(t, &t->w->ffn_down, t->w->bias_down, t->f->gate, begin, end);
}

/* Rows that are not whole, or were not when they came, leave as zeros. */
static void step_finish(void *arg, size_t begin, size_t end, uint32_t thread)
{
    const tile *t = arg;
    const forward *f = t->f;
    (void)thread;
    size_t n_embd = f->hp->n_embd;
    for (size_t i = begin; i < end; i++) {
        float *x = t->x + i * n_embd;
        if (!f->spoiled[i] && t->faults[i] < 0 && is_finite(x, n_embd)) continue;
        memset(x, 0, n_embd * sizeof *x);
        if (t->faults[i] < 0) t->faults[i] = (int32_t)t->layer;
    }
}

static void over_rows(tile *t, thread_pool_fn *step)
{
    if (t->n == 1)
        step(t, 0, 1, 0);
    else
        thread_pool_run(t->f->pool, t->n, 1, step, t);
}

/* Steps that end with an input of matmuls: rows of a panel stay together. */
static void over_panels(tile *t, thread_pool_fn *step)
{
    thread_pool_run(t->f->pool, t->n, PANEL_ROWS, step, t);
}

static void over_weight_rows(tile *t, size_t n, thread_pool_fn *step)
{
    thread_pool_run(t->f->pool, n, WEIGHT_ROWS_GRAIN, step, t);
}

/* Computes the angles of positions that were not met before. Not a step: rows of different sequences may share a position. */
static void fill_angles(const tile *t)
{
    forward *f = t->f;
    for (size_t i = 0; i < t->n; i++) {
        uint32_t pos = t->rows[i].pos;
        assert(pos < f->n_ctx);
        if (f->has_angles[pos]) continue;
        rope_angles(f->rope, pos, f->angles + (size_t)pos * f->hp->n_rot);
        f->has_angles[pos] = 1;
    }
}

static void run_tile(tile *t)
{
    const forward *f = t->f;
    const hparams *hp = f->hp;
    fill_angles(t);

    over_panels(t, step_attn_norm);
    over_weight_rows(t, f->n_q + 2 * f->n_kv, step_qkv);
    over_rows(t, step_rope_and_store);
    forward_attention(t);
    over_panels(t, step_attn_input);
    over_weight_rows(t, hp->n_embd, step_attn_output);

    over_panels(t, step_ffn_norm);
    over_weight_rows(t, hp->n_ff, step_gate_up_swiglu);
    over_panels(t, step_ffn_input);
    over_weight_rows(t, hp->n_embd, step_ffn_down);

    over_rows(t, step_finish);
}

void forward_layer(forward *f, uint32_t layer, float *x, const forward_row *rows, int32_t *faults, uint32_t n)
{
    const layer_weights *w = slice_layer(f->slice, layer);
    for (uint32_t begin = 0; begin < n; begin += FORWARD_TILE_ROWS) {
        uint32_t rest = n - begin;
        tile t = {.f = f,
                  .w = w,
                  .layer = layer,
                  .n = rest < FORWARD_TILE_ROWS ? rest : FORWARD_TILE_ROWS,
                  .x = x + (size_t)begin * f->hp->n_embd,
                  .rows = rows + begin,
                  .faults = faults + begin};
        run_tile(&t);
    }
}

void forward_embed(forward *f, float *x, const int32_t *tokens, uint32_t n)
{
    const matrix *w = slice_token_embd(f->slice);
    for (uint32_t i = 0; i < n; i++) {
        assert(tokens[i] >= 0 && (uint32_t)tokens[i] < w->n_rows);
        size_t token = (size_t)tokens[i];
        float *row = x + (size_t)i * w->n_cols;
        if (w->layout == MATRIX_TILES)
            tile_dequantize_row(w->type, w->data, token, row, w->n_cols);
        else
            quant_dequantize_row(w->type, w->data + token * w->row_bytes, row, w->n_cols);
    }
}

void forward_norm(forward *f, float *y, const float *x, uint32_t n)
{
    size_t n_embd = f->hp->n_embd;
    for (size_t i = 0; i < n; i++)
        f->kernels->rmsnorm(y + i * n_embd, x + i * n_embd, slice_output_norm(f->slice), n_embd, f->hp->rms_eps);
}

/* What the threads are handed for the output matrix. */
typedef struct head_job {
    const forward *f;
    float *logits;  /* [n, n_vocab] */
    const float *h; /* [n, n_embd] */
    size_t n;
} head_job;

static void step_output(void *arg, size_t begin, size_t end, uint32_t thread)
{
    const head_job *job = arg;
    (void)thread;
    multiply(job->f, job->logits, slice_output(job->f->slice), NULL, job->h, job->n, begin, end);
}

void forward_logits(forward *f, float *logits, const float *h, int32_t *faults, uint32_t n)
{
    assert(n <= FORWARD_TILE_ROWS);
    const matrix *w = slice_output(f->slice);
    prepare_input(f, h, w->n_cols, n, 0, n, input_of(w));
    head_job job = {f, logits, h, n};
    thread_pool_run(f->pool, w->n_rows, WEIGHT_ROWS_GRAIN, step_output, &job);
    for (size_t i = 0; i < n; i++) {
        float *row = logits + i * w->n_rows;
        if (faults[i] < 0 && is_finite(row, w->n_rows)) continue;
        memset(row, 0, w->n_rows * sizeof *row);
        if (faults[i] < 0) faults[i] = (int32_t)f->hp->n_layer;
    }
}
