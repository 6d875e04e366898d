/* bytes.h: reading little-endian numbers out of bytes that nobody vouches for.
 *
 * A byte_reader is what is left of a run of bytes. Each read takes from its front, or returns false and takes nothing when fewer
 * bytes are left than it needs: no read can leave the run, whatever lengths the bytes themselves claim. */
#ifndef YL_BYTES_H
#define YL_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are copied as they lie in the file");

typedef struct byte_reader {
    const uint8_t *at;
    size_t n_left;
} byte_reader;

/* Numbers at any address. */
static inline uint16_t bytes_load_u16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t bytes_load_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t bytes_load_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* n bytes, as a view. */
static inline bool bytes_take(byte_reader *r, uint64_t n, const uint8_t **out)
{
    if (n > r->n_left) return false;
    *out = r->at;
    r->at += n;
    r->n_left -= (size_t)n;
    return true;
}

static inline bool bytes_take_u32(byte_reader *r, uint32_t *out)
{
    const uint8_t *p;
    if (!bytes_take(r, sizeof *out, &p)) return false;
    *out = bytes_load_u32(p);
    return true;
}

static inline bool bytes_take_u64(byte_reader *r, uint64_t *out)
{
    const uint8_t *p;
    if (!bytes_take(r, sizeof *out, &p)) return false;
    *out = bytes_load_u64(p);
    return true;
}

#endif
