/* utf8_stream.c: whole characters out of bytes that come in pieces.
 *
 * Bytes wait in `pending` while they can still become a character. The moment they cannot, what waited becomes one U+FFFD and the
 * byte that broke it is looked at again as a beginning: the "maximal subpart" practice of the Unicode standard (chapter 3.9) and of
 * every browser, so that a terminal, a web page and this agree on how many marks a broken text shows. */
#include <string.h>

#include "tokenizer.h"
#include "utf8.h"

static size_t put_replacement(char *out)
{
    memcpy(out, "\xef\xbf\xbd", 3);
    return 3;
}

/* Takes one byte; returns what it wrote: at most a replacement and a character of one byte, or a character of up to four. */
static size_t feed_byte(utf8_stream *s, char byte, char *out)
{
    size_t n_out = 0;
    for (;;) {
        s->pending[s->n_pending++] = (unsigned char)byte;
        int n_bytes = utf8_char_bytes((const char *)s->pending, s->n_pending);
        if (n_bytes == UTF8_INCOMPLETE) return n_out;
        size_t n_waited = s->n_pending - 1;
        s->n_pending = 0;
        if (n_bytes > 0) {
            memcpy(out + n_out, s->pending, (size_t)n_bytes);
            return n_out + (size_t)n_bytes;
        }
        n_out += put_replacement(out + n_out);
        if (n_waited == 0) return n_out; /* the byte itself can begin nothing */
    }
}

size_t utf8_stream_feed(utf8_stream *s, const char *bytes, size_t n_bytes, char *out)
{
    size_t n_out = 0;
    for (size_t i = 0; i < n_bytes; i++) n_out += feed_byte(s, bytes[i], out + n_out);
    return n_out;
}

size_t utf8_stream_end(utf8_stream *s, char *out)
{
    if (s->n_pending == 0) return 0;
    s->n_pending = 0;
    return put_replacement(out);
}
