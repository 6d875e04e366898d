/* answer_stream.c: a piece, made whole characters, written. */
#include "answer_stream.h"

#include <stdlib.h>

enum { PIECE_BYTES = 256, WHOLE_BYTES = 3 * (PIECE_BYTES + 4) };

static bool put_bytes(answer_stream *a, const char *piece, size_t n_piece, char *whole)
{
    size_t n = utf8_stream_feed(&a->utf8, piece, n_piece, whole), begin = 0;
    if (a->skips_blanks) {
        while (begin < n && (whole[begin] == ' ' || whole[begin] == '\n')) begin++;
        if (begin < n) a->skips_blanks = false;
    }
    return console_write(a->con, whole + begin, n - begin);
}

bool answer_stream_put(answer_stream *a, token_id token)
{
    char piece[PIECE_BYTES], whole[WHOLE_BYTES];
    size_t n = tokenizer_piece(a->t, token, a->shows_special, piece, sizeof piece);
    if (n <= sizeof piece) return put_bytes(a, piece, n, whole);

    char *long_piece = malloc(n), *long_whole = malloc(3 * (n + 4));
    bool is_written = false;
    if (long_piece && long_whole) {
        tokenizer_piece(a->t, token, a->shows_special, long_piece, n);
        is_written = put_bytes(a, long_piece, n, long_whole);
    } else {
        yl_fail(&a->con->out_error, YL_ENOMEM, "no memory for a token of %zu bytes", n);
    }
    free(long_piece);
    free(long_whole);
    return is_written;
}

void answer_stream_end(answer_stream *a)
{
    char rest[16];
    console_write(a->con, rest, utf8_stream_end(&a->utf8, rest));
}
