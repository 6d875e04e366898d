/* native_units.c: which tensor goes to which file, and what that file is called. */
#include "native_units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Tells a person where the file came from. */
static void write_label(tile_cache_head *h, const weight_order *order, const native_source *source)
{
    if (source) {
        const char *path = gguf_path(native_source_model(source)), *slash = strrchr(path, '/');
        snprintf(h->label, sizeof h->label, "%s", slash ? slash + 1 : path);
        return;
    }
    uint8_t id[4] = {0};
    memcpy(id, order->model_id.data, order->model_id.n_bytes < sizeof id ? order->model_id.n_bytes : sizeof id);
    snprintf(h->label, sizeof h->label, "sent-%02x%02x%02x%02x", id[0], id[1], id[2], id[3]);
}

static native_unit *find_unit(native_units *units, tile_cache_unit kind, uint32_t layer)
{
    for (uint32_t i = units->n; i-- > 0;) {
        if (units->list[i].head.unit == kind && units->list[i].head.layer == layer) return &units->list[i];
    }
    native_unit *u = &units->list[units->n++];
    *u = (native_unit){.head = {.unit = kind, .layer = layer}};
    return u;
}

/* Puts a tensor among its unit's by its role. */
static void add_tensor(native_unit *u, const frame_tensor *t, const native_source *source)
{
    uint32_t at = u->head.n_tensors++;
    for (; at > 0 && u->head.tensors[at - 1].role > t->role; at--) {
        u->head.tensors[at] = u->head.tensors[at - 1];
        u->sources[at] = u->sources[at - 1];
        u->has_hash[at] = u->has_hash[at - 1];
        memcpy(u->hashes[at], u->hashes[at - 1], sizeof u->hashes[at]);
    }
    u->head.tensors[at] = (tile_cache_tensor){.role = t->role, .type = t->type, .n_rows = t->n_rows, .n_cols = t->n_cols};
    u->sources[at] = source ? native_source_tensor(source, t) : NULL;
    u->has_hash[at] = t->has_hash;
    memcpy(u->hashes[at], t->hash, sizeof u->hashes[at]);
}

yl_status native_units_make(native_units *u, const weight_order *order, const native_source *source, yl_error *err)
{
    u->list = calloc(order->n, sizeof *u->list);
    u->places = calloc(order->n, sizeof *u->places);
    if (!u->list || !u->places) return yl_fail(err, YL_ENOMEM, "no memory for a list of cache files");
    u->n_tensors = order->n;
    for (uint32_t i = 0; i < order->n; i++) {
        const frame_tensor *t = &order->tensors[i];
        tile_cache_unit kind;
        u->places[i] = (native_place){UINT32_MAX, t->role};
        if (!tile_cache_unit_of(t->role, &kind)) continue;
        native_unit *unit = find_unit(u, kind, t->layer);
        add_tensor(unit, t, source);
        u->places[i].unit = (uint32_t)(unit - u->list);
    }
    yl_status status = YL_OK;
    for (uint32_t i = 0; i < u->n && !status; i++) {
        write_label(&u->list[i].head, order, source);
        status = tile_cache_plan(&u->list[i].head, err);
    }
    return status;
}

void native_units_clear(native_units *u)
{
    for (uint32_t i = 0; i < u->n; i++) {
        tile_file_close(u->list[i].file);
        tile_file_close(u->list[i].begun);
    }
    free(u->list);
    free(u->places);
    *u = (native_units){0};
}

bool native_unit_is_complete(const native_unit *u)
{
    for (uint32_t i = 0; i < u->head.n_tensors; i++) {
        if (!u->sources[i]) return false;
    }
    return true;
}

uint32_t native_unit_tensor(const native_unit *u, tensor_role role)
{
    uint32_t k = 0;
    while (u->head.tensors[k].role != role) k++;
    return k;
}

yl_status native_unit_set_key(native_unit *u, const gguf *model, const tile_cache_index *index, yl_error *err)
{
    uint8_t hashes[TILE_CACHE_MAX_TENSORS][TILE_CACHE_HASH_BYTES];
    for (uint32_t i = 0; i < u->head.n_tensors; i++) {
        const gguf_tensor *t = u->sources[i];
        const uint8_t *own = index && t ? tile_cache_index_get(index, gguf_tensor_number(model, t)) : NULL;
        if (!own && !u->has_hash[i]) return YL_OK;
        if (own && u->has_hash[i] && memcmp(own, u->hashes[i], sizeof u->hashes[i]) != 0)
            return yl_fail(
                err, YL_EFORMAT,
                "%s: tensor %s has other bytes than the coordinator's (by their SHA-256): one of the two files is damaged",
                gguf_path(model), t->name);
        memcpy(hashes[i], own ? own : u->hashes[i], sizeof hashes[i]);
    }
    yl_status status = tile_cache_set_key(&u->head, hashes, err);
    u->has_key = !status;
    return status;
}
