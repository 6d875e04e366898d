#include "credit.h"

#include <math.h>
#include <stddef.h>

static const double RECENT = 1.0 / 8; /* what a new interval counts, once there are eight */

credit credit_begin(uint32_t n_stages)
{
    return (credit){.n_stages = n_stages};
}

static credit_frame *find(credit *c, uint64_t id)
{
    for (size_t i = 0; i < CREDIT_MOST; i++)
        if (c->frames[i].id == id) return &c->frames[i];
    return NULL;
}

void credit_sent(credit *c, uint64_t id, uint64_t now_ns)
{
    credit_frame *f = find(c, 0);
    if (!f || !id) return;
    *f = (credit_frame){.id = id, .sent_ns = now_ns, .is_first = c->n_out == 0};
    c->n_out++;
}

void credit_back(credit *c, uint64_t id, uint64_t now_ns)
{
    credit_frame *f = id ? find(c, id) : NULL;
    if (!f) return;
    uint64_t between_sent = f->sent_ns - c->last_sent_ns, between_back = now_ns - c->last_back_ns;
    if (f->is_first) {
        c->way_ns = (double)(now_ns - f->sent_ns);
    } else if (between_back >= 2 * between_sent) {
        /* The chain, and not their leaving, kept them apart. */
        c->n_intervals++;
        double weight = 1.0 / c->n_intervals;
        c->interval_ns += ((double)between_back - c->interval_ns) * (weight > RECENT ? weight : RECENT);
    }
    c->last_sent_ns = f->sent_ns;
    c->last_back_ns = now_ns;
    *f = (credit_frame){0};
    c->n_out--;
}

uint32_t credit_depth(const credit *c)
{
    uint32_t least = CREDIT_A_STAGE * c->n_stages;
    /* Frames bunch on their way: a single interval says little, those of a first burst say enough. */
    if (least >= CREDIT_MOST || c->n_intervals + 1 < least || !(c->interval_ns > 0)) return least;
    double needed = floor(c->way_ns / c->interval_ns + 1.5); /* half a frame to spare, or more */
    return needed > CREDIT_MOST ? CREDIT_MOST : needed > least ? (uint32_t)needed : least;
}
