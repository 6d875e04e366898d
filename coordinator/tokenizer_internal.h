/* tokenizer_internal.h: what the tokenizer's files share. Nobody else includes it.
 *
 *   tokenizer.c           encoding and decoding: the two families meet here
 *   tokenizer_vocab.c     the tokens and what each is; string_index.c finds one by its text
 *   tokenizer_roles.c     which tokens begin and end a text, end a turn, end generation
 *   tokenizer_special.c   cutting a text at special tokens
 *   tokenizer_merge.c     joining the best adjacent pair until none is left: the heart of both families
 *   tokenizer_spm.c       SentencePiece
 *   tokenizer_bpe.c       byte-level BPE
 *   tokenizer_pre.c       which regular expressions a pre-tokenizer's name stands for
 *   tokenizer_split.c     cutting a text into words by them */
#ifndef YL_TOKENIZER_INTERNAL_H
#define YL_TOKENIZER_INTERNAL_H

#include "tokenizer.h"

/* What a token is. A token may be several of these: llama.cpp adds "control" to tokens that it knows by their text. */
enum {
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN = 2,
    TOKEN_CONTROL = 4,
    TOKEN_USER_DEFINED = 8,
    TOKEN_UNUSED = 16,
    TOKEN_BYTE = 32,
    TOKEN_LSTRIP = 64, /* swallows the blanks on its left */
    TOKEN_RSTRIP = 128 /* swallows the blanks on its right */
};

/* string_index.c: finds a string's place in an array of strings. Open addressing, a slot holds index + 1. Start with {0}. */
typedef struct string_index {
    uint32_t *slots; /* n_slots, a power of two; 0: empty */
    size_t n_slots, n_used;
} string_index;

void string_index_clear(string_index *x);
/* The index of the string, or -1. strings: the array that the indices are of. */
int64_t string_index_find(const string_index *x, const gguf_str *strings, const char *text, size_t n_bytes);
/* Enters strings[i], which is not there yet. */
yl_status string_index_add(string_index *x, const gguf_str *strings, uint32_t i, yl_error *err);

/* The special tokens' texts as a trie: see tokenizer_special.c. */
typedef struct special_node {
    uint32_t first_child, next_sibling; /* 0: none */
    token_id token;                     /* whose text ends here, or TOKEN_NONE */
    uint32_t shorter;                   /* the nearest node above where a text ends too; 0: none */
    uint32_t n_bytes;                   /* depth */
    unsigned char byte;
} special_node;

/* Joining a pair of symbols, by its place in the list of merges (the rank). */
typedef struct bpe_merge {
    uint32_t left, right, joined;
} bpe_merge;

typedef struct splitter splitter;

/* What a pre-tokenizer's name stands for. */
typedef struct pre_tokenizer {
    const char *name;
    const char *const *patterns; /* in the order in which they cut, NULL at the end */
    bool ignore_merges;          /* a word that is a token is that token, whatever the merges say */
    bool adds_bos;               /* unless the file says otherwise */
    bool has_default_bos;        /* token 11, as in GPT-2, unless the file says otherwise */
} pre_tokenizer;

/* NULL: unknown. */
const pre_tokenizer *pre_tokenizer_named(const char *name, size_t n_bytes);

typedef struct owned_block {
    struct owned_block *next;
    char bytes[];
} owned_block;

struct tokenizer {
    bool is_bpe; /* else SentencePiece */
    const pre_tokenizer *pre;
    bool pre_is_assumed;

    /* The vocabulary. Symbols of BPE that are no tokens follow behind n_vocab. */
    gguf_str *texts; /* [n_symbols] */
    size_t n_vocab, n_symbols, symbols_capacity;
    uint8_t *kinds; /* [n_vocab] TOKEN_* bits */
    float *scores;  /* [n_vocab], SentencePiece only */
    string_index index;
    size_t max_token_bytes;
    owned_block *owned; /* texts that do not lie in the file */

    token_id bos, eos, eot, eom, unk, pad, newline;
    bool adds_bos, adds_eos, adds_space_prefix;
    token_id *ends; /* [n_ends], ascending */
    size_t n_ends;

    special_node *special; /* [n_special_nodes]; special[0] is the root */
    size_t n_special_nodes;
    uint32_t special_first[256]; /* the root's children by byte; 0: none */

    token_id byte_tokens[256]; /* SentencePiece: for bytes of characters that are no token; BPE: the token whose text is this one
                                  byte. TOKEN_NONE: there is none */

