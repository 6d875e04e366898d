/* scalar_matmul.c: dot products of weight rows and activation rows, every format (NUMERICS.md, N3 to N8).
 *
 * Quantized formats: a block of weights is unpacked once into integers, with the sub-blocks' scales multiplied in (at most 4,064 in
 * magnitude, so 16 bits hold them; sums of integers are exact, so their order is free), then used for each activation row. All of
 * them come down to two shapes:
 *     acc += (d * d_x) * isum                                 Q8_0, Q4_0, Q5_0, IQ4_NL (N3, N4), Q3_K, Q6_K, IQ4_XS (N6)
 *     acc += d_x * (d * isum - min * msum)                    Q2_K, Q4_K, Q5_K (N5); Q4_1, Q5_1 (N7) with min = -m
 * where isum is the sum of w * q and msum that of m * q.
 * Weights in tiles are taken out of them block by block: the plain definition of that layout too, and only that.
 * F32, F16, BF16 are summed in the order of k, one accumulator a row; to keep the adders busy, 16 rows go side by side. */
#include <assert.h>
#include <string.h>

#include "scalar.h"
#include "tile.h"

/* Rows of activations that share one unpacking; more are done in several turns. */
enum { MAX_X_ROWS = 64 };

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* One block of weights, as integers that multiply the activations' integers. */
typedef struct unpacked {
    float d, min;
    int16_t w[QK_K]; /* weight, times its sub-block's scale */
    int16_t m[QK_K]; /* sub-block's minimum; only in formats that have one */
} unpacked;

/* The 16 low nibbles of qs, then the 16 high ones, each less `zero`. */
static void unpack_nibbles(int16_t w[QK], const uint8_t qs[QK / 2], int zero)
{
    for (int i = 0; i < QK / 2; i++) {
        w[i] = (int16_t)((qs[i] & 15) - zero);
        w[i + QK / 2] = (int16_t)((qs[i] >> 4) - zero);
    }
}

/* The same with a fifth bit from qh. */
static void unpack_quints(int16_t w[QK], const uint8_t qs[QK / 2], const uint8_t qh[4], int zero)
{
    uint32_t high;
    memcpy(&high, qh, sizeof high);
    for (int i = 0; i < QK / 2; i++) {
        w[i] = (int16_t)((qs[i] & 15) + (int)(high >> i & 1) * 16 - zero);
        w[i + QK / 2] = (int16_t)((qs[i] >> 4) + (int)(high >> (i + QK / 2) & 1) * 16 - zero);
    }
}

static void unpack_iq4(int16_t w[QK], const uint8_t qs[QK / 2], int scale)
{
    for (int i = 0; i < QK / 2; i++) {
        w[i] = (int16_t)(scale * quant_iq4_values[qs[i] & 15]);
        w[i + QK / 2] = (int16_t)(scale * quant_iq4_values[qs[i] >> 4]);
    }
}

static void unpack_q8_0(unpacked *u, const uint8_t *block)
{
    const block_q8_0 *b = (const block_q8_0 *)block;
    u->d = quant_f16_to_f32(b->d);
    for (int i = 0; i < QK; i++) u->w[i] = b->qs[i];
}

static void unpack_q4_0(unpacked *u, const uint8_t *block)
{
    const block_q4_0 *b = (const block_q4_0 *)block;
    u->d = quant_f16_to_f32(b->d);
    unpack_nibbles(u->w, b->qs, 8);
}

static void unpack_q5_0(unpacked *u, const uint8_t *block)
{
    const block_q5_0 *b = (const block_q5_0 *)block;
    u->d = quant_f16_to_f32(b->d);
    unpack_quints(u->w, b->qs, b->qh, 16);
}

static void unpack_iq4_nl(unpacked *u, const uint8_t *block)
{
    const block_iq4_nl *b = (const block_iq4_nl *)block;
    u->d = quant_f16_to_f32(b->d);
    unpack_iq4(u->w, b->qs, 1);
}

