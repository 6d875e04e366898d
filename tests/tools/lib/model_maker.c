/* model_maker.c: a list of tensors, dealt out over the parts, each filled from a stream of random numbers of its own.
 *
 * The stream depends on seed, role and layer only, so a tensor's integers do not change when another's type does. A tensor is made
 * and written in chunks of a megabyte: the largest model needs no more memory than the smallest. */
#include "model_maker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dummy_vocab.h"
#include "gguf_writer.h"
#include "numerics.h"
#include "random_weights.h"

enum { CHUNK_BYTES = 1 << 20 };

/* One tensor to be made. */
typedef struct made_tensor {
    tensor_role role;
    uint32_t layer;
    quant_type type;
    uint64_t n_rows, n_cols;
} made_tensor;

typedef struct tensor_list {
    made_tensor *data;
    size_t n;
} tensor_list;

/* Whether llama.cpp's mixes give a layer more bits: the first and last eighth, and every third between
 * (use_more_bits in its src/llama-quant.cpp). */
static bool layer_gets_more(uint32_t layer, uint32_t n_layer)
{
    return layer < n_layer / 8 || layer >= 7 * n_layer / 8 || (layer - n_layer / 8) % 3 == 2;
}

static bool is_wanted(const model_spec *spec, tensor_role role)
{
    if (role >= TENSOR_ATTN_Q_BIAS && role <= TENSOR_FFN_DOWN_BIAS) return spec->biases;
    if (role == TENSOR_OUTPUT) return !spec->hp.tied_embeddings;
    if (role == TENSOR_ROPE_FREQS) return spec->rope_freqs;
    return true;
}

static yl_status add_tensor(tensor_list *list, const model_spec *spec, tensor_role role, uint32_t layer, yl_error *err)
{
    tensor_spec shape = hparams_tensor_spec(&spec->hp, role);
    bool more = role < TENSOR_LAYER_END && layer_gets_more(layer, spec->hp.n_layer);
    quant_type type = shape.is_vector ? QUANT_F32 : more ? spec->more_types[role] : spec->types[role];
    const quant_traits *traits = quant_traits_of(type);
    if (!traits) return yl_fail(err, YL_EINVAL, "type number %u is not supported", (unsigned)type);
    if (shape.n_cols % traits->block_elems != 0) {
        char name[TENSOR_NAME_BYTES];
        return yl_fail(err, YL_EINVAL, "%s needs rows of a multiple of %u elements, but those of %s have %llu", traits->name,
                       (unsigned)traits->block_elems, tensor_role_name(name, role, layer), (unsigned long long)shape.n_cols);
    }
    list->data[list->n++] = (made_tensor){role, layer, type, shape.n_rows, shape.n_cols};
    return YL_OK;
}

/* In the order that llama.cpp's converter writes them: the embedding, layer after layer, the head. */
static yl_status list_tensors(tensor_list *list, const model_spec *spec, yl_error *err)
{
    list->n = 0;
    list->data = calloc((size_t)spec->hp.n_layer * TENSOR_LAYER_END + TENSOR_ROLE_END, sizeof *list->data);
    if (!list->data) return yl_fail(err, YL_ENOMEM, "no memory for a list of tensors");
    yl_status status = add_tensor(list, spec, TENSOR_TOKEN_EMBD, 0, err);
    if (!status && is_wanted(spec, TENSOR_ROPE_FREQS)) status = add_tensor(list, spec, TENSOR_ROPE_FREQS, 0, err);
    for (uint32_t layer = 0; layer < spec->hp.n_layer; layer++) {
        for (tensor_role role = 0; role < TENSOR_LAYER_END && !status; role++) {
            if (is_wanted(spec, role)) status = add_tensor(list, spec, role, layer, err);
        }
    }
    if (!status) status = add_tensor(list, spec, TENSOR_OUTPUT_NORM, 0, err);
    if (!status && is_wanted(spec, TENSOR_OUTPUT)) status = add_tensor(list, spec, TENSOR_OUTPUT, 0, err);
    return status;
}

/* Standard deviation of a matrix's weights. 1 / sqrt(n_cols) keeps the length of a normed row. The output matrix gives logits of
 * the spread that was asked for; queries are longer, so that attention prefers some positions; an embedding that is not the output
 * matrix too has length one an element, so that the first layers do not forget the token at once. */
static float deviation(const model_spec *spec, const made_tensor *t)
{
    float even = (float)(1 / yl_pow((double)t->n_cols, 0.5));
    switch (t->role) {
    case TENSOR_TOKEN_EMBD: return spec->hp.tied_embeddings ? spec->logit_spread * even : 1;
    case TENSOR_OUTPUT: return spec->logit_spread * even;
    case TENSOR_ATTN_Q: return 2 * even;
    default: return even;
    }
}

