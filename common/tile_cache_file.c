/* tile_cache_file.c: one file of the weight cache, found or made.
 *
 * A new file is written with pwrite, not through a mapping: a full disk is then an error and not a signal, and the kernel needs not
 * clear pages that are about to be overwritten. Its chunks are hashed through the mapping that it is used by, which brings those
 * pages in; the head comes last, so a file of which a part is missing has no head. Nothing is flushed to the disk: after a crash
 * the chunks' hashes tell. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tile_cache_internal.h"

struct tile_file {
    const tile_cache *cache;
    tile_cache_head head;
    int fd;
    uint8_t *map;
    atomic_uint n_owners;
    char name[TILE_CACHE_NAME_BYTES];
    char tmp[TILE_CACHE_TMP_BYTES]; /* its name until it is finished; "" then */
    char path[];                    /* directory and name */
};

static yl_status new_file(tile_file **out, const tile_cache *c, const char *name, yl_error *err)
{
    size_t n = strlen(c->path) + TILE_CACHE_NAME_BYTES + 1;
    *out = calloc(1, sizeof **out + n);
    if (!*out) return yl_fail(err, YL_ENOMEM, "no memory for a cache file");
    snprintf((*out)->path, n, "%s/%s", c->path, name);
    snprintf((*out)->name, sizeof(*out)->name, "%s", name);
    (*out)->cache = c;
    (*out)->fd = -1;
    (*out)->n_owners = 1;
    return YL_OK;
}

static yl_status failed(const tile_file *f, const char *what, yl_error *err)
{
    return yl_fail(err, YL_EIO, "%s: %s: %s", f->path, what, strerror(errno));
}

static yl_status map(tile_file *f, uint64_t n_bytes, yl_error *err)
{
    f->map = mmap(NULL, (size_t)n_bytes, PROT_READ, MAP_SHARED, f->fd, 0);
    if (f->map != MAP_FAILED) return YL_OK;
    f->map = NULL;
    return failed(f, "cannot be mapped", err);
}

/* Maps what the descriptor holds and reads its head. */
static yl_status map_and_parse(tile_file *f, yl_error *err)
{
    struct stat st;
    if (fstat(f->fd, &st) || !S_ISREG(st.st_mode)) return yl_fail(err, YL_EFORMAT, "%s is no regular file", f->path);
    if (st.st_size <= 0) return yl_fail(err, YL_EFORMAT, "%s is empty", f->path);
    f->head.file_bytes = (uint64_t)st.st_size; /* what is mapped, whatever the head says */
    yl_status status = map(f, f->head.file_bytes, err);
    if (status) return status;
    tile_cache_head head;
    status = tile_cache_parse(&head, f->map, (size_t)st.st_size, (uint64_t)st.st_size, err);
    if (status)
        yl_error_context(err, "%s ", f->path);
    else
        f->head = head;
    return status;
}

/* *out NULL with YL_OK: there is no such file. */
static yl_status open_file(tile_file **out, const tile_cache *c, const char *name, yl_error *err)
{
    *out = NULL;
    tile_file *f;
    yl_status status = new_file(&f, c, name, err);
    if (status) return status;
    f->fd = openat(c->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    bool is_missing = f->fd < 0 && errno == ENOENT;
    if (f->fd < 0 && !is_missing) status = failed(f, "cannot be opened", err);
    struct stat st;
    if (f->fd >= 0) {
        flock(f->fd, LOCK_SH);
        is_missing = !fstat(f->fd, &st) && st.st_nlink == 0; /* removed while it was opened */
    }
    if (!status && !is_missing) status = map_and_parse(f, err);
    if (status || is_missing) {
        tile_file_close(f);
        return status;
    }
    *out = f;
    return YL_OK;
}

/* Are these the tensors that are wanted? With the same key others would need a collision of SHA-256, or somebody's hand. */
static bool same_tensors(const tile_cache_head *a, const tile_cache_head *b)
{
    if (memcmp(a->key, b->key, sizeof a->key) != 0 || a->n_tensors != b->n_tensors) return false;
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const tile_cache_tensor *s = &a->tensors[i], *t = &b->tensors[i];
        if (s->role != t->role || s->type != t->type || s->n_rows != t->n_rows || s->n_cols != t->n_cols) return false;
    }
    return true;
}

yl_status tile_file_find(tile_file **out, const tile_cache *c, const tile_cache_head *wanted, yl_error *err)
{
    char name[TILE_CACHE_NAME_BYTES];
    yl_status status = open_file(out, c, tile_cache_name(name, wanted->key), err);
    if (status || !*out) return status;
    if (!same_tensors(&(*out)->head, wanted)) {
        status = yl_fail(err, YL_EFORMAT, "%s holds other tensors than its name tells", (*out)->path);
        tile_file_close(*out);
        *out = NULL;
        return status;
    }
    futimens((*out)->fd, NULL); /* advice for make_room: who may not set it leaves it */
    return YL_OK;
}

