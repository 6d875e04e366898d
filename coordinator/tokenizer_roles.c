/* tokenizer_roles.c: which tokens begin and end a text, end a turn, end generation.
 *
 * Files name some of these by key; for the rest llama.cpp knows texts that models use, and so do we (src/llama-vocab.cpp, 2026).
 * Where a file has several of a role's texts, llama.cpp takes whichever its hash table shows first; we take the first of our list.
 * A token known by its text counts as a control token whatever the file says: it is matched only where control tokens are parsed,
 * and not shown. An id beyond the vocabulary is ignored, as llama.cpp does: there are files that have one for a padding that they
 * never use. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer_internal.h"

static token_id find_text(const tokenizer *t, const char *text)
{
    return vocab_find(t, text, strlen(text));
}

/* Fill-in-the-middle. Their ids have no use here but for what they do to other tokens: see above, and ends below. */
enum { FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE, FIM_PAD, FIM_REPOSITORY, FIM_SEPARATOR, N_FIM };

typedef struct role {
    const char *key, *old_key; /* old_key: of files before 2024, or NULL */
    const char *texts[12];
} role;

static const role eot_role = {"tokenizer.ggml.eot_token_id",
                              NULL,
                              {"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<EOT>",
                               "_<EOT>", "[EOT]", "<｜end▁of▁sentence｜>", "<end_of_utterance>"}};
