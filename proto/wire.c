#include "wire.h"

#include <math.h>
#include <string.h>

#include "kernels.h"

enum { BLOCK = 32, BLOCK_BYTES = 4 + BLOCK, CHUNK = 256 };

static const char *const names[] = {[WIRE_F32] = "f32", [WIRE_F16] = "f16", [WIRE_Q8_0] = "q8_0"};

const char *wire_type_name(wire_type type)
{
    return names[type];
}

bool wire_type_parse(const char *text, wire_type *out)
{
    for (int i = 0; i <= WIRE_TYPE_LAST; i++) {
        if (strcmp(text, names[i]) != 0) continue;
        *out = (wire_type)i;
        return true;
    }
    return false;
}

bool wire_type_takes(wire_type type, uint32_t n_embd)
{
    return type != WIRE_Q8_0 || n_embd % BLOCK == 0;
}

static size_t value_bytes(wire_type type, size_t n)
{
    switch (type) {
    case WIRE_F16: return 2 * n;
    case WIRE_Q8_0: return n / BLOCK * BLOCK_BYTES;
    case WIRE_F32: break;
    }
    return 4 * n;
}

size_t wire_row_bytes(wire_type type, uint32_t n_embd)
{
    return value_bytes(type, n_embd);
}

static void write_f16(uint8_t *out, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h = quant_f32_to_f16(x[i]);
        out[2 * i] = (uint8_t)h;
        out[2 * i + 1] = (uint8_t)(h >> 8);
    }
}

static void read_f16(float *x, const uint8_t *in, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] = quant_f16_to_f32((uint16_t)(in[2 * i] | in[2 * i + 1] << 8));
}

/* n is at most CHUNK. */
static void write_q8_0(uint8_t *out, const float *x, size_t n, const kernels *k)
{
    int8_t q[CHUNK];
    float d[CHUNK / BLOCK];
    k->quantize(q, d, x, n, BLOCK);
    for (size_t i = 0; i < n / BLOCK; i++, out += BLOCK_BYTES) {
        memcpy(out, &d[i], 4);
        memcpy(out + 4, q + i * BLOCK, BLOCK);
    }
}

static void read_q8_0(float *x, const uint8_t *in, size_t n)
{
    for (size_t i = 0; i < n / BLOCK; i++, in += BLOCK_BYTES) {
        float d;
        memcpy(&d, in, 4);
        for (size_t j = 0; j < BLOCK; j++) x[i * BLOCK + j] = d * (float)(int8_t)in[4 + j];
    }
}

static void add_loss(wire_loss *loss, const float *x, const float *y, size_t n)
{
    double power = 0, error = 0;
    for (size_t i = 0; i < n; i++) {
        double lost = (double)x[i] - (double)y[i];
        power += (double)x[i] * (double)x[i];
        error += lost * lost;
    }
    if (!isfinite(power) || !isfinite(error)) return;
    loss->power += power;
    loss->error += error;
}

void wire_write(uint8_t *out, wire_type type, const float *x, size_t n, const kernels *k, wire_loss *loss)
{
    if (type == WIRE_F32) {
        memcpy(out, x, n * sizeof *x);
        return;
    }
    for (size_t i = 0; i < n; i += CHUNK) {
        float arrived[CHUNK];
        size_t n_chunk = n - i < CHUNK ? n - i : CHUNK;
        uint8_t *to = out + value_bytes(type, i);
        if (type == WIRE_F16)
            write_f16(to, x + i, n_chunk);
        else
            write_q8_0(to, x + i, n_chunk, k);
        wire_read(arrived, type, to, n_chunk);
        add_loss(loss, x + i, arrived, n_chunk);
    }
}

void wire_read(float *x, wire_type type, const uint8_t *in, size_t n)
{
    switch (type) {
    case WIRE_F32: memcpy(x, in, n * sizeof *x); return;
    case WIRE_F16: read_f16(x, in, n); return;
    case WIRE_Q8_0: read_q8_0(x, in, n); return;
    }
}
