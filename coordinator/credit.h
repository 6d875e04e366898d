/* credit.h: how many frames of a prompt may be on their way.
 *
 * Two a stage keep a chain busy whose links take no time: one at work, one waiting. Where links are slow the frames that are on
 * them come on top, or stages wait for the next frame as long as the last one's RESULT travels. More than that would only queue:
 * what comes later, or the next prompt after one that was given up, would wait behind it.
 *
 * So it is measured. A frame that enters an empty chain tells how long the way is; frames that leave together and come back apart
 * tell how long the slowest part of the chain takes for one. The quotient is how many fit. A function of values: the caller has the
 * clock. */
#ifndef YL_CREDIT_H
#define YL_CREDIT_H

#include <stdint.h>

enum { CREDIT_A_STAGE = 2, CREDIT_MOST = 64 }; /* frames; for chains of more than 32 stages CREDIT_A_STAGE holds */

/* A frame on its way. */
typedef struct credit_frame {
    uint64_t id; /* 0: none */
    uint64_t sent_ns;
    int is_first; /* the chain was empty before it */
} credit_frame;

typedef struct credit {
    uint32_t n_stages, n_out;
    credit_frame frames[CREDIT_MOST];
    uint64_t last_sent_ns, last_back_ns; /* of the frame that came back last */
    double way_ns, interval_ns;          /* measured; 0: not yet */
    uint32_t n_intervals;
} credit;

/* For a chain of so many stages, of which nothing is known yet. */
credit credit_begin(uint32_t n_stages);

/* A frame of a prompt left, and came back. Those beyond CREDIT_MOST at a time, and unknown ids, are not looked at. */
void credit_sent(credit *c, uint64_t id, uint64_t now_ns);
void credit_back(credit *c, uint64_t id, uint64_t now_ns);

/* Frames that may be on their way: CREDIT_A_STAGE a stage, or up to CREDIT_MOST. */
uint32_t credit_depth(const credit *c);

#endif
