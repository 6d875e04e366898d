/* cmd_cache.c: `yllama cache`: looks at the files in which workers keep weights, removes some, checks them. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "tile_cache_index.h"

enum { SIZE_BYTES = 32, MIN_PREFIX = 6, SHOWN_DIGITS = 12 };

/* The files of the directory. */
typedef struct listing {
    tile_cache *cache;
    tile_cache_entry *entries; /* [n] last used last */
    size_t n;
} listing;

static void clear_listing(listing *l)
{
    free(l->entries);
    tile_cache_free(l->cache);
}

static yl_status gather(listing *l, const options *o, yl_error *err)
{
    *l = (listing){0};
    yl_status status = tile_cache_open(&l->cache, o->cache_dir, o->cache_size, err);
    if (!status) status = tile_cache_list(&l->entries, &l->n, l->cache, err);
    return status;
}

static uint64_t bytes_of(const listing *l)
{
    uint64_t total = 0;
    for (size_t i = 0; i < l->n; i++) total += l->entries[i].n_bytes;
    return total;
}

/* "layer 3 of model.gguf". Names come from a file: control bytes are not for the terminal. */
static char *describe(char *out, size_t n_out, const tile_cache_entry *e)
{
    if (!e->is_valid) {
        snprintf(out, n_out, "no cache file of this version");
        return out;
    }
    const tile_cache_head *h = &e->head;
    if (h->unit == TILE_CACHE_LAYER)
        snprintf(out, n_out, "layer %" PRIu32 " of %s", h->layer, h->label);
    else
        snprintf(out, n_out, "%s of %s", h->unit == TILE_CACHE_HEAD ? "output head" : "embedding", h->label);
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127) *c = '?';
    return out;
}

/* The format of most of its bytes. */
static const char *format_of(const tile_cache_entry *e)
{
    const tile_cache_tensor *largest = NULL;
    for (uint32_t i = 0; e->is_valid && i < e->head.n_tensors; i++) {
        if (!largest || e->head.tensors[i].n_bytes > largest->n_bytes) largest = &e->head.tensors[i];
    }
    return largest ? quant_type_name(largest->type) : "-";
}

static void format_time(char out[32], const struct timespec *t)
{
    struct tm local;
    if (!localtime_r(&t->tv_sec, &local) || !strftime(out, 32, "%Y-%m-%d %H:%M", &local)) memcpy(out, "-", 2);
}

/* ---- ls ---- */

static void print_list(const listing *l, console *c)
{
    char size[SIZE_BYTES], max[SIZE_BYTES], used[32], what[256];
    if (l->n)
        console_print(c, "%-*s  %9s  %-16s  %-6s  %-6s  %s\n", SHOWN_DIGITS, "name", "size", "last used", "in use", "format",
                      "what");
    for (size_t i = l->n; i-- > 0;) {
        const tile_cache_entry *e = &l->entries[i];
        format_time(used, &e->used);
        console_print(c, "%.*s  %9s  %-16s  %-6s  %-6s  %s\n", SHOWN_DIGITS, e->name,
                      console_format_bytes(size, (double)e->n_bytes), used, e->is_in_use ? "yes" : "no", format_of(e),
                      describe(what, sizeof what, e));
    }
    console_print(c, "%zu files, %s of at most %s, in %s\n", l->n, console_format_bytes(size, (double)bytes_of(l)),
                  console_format_bytes(max, (double)tile_cache_max_bytes(l->cache)), tile_cache_path(l->cache));
}

static cJSON *entry_json(const tile_cache_entry *e)
{
    static const char *const UNITS[] = {"layer", "embedding", "head"};
    cJSON *j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "name", e->name);
    cJSON_AddNumberToObject(j, "bytes", (double)e->n_bytes);
    cJSON_AddNumberToObject(j, "last_used", (double)e->used.tv_sec);
    cJSON_AddBoolToObject(j, "in_use", e->is_in_use);
    cJSON_AddBoolToObject(j, "valid", e->is_valid);
    if (!e->is_valid) return j;
    cJSON_AddStringToObject(j, "unit", UNITS[e->head.unit]);
    if (e->head.unit == TILE_CACHE_LAYER) cJSON_AddNumberToObject(j, "layer", e->head.layer);
    cJSON_AddStringToObject(j, "model", e->head.label);
    cJSON_AddStringToObject(j, "format", format_of(e));
    return j;
}

static yl_status print_json(const listing *l, console *c, yl_error *err)
{
    cJSON *top = cJSON_CreateObject(), *files = cJSON_AddArrayToObject(top, "files");
    cJSON_AddStringToObject(top, "directory", tile_cache_path(l->cache));
    cJSON_AddNumberToObject(top, "bytes", (double)bytes_of(l));
    cJSON_AddNumberToObject(top, "max_bytes", (double)tile_cache_max_bytes(l->cache));
    for (size_t i = 0; i < l->n; i++) cJSON_AddItemToArray(files, entry_json(&l->entries[i]));
    char *text = cJSON_Print(top);
    cJSON_Delete(top);
    if (!text) return yl_fail(err, YL_ENOMEM, "no memory for a list of cache files");
    console_print(c, "%s\n", text);
    cJSON_free(text);
    return YL_OK;
}

static yl_status list(const listing *l, const options *o, console *c, yl_error *err)
{
    yl_status status = YL_OK;
    if (o->json)
        status = print_json(l, c, err);
    else
        print_list(l, c);
    return status ? status : console_check(c, err);
}

/* ---- rm ---- */

