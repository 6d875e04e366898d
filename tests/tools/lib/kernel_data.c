/* kernel_data.c: random numbers, blocks of every format, matrices in both layouts. */
#include "kernel_data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "panel.h"
#include "tile.h"

static uint64_t random_state = SEED;

uint32_t random_bits(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 32);
}

float random_float(void)
{
    return (float)((int32_t)random_bits() >> 8) * 0x1p-23f;
}

void random_floats(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] = random_float();
}

float odd_float(data_kind kind)
{
    static const float edges[] = {0.0f,      -0.0f,     0x1p-149f, -0x1p-149f, 0x1p-126f, 1.0f,      -1.0f,    87.0f,
                                  -87.0f,    -87.1f,    88.0f,     88.1f,      65504.0f,  65519.0f,  0x1p-24f, 0x1p-25f,
                                  0x1p-100f, 0x1p-101f, 0x1p63f,   3.4e38f,    INFINITY,  -INFINITY, NAN};
    enum { N_EDGES = sizeof edges / sizeof edges[0] };
    uint32_t bits = random_bits();
    float f;
    switch (random_bits() % 8) {
    case 0: memcpy(&f, &bits, sizeof f); break;
    case 1:
        bits &= 0x807fffff;
        memcpy(&f, &bits, sizeof f);
        break;
    case 2: f = edges[bits % N_EDGES]; break;
    default: f = random_float() * 10; break;
    }
    return kind == ANY || isfinite(f) ? f : 0.5f;
}

const quant_type all_types[N_TYPES] = {QUANT_F32,  QUANT_F16,  QUANT_BF16, QUANT_Q4_0,   QUANT_Q4_1,
                                       QUANT_Q5_0, QUANT_Q5_1, QUANT_Q8_0, QUANT_Q2_K,   QUANT_Q3_K,
                                       QUANT_Q4_K, QUANT_Q5_K, QUANT_Q6_K, QUANT_IQ4_NL, QUANT_IQ4_XS};

static void *new_bytes(size_t n)
{
    void *p = malloc(n);
    if (!p) abort();
    return p;
}

/* n bytes at a multiple of 64, freed with free. */
static uint8_t *new_aligned(size_t n)
{
    void *p = NULL;
    if (posix_memalign(&p, TILE_ALIGNMENT, n)) abort();
    return memset(p, 0xa5, n);
}

/* f16 scales: ordinary ones, and now and then zero, a subnormal, the largest. */
static uint16_t random_scale(void)
{
    static const uint16_t special[] = {0x0000, 0x8000, 0x0001, 0x83ff, 0x7bff, 0xfbff};
    if (random_bits() % 16 == 0) return special[random_bits() % 6];
    return quant_f32_to_f16(random_float() * 0.01f);
}

/* Where the f16 scales of a block are: byte offsets; the second is the first's twin where there is but one. */
static void scale_offsets(quant_type type, size_t offset[2])
{
    offset[0] = offset[1] = 0;
    switch (type) {
    case QUANT_Q4_1:
    case QUANT_Q5_1:
    case QUANT_Q4_K:
    case QUANT_Q5_K: offset[1] = 2; break;
    case QUANT_Q2_K: offset[0] = 80, offset[1] = 82; break;
    case QUANT_Q3_K: offset[0] = offset[1] = 108; break;
    case QUANT_Q6_K: offset[0] = offset[1] = 208; break;
    default: break;
    }
}

static void fill_block(quant_type type, uint8_t *block, fill how)
{
    const quant_traits *t = quant_traits_of(type);
    if (t->act_block == 0) {
        uint32_t bits = random_bits();
        float f = random_float();
        if (type == QUANT_F16) {
            if ((bits & 0x7c00) == 0x7c00) bits ^= 0x4000; /* finite */
            if (random_bits() % 8) bits = quant_f32_to_f16(f);
        }
        if (type == QUANT_F32) memcpy(&bits, &f, sizeof bits);
        if (type == QUANT_BF16) bits = (bits & 0x8fff) | 0x3000;
        memcpy(block, &bits, t->block_bytes);
        return;
    }
    for (size_t i = 0; i < t->block_bytes; i++)
        block[i] = how == FILL_RANDOM ? (uint8_t)random_bits() : how == FILL_ONES ? 0xff : 0;
    size_t offset[2];
    scale_offsets(type, offset);
    for (int i = 0; i < 2; i++) {
        uint16_t scale = how == FILL_RANDOM ? random_scale() : 0x3c00;
        memcpy(block + offset[i], &scale, sizeof scale);
    }
}

