/* tile_cache_dir.h: the directory of the weight cache, and its files (format: tile_cache.h).
 *
 * Any number of processes use a directory at the same time, without telling each other. A file appears whole, by rename, and is
 * never changed afterwards, only unlinked: so whoever has it mapped keeps it. Who uses a file holds a shared lock (flock) on it;
 * who wants to make room takes an exclusive one first, so what is in use stays. A file's time of modification is that of its last
 * use. */
#ifndef YL_TILE_CACHE_DIR_H
#define YL_TILE_CACHE_DIR_H

#include <time.h>

#include "thread_pool.h"
#include "tile_cache.h"

/* An open directory. Immutable but for counters: threads may share it. */
typedef struct tile_cache tile_cache;

/* Opens the directory, making it (mode 0700, and those above it) if need be. dir: NULL for $YLLAMA_CACHE_DIR, else
 * $XDG_CACHE_HOME/yllama, else $HOME/.cache/yllama. max_bytes: of all files together; 0: half of what would be free without them.
 * YL_EIO says what to do. */
yl_status tile_cache_open(tile_cache **out, const char *dir, uint64_t max_bytes, yl_error *err);
void tile_cache_free(tile_cache *c);
const char *tile_cache_path(const tile_cache *c);
uint64_t tile_cache_max_bytes(const tile_cache *c); /* now */

/* ---- a file in use ---- */

/* A file of the cache, mapped and locked. Counted: tile_file_hold is for a second owner, in another thread. */
typedef struct tile_file tile_file;

/* Opens the file with the head's key, and says that it is used now. *out is NULL with YL_OK when there is none; YL_EFORMAT or
 * YL_EUNSUPPORTED: what is there is not a whole file with those tensors (it may be made anew); YL_EIO. Chunks are not checked. */
yl_status tile_file_find(tile_file **out, const tile_cache *c, const tile_cache_head *wanted, yl_error *err);

/* Begins a new file for a planned head with its key, beside its name, after making room for it. YL_ELIMIT: it does not fit into the
 * cache; YL_EIO: it cannot be written. */
yl_status tile_file_create(tile_file **out, const tile_cache *c, const tile_cache_head *plan, yl_error *err);

/* Writes bytes of a new file, at an offset as the head counts; what is not written stays zero. From any thread. YL_EIO. */
yl_status tile_file_write(const tile_file *f, uint64_t offset, const void *bytes, size_t n_bytes, yl_error *err);

/* Ends a new file: maps it, hashes its chunks with the pool's threads, writes the head and gives it its name. A file that has the
 * name already is replaced: it is the same, or was no good. When it fails the file must still be closed, which removes it. */
yl_status tile_file_finish(tile_file *f, thread_pool *pool, yl_error *err);

tile_file *tile_file_hold(tile_file *f);
void tile_file_close(tile_file *f); /* NULL: nothing. A new file that was not finished is gone. */

const tile_cache_head *tile_file_head(const tile_file *f); /* of a found or finished file */
const char *tile_file_path(const tile_file *f);
const uint8_t *tile_file_tensor(const tile_file *f, uint32_t i); /* its bytes, [n_bytes] of head.tensors[i] */

/* Are chunk i's bytes as they were written? */
bool tile_file_chunk_is_whole(const tile_file *f, uint64_t i);

/* Removes the file's name, if it is still this file's. */
void tile_file_unlink(const tile_file *f);

/* ---- the files of a directory ---- */

typedef struct tile_cache_entry {
    char name[TILE_CACHE_NAME_BYTES];
    uint64_t n_bytes; /* on disk */
    struct timespec used;
    bool is_in_use;
    bool is_valid; /* its head is that of a cache file of this version and size; else head is undefined */
    tile_cache_head head;
} tile_cache_entry;

/* All files of the cache, last used last; free(*out). Other files are left out. */
yl_status tile_cache_list(tile_cache_entry **out, size_t *n, const tile_cache *c, yl_error *err);

/* Maps a listed file by its name, to check its chunks. Errors as tile_file_find; YL_EIO when it is gone. Not counted as a use. */
yl_status tile_file_open(tile_file **out, const tile_cache *c, const char *name, yl_error *err);

typedef enum tile_cache_removal { TILE_CACHE_REMOVED, TILE_CACHE_IN_USE, TILE_CACHE_GONE } tile_cache_removal;
/* Removes a file, unless somebody uses it. */
tile_cache_removal tile_cache_remove(const tile_cache *c, const char *name);

/* Removes files, the longest unused first, until n_bytes more fit below the limit; also what writers that ended left behind.
 * YL_ELIMIT: too much of it is in use. */
yl_status tile_cache_make_room(const tile_cache *c, uint64_t n_bytes, yl_error *err);

/* ---- small files beside them ---- */

/* Replaces a small file of the directory as a whole, by rename. YL_EIO. */
yl_status tile_cache_put(const tile_cache *c, const char *name, const void *bytes, size_t n_bytes, yl_error *err);
/* Reads a file of exactly n_bytes. False: there is none. */
bool tile_cache_get(const tile_cache *c, const char *name, void *bytes, size_t n_bytes);
/* Waits for the directory's own lock, which guards reading such a file, changing it and putting it back. */
void tile_cache_lock(const tile_cache *c);
void tile_cache_unlock(const tile_cache *c);

#endif