/* A name is that of a model's file, or the first digits of a cache file's. */
static bool is_named(const tile_cache_entry *e, const char *name)
{
    if (e->is_valid && strcmp(e->head.label, name) == 0) return true;
    return strlen(name) >= MIN_PREFIX && strncmp(e->name, name, strlen(name)) == 0;
}

static yl_status check_names(const listing *l, const option_list *names, yl_error *err)
{
    for (size_t k = 1; k < names->n; k++) {
        bool is_known = false;
        for (size_t i = 0; i < l->n; i++) is_known |= is_named(&l->entries[i], names->items[k]);
        if (!is_known)
            return yl_fail(err, YL_EINVAL, "nothing in %s is called '%s': `yllama cache ls` tells names", tile_cache_path(l->cache),
                           names->items[k]);
    }
    return YL_OK;
}

static yl_status remove_files(const listing *l, const options *o, console *c, yl_error *err)
{
    const option_list *names = &o->arguments;
    if (!o->all && names->n < 2) return yl_fail(err, YL_EINVAL, "remove which files? Their names, or a model's, or --all");
    yl_status status = check_names(l, names, err);
    if (status) return status;
    size_t n = 0, n_in_use = 0;
    uint64_t n_bytes = 0;
    for (size_t i = 0; i < l->n; i++) {
        const tile_cache_entry *e = &l->entries[i];
        bool chosen = o->all;
        for (size_t k = 1; k < names->n; k++) chosen |= is_named(e, names->items[k]);
        if (!chosen) continue;
        tile_cache_removal how = tile_cache_remove(l->cache, e->name);
        n_in_use += how == TILE_CACHE_IN_USE;
        if (how != TILE_CACHE_REMOVED) continue;
        n++;
        n_bytes += e->n_bytes;
    }
    if (o->all) tile_cache_index_remove_all(l->cache);
    char size[SIZE_BYTES];
    console_print(c, "%zu files removed, %s\n", n, console_format_bytes(size, (double)n_bytes));
    if (n_in_use) console_print(c, "%zu files are in use and stay\n", n_in_use);
    return console_check(c, err);
}

/* ---- verify ---- */

typedef struct verification {
    const tile_file *file;
    uint8_t *is_bad; /* [n_chunks] */
} verification;

static void check_chunks(void *arg, size_t begin, size_t end, uint32_t thread)
{
    (void)thread;
    const verification *v = arg;
    for (size_t i = begin; i < end; i++) v->is_bad[i] = !tile_file_chunk_is_whole(v->file, i);
}

/* True: the file is whole. What is wrong with it is printed. */
static bool check_file(const listing *l, const tile_cache_entry *e, thread_pool *pool, console *c)
{
    yl_error cause;
    tile_file *f;
    if (tile_file_open(&f, l->cache, e->name, &cause)) {
        console_print(c, "%s\n", cause.msg);
        return false;
    }
    size_t n = (size_t)tile_file_head(f)->n_chunks, n_bad = 0, first = 0;
    verification v = {f, calloc(n, 1)};
    if (v.is_bad) thread_pool_run(pool, n, 1, check_chunks, &v);
    for (size_t i = n; v.is_bad && i-- > 0;) {
        n_bad += v.is_bad[i];
        if (v.is_bad[i]) first = i;
    }
    char what[256];
    if (n_bad)
        console_print(c, "%s (%s) is damaged: %zu of %zu chunks, the first is %zu\n", tile_file_path(f),
                      describe(what, sizeof what, e), n_bad, n, first);
    bool is_whole = v.is_bad && !n_bad;
    free(v.is_bad);
    tile_file_close(f);
    return is_whole;
}

static yl_status verify(const listing *l, console *c, yl_error *err)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    thread_pool *pool;
    yl_status status = thread_pool_new(&pool, cores < 1 ? 1 : cores > THREAD_POOL_MAX ? THREAD_POOL_MAX : (uint32_t)cores, err);
    if (status) return status;
    double all = (double)bytes_of(l), done = 0;
    size_t n_bad = 0;
    for (size_t i = 0; i < l->n; i++) {
        console_progress(c, "checking", all > 0 ? done / all : 1);
        n_bad += !check_file(l, &l->entries[i], pool, c);
        done += (double)l->entries[i].n_bytes;
    }
    console_end_progress(c);
    thread_pool_free(pool);
    if (n_bad)
        return yl_fail(err, YL_EFORMAT, "%zu of %zu files in %s are damaged: remove them with `yllama cache rm`", n_bad, l->n,
                       tile_cache_path(l->cache));
    char size[SIZE_BYTES];
    console_print(c, "%zu files, %s: all as they were written\n", l->n, console_format_bytes(size, all));
    return console_check(c, err);
}

yl_status cmd_cache(const options *o, console *c, yl_error *err)
{
    const char *what = o->arguments.n ? o->arguments.items[0] : "ls";
    bool is_rm = strcmp(what, "rm") == 0, is_verify = strcmp(what, "verify") == 0;
    if (!is_rm && !is_verify && strcmp(what, "ls") != 0)
        return yl_fail(err, YL_EINVAL, "cache: '%s' is not ls, rm or verify", what);
    if (!is_rm && o->arguments.n > 1) return yl_fail(err, YL_EINVAL, "cache %s takes no names", what);
    listing l;
    yl_status status = gather(&l, o, err);
    if (!status) status = is_rm ? remove_files(&l, o, c, err) : is_verify ? verify(&l, c, err) : list(&l, o, c, err);
    clear_listing(&l);
    return status;
}