static void fill_weights(problem *p, fill how)
{
    const quant_traits *t = quant_traits_of(p->w.type);
    for (size_t at = 0; at < p->w_bytes; at += t->block_bytes) fill_block(p->w.type, p->w_memory + 1 + at, how);
}

static void fill_activations(problem *p, fill how)
{
    activations *x = &p->x;
    for (size_t i = 0; i < (size_t)x->n_rows * x->n_cols; i++) {
        float f = random_float();
        if (random_bits() % 32 == 0) f *= 100;
        p->x_memory[i] = how == FILL_RANDOM ? f : i % 3 ? 1.0f : -1.0f;
        if (x->block) x->q[i] = how == FILL_RANDOM ? (int8_t)((int)(random_bits() % 255) - 127) : how == FILL_ONES ? 127 : -127;
    }
    if (!x->block) return;
    for (size_t i = 0; i < (size_t)x->n_rows * x->n_cols / x->block; i++) {
        x->d[i] = how == FILL_RANDOM ? (random_bits() % 64 ? fabsf(random_float()) : 0) : 1.0f;
    }
}

/* The matrix once more, in tiles, and the activations in panels. */
static void make_tiles(problem *p)
{
    uint64_t n_bytes;
    if (!tile_matrix_bytes(p->w.type, p->w.n_rows, p->w.n_cols, &n_bytes)) abort();
    uint8_t *tiles = new_aligned((size_t)n_bytes);
    size_t one = tile_bytes(p->w.type, p->w.n_cols);
    for (size_t r = 0; r < p->w.n_rows; r += TILE_ROWS) {
        size_t n = p->w.n_rows - r < TILE_ROWS ? p->w.n_rows - r : TILE_ROWS;
        tile_pack(tiles + r / TILE_ROWS * one, p->w.type, p->w.data + r * p->w.row_bytes, n, p->w.n_cols);
    }
    p->tiled = p->w;
    p->tiled.data = tiles;
    p->tiled.layout = MATRIX_TILES;
    p->tiled_bytes = (size_t)n_bytes;
    p->panel_bytes = panel_set_bytes(p->x.n_rows, p->x.n_cols, p->x.block);
    p->x.panels = new_bytes(p->panel_bytes);
    memset(p->x.panels, 0xa5, p->panel_bytes);
    activations_pack(&p->x, 0, p->x.n_rows);
}

problem problem_new(quant_type type, size_t n_rows, size_t n_cols, size_t n_x, fill how)
{
    const quant_traits *t = quant_traits_of(type);
    problem p = {0};
    size_t row_bytes = n_cols / t->block_elems * t->block_bytes;
    p.w_bytes = n_rows * row_bytes;
    p.w_memory = new_bytes(p.w_bytes + 1);
    p.w = (matrix){type, (uint32_t)n_rows, (uint32_t)n_cols, row_bytes, p.w_memory + 1, MATRIX_ROWS};
    fill_weights(&p, how);
    p.x_memory = new_bytes(n_x * n_cols * sizeof(float));
    p.x = (activations){(uint32_t)n_x, (uint32_t)n_cols, t->act_block, p.x_memory, NULL, NULL, NULL};
    if (t->act_block) {
        p.x.q = new_bytes(n_x * n_cols);
        p.x.d = new_bytes(n_x * n_cols / t->act_block * sizeof(float));
    }
    fill_activations(&p, how);
    make_tiles(&p);
    return p;
}

void problem_free(problem *p)
{
    free(p->w_memory);
    free((void *)(uintptr_t)p->tiled.data);
    free(p->x.panels);
    free(p->x_memory);
    free(p->x.q);
    free(p->x.d);
    free(p->expected);
}
