/* plan_assume.c: machines as a user describes them. */
#include <stdio.h>
#include <string.h>

#include "plan_machines.h"
#include "quantity.h"

static bool is_name(const char *text, size_t n)
{
    if (n == 0 || n >= PLAN_NAME_BYTES) return false;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_letter && !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != '-') return false;
    }
    return true;
}

/* "name=" in front of a machine, taken off; without one, a letter or a number by its place. */
static yl_status take_name(plan_machines *m, const char **at, size_t *n, yl_error *err)
{
    char *name = m->names[m->n];
    const char *equals = memchr(*at, '=', *n);
    if (!equals) {
        snprintf(name, PLAN_NAME_BYTES, m->n < 26 ? "%c" : "M%u", m->n < 26 ? 'A' + (int)m->n : (int)m->n + 1);
    } else {
        size_t n_name = (size_t)(equals - *at);
        if (!is_name(*at, n_name))
            return yl_fail(err, YL_EINVAL, "--assume: '%.*s' is no name: take 1 to %d letters, digits, '.', '_' or '-'",
                           (int)n_name, *at, PLAN_NAME_BYTES - 1);
        memcpy(name, *at, n_name);
        name[n_name] = 0;
        *at += n_name + 1;
        *n -= n_name + 1;
    }
    for (uint32_t i = 0; i < m->n; i++) {
        if (strcmp(m->names[i], name) == 0) return yl_fail(err, YL_EINVAL, "--assume: there are two machines named '%s'", name);
    }
    return YL_OK;
}

static yl_status add_machine(plan_machines *m, const char *at, size_t n, uint64_t fixed_bytes, yl_error *err)
{
    static const quantity_kind kinds[] = {QUANTITY_BYTES, QUANTITY_BYTES_RATE, QUANTITY_MACS_RATE};
    const char *whole = at;
    size_t n_whole = n, n_values = 0;
    if (m->n == PLACEMENT_MAX_NODES) return yl_fail(err, YL_EINVAL, "--assume: at most %d machines", PLACEMENT_MAX_NODES);
    yl_status status = take_name(m, &at, &n, err);
    if (status) return status;
    double values[3] = {0};
    for (const char *end = at + n; at <= end && n_values < 3; n_values++) {
        const char *colon = memchr(at, ':', (size_t)(end - at));
        size_t n_value = (size_t)((colon ? colon : end) - at);
        if (!quantity_parse(at, n_value, kinds[n_values], &values[n_values]))
            return yl_fail(err, YL_EINVAL, "--assume: '%.*s' in '%.*s' is not a number in %s", (int)n_value, at, (int)n_whole,
                           whole, quantity_units(kinds[n_values]));
        at += n_value + 1;
        if (colon && n_values == 2) n_values = 3; /* a fourth value */
    }
    if (n_values < 2 || n_values > 3)
        return yl_fail(err, YL_EINVAL, "--assume: '%.*s' is not MEMORY:BANDWIDTH or MEMORY:BANDWIDTH:ARITHMETIC, as in 8GB:50GB/s",
                       (int)n_whole, whole);
    if (values[0] >= 0x1p62) return yl_fail(err, YL_EINVAL, "--assume: '%.*s' is more memory than there is", (int)n_whole, whole);
    m->is_arithmetic_assumed |= n_values == 2;
    m->nodes[m->n] = (placement_node){.name = m->names[m->n],
                                      .free_bytes = (uint64_t)values[0],
                                      .fixed_bytes = fixed_bytes,
                                      .bytes_per_s = values[1],
                                      .macs_per_s = n_values == 3 ? values[2] : PLAN_MACS_A_BYTE * values[1]};
    m->n++;
    return YL_OK;
}

yl_status plan_machines_assume(plan_machines *out, const char *text, uint64_t fixed_bytes, yl_error *err)
{
    memset(out, 0, sizeof *out);
    for (const char *at = text;; at++) {
        size_t n = strcspn(at, ",");
        yl_status status = add_machine(out, at, n, fixed_bytes, err);
        if (status) return status;
        at += n;
        if (!*at) return YL_OK;
    }
}

yl_status plan_link_parse(placement_link *out, const char *text, yl_error *err)
{
    const char *comma = strchr(text, ',');
    size_t n = comma ? (size_t)(comma - text) : strlen(text);
    if (!comma || !quantity_parse(text, n, QUANTITY_BITS_RATE, &out->bytes_per_s) ||
        !quantity_parse(comma + 1, strlen(comma + 1), QUANTITY_MS, &out->rtt_ms))
        return yl_fail(err, YL_EINVAL, "--link: '%s' is not RATE,ROUNDTRIP in %s and %s, as in 1gbit,0.3ms", text,
                       quantity_units(QUANTITY_BITS_RATE), quantity_units(QUANTITY_MS));
    return YL_OK;
}

void plan_machines_connect(plan_machines *m, placement_link link, placement_link near)
{
    uint32_t n = m->n + 1;
    for (uint32_t from = 0; from < n; from++) {
        for (uint32_t to = 0; to < n; to++) {
            bool is_near = (from == m->n && to == 0) || (from == 0 && to == m->n);
            m->links[(size_t)from * n + to] = is_near ? near : link;
        }
    }
}
