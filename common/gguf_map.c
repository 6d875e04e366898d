/* gguf_map.c: a model file as memory.
 *
 * Mapping costs nothing until a page is looked at, and all processes that map the same file share its pages. Read only. If somebody
 * shortens the file while it is mapped, the next look at a missing page ends the process with SIGBUS: no check here can prevent
 * that, so models should be replaced by renaming, as downloads are. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gguf_internal.h"

static yl_status check_regular_file(const struct stat *st, yl_error *err)
{
    if (S_ISDIR(st->st_mode)) return yl_fail(err, YL_EIO, "is a directory, not a GGUF file");
    if (!S_ISREG(st->st_mode))
        return yl_fail(err, YL_EIO, "is not a regular file: a model has to be mapped, so it cannot come from a pipe");
    if (st->st_size == 0) return yl_fail(err, YL_EFORMAT, "is empty. Did the download fail?");
    if ((uint64_t)st->st_size > SIZE_MAX) return yl_fail(err, YL_ELIMIT, "is larger than this machine can address");
    return YL_OK;
}

static yl_status map_fd(gguf_part *part, int fd, yl_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0) return yl_fail(err, YL_EIO, "cannot be examined: %s", strerror(errno));
    yl_status status = check_regular_file(&st, err);
    if (status) return status;
    void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED) return yl_fail(err, YL_EIO, "cannot be mapped into memory: %s", strerror(errno));
    part->bytes = bytes;
    part->n_bytes = (size_t)st.st_size;
    part->mapped = true;
    return YL_OK;
}

yl_status gguf_map(gguf_part *part, yl_error *err)
{
    /* O_NONBLOCK: opening a pipe that nobody writes would wait forever. Regular files do not care. */
    int fd = open(part->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return yl_fail(err, YL_EIO, "cannot be opened: %s", strerror(errno));
    yl_status status = map_fd(part, fd, err);
    close(fd); /* the mapping stays */
    return status;
}

void gguf_unmap(gguf_part *part)
{
    if (part->mapped) munmap((void *)part->bytes, part->n_bytes);
    part->bytes = NULL;
    part->mapped = false;
}

/* The mapping begins on a page and the kernel wants whole pages. Needed: every page that the tensor touches. */
void gguf_advise_needed(const gguf *g, const gguf_tensor *t)
{
    const gguf_part *part = &g->parts[t->part];
    if (!part->mapped) return;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t begin = (size_t)t->offset / page * page;
    madvise((void *)(part->bytes + begin), (size_t)(t->offset + t->n_bytes) - begin, MADV_WILLNEED);
}

/* Only pages that no neighbour has a share in. */
void gguf_drop_pages(const uint8_t *data, uint64_t n)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)data + page - 1) / page * page, end = ((uintptr_t)data + n) / page * page;
    if (begin < end) madvise((void *)begin, end - begin, MADV_DONTNEED);
}

void gguf_advise_done(const gguf *g, const gguf_tensor *t)
{
    const gguf_part *part = &g->parts[t->part];
    if (part->mapped) gguf_drop_pages(part->bytes + t->offset, t->n_bytes);
}
