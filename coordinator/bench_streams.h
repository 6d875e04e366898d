/* bench_streams.h: what is timed: prompts read and tokens generated, by several sequences side by side. */
#ifndef YL_BENCH_STREAMS_H
#define YL_BENCH_STREAMS_H

#include "engine.h"

/* Sequences 0 ... n-1 of an engine, each with tokens of its own. */
typedef struct bench_streams bench_streams;

/* For up to n_seq sequences of up to n_ctx tokens: numbers from a fixed generator. YL_ENOMEM. Free with bench_streams_free. */
yl_status bench_streams_new(bench_streams **out, engine *e, uint32_t n_seq, uint32_t n_ctx, yl_error *err);
void bench_streams_free(bench_streams *b);

/* Feeds positions [pos, pos + n) of n_seq sequences and waits for the likeliest token after the last one of each. Positions before
 * pos must have been fed. Errors as of engine_poll. */
yl_status bench_streams_read(bench_streams *b, uint32_t n_seq, uint32_t pos, uint32_t n, yl_error *err);

/* The same, but a sequence's next token is fed only when the likeliest one after its last came back. */
yl_status bench_streams_generate(bench_streams *b, uint32_t n_seq, uint32_t pos, uint32_t n, yl_error *err);

#endif
