/* frame_text.h: what a string of a frame may hold.
 *
 * Names, addresses and sentences of a peer end up on terminals, in logs, in JSON and in calls that want a NUL at the end. So a
 * string in a frame is well-formed UTF-8 without control characters (U+0000 to U+001F, U+007F), and nobody after the decoder need
 * ask. */
#ifndef YL_FRAME_TEXT_H
#define YL_FRAME_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool frame_text_is_valid(const uint8_t *text, size_t n_bytes);

/* Makes a valid text of any string (NUL-terminated): bytes that do not belong become '?', what goes beyond max_bytes is cut between
 * characters. out: room for max_bytes, not terminated. Returns the bytes written. */
size_t frame_text_clean(uint8_t *out, size_t max_bytes, const char *text);

#endif
