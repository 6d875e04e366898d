/* link_internal.h: what link.c and link_watch.c share. */
#ifndef YL_LINK_INTERNAL_H
#define YL_LINK_INTERNAL_H

#include "link.h"

struct link_hub {
    void *zmq;
    void *door; /* NULL without a key */
    int64_t max_bytes;
    bool has_key;
    cluster_key key;
    uint8_t known[32]; /* the public key of who may connect */
    uint64_t n_watches;
};

#endif