yl_status tile_file_open(tile_file **out, const tile_cache *c, const char *name, yl_error *err)
{
    yl_status status = open_file(out, c, name, err);
    if (!status && !*out) return yl_fail(err, YL_EIO, "%s/%s is gone", c->path, name);
    return status;
}

yl_status tile_file_create(tile_file **out, const tile_cache *c, const tile_cache_head *plan, yl_error *err)
{
    *out = NULL;
    yl_status status = tile_cache_make_room(c, plan->file_bytes, err);
    if (status) return status;
    char name[TILE_CACHE_NAME_BYTES];
    tile_file *f;
    status = new_file(&f, c, tile_cache_name(name, plan->key), err);
    if (status) return status;
    f->head = *plan;
    tile_cache_tmp_name(f->tmp, name);
    f->fd = openat(c->fd, f->tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (f->fd < 0) {
        f->tmp[0] = 0;
        status = failed(f, "cannot be made", err);
    } else if (flock(f->fd, LOCK_SH) || ftruncate(f->fd, (off_t)plan->file_bytes)) {
        status = failed(f, "cannot be made", err);
    }
    if (status) {
        tile_file_close(f);
        return status;
    }
    *out = f;
    return YL_OK;
}

bool tile_cache_write_all(int fd, const void *bytes, size_t n_bytes, uint64_t offset)
{
    const uint8_t *p = bytes;
    while (n_bytes > 0) {
        ssize_t n = pwrite(fd, p, n_bytes, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        p += n;
        n_bytes -= (size_t)n;
        offset += (uint64_t)n;
    }
    return true;
}

yl_status tile_file_write(const tile_file *f, uint64_t offset, const void *bytes, size_t n_bytes, yl_error *err)
{
    return tile_cache_write_all(f->fd, bytes, n_bytes, offset) ? YL_OK : failed(f, "cannot be written", err);
}

/* ---- finishing ---- */

typedef struct hashing {
    const tile_file *file;
    uint64_t *hashes;
} hashing;

static void hash_chunks(void *arg, size_t begin, size_t end, uint32_t thread)
{
    (void)thread;
    const hashing *h = arg;
    for (size_t i = begin; i < end; i++) {
        uint64_t offset;
        size_t n;
        tile_cache_chunk(&h->file->head, i, &offset, &n);
        h->hashes[i] = tile_cache_checksum(h->file->map + offset, n);
    }
}

static yl_status write_head(const tile_file *f, thread_pool *pool, yl_error *err)
{
    size_t n_chunks = (size_t)f->head.n_chunks;
    hashing h = {f, calloc(n_chunks, sizeof *h.hashes)};
    uint8_t *head = malloc((size_t)f->head.head_bytes);
    yl_status status = h.hashes && head ? YL_OK : yl_fail(err, YL_ENOMEM, "%s: no memory for its head", f->path);
    if (!status) {
        thread_pool_run(pool, n_chunks, 1, hash_chunks, &h);
        tile_cache_write_head(head, &f->head, h.hashes);
        status = tile_file_write(f, 0, head, (size_t)f->head.head_bytes, err);
    }
    free(h.hashes);
    free(head);
    return status;
}

yl_status tile_file_finish(tile_file *f, thread_pool *pool, yl_error *err)
{
    yl_status status = map(f, f->head.file_bytes, err);
    if (!status) status = write_head(f, pool, err);
    tile_cache_head head;
    if (!status) status = tile_cache_parse(&head, f->map, (size_t)f->head.file_bytes, f->head.file_bytes, err);
    if (status) return status;
    f->head = head;
    if (renameat(f->cache->fd, f->tmp, f->cache->fd, f->name)) return failed(f, "cannot be named", err);
    f->tmp[0] = 0;
    return YL_OK;
}

tile_file *tile_file_hold(tile_file *f)
{
    f->n_owners++;
    return f;
}

void tile_file_close(tile_file *f)
{
    if (!f || --f->n_owners > 0) return;
    if (f->tmp[0]) unlinkat(f->cache->fd, f->tmp, 0);
    if (f->map) munmap(f->map, (size_t)f->head.file_bytes);
    if (f->fd >= 0) close(f->fd);
    free(f);
}

const tile_cache_head *tile_file_head(const tile_file *f)
{
    return &f->head;
}

const char *tile_file_path(const tile_file *f)
{
    return f->path;
}

const uint8_t *tile_file_tensor(const tile_file *f, uint32_t i)
{
    return f->map + f->head.tensors[i].offset;
}

bool tile_file_chunk_is_whole(const tile_file *f, uint64_t i)
{
    uint64_t offset;
    size_t n;
    tile_cache_chunk(&f->head, i, &offset, &n);
    return tile_cache_checksum(f->map + offset, n) == tile_cache_chunk_hash(&f->head, i);
}

void tile_file_unlink(const tile_file *f)
{
    struct stat mine, named;
    if (fstat(f->fd, &mine) || fstatat(f->cache->fd, f->name, &named, AT_SYMLINK_NOFOLLOW)) return;
    if (mine.st_dev == named.st_dev && mine.st_ino == named.st_ino) unlinkat(f->cache->fd, f->name, 0);
}
