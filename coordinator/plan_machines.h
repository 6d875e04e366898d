/* plan_machines.h: the machines that a plan is made for: as a user describes them, this one as it is, or those of workers that
 * joined. */
#ifndef YL_PLAN_MACHINES_H
#define YL_PLAN_MACHINES_H

#include "machine_limits.h"
#include "placement.h"

enum {
    PLAN_NAME_BYTES = 17, /* of a machine, with its NUL */
    PLAN_MACS_A_BYTE = 4  /* multiply-adds that a machine does while it reads a byte, where nothing else is said of it */
};

typedef struct plan_machines {
    uint32_t n;
    placement_node nodes[PLACEMENT_MAX_NODES]; /* names point into `names`, or are borrowed: do not copy the struct */
    char names[PLACEMENT_MAX_NODES][PLAN_NAME_BYTES];
    placement_link links[(PLACEMENT_MAX_NODES + 1) * (PLACEMENT_MAX_NODES + 1)]; /* [n + 1][n + 1], as placement_spec has them */
    bool is_arithmetic_assumed;                                                  /* of some machine only the memory was said */
} plan_machines;

/* Where nothing else is known of a link: between machines, and between two processes of one machine. */
static const placement_link PLAN_LINK = {.rtt_ms = 0.3, .bytes_per_s = 1e9 / 8};
static const placement_link PLAN_NEAR_LINK = {.rtt_ms = 0.04, .bytes_per_s = 2e9};

/* "8GB:50GB/s,name=16GB:80GB/s:300GMAC/s": free memory, its bandwidth, multiply-adds a second. Machines without a name are A, B, C
 * ... by their place; names are of letters, digits, '.', '_' and '-'. fixed_bytes: what a worker takes whatever it holds.
 * YL_EINVAL: the message shows the part that is not understood. Links are not set. */
yl_status plan_machines_assume(plan_machines *out, const char *text, uint64_t fixed_bytes, yl_error *err);

/* "1gbit,0.3ms": rate and round trip. */
yl_status plan_link_parse(placement_link *out, const char *text, yl_error *err);

/* Sets the links between all machines. The coordinator runs on the first one: between these two, `near`. */
void plan_machines_connect(plan_machines *m, placement_link link, placement_link near);

/* n workers of n_threads threads each on this machine, worker-0 and so on. Measures memory and arithmetic: takes about two tenths
 * second. They are one host; the caller divides its free memory, *free_bytes.
 * YL_ENOMEM, YL_EIO: it cannot be measured; the message says what to do instead. */
yl_status plan_machines_local(plan_machines *out, uint32_t n, uint32_t n_threads, uint64_t fixed_bytes, uint64_t *free_bytes,
                              yl_error *err);

/* What a worker reaches of what its machine gives at most: sets the node's two rates. */
void plan_node_set_speed(placement_node *node, const machine_limits *limits);

/* A worker that joined. */
typedef struct plan_worker {
    const char *name;      /* borrowed */
    machine_limits limits; /* as it measured them, of which two count; 0: not known */
    uint64_t free_bytes;   /* that it may use; 0: it does not know, and is asked */
    uint64_t fixed_bytes;  /* that it takes whatever its slice is */
    bool is_near;          /* on the coordinator's machine */
    double rtt_ms;         /* to the coordinator and back; 0: not known */
} plan_worker;

/* n of them, 1 to PLACEMENT_MAX_NODES, with the links between them.
 *
 * Who did not measure counts as the slowest of those who did; did nobody, all count as equal. A rate too low for a computer counts
 * as a low one, so that nobody's claim can make a placement fail.
 * Of a link the round trip to the coordinator is known; between two workers it is the longer one of theirs. One that is shorter
 * than PLAN_LINK's counts as that: such differences come and go, and with them layers would. Rates are PLAN_LINK's. */
void plan_machines_joined(plan_machines *out, const plan_worker *workers, uint32_t n);

#endif
