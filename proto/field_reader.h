/* field_reader.h: the fields of a frame, one after the other, each with its name and its range.
 *
 * Reading a field either gives a value that keeps its rules or is the frame's first failure: that one is remembered, with a
 * sentence that names frame and field, and from then on every field is zero and every list empty. So the code of a kind of frame
 * reads straight down, like the specification, and asks once, at its end, how it went.
 *
 * An array of fields may be longer than we know, never shorter: what a newer sender appended is stepped over. A list is an array of
 * elements that are arrays of fields. */
#ifndef YL_FIELD_READER_H
#define YL_FIELD_READER_H

#include "frames.h"
#include "msgpack_cursor.h"

/* Start with {.in = the bytes, .frame = "frame", .n_left = 1}: one item, the frame's array, is there to open. */
typedef struct field_reader {
    msgpack_cursor in;
    yl_error *err;
    yl_status status;  /* YL_OK, or of the first failure */
    const char *frame; /* its kind's name, for sentences */
    const char *list;  /* whose element is being read, or NULL */
    uint32_t index;    /* of that element */
    uint32_t n_left;   /* items of the innermost open array that were not read */
} field_reader;

/* The frame is refused (YL_EFORMAT) for what this field holds: "FORWARD: segments[3].pos: <sentence>". Nothing if it was already.
 */
void field_refuse(field_reader *r, const char *field, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The next field, in [min, max]. */
uint64_t field_u64(field_reader *r, const char *field, uint64_t min, uint64_t max);
uint32_t field_u32(field_reader *r, const char *field, uint32_t min, uint32_t max);
bool field_bool(field_reader *r, const char *field);

/* A finite float, written with 32 or 64 bits. */
double field_f64(field_reader *r, const char *field);
float field_f32(field_reader *r, const char *field);

/* Bytes, or a text that frame_text_is_valid takes, of min to max bytes: a view. */
frame_bin field_bin(field_reader *r, const char *field, size_t min, size_t max);
frame_bin field_str(field_reader *r, const char *field, size_t min, size_t max);

/* Opens an array of fields: they are what is read next. Returns what field_close_array wants, which steps over fields that were not
 * read and goes on in the array around. */
uint32_t field_open_array(field_reader *r, const char *field);
void field_close_array(field_reader *r, uint32_t outer);

/* Opens a list of min to max elements and returns their number. Each is opened by field_open_element and closed by
 * field_close_array. Lists do not lie inside each other. */
uint32_t field_open_list(field_reader *r, const char *name, uint32_t min, uint32_t max, uint32_t *outer);
uint32_t field_open_element(field_reader *r, uint32_t index);
void field_close_list(field_reader *r, uint32_t outer);

#endif
