/* outbox.c: a ring of frames that wait to be sent.
 *
 * A frame is encoded into the place where it will wait. A place that became empty keeps the memory which the shell gave for the
 * frame it took, so that after the first few frames nothing is allocated. */
#include "worker_internal.h"

#include <stdlib.h>
#include <string.h>

enum { OUTBOX_FIRST_CAPACITY = 16 };

static yl_status grow(outbox *o, yl_error *err)
{
    size_t capacity = o->capacity ? 2 * o->capacity : OUTBOX_FIRST_CAPACITY;
    outbox_entry *entries = calloc(capacity, sizeof *entries);
    if (!entries) return yl_fail(err, YL_ENOMEM, "no memory for %zu outgoing frames", capacity);
    for (size_t i = 0; i < o->capacity; i++) entries[i] = o->entries[(o->first + i) % o->capacity];
    free(o->entries);
    *o = (outbox){.entries = entries, .n = o->n, .capacity = capacity};
    return YL_OK;
}

yl_status outbox_room(outbox *o, frame_bytes **out, yl_error *err)
{
    if (o->n == o->capacity) {
        yl_status status = grow(o, err);
        if (status) return status;
    }
    *out = &o->entries[(o->first + o->n) % o->capacity].bytes;
    return YL_OK;
}

void outbox_push(outbox *o, worker_peer to)
{
    o->entries[(o->first + o->n) % o->capacity].to = to;
    o->n++;
}

bool outbox_pop(outbox *o, outbox_entry *out)
{
    if (!o->n) return false;
    outbox_entry *oldest = &o->entries[o->first];
    outbox_entry taken = *oldest;
    oldest->bytes = out->bytes;
    *out = taken;
    o->n--;
    o->first = o->n ? (o->first + 1) % o->capacity : 0; /* few places are used, so few need memory */
    return true;
}

void outbox_clear(outbox *o)
{
    for (size_t i = 0; i < o->capacity; i++) frame_bytes_clear(&o->entries[i].bytes);
    free(o->entries);
    *o = (outbox){0};
}
