/* fuzz_tokenizer.c: any bytes are encoded, and come back.
 *
 * The first byte chooses one of a few vocabularies, the rest is the text, in a block of exactly its size. Beyond coming back, the
 * tokens are held against slow, plain ways to do the same: SentencePiece by searching the best pair again and again, the cut at
 * special tokens by searching each of them in turn. */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tiny_vocab.h"
#include "utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

enum { MAX_TEXT_BYTES = 2048 };
enum { LLAMA = 0, USER_DEFINED = 1 };

#define MARK "\xe2\x96\x81"

static const tiny_vocab vocabs[] = {
    [LLAMA] = {.model = "llama",
               .tokens = {MARK, "a", "b", "ab", "ba", "aa", MARK "a", "aba", "aab", MARK MARK, "\xc3\xa9", "\xc3\xa9\x61"},
               .scores = {-9, -8, -8, -1, -1, -2, -3, -4, -1, -20, -5, 0}},
    [USER_DEFINED] = {.model = "gpt2",
                      .pre = "gpt-2",
                      .tokens = {"ab", "abc", "bca", "cabc", "  ", "x ", "<c>"},
                      .kinds = {KIND_USER_DEFINED, KIND_USER_DEFINED, KIND_USER_DEFINED, KIND_USER_DEFINED, KIND_USER_DEFINED,
                                KIND_USER_DEFINED, KIND_CONTROL}},
    {.model = "gpt2",
     .pre = "llama-bpe",
     .tokens = {"ab", "aa", "aab", "\xc4\xa0\x61"},
     .merges = {"a b", "a a", "a ab", "\xc4\xa0 a"}},
    {.model = "gpt2", .pre = "default", .tokens = {"ab", "ba", "11"}, .merges = {"b a", "a b", "1 1"}},
    {.model = "gpt2", .pre = "smollm", .tokens = {"ab"}, .merges = {"a b"}},
    {.model = "gpt2", .pre = "qwen2", .tokens = {"ab"}, .merges = {"a b"}},
    {.model = "gpt2", .pre = "tekken", .tokens = {"ab"}, .merges = {"a b"}},
    {.model = "gpt2", .pre = "gpt-4o", .tokens = {"ab"}, .merges = {"a b"}},
    {.model = "gpt2", .pre = "deepseek-llm", .tokens = {"ab"}, .merges = {"a b"}},
    {.model = "gpt2", .pre = "viking", .tokens = {"ab"}, .merges = {"a b"}},
};
enum { N_VOCABS = sizeof vocabs / sizeof vocabs[0] };

static const tokenizer *tokenizer_of(size_t vocab)
{
    static tiny_tokenizer made[N_VOCABS];
    if (!made[vocab].t) assert(tiny_tokenizer_new(&made[vocab], &vocabs[vocab], NULL) == YL_OK);
    return made[vocab].t;
}

/* --- SentencePiece, slowly --- */

typedef struct piece {
    const char *text;
    size_t n_bytes;
} piece;

/* The token's place in the vocabulary's list, or -1. */
static int find_llama(const char *text, size_t n_bytes)
{
    for (int i = 0; vocabs[LLAMA].tokens[i]; i++)
        if (strlen(vocabs[LLAMA].tokens[i]) == n_bytes && !memcmp(vocabs[LLAMA].tokens[i], text, n_bytes)) return i;
    return -1;
}

static void check_llama(const char *text, size_t n_bytes, const token_list *tokens)
{
    static char escaped[3 * (MAX_TEXT_BYTES + 1)];
    static piece pieces[3 * (MAX_TEXT_BYTES + 1)];
    size_t n = 0, n_pieces = 0, n_tokens = 0;
    for (size_t i = 0; i < n_bytes + 1 && n_bytes > 0; i++) { /* the text behind a blank */
        bool blank = i == 0 || text[i - 1] == ' ';
        memcpy(escaped + n, blank ? MARK : text + i - 1, blank ? 3 : 1);
        n += blank ? 3 : 1;
    }
    for (size_t i = 0; i < n; i += pieces[n_pieces++].n_bytes) {
        int n_char = utf8_char_bytes(escaped + i, n - i);
        pieces[n_pieces] = (piece){escaped + i, n_char > 0 ? (size_t)n_char : 1};
    }
    for (;;) {
        int best = -1;
        size_t place = 0;
        for (size_t i = 0; i + 1 < n_pieces; i++) {
            int found = find_llama(pieces[i].text, pieces[i].n_bytes + pieces[i + 1].n_bytes);
            if (found < 0 || (best >= 0 && vocabs[LLAMA].scores[found] <= vocabs[LLAMA].scores[best])) continue;
            best = found;
            place = i;
        }
        if (best < 0) break;
        pieces[place].n_bytes += pieces[place + 1].n_bytes;
        memmove(pieces + place + 1, pieces + place + 2, (--n_pieces - place - 1) * sizeof *pieces);
    }
    for (size_t i = 0; i < n_pieces; i++) {
        int found = find_llama(pieces[i].text, pieces[i].n_bytes);
        if (found >= 0) assert(n_tokens < tokens->n && tokens->data[n_tokens++] == TINY_SPM_FIRST + found);
        for (size_t k = 0; k < pieces[i].n_bytes && found < 0; k++)
            assert(n_tokens < tokens->n && tokens->data[n_tokens++] == 3 + (unsigned char)pieces[i].text[k]);
    }
    assert(n_tokens == tokens->n);
}

