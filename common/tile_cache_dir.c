/* tile_cache_dir.c: which files there are, how much they may be, and which one goes first.
 *
 * There is no list of files but the directory itself, so processes that come and go cannot leave a wrong one. The default limit is
 * half of the disk that would be free without the cache: it shrinks when others fill the disk, and grows when they leave. */
#include "tile_cache_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tile_cache_internal.h"

/* ---- the directory ---- */

/* The default place; malloc'ed. NULL: no memory, or the environment names none. */
static char *default_path(void)
{
    static const struct {
        const char *variable, *rest;
    } places[] = {{"YLLAMA_CACHE_DIR", ""}, {"XDG_CACHE_HOME", "/yllama"}, {"HOME", "/.cache/yllama"}};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *base = getenv(places[i].variable);
        char *path;
        if (!base || !*base) continue;
        return asprintf(&path, "%s%s", base, places[i].rest) < 0 ? NULL : path;
    }
    return NULL;
}

/* Makes a directory and those above it. False: errno tells why. */
static bool make_dirs(char *path)
{
    for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        bool made = !mkdir(path, 0700) || errno == EEXIST;
        int cause = errno;
        *slash = '/';
        /* What cannot be made may be there all the same, on a file system that is read only. */
        errno = cause;
        if (!made && cause != EROFS && cause != EACCES) return false;
    }
    return !mkdir(path, 0700) || errno == EEXIST;
}

yl_status tile_cache_open(tile_cache **out, const char *dir, uint64_t max_bytes, yl_error *err)
{
    *out = NULL;
    tile_cache *c = calloc(1, sizeof *c);
    if (!c) return yl_fail(err, YL_ENOMEM, "no memory for the weight cache");
    c->fd = -1;
    c->max_bytes = max_bytes;
    c->path = dir ? strdup(dir) : default_path();
    yl_status status = YL_OK;
    if (!c->path) {
        status = yl_fail(err, YL_EIO, "the weight cache has no place: HOME is not set (name one with --cache-dir)");
    } else if (!*c->path || !make_dirs(c->path) || (c->fd = open(c->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
        status = yl_fail(err, YL_EIO, "the weight cache's directory %s cannot be used: %s (name another with --cache-dir)", c->path,
                         *c->path ? strerror(errno) : "its name is empty");
    }
    if (status) {
        tile_cache_free(c);
        return status;
    }
    *out = c;
    return YL_OK;
}

void tile_cache_free(tile_cache *c)
{
    if (!c) return;
    if (c->fd >= 0) close(c->fd);
    free(c->path);
    free(c);
}

const char *tile_cache_path(const tile_cache *c)
{
    return c->path;
}

void tile_cache_tmp_name(char tmp[TILE_CACHE_TMP_BYTES], const char *name)
{
    static atomic_uint count;
    snprintf(tmp, TILE_CACHE_TMP_BYTES, "%s.%ld-%u%s", name, (long)getpid(), ++count, TILE_CACHE_TMP_END);
}

/* ---- its files ---- */

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), n_end = strlen(end);
    return n > n_end && strcmp(name + n - n_end, end) == 0;
}

static bool is_file_name(const char *name)
{
    return strlen(name) == TILE_CACHE_NAME_BYTES - 1 && strspn(name, "0123456789abcdef") == (size_t)2 * TILE_CACHE_HASH_BYTES &&
           ends_with(name, ".tiles");
}

/* The directory, to be read from its start; closedir it. */
static DIR *open_listing(const tile_cache *c)
{
    int fd = openat(c->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d && fd >= 0) close(fd);
    return d;
}

/* Does somebody hold a lock on it? */
static bool is_locked(int fd)
{
    if (flock(fd, LOCK_EX | LOCK_NB)) return errno == EWOULDBLOCK;
    flock(fd, LOCK_UN);
    return false;
}

/* All but the head. False: it is gone, or no file. */
static bool look_at(tile_cache_entry *e, const tile_cache *c, const char *name)
{
    *e = (tile_cache_entry){0};
    snprintf(e->name, sizeof e->name, "%s", name);
    int fd = openat(c->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;
    bool is_there = fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode);
    if (is_there) {
        e->n_bytes = (uint64_t)st.st_blocks * 512;
        e->used = st.st_mtim;
        e->is_in_use = is_locked(fd);
    }
    if (fd >= 0) close(fd);
    return is_there;
}

static void read_head(tile_cache_entry *e, const tile_cache *c)
{
    tile_file *f;
    e->is_valid = tile_file_open(&f, c, e->name, NULL) == YL_OK;
    if (!e->is_valid) return;
    e->head = *tile_file_head(f);
    e->head.chunk_hashes = NULL; /* they go with the mapping */
    tile_file_close(f);
}

static int by_last_use(const void *a, const void *b)
{
    const struct timespec *s = &((const tile_cache_entry *)a)->used, *t = &((const tile_cache_entry *)b)->used;
    if (s->tv_sec != t->tv_sec) return s->tv_sec < t->tv_sec ? -1 : 1;
    return (s->tv_nsec > t->tv_nsec) - (s->tv_nsec < t->tv_nsec);
}

