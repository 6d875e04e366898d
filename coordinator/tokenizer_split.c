/* tokenizer_split.c: a text cut into words by a row of regular expressions (PCRE2).
 *
 * The first expression cuts the text into its matches and what lies between them; the next one cuts each of those pieces as if it
 * were a text of its own, so that a lookahead sees a piece's end as the end; the pieces of the last one are the words. We go
 * through this depth first, so nothing is stored.
 *
 * Which characters are letters depends on the Unicode version: llama.cpp's tables are 15.1, Debian's PCRE2 10.42 has 14.0. A letter
 * that is too young for PCRE2 is shown to it as an older one of the same kind and length (`stand_ins`), so both cut the same words.
 *
 * Time: every expression in tokenizer_pre.c is linear, but PCRE2 counts its backtracking, and ten million blanks in a row exceed
 * the default limit; the limits are lifted here. Should PCRE2 still give up (its JIT code runs on a stack of fixed size), the
 * interpreter tries again; should that fail too, the text is refused with YL_ELIMIT. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <assert.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer_internal.h"
#include "utf8.h"

enum { MAX_PATTERNS = 8, JIT_STACK_MIN_BYTES = 32 << 10, JIT_STACK_MAX_BYTES = 16 << 20 };

struct splitter {
    pcre2_code *codes[MAX_PATTERNS];
    size_t n_codes;
};

/* Changes from one use to the next, so each encoding has its own. */
struct split_scratch {
    pcre2_match_data *matches;
    pcre2_match_context *context;
    pcre2_jit_stack *jit_stack;
    char *patched; /* a text with stand-ins */
    size_t patched_capacity;
};

/* What was assigned after Unicode 14.0, up to 15.1, with an older character of the same general category group and as many bytes.
 */
typedef struct stand_in {
    uint32_t first, last, shown_as;
} stand_in;

enum { LETTER_4 = 0x20000, NUMBER_4 = 0x1d7d8, MARK_3 = 0x20d0, MARK_4 = 0x1d167, PUNCTUATION_4 = 0x10100, SYMBOL_3 = 0x2200 };
enum { SYMBOL_4 = 0x1f600 };

static const stand_in stand_ins[] = {
    {0xcf3, 0xcf3, MARK_3},       {0xece, 0xece, MARK_3},       {0x2ffc, 0x2fff, SYMBOL_3},   {0x31ef, 0x31ef, SYMBOL_3},
    {0x10efd, 0x10eff, MARK_4},   {0x1123f, 0x11240, LETTER_4}, {0x11241, 0x11241, MARK_4},   {0x11b00, 0x11b09, PUNCTUATION_4},
    {0x11f00, 0x11f01, MARK_4},   {0x11f02, 0x11f02, LETTER_4}, {0x11f03, 0x11f03, MARK_4},   {0x11f04, 0x11f10, LETTER_4},
    {0x11f12, 0x11f33, LETTER_4}, {0x11f34, 0x11f3a, MARK_4},   {0x11f3e, 0x11f42, MARK_4},   {0x11f43, 0x11f4f, PUNCTUATION_4},
    {0x11f50, 0x11f59, NUMBER_4}, {0x1342f, 0x1342f, LETTER_4}, {0x13440, 0x13440, MARK_4},   {0x13441, 0x13446, LETTER_4},
    {0x13447, 0x13455, MARK_4},   {0x1b132, 0x1b132, LETTER_4}, {0x1b155, 0x1b155, LETTER_4}, {0x1d2c0, 0x1d2d3, NUMBER_4},
    {0x1df25, 0x1df2a, LETTER_4}, {0x1e030, 0x1e06d, LETTER_4}, {0x1e08f, 0x1e08f, MARK_4},   {0x1e4d0, 0x1e4eb, LETTER_4},
    {0x1e4ec, 0x1e4ef, MARK_4},   {0x1e4f0, 0x1e4f9, NUMBER_4}, {0x1f6dc, 0x1f6dc, SYMBOL_4}, {0x1f774, 0x1f776, SYMBOL_4},
    {0x1f77b, 0x1f77f, SYMBOL_4}, {0x1f7d9, 0x1f7d9, SYMBOL_4}, {0x1fa75, 0x1fa77, SYMBOL_4}, {0x1fa87, 0x1fa88, SYMBOL_4},
    {0x1faad, 0x1faaf, SYMBOL_4}, {0x1fabb, 0x1fabd, SYMBOL_4}, {0x1fabf, 0x1fabf, SYMBOL_4}, {0x1face, 0x1facf, SYMBOL_4},
    {0x1fada, 0x1fadb, SYMBOL_4}, {0x1fae8, 0x1fae8, SYMBOL_4}, {0x1faf7, 0x1faf8, SYMBOL_4}, {0x2b739, 0x2b739, LETTER_4},
    {0x2ebf0, 0x2ee5d, LETTER_4}, {0x31350, 0x323af, LETTER_4},
};

