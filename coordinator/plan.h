/* plan.h: what `yllama plan` has found out, before it is written as text or as JSON. */
#ifndef YL_PLAN_H
#define YL_PLAN_H

#include "console.h"
#include "prediction.h"

typedef struct plan {
    const char *model_path;
    placement_spec spec;
    uint32_t n_ctx;
    const placement *placed;
    const prediction *predicted;
    bool is_arithmetic_assumed; /* of some machine only the memory was said */
    bool is_link_assumed;
} plan;

/* A table for a person, at most 100 columns wide while names of machines are short (PLAN_NAME_BYTES). YL_ENOMEM. */
yl_status plan_write_text(const plan *p, console *c, yl_error *err);
/* One JSON object; times in ms, sizes in bytes. YL_ENOMEM. */
yl_status plan_write_json(const plan *p, console *c, yl_error *err);

/* "laptop", "the coordinator". */
const char *plan_node_name(const plan *p, uint32_t node);

#endif