/* --- special tokens, slowly --- */

static void check_special(const char *text, size_t n_bytes, unsigned flags, const token_list *tokens)
{
    static bool taken[MAX_TEXT_BYTES + 1];
    static token_id begins[MAX_TEXT_BYTES + 1]; /* 0: no special token begins here */
    memset(taken, 0, sizeof taken);
    memset(begins, 0, sizeof begins);
    for (size_t length = 4; length > 0; length--) {
        for (int k = 0; vocabs[USER_DEFINED].tokens[k]; k++) {
            const char *special = vocabs[USER_DEFINED].tokens[k];
            bool counts = vocabs[USER_DEFINED].kinds[k] == KIND_USER_DEFINED || flags & TOKENIZE_PARSE_SPECIAL;
            if (strlen(special) != length || !counts) continue;
            for (size_t i = 0; i + length <= n_bytes; i++) {
                if (memcmp(text + i, special, length) != 0 || memchr(taken + i, true, length)) continue;
                memset(taken + i, true, length);
                begins[i] = TINY_BPE_FIRST + k;
            }
        }
    }
    size_t n = 0;
    for (size_t i = 0; i < n_bytes; i++) /* there are no merges: what is no special token is its bytes */
        if (begins[i] || !taken[i]) assert(n < tokens->n && tokens->data[n++] == (begins[i] ? begins[i] : (unsigned char)text[i]));
    assert(n == tokens->n);
}

/* --- the stream --- */

/* Cut anywhere, the stream gives the same valid text, and valid text unchanged. */
static void check_stream(const char *text, size_t n_bytes)
{
    static char whole[3 * (MAX_TEXT_BYTES + 4) + 12], bits[sizeof whole];
    utf8_stream s = {0};
    size_t n = utf8_stream_feed(&s, text, n_bytes, whole), n_bits = 0;
    n += utf8_stream_end(&s, whole + n);
    for (size_t i = 0; i < n_bytes; i++) n_bits += utf8_stream_feed(&s, text + i, 1, bits + n_bits);
    n_bits += utf8_stream_end(&s, bits + n_bits);
    assert(n == n_bits && memcmp(whole, bits, n) == 0);
    bool was_valid = true;
    for (size_t i = 0; i < n_bytes && was_valid;) {
        int n_char = utf8_char_bytes(text + i, n_bytes - i);
        was_valid = n_char > 0;
        i += was_valid ? (size_t)n_char : 1;
    }
    for (size_t i = 0; i < n;) {
        int n_char = utf8_char_bytes(whole + i, n - i);
        assert(n_char > 0);
        i += (size_t)n_char;
    }
    assert(!was_valid || (n == n_bytes && memcmp(whole, text, n) == 0));
}

static void check_text(size_t vocab, unsigned flags, const char *text, size_t n_bytes)
{
    const tokenizer *t = tokenizer_of(vocab);
    token_list tokens = {0};
    assert(tokenizer_encode(t, &tokens, text, n_bytes, flags, NULL) == YL_OK);
    for (size_t i = 0; i < tokens.n; i++) assert(tokens.data[i] >= 0 && (uint32_t)tokens.data[i] < tokenizer_n_vocab(t));
    if (vocab == LLAMA) check_llama(text, n_bytes, &tokens);
    if (vocab == USER_DEFINED) check_special(text, n_bytes, flags, &tokens);
    char *back;
    size_t n_back;
    assert(tokenizer_decode(t, tokens.data, tokens.n, true, true, &back, &n_back, NULL) == YL_OK);
    bool has_mark = memmem(text, n_bytes, MARK, 3) != NULL; /* which SentencePiece cannot tell from a blank */
    assert((vocab == LLAMA && has_mark) || (n_back == n_bytes && memcmp(back, text, n_bytes) == 0));
    free(back);
    token_list_clear(&tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    if (n_bytes == 0 || n_bytes > MAX_TEXT_BYTES) return 0;
    size_t vocab = data[0] % N_VOCABS;
    /* "<s>" read as a token of LLAMA would put a blank behind it. */
    unsigned flags = vocab != LLAMA && data[0] >= 128 ? TOKENIZE_PARSE_SPECIAL : 0;
    char *text = malloc(n_bytes);
    assert(text);
    memcpy(text, data + 1, n_bytes - 1);
    char *exact = realloc(text, n_bytes - 1 ? n_bytes - 1 : 1);
    assert(exact);
    check_text(vocab, flags, exact, n_bytes - 1);
    check_stream(exact, n_bytes - 1);
    free(exact);
    return 0;
}
