/* model_facts_json.c: a model file described for a program. Names are those of hparams.h; sizes are in bytes. */
#include "model_facts.h"

#include <stdlib.h>
#include <string.h>

#include "gguf_value.h"

enum { MAX_JSON_ELEMS = 64 };

static void add_str(cJSON *object, const char *name, gguf_str value)
{
    char *text = gguf_value_text(value, GGUF_VALUE_FOR_JSON);
    if (text) cJSON_AddStringToObject(object, name, text);
    free(text);
}

static void add_hparams(cJSON *root, const model_facts *m)
{
    if (!m->has_hparams) {
        cJSON_AddNullToObject(root, "hparams");
        cJSON_AddStringToObject(root, "cannot_run", m->hparams_error.msg);
        return;
    }
    const hparams *hp = &m->hp;
    static const char *const scalings[] = {
        [ROPE_SCALING_NONE] = "none", [ROPE_SCALING_LINEAR] = "linear", [ROPE_SCALING_YARN] = "yarn"};
    cJSON *object = cJSON_AddObjectToObject(root, "hparams");
    const struct {
        const char *name;
        double value;
    } numbers[] = {
        {"n_layer", hp->n_layer},
        {"n_embd", hp->n_embd},
        {"n_ff", hp->n_ff},
        {"n_head", hp->n_head},
        {"n_head_kv", hp->n_head_kv},
        {"n_embd_head", hp->n_embd_head},
        {"n_rot", hp->n_rot},
        {"n_vocab", hp->n_vocab},
        {"n_ctx_train", hp->n_ctx_train},
        {"rms_eps", (double)hp->rms_eps},
        {"rope_freq_base", hp->rope_freq_base},
        {"rope_factor", hp->rope_factor},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        cJSON_AddNumberToObject(object, numbers[i].name, numbers[i].value);
    cJSON_AddStringToObject(object, "rope_type", scalings[hp->rope_type]);
    cJSON_AddBoolToObject(object, "tied_embeddings", hp->tied_embeddings);
}

static void add_formats(cJSON *root, const model_facts *m)
{
    cJSON *object = cJSON_AddObjectToObject(root, "types");
    for (unsigned type = 0; type < QUANT_TYPE_END; type++) {
        if (m->shares[type].n_tensors == 0) continue;
        cJSON *share = cJSON_AddObjectToObject(object, quant_type_name(type));
        cJSON_AddNumberToObject(share, "tensors", (double)m->shares[type].n_tensors);
        cJSON_AddNumberToObject(share, "weights", (double)m->shares[type].n_weights);
        cJSON_AddNumberToObject(share, "bytes", (double)m->shares[type].n_bytes);
    }
}

static void add_memory(cJSON *root, const model_facts *m)
{
    cJSON *object = cJSON_AddObjectToObject(root, "memory");
    cJSON_AddNumberToObject(object, "weights", (double)m->weight_bytes);
    if (!m->has_hparams) return;
    cJSON_AddNumberToObject(object, "n_ctx", m->n_ctx);
    cJSON_AddNumberToObject(object, "kv_f16", (double)m->kv_bytes);
}

static void add_token(cJSON *object, const char *name, token_id token)
{
    if (token == TOKEN_NONE)
        cJSON_AddNullToObject(object, name);
    else
        cJSON_AddNumberToObject(object, name, token);
}

static void add_tokenizer(cJSON *root, const model_facts *m)
{
    const tokenizer *t = m->t;
    if (!t) {
        cJSON_AddNullToObject(root, "tokenizer");
        return;
    }
    cJSON *object = cJSON_AddObjectToObject(root, "tokenizer");
    cJSON_AddStringToObject(object, "model", tokenizer_model(t));
    cJSON_AddStringToObject(object, "pre", tokenizer_pre(t));
    cJSON_AddNumberToObject(object, "n_vocab", tokenizer_n_vocab(t));
    cJSON_AddBoolToObject(object, "adds_bos", tokenizer_adds_bos(t));
    cJSON_AddBoolToObject(object, "adds_eos", tokenizer_adds_eos(t));
    add_token(object, "bos", tokenizer_bos(t));
    add_token(object, "eos", tokenizer_eos(t));
    add_token(object, "eot", tokenizer_eot(t));
    add_token(object, "eom", tokenizer_eom(t));
    size_t n;
    const token_id *ends = tokenizer_ends(t, &n);
    cJSON *array = cJSON_AddArrayToObject(object, "ends");
    for (size_t i = 0; i < n; i++) cJSON_AddItemToArray(array, cJSON_CreateNumber(ends[i]));
}

static void add_template(cJSON *root, const model_facts *m)
{
    if (m->jinja.n_bytes == 0) {
        cJSON_AddNullToObject(root, "chat_template");
        return;
    }
    cJSON *object = cJSON_AddObjectToObject(root, "chat_template");
    cJSON_AddStringToObject(object, "recognised_as", chat_template_name(m->template));
    add_str(object, "jinja", m->jinja);
}

static void add_metadata(cJSON *root, const model_facts *m)
{
    cJSON *object = cJSON_AddObjectToObject(root, "metadata");
    for (size_t i = 0; i < gguf_n_kv(m->g); i++) {
        const gguf_kv *kv = gguf_kv_at(m->g, i);
        char *key = gguf_value_text(kv->key, GGUF_VALUE_FOR_JSON);
        if (key) cJSON_AddItemToObject(object, key, gguf_value_json(kv, MAX_JSON_ELEMS));
        free(key);
    }
}

static void add_tensors(cJSON *root, const model_facts *m)
{
    cJSON *array = cJSON_AddArrayToObject(root, "tensors");
    for (size_t i = 0; i < gguf_n_tensors(m->g); i++) {
        const gguf_tensor *t = gguf_tensor_at(m->g, i);
        cJSON *object = cJSON_CreateObject();
        cJSON_AddStringToObject(object, "name", t->name);
        cJSON_AddStringToObject(object, "type", quant_type_name(t->type));
        cJSON *shape = cJSON_AddArrayToObject(object, "shape");
        for (uint32_t d = 0; d < t->n_dims; d++) cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)t->ne[d]));
        cJSON_AddNumberToObject(object, "bytes", (double)t->n_bytes);
        cJSON_AddNumberToObject(object, "part", t->part);
        cJSON_AddNumberToObject(object, "offset", (double)t->offset);
        cJSON_AddItemToArray(array, object);
    }
}

yl_status model_facts_write_json(const model_facts *m, bool with_tensors, console *c, yl_error *err)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "file", gguf_path(m->g));
    cJSON_AddNumberToObject(root, "gguf_version", gguf_version(m->g));
    cJSON_AddNumberToObject(root, "file_bytes", (double)gguf_file_bytes(m->g));
    cJSON_AddNumberToObject(root, "parts", gguf_n_parts(m->g));
    add_str(root, "name", m->name);
    add_str(root, "architecture", m->architecture);
    add_hparams(root, m);
    add_formats(root, m);
    add_memory(root, m);
    add_tokenizer(root, m);
    add_template(root, m);
    add_metadata(root, m);
    if (with_tensors) add_tensors(root, m);
    char *text = cJSON_Print(root); /* NULL too when one of the calls above had no memory for the root */
    cJSON_Delete(root);
    if (!text) return yl_fail(err, YL_ENOMEM, "no memory for JSON");
    if (console_write(c, text, strlen(text))) console_write(c, "\n", 1);
    cJSON_free(text);
    return console_check(c, err);
}