static const stand_in *stand_in_for(uint32_t code_point)
{
    size_t begin = 0, end = sizeof stand_ins / sizeof stand_ins[0];
    while (begin < end) {
        size_t middle = begin + (end - begin) / 2;
        if (stand_ins[middle].last < code_point)
            begin = middle + 1;
        else
            end = middle;
    }
    if (begin == sizeof stand_ins / sizeof stand_ins[0] || stand_ins[begin].first > code_point) return NULL;
    return &stand_ins[begin];
}

/* The place of the next character that needs a stand-in, or n_bytes. No such character has fewer than three bytes. */
static size_t next_young(const char *text, size_t n_bytes, size_t begin, const stand_in **found)
{
    size_t i = begin;
    while (i < n_bytes) {
        unsigned char lead = (unsigned char)text[i];
        if (lead < 0xe0) {
            i++; /* ASCII, or any byte of a character of two */
            continue;
        }
        int n_char = lead < 0xf0 ? 3 : 4;
        *found = stand_in_for(utf8_code_point(text + i, n_char));
        if (*found) return i;
        i += (size_t)n_char;
    }
    return n_bytes;
}

static yl_status compile(pcre2_code **out, const char *pattern, yl_error *err)
{
    int code = 0;
    PCRE2_SIZE place = 0;
    *out = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &place, NULL);
    if (!*out) {
        PCRE2_UCHAR message[128] = {0};
        pcre2_get_error_message(code, message, sizeof message);
        return yl_fail(err, YL_EUNSUPPORTED, "this PCRE2 library cannot compile a pre-tokenizer's expression (at byte %zu: %s)",
                       (size_t)place, (const char *)message);
    }
    (void)pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE); /* where there is no JIT, pcre2_match interprets */
    return YL_OK;
}

yl_status splitter_new(splitter **out, const char *const *patterns, yl_error *err)
{
    *out = NULL;
    splitter *s = calloc(1, sizeof *s);
    if (!s) return yl_fail(err, YL_ENOMEM, "no memory for the pre-tokenizer");
    yl_status status = YL_OK;
    for (; patterns[s->n_codes] && !status; s->n_codes += !status) {
        assert(s->n_codes < MAX_PATTERNS);
        status = compile(&s->codes[s->n_codes], patterns[s->n_codes], err);
    }
    if (status) {
        splitter_free(s);
        return status;
    }
    *out = s;
    return YL_OK;
}

void splitter_free(splitter *s)
{
    if (!s) return;
    for (size_t i = 0; i < s->n_codes; i++) pcre2_code_free(s->codes[i]);
    free(s);
}

void split_scratch_free(split_scratch *s)
{
    if (!s) return;
    pcre2_match_data_free(s->matches);
    pcre2_match_context_free(s->context);
    pcre2_jit_stack_free(s->jit_stack);
    free(s->patched);
    free(s);
}

static yl_status scratch_new(split_scratch **out, yl_error *err)
{
    split_scratch *s = calloc(1, sizeof *s);
    if (s) {
        s->matches = pcre2_match_data_create(1, NULL);
        s->context = pcre2_match_context_create(NULL);
        s->jit_stack = pcre2_jit_stack_create(JIT_STACK_MIN_BYTES, JIT_STACK_MAX_BYTES, NULL); /* NULL where there is no JIT */
    }
    if (!s || !s->matches || !s->context) {
        split_scratch_free(s);
        return yl_fail(err, YL_ENOMEM, "no memory to cut a text into words");
    }
    pcre2_set_match_limit(s->context, UINT32_MAX);
    pcre2_set_depth_limit(s->context, UINT32_MAX);
    pcre2_set_heap_limit(s->context, UINT32_MAX);
    if (s->jit_stack) pcre2_jit_stack_assign(s->context, NULL, s->jit_stack);
    *out = s;
    return YL_OK;
}

