/* test_tokenizer_hostile.c: vocabularies that contradict themselves are refused with a sentence, or have a defined meaning. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tiny_vocab.h"

/* A file with the keys that write_keys adds; the caller frees the bytes. */
static yl_status open_keys(void (*write_keys)(gguf_writer *w), tiny_tokenizer *out, yl_error *err)
{
    size_t n_bytes;
    *out = (tiny_tokenizer){0};
    FILE *file = open_memstream((char **)&out->bytes, &n_bytes);
    gguf_writer *w;
    assert_int_equal(gguf_writer_new(&w, file, 32, err), YL_OK);
    write_keys(w);
    assert_int_equal(gguf_writer_begin_data(w, err), YL_OK);
    assert_int_equal(gguf_writer_finish(w, err), YL_OK);
    gguf_writer_free(w);
    fclose(file);
    assert_int_equal(gguf_open_memory(&out->g, out->bytes, n_bytes, err), YL_OK);
    return tokenizer_new(&out->t, out->g, err);
}

/* --- what is refused --- */

static const char *const abc[] = {"a", "b", "c"};
static const char *const merges[] = {"a b"};

static void tokens_of(gguf_writer *w, const char *model)
{
    gguf_writer_str(w, "tokenizer.ggml.model", model);
    gguf_writer_strings(w, "tokenizer.ggml.tokens", abc, 3);
}

static void nothing(gguf_writer *w)
{
    gguf_writer_str(w, "general.architecture", "llama");
}

static void model_is_bert(gguf_writer *w)
{
    tokens_of(w, "bert");
}

static void model_is_a_number(gguf_writer *w)
{
    gguf_writer_u32(w, "tokenizer.ggml.model", 1);
}

static void pre_is_unknown(gguf_writer *w)
{
    tokens_of(w, "gpt2");
    gguf_writer_strings(w, "tokenizer.ggml.merges", merges, 1);
    gguf_writer_str(w, "tokenizer.ggml.pre", "no\x1b[31msuch");
}

static void no_tokens(gguf_writer *w)
{
    gguf_writer_str(w, "tokenizer.ggml.model", "llama");
}

static void zero_tokens(gguf_writer *w)
{
    gguf_writer_str(w, "tokenizer.ggml.model", "llama");
    gguf_writer_strings(w, "tokenizer.ggml.tokens", NULL, 0);
}

static void tokens_are_numbers(gguf_writer *w)
{
    const int32_t numbers[] = {1, 2};
    gguf_writer_str(w, "tokenizer.ggml.model", "llama");
    gguf_writer_numbers(w, "tokenizer.ggml.tokens", GGUF_I32, numbers, 2);
}

static void a_token_twice(gguf_writer *w)
{
    static const char *const tokens[] = {"a", "b", "a"};
    gguf_writer_str(w, "tokenizer.ggml.model", "gpt2");
    gguf_writer_strings(w, "tokenizer.ggml.tokens", tokens, 3);
    gguf_writer_strings(w, "tokenizer.ggml.merges", merges, 1);
}

static void no_scores(gguf_writer *w)
{
    tokens_of(w, "llama");
}

static void too_few_scores(gguf_writer *w)
{
    tokens_of(w, "llama");
    gguf_writer_numbers(w, "tokenizer.ggml.scores", GGUF_F32, (float[]){1, 2}, 2);
}

static void a_score_is_nan(gguf_writer *w)
{
    tokens_of(w, "llama");
    gguf_writer_numbers(w, "tokenizer.ggml.scores", GGUF_F32, (float[]){1, NAN, 2}, 3);
}

static void too_few_types(gguf_writer *w)
{
    tokens_of(w, "llama");
    gguf_writer_numbers(w, "tokenizer.ggml.scores", GGUF_F32, (float[]){1, 2, 3}, 3);
    gguf_writer_numbers(w, "tokenizer.ggml.token_type", GGUF_I32, (int32_t[]){1, 1}, 2);
}

static void types_are_floats(gguf_writer *w)
{
    tokens_of(w, "llama");
    gguf_writer_numbers(w, "tokenizer.ggml.scores", GGUF_F32, (float[]){1, 2, 3}, 3);
    gguf_writer_numbers(w, "tokenizer.ggml.token_type", GGUF_F32, (float[]){1, 2, 3}, 3);
}

static void no_merges(gguf_writer *w)
{
    tokens_of(w, "gpt2");
}

static void a_merge_without_a_space(gguf_writer *w)
{
    tokens_of(w, "gpt2");
    gguf_writer_strings(w, "tokenizer.ggml.merges", (const char *const[]){"a b", "ab"}, 2);
}

static void a_merge_with_nothing_behind_the_space(gguf_writer *w)
{
    tokens_of(w, "gpt2");
    gguf_writer_strings(w, "tokenizer.ggml.merges", (const char *const[]){"a "}, 1);
}

