/* tokenizer_pre.c: what the names in tokenizer.ggml.pre stand for.
 *
 * A model's tokenizer was trained on words that a regular expression had cut; a text must be cut by the same one. The expressions
 * are those of the models' own tokenizer.json files, in the form in which llama.cpp applies them (src/llama-vocab.cpp, 2026): one
 * that is followed by another is applied first, and the next one cuts its pieces, and what lies between its matches, further. They
 * are spelled here so that PCRE2 (UTF, UCP) means what llama.cpp means:
 *   - "\s" is written out: PCRE2 counts U+180E as a blank, Unicode does not any more;
 *   - "(?i:'s)" is "'[sS]": caseless, PCRE2 also takes U+017F for an s;
 *   - "$" is "\z", and has a lookbehind in front, without which a long row of blanks would be tried again from each of its blanks;
 *   - where llama.cpp's class for letters ends up wider or narrower than the original expression, ours follows llama.cpp. */
#include <string.h>

#include "tokenizer_internal.h"

/* The code points with the property White_Space, for use within a class. */
#define BLANK "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
/* Blanks up to the last one before a word, which takes that one along; blanks at the end. */
#define BLANKS "[" BLANK "]+(?![^" BLANK "])|[" BLANK "]+"
#define ENGLISH_ENDINGS "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define WORD "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define SIGNS " ?[^" BLANK "\\p{L}\\p{N}]+"
#define LINES "[" BLANK "]*[\\r\\n]+"

/* GPT-2 (Radford et al. 2019). */
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+|" SIGNS "|" BLANKS
/* tiktoken's cl100k, which Llama 3 took over: digits by threes; Qwen 2 the same with single digits. */
#define LLAMA3 ENGLISH_ENDINGS "|" WORD "|\\p{N}{1,3}|" SIGNS "[\\r\\n]*|" LINES "|" BLANKS
#define QWEN2 ENGLISH_ENDINGS "|" WORD "|\\p{N}|" SIGNS "[\\r\\n]*|" LINES "|" BLANKS
/* tiktoken's o200k: a word is capitals, then small letters; letters without case are both. Only ASCII counts as having a case. */
#define CAPITALS "[^\\P{L}a-z]"
#define SMALLS "[^\\P{L}A-Z]"
#define CASED(ending)                                                                                                              \
    "[^\\r\\n\\p{L}\\p{N}]?" CAPITALS "*" SMALLS "+" ending "|[^\\r\\n\\p{L}\\p{N}]?" CAPITALS "+" SMALLS "*" ending
#define SIGNS_O200K SIGNS "[\\r\\n/]*|" LINES "|" BLANKS

static const char *const llama3[] = {LLAMA3, NULL};
static const char *const qwen2[] = {QWEN2, NULL};
static const char *const qwen35[] = {ENGLISH_ENDINGS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^" BLANK
                                                     "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" LINES "|" BLANKS,
                                     NULL};
static const char *const gpt2[] = {GPT2, NULL};
static const char *const smollm[] = {"\\p{N}", GPT2, NULL};
static const char *const falcon[] = {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]", NULL};
static const char *const fallback[] = {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]", NULL};
static const char *const tekken[] = {CASED("") "|\\p{N}|" SIGNS_O200K, NULL};
static const char *const gpt4o[] = {CASED(ENGLISH_ENDINGS "?") "|\\p{N}{1,3}|" SIGNS_O200K, NULL};
/* The range from U+0800 to U+4E00, as DeepSeek has it, without the blanks in it. */
#define DEEPSEEK_SCRIPTS                                                                                                           \
    "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}"           \
    "\\x{2060}-\\x{2fff}\\x{3001}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"
static const char *const deepseek_llm[] = {
    "[\\r\\n]",
    "[" BLANK "]?"
    "[A-Za-z"
    "\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-\\x{293}\\x{295}-\\x{2af}"
    "\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}"
    "\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}"
    "\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}"
    "\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}"
    "\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}"
    "\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}"
    "\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}"
    "\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}"
    "\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}"
    "\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}"
    "\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}"
    "\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}"
    "]+",
    "[" BLANK "]?[!-/:-~！-／：-～‘-‟\\x{3001}-\\x{3002}]+",
    "(?<![" BLANK "])[" BLANK "]+\\z",
    DEEPSEEK_SCRIPTS,
    "\\p{N}+",
    NULL};
static const char *const deepseek_coder[] = {"[\\r\\n]", "[" BLANK "]?\\p{L}+", "[" BLANK "]?\\p{P}+", DEEPSEEK_SCRIPTS, "\\p{N}",
                                             NULL};
