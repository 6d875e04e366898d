/* gguf_walk.c: every function of gguf.h and hparams.h, on every key and tensor. */
#undef NDEBUG
#include "gguf_walk.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "fnv.h"
#include "hparams.h"

static uint64_t walk_strings(const gguf *g, const char *key)
{
    gguf_str *strings;
    size_t n;
    yl_error err;
    uint64_t sum = 0;
    if (gguf_get_strings(g, key, &strings, &n, &err) != YL_OK) return 0;
    for (size_t i = 0; i < n; i++) sum += fnv1a(strings[i].data, strings[i].n_bytes);
    free(strings);
    return sum;
}

static uint64_t walk_numbers(const gguf *g, const char *key)
{
    float *floats;
    int32_t *ints;
    size_t n;
    yl_error err;
    uint64_t sum = 0;
    if (gguf_get_f32s(g, key, &floats, &n, &err) == YL_OK) {
        if (n) sum += fnv1a(floats, n * sizeof *floats);
        free(floats);
    }
    if (gguf_get_i32s(g, key, &ints, &n, &err) == YL_OK) {
        if (n) sum += fnv1a(ints, n * sizeof *ints);
        free(ints);
    }
    return sum;
}

static uint64_t walk_scalars(const gguf *g, const char *key)
{
    uint32_t u = 0;
    double d = 0;
    bool b = false;
    gguf_str s = {0};
    yl_error err;
    gguf_get_u32(g, key, &u, &err);
    gguf_get_f64_or(g, key, 0, &d, &err);
    gguf_get_bool_or(g, key, false, &b, &err);
    uint64_t sum = u + (d > 0) + b;
    if (gguf_get_str(g, key, &s, &err) == YL_OK) sum += fnv1a(s.data, s.n_bytes);
    return sum;
}

static uint64_t walk_key(const gguf *g, const gguf_kv *kv)
{
    char *key = calloc(kv->key.n_bytes + 1, 1);
    assert(key);
    memcpy(key, kv->key.data, kv->key.n_bytes);
    uint64_t sum = fnv1a(kv->bytes, kv->n_bytes);
    if (strlen(key) == kv->key.n_bytes) { /* a name with a NUL in it cannot be asked for */
        assert(gguf_find_kv(g, key) == kv);
        sum += walk_scalars(g, key) + walk_strings(g, key) + walk_numbers(g, key);
    }
    free(key);
    return sum;
}

static uint64_t walk_tensor(const gguf *g, const gguf_tensor *t)
{
    assert(gguf_find_tensor(g, t->name) == t);
    assert(t->n_dims >= 1 && t->n_dims <= 4 && t->part < gguf_n_parts(g));
    const quant_traits *traits = quant_traits_of(t->type);
    assert(traits && t->n_bytes % traits->block_bytes == 0 && t->n_bytes > 0);
    gguf_advise_needed(g, t);
    uint64_t sum =
        fnv1a(t->data, (size_t)t->n_bytes) + quant_check_finite(t->type, t->data, (size_t)t->n_bytes / traits->block_bytes);
    float y[QUANT_BLOCK_MAX];
    quant_dequantize_row(t->type, t->data + t->n_bytes - traits->block_bytes, y, traits->block_elems);
    gguf_advise_done(g, t);
    return sum + fnv1a(y, traits->block_elems * sizeof *y);
}

static uint64_t walk_hparams(const gguf *g)
{
    hparams hp;
    yl_error err;
    if (hparams_read(&hp, g, &err) != YL_OK) return err.msg[0];
    assert(hparams_check(&hp, &err) == YL_OK);
    uint64_t sum = 0;
    for (tensor_role role = 0; role < TENSOR_ROLE_END; role++) {
        const gguf_tensor *t;
        if (hparams_find_tensor(&t, g, &hp, role, hp.n_layer - 1, &err) == YL_OK && t) sum += t->n_bytes;
    }
    return sum;
}

uint64_t gguf_walk(const gguf *g)
{
    uint64_t sum = gguf_version(g) + gguf_n_parts(g) + gguf_file_bytes(g) + strlen(gguf_path(g));
    for (size_t i = 0; i < gguf_n_kv(g); i++) sum += walk_key(g, gguf_kv_at(g, i));
    for (size_t i = 0; i < gguf_n_tensors(g); i++) sum += walk_tensor(g, gguf_tensor_at(g, i));
    return sum + walk_hparams(g);
}
