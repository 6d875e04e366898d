/* top_view.h: what `yllama top` shows: a chain at work between two moments, from two answers to CHAIN. */
#ifndef YL_TOP_VIEW_H
#define YL_TOP_VIEW_H

#include <stdbool.h>
#include <stdio.h>

#include "frames.h"

/* What a stage did between two moments. */
typedef struct top_stage {
    bool is_known;     /* both moments are of this wiring, and something was counted between them */
    double rows_per_s; /* 0: nothing came; then the next three are 0 */
    double compute_ms; /* a row, as all these */
    double queue_ms;   /* that a row waited there, before it was its turn */
    double idle_ms;    /* that the stage had nothing to do */
    double in_bytes_s, out_bytes_s;
} top_stage;

/* The same of the whole chain. */
typedef struct top_chain {
    bool is_known;
    double turns_per_s; /* micro-batches that came back */
    double turn_ms;     /* that one was away, on average */
    double wire_ms;     /* of that: neither computed nor waiting at a stage, so on links and in sockets; of all links together */
} top_chain;

/* before: NULL for the first moment, then nothing is known. */
top_stage top_stage_between(const frame_chain *before, const frame_chain *now, uint32_t i);
top_chain top_chain_between(const frame_chain *before, const frame_chain *now);

/* The table for a person. address: of the coordinator. */
void top_print_text(FILE *f, const char *address, const frame_chain *before, const frame_chain *now);
/* One line of JSON with the same figures and what was counted in all. YL_ENOMEM. */
yl_status top_print_json(FILE *f, const frame_chain *before, const frame_chain *now, yl_error *err);

#endif
