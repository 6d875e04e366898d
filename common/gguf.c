/* gguf.c: a model out of one file or several.
 *
 * A split model's parts are named "<base>-00001-of-00003.gguf" and so on, and each says in its keys split.no (from 0) and
 * split.count which one it is. Whichever part is named, it is read first, tells how many there are, and the others are looked for
 * beside it. The first part has the metadata of the whole model; tensors are anywhere. Lookups go through sorted arrays of
 * pointers, built once: sorting also brings a name that is there twice to its double. */
#include "gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_internal.h"

enum { SUFFIX_BYTES = sizeof "-00001-of-00003.gguf" };

static void part_clear(gguf_part *part)
{
    gguf_unmap(part);
    free(part->path);
    free(part->kv);
    free((void *)part->by_key);
    free(part->tensors);
    memset(part, 0, sizeof *part);
}

void gguf_free(gguf *g)
{
    if (!g) return;
    for (uint32_t i = 0; i < g->n_parts; i++) part_clear(&g->parts[i]);
    free(g->parts);
    free((void *)g->tensors);
    free((void *)g->by_name);
    free(g->path);
    free(g);
}

/* Which part of how many a file says it is. A file that is not split is part 0 of 1. */
static yl_status split_position(const gguf_part *part, uint32_t *no, uint32_t *count, yl_error *err)
{
    yl_status status = gguf_kv_u32_or(gguf_part_find_kv(part, "split.count"), 1, count, err);
    if (!status) status = gguf_kv_u32_or(gguf_part_find_kv(part, "split.no"), 0, no, err);
    if (status) return status;
    if (*count <= 1) {
        *no = 0;
        *count = 1;
        return YL_OK;
    }
    if (*count > GGUF_MAX_PARTS)
        return yl_fail(err, YL_ELIMIT, "is split into %" PRIu32 " files, the limit is %d", *count, GGUF_MAX_PARTS);
    if (*no >= *count) {
        return yl_fail(err, YL_EFORMAT, "says it is part %" PRIu64 " of %" PRIu32 " of a split model", (uint64_t)*no + 1, *count);
    }
    return YL_OK;
}

static void split_suffix(char suffix[SUFFIX_BYTES], uint32_t no, uint32_t count)
{
    snprintf(suffix, SUFFIX_BYTES, "-%05u-of-%05u.gguf", (unsigned)(no + 1) % 100000,
             (unsigned)count % 100000); /* both are far less */
}

/* The path of part i, given the path of part `no`: they differ in the suffix. NULL: no memory. */
static char *sibling_path(const char *path, uint32_t i, uint32_t count)
{
    char *sibling = strdup(path);
    if (sibling) split_suffix(sibling + strlen(path) - (SUFFIX_BYTES - 1), i, count);
    return sibling;
}

static yl_status check_split_name(const char *path, uint32_t no, uint32_t count, yl_error *err)
{
    char suffix[SUFFIX_BYTES];
    split_suffix(suffix, no, count);
    size_t n = strlen(path);
    if (n >= SUFFIX_BYTES - 1 && strcmp(path + n - (SUFFIX_BYTES - 1), suffix) == 0) return YL_OK;
    return yl_fail(err, YL_EFORMAT,
                   "is part %" PRIu32 " of %" PRIu32 " of a split model, so its name must end in '%s' for the others to be found",
                   no + 1, count, suffix);
}

/* Maps and parses part->path, and holds it to be part `no` of `count`. */
static yl_status open_sibling(gguf_part *part, uint32_t no, uint32_t count, yl_error *err)
{
    yl_status status = gguf_map(part, err);
    if (!status) status = gguf_parse(part, err);
    uint32_t its_no, its_count;
    if (!status) status = split_position(part, &its_no, &its_count, err);
    if (!status && (its_no != no || its_count != count)) {
        status = yl_fail(err, YL_EFORMAT,
                         "says it is part %" PRIu32 " of %" PRIu32 ", but stands where part %" PRIu32 " of %" PRIu32 " belongs",
                         its_no + 1, its_count, no + 1, count);
    }
    if (status) yl_error_context(err, "%s: ", part->path);
    return status;
}

/* Opens all parts of a model of which `first` is already parsed; takes `first` over, whatever happens. */
static yl_status open_parts(gguf *g, gguf_part *first, uint32_t no, uint32_t count, yl_error *err)
{
    g->parts = calloc(count, sizeof *g->parts);
    if (!g->parts) {
        part_clear(first);
        return yl_fail(err, YL_ENOMEM, "no memory for %" PRIu32 " parts", count);
    }
    g->n_parts = count;
    g->parts[no] = *first;
    for (uint32_t i = 0; i < count; i++) {
        if (i == no) continue;
        gguf_part *part = &g->parts[i];
        part->path = sibling_path(g->path, i, count);
        if (!part->path) return yl_fail(err, YL_ENOMEM, "no memory for a path");
        yl_status status = open_sibling(part, i, count, err);
        if (status) return status;
    }
    return YL_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const gguf_tensor *const *)a)->name, (*(const gguf_tensor *const *)b)->name);
}

