/* temp_dir.c: mkdtemp and what it takes to undo it. */
#include "temp_dir.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

char *temp_dir_make(char path[TEMP_PATH_BYTES])
{
    const char *parent = getenv("TMPDIR");
    snprintf(path, TEMP_PATH_BYTES, "%s/yllama-test-XXXXXX", parent ? parent : "/tmp");
    if (mkdtemp(path)) return path;
    perror(path);
    abort();
}

void temp_dir_remove(const char *path)
{
    DIR *dir = opendir(path);
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char file[TEMP_PATH_BYTES];
        unlink(temp_dir_file(file, path, entry->d_name)); /* "." and ".." refuse */
    }
    closedir(dir);
    rmdir(path);
}

char *temp_dir_file(char out[TEMP_PATH_BYTES], const char *dir, const char *name)
{
    int n = snprintf(out, TEMP_PATH_BYTES, "%s/%s", dir, name);
    if (n < TEMP_PATH_BYTES) return out;
    fprintf(stderr, "%s/%s: too long a path\n", dir, name);
    abort();
}

void temp_dir_write(const char *path, const void *bytes, size_t n_bytes)
{
    FILE *file = fopen(path, "wb");
    if (file && (n_bytes == 0 || fwrite(bytes, n_bytes, 1, file) == 1) && fclose(file) == 0) return;
    perror(path);
    abort();
}