/* Llama 3.1's divisors of the frequencies: 1 for pairs with a wavelength below 8192 / 4 positions, 8 above 8192, between them a
 * straight line over 8192 / wavelength (Hugging Face transformers, modeling_rope_utils.py, rope_type "llama3"). */
static void fill_rope_freqs(const hparams *hp, float *v)
{
    const double two_pi = 6.283185307179586, context = 8192, factor = 8, low = 1, high = 4;
    for (uint32_t i = 0; i < hp->n_rot / 2; i++) {
        double wavelength = two_pi * yl_pow(hp->rope_freq_base, 2.0 * i / hp->n_rot);
        double smooth = (context / wavelength - low) / (high - low);
        if (smooth < 0) smooth = 0;
        if (smooth > 1) smooth = 1;
        v[i] = (float)(1 / ((1 - smooth) / factor + smooth));
    }
}

static void fill_vector(const model_spec *spec, const made_tensor *t, float *v, prng *r)
{
    if (t->role == TENSOR_ROPE_FREQS) {
        fill_rope_freqs(&spec->hp, v);
        return;
    }
    bool is_norm = t->role == TENSOR_ATTN_NORM || t->role == TENSOR_FFN_NORM || t->role == TENSOR_OUTPUT_NORM;
    for (uint64_t i = 0; i < t->n_cols; i++) v[i] = (is_norm ? 1.0f : 0.0f) + 0.4f * (prng_f32(r) - 0.5f);
}

/* chunk: CHUNK_BYTES of scratch. */
static yl_status write_matrix(gguf_writer *w, const model_spec *spec, const made_tensor *t, prng *r, uint8_t *chunk, yl_error *err)
{
    const quant_traits *traits = quant_traits_of(t->type);
    float scale = random_weights_scale(t->type, deviation(spec, t));
    uint64_t n_left = t->n_rows * (t->n_cols / traits->block_elems);
    yl_status status = YL_OK;
    while (n_left > 0 && !status) {
        size_t n = CHUNK_BYTES / traits->block_bytes;
        if (n > n_left) n = (size_t)n_left;
        random_weights(t->type, chunk, n, scale, r);
        status = gguf_writer_data(w, chunk, n * traits->block_bytes, err);
        n_left -= n;
    }
    return status;
}

static yl_status write_tensor(gguf_writer *w, const model_spec *spec, const made_tensor *t, uint8_t *chunk, yl_error *err)
{
    prng r = prng_stream(spec->seed, t->role, t->layer);
    if (!hparams_tensor_spec(&spec->hp, t->role).is_vector) return write_matrix(w, spec, t, &r, chunk, err);
    float *v = calloc((size_t)t->n_cols, sizeof *v);
    if (!v) return yl_fail(err, YL_ENOMEM, "no memory for a vector");
    fill_vector(spec, t, v, &r);
    yl_status status = gguf_writer_data(w, v, (size_t)t->n_cols * sizeof *v, err);
    free(v);
    return status;
}

static void write_rope_keys(gguf_writer *w, const hparams *hp)
{
    static const char *const types[] = {"none", "linear", "yarn"};
    gguf_writer_f32(w, "llama.rope.freq_base", (float)hp->rope_freq_base);
    if (hp->rope_type == ROPE_SCALING_NONE) return;
    gguf_writer_str(w, "llama.rope.scaling.type", types[hp->rope_type]);
    gguf_writer_f32(w, "llama.rope.scaling.factor", (float)hp->rope_factor);
    if (hp->rope_type != ROPE_SCALING_YARN) return;
    gguf_writer_u32(w, "llama.rope.scaling.original_context_length", hp->rope_orig_ctx);
    gguf_writer_f32(w, "llama.rope.scaling.attn_factor", (float)hp->rope_attn_factor);
    gguf_writer_f32(w, "llama.rope.scaling.yarn_ext_factor", (float)hp->rope_ext_factor);
    gguf_writer_f32(w, "llama.rope.scaling.yarn_beta_fast", (float)hp->rope_beta_fast);
    gguf_writer_f32(w, "llama.rope.scaling.yarn_beta_slow", (float)hp->rope_beta_slow);
}

static yl_status write_keys(gguf_writer *w, const hparams *hp, yl_error *err)
{
    gguf_writer_str(w, "general.architecture", "llama");
    gguf_writer_str(w, "general.name", "random weights");
    gguf_writer_u32(w, "general.quantization_version", 2);
    gguf_writer_u32(w, "llama.vocab_size", hp->n_vocab);
    gguf_writer_u32(w, "llama.context_length", hp->n_ctx_train);
    gguf_writer_u32(w, "llama.embedding_length", hp->n_embd);
    gguf_writer_u32(w, "llama.block_count", hp->n_layer);
    gguf_writer_u32(w, "llama.feed_forward_length", hp->n_ff);
    gguf_writer_u32(w, "llama.attention.head_count", hp->n_head);
    gguf_writer_u32(w, "llama.attention.head_count_kv", hp->n_head_kv);
    gguf_writer_u32(w, "llama.attention.key_length", hp->n_embd_head);
    gguf_writer_u32(w, "llama.attention.value_length", hp->n_embd_head);
    gguf_writer_u32(w, "llama.rope.dimension_count", hp->n_rot);
    gguf_writer_f32(w, "llama.attention.layer_norm_rms_epsilon", hp->rms_eps);
    write_rope_keys(w, hp);
    return dummy_vocab_write(w, hp->n_vocab, err);
}

