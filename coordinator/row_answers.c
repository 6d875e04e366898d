/* row_answers.c: each row has a place of its own for candidates and for listed tokens; for all logits only once they were needed.
 */
#include "row_answers.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

typedef struct kept_row {
    sampler_request request;
    bool is_answered;
    sampler_logits logits;
    sampler_candidate *top;    /* [FRAME_MAX_TOP] */
    sampler_candidate *listed; /* [FRAME_MAX_LISTED] */
    int32_t *listed_ids;       /* [FRAME_MAX_LISTED] */
    float *all;                /* [n_vocab], made when first needed */
} kept_row;

struct row_answers {
    uint32_t n_max, n, n_vocab;
    kept_row *rows; /* [n_max] */
};

static bool make_room(kept_row *row)
{
    row->top = malloc(FRAME_MAX_TOP * sizeof *row->top);
    row->listed = malloc(FRAME_MAX_LISTED * sizeof *row->listed);
    row->listed_ids = malloc(FRAME_MAX_LISTED * sizeof *row->listed_ids);
    return row->top && row->listed && row->listed_ids;
}

yl_status row_answers_new(row_answers **out, uint32_t n_max, uint32_t n_vocab, yl_error *err)
{
    *out = NULL;
    row_answers *a = calloc(1, sizeof *a);
    kept_row *rows = calloc(n_max, sizeof *rows);
    bool ok = a && rows;
    if (a) *a = (row_answers){.n_max = rows ? n_max : 0, .n_vocab = n_vocab, .rows = rows};
    for (uint32_t i = 0; ok && i < n_max; i++) ok = make_room(&rows[i]);
    if (ok) {
        *out = a;
        return YL_OK;
    }
    if (!a) free(rows);
    row_answers_free(a);
    return yl_fail(err, YL_ENOMEM, "no memory for the candidates of %u rows", (unsigned)n_max);
}

void row_answers_free(row_answers *a)
{
    if (!a) return;
    for (uint32_t i = 0; i < a->n_max; i++) {
        free(a->rows[i].top);
        free(a->rows[i].listed);
        free(a->rows[i].listed_ids);
        free(a->rows[i].all);
    }
    free(a->rows);
    free(a);
}

void row_answers_clear(row_answers *a)
{
    a->n = 0;
}

static kept_row *add_row(row_answers *a)
{
    assert(a->n < a->n_max);
    kept_row *row = &a->rows[a->n++];
    row->is_answered = false;
    row->request = (sampler_request){.all = true};
    return row;
}

frame_want row_answers_ask_all(row_answers *a, uint32_t row)
{
    add_row(a);
    return (frame_want){.row = row, .kind = FRAME_WANT_ALL};
}

frame_want row_answers_ask(row_answers *a, sampler *s, uint32_t row)
{
    sampler_request r = sampler_needs(s);
    if (r.all || r.n_top > FRAME_MAX_TOP || r.n_listed > FRAME_MAX_LISTED) return row_answers_ask_all(a, row);
    kept_row *kept = add_row(a);
    size_t n_bytes = r.n_listed * sizeof *r.listed;
    if (n_bytes > 0) memcpy(kept->listed_ids, r.listed, n_bytes);
    kept->request = (sampler_request){.n_top = r.n_top, .listed = kept->listed_ids, .n_listed = r.n_listed};
    return (frame_want){.row = row, .kind = FRAME_WANT_TOP, .top = r.n_top, .listed = {(const uint8_t *)kept->listed_ids, n_bytes}};
}

static yl_status take_candidates(kept_row *row, const frame_answer *a, yl_error *err)
{
    size_t n = a->data.n_bytes / 8, n_listed = row->request.n_listed;
    if (row->request.all || n > FRAME_MAX_TOP || a->listed.n_bytes / sizeof(float) != n_listed)
        return yl_fail(err, YL_EPEER, "position %u: the answer has other candidates than were asked for", (unsigned)a->pos);
    for (size_t i = 0; i < n; i++)
        row->top[i] = (sampler_candidate){frame_i32_at(a->data, 2 * i), frame_f32_at(a->data, 2 * i + 1)};
    for (size_t i = 0; i < n_listed; i++) row->listed[i] = (sampler_candidate){row->listed_ids[i], frame_f32_at(a->listed, i)};
    row->logits = (sampler_logits){.top = row->top, .n_top = n, .listed = row->listed, .n_listed = n_listed};
    return YL_OK;
}

static yl_status take_all(kept_row *row, uint32_t n_vocab, const frame_answer *a, yl_error *err)
{
    if (!row->request.all || a->data.n_bytes / sizeof(float) != n_vocab)
        return yl_fail(err, YL_EPEER, "position %u: the answer has %zu logits, the model %u tokens", (unsigned)a->pos,
                       a->data.n_bytes / sizeof(float), (unsigned)n_vocab);
    if (!row->all) row->all = malloc(n_vocab * sizeof *row->all);
    if (!row->all) return yl_fail(err, YL_ENOMEM, "no memory for %u logits", (unsigned)n_vocab);
    memcpy(row->all, a->data.data, n_vocab * sizeof *row->all);
    row->logits = (sampler_logits){.all = row->all};
    return YL_OK;
}

yl_status row_answers_take(row_answers *a, size_t i, const frame_answer *answer, yl_error *err)
{
    if (i >= a->n) return yl_fail(err, YL_EPEER, "position %u: an answer that was not asked for", (unsigned)answer->pos);
    kept_row *row = &a->rows[i];
    yl_status status = answer->kind == FRAME_WANT_ALL ? take_all(row, a->n_vocab, answer, err) : take_candidates(row, answer, err);
    if (status) return status;
    row->logits.n_vocab = a->n_vocab;
    row->logits.max = answer->max;
    row->logits.sum_exp = answer->sum_exp;
    row->is_answered = true;
    return YL_OK;
}

const sampler_logits *row_answers_get(const row_answers *a, size_t i)
{
    return i < a->n && a->rows[i].is_answered ? &a->rows[i].logits : NULL;
}
