/* panel.c: rows of quantized activations to panels. A few percent of a batch's time at most: plain C. */
#include "panel.h"

#include <assert.h>
#include <string.h>

#include "kernels.h"

static int sum_of(const int8_t *q, size_t n)
{
    int sum = 0;
    for (size_t i = 0; i < n; i++) sum += q[i];
    return sum;
}

/* Four bytes of a row, `width` rows apart. */
static void spread(uint8_t *out, size_t width, const int8_t *q, size_t n)
{
    for (size_t i = 0; i < n / 4; i++) memcpy(out + i * width * 4, q + i * 4, 4);
}

/* One block of one row to its lane of a panel. */
static void put_block_32(uint8_t *block, size_t width, size_t lane, const int8_t *q, float d)
{
    int32_t sum = sum_of(q, 32);
    memcpy(block + lane * 4, &d, sizeof d);
    memcpy(block + PANEL_32_SUM * width + lane * 4, &sum, sizeof sum);
    spread(block + PANEL_32_Q * width + lane * 4, width, q, 32);
}

static void put_block_256(uint8_t *block, size_t width, size_t lane, const int8_t *q, float d)
{
    int16_t sum16[16], sum32[8];
    for (int i = 0; i < 16; i++) sum16[i] = (int16_t)sum_of(q + 16 * i, 16);
    for (int i = 0; i < 8; i++) sum32[i] = (int16_t)(sum16[2 * i] + sum16[2 * i + 1]);
    memcpy(block + lane * 4, &d, sizeof d);
    for (int p = 0; p < 8; p++) {
        int16_t pair[2] = {sum16[p / 2 * 4 + p % 2], sum16[p / 2 * 4 + p % 2 + 2]};
        memcpy(block + PANEL_256_SUM16 * width + (p * width + lane) * 4, pair, sizeof pair);
    }
    for (int p = 0; p < 4; p++) {
        int16_t pair[2] = {sum32[p / 2 * 4 + p % 2], sum32[p / 2 * 4 + p % 2 + 2]};
        memcpy(block + PANEL_256_SUM32 * width + (p * width + lane) * 4, pair, sizeof pair);
    }
    spread(block + PANEL_256_Q * width + lane * 4, width, q, 256);
}

static void put_row(uint8_t *panel, size_t width, size_t lane, const activations *a, size_t row)
{
    size_t n_cols = a->n_cols;
    if (a->block == 0) {
        for (size_t k = 0; k < n_cols; k++) memcpy(panel + (k * width + lane) * 4, &a->x[row * n_cols + k], 4);
        return;
    }
    const int8_t *q = a->q + row * n_cols;
    const float *d = a->d + row * (n_cols / a->block);
    for (size_t b = 0; b < n_cols / a->block; b++, q += a->block) {
        if (a->block == 32)
            put_block_32(panel + b * width * PANEL_32_BYTES, width, lane, q, d[b]);
        else
            put_block_256(panel + b * width * PANEL_256_BYTES, width, lane, q, d[b]);
    }
}

void activations_pack(const activations *a, size_t row_begin, size_t row_end)
{
    assert(row_begin % PANEL_ROWS == 0 && (row_end % PANEL_ROWS == 0 || row_end == a->n_rows));
    size_t row_bytes = panel_row_bytes(a->n_cols, a->block);
    for (size_t row = row_begin; row < row_end; row += PANEL_ROWS) {
        uint8_t *panel = a->panels + row * row_bytes;
        size_t n = row_end - row < PANEL_ROWS ? row_end - row : PANEL_ROWS;
        size_t width = panel_width(n);
        if (n < width || a->n_cols % 64 != 0) memset(panel, 0, width * row_bytes); /* missing rows and columns */
        for (size_t i = 0; i < n; i++) put_row(panel, width, i, a, row + i);
    }
}
