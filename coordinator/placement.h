/* placement.h: which stage owns which layers. A function of values: no socket, file or clock. */
#ifndef YL_PLACEMENT_H
#define YL_PLACEMENT_H

#include "slice_range.h"

typedef struct placement_costs {
    double layer; /* of each layer, > 0, in any unit: bytes of weights, or ms a row */
    double head;  /* of the output head */
    double embd;  /* of the embedding: a row is looked up, so next to nothing */
} placement_costs;

/* Cuts n_layer layers into n_stages contiguous slices, first with the embedding, last with the head, so that the dearest stage is
 * as cheap as can be, then the second dearest, and so on; ties give earlier stages more. ranges: [n_stages]. Every stage has at
 * least one layer but the last, which may have the head only. YL_EINVAL: no stage, more stages than n_layer + 1 (the message says
 * how many would do), or a cost that is not finite or negative (of a layer: not positive). */
yl_status placement_even(slice_range *ranges, uint32_t n_stages, uint32_t n_layer, const placement_costs *costs, yl_error *err);

#endif
