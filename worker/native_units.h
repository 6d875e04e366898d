/* native_units.h: a slice's tensors, sorted into the files of the weight cache that hold them. */
#ifndef YL_NATIVE_UNITS_H
#define YL_NATIVE_UNITS_H

#include "native_source.h"
#include "tile_cache_dir.h"
#include "tile_cache_index.h"

/* A file of the slice. */
typedef struct native_unit {
    tile_cache_head head;
    const gguf_tensor
        *sources[TILE_CACHE_MAX_TENSORS];  /* in the worker's own model; NULL: it has not that tensor, or there is none */
    bool has_hash[TILE_CACHE_MAX_TENSORS]; /* that ASSIGN tells */
    uint8_t hashes[TILE_CACHE_MAX_TENSORS][TILE_CACHE_HASH_BYTES];
    bool has_key;
    bool was_made;      /* in this process: it needs no checking */
    tile_file *file;    /* NULL: not there */
    tile_file *begun;   /* that is being filled from memory */
    uint32_t kept_bits; /* tensors of it that are in */
} native_unit;

/* Where a tensor of the list is. */
typedef struct native_place {
    uint32_t unit; /* UINT32_MAX: in none */
    tensor_role role;
} native_place;

typedef struct native_units {
    native_unit *list; /* [n] */
    uint32_t n;
    native_place *places; /* [n_tensors] */
    uint32_t n_tensors;
} native_units;

/* Plans all of the order's files. source: the model that it is made from; NULL: none. Start with {0}, release with
 * native_units_clear, also after an error. Errors as tile_cache_plan, and YL_ENOMEM. */
yl_status native_units_make(native_units *u, const weight_order *order, const native_source *source, yl_error *err);
void native_units_clear(native_units *u); /* closes the files, too */

/* Has the model all tensors of the file? */
bool native_unit_is_complete(const native_unit *u);
/* Its tensor of that role: there is one. */
uint32_t native_unit_tensor(const native_unit *u, tensor_role role);

/* Gives it its key, if all hashes are known: from index (NULL: there is none), where those of the worker's own model are, or else
 * from ASSIGN. YL_EFORMAT: the two are known and differ. */
yl_status native_unit_set_key(native_unit *u, const gguf *model, const tile_cache_index *index, yl_error *err);

#endif
