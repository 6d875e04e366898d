/* frames.c: names of the kinds, and numbers in a bin. */
#include "frames.h"

#include <assert.h>
#include <string.h>

const char *frame_kind_name(unsigned kind)
{
    switch (kind) {
    case FRAME_HELLO: return "HELLO";
    case FRAME_ASSIGN: return "ASSIGN";
    case FRAME_WANT: return "WANT";
    case FRAME_TENSOR: return "TENSOR";
    case FRAME_READY: return "READY";
    case FRAME_FORWARD: return "FORWARD";
    case FRAME_RESULT: return "RESULT";
    case FRAME_LOGITS: return "LOGITS";
    case FRAME_SEQ: return "SEQ";
    case FRAME_HEARTBEAT: return "HEARTBEAT";
    case FRAME_STATS: return "STATS";
    case FRAME_ERROR: return "ERROR";
    case FRAME_SHUTDOWN: return "SHUTDOWN";
    case FRAME_CHAIN: return "CHAIN";
    }
    return "unknown";
}

static uint32_t u32_at(frame_bin b, size_t i)
{
    assert(i < b.n_bytes / 4);
    const uint8_t *p = b.data + 4 * i;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

int32_t frame_i32_at(frame_bin b, size_t i)
{
    uint32_t bits = u32_at(b, i);
    int32_t value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

float frame_f32_at(frame_bin b, size_t i)
{
    uint32_t bits = u32_at(b, i);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
