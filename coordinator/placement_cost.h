/* placement_cost.h: what a stage and a link take, in milliseconds. Shared by the search for a placement and by its prediction. */
#ifndef YL_PLACEMENT_COST_H
#define YL_PLACEMENT_COST_H

#include "placement.h"

enum {
    PLACEMENT_FRAME_BYTES = 128,  /* of a FORWARD or RESULT beside its rows, and of its packets */
    PLACEMENT_ANSWER_BYTES = 4096 /* of a row's answer: candidates with their logits */
};

/* Units are counted from 0: the embedding, layers, the head. */
uint32_t placement_n_units(const placement_model *m);
const placement_unit *placement_unit_at(const placement_model *m, uint32_t unit);
slice_range placement_range_of(const placement_model *m, uint32_t unit_begin, uint32_t unit_end);

/* Milliseconds that a node takes for n_rows >= 1 rows at once; not whole numbers only, for the average of uneven groups.
 * Measured nodes: between their three sizes in a straight line, above 64 rows in proportion; what is not like layer 0 counts by
 * its bytes for 1 row, by its multiply-adds for 64, by the mean of both for 8. Others: the longer of reading the weights and
 * multiplying. The past is added to both, as far as the rates are known. */
double placement_unit_ms(const placement_spec *spec, uint32_t node, uint32_t unit, double n_rows);

/* A whole slice. n_head_rows: rows of which the head is wanted; 0: it is not computed. */
double placement_stage_ms(const placement_spec *spec, uint32_t node, const slice_range *r, double n_rows, double n_head_rows);

/* Bytes that a stage reads from memory for such a micro-batch, as far as weights and the past go. */
double placement_stage_read_bytes(const placement_model *m, const slice_range *r, uint32_t n_past, double n_rows,
                                  double n_head_rows);

/* Bytes of n_rows rows on the link between two nodes; n_nodes is the coordinator. */
double placement_link_bytes(const placement_spec *spec, uint32_t from, uint32_t to, double n_rows);
/* Milliseconds that the link is busy with them, and until they have arrived. */
double placement_link_busy_ms(const placement_spec *spec, uint32_t from, uint32_t to, double n_rows);
double placement_link_ms(const placement_spec *spec, uint32_t from, uint32_t to, double n_rows);

/* Rows of a group when n_seq streams go round over n_stages stages: at least 1. */
double placement_group_rows(uint32_t n_seq, uint32_t n_stages);

#endif
