/* outbox.c: a ring of frames that wait to be sent. */
#include "worker_internal.h"

#include <stdlib.h>
#include <string.h>

enum { OUTBOX_FIRST_CAPACITY = 16 };

static yl_status grow(outbox *o, yl_error *err)
{
    size_t capacity = o->capacity ? 2 * o->capacity : OUTBOX_FIRST_CAPACITY;
    outbox_entry *entries = calloc(capacity, sizeof *entries);
    if (!entries) return yl_fail(err, YL_ENOMEM, "no memory for %zu outgoing frames", capacity);
    for (size_t i = 0; i < o->n; i++) entries[i] = o->entries[(o->first + i) % o->capacity];
    free(o->entries);
    *o = (outbox){.entries = entries, .n = o->n, .capacity = capacity};
    return YL_OK;
}

yl_status outbox_push(outbox *o, worker_peer to, frame_bytes *bytes, yl_error *err)
{
    if (o->n == o->capacity) {
        yl_status status = grow(o, err);
        if (status) {
            frame_bytes_clear(bytes);
            return status;
        }
    }
    o->entries[(o->first + o->n) % o->capacity] = (outbox_entry){.to = to, .bytes = *bytes};
    o->n++;
    *bytes = (frame_bytes){0};
    return YL_OK;
}

bool outbox_pop(outbox *o, outbox_entry *out)
{
    if (!o->n) return false;
    *out = o->entries[o->first];
    o->first = (o->first + 1) % o->capacity;
    o->n--;
    return true;
}

void outbox_clear(outbox *o)
{
    outbox_entry entry;
    while (outbox_pop(o, &entry)) frame_bytes_clear(&entry.bytes);
    free(o->entries);
    *o = (outbox){0};
}
