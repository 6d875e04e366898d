/* model_spec.c: what a test model is like: defaults, mixes of formats, and the shapes of real models. */
#include <string.h>
#include <strings.h>

#include "model_maker.h"

model_spec model_spec_default(void)
{
    model_spec spec = {
        .hp = {.n_vocab = 320,
               .n_ctx_train = 512,
               .n_embd = 256,
               .n_layer = 2,
               .n_ff = 512,
               .n_head = 4,
               .n_head_kv = 2,
               .rms_eps = 1e-5f,
               .rope_freq_base = 10000,
               .rope_factor = 1,
               .rope_attn_factor = 1,
               .rope_ext_factor = 1,
               .rope_beta_fast = 32,
               .rope_beta_slow = 1},
        .logit_spread = 2.5f,
        .seed = 1,
        .n_parts = 1,
        .alignment = 32,
    };
    model_spec_set_type(&spec, QUANT_F32);
    return spec;
}

void model_spec_set_type(model_spec *spec, quant_type type)
{
    for (int role = 0; role < TENSOR_ROLE_END; role++) spec->types[role] = spec->more_types[role] = type;
}

/* As llama.cpp's quantizer mixes them for a Llama (src/llama-quant.cpp), in the main. */
static void set_mix(model_spec *spec, quant_type most, quant_type more)
{
    model_spec_set_type(spec, most);
    spec->more_types[TENSOR_ATTN_V] = more;
    spec->more_types[TENSOR_FFN_DOWN] = more;
    spec->types[spec->hp.tied_embeddings ? TENSOR_TOKEN_EMBD : TENSOR_OUTPUT] = QUANT_Q6_K;
}

bool model_spec_parse_type(model_spec *spec, const char *name)
{
    static const struct {
        const char *name;
        quant_type most, more;
    } mixes[] = {
        {"Q3_K_M", QUANT_Q3_K, QUANT_Q5_K},
        {"Q4_K_M", QUANT_Q4_K, QUANT_Q6_K},
        {"Q5_K_M", QUANT_Q5_K, QUANT_Q6_K},
    };
    for (size_t i = 0; i < sizeof mixes / sizeof mixes[0]; i++) {
        if (strcasecmp(name, mixes[i].name) != 0) continue;
        set_mix(spec, mixes[i].most, mixes[i].more);
        return true;
    }
    quant_type type;
    if (!quant_type_parse(name, &type)) return false;
    model_spec_set_type(spec, type);
    return true;
}

bool model_spec_parse_shape(model_spec *spec, const char *name)
{
    /* From the models' config.json on Hugging Face. */
    static const struct {
        const char *name;
        uint32_t n_vocab, n_ctx, n_embd, n_layer, n_ff, n_head, n_head_kv;
        double freq_base;
        bool tied, rope_freqs;
    } shapes[] = {
        {"llama-3.2-1b", 128256, 131072, 2048, 16, 8192, 32, 8, 500000, true, true},
        {"llama-3.2-3b", 128256, 131072, 3072, 28, 8192, 24, 8, 500000, true, true},
        {"llama-3-8b", 128256, 8192, 4096, 32, 14336, 32, 8, 500000, false, false},
        {"tinyllama-1.1b", 32000, 2048, 2048, 22, 5632, 32, 4, 10000, false, false},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        if (strcasecmp(name, shapes[i].name) != 0) continue;
        hparams *hp = &spec->hp;
        hp->n_vocab = shapes[i].n_vocab;
        hp->n_ctx_train = shapes[i].n_ctx;
        hp->n_embd = shapes[i].n_embd;
        hp->n_layer = shapes[i].n_layer;
        hp->n_ff = shapes[i].n_ff;
        hp->n_head = shapes[i].n_head;
        hp->n_head_kv = shapes[i].n_head_kv;
        hp->n_embd_head = hp->n_rot = shapes[i].n_embd / shapes[i].n_head;
        hp->rope_freq_base = shapes[i].freq_base;
        hp->tied_embeddings = shapes[i].tied;
        spec->rope_freqs = shapes[i].rope_freqs;
        return true;
    }
    return false;
}
