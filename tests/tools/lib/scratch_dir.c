#include "scratch_dir.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

int scratch_dir_init(scratch_dir *d)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(d->path, sizeof d->path, "%s/yllama-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    return mkdtemp(d->path) != NULL;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void scratch_dir_clear(scratch_dir *d)
{
    nftw(d->path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

char *scratch_dir_path(const scratch_dir *d, char *buf, const char *name)
{
    snprintf(buf, SCRATCH_PATH_BYTES, "%s/%s", d->path, name);
    return buf;
}
