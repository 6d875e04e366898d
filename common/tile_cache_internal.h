/* tile_cache_internal.h: what the two files about the cache's directory share. */
#ifndef YL_TILE_CACHE_INTERNAL_H
#define YL_TILE_CACHE_INTERNAL_H

#include "tile_cache_dir.h"

struct tile_cache {
    int fd;
    char *path;
    uint64_t max_bytes; /* 0: by the disk's free space */
};

enum { TILE_CACHE_TMP_BYTES = TILE_CACHE_NAME_BYTES + 64 };
static const char TILE_CACHE_TMP_END[] = ".new";

/* A name beside `name` that no other process or thread has. */
void tile_cache_tmp_name(char tmp[TILE_CACHE_TMP_BYTES], const char *name);

/* Writes all of it. False: errno tells why. */
bool tile_cache_write_all(int fd, const void *bytes, size_t n_bytes, uint64_t offset);

#endif
