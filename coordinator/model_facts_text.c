/* model_facts_text.c: a model file described for a person. */
#include "model_facts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_value.h"

enum { MAX_TEMPLATE_LINES = 4, TEMPLATE_COLUMNS = 96 };

static void print_field(FILE *f, const char *name, gguf_str value)
{
    char *text = gguf_value_text(value, GGUF_VALUE_FOR_TERMINAL);
    if (text && *text) fprintf(f, "%-14s %s\n", name, text);
    free(text);
}

static void print_hparams(FILE *f, const model_facts *m)
{
    const hparams *hp = &m->hp;
    static const char *const scalings[] = {
        [ROPE_SCALING_NONE] = "none", [ROPE_SCALING_LINEAR] = "linear", [ROPE_SCALING_YARN] = "YaRN"};
    if (!m->has_hparams) {
        fprintf(f, "\nCannot be run here: %s\n", m->hparams_error.msg);
        return;
    }
    fprintf(f, "\nDimensions\n");
    fprintf(f, "  n_layer      %" PRIu32 "\n  n_embd       %" PRIu32 "\n  n_ff         %" PRIu32 "\n", hp->n_layer, hp->n_embd,
            hp->n_ff);
    fprintf(f, "  n_head       %" PRIu32 "\n  n_head_kv    %" PRIu32 "\n  n_embd_head  %" PRIu32 "\n", hp->n_head, hp->n_head_kv,
            hp->n_embd_head);
    fprintf(f, "  n_vocab      %" PRIu32 "%s\n", hp->n_vocab, hp->tied_embeddings ? " (output uses the embedding)" : "");
    fprintf(f, "  n_ctx_train  %" PRIu32 "\n  rms_eps      %g\n", hp->n_ctx_train, (double)hp->rms_eps);
    fprintf(f, "  rope         %" PRIu32 " of a head's elements, base %g, scaling %s", hp->n_rot, hp->rope_freq_base,
            scalings[hp->rope_type]);
    if (hp->rope_type != ROPE_SCALING_NONE) fprintf(f, " by %g", hp->rope_factor);
    fprintf(f, "%s\n", gguf_find_tensor(m->g, "rope_freqs.weight") ? ", with frequency factors" : "");
}

static void print_formats(FILE *f, const model_facts *m)
{
    char bytes[32];
    fprintf(f, "\nNumber formats\n");
    for (unsigned type = 0; type < QUANT_TYPE_END; type++) {
        const model_type_share *share = &m->shares[type];
        if (share->n_tensors == 0) continue;
        fprintf(f, "  %-7s %4" PRIu64 " tensors  %14" PRIu64 " weights  %10s\n", quant_type_name(type), share->n_tensors,
                share->n_weights, console_format_bytes(bytes, (double)share->n_bytes));
    }
    double bits = m->n_weights > 0 ? 8.0 * (double)m->weight_bytes / (double)m->n_weights : 0;
    fprintf(f, "  %-7s %4zu tensors  %14" PRIu64 " weights  %10s, %.2f bits a weight\n", "all", gguf_n_tensors(m->g), m->n_weights,
            console_format_bytes(bytes, (double)m->weight_bytes), bits);
}

static void print_memory(FILE *f, const model_facts *m)
{
    if (!m->has_hparams) return;
    char weights[32], kv[32], sum[32];
    fprintf(f, "\nMemory: %s = %s of weights + %s of KV cache (%" PRIu32 " positions, f16; -c changes that), over all workers\n",
            console_format_bytes(sum, (double)(m->weight_bytes + m->kv_bytes)),
            console_format_bytes(weights, (double)m->weight_bytes), console_format_bytes(kv, (double)m->kv_bytes), m->n_ctx);
}

static void print_token(FILE *f, const tokenizer *t, const char *name, token_id token)
{
    if (token == TOKEN_NONE) return;
    char piece[128];
    size_t n = tokenizer_piece(t, token, true, piece, sizeof piece);
    char *text = gguf_value_text((gguf_str){piece, n < sizeof piece ? n : sizeof piece}, GGUF_VALUE_FOR_TERMINAL);
    fprintf(f, "  %-5s %6d  %s\n", name, (int)token, text ? text : "");
    free(text);
}