static void unpack_q4_1(unpacked *u, const uint8_t *block)
{
    const block_q4_1 *b = (const block_q4_1 *)block;
    u->d = quant_f16_to_f32(b->d);
    u->min = -quant_f16_to_f32(b->m); /* a - (-b) is a + b to the bit */
    unpack_nibbles(u->w, b->qs, 0);
    for (int i = 0; i < QK; i++) u->m[i] = 1;
}

static void unpack_q5_1(unpacked *u, const uint8_t *block)
{
    const block_q5_1 *b = (const block_q5_1 *)block;
    u->d = quant_f16_to_f32(b->d);
    u->min = -quant_f16_to_f32(b->m);
    unpack_quints(u->w, b->qs, b->qh, 0);
    for (int i = 0; i < QK; i++) u->m[i] = 1;
}

/* Multiplies `n` weights of sub-block s by its scale. */
static void scale_sub_block(int16_t *w, int n, int scale)
{
    for (int i = 0; i < n; i++) w[i] = (int16_t)(w[i] * scale);
}

static void fill_sub_block(int16_t *m, int n, int min)
{
    for (int i = 0; i < n; i++) m[i] = (int16_t)min;
}

/* Q2_K and Q3_K: weight 128h + 32j + l is the two bits 2j of qs[32h + l]. */
static void unpack_two_bits(int16_t w[QK_K], const uint8_t qs[QK_K / 4])
{
    for (int h = 0; h < 2; h++) {
        for (int j = 0; j < 4; j++) {
            for (int l = 0; l < 32; l++) w[128 * h + 32 * j + l] = qs[32 * h + l] >> (2 * j) & 3;
        }
    }
}

static void unpack_q2_K(unpacked *u, const uint8_t *block)
{
    const block_q2_K *b = (const block_q2_K *)block;
    u->d = quant_f16_to_f32(b->d);
    u->min = quant_f16_to_f32(b->dmin);
    unpack_two_bits(u->w, b->qs);
    for (int s = 0; s < 16; s++) {
        scale_sub_block(u->w + 16 * s, 16, b->scales[s] & 15);
        fill_sub_block(u->m + 16 * s, 16, b->scales[s] >> 4);
    }
}

static void unpack_q3_K(unpacked *u, const uint8_t *block)
{
    const block_q3_K *b = (const block_q3_K *)block;
    u->d = quant_f16_to_f32(b->d);
    unpack_two_bits(u->w, b->qs);
    for (int s = 0; s < 8; s++) {
        for (int l = 0; l < 32; l++) u->w[32 * s + l] = (int16_t)(u->w[32 * s + l] + (b->hmask[l] >> s & 1) * 4 - 4);
    }
    for (unsigned s = 0; s < 16; s++) scale_sub_block(u->w + 16 * s, 16, quant_q3_k_scale(b->scales, s));
}

/* Q4_K and Q5_K: weight 64j + l is the low nibble of qs[32j + l], weight 64j + 32 + l its high nibble. */
static void unpack_k_nibbles(int16_t w[QK_K], const uint8_t qs[QK_K / 2])
{
    for (int j = 0; j < 4; j++) {
        for (int l = 0; l < 32; l++) {
            w[64 * j + l] = qs[32 * j + l] & 15;
            w[64 * j + 32 + l] = qs[32 * j + l] >> 4;
        }
    }
}

static void apply_k4_scales(unpacked *u, const uint8_t scales[QK_K_SCALES])
{
    for (unsigned s = 0; s < 8; s++) {
        scale_sub_block(u->w + 32 * s, 32, quant_k4_scale(scales, s));
        fill_sub_block(u->m + 32 * s, 32, quant_k4_min(scales, s));
    }
}

static void unpack_q4_K(unpacked *u, const uint8_t *block)
{
    const block_q4_K *b = (const block_q4_K *)block;
    u->d = quant_f16_to_f32(b->d);
    u->min = quant_f16_to_f32(b->dmin);
    unpack_k_nibbles(u->w, b->qs);
    apply_k4_scales(u, b->scales);
}