static const role eom_role = {"tokenizer.ggml.eom_token_id", NULL, {"<|eom_id|>"}};
static const role fim_roles[N_FIM] = {
    {"tokenizer.ggml.fim_pre_token_id",
     "tokenizer.ggml.prefix_token_id",
     {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>", "<|prefix|>"}},
    {"tokenizer.ggml.fim_suf_token_id",
     "tokenizer.ggml.suffix_token_id",
     {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>", "<|suffix|>"}},
    {"tokenizer.ggml.fim_mid_token_id",
     "tokenizer.ggml.middle_token_id",
     {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>", "<|middle|>"}},
    {"tokenizer.ggml.fim_pad_token_id", NULL, {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"}},
    {"tokenizer.ggml.fim_rep_token_id", NULL, {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"}},
    {"tokenizer.ggml.fim_sep_token_id", NULL, {"<|file_sep|>"}},
};

/* Generation ends at these whatever the keys say. */
static const char *const end_texts[] = {"<|eot_id|>",
                                        "<|im_end|>",
                                        "<|end|>",
                                        "<|return|>",
                                        "<|call|>",
                                        "<|flush|>",
                                        "<|calls|>",
                                        "<end_of_turn>",
                                        "<|endoftext|>",
                                        "</s>",
                                        "<|eom_id|>",
                                        "<EOT>",
                                        "_<EOT>",
                                        "[EOT]",
                                        "[EOS]",
                                        "<|end_of_text|>",
                                        "<end_of_utterance>",
                                        "<eos>",
                                        "<turn|>",
                                        "<|tool_response>",
                                        "<｜end▁of▁sentence｜>",
                                        "[e~["};

/* OpenAI's harmony format: marks that are always read and shown. */
static const char *const always_shown[] = {"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"};

/* Reads a token's id; a missing key, or an id beyond the vocabulary, leaves *id as it is. */
static yl_status read_id(const tokenizer *t, const gguf *g, const char *key, token_id *id, yl_error *err)
{
    if (!gguf_find_kv(g, key)) return YL_OK;
    uint32_t value;
    yl_status status = gguf_get_u32(g, key, &value, err);
    if (!status && value < t->n_vocab) *id = (token_id)value;
    return status;
}

static token_id default_id(const tokenizer *t, token_id id)
{
    return (size_t)id < t->n_vocab ? id : TOKEN_NONE;
}

static yl_status read_ids(tokenizer *t, const gguf *g, yl_error *err)
{
    t->bos = t->eos = t->unk = t->eot = t->eom = t->pad = TOKEN_NONE;
    if (!t->is_bpe) { /* where SentencePiece trainers put them */
        t->unk = default_id(t, 0);
        t->bos = default_id(t, 1);
        t->eos = default_id(t, 2);
    } else {
        t->eos = default_id(t, 11);
        if (t->pre->has_default_bos) t->bos = default_id(t, 11);
    }
    yl_status status = read_id(t, g, "tokenizer.ggml.bos_token_id", &t->bos, err);
    if (!status) status = read_id(t, g, "tokenizer.ggml.eos_token_id", &t->eos, err);
    if (!status) status = read_id(t, g, "tokenizer.ggml.unknown_token_id", &t->unk, err);
    if (!status) status = read_id(t, g, "tokenizer.ggml.padding_token_id", &t->pad, err);
    return status;
}

static yl_status read_additions(tokenizer *t, const gguf *g, yl_error *err)
{
    bool by_default = t->is_bpe ? t->pre->adds_bos : true;
    yl_status status = gguf_get_bool_or(g, "tokenizer.ggml.add_bos_token", by_default, &t->adds_bos, err);
    if (!status) status = gguf_get_bool_or(g, "tokenizer.ggml.add_eos_token", false, &t->adds_eos, err);
    if (!status) status = gguf_get_bool_or(g, "tokenizer.ggml.add_space_prefix", !t->is_bpe, &t->adds_space_prefix, err);
    if (status) return status;
    if (t->adds_bos && t->bos == TOKEN_NONE)
        return yl_fail(err, YL_EFORMAT, "texts shall begin with a BOS token, but tokenizer.ggml.bos_token_id names none");
    if (t->adds_eos && t->eos == TOKEN_NONE)
        return yl_fail(err, YL_EFORMAT, "texts shall end with an EOS token, but tokenizer.ggml.eos_token_id names none");
    return YL_OK;
}

/* By key, else by text. */
static yl_status read_role(tokenizer *t, const gguf *g, const role *r, token_id *id, yl_error *err)
{
    *id = TOKEN_NONE;
    yl_status status = read_id(t, g, r->key, id, err);
    if (!status && r->old_key) status = read_id(t, g, r->old_key, id, err);
    for (size_t i = 0; r->texts[i] && !status && *id == TOKEN_NONE; i++) {
        *id = find_text(t, r->texts[i]);
        if (*id != TOKEN_NONE) t->kinds[*id] |= TOKEN_CONTROL;
    }
    return status;
}

/* The ends of generation while they are collected: a flag a token. */
typedef struct end_set {
    bool *is_end; /* [n_vocab] */
} end_set;

static bool is_end_text(const tokenizer *t, const end_set *ends, const char *text)
{
    token_id token = find_text(t, text);
    return token != TOKEN_NONE && ends->is_end[token];
}

/* Models that use a text of the list for something else. */
static void except_ends(tokenizer *t, end_set *ends)
{
    bool harmony = is_end_text(t, ends, "<|return|>") && (is_end_text(t, ends, "<|call|>") || is_end_text(t, ends, "<|calls|>"));
    bool solar = is_end_text(t, ends, "<|flush|>") && (is_end_text(t, ends, "<|call|>") || is_end_text(t, ends, "<|calls|>"));
    if ((harmony || solar) && is_end_text(t, ends, "<|end|>")) { /* there it ends a message, and more may follow */
        ends->is_end[find_text(t, "<|end|>")] = false;
        t->kinds[find_text(t, "<|end|>")] = TOKEN_USER_DEFINED;
    }
    if (is_end_text(t, ends, "<|tool_response>") && is_end_text(t, ends, "</s>")) { /* Gemma 4: an HTML tag */
        ends->is_end[find_text(t, "</s>")] = false;
        t->kinds[find_text(t, "</s>")] = TOKEN_NORMAL;
    }
}

static yl_status keep_ends(tokenizer *t, const end_set *ends, yl_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n_vocab; i++) n += ends->is_end[i];
    t->ends = malloc((n + 1) * sizeof *t->ends);
    if (!t->ends) return yl_fail(err, YL_ENOMEM, "no memory for the list of %zu end tokens", n);
    for (size_t i = 0; i < t->n_vocab; i++)
        if (ends->is_end[i]) t->ends[t->n_ends++] = (token_id)i;
    return YL_OK;
}

static yl_status collect_ends(tokenizer *t, const token_id *fim, yl_error *err)
{
    end_set ends = {calloc(t->n_vocab, sizeof *ends.is_end)};
    if (!ends.is_end) return yl_fail(err, YL_ENOMEM, "no memory to mark the ends of generation");
    for (size_t i = 0; i < sizeof end_texts / sizeof end_texts[0]; i++) {
        token_id token = find_text(t, end_texts[i]);
        if (token == TOKEN_NONE) continue;
        ends.is_end[token] = true;
        t->kinds[token] |= TOKEN_CONTROL;
    }
    for (size_t i = 0; i < sizeof always_shown / sizeof always_shown[0]; i++) {
        token_id token = find_text(t, always_shown[i]);
        if (token != TOKEN_NONE) t->kinds[token] = TOKEN_USER_DEFINED;
    }
    const token_id by_role[] = {t->eos, t->eot, t->eom, fim[FIM_PAD], fim[FIM_REPOSITORY], fim[FIM_SEPARATOR]};
    for (size_t i = 0; i < sizeof by_role / sizeof by_role[0]; i++)
        if (by_role[i] != TOKEN_NONE) ends.is_end[by_role[i]] = true;
    except_ends(t, &ends);
    yl_status status = keep_ends(t, &ends, err);
    free(ends.is_end);
    return status;
}

/* Does the string contain the word (of small letters), whatever its case? */
static bool contains(gguf_str s, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= s.n_bytes; i++) {
        size_t k = 0;
        while (k < n && tolower((unsigned char)s.data[i + k]) == word[k]) k++;
        if (k == n) return true;
    }
    return false;
}

static void swallow(tokenizer *t, const char *text, uint8_t side, bool on)
{
    token_id token = find_text(t, text);
    if (token == TOKEN_NONE) return;
    if (on)
        t->kinds[token] |= side;
    else
        t->kinds[token] &= (uint8_t)~side;
}

/* GGUF does not say which tokens swallow the blanks around them. llama.cpp knows it of these, by the model's name. */
static yl_status read_strips(tokenizer *t, const gguf *g, yl_error *err)
{
    gguf_str name;
    yl_status status = gguf_get_str_or(g, "general.name", "", &name, err);
    if (status) return status;
    if (t->pre && strncmp(t->pre->name, "jina-v2-", strlen("jina-v2-")) == 0) {
        swallow(t, "<mask>", TOKEN_LSTRIP, true);
    } else if (contains(name, "phi-3") || contains(name, "phi3")) {
        for (size_t i = 0; i < t->n_vocab; i++)
            if (t->kinds[i] & (TOKEN_CONTROL | TOKEN_USER_DEFINED | TOKEN_UNKNOWN)) t->kinds[i] |= TOKEN_RSTRIP;
        swallow(t, "</s>", TOKEN_RSTRIP, true);
        swallow(t, "<unk>", TOKEN_RSTRIP, false);
        swallow(t, "<s>", TOKEN_RSTRIP, false);
        swallow(t, "<|endoftext|>", TOKEN_RSTRIP, false);
    }
    return YL_OK;
}

yl_status roles_read(tokenizer *t, const gguf *g, yl_error *err)
{
    token_id fim[N_FIM];
    yl_status status = read_ids(t, g, err);
    if (!status) status = read_additions(t, g, err);
    if (!status) status = read_role(t, g, &eot_role, &t->eot, err);
    if (!status) status = read_role(t, g, &eom_role, &t->eom, err);
    for (int i = 0; i < N_FIM && !status; i++) status = read_role(t, g, &fim_roles[i], &fim[i], err);
    if (!status) status = collect_ends(t, fim, err);
    if (!status) status = read_strips(t, g, err);
    return status;
}
