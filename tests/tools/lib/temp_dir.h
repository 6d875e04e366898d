/* temp_dir.h: a directory for a test's files, gone afterwards. */
#ifndef YL_TEMP_DIR_H
#define YL_TEMP_DIR_H

#include <stddef.h>

enum { TEMP_PATH_BYTES = 512 };

/* Makes a new directory below $TMPDIR or /tmp; ends the program if it cannot. Returns path. */
char *temp_dir_make(char path[TEMP_PATH_BYTES]);

/* Removes it with all files in it (not: directories). */
void temp_dir_remove(const char *path);

/* "dir/name" into out. Returns out. */
char *temp_dir_file(char out[TEMP_PATH_BYTES], const char *dir, const char *name);

/* Writes a file; ends the program if it cannot. */
void temp_dir_write(const char *path, const void *bytes, size_t n_bytes);

#endif