static void unpack_q5_K(unpacked *u, const uint8_t *block)
{
    const block_q5_K *b = (const block_q5_K *)block;
    u->d = quant_f16_to_f32(b->d);
    u->min = quant_f16_to_f32(b->dmin);
    unpack_k_nibbles(u->w, b->qs);
    for (int s = 0; s < 8; s++) {
        for (int l = 0; l < 32; l++) u->w[32 * s + l] = (int16_t)(u->w[32 * s + l] + (b->qh[l] >> s & 1) * 16);
    }
    apply_k4_scales(u, b->scales);
}

static void unpack_q6_K(unpacked *u, const uint8_t *block)
{
    const block_q6_K *b = (const block_q6_K *)block;
    u->d = quant_f16_to_f32(b->d);
    for (int h = 0; h < 2; h++) {
        int16_t *w = u->w + 128 * h;
        const uint8_t *ql = b->ql + 64 * h, *qh = b->qh + 32 * h;
        for (int l = 0; l < 32; l++) {
            w[l] = (int16_t)(((ql[l] & 15) | (qh[l] & 3) << 4) - 32);
            w[32 + l] = (int16_t)(((ql[32 + l] & 15) | (qh[l] >> 2 & 3) << 4) - 32);
            w[64 + l] = (int16_t)((ql[l] >> 4 | (qh[l] >> 4 & 3) << 4) - 32);
            w[96 + l] = (int16_t)((ql[32 + l] >> 4 | (qh[l] >> 6) << 4) - 32);
        }
    }
    for (int s = 0; s < 16; s++) scale_sub_block(u->w + 16 * s, 16, b->scales[s]);
}

static void unpack_iq4_xs(unpacked *u, const uint8_t *block)
{
    const block_iq4_xs *b = (const block_iq4_xs *)block;
    u->d = quant_f16_to_f32(b->d);
    for (unsigned s = 0; s < 8; s++) unpack_iq4(u->w + 32 * s, b->qs + 16 * s, quant_iq4_xs_scale(b, s));
}

/* Sum of w * q, exact: at most 256 * 4064 * 127. */
static int32_t dot(const int16_t *w, const int8_t *q, size_t n)
{
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += w[i] * (int16_t)q[i];
    return sum;
}

/* One weight row times the rows [x_begin, x_begin + n) of x; result i goes to y[i * y_stride]. n <= MAX_X_ROWS. */
typedef struct row_task {
    float *y;
    size_t y_stride;
    const matrix *w;
    size_t row;
    const activations *x;
    size_t x_begin, n;
} row_task;

/* Block b of the task's row, where it lies or, out of a tile, copied to `copy`. */
static const uint8_t *find_block(const row_task *t, size_t b, size_t block_bytes, uint8_t copy[sizeof(block_q6_K)])
{
    const matrix *w = t->w;
    if (w->layout == MATRIX_ROWS) return w->data + t->row * w->row_bytes + b * block_bytes;
    const uint8_t *tile = w->data + t->row / TILE_ROWS * tile_bytes(w->type, w->n_cols);
    tile_get_block(copy, w->type, tile, t->row % TILE_ROWS, b);
    return copy;
}

typedef void unpack_block(unpacked *u, const uint8_t *block);

/* What is constant for a format comes as arguments, and a copy is compiled for each: loops of fixed length are up to four times as
 * fast. */
