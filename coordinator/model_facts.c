/* model_facts.c: gathering. */
#include "model_facts.h"

#include <string.h>

#include "session.h"

static void add_up_tensors(model_facts *m)
{
    for (size_t i = 0; i < gguf_n_tensors(m->g); i++) {
        const gguf_tensor *t = gguf_tensor_at(m->g, i);
        model_type_share *share = &m->shares[t->type];
        uint64_t n = t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
        share->n_tensors++;
        share->n_weights += n;
        share->n_bytes += t->n_bytes;
        m->n_weights += n;
        m->weight_bytes += t->n_bytes;
    }
}

static uint32_t choose_n_ctx(const hparams *hp, int32_t asked)
{
    if (asked > 0) return (uint32_t)asked;
    return asked == 0 || hp->n_ctx_train < ENGINE_DEFAULT_CTX ? hp->n_ctx_train : ENGINE_DEFAULT_CTX;
}

/* Keys, a head, and values: f16 each. */
static uint64_t kv_bytes_of(const hparams *hp, uint32_t n_ctx)
{
    return (uint64_t)hp->n_layer * n_ctx * hp->n_head_kv * hp->n_embd_head * 2 * 2;
}

yl_status model_facts_gather(model_facts *m, const char *path, int32_t n_ctx, yl_error *err)
{
    *m = (model_facts){0};
    yl_status status = gguf_open(&m->g, path, err);
    if (status) return status;
    status = gguf_get_str_or(m->g, "general.architecture", "", &m->architecture, err);
    if (!status) status = gguf_get_str_or(m->g, "general.name", "", &m->name, err);
    if (!status) status = gguf_get_str_or(m->g, "tokenizer.chat_template", "", &m->jinja, err);
    if (status) {
        session_name_model(path, err);
        return status;
    }
    m->template = chat_template_recognise(m->jinja.data, m->jinja.n_bytes);
    add_up_tensors(m);
    m->has_hparams = hparams_read(&m->hp, m->g, &m->hparams_error) == YL_OK;
    if (m->has_hparams) {
        m->n_ctx = choose_n_ctx(&m->hp, n_ctx);
        m->kv_bytes = kv_bytes_of(&m->hp, m->n_ctx);
    }
    if (tokenizer_new(&m->t, m->g, &m->tokenizer_error)) m->t = NULL;
    return YL_OK;
}

void model_facts_clear(model_facts *m)
{
    tokenizer_free(m->t);
    gguf_free(m->g);
    *m = (model_facts){0};
}
