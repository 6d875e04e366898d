/* bench_streams.c: submit for every sequence that is ready, poll, look again.
 *
 * Which token is fed costs nothing or the same, so tokens are known in advance; but as in a conversation none is sent before the
 * answer to the one before it is there. */
#include "bench_streams.h"

#include <stdlib.h>

enum { WAIT_MS = 100 };

struct bench_streams {
    engine *e;
    uint32_t n_ctx;
    int32_t *tokens;    /* [n_seq, n_ctx] */
    uint32_t *n_fed;    /* [n_seq] of the call under way */
    uint32_t n_answers; /* likewise */
};

yl_status bench_streams_new(bench_streams **out, engine *e, uint32_t n_seq, uint32_t n_ctx, yl_error *err)
{
    *out = NULL;
    bench_streams *b = calloc(1, sizeof *b);
    size_t n = (size_t)n_seq * n_ctx;
    if (b) {
        *b =
            (bench_streams){.e = e, .n_ctx = n_ctx, .tokens = calloc(n, sizeof(int32_t)), .n_fed = calloc(n_seq, sizeof(uint32_t))};
        if (b->tokens && b->n_fed) *out = b;
    }
    if (!*out) {
        bench_streams_free(b);
        return yl_fail(err, YL_ENOMEM, "no memory for %zu tokens", n);
    }
    uint64_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        b->tokens[i] = (int32_t)((state >> 33) % engine_hparams(e)->n_vocab);
    }
    return YL_OK;
}

void bench_streams_free(bench_streams *b)
{
    if (!b) return;
    free(b->tokens);
    free(b->n_fed);
    free(b);
}

static yl_status count_answer(void *ctx, const frame_answer *a, yl_error *err)
{
    bench_streams *b = ctx;
    if (a->data.n_bytes == 0) return yl_fail(err, YL_EPEER, "position %u: no candidate in the answer", (unsigned)a->pos);
    b->n_answers++;
    return YL_OK;
}

/* Feeds all sequences in pieces of `piece` tokens until each has had n. */
static yl_status feed(bench_streams *b, uint32_t n_seq, uint32_t pos, uint32_t n, uint32_t piece, yl_error *err)
{
    const frame_want want = {.row = piece - 1, .kind = FRAME_WANT_TOP, .top = 1};
    for (uint32_t seq = 0; seq < n_seq; seq++) b->n_fed[seq] = 0;
    b->n_answers = 0;
    for (;;) {
        bool is_over = true;
        for (uint32_t seq = 0; seq < n_seq; seq++) {
            if (!engine_is_done(b->e, seq)) {
                is_over = false;
                continue;
            }
            if (b->n_fed[seq] == n) continue;
            uint32_t at = pos + b->n_fed[seq];
            engine_request r = {seq, at, b->tokens + (size_t)seq * b->n_ctx + at, piece, &want, 1, count_answer, b};
            yl_status status = engine_submit(b->e, &r, err);
            if (status) return status;
            b->n_fed[seq] += piece;
            is_over = false;
        }
        if (is_over) break;
        yl_status status = engine_poll(b->e, WAIT_MS, err);
        if (status) return status;
    }
    if (b->n_answers == n_seq * (n / piece)) return YL_OK;
    return yl_fail(err, YL_EPEER, "%u answers came where %u were due", (unsigned)b->n_answers, (unsigned)(n_seq * (n / piece)));
}

yl_status bench_streams_read(bench_streams *b, uint32_t n_seq, uint32_t pos, uint32_t n, yl_error *err)
{
    return n > 0 ? feed(b, n_seq, pos, n, n, err) : YL_OK;
}

yl_status bench_streams_generate(bench_streams *b, uint32_t n_seq, uint32_t pos, uint32_t n, yl_error *err)
{
    return feed(b, n_seq, pos, n, 1, err);
}
