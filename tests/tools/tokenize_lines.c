/* tokenize_lines.c: tokens of many texts, for comparison with other tokenizers (tests/oracle/tokenizers.mjs).
 *
 *     tokenize_lines MODEL.gguf [--add-special] [--parse-special] [--pieces] < texts > tokens
 *
 * Texts come one after the other, each as its length in bytes in decimal, a newline, and the bytes: any byte may occur in them.
 * Out comes a line a text: token ids with spaces between. With --pieces the texts are token ids as written here, and out comes,
 * a line a text, the decoded bytes in hexadecimal. With --info nothing is read; out come the special tokens. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"

static int fail(const char *what, const yl_error *err)
{
    fprintf(stderr, "tokenize_lines: %s%s%s\n", what, err ? ": " : "", err ? err->msg : "");
    return 1;
}

/* Reads the next text; false at the end of the input. */
static bool read_text(char **text, size_t *n_bytes)
{
    if (scanf("%zu", n_bytes) != 1 || getchar() != '\n') return false;
    *text = malloc(*n_bytes + 1);
    if (!*text || fread(*text, 1, *n_bytes, stdin) != *n_bytes) return false;
    (*text)[*n_bytes] = 0;
    return true;
}

static yl_status print_tokens(const tokenizer *t, const char *text, size_t n_bytes, unsigned flags, yl_error *err)
{
    token_list tokens = {0};
    yl_status status = tokenizer_encode(t, &tokens, text, n_bytes, flags, err);
    for (size_t i = 0; i < tokens.n && !status; i++) printf(i ? " %" PRId32 : "%" PRId32, tokens.data[i]);
    putchar('\n');
    token_list_clear(&tokens);
    return status;
}

static yl_status print_bytes(const tokenizer *t, const char *ids, yl_error *err)
{
    token_list tokens = {0};
    yl_status status = YL_OK;
    char *end;
    for (long id = strtol(ids, &end, 10); end != ids && !status; id = strtol(ids = end, &end, 10))
        status = token_list_push(&tokens, (token_id)id, err);
    char *bytes = NULL;
    size_t n_bytes = 0;
    if (!status) status = tokenizer_decode(t, tokens.data, tokens.n, true, false, &bytes, &n_bytes, err);
    for (size_t i = 0; i < n_bytes; i++) printf("%02x", (unsigned char)bytes[i]);
    putchar('\n');
    free(bytes);
    token_list_clear(&tokens);
    return status;
}

static void print_info(const tokenizer *t)
{
    printf("bos %" PRId32 " eos %" PRId32 " eot %" PRId32 " eom %" PRId32 " newline %" PRId32 " adds_bos %d adds_eos %d ends",
           tokenizer_bos(t), tokenizer_eos(t), tokenizer_eot(t), tokenizer_eom(t), tokenizer_newline(t), tokenizer_adds_bos(t),
           tokenizer_adds_eos(t));
    size_t n;
    const token_id *ends = tokenizer_ends(t, &n);
    for (size_t i = 0; i < n; i++) printf(" %" PRId32, ends[i]);
    putchar('\n');
}

int main(int argc, char **argv)
{
    unsigned flags = 0;
    bool pieces = false, info = false;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--add-special") == 0)
            flags |= TOKENIZE_ADD_SPECIAL;
        else if (strcmp(argv[i], "--parse-special") == 0)
            flags |= TOKENIZE_PARSE_SPECIAL;
        else if (strcmp(argv[i], "--pieces") == 0)
            pieces = true;
        else if (strcmp(argv[i], "--info") == 0)
            info = true;
        else
            return fail(argv[i], NULL);
    }
    if (argc < 2) return fail("usage: tokenize_lines MODEL.gguf [--add-special] [--parse-special] [--pieces] [--info]", NULL);
    yl_error err = {0};
    gguf *g = NULL;
    tokenizer *t = NULL;
    yl_status status = gguf_open(&g, argv[1], &err);
    if (!status) status = tokenizer_new(&t, g, &err);
    if (!status && info) print_info(t);
    char *text = NULL;
    size_t n_bytes;
    while (!status && !info && read_text(&text, &n_bytes)) {
        status = pieces ? print_bytes(t, text, &err) : print_tokens(t, text, n_bytes, flags, &err);
        free(text);
        text = NULL;
    }
    free(text);
    tokenizer_free(t);
    gguf_free(g);
    return status ? fail(argv[1], &err) : 0;
}
