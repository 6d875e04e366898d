/* test_tokenizer.c: texts to tokens and back, with vocabularies small enough to do it by hand.
 *
 * tests/oracle/tokenizers.mjs compares real vocabularies with other programs; here each rule has a vocabulary that shows it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tiny_vocab.h"

enum { B = TINY_BPE_FIRST, S = TINY_SPM_FIRST };

static tiny_tokenizer open_vocab(const tiny_vocab *v)
{
    tiny_tokenizer t;
    yl_error err = {0};
    if (tiny_tokenizer_new(&t, v, &err)) fail_msg("%s", err.msg);
    return t;
}

/* Encodes a text of exactly n_bytes bytes. */
static token_list encode_bytes(const tiny_tokenizer *t, const char *text, size_t n_bytes, unsigned flags)
{
    token_list tokens = {0};
    yl_error err = {0};
    char *exact = malloc(n_bytes + !n_bytes);
    memcpy(exact, text, n_bytes);
    if (tokenizer_encode(t->t, &tokens, exact, n_bytes, flags, &err)) fail_msg("%s", err.msg);
    free(exact);
    return tokens;
}

/* The text's tokens are the given ones. */
static void expect(const tiny_tokenizer *t, const char *text, unsigned flags, const char *ids)
{
    token_list tokens = encode_bytes(t, text, strlen(text), flags);
    char got[1024] = "";
    size_t n = 0;
    for (size_t i = 0; i < tokens.n && n < sizeof got; i++)
        n += (size_t)snprintf(got + n, sizeof got - n, i ? " %d" : "%d", (int)tokens.data[i]);
    token_list_clear(&tokens);
    if (strcmp(got, ids) != 0) fail_msg("'%s' gives %s, not %s", text, got, ids);
}

static void expect_round_trip(const tiny_tokenizer *t, const char *text, size_t n_bytes)
{
    token_list tokens = encode_bytes(t, text, n_bytes, 0);
    char *back;
    size_t n_back;
    assert_int_equal(tokenizer_decode(t->t, tokens.data, tokens.n, false, true, &back, &n_back, NULL), YL_OK);
    assert_int_equal(n_back, n_bytes);
    assert_memory_equal(back, text, n_bytes);
    assert_int_equal(back[n_back], 0);
    free(back);
    token_list_clear(&tokens);
}

static void expect_decoded(const tiny_tokenizer *t, const token_id *tokens, size_t n, bool with_special, bool remove_space,
                           const char *text)
{
    char *back;
    size_t n_back;
    assert_int_equal(tokenizer_decode(t->t, tokens, n, with_special, remove_space, &back, &n_back, NULL), YL_OK);
    assert_string_equal(back, text);
    assert_int_equal(n_back, strlen(text));
    free(back);
}

/* --- byte-level BPE: merges --- */

static const tiny_vocab abc = {.model = "gpt2",
                               .pre = "gpt-2",
                               .tokens = {"bc", "ab", "abc", "aa"},
                               .merges = {"b c", "a b", "a bc", "a a", "a b"}};

static void merges_apply_by_rank_then_from_the_left(void **state)
{
    (void)state;
    tiny_tokenizer t = open_vocab(&abc);
    expect(&t, "abc", 0, "258"); /* "b c" is first, then "a bc" */
    expect(&t, "ababc", 0, "257 258");
    expect(&t, "aaa", 0, "259 97");       /* equal ranks: the left pair */
    expect(&t, "aaaab", 0, "259 97 257"); /* "a b" comes before "a a" */
    expect(&t, "xyz", 0, "120 121 122");
    expect(&t, "", 0, "");
    tiny_tokenizer_clear(&t);
}

/* "ab" is a step on the way to "abc", but no token. */
static void a_string_that_is_no_token_takes_part_in_merges(void **state)
{
    (void)state;
    tiny_tokenizer t =
        open_vocab(&(tiny_vocab){.model = "gpt2", .pre = "gpt-2", .tokens = {"abc"}, .merges = {"a b", "ab c", "ab x"}});
    expect(&t, "abc", 0, "256");
    expect(&t, "ab", 0, "97 98");      /* written by its letters */
    expect(&t, "abx", 0, "97 98 120"); /* "abx" neither */
    tiny_tokenizer_clear(&t);
}