static yl_status index_tensors(gguf *g, yl_error *err)
{
    for (uint32_t p = 0; p < g->n_parts; p++) g->n_tensors += g->parts[p].n_tensors; /* each at most GGUF_MAX_TENSORS */
    size_t room = g->n_tensors ? g->n_tensors : 1;
    g->tensors = calloc(room, sizeof *g->tensors);
    g->by_name = calloc(room, sizeof *g->by_name);
    if (!g->tensors || !g->by_name) return yl_fail(err, YL_ENOMEM, "no memory for an index of %zu tensors", g->n_tensors);
    size_t n = 0;
    for (uint32_t p = 0; p < g->n_parts; p++) {
        for (size_t i = 0; i < g->parts[p].n_tensors; i++) {
            gguf_tensor *t = &g->parts[p].tensors[i].tensor;
            t->part = p;
            g->tensors[n] = g->by_name[n] = t;
            n++;
        }
    }
    qsort(g->by_name, n, sizeof *g->by_name, compare_names);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(g->by_name[i - 1]->name, g->by_name[i]->name) != 0) continue;
        return yl_fail(err, YL_EFORMAT, "tensor '%s' is there twice", g->by_name[i]->name);
    }
    return YL_OK;
}

static yl_status check_tensor_count(const gguf *g, yl_error *err)
{
    if (g->n_parts == 1) return YL_OK;
    const gguf_kv *kv = gguf_find_kv(g, "split.tensors.count");
    uint32_t n;
    yl_status status = gguf_kv_u32_or(kv, (uint32_t)g->n_tensors, &n, err);
    if (status || n == g->n_tensors) return status;
    return yl_fail(err, YL_EFORMAT, "the parts have %zu tensors together, but split.tensors.count says %" PRIu32, g->n_tensors, n);
}

/* The file or memory in *part becomes a model. Takes *part over, whatever happens. */
static yl_status open_model(gguf *g, gguf_part *part, yl_error *err)
{
    uint32_t no = 0, count = 1;
    yl_status status = gguf_parse(part, err);
    if (!status) status = split_position(part, &no, &count, err);
    if (!status && count > 1 && !part->mapped) {
        status = yl_fail(err, YL_EUNSUPPORTED, "is one part of a split model, and memory has no neighbours");
    }
    if (!status && count > 1) status = check_split_name(g->path, no, count, err);
    if (status) {
        yl_error_context(err, "%s: ", part->path);
        part_clear(part);
        return status;
    }
    status = open_parts(g, part, no, count, err);
    if (status) return status;
    status = index_tensors(g, err);
    if (!status) status = check_tensor_count(g, err);
    if (status) yl_error_context(err, "%s: ", g->path);
    return status;
}

/* An empty model that knows its path, and a part that does. */
static yl_status begin(gguf **g, gguf_part *part, const char *path, yl_error *err)
{
    memset(part, 0, sizeof *part);
    *g = calloc(1, sizeof **g);
    if (*g) (*g)->path = strdup(path);
    part->path = strdup(path);
    if (*g && (*g)->path && part->path) return YL_OK;
    part_clear(part);
    gguf_free(*g);
    return yl_fail(err, YL_ENOMEM, "%s: no memory to open it", path);
}

static yl_status finish(gguf **out, gguf *g, gguf_part *part, yl_error *err)
{
    yl_status status = open_model(g, part, err);
    if (status)
        gguf_free(g);
    else
        *out = g;
    return status;
}

yl_status gguf_open(gguf **out, const char *path, yl_error *err)
{
    *out = NULL;
    gguf *g;
    gguf_part part;
    yl_status status = begin(&g, &part, path, err);
    if (status) return status;
    status = gguf_map(&part, err);
    if (!status) return finish(out, g, &part, err);
    yl_error_context(err, "%s: ", path);
    part_clear(&part);
    gguf_free(g);
    return status;
}

yl_status gguf_open_memory(gguf **out, const uint8_t *bytes, size_t n_bytes, yl_error *err)
{
    *out = NULL;
    gguf *g;
    gguf_part part;
    yl_status status = begin(&g, &part, "(memory)", err);
    if (status) return status;
    part.bytes = bytes;
    part.n_bytes = n_bytes;
    return finish(out, g, &part, err);
}

const char *gguf_path(const gguf *g)
{
    return g->path;
}

uint32_t gguf_version(const gguf *g)
{
    return g->parts[0].version;
}

uint32_t gguf_n_parts(const gguf *g)
{
    return g->n_parts;
}

const char *gguf_part_path(const gguf *g, uint32_t part)
{
    return g->parts[part].path;
}

uint64_t gguf_file_bytes(const gguf *g)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < g->n_parts; i++) n += g->parts[i].n_bytes;
    return n;
}

size_t gguf_n_kv(const gguf *g)
{
    return g->parts[0].n_kv;
}

const gguf_kv *gguf_kv_at(const gguf *g, size_t i)
{
    return &g->parts[0].kv[i];
}

const gguf_kv *gguf_find_kv(const gguf *g, const char *key)
{
    return gguf_part_find_kv(&g->parts[0], key);
}

size_t gguf_n_tensors(const gguf *g)
{
    return g->n_tensors;
}

const gguf_tensor *gguf_tensor_at(const gguf *g, size_t i)
{
    return g->tensors[i];
}

size_t gguf_tensor_number(const gguf *g, const gguf_tensor *t)
{
    size_t i = 0, n = gguf_n_tensors(g);
    while (i < n && g->tensors[i] != t) i++;
    return i;
}

static int compare_name_to_tensor(const void *name, const void *tensor)
{
    return strcmp(name, (*(const gguf_tensor *const *)tensor)->name);
}

const gguf_tensor *gguf_find_tensor(const gguf *g, const char *name)
{
    const gguf_tensor **found = bsearch(name, g->by_name, g->n_tensors, sizeof *g->by_name, compare_name_to_tensor);
    return found ? *found : NULL;
}