/* One file: part `no`, with tensors [begin, end) of the list. */
typedef struct part {
    const model_spec *spec;
    const tensor_list *list;
    uint32_t no;
    size_t begin, end;
} part;

static yl_status write_part_to(gguf_writer *w, const part *p, uint8_t *chunk, yl_error *err)
{
    yl_status status = p->no == 0 ? write_keys(w, &p->spec->hp, err) : YL_OK;
    if (status) return status;
    if (p->spec->n_parts > 1) {
        gguf_writer_u16(w, "split.no", (uint16_t)p->no);
        gguf_writer_u16(w, "split.count", (uint16_t)p->spec->n_parts);
        gguf_writer_i32(w, "split.tensors.count", (int32_t)p->list->n);
    }
    for (size_t i = p->begin; i < p->end; i++) {
        const made_tensor *t = &p->list->data[i];
        char name[TENSOR_NAME_BYTES];
        uint64_t ne[2] = {t->n_cols, t->n_rows};
        bool is_vector = hparams_tensor_spec(&p->spec->hp, t->role).is_vector;
        gguf_writer_tensor(w, tensor_role_name(name, t->role, t->layer), t->type, is_vector ? 1 : 2, ne);
    }
    status = gguf_writer_begin_data(w, err);
    for (size_t i = p->begin; i < p->end && !status; i++) status = write_tensor(w, p->spec, &p->list->data[i], chunk, err);
    return status ? status : gguf_writer_finish(w, err);
}

static yl_status write_part(const char *path, const part *p, yl_error *err)
{
    FILE *file = fopen(path, "wb");
    if (!file) return yl_fail(err, YL_EIO, "%s: cannot be created: %s", path, strerror(errno));
    uint8_t *chunk = malloc(CHUNK_BYTES);
    gguf_writer *w = NULL;
    yl_status status = chunk ? YL_OK : yl_fail(err, YL_ENOMEM, "no memory for a buffer");
    if (!status) status = gguf_writer_new(&w, file, p->spec->alignment, err);
    if (!status) status = write_part_to(w, p, chunk, err);
    gguf_writer_free(w);
    free(chunk);
    if (fclose(file) != 0 && !status) status = yl_fail(err, YL_EIO, "cannot be written: %s", strerror(errno));
    if (status) yl_error_context(err, "%s: ", path);
    return status;
}

void model_maker_part_path(char *out, size_t capacity, const char *path, uint32_t i, uint32_t n_parts)
{
    size_t n = strlen(path);
    if (n >= 5 && strcmp(path + n - 5, ".gguf") == 0) n -= 5;
    if (n_parts <= 1)
        snprintf(out, capacity, "%s", path);
    else
        snprintf(out, capacity, "%.*s-%05u-of-%05u.gguf", (int)n, path, (unsigned)(i + 1), (unsigned)n_parts);
}

static yl_status write_parts(const char *path, const model_spec *spec, const tensor_list *list, yl_error *err)
{
    if (spec->n_parts > list->n) {
        return yl_fail(err, YL_EINVAL, "%zu tensors cannot fill %u parts", list->n, (unsigned)spec->n_parts);
    }
    yl_status status = YL_OK;
    for (uint32_t i = 0; i < spec->n_parts && !status; i++) {
        char part_path[4096];
        model_maker_part_path(part_path, sizeof part_path, path, i, spec->n_parts);
        part p = {spec, list, i, list->n * i / spec->n_parts, list->n * (i + 1) / spec->n_parts};
        status = write_part(part_path, &p, err);
    }
    return status;
}

yl_status model_maker_write(const char *path, const model_spec *spec_in, yl_error *err)
{
    model_spec spec = *spec_in;
    hparams *hp = &spec.hp;
    if (!hp->n_head_kv) hp->n_head_kv = hp->n_head;
    if (!hp->n_embd_head && hp->n_head) hp->n_embd_head = hp->n_embd / hp->n_head;
    if (!hp->n_rot) hp->n_rot = hp->n_embd_head;
    if (!hp->rope_orig_ctx) hp->rope_orig_ctx = hp->n_ctx_train;
    if (!spec.n_parts) spec.n_parts = 1;
    yl_status status = hparams_check(hp, err);
    if (status) return status;
    tensor_list list;
    status = list_tensors(&list, &spec, err);
    if (!status) status = write_parts(path, &spec, &list, err);
    free(list.data);
    return status;
}