/* Llama 3: a word that is a token is that token, though no merge leads to it. */
static void merges_are_ignored_where_the_word_is_a_token(void **state)
{
    (void)state;
    tiny_vocab v = {.model = "gpt2", .pre = "smaug-bpe", .tokens = {"xyz", "\xc4\xa0xyz"}};
    tiny_tokenizer t = open_vocab(&v);
    expect(&t, "xyz xyz", 0, "120 121 122 32 120 121 122");
    tiny_tokenizer_clear(&t);
    v.pre = "llama-bpe";
    t = open_vocab(&v);
    expect(&t, "xyz xyz", 0, "256 257");
    expect(&t, "xyzxyz", 0, "120 121 122 120 121 122");
    tiny_tokenizer_clear(&t);
}

/* --- byte-level BPE: words --- */

/* Digits joined as far as the words allow tell where they were cut. */
static void each_pre_tokenizer_cuts_numbers_its_way(void **state)
{
    (void)state;
    static const struct {
        const char *pre, *ids;
    } cases[] = {{"llama-bpe", "257 52"},   {"gpt-2", "258"},         {"smollm", "49 50 51 52"}, {"qwen2", "49 50 51 52"},
                 {"tekken", "49 50 51 52"}, {"gpt-4o", "257 52"},     {"default", "257 52"},     {NULL, "257 52"},
                 {"deepseek-llm", "258"},   {"viking", "49 50 51 52"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tiny_tokenizer t = open_vocab(&(
            tiny_vocab){.model = "gpt2", .pre = cases[i].pre, .tokens = {"12", "123", "1234"}, .merges = {"1 2", "12 3", "123 4"}});
        expect(&t, "1234", 0, cases[i].ids);
        assert_string_equal(tokenizer_pre(t.t), cases[i].pre ? cases[i].pre : "default");
        assert_int_equal(tokenizer_pre_is_assumed(t.t), cases[i].pre == NULL);
        tiny_tokenizer_clear(&t);
    }
}

/* Where regular expression libraries disagree with llama.cpp. The merged pair lies across the place where the wrong cut would be.
 */
static void words_are_those_of_llama_cpp(void **state)
{
    (void)state;
    static const struct {
        const char *text, *merge, *token, *ids;
    } cases[] = {
        /* U+017F is a small letter, but not an "s": no English ending */
        {"'\xc5\xbf"
         "a",
         "\xc2\xbf a",
         "\xc2\xbf"
         "a",
         "39 197 256"},
        {"'sa", "s a", "sa", "39 115 97"},
        {"'Sa", "S a", "Sa", "39 83 97"},
        /* U+180E was a blank once */
        {" \xe1\xa0\x8ex", "\xc4\xa0 \xc3\xa1", "\xc4\xa0\xc3\xa1", "256 160 142 120"},
        /* U+31350 is a letter since Unicode 15 */
        {"a\xf0\xb1\x8d\x90", "a \xc3\xb0", "a\xc3\xb0", "256 177 141 144"},
        /* the last blank before a word belongs to it */
        {"  x", "\xc4\xa0 x", "\xc4\xa0x", "32 256"},
        {" \n x", "\xc4\x8a \xc4\xa0", "\xc4\x8a\xc4\xa0", "32 10 32 120"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tiny_tokenizer t =
            open_vocab(&(tiny_vocab){.model = "gpt2", .pre = "smaug-bpe", .tokens = {cases[i].token}, .merges = {cases[i].merge}});
        expect(&t, cases[i].text, 0, cases[i].ids);
        tiny_tokenizer_clear(&t);
    }
}

/* Invalid bytes are words of their own: the merges on both sides stay on their sides. */
static void invalid_bytes_become_their_own_tokens(void **state)
{
    (void)state;
    tiny_tokenizer t = open_vocab(&(tiny_vocab){
        .model = "gpt2", .pre = "llama-bpe", .tokens = {"ab", "a\xc3\xbf"}, .merges = {"a \xc3\xbf", "a b"}, .more = NULL});
    expect(&t,
           "ab\xff"
           "ab",
           0, "256 255 256");
    expect(&t,
           "a\xff\xff"
           "b",
           0, "97 255 255 98");
    expect(&t, "\xe6\xbc", 0, "230 188");         /* cut short */
    expect(&t, "\xed\xa0\x80", 0, "237 160 128"); /* a surrogate */
    expect(&t, "\xc0\x80", 0, "192 128");         /* overlong */
    tiny_tokenizer_clear(&t);
}

static void any_bytes_come_back(void **state)
{
    (void)state;
    tiny_tokenizer t = open_vocab(&abc);
    char bytes[3 * 256];
    for (int i = 0; i < 256; i++) {
        bytes[i] = (char)i;
        bytes[256 + 2 * i] = 'a';
        bytes[256 + 2 * i + 1] = (char)(255 - i);
    }
    expect_round_trip(&t, bytes, sizeof bytes);
    expect_round_trip(&t, "\0", 1);
    tiny_tokenizer_clear(&t);
}

/* --- SentencePiece --- */

#define MARKED "\xe2\x96\x81" /* SentencePiece's space */

static const tiny_vocab llama = {.model = "llama",
                                 .tokens = {MARKED, "a", "b", "c", "ab", "bc", "abc", MARKED "a", "aa"},
                                 .scores = {-10, -11, -12, -13, -3, -2, -4, -5, -1}};
/* the ids: space 259, a 260, b 261, c 262, ab 263, bc 264, abc 265, space-a 266, aa 267 */

static void the_best_score_is_joined_first(void **state)
{
    (void)state;
    tiny_tokenizer t = open_vocab(&llama);
    expect(&t, "abc", 0, "259 265"); /* bc, then abc before space-a */
    expect(&t, "ab", 0, "259 263");  /* ab, after which space-a is not there any more */
    expect(&t, "a", 0, "266");
    expect(&t, "aaa", 0, "259 267 260"); /* equal scores: the left pair */
    expect(&t, " a", 0, "259 266");
    expect(&t, "", 0, "");
    assert_string_equal(tokenizer_model(t.t), "llama");
    assert_string_equal(tokenizer_pre(t.t), "");
    tiny_tokenizer_clear(&t);
}

static void no_space_prefix(gguf_writer *w)
{
    gguf_writer_bool(w, "tokenizer.ggml.add_space_prefix", false);
}

static void a_space_is_put_in_front_unless_the_file_says_no(void **state)
{
    (void)state;
    tiny_vocab v = llama;
    tiny_tokenizer t = open_vocab(&v);
    expect(&t, "c</s>c", TOKENIZE_PARSE_SPECIAL, "259 262 2 259 262"); /* after a special token too */
    expect_decoded(&t, (token_id[]){1, 259, 262, 259}, 4, false, true, "c ");
    expect_decoded(&t, (token_id[]){1, 259, 262, 259}, 4, false, false, " c ");
    expect_decoded(&t, (token_id[]){1, 266}, 2, true, true, "<s>a");
    tiny_tokenizer_clear(&t);
    v.more = no_space_prefix;
    t = open_vocab(&v);
    expect(&t, "c</s>c", TOKENIZE_PARSE_SPECIAL, "262 2 262");
    expect_decoded(&t, (token_id[]){259, 262}, 2, false, true, " c");
    tiny_tokenizer_clear(&t);
}

static void characters_without_a_token_are_written_as_bytes(void **state)
{
    (void)state;
    tiny_tokenizer t = open_vocab(&llama);
    expect(&t,
           "\xc3\xa9"
           "a",
           0, "259 198 172 260");
    expect(&t,
           "\xff"
           "ab\xe6",
           0, "259 258 263 233"); /* and so are invalid ones */
    expect_round_trip(&t, "\xc3\xa9 \xff\xe6\xbc ab  c\n", 12);
    expect_round_trip(&t, " leading", 8);
    assert_int_equal(tokenizer_newline(t.t), 3 + '\n');
    tiny_tokenizer_clear(&t);
}

/* --- special tokens --- */

static void control_tokens_are_read_only_where_asked_for(void **state)
{
    (void)state;
    tiny_tokenizer t = open_vocab(&(tiny_vocab){.model = "gpt2",
                                                .pre = "llama-bpe",
                                                .tokens = {"<a>", "<u>", "<n>"},
                                                .kinds = {KIND_CONTROL, KIND_USER_DEFINED, KIND_UNUSED}});
    expect(&t, "x<a>y<u>z<n>", TOKENIZE_PARSE_SPECIAL, "120 256 121 257 122 60 110 62");
    expect(&t, "x<a>y<u>z", 0, "120 60 97 62 121 257 122");
    expect(&t, "<a><a><u><a", TOKENIZE_PARSE_SPECIAL, "256 256 257 60 97");
    expect_decoded(&t, (token_id[]){256, 120, 257, 258}, 4, false, false, "x<u>");
    expect_decoded(&t, (token_id[]){256, 120, 257, 258}, 4, true, false, "<a>x<u>");
    expect_decoded(&t, (token_id[]){-1, 120, 259, 1000000}, 4, true, false, "x");
    assert_true(tokenizer_is_control(t.t, 256));
    assert_false(tokenizer_is_control(t.t, 257));
    assert_false(tokenizer_is_control(t.t, -1));
    tiny_tokenizer_clear(&t);
}

/* Not the longest at each place: the longest of all first. */
static void longer_special_tokens_are_cut_out_first(void **state)
{
    (void)state;
    tiny_tokenizer t = open_vocab(
        &(tiny_vocab){.model = "gpt2",
                      .pre = "gpt-2",
                      .tokens = {"abc", "bcde", "ab", "xy", "yz", "\n\n", "\n\n\n", "pqr", "pq", "rstu"},
                      .kinds = {KIND_USER_DEFINED, KIND_USER_DEFINED, KIND_USER_DEFINED, KIND_USER_DEFINED, KIND_USER_DEFINED,
                                KIND_USER_DEFINED, KIND_USER_DEFINED, KIND_USER_DEFINED, KIND_USER_DEFINED, KIND_USER_DEFINED}});
    expect(&t, "abcde", 0, "97 257");
    expect(&t, "abcd", 0, "256 100");
    expect(&t, "abab", 0, "258 258");
    expect(&t, "xyz", 0, "259 122"); /* equal lengths: the smaller id */
    expect(&t, "yzxyz", 0, "260 259 122");
    expect(&t, "\n\n\n\n\n\n\n\n", 0, "262 262 261");
    expect(&t, "\n\n\n\n", 0, "262 10");
    expect(&t, "pqrstu", 0, "264 265"); /* "pqr" runs into "rstu", the shorter "pq" does not */
    tiny_tokenizer_clear(&t);
}

static void named_phi3(gguf_writer *w)
{
    gguf_writer_str(w, "general.name", "Phi-3 mini");
}

static void phi3s_special_tokens_swallow_blanks_on_their_right(void **state)
{
    (void)state;
    tiny_tokenizer t = open_vocab(
        &(tiny_vocab){.model = "llama", .tokens = {MARKED, "a", "<|user|>"}, .kinds = {0, 0, KIND_CONTROL}, .more = named_phi3});
    expect(&t, "a<|user|> \n a <|user|>", TOKENIZE_PARSE_SPECIAL, "259 260 261 259 260 259 261");
    expect(&t, "<s> a", TOKENIZE_PARSE_SPECIAL, "1 259 259 260"); /* but not this one */
    tiny_tokenizer_clear(&t);
}

static void adds_both(gguf_writer *w)
{
    gguf_writer_u32(w, "tokenizer.ggml.bos_token_id", 256);
    gguf_writer_u32(w, "tokenizer.ggml.eos_token_id", 257);
    gguf_writer_bool(w, "tokenizer.ggml.add_bos_token", true);
    gguf_writer_bool(w, "tokenizer.ggml.add_eos_token", true);
}

static void begin_and_end_are_added_as_the_file_says(void **state)
{
    (void)state;
    tiny_vocab v = {
        .model = "gpt2", .pre = "gpt-2", .tokens = {"<b>", "<e>"}, .kinds = {KIND_CONTROL, KIND_CONTROL}, .more = adds_both};
    tiny_tokenizer t = open_vocab(&v);
    expect(&t, "x", TOKENIZE_ADD_SPECIAL, "256 120 257");
    expect(&t, "", TOKENIZE_ADD_SPECIAL, "256 257");
    expect(&t, "<b>x", TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL, "256 256 120 257"); /* twice, if the text has it too */
    expect(&t, "x", 0, "120");
    tiny_tokenizer_clear(&t);
    v.more = NULL;
    t = open_vocab(&v);
    expect(&t, "x", TOKENIZE_ADD_SPECIAL, "120"); /* GPT-2 adds none */
    assert_int_equal(tokenizer_bos(t.t), 11);
    tiny_tokenizer_clear(&t);
    v.pre = "llama-bpe";
    t = open_vocab(&v);
    expect(&t, "x", TOKENIZE_ADD_SPECIAL, "11 120"); /* Llama 3 does */
    tiny_tokenizer_clear(&t);
    t = open_vocab(&llama);
    expect(&t, "c", TOKENIZE_ADD_SPECIAL, "1 259 262");
    tiny_tokenizer_clear(&t);
}

static void expect_ends(const tiny_tokenizer *t, const token_id *ends, size_t n)
{
    size_t n_got;
    const token_id *got = tokenizer_ends(t->t, &n_got);
    assert_int_equal(n_got, n);
    assert_memory_equal(got, ends, n * sizeof *ends);
    for (size_t i = 0; i < n; i++) assert_true(tokenizer_is_end(t->t, ends[i]));
    assert_false(tokenizer_is_end(t->t, TOKEN_NONE));
    assert_false(tokenizer_is_end(t->t, 'x'));
}

static void eos_is_7(gguf_writer *w)
{
    gguf_writer_u32(w, "tokenizer.ggml.eos_token_id", 7);
}

static void generation_ends_by_key_and_by_well_known_text(void **state)
{
    (void)state;
    tiny_tokenizer t = open_vocab(&(tiny_vocab){.model = "gpt2",
                                                .pre = "gpt-2",
                                                .tokens = {"<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|fim_pad|>", "<|end|>"},
                                                .kinds = {0, 0, KIND_CONTROL, 0, 0},
                                                .more = eos_is_7});
    expect_ends(&t, (token_id[]){7, 256, 257, 258, 259, 260}, 6);
    assert_int_equal(tokenizer_eos(t.t), 7);
    assert_int_equal(tokenizer_eot(t.t), 257);
    assert_int_equal(tokenizer_eom(t.t), 258);
    assert_true(tokenizer_is_control(t.t, 257)); /* whatever the file says */
    assert_int_equal(tokenizer_find(t.t, "<|eot_id|>", 10), 257);
    assert_int_equal(tokenizer_find(t.t, "<|eot_id|", 9), TOKEN_NONE);
    tiny_tokenizer_clear(&t);
}

/* In OpenAI's harmony format <|end|> ends a message, not the answer. */
static void harmony_goes_on_after_an_end_of_message(void **state)
{
    (void)state;
    tiny_tokenizer t = open_vocab(&(tiny_vocab){.model = "gpt2",
                                                .pre = "gpt-4o",
                                                .tokens = {"<|end|>", "<|return|>", "<|call|>", "<|channel|>"},
                                                .kinds = {0, 0, 0, KIND_CONTROL}});
    expect_ends(&t, (token_id[]){11, 257, 258}, 3);
    assert_false(tokenizer_is_control(t.t, 256));
    assert_false(tokenizer_is_control(t.t, 259));
    tiny_tokenizer_clear(&t);
}

/* --- pieces and size --- */

static void a_piece_is_written_as_far_as_there_is_room(void **state)
{
    (void)state;
    tiny_tokenizer t = open_vocab(&(tiny_vocab){.model = "gpt2", .pre = "gpt-2", .tokens = {"\xc4\xa0hello", "\xe6\xbc\xa2"}});
    char buf[8] = ".......";
    assert_int_equal(tokenizer_piece(t.t, 256, false, NULL, 0), 6);
    assert_int_equal(tokenizer_piece(t.t, 256, false, buf, 3), 6);
    assert_string_equal(buf, " he....");
    assert_int_equal(tokenizer_piece(t.t, 256, false, buf, 7), 6);
    assert_string_equal(buf, " hello.");
    assert_int_equal(tokenizer_piece(t.t, 257, false, buf, 3), 3); /* none of GPT-2's letters: as it is */
    assert_memory_equal(buf, "\xe6\xbc\xa2", 3);
    tiny_tokenizer_clear(&t);
}

/* Quadratic time would take hours here, not a second. */
static void a_long_row_of_one_character_is_encoded_in_near_linear_time(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    const char *const characters = "a \n1<\xff";
    char *text = malloc(N);
    const tiny_vocab long_rows = {.model = "gpt2",
                                  .pre = "llama-bpe",
                                  .tokens = {"aa", "aaaa", "aaa", "\xc4\xa0\xc4\xa0", "<<", "<<<"},
                                  .kinds = {0, 0, 0, 0, KIND_CONTROL, KIND_CONTROL},
                                  .merges = {"a a", "aa aa", "aa a", "\xc4\xa0 \xc4\xa0"}};
    const tiny_vocab *vocabs[] = {&long_rows, &llama};
    for (int v = 0; v < 2; v++) {
        tiny_tokenizer t = open_vocab(vocabs[v]);
        for (const char *c = characters; *c; c++) {
            memset(text, *c, N);
            token_list tokens = encode_bytes(&t, text, N, TOKENIZE_PARSE_SPECIAL);
            assert_true(tokens.n > 0 && tokens.n <= N + 1);
            token_list_clear(&tokens);
            expect_round_trip(&t, text, N);
        }
        tiny_tokenizer_clear(&t);
    }
    free(text);
}

static void a_text_beyond_the_limit_is_refused_and_the_list_stays(void **state)
{
    (void)state;
    tiny_tokenizer t = open_vocab(&abc);
    token_list tokens = {0};
    yl_error err = {0};
    assert_int_equal(token_list_push(&tokens, 5, &err), YL_OK);
    assert_int_equal(tokenizer_encode(t.t, &tokens, "", (size_t)INT32_MAX + 1, 0, &err), YL_ELIMIT);
    assert_int_equal(tokens.n, 1);
    assert_int_equal(tokenizer_encode(t.t, &tokens, "a", 1, 0, &err), YL_OK); /* appends */
    assert_int_equal(tokens.n, 2);
    token_list_clear(&tokens);
    tiny_tokenizer_clear(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_apply_by_rank_then_from_the_left),
        cmocka_unit_test(a_string_that_is_no_token_takes_part_in_merges),
        cmocka_unit_test(merges_are_ignored_where_the_word_is_a_token),
        cmocka_unit_test(each_pre_tokenizer_cuts_numbers_its_way),
        cmocka_unit_test(words_are_those_of_llama_cpp),
        cmocka_unit_test(invalid_bytes_become_their_own_tokens),
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(the_best_score_is_joined_first),
        cmocka_unit_test(a_space_is_put_in_front_unless_the_file_says_no),
        cmocka_unit_test(characters_without_a_token_are_written_as_bytes),
        cmocka_unit_test(control_tokens_are_read_only_where_asked_for),
        cmocka_unit_test(longer_special_tokens_are_cut_out_first),
        cmocka_unit_test(phi3s_special_tokens_swallow_blanks_on_their_right),
        cmocka_unit_test(begin_and_end_are_added_as_the_file_says),
        cmocka_unit_test(generation_ends_by_key_and_by_well_known_text),
        cmocka_unit_test(harmony_goes_on_after_an_end_of_message),
        cmocka_unit_test(a_piece_is_written_as_far_as_there_is_room),
        cmocka_unit_test(a_long_row_of_one_character_is_encoded_in_near_linear_time),
        cmocka_unit_test(a_text_beyond_the_limit_is_refused_and_the_list_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
