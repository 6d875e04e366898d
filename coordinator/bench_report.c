/* bench_report.c: a result is a list of named values; CSV and JSON write that list, the table has a hand for what people read. */
#include "bench_report.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool bench_format_parse(const char *name, bench_format *out)
{
    static const char *const names[] = {[BENCH_MD] = "md", [BENCH_CSV] = "csv", [BENCH_JSON] = "json", [BENCH_JSONL] = "jsonl"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) return *out = (bench_format)i, true;
    }
    return false;
}

/* ---- values ---- */

typedef struct value {
    const char *name;
    const char *text; /* NULL: it is a number, and if that is not one (NaN), nothing is known */
    double number;
} value;

enum { MAX_VALUES = 48 };
typedef struct value_list {
    value values[MAX_VALUES];
    size_t n;
    char test[BENCH_NAME_BYTES];
} value_list;

static void add_text(value_list *l, const char *name, const char *text)
{
    l->values[l->n++] = (value){name, text, 0};
}

static void add_number(value_list *l, const char *name, double number)
{
    l->values[l->n++] = (value){name, NULL, number};
}

static const char *kind_name(bench_kind kind)
{
    return kind == BENCH_PROMPT ? "pp" : kind == BENCH_GENERATE ? "tg" : "start";
}

static void list_settings(value_list *l, const bench_report *r, const bench_test *t)
{
    const bench_subject *s = &r->subject;
    add_text(l, "version", YLLAMA_VERSION);
    add_text(l, "cpu", s->cpu);
    add_text(l, "model", s->model_path);
    add_text(l, "model_name", s->model_name);
    add_text(l, "model_type", s->model_type);
    add_number(l, "model_bytes", (double)s->model_bytes);
    add_number(l, "n_params", (double)s->n_params);
    add_text(l, "isa", t->setup.isa);
    add_text(l, "load", s->load);
    add_number(l, "n_workers", t->setup.n_local);
    add_number(l, "n_threads", t->setup.n_threads);
    add_number(l, "n_batch", t->setup.n_batch);
    add_number(l, "n_ubatch", t->setup.n_ubatch);
    add_text(l, "type_k", kv_type_name(t->setup.type_k));
    add_text(l, "type_v", kv_type_name(t->setup.type_v));
    add_text(l, "wire", wire_type_name(s->wire));
    add_text(l, "test", bench_test_name(l->test, t));
    add_text(l, "kind", kind_name(t->kind));
    add_number(l, "n_tokens", t->n_tokens);
    add_number(l, "n_depth", t->n_depth);
    add_number(l, "n_parallel", t->n_parallel);
}

static double pages_of(const bench_result *r, const machine_limits *l)
{
    return r->pages == BENCH_PAGES_HUGE ? l->read_huge_pages : l->read_small_pages;
}

static void list_measured(value_list *l, const bench_result *r)
{
    bool timed = r->test.kind != BENCH_START; /* tokens a second of a start would mean little */
    add_number(l, "n_reps", r->n_reps);
    add_number(l, "ms", r->ms.median);
    add_number(l, "ms_min", r->ms.min);
    add_number(l, "ms_max", r->ms.max);
    add_number(l, "tokens_s", timed ? r->rate.median : NAN);
    add_number(l, "tokens_s_min", timed ? r->rate.min : NAN);
    add_number(l, "tokens_s_max", timed ? r->rate.max : NAN);
    add_number(l, "tokens_s_mean", timed ? r->rate.mean : NAN);
    add_number(l, "tokens_s_sd", timed ? r->rate.deviation : NAN);
    add_number(l, "limit", r->has_limits ? r->floor.rate : NAN);
    add_text(l, "bound", !r->has_limits ? "" : r->floor.bound == BENCH_BOUND_MEMORY ? "memory" : "arithmetic");
    add_number(l, "share", r->has_limits ? r->share : NAN);
    add_text(l, "pages", r->pages == BENCH_PAGES_HUGE ? "huge" : "4k");
    add_number(l, "limit_threads", r->has_limits ? r->n_limit_threads : NAN);
    add_number(l, "read_before", r->has_limits ? pages_of(r, &r->limits_before) : NAN);
    add_number(l, "read_after", r->has_limits ? pages_of(r, &r->limits_after) : NAN);
    add_number(l, "read_4k", r->has_limits ? r->limits.read_small_pages : NAN);
    add_number(l, "read_huge", r->has_limits ? r->limits.read_huge_pages : NAN);
    add_number(l, "dot_int8", r->has_limits ? r->limits.dot_int8 : NAN);
    add_number(l, "multiply_add_f32", r->has_limits ? r->limits.multiply_add_f32 : NAN);
    add_number(l, "coordinator_peak_bytes", (double)r->coordinator_bytes);
    add_number(l, "workers_peak_bytes", (double)r->workers_bytes);
}

/* ---- formats ---- */

static void write_csv_text(console *c, const char *text)
{
    console_write(c, "\"", 1);
    for (const char *at = text; *at; at++) console_write(c, *at == '"' ? "\"\"" : at, *at == '"' ? 2 : 1);
    console_write(c, "\"", 1);
}

