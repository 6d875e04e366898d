/* scratch_dir.h: a directory of a test's own, with everything in it removed at the end. */
#ifndef YL_SCRATCH_DIR_H
#define YL_SCRATCH_DIR_H

#include <stddef.h>

typedef struct scratch_dir {
    char path[96];
} scratch_dir;

/* Makes it under $TMPDIR or /tmp. False: it could not be made. */
int scratch_dir_init(scratch_dir *d);
void scratch_dir_clear(scratch_dir *d);

enum { SCRATCH_PATH_BYTES = 256 };
/* "<directory>/<name>" in a buffer of SCRATCH_PATH_BYTES; returns it. */
char *scratch_dir_path(const scratch_dir *d, char *buf, const char *name);

#endif
