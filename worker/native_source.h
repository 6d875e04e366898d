/* native_source.h: a model file on this machine as the source of a worker's weights. */
#ifndef YL_NATIVE_SOURCE_H
#define YL_NATIVE_SOURCE_H

#include "gguf.h"
#include "model_identity.h"
#include "worker.h"

typedef struct native_source native_source;

/* Maps the model. Errors as gguf_open. */
yl_status native_source_new(native_source **out, const char *path, yl_error *err);
void native_source_free(native_source *s);

/* What worker_env takes; valid as long as s. */
weight_source native_source_view(native_source *s);
/* weight_source.lock, of any bytes: ctx is not looked at. */
yl_status native_source_lock(void *ctx, const uint8_t *data, uint64_t n_bytes, yl_error *err);

const gguf *native_source_model(const native_source *s);
const uint8_t *native_source_id(const native_source *s); /* [MODEL_IDENTITY_BYTES] */

/* The model's tensor of that role, layer, type and shape; NULL: it has none. */
const gguf_tensor *native_source_tensor(const native_source *s, const frame_tensor *wanted);

#endif
