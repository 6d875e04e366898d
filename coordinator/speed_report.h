/* speed_report.h: how fast an answer was, and what each stage of the chain did for it. */
#ifndef YL_SPEED_REPORT_H
#define YL_SPEED_REPORT_H

#include "console.h"
#include "engine.h"
#include "generate.h"

/* Counters of all stages at three moments. */
typedef struct speed_report {
    uint32_t n_stages;
    engine_stage *before, *at_first_token, *after; /* [engine_max_stages] each */
    bool has_first_token;
} speed_report;

/* Reads the counters. Release with speed_report_clear. YL_ENOMEM, YL_EPEER. */
yl_status speed_report_begin(speed_report *r, engine *e, yl_error *err);
/* The prompt was fed, the first token is there. */
yl_status speed_report_first_token(speed_report *r, engine *e, yl_error *err);
/* Reads the counters again and writes the report to standard error: a line for the prompt, one for the answer, one a stage; by -v
 * also what was foreseen of workers that joined. */
yl_status speed_report_end(speed_report *r, engine *e, console *c, const generate_result *result, size_t n_prompt, uint64_t seed,
                           yl_error *err);
void speed_report_clear(speed_report *r);

#endif
