/* tiny_vocab.c: the arrays of a GGUF vocabulary, put together from a list. */
#include "tiny_vocab.h"

#include <stdlib.h>
#include <string.h>

typedef struct arrays {
    char bases[TINY_SPM_FIRST][8]; /* texts of the tokens that each family begins with */
    const char *texts[TINY_MAX_TOKENS];
    int32_t kinds[TINY_MAX_TOKENS];
    float scores[TINY_MAX_TOKENS];
    size_t n;
} arrays;

static void add(arrays *a, const char *text, int32_t kind, float score)
{
    a->texts[a->n] = text;
    a->kinds[a->n] = kind;
    a->scores[a->n++] = score;
}

/* GPT-2's letter for a byte, as UTF-8: itself where it is visible in Latin-1, else the next one from U+0100. */
static void letter_of(char *out, int byte)
{
    static const int first_hidden[] = {0x00, 0x7f, 0xad}, n_hidden[] = {0x21, 0x22, 1};
    int code_point = byte;
    for (int range = 0, before = 0; range < 3; before += n_hidden[range++]) {
        int offset = byte - first_hidden[range];
        if (offset >= 0 && offset < n_hidden[range]) code_point = 0x100 + before + offset;
    }
    int n = 0;
    if (code_point < 0x80) {
        out[n++] = (char)code_point;
    } else {
        out[n++] = (char)(0xc0 | code_point >> 6);
        out[n++] = (char)(0x80 | (code_point & 0x3f));
    }
    out[n] = 0;
}

static void add_base(arrays *a, bool is_bpe)
{
    if (!is_bpe) {
        add(a, "<unk>", KIND_UNKNOWN, 0);
        add(a, "<s>", KIND_CONTROL, 0);
        add(a, "</s>", KIND_CONTROL, 0);
    }
    for (int byte = 0; byte < 256; byte++) {
        if (is_bpe)
            letter_of(a->bases[byte], byte);
        else
            snprintf(a->bases[byte], sizeof a->bases[byte], "<0x%02X>", (unsigned)byte);
        add(a, a->bases[byte], is_bpe ? KIND_NORMAL : KIND_BYTE, 0);
    }
}

static void write_keys(gguf_writer *w, const tiny_vocab *v, const arrays *a)
{
    size_t n_merges = 0;
    while (v->merges[n_merges]) n_merges++;
    gguf_writer_str(w, "tokenizer.ggml.model", v->model);
    if (v->pre) gguf_writer_str(w, "tokenizer.ggml.pre", v->pre);
    gguf_writer_strings(w, "tokenizer.ggml.tokens", a->texts, a->n);
    gguf_writer_numbers(w, "tokenizer.ggml.token_type", GGUF_I32, a->kinds, a->n);
    if (strcmp(v->model, "llama") == 0)
        gguf_writer_numbers(w, "tokenizer.ggml.scores", GGUF_F32, a->scores, a->n);
    else
        gguf_writer_strings(w, "tokenizer.ggml.merges", v->merges, n_merges);
    if (v->more) v->more(w);
}

yl_status tiny_vocab_write(const tiny_vocab *v, uint8_t **bytes, size_t *n_bytes, yl_error *err)
{
    *bytes = NULL;
    *n_bytes = 0;
    arrays *a = calloc(1, sizeof *a);
    FILE *file = open_memstream((char **)bytes, n_bytes);
    gguf_writer *w = NULL;
    yl_status status = a && file ? YL_OK : yl_fail(err, YL_ENOMEM, "no memory for a vocabulary");
    if (!status) status = gguf_writer_new(&w, file, 32, err);
    if (!status) {
        add_base(a, strcmp(v->model, "llama") != 0);
        for (size_t i = 0; v->tokens[i]; i++) add(a, v->tokens[i], v->kinds[i] ? v->kinds[i] : KIND_NORMAL, v->scores[i]);
        write_keys(w, v, a);
        status = gguf_writer_begin_data(w, err);
    }
    if (!status) status = gguf_writer_finish(w, err);
    gguf_writer_free(w);
    if (file) fclose(file);
    free(a);
    return status;
}

yl_status tiny_tokenizer_new(tiny_tokenizer *out, const tiny_vocab *v, yl_error *err)
{
    size_t n_bytes;
    *out = (tiny_tokenizer){0};
    yl_status status = tiny_vocab_write(v, &out->bytes, &n_bytes, err);
    if (!status) status = gguf_open_memory(&out->g, out->bytes, n_bytes, err);
    if (!status) status = tokenizer_new(&out->t, out->g, err);
    if (status) tiny_tokenizer_clear(out);
    return status;
}

void tiny_tokenizer_clear(tiny_tokenizer *t)
{
    tokenizer_free(t->t);
    gguf_free(t->g);
    free(t->bytes);
    *t = (tiny_tokenizer){0};
}
