/* native_source.c: finds a tensor of an assigned slice in a mapped GGUF file. */
#include "native_source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct native_source {
    gguf *model;
    uint8_t id[MODEL_IDENTITY_BYTES];
};

const gguf_tensor *native_source_tensor(const native_source *s, const frame_tensor *wanted)
{
    char name[TENSOR_NAME_BYTES];
    const gguf_tensor *t = gguf_find_tensor(s->model, tensor_role_name(name, wanted->role, wanted->layer));
    if (!t || t->type != wanted->type || t->ne[0] != wanted->n_cols || t->ne[1] != wanted->n_rows) return NULL;
    return t->ne[2] == 1 && t->ne[3] == 1 ? t : NULL;
}

static const uint8_t *find(void *ctx, const frame_tensor *wanted, uint64_t n_bytes)
{
    native_source *s = ctx;
    const gguf_tensor *t = native_source_tensor(s, wanted);
    if (!t || t->n_bytes != n_bytes) return NULL;
    gguf_advise_needed(s->model, t);
    return t->data;
}

static void done(void *ctx, const uint8_t *data, uint64_t n_bytes)
{
    (void)ctx;
    gguf_drop_pages(data, n_bytes);
}

yl_status native_source_lock(void *ctx, const uint8_t *data, uint64_t n_bytes, yl_error *err)
{
    (void)ctx;
    if (!mlock(data, n_bytes)) return YL_OK;
    return yl_fail(err, YL_EIO, "%.1f MiB of weights cannot be locked in memory: %s (raise 'ulimit -l', or leave --mlock out)",
                   (double)n_bytes / (1024 * 1024), strerror(errno));
}

yl_status native_source_new(native_source **out, const char *path, yl_error *err)
{
    *out = NULL;
    native_source *s = calloc(1, sizeof *s);
    if (!s) return yl_fail(err, YL_ENOMEM, "%s: no memory for its index", path);
    yl_status status = gguf_open(&s->model, path, err);
    if (!status) status = model_identity(s->id, s->model, err);
    if (status) {
        native_source_free(s);
        return status;
    }
    *out = s;
    return YL_OK;
}

void native_source_free(native_source *s)
{
    if (!s) return;
    gguf_free(s->model);
    free(s);
}

weight_source native_source_view(native_source *s)
{
    return (weight_source){.model_id = {s->id, sizeof s->id}, .find = find, .done = done, .lock = native_source_lock, .ctx = s};
}

const gguf *native_source_model(const native_source *s)
{
    return s->model;
}

const uint8_t *native_source_id(const native_source *s)
{
    return s->id;
}