static void a_merge_with_nothing_in_front_of_the_space(gguf_writer *w)
{
    tokens_of(w, "gpt2");
    gguf_writer_strings(w, "tokenizer.ggml.merges", (const char *const[]){" a"}, 1);
}

static void an_empty_merge(gguf_writer *w)
{
    tokens_of(w, "gpt2");
    gguf_writer_strings(w, "tokenizer.ggml.merges", (const char *const[]){""}, 1);
}

static void bos_is_asked_for_but_there_is_none(gguf_writer *w)
{
    tokens_of(w, "gpt2");
    gguf_writer_strings(w, "tokenizer.ggml.merges", merges, 1);
    gguf_writer_bool(w, "tokenizer.ggml.add_bos_token", true);
}

static void eos_is_asked_for_but_there_is_none(gguf_writer *w)
{
    tokens_of(w, "gpt2");
    gguf_writer_strings(w, "tokenizer.ggml.merges", merges, 1);
    gguf_writer_bool(w, "tokenizer.ggml.add_eos_token", true);
}

static void an_id_is_negative(gguf_writer *w)
{
    tokens_of(w, "gpt2");
    gguf_writer_strings(w, "tokenizer.ggml.merges", merges, 1);
    gguf_writer_i32(w, "tokenizer.ggml.bos_token_id", -1);
}

static void an_id_is_a_text(gguf_writer *w)
{
    tokens_of(w, "gpt2");
    gguf_writer_strings(w, "tokenizer.ggml.merges", merges, 1);
    gguf_writer_str(w, "tokenizer.ggml.eot_token_id", "1");
}

static void contradictions_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        void (*write_keys)(gguf_writer *w);
        yl_status status;
        const char *named; /* in the message */
    } cases[] = {
        {nothing, YL_EFORMAT, "tokenizer.ggml.model"},
        {model_is_bert, YL_EUNSUPPORTED, "'bert'"},
        {model_is_a_number, YL_EFORMAT, "tokenizer.ggml.model"},
        {pre_is_unknown, YL_EUNSUPPORTED, "'no?[31msuch'"},
        {no_tokens, YL_EFORMAT, "tokenizer.ggml.tokens"},
        {zero_tokens, YL_EFORMAT, "tokenizer.ggml.tokens"},
        {tokens_are_numbers, YL_EFORMAT, "tokenizer.ggml.tokens"},
        {a_token_twice, YL_EFORMAT, "tokens 0 and 2"},
        {no_scores, YL_EFORMAT, "tokenizer.ggml.scores"},
        {too_few_scores, YL_EFORMAT, "2 scores for 3 tokens"},
        {a_score_is_nan, YL_EFORMAT, "token 1"},
        {too_few_types, YL_EFORMAT, "2 types for 3 tokens"},
        {types_are_floats, YL_EFORMAT, "tokenizer.ggml.token_type"},
        {no_merges, YL_EFORMAT, "tokenizer.ggml.merges"},
        {a_merge_without_a_space, YL_EFORMAT, "merge 1"},
        {a_merge_with_nothing_behind_the_space, YL_EFORMAT, "merge 0"},
        {a_merge_with_nothing_in_front_of_the_space, YL_EFORMAT, "merge 0"},
        {an_empty_merge, YL_EFORMAT, "merge 0"},
        {bos_is_asked_for_but_there_is_none, YL_EFORMAT, "tokenizer.ggml.bos_token_id"},
        {eos_is_asked_for_but_there_is_none, YL_EFORMAT, "tokenizer.ggml.eos_token_id"},
        {an_id_is_negative, YL_EFORMAT, "tokenizer.ggml.bos_token_id"},
        {an_id_is_a_text, YL_EFORMAT, "tokenizer.ggml.eot_token_id"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tiny_tokenizer t;
        yl_error err = {0};
        yl_status status = open_keys(cases[i].write_keys, &t, &err);
        if (status != cases[i].status || !strstr(err.msg, cases[i].named))
            fail_msg("case %zu: %s '%s', should name %s", i, yl_status_name(status), err.msg, cases[i].named);
        assert_null(t.t);
        tiny_tokenizer_clear(&t);
    }
}

/* --- what has a meaning --- */

static void encode(const tiny_tokenizer *t, const char *text, const token_id *ids, size_t n)
{
    token_list tokens = {0};
    assert_int_equal(tokenizer_encode(t->t, &tokens, text, strlen(text), TOKENIZE_PARSE_SPECIAL, NULL), YL_OK);
    assert_int_equal(tokens.n, n);
    if (n > 0) assert_memory_equal(tokens.data, ids, n * sizeof *ids);
    token_list_clear(&tokens);
}

static void ids_beyond_the_vocabulary(gguf_writer *w)
{
    gguf_writer_u32(w, "tokenizer.ggml.bos_token_id", 1000000);
    gguf_writer_u32(w, "tokenizer.ggml.eot_token_id", UINT32_MAX);
    gguf_writer_u64(w, "tokenizer.ggml.padding_token_id", 300);
}

