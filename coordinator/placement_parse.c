/* placement_parse.c: "host=0-9,other=10-31": what a user wrote, held against the model and the machines. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "placement.h"

/* A piece of the text; not NUL-terminated. */
typedef struct piece {
    const char *at;
    size_t n;
} piece;

static bool is_word(piece p, const char *word)
{
    return p.n == strlen(word) && memcmp(p.at, word, p.n) == 0;
}

/* A layer's number, or nothing else. */
static bool take_number(piece *p, uint32_t *out)
{
    uint64_t v = 0;
    size_t n = 0;
    for (; n < p->n && p->at[n] >= '0' && p->at[n] <= '9'; n++) {
        v = v * 10 + (uint64_t)(p->at[n] - '0');
        if (v > HPARAMS_MAX_LAYER) return false;
    }
    if (n == 0) return false;
    *out = (uint32_t)v;
    p->at += n;
    p->n -= n;
    return true;
}

/* "7" or "0-9"; [begin, end). */
static bool parse_layers(piece p, uint32_t *begin, uint32_t *end)
{
    uint32_t last;
    if (!take_number(&p, begin)) return false;
    last = *begin;
    if (p.n > 0) {
        if (*p.at != '-') return false;
        p.at++;
        p.n--;
        if (!take_number(&p, &last) || p.n > 0) return false;
    }
    *end = last + 1;
    return last >= *begin;
}

static yl_status find_node(const placement *out, const placement_spec *spec, piece name, uint32_t *node, yl_error *err)
{
    for (*node = 0; *node < spec->n_nodes && !is_word(name, spec->nodes[*node].name);) (*node)++;
    if (*node == spec->n_nodes) {
        char known[160] = "";
        for (uint32_t i = 0; i < spec->n_nodes && strlen(known) + strlen(spec->nodes[i].name) + 3 < sizeof known; i++) {
            if (i > 0) strcat(known, ", ");
            strcat(known, spec->nodes[i].name);
        }
        return yl_fail(err, YL_EINVAL, "--layers: there is no machine '%.*s', there is %s", (int)name.n, name.at, known);
    }
    for (uint32_t i = 0; i < out->n_stages; i++) {
        if (out->stages[i].node == *node)
            return yl_fail(err, YL_EINVAL, "--layers: '%s' comes twice; a machine is one stage of the chain",
                           spec->nodes[*node].name);
    }
    return YL_OK;
}

/* One "name=layers"; *next is the first layer that nobody has yet. */
static yl_status add_stage(placement *out, const placement_spec *spec, piece item, uint32_t *next, yl_error *err)
{
    const char *equals = memchr(item.at, '=', item.n);
    if (!equals) return yl_fail(err, YL_EINVAL, "--layers: '%.*s' is not NAME=FIRST-LAST, as in host=0-9", (int)item.n, item.at);
    piece name = {item.at, (size_t)(equals - item.at)}, what = {equals + 1, item.n - name.n - 1};
    placement_stage *stage = &out->stages[out->n_stages];
    yl_status status = find_node(out, spec, name, &stage->node, err);
    if (status) return status;
    uint32_t n_layer = spec->model->n_layer, begin = *next, end = *next;
    if (out->n_stages > 0 && n_layer == *next && stage[-1].range.layer_begin == n_layer)
        return yl_fail(err, YL_EINVAL, "--layers: nothing comes after the head, but '%.*s' does", (int)item.n, item.at);
    bool is_bare = (is_word(what, "embedding") && out->n_stages == 0) || (is_word(what, "head") && *next == n_layer);
    if (!is_bare && !parse_layers(what, &begin, &end))
        return yl_fail(err, YL_EINVAL, "--layers: '%.*s' is not FIRST-LAST, as in 0-9 (or embedding first, or head last)",
                       (int)what.n, what.at);
    if (begin != *next || end > n_layer)
        return yl_fail(err, YL_EINVAL, "--layers: '%.*s': the next layer is %" PRIu32 ", the last one %" PRIu32, (int)item.n,
                       item.at, *next, n_layer - 1);
    stage->range = (slice_range){.has_embd = out->n_stages == 0, .layer_begin = begin, .layer_end = end};
    out->n_stages++;
    *next = end;
    return YL_OK;
}

yl_status placement_parse(placement *out, const placement_spec *spec, const char *text, yl_error *err)
{
    *out = (placement){0};
    yl_status status = placement_check(spec, err);
    uint32_t next = 0;
    for (const char *at = text; !status; at++) {
        size_t n = strcspn(at, ",");
        if (out->n_stages == spec->n_nodes)
            return yl_fail(err, YL_EINVAL, "--layers: more slices than machines (%" PRIu32 ")", spec->n_nodes);
        status = add_stage(out, spec, (piece){at, n}, &next, err);
        at += n;
        if (!*at) break;
    }
    if (status) return status;
    if (next < spec->model->n_layer)
        return yl_fail(err, YL_EINVAL, "--layers: nobody has layers %" PRIu32 " to %" PRIu32, next, spec->model->n_layer - 1);
    out->stages[out->n_stages - 1].range.has_head = true;
    for (uint32_t i = 0; i < spec->n_nodes; i++) out->reasons[i] = PLACEMENT_NOT_ASKED;
    for (uint32_t i = 0; i < out->n_stages; i++) out->reasons[out->stages[i].node] = PLACEMENT_USED;
    return YL_OK;
}