#define NOT_BLOOM_STOPS " ?[^(|.,!?…。，、।۔،)" BLANK "]+"
static const char *const bloom[] = {NOT_BLOOM_STOPS, NULL};
static const char *const viking[] = {NOT_BLOOM_STOPS, "\\p{N}", NULL};
static const char *const bailingmoe[] = {"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|" WORD "|\\p{N}|" SIGNS "[\\r\\n]*|[" BLANK
                                         "]*[\\r\\n]|" BLANKS,
                                         NULL};
static const char *const seed_coder[] = {ENGLISH_ENDINGS "|" WORD "|\\p{N}| ?[^" BLANK "\\p{L}\\p{N}\\r\\n]+|" LINES "|" BLANKS,
                                         NULL};
static const char *const minicpm5[] = {"\\p{N}{1,3}", ENGLISH_ENDINGS "|" WORD "|\\p{N}+|" SIGNS "[\\r\\n]*|" LINES "|" BLANKS,
                                       NULL};

/* Names that llama.cpp knows, with what it makes of them. Not here: pre-tokenizers of models that only embed, and those whose
 * expression costs quadratic time. */
static const pre_tokenizer known[] = {
    /* name, patterns, ignore_merges, adds_bos, has_default_bos */
    {"default", fallback, false, false, true},
    {"llama3", llama3, true, true, true},
    {"llama-v3", llama3, true, true, true},
    {"llama-bpe", llama3, true, true, true},
    {"falcon3", llama3, true, true, true},
    {"falcon-h1", llama3, true, true, true},
    {"pixtral", llama3, true, true, true},
    {"midm-2.0", llama3, true, true, true},
    {"lfm2", llama3, true, true, true},
    {"dbrx", llama3, false, false, true},
    {"smaug-bpe", llama3, false, false, true},
    {"glm4", llama3, false, false, false},
    {"chatglm-bpe", llama3, false, false, false},
    {"smollm", smollm, false, false, true},
    {"starcoder", smollm, false, false, true},
    {"refact", smollm, false, false, true},
    {"command-r", smollm, false, false, true},
    {"codeshell", smollm, false, false, true},
    {"exaone", smollm, false, false, true},
    {"minerva-7b", smollm, false, false, true},
    {"gpt-2", gpt2, false, false, true},
    {"phi-2", gpt2, false, false, true},
    {"mpt", gpt2, false, false, true},
    {"olmo", gpt2, false, false, true},
    {"jais", gpt2, false, false, true},
    {"jina-es", gpt2, false, false, true},
    {"jina-de", gpt2, false, false, true},
    {"jina-v2-es", gpt2, false, false, true},
    {"jina-v2-de", gpt2, false, false, true},
    {"gigachat", gpt2, false, false, true},
    {"a.x-4.0", gpt2, false, false, true},
    {"mellum", gpt2, false, false, true},
    {"exaone4", gpt2, false, false, true},
    {"trillion", gpt2, false, false, true},
    {"granite-docling", gpt2, false, false, true},
    {"qwen2", qwen2, false, false, true},
    {"deepseek-r1-qwen", qwen2, false, false, true},
    {"megrez", qwen2, false, false, true},
    {"stablelm2", qwen2, false, false, true},
    {"hunyuan", qwen2, false, false, true},
    {"solar-open", qwen2, false, false, true},
    {"grok-2", qwen2, false, false, true},
    {"kormo", qwen2, false, false, true},
    {"qwen35", qwen35, false, false, true},
    {"tekken", tekken, true, true, true},
    {"gpt-4o", gpt4o, false, false, true},
    {"llama4", gpt4o, false, false, true},
    {"kanana2", gpt4o, false, false, true},
    {"minimax-m2", gpt4o, false, false, true},
    {"falcon", falcon, false, false, true},
    {"deepseek-llm", deepseek_llm, false, false, true},
    {"deepseek-coder", deepseek_coder, false, false, true},
    {"bloom", bloom, false, false, true},
    {"gpt3-finnish", bloom, false, false, true},
    {"poro-chat", bloom, false, false, true},
    {"viking", viking, false, false, true},
    {"bailingmoe", bailingmoe, false, false, true},
    {"seed-coder", seed_coder, false, false, true},
    {"minicpm5", minicpm5, true, false, true},
};

const pre_tokenizer *pre_tokenizer_named(const char *name, size_t n_bytes)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strlen(known[i].name) == n_bytes && memcmp(known[i].name, name, n_bytes) == 0) return &known[i];
    return NULL;
}
