/* model_facts.h: what `yllama inspect` tells of a model file, gathered before it is written as text or as JSON.
 *
 * A model that cannot be run here is described all the same, as far as it is understood. */
#ifndef YL_MODEL_FACTS_H
#define YL_MODEL_FACTS_H

#include "chat_template.h"
#include "console.h"
#include "gguf.h"
#include "hparams.h"
#include "options.h"
#include "tokenizer.h"

typedef struct model_type_share {
    uint64_t n_tensors, n_weights, n_bytes;
} model_type_share;

typedef struct model_facts {
    gguf *g;
    bool has_hparams;
    hparams hp;
    yl_error hparams_error;             /* why not */
    tokenizer *t;                       /* NULL: not understood */
    yl_error tokenizer_error;           /* why not */
    gguf_str architecture, name, jinja; /* "" when absent */
    chat_template template;
    model_type_share shares[QUANT_TYPE_END]; /* by number format */
    uint64_t n_weights, weight_bytes;
    uint32_t n_ctx;    /* that kv_bytes is for */
    uint64_t kv_bytes; /* of one sequence, at f16; 0 without hparams */
} model_facts;

/* n_ctx: as the flag -c, -1 when not given. Release with model_facts_clear, also after an error. */
yl_status model_facts_gather(model_facts *m, const char *path, int32_t n_ctx, yl_error *err);
void model_facts_clear(model_facts *m);

/* Writes them to standard output. YL_ENOMEM; console_check tells of output that could not be written. */
yl_status model_facts_write_text(const model_facts *m, bool with_tensors, console *c, yl_error *err);
yl_status model_facts_write_json(const model_facts *m, bool with_tensors, console *c, yl_error *err);

#endif