/* The list, last used last, without heads. */
static yl_status scan(tile_cache_entry **out, size_t *n, const tile_cache *c, yl_error *err)
{
    *out = NULL;
    *n = 0;
    DIR *d = open_listing(c);
    if (!d) return yl_fail(err, YL_EIO, "the weight cache's directory %s cannot be read: %s", c->path, strerror(errno));
    tile_cache_entry *entries = NULL;
    size_t count = 0, capacity = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (!is_file_name(e->d_name)) continue;
        if (count == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            tile_cache_entry *larger = realloc(entries, capacity * sizeof *larger);
            if (!larger) {
                free(entries);
                closedir(d);
                return yl_fail(err, YL_ENOMEM, "no memory for a list of cache files");
            }
            entries = larger;
        }
        count += look_at(&entries[count], c, e->d_name);
    }
    closedir(d);
    if (count) qsort(entries, count, sizeof *entries, by_last_use);
    *out = entries;
    *n = count;
    return YL_OK;
}

yl_status tile_cache_list(tile_cache_entry **out, size_t *n, const tile_cache *c, yl_error *err)
{
    yl_status status = scan(out, n, c, err);
    for (size_t i = 0; i < *n; i++) read_head(&(*out)[i], c);
    return status;
}

/* Removes a name if nobody has a lock on its file. */
static tile_cache_removal remove_unused(const tile_cache *c, const char *name)
{
    int fd = openat(c->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return TILE_CACHE_GONE;
    tile_cache_removal result = TILE_CACHE_IN_USE;
    if (!flock(fd, LOCK_EX | LOCK_NB)) result = unlinkat(c->fd, name, 0) ? TILE_CACHE_GONE : TILE_CACHE_REMOVED;
    close(fd);
    return result;
}

tile_cache_removal tile_cache_remove(const tile_cache *c, const char *name)
{
    return is_file_name(name) ? remove_unused(c, name) : TILE_CACHE_GONE;
}

enum { LEFTOVER_SECONDS = 60 }; /* a younger one may have a writer that did not come to lock it yet */

/* Files that were begun and never finished: their writers hold a lock as long as they live. */
static void remove_leftovers(const tile_cache *c)
{
    DIR *d = open_listing(c);
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (!ends_with(e->d_name, TILE_CACHE_TMP_END) || fstatat(c->fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW)) continue;
        if (st.st_mtim.tv_sec + LEFTOVER_SECONDS < time(NULL)) remove_unused(c, e->d_name);
    }
    if (d) closedir(d);
}

/* ---- limits ---- */

static uint64_t free_disk(const tile_cache *c)
{
    struct statvfs v;
    return fstatvfs(c->fd, &v) ? 0 : (uint64_t)v.f_bavail * v.f_frsize;
}

static uint64_t limit(const tile_cache *c, uint64_t held)
{
    return c->max_bytes ? c->max_bytes : (free_disk(c) + held) / 2;
}

static uint64_t total_bytes(const tile_cache_entry *entries, size_t n)
{
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) total += entries[i].n_bytes;
    return total;
}

uint64_t tile_cache_max_bytes(const tile_cache *c)
{
    tile_cache_entry *entries;
    size_t n;
    uint64_t held = 0;
    if (!scan(&entries, &n, c, NULL)) {
        held = total_bytes(entries, n);
        free(entries);
    }
    return limit(c, held);
}

yl_status tile_cache_make_room(const tile_cache *c, uint64_t n_bytes, yl_error *err)
{
    remove_leftovers(c);
    tile_cache_entry *entries;
    size_t n;
    yl_status status = scan(&entries, &n, c, err);
    if (status) return status;
    uint64_t held = total_bytes(entries, n), max = limit(c, held);
    for (size_t i = 0; i < n && held + n_bytes > max; i++) {
        if (entries[i].is_in_use || remove_unused(c, entries[i].name) == TILE_CACHE_IN_USE) continue;
        held -= entries[i].n_bytes;
    }
    free(entries);
    if (held + n_bytes <= max) return YL_OK;
    return yl_fail(err, YL_ELIMIT,
                   "the weight cache %s may hold %.0f MiB, of which %.0f are in use: %.0f more do not fit (enlarge it with "
                   "--cache-size)",
                   c->path, (double)max / (1 << 20), (double)held / (1 << 20), (double)n_bytes / (1 << 20));
}

/* ---- small files ---- */

yl_status tile_cache_put(const tile_cache *c, const char *name, const void *bytes, size_t n_bytes, yl_error *err)
{
    char tmp[TILE_CACHE_TMP_BYTES];
    tile_cache_tmp_name(tmp, name);
    int fd = openat(c->fd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool done = fd >= 0 && !flock(fd, LOCK_SH) && tile_cache_write_all(fd, bytes, n_bytes, 0) && !renameat(c->fd, tmp, c->fd, name);
    int cause = errno;
    if (fd >= 0) {
        if (!done) unlinkat(c->fd, tmp, 0);
        close(fd);
    }
    if (done) return YL_OK;
    return yl_fail(err, YL_EIO, "the weight cache's directory %s cannot be written: %s", c->path, strerror(cause));
}

bool tile_cache_get(const tile_cache *c, const char *name, void *bytes, size_t n_bytes)
{
    int fd = openat(c->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;
    bool good = fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) && (uint64_t)st.st_size == n_bytes;
    for (size_t done = 0; good && done < n_bytes;) {
        ssize_t got = pread(fd, (char *)bytes + done, n_bytes - done, (off_t)done);
        if (got < 0 && errno == EINTR) continue;
        good = got > 0;
        if (good) done += (size_t)got;
    }
    if (fd >= 0) close(fd);
    return good;
}

void tile_cache_lock(const tile_cache *c)
{
    while (flock(c->fd, LOCK_EX) && errno == EINTR) continue;
}

void tile_cache_unlock(const tile_cache *c)
{
    flock(c->fd, LOCK_UN);
}