static void write_csv(console *c, const value_list *l, bool with_names)
{
    for (size_t i = 0; i < l->n && with_names; i++) console_print(c, "%s%s", i ? "," : "", l->values[i].name);
    if (with_names) console_write(c, "\n", 1);
    for (size_t i = 0; i < l->n; i++) {
        const value *v = &l->values[i];
        if (i) console_write(c, ",", 1);
        if (v->text)
            write_csv_text(c, v->text);
        else if (!isnan(v->number))
            console_print(c, "%.12g", v->number);
    }
    console_write(c, "\n", 1);
}

static yl_status write_json(console *c, const value_list *l, bool on_one_line, yl_error *err)
{
    cJSON *object = cJSON_CreateObject();
    for (size_t i = 0; i < l->n; i++) {
        const value *v = &l->values[i];
        if (v->text)
            cJSON_AddStringToObject(object, v->name, v->text);
        else if (isnan(v->number))
            cJSON_AddNullToObject(object, v->name);
        else
            cJSON_AddNumberToObject(object, v->name, v->number);
    }
    char *text = on_one_line ? cJSON_PrintUnformatted(object) : cJSON_Print(object);
    cJSON_Delete(object);
    if (!text) return yl_fail(err, YL_ENOMEM, "no memory for JSON");
    console_write(c, text, strlen(text));
    cJSON_free(text);
    return YL_OK;
}

/* What differs from the defaults is said behind the test's name. */
static void print_test(console *c, const bench_test *t, wire_type wire)
{
    char name[BENCH_NAME_BYTES];
    console_print(c, "%s", bench_test_name(name, t));
    if (t->setup.n_batch != 2048) console_print(c, ", b %u", (unsigned)t->setup.n_batch);
    if (t->setup.n_ubatch != 512) console_print(c, ", ub %u", (unsigned)t->setup.n_ubatch);
    if (t->setup.type_k != KV_F16) console_print(c, ", ctk %s", kv_type_name(t->setup.type_k));
    if (t->setup.type_v != KV_F16) console_print(c, ", ctv %s", kv_type_name(t->setup.type_v));
    if (wire != WIRE_F32) console_print(c, ", wire %s", wire_type_name(wire));
}

static void write_table_row(console *c, const bench_subject *s, const bench_result *r)
{
    char bytes[32], peak[32];
    bool is_small = s->n_params < 1000000000;
    console_print(c, "| %s %s | %s | %.2f %s | %s | %u x %u | ", s->model_name, s->model_type,
                  console_format_bytes(bytes, (double)s->model_bytes), (double)s->n_params / (is_small ? 1e6 : 1e9),
                  is_small ? "M" : "B", r->test.setup.isa, (unsigned)r->test.setup.n_local, (unsigned)r->test.setup.n_threads);
    print_test(c, &r->test, s->wire);
    console_format_bytes(peak, (double)(r->coordinator_bytes + r->workers_bytes));
    if (r->test.kind == BENCH_START) {
        console_print(c, " | %.1f ± %.1f ms | %.1f ms (%.1f to %.1f) | | | %s |\n", r->ms.mean, r->ms.deviation, r->ms.median,
                      r->ms.min, r->ms.max, peak);
        return;
    }
    console_print(c, " | %.2f ± %.2f | %.2f (%.2f to %.2f) | ", r->rate.mean, r->rate.deviation, r->rate.median, r->rate.min,
                  r->rate.max);
    if (!r->has_limits) {
        console_print(c, "| | %s |\n", peak);
        return;
    }
    if (r->floor.bound == BENCH_BOUND_MEMORY)
        console_print(c, "%.1f GB/s", r->floor.rate / 1e9);
    else
        console_print(c, "%.0f GMAC/s", r->floor.rate / 1e9);
    console_print(c, " | %.0f %% | %s |\n", r->share * 100, peak);
}

static void write_table_head(console *c)
{
    console_print(c, "| model | size | params | isa | workers x threads | test | t/s | median | limit | share | peak memory |\n"
                     "|---|---:|---:|---|---:|---|---:|---:|---:|---:|---:|\n");
}

yl_status bench_report_row(bench_report *r, const bench_result *result, yl_error *err)
{
    value_list l = {.n = 0};
    list_settings(&l, r, &result->test);
    list_measured(&l, result);
    yl_status status = YL_OK;
    bool is_first = r->n_rows++ == 0;
    switch (r->format) {
    case BENCH_MD:
        if (is_first) write_table_head(r->con);
        write_table_row(r->con, &r->subject, result);
        break;
    case BENCH_CSV: write_csv(r->con, &l, is_first); break;
    case BENCH_JSON:
        console_print(r->con, is_first ? "[" : ",\n");
        status = write_json(r->con, &l, false, err);
        break;
    case BENCH_JSONL:
        status = write_json(r->con, &l, true, err);
        console_write(r->con, "\n", 1);
        break;
    }
    return status ? status : console_check(r->con, err);
}

yl_status bench_report_end(bench_report *r, yl_error *err)
{
    if (r->format == BENCH_JSON) console_print(r->con, r->n_rows ? "]\n" : "[]\n");
    return console_check(r->con, err);
}