static void print_tokenizer(FILE *f, const model_facts *m)
{
    const tokenizer *t = m->t;
    if (!t) {
        fprintf(f, "\nTokenizer: not understood: %s\n", m->tokenizer_error.msg);
        return;
    }
    const char *pre = tokenizer_pre(t);
    fprintf(f, "\nTokenizer: %s%s%s, %" PRIu32 " tokens; a text gets %s in front%s\n", tokenizer_model(t),
            *pre ? ", words as in " : "", pre, tokenizer_n_vocab(t), tokenizer_adds_bos(t) ? "BOS" : "nothing",
            tokenizer_adds_eos(t) ? " and EOS behind" : "");
    print_token(f, t, "BOS", tokenizer_bos(t));
    print_token(f, t, "EOS", tokenizer_eos(t));
    print_token(f, t, "EOT", tokenizer_eot(t));
    print_token(f, t, "EOM", tokenizer_eom(t));
    print_token(f, t, "UNK", tokenizer_unk(t));
    size_t n;
    const token_id *ends = tokenizer_ends(t, &n);
    for (size_t i = 0; i < n; i++) print_token(f, t, "end", ends[i]);
}

/* The first lines of the template's program. */
static void print_template(FILE *f, const model_facts *m)
{
    if (m->jinja.n_bytes == 0) {
        fprintf(f, "\nChat template: none\n");
        return;
    }
    fprintf(f, "\nChat template: %s, %zu bytes (--template prints it)\n", chat_template_name(m->template), m->jinja.n_bytes);
    const char *at = m->jinja.data, *end = at + m->jinja.n_bytes;
    for (unsigned i = 0; i < MAX_TEMPLATE_LINES && at < end; i++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((newline ? newline : end) - at);
        char *text = gguf_value_text((gguf_str){at, n < TEMPLATE_COLUMNS ? n : TEMPLATE_COLUMNS}, GGUF_VALUE_FOR_TERMINAL);
        fprintf(f, "  %s%s\n", text ? text : "", n > TEMPLATE_COLUMNS ? "..." : "");
        free(text);
        at += n + (newline != NULL);
    }
}

static void print_metadata(FILE *f, const model_facts *m)
{
    fprintf(f, "\nMetadata\n");
    for (size_t i = 0; i < gguf_n_kv(m->g); i++) {
        const gguf_kv *kv = gguf_kv_at(m->g, i);
        char *key = gguf_value_text(kv->key, GGUF_VALUE_FOR_TERMINAL);
        fprintf(f, "  %-44s ", key ? key : "");
        gguf_value_print(f, kv);
        fputc('\n', f);
        free(key);
    }
}

static void print_tensors(FILE *f, const model_facts *m)
{
    fprintf(f, "\nTensors\n");
    for (size_t i = 0; i < gguf_n_tensors(m->g); i++) {
        const gguf_tensor *t = gguf_tensor_at(m->g, i);
        char shape[96], bytes[32];
        int n = 0;
        for (uint32_t d = 0; d < t->n_dims; d++)
            n += snprintf(shape + n, sizeof shape - (size_t)n, "%s%" PRIu64, d ? " x " : "", t->ne[d]);
        fprintf(f, "  %-34s %-7s %-20s %10s", t->name, quant_type_name(t->type), shape,
                console_format_bytes(bytes, (double)t->n_bytes));
        if (gguf_n_parts(m->g) > 1) fprintf(f, "  part %" PRIu32, t->part + 1);
        fputc('\n', f);
    }
}

yl_status model_facts_write_text(const model_facts *m, bool with_tensors, console *c, yl_error *err)
{
    char *text = NULL, bytes[32];
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f) return yl_fail(err, YL_ENOMEM, "no memory for a description");
    fprintf(f, "%-14s %s\n%-14s GGUF version %" PRIu32 ", %s", "file", gguf_path(m->g), "format", gguf_version(m->g),
            console_format_bytes(bytes, (double)gguf_file_bytes(m->g)));
    if (gguf_n_parts(m->g) > 1) fprintf(f, " in %" PRIu32 " parts", gguf_n_parts(m->g));
    fputc('\n', f);
    print_field(f, "name", m->name);
    print_field(f, "architecture", m->architecture);
    print_hparams(f, m);
    print_formats(f, m);
    print_memory(f, m);
    print_tokenizer(f, m);
    print_template(f, m);
    print_metadata(f, m);
    if (with_tensors) print_tensors(f, m);
    bool is_whole = fclose(f) == 0;
    if (is_whole) console_write(c, text, n);
    free(text);
    return is_whole ? console_check(c, err) : yl_fail(err, YL_ENOMEM, "no memory for a description");
}
