/* bench_report.h: results as a table for people, or as lines for programs.
 *
 * Rows appear as they are known. Every row repeats what it is about (model, machine, settings), so that rows of several runs can be
 * put together. */
#ifndef YL_BENCH_REPORT_H
#define YL_BENCH_REPORT_H

#include "bench_run.h"

typedef enum bench_format { BENCH_MD, BENCH_CSV, BENCH_JSON, BENCH_JSONL } bench_format;

/* False: there is no format of that name. */
bool bench_format_parse(const char *name, bench_format *out);

/* What all rows have in common. Strings are borrowed. */
typedef struct bench_subject {
    const char *model_path, *model_name, *model_type; /* "m.gguf", "Llama 3.2 1B", "Q4_K+Q6_K" */
    uint64_t model_bytes, n_params;                   /* of all tensors */
    const char *load; /* how weights lie in memory: "cache" (mapped), "mmap" (the model), "heap", "mlock" */
    wire_type wire;
    const char *cpu;
} bench_subject;

typedef struct bench_report {
    console *con;
    bench_format format;
    bench_subject subject;
    size_t n_rows;
} bench_report;

/* YL_EIO: standard output cannot be written. YL_ENOMEM. A row writes what belongs before it, the table's head for example. */
yl_status bench_report_row(bench_report *r, const bench_result *result, yl_error *err);
yl_status bench_report_end(bench_report *r, yl_error *err);

#endif
