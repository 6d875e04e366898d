/* placement_even.c: layers are handed out one by one.
 *
 * All layers cost the same, so there is no search: every stage that must have a layer gets one, and each layer after that goes to
 * the stage that is cheapest with it. A layer given so can never be better given elsewhere, hence the dearest stage ends as cheap
 * as it can, and among those placements the second dearest too, and so on. (The dearest stage is what bounds the chain's rate; the
 * others bound each machine's memory.) Costs are multiplied out, not summed up, so that equal stages compare as equal. */
#include "placement.h"

#include <math.h>
#include <stddef.h>

/* What a stage costs that owns n_layer layers, without rounding that depends on how it got them. */
static double stage_cost(const placement_costs *costs, const slice_range *r, uint32_t n_layer)
{
    return (double)n_layer * costs->layer + (r->has_embd ? costs->embd : 0) + (r->has_head ? costs->head : 0);
}

/* layer_end holds the number of layers while they are handed out. */
static uint32_t cheapest_with_one_more(const slice_range *ranges, uint32_t n_stages, const placement_costs *costs)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n_stages; i++) {
        double cost = stage_cost(costs, &ranges[i], ranges[i].layer_end + 1);
        if (cost < stage_cost(costs, &ranges[best], ranges[best].layer_end + 1)) best = i;
    }
    return best;
}

static yl_status check(uint32_t n_stages, uint32_t n_layer, const placement_costs *costs, yl_error *err)
{
    if (n_stages == 0) return yl_fail(err, YL_EINVAL, "a chain needs at least one stage");
    if (n_stages - 1 > n_layer)
        return yl_fail(err, YL_EINVAL, "%u workers are more than a model of %u layers can use: take at most %u", (unsigned)n_stages,
                       (unsigned)n_layer, (unsigned)n_layer + 1);
    bool is_sane = isfinite(costs->layer) && isfinite(costs->head) && isfinite(costs->embd) && costs->layer > 0 &&
                   costs->head >= 0 && costs->embd >= 0;
    if (!is_sane) return yl_fail(err, YL_EINVAL, "costs must be finite, a layer's positive, the others not negative");
    return YL_OK;
}

yl_status placement_even(slice_range *ranges, uint32_t n_stages, uint32_t n_layer, const placement_costs *costs, yl_error *err)
{
    yl_status status = check(n_stages, n_layer, costs, err);
    if (status) return status;
    uint32_t n_left = n_layer;
    for (uint32_t i = 0; i < n_stages; i++) {
        bool is_last = i == n_stages - 1;
        ranges[i] = (slice_range){.has_embd = i == 0, .has_head = is_last};
        if (!is_last) {
            ranges[i].layer_end = 1;
            n_left--;
        }
    }
    for (; n_left > 0; n_left--) ranges[cheapest_with_one_more(ranges, n_stages, costs)].layer_end++;
    uint32_t begin = 0;
    for (uint32_t i = 0; i < n_stages; i++) {
        ranges[i].layer_begin = begin;
        begin += ranges[i].layer_end;
        ranges[i].layer_end = begin;
    }
    return YL_OK;
}