static inline __attribute__((always_inline)) void row_times(const row_task *t, size_t block_elems, size_t block_bytes,
                                                            unpack_block *unpack, int has_min)
{
    size_t n_cols = t->x->n_cols, n_blocks = n_cols / block_elems;
    float acc[MAX_X_ROWS] = {0};
    unpacked u;
    uint8_t copy[sizeof(block_q6_K)];
    for (size_t b = 0; b < n_blocks; b++) {
        unpack(&u, find_block(t, b, block_bytes, copy));
        const int8_t *q = t->x->q + t->x_begin * n_cols + b * block_elems;
        const float *d = t->x->d + t->x_begin * n_blocks + b;
        for (size_t i = 0; i < t->n; i++, q += n_cols, d += n_blocks) {
            float isum = (float)dot(u.w, q, block_elems);
            if (has_min) {
                float msum = (float)dot(u.m, q, block_elems);
                acc[i] = acc[i] + *d * (u.d * isum - u.min * msum);
            } else {
                acc[i] = acc[i] + (u.d * *d) * isum;
            }
        }
    }
    for (size_t i = 0; i < t->n; i++) t->y[i * t->y_stride] = acc[i];
}

static void q4_0_times(const row_task *t)
{
    row_times(t, QK, sizeof(block_q4_0), unpack_q4_0, 0);
}

static void q4_1_times(const row_task *t)
{
    row_times(t, QK, sizeof(block_q4_1), unpack_q4_1, 1);
}

static void q5_0_times(const row_task *t)
{
    row_times(t, QK, sizeof(block_q5_0), unpack_q5_0, 0);
}

static void q5_1_times(const row_task *t)
{
    row_times(t, QK, sizeof(block_q5_1), unpack_q5_1, 1);
}

static void q8_0_times(const row_task *t)
{
    row_times(t, QK, sizeof(block_q8_0), unpack_q8_0, 0);
}

static void iq4_nl_times(const row_task *t)
{
    row_times(t, QK, sizeof(block_iq4_nl), unpack_iq4_nl, 0);
}

static void q2_K_times(const row_task *t)
{
    row_times(t, QK_K, sizeof(block_q2_K), unpack_q2_K, 1);
}

static void q3_K_times(const row_task *t)
{
    row_times(t, QK_K, sizeof(block_q3_K), unpack_q3_K, 0);
}

static void q4_K_times(const row_task *t)
{
    row_times(t, QK_K, sizeof(block_q4_K), unpack_q4_K, 1);
}

static void q5_K_times(const row_task *t)
{
    row_times(t, QK_K, sizeof(block_q5_K), unpack_q5_K, 1);
}

static void q6_K_times(const row_task *t)
{
    row_times(t, QK_K, sizeof(block_q6_K), unpack_q6_K, 0);
}

static void iq4_xs_times(const row_task *t)
{
    row_times(t, QK_K, sizeof(block_iq4_xs), unpack_iq4_xs, 0);
}

typedef void times_row(const row_task *t);

/* NULL: F32, F16, BF16. */
static times_row *const times[QUANT_TYPE_END] = {
    [QUANT_Q4_0] = q4_0_times, [QUANT_Q4_1] = q4_1_times,     [QUANT_Q5_0] = q5_0_times, [QUANT_Q5_1] = q5_1_times,
    [QUANT_Q8_0] = q8_0_times, [QUANT_IQ4_NL] = iq4_nl_times, [QUANT_Q2_K] = q2_K_times, [QUANT_Q3_K] = q3_K_times,
    [QUANT_Q4_K] = q4_K_times, [QUANT_Q5_K] = q5_K_times,     [QUANT_Q6_K] = q6_K_times, [QUANT_IQ4_XS] = iq4_xs_times,
};

/* F32, F16, BF16: 16 weight rows side by side, TILE_COLS columns at a time. A lane is a row; compilers make what they can of this
 * type, down to plain floats. */
typedef float lanes __attribute__((vector_size(16)));
enum { LANES = 4, TILE_COLS = 64 };