/* Where a text is being cut: what PCRE2 sees, the text itself, and whom to tell. */
typedef struct cut {
    const splitter *splitter;
    split_scratch *scratch;
    const char *subject, *text;
    split_word *word;
    void *context;
} cut;

/* The next match at or after `begin` in the piece: *match_begin == n_bytes if there is none. */
static yl_status next_match(const cut *c, const pcre2_code *code, const char *piece, size_t n_bytes, size_t begin,
                            size_t *match_begin, size_t *match_end, yl_error *err)
{
    split_scratch *s = c->scratch;
    int rc = pcre2_match(code, (PCRE2_SPTR)piece, n_bytes, begin, PCRE2_NO_UTF_CHECK, s->matches, s->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(code, (PCRE2_SPTR)piece, n_bytes, begin, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, s->matches, s->context);
    if (rc == PCRE2_ERROR_NOMATCH) {
        *match_begin = *match_end = n_bytes;
        return YL_OK;
    }
    if (rc == PCRE2_ERROR_NOMEMORY) return yl_fail(err, YL_ENOMEM, "no memory to cut a text of %zu bytes into words", n_bytes);
    if (rc < 0)
        return yl_fail(err, YL_ELIMIT, "the regular expression library gave up on a text of %zu bytes (PCRE2 error %d)", n_bytes,
                       rc);
    const PCRE2_SIZE *ovector = pcre2_get_ovector_pointer(s->matches);
    *match_begin = ovector[0];
    *match_end = ovector[1];
    return YL_OK;
}

static yl_status cut_piece(const cut *c, size_t i_code, size_t piece_begin, size_t n_bytes, yl_error *err)
{
    if (n_bytes == 0) return YL_OK;
    if (i_code == c->splitter->n_codes) return c->word(c->context, c->text + piece_begin, n_bytes, err);
    yl_status status = YL_OK;
    for (size_t begin = 0; begin < n_bytes && !status;) {
        size_t match_begin = 0, match_end = 0;
        status = next_match(c, c->splitter->codes[i_code], c->subject + piece_begin, n_bytes, begin, &match_begin, &match_end, err);
        if (status) break;
        assert(match_begin == n_bytes || match_end > match_begin); /* none of our expressions matches nothing */
        status = cut_piece(c, i_code + 1, piece_begin + begin, match_begin - begin, err);
        if (!status) status = cut_piece(c, i_code + 1, piece_begin + match_begin, match_end - match_begin, err);
        begin = match_end;
    }
    return status;
}

/* What PCRE2 shall see of the text: itself, unless a stand-in is needed. */
static yl_status subject_of(split_scratch *s, const char **subject, const char *text, size_t n_bytes, yl_error *err)
{
    const stand_in *found = NULL;
    *subject = text;
    size_t i = next_young(text, n_bytes, 0, &found);
    if (i == n_bytes) return YL_OK;
    if (s->patched_capacity < n_bytes) {
        char *grown = realloc(s->patched, n_bytes);
        if (!grown) return yl_fail(err, YL_ENOMEM, "no memory to cut a text of %zu bytes into words", n_bytes);
        s->patched = grown;
        s->patched_capacity = n_bytes;
    }
    memcpy(s->patched, text, n_bytes);
    while (i < n_bytes) {
        i += (size_t)utf8_write(s->patched + i, found->shown_as);
        i = next_young(text, n_bytes, i, &found);
    }
    *subject = s->patched;
    return YL_OK;
}

yl_status split_text(const splitter *s, split_scratch **scratch, const char *text, size_t n_bytes, split_word *word, void *context,
                     yl_error *err)
{
    cut c = {.splitter = s, .text = text, .word = word, .context = context};
    yl_status status = *scratch ? YL_OK : scratch_new(scratch, err);
    if (status) return status;
    c.scratch = *scratch;
    status = subject_of(*scratch, &c.subject, text, n_bytes, err);
    return status ? status : cut_piece(&c, 0, 0, n_bytes, err);
}