    /* Byte-level BPE. */
    splitter *splitter;
    char byte_texts[256][2]; /* how GPT-2 writes a byte: one or two bytes of UTF-8 */
    uint8_t byte_text_bytes[256];
    uint32_t byte_symbols[256];
    bpe_merge *merges;     /* by rank */
    uint32_t *merge_slots; /* [n_merge_slots], rank + 1 by hash of the pair */
    size_t n_merge_slots;
};

/* tokenizer.c: memory for a text of our own, freed with the tokenizer; NULL: none left. */
char *tokenizer_keep(tokenizer *t, size_t n_bytes);

/* tokenizer_vocab.c: the model's name, the tokens and what each is. */
yl_status vocab_read(tokenizer *t, const gguf *g, yl_error *err);
token_id vocab_find(const tokenizer *t, const char *text, size_t n_bytes);
/* Appends a symbol that is no token. The text must live as long as the tokenizer. */
yl_status vocab_add_symbol(tokenizer *t, gguf_str text, yl_error *err);
/* The byte that a text of the form <0xHH> names, or -1. */
int vocab_byte_of(gguf_str text);

/* tokenizer_roles.c: which tokens begin and end a text, end a turn, end generation. Changes kinds, so before special_build. */
yl_status roles_read(tokenizer *t, const gguf *g, yl_error *err);

/* tokenizer_special.c */
typedef struct fragment {
    size_t begin, end; /* of the text */
    token_id token;    /* TOKEN_NONE: ordinary text */
} fragment;

typedef struct fragment_list {
    fragment *data;
    size_t n, capacity;
} fragment_list;

yl_status special_build(tokenizer *t, yl_error *err);
/* Appends the fragments of the text in order. parse_special: control tokens too, not only user-defined ones. */
yl_status special_cut(const tokenizer *t, fragment_list *out, const char *text, size_t n_bytes, bool parse_special, yl_error *err);

/* tokenizer_merge.c */
typedef struct symbol {
    const char *text;
    uint32_t n_bytes; /* 0: it was joined to its left neighbour */
    int32_t prev, next;
    int32_t id; /* the family's own */
} symbol;

typedef struct merge_candidate {
    uint64_t key; /* priority, then position: the smallest is joined first */
    uint32_t n_bytes;
    int32_t joined;
} merge_candidate;

/* Room to work in, kept from word to word. Start with {0}. */
typedef struct merge_scratch {
    symbol *symbols;
    size_t n_symbols, symbols_capacity;
    merge_candidate *queue; /* a binary heap */
    size_t n_queue, queue_capacity;
} merge_scratch;

/* May these neighbours be joined? If so: how urgently (0 first), and the id of what they make. */
typedef bool merge_rule(const tokenizer *t, const symbol *left, const symbol *right, uint32_t *priority, int32_t *joined);

void merge_scratch_clear(merge_scratch *s);
yl_status merge_push_symbol(merge_scratch *s, const char *text, uint32_t n_bytes, int32_t id, yl_error *err);
/* Joins until no rule applies. What is left are the symbols with n_bytes > 0, in order; symbols[0] is always one of them. */
yl_status merge_run(const tokenizer *t, merge_scratch *s, merge_rule *rule, yl_error *err);

/* tokenizer_spm.c, tokenizer_bpe.c: the two families. */
typedef struct encode_scratch {
    merge_scratch merge;
    char *text; /* SentencePiece: the escaped text; BPE: a word in GPT-2's letters */
    size_t text_capacity;
    struct split_scratch *split;
} encode_scratch;

yl_status encode_scratch_reserve(encode_scratch *s, size_t n_bytes, yl_error *err);

yl_status spm_prepare(tokenizer *t, yl_error *err);
yl_status spm_encode(const tokenizer *t, token_list *out, encode_scratch *s, const char *text, size_t n_bytes, bool space_in_front,
                     yl_error *err);
yl_status bpe_prepare(tokenizer *t, const gguf *g, yl_error *err);
yl_status bpe_encode(const tokenizer *t, token_list *out, encode_scratch *s, const char *text, size_t n_bytes, yl_error *err);
/* The byte that a letter of GPT-2's stands for, or -1. */
int bpe_byte_of(uint32_t code_point);

/* tokenizer_split.c */
typedef struct split_scratch split_scratch;
typedef yl_status split_word(void *context, const char *word, size_t n_bytes, yl_error *err);

yl_status splitter_new(splitter **out, const char *const *patterns, yl_error *err);
void splitter_free(splitter *s);
void split_scratch_free(split_scratch *s);
/* Calls `word` for each word of the text, which is valid UTF-8, in order. *scratch: NULL at first, to be freed at the end. */
yl_status split_text(const splitter *s, split_scratch **scratch, const char *text, size_t n_bytes, split_word *word, void *context,
                     yl_error *err);

#endif