/* Columns [col_begin, col_begin + n_cols) of one row as f32. n_cols <= TILE_COLS. */
static void load_line(float *line, const matrix *w, size_t row, size_t col_begin, size_t n_cols)
{
    size_t elem_bytes = quant_traits_of(w->type)->block_bytes;
    if (w->layout == MATRIX_ROWS) {
        quant_dequantize_row(w->type, w->data + row * w->row_bytes + col_begin * elem_bytes, line, n_cols);
        return;
    }
    const uint8_t *tile = w->data + row / TILE_ROWS * tile_bytes(w->type, w->n_cols);
    uint8_t elems[TILE_COLS * sizeof(float)];
    for (size_t k = 0; k < n_cols; k++) tile_get_block(elems + k * elem_bytes, w->type, tile, row % TILE_ROWS, col_begin + k);
    quant_dequantize_row(w->type, elems, line, n_cols);
}

/* tile[k]: the weights of column k of the chunk, with zeros for rows beyond n_rows. */
static void load_tile(lanes tile[TILE_COLS][TILE_ROWS / LANES], const matrix *w, size_t row_begin, size_t n_rows, size_t col_begin,
                      size_t n_cols)
{
    float line[TILE_COLS];
    memset(tile, 0, sizeof(lanes[TILE_COLS][TILE_ROWS / LANES]));
    for (size_t r = 0; r < n_rows; r++) {
        load_line(line, w, row_begin + r, col_begin, n_cols);
        for (size_t k = 0; k < n_cols; k++) tile[k][r / LANES][r % LANES] = line[k];
    }
}

/* acc += weight * x in the order of k. */
static void add_tile(lanes acc[TILE_ROWS / LANES], const lanes tile[TILE_COLS][TILE_ROWS / LANES], const float *x, size_t n_cols)
{
    lanes a0 = acc[0], a1 = acc[1], a2 = acc[2], a3 = acc[3];
    for (size_t k = 0; k < n_cols; k++) {
        a0 = a0 + tile[k][0] * x[k];
        a1 = a1 + tile[k][1] * x[k];
        a2 = a2 + tile[k][2] * x[k];
        a3 = a3 + tile[k][3] * x[k];
    }
    acc[0] = a0, acc[1] = a1, acc[2] = a2, acc[3] = a3;
}

/* Rows [row_begin, row_begin + n_rows) of w, at most TILE_ROWS, times the rows [x_begin, x_begin + n) of x, at most MAX_X_ROWS. y:
 * as in kernels.matmul. */
static void tile_times(float *y, size_t y_stride, const matrix *w, const activations *x, size_t row_begin, size_t n_rows,
                       size_t x_begin, size_t n)
{
    lanes acc[MAX_X_ROWS][TILE_ROWS / LANES];
    memset(acc, 0, n * sizeof acc[0]);
    for (size_t k = 0; k < w->n_cols; k += TILE_COLS) {
        lanes tile[TILE_COLS][TILE_ROWS / LANES];
        size_t n_cols = min_size(w->n_cols - k, TILE_COLS);
        load_tile(tile, w, row_begin, n_rows, k, n_cols);
        for (size_t i = 0; i < n; i++) add_tile(acc[i], tile, x->x + (x_begin + i) * x->n_cols + k, n_cols);
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t r = 0; r < n_rows; r++) y[(x_begin + i) * y_stride + row_begin + r] = acc[i][r / LANES][r % LANES];
    }
}

void scalar_matmul(float *y, size_t y_stride, const matrix *w, const activations *x, size_t row_begin, size_t row_end)
{
    assert(w->n_cols == x->n_cols && row_end <= w->n_rows && x->block == quant_traits_of(w->type)->act_block);
    times_row *quantized = times[w->type];
    for (size_t i = 0; i < x->n_rows; i += MAX_X_ROWS) {
        size_t n = min_size(x->n_rows - i, MAX_X_ROWS);
        if (quantized) {
            for (size_t r = row_begin; r < row_end; r++) {
                quantized(&(row_task){y + i * y_stride + r, y_stride, w, r, x, i, n});
            }
        } else {
            for (size_t r = row_begin; r < row_end; r += TILE_ROWS) {
                tile_times(y, y_stride, w, x, r, min_size(row_end - r, TILE_ROWS), i, n);
            }
        }
    }
}