static void an_id_beyond_the_vocabulary_is_ignored(void **state)
{
    (void)state;
    tiny_tokenizer t;
    yl_error err = {0};
    tiny_vocab v = {.model = "llama", .tokens = {"a"}, .more = ids_beyond_the_vocabulary};
    assert_int_equal(tiny_tokenizer_new(&t, &v, &err), YL_OK);
    assert_int_equal(tokenizer_bos(t.t), 1); /* SentencePiece's */
    assert_int_equal(tokenizer_eot(t.t), TOKEN_NONE);
    tiny_tokenizer_clear(&t);
}

static void an_empty_token_matches_nothing(void **state)
{
    (void)state;
    tiny_tokenizer t;
    yl_error err = {0};
    tiny_vocab v = {.model = "gpt2", .pre = "gpt-2", .tokens = {"", ""}, .kinds = {KIND_CONTROL, KIND_USER_DEFINED}};
    assert_int_equal(tiny_tokenizer_new(&t, &v, &err), YL_OK);
    encode(&t, "xy", (token_id[]){'x', 'y'}, 2);
    encode(&t, "", NULL, 0);
    assert_int_equal(tokenizer_find(t.t, "", 0), TOKEN_NONE);
    assert_int_equal(tokenizer_find(t.t, "[EMPTY_256]", 11), 256);
    tiny_tokenizer_clear(&t);
}

static void llama_with_three_tokens(gguf_writer *w)
{
    tokens_of(w, "llama");
    gguf_writer_numbers(w, "tokenizer.ggml.scores", GGUF_F32, (float[]){-0.0f, INFINITY, -INFINITY, 7}, 4); /* one too many */
    gguf_writer_bool(w, "tokenizer.ggml.add_space_prefix", false);
}

/* A vocabulary without byte tokens: a byte is a token of that one byte, else unknown (token 0). */
static void bytes_without_a_token_are_unknown(void **state)
{
    (void)state;
    tiny_tokenizer t;
    yl_error err = {0};
    assert_int_equal(open_keys(llama_with_three_tokens, &t, &err), YL_OK);
    encode(&t, "bxc\xff", (token_id[]){1, 0, 2, 0}, 4);
    assert_int_equal(tokenizer_newline(t.t), TOKEN_NONE);
    tiny_tokenizer_clear(&t);
}

static void gpt2_with_three_tokens(gguf_writer *w)
{
    tokens_of(w, "gpt2");
    gguf_writer_strings(w, "tokenizer.ggml.merges", merges, 1);
}

/* Byte-level BPE without the letters: what has no token vanishes, as in llama.cpp. */
static void letters_without_a_token_vanish(void **state)
{
    (void)state;
    tiny_tokenizer t;
    yl_error err = {0};
    assert_int_equal(open_keys(gpt2_with_three_tokens, &t, &err), YL_OK);
    encode(&t, "abxc \xff", (token_id[]){0, 1, 2}, 3); /* the string "ab" is no token: its letters are */
    assert_int_equal(tokenizer_newline(t.t), TOKEN_NONE);
    assert_int_equal(tokenizer_bos(t.t), TOKEN_NONE);
    tiny_tokenizer_clear(&t);
}

/* A token that says it is a byte, and names none, is its text; so is one with a broken mark in it. */
static void a_byte_token_without_a_byte_is_its_text(void **state)
{
    (void)state;
    tiny_tokenizer t;
    yl_error err = {0};
    tiny_vocab v = {.model = "llama",
                    .tokens = {"<0xGG>", "\xe2\x96", "x", "<0x4a>"},
                    .kinds = {KIND_BYTE, KIND_NORMAL, 77, KIND_BYTE}};
    assert_int_equal(tiny_tokenizer_new(&t, &v, &err), YL_OK);
    char buf[8] = {0};
    assert_int_equal(tokenizer_piece(t.t, 259, false, buf, sizeof buf), 6);
    assert_memory_equal(buf, "<0xGG>", 6);
    assert_int_equal(tokenizer_piece(t.t, 260, false, buf, sizeof buf), 2);
    assert_int_equal(tokenizer_piece(t.t, 261, false, buf, sizeof buf), 0); /* a kind that nobody knows */
    assert_int_equal(tokenizer_piece(t.t, 262, false, buf, sizeof buf), 1);
    assert_int_equal(buf[0], 'J');
    tiny_tokenizer_clear(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contradictions_are_refused_by_name), cmocka_unit_test(an_id_beyond_the_vocabulary_is_ignored),
        cmocka_unit_test(an_empty_token_matches_nothing),     cmocka_unit_test(bytes_without_a_token_are_unknown),
        cmocka_unit_test(letters_without_a_token_vanish),     cmocka_unit_test(a_byte_token_without_a_byte_is_its_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
