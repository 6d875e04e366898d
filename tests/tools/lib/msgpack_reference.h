/* msgpack_reference.h: MessagePack as msgpack-c's own parser reads it, for holding our cursor against it. */
#ifndef YL_MSGPACK_REFERENCE_H
#define YL_MSGPACK_REFERENCE_H

#include "msgpack_cursor.h"

enum { MSGPACK_REFERENCE_MAX_BYTES = 4096 };

/* The items of the first object in n <= MSGPACK_REFERENCE_MAX_BYTES bytes, in the order in which a cursor meets them: an array's
 * head, then its elements. items: room for n of them. *n_read: bytes of that object. Returns the number of items, 0 if the bytes do
 * not begin with a whole object. */
size_t msgpack_reference_items(msgpack_item *items, const uint8_t *bytes, size_t n, size_t *n_read);

#endif
