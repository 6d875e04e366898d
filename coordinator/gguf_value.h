/* gguf_value.h: metadata of a model file, for people and as JSON. Strings of a file are shown as valid UTF-8 without control
 * characters, whatever bytes they hold. */
#ifndef YL_GGUF_VALUE_H
#define YL_GGUF_VALUE_H

#include <cjson/cJSON.h>
#include <stdio.h>

#include "gguf.h"

/* Bytes as valid UTF-8 without NULs, malloc'ed; control characters become '?' if the text is for a terminal. NULL: no memory. */
typedef enum gguf_value_use { GGUF_VALUE_FOR_TERMINAL, GGUF_VALUE_FOR_JSON } gguf_value_use;
char *gguf_value_text(gguf_str s, gguf_value_use use);

/* Prints a value on one line: strings cut after some 60 bytes, arrays after a few elements. */
void gguf_value_print(FILE *f, const gguf_kv *kv);

/* A value as JSON; arrays of more than max_elems elements become {"type", "length"}. 64-bit integers stay exact. NULL: no memory.
 */
cJSON *gguf_value_json(const gguf_kv *kv, size_t max_elems);

/* "u32", "string". Static. */
const char *gguf_value_type_name(gguf_type type);

#endif
