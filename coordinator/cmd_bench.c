/* cmd_bench.c: `yllama bench`: how fast a model is on this machine, and how much of the machine it uses. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench_report.h"
#include "bench_run.h"
#include "command.h"
#include "gguf_value.h"
#include "session.h"

enum { TYPE_BYTES = 64, CPU_BYTES = 128 };

/* "Q4_K+Q6_K": the number formats of at least a twentieth of the bytes, the most first; and the sums over all tensors. */
static void describe_weights(const gguf *g, bench_subject *s, char type_text[TYPE_BYTES])
{
    uint64_t bytes_of_type[QUANT_TYPE_END] = {0};
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const gguf_tensor *t = gguf_tensor_at(g, i);
        s->n_params += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
        s->model_bytes += t->n_bytes;
        bytes_of_type[t->type] += t->n_bytes;
    }
    for (size_t n = 0; n < TYPE_BYTES - 8;) {
        unsigned most = 0;
        for (unsigned type = 1; type < QUANT_TYPE_END; type++)
            if (bytes_of_type[type] > bytes_of_type[most]) most = type;
        if (bytes_of_type[most] == 0 || bytes_of_type[most] < s->model_bytes / 20) break;
        n += (size_t)snprintf(type_text + n, TYPE_BYTES - n, "%s%s", n ? "+" : "", quant_type_name(most));
        bytes_of_type[most] = 0;
    }
    s->model_type = type_text;
}

/* The processor's name as Linux tells it; "" elsewhere. */
static void name_cpu(char text[CPU_BYTES])
{
    FILE *f = fopen("/proc/cpuinfo", "re");
    char line[256];
    text[0] = 0;
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        snprintf(text, CPU_BYTES, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (f) fclose(f);
}

static yl_status on_result(void *ctx, const bench_result *result, yl_error *err)
{
    return bench_report_row(ctx, result, err);
}

/* It is our turn when there is a line on standard input, and never again at its end. */
static bench_turn wait_for_line(void *ctx, int wait_ms)
{
    (void)ctx;
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    if (poll(&input, 1, wait_ms) <= 0) return BENCH_TURN_LATER;
    for (char c; read(STDIN_FILENO, &c, 1) == 1;)
        if (c == '\n') return BENCH_TURN_NOW;
    return BENCH_TURN_NEVER;
}

/* The name that the file gives the model, else the file's own. */
static yl_status name_model(const session *s, char **out, yl_error *err)
{
    gguf_str name;
    yl_status status = gguf_get_str_or(s->g, "general.name", "", &name, err);
    if (status) return status;
    const char *slash = strrchr(s->o->model, '/'), *file = slash ? slash + 1 : s->o->model;
    if (name.n_bytes == 0) name = (gguf_str){file, strlen(file)};
    *out = gguf_value_text(name, GGUF_VALUE_FOR_TERMINAL);
    return *out ? YL_OK : yl_fail(err, YL_ENOMEM, "no memory for a name");
}

static yl_status measure(session *s, const bench_plan *plan, bench_format format, yl_error *err)
{
    char type[TYPE_BYTES] = "", cpu[CPU_BYTES], *name;
    yl_status status = name_model(s, &name, err);
    if (status) return status;
    name_cpu(cpu);
    bench_report report = {.con = s->con, .format = format};
    report.subject = (bench_subject){.model_path = s->o->model,
                                     .model_name = name,
                                     .load = s->o->mlock   ? "mlock"
                                             : !s->o->mmap ? "heap"
                                             : s->o->cache ? "cache"
                                                           : "mmap",
                                     .wire = s->o->wire,
                                     .cpu = cpu};
    describe_weights(s->g, &report.subject, type);
    bench_listener listener = {on_result, s->o->bench.is_paced ? wait_for_line : NULL, &report};
    status = bench_run(s, plan, &listener, err);
    if (!status) status = bench_report_end(&report, err);
    free(name);
    return status;
}

yl_status cmd_bench(const options *o, console *c, yl_error *err)
{
    session s = {0};
    bench_plan plan;
    bench_format format;
    yl_status status = bench_plan_make(&plan, o, err);
    if (!status && !bench_format_parse(o->bench.output, &format))
        status = yl_fail(err, YL_EINVAL, "-o: '%s' is not md, csv, json or jsonl", o->bench.output);
    if (!status) status = session_open(&s, o, c, err);
    if (!status) status = measure(&s, &plan, format, err);
    bench_plan_clear(&plan);
    session_close(&s);
    return status;
}
