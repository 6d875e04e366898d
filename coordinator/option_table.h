/* option_table.h: how a flag is described. The table is option_table.c; options.c reads values by it, option_help.c prints it. */
#ifndef YL_OPTION_TABLE_H
#define YL_OPTION_TABLE_H

#include "options.h"

/* What a flag's value is, and the type of the field that it goes to. */
typedef enum option_kind {
    OPTION_FLAG,    /* bool: no value; true, and false by its negative name */
    OPTION_COUNT,   /* uint32_t: no value; counts how often it was given */
    OPTION_STRING,  /* const char * */
    OPTION_LIST,    /* option_list: may be repeated */
    OPTION_I32,     /* int32_t in range */
    OPTION_U32,     /* uint32_t in range */
    OPTION_I64,     /* int64_t in range */
    OPTION_F32,     /* float in range */
    OPTION_SIZE,    /* uint64_t: bytes, "20G" (byte_size.h) */
    OPTION_KV_TYPE, /* kv_type: "f16", "f32" or "q8_0" */
    OPTION_WIRE,    /* wire_type: "f32", "f16" or "q8_0" */
} option_kind;

typedef enum option_group {
    GROUP_INPUT,
    GROUP_OUTPUT,
    GROUP_SAMPLING,
    GROUP_MODEL,
    GROUP_WORKERS,
    GROUP_BENCH,
    GROUP_OTHER,
    GROUP_END
} option_group;

enum { OPTION_MAX_NAMES = 4 };

typedef struct option_spec {
    /* Without dashes. One letter is written -x, and so are names that custom writes with one dash ("ub"); others are --long. */
    const char *names[OPTION_MAX_NAMES];
    const char *negative; /* a long name that sets the opposite, or NULL */
    option_kind kind;
    size_t offset; /* of the field in options */
    struct {
        double min, max;
    } range;           /* of a number */
    const char *value; /* its name in help, "N" */
    const char *help;
    option_group group;
    unsigned commands; /* bit 1 << command_id */
} option_spec;

extern const option_spec option_table[];
extern const size_t option_table_n;

/* The flag's canonical long name: that of its environment variable, and of messages. */
const char *option_long_name(const option_spec *spec);
/* Is this name written with one dash? Single letters, and the few longer ones that llama.cpp made customary: -ub. */
bool option_name_is_short(const char *name);

#endif
