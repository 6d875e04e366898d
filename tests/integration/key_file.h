/* key_file.h: a cluster's key for tests. */
#ifndef YL_KEY_FILE_H
#define YL_KEY_FILE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "cluster_key.h"

/* Writes a new key. */
static inline void write_key(const char *path)
{
    char text[CLUSTER_KEY_TEXT_BYTES];
    yl_error err = {0};
    if (cluster_key_generate(text, &err)) fail_msg("%s", err.msg);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "%s\n", text);
    fclose(f);
}

#endif
