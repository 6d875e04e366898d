/* native_shell.h: a worker as a process: ZeroMQ sockets on one thread, the computing on another.
 *
 * The calling thread owns the sockets: control (DEALER, to the coordinator; or a ROUTER that coordinators call), data in (PULL),
 * data out (PUSH, to the next stage). It answers HEARTBEAT at once, whatever the other thread computes, so that a long prompt does
 * not look like a dead worker. */
#ifndef YL_NATIVE_SHELL_H
#define YL_NATIVE_SHELL_H

#include <signal.h>

#include "cluster_key.h"
#include "worker.h"

typedef struct native_shell_options {
    const char *name;          /* of this worker; NULL: the host's and the data port */
    const char *coordinator;   /* control endpoint to connect to, or NULL: */
    const char *listen;        /* where coordinators call this worker, or NULL: */
    bool discover;             /* look for one of its cluster on the local network (beacon.h) */
    const char *data_endpoint; /* to bind the data socket to; a tcp port may be '*'; NULL: see native_links_open */
    const char *advertise;     /* the host by which others reach that; NULL: as the coordinator sees us */
    const cluster_key *key;    /* NULL: none, which only local addresses do without is_insecure */
    bool is_insecure;
    const char *model_path; /* NULL: weights are streamed */
    bool no_cache;          /* weights in tiles are not kept on disk */
    const char *cache_dir;  /* NULL: the default one */
    uint64_t cache_bytes;   /* that it may hold; 0: the default */
    uint32_t n_threads;
    uint64_t memory_bytes; /* 0: what the system says is available */
    const kernels *kernels;
    bool once;                                /* leave when the coordinator is gone, instead of waiting for another */
    uint32_t silence_ms;                      /* a coordinator silent this long is gone */
    void (*log)(int level, const char *line); /* 0 error, 1 what happened, 2 details; from both threads */
    const volatile sig_atomic_t *stop;        /* becomes non-zero when the process is told to end */
} native_shell_options;

/* Runs until SHUTDOWN, *stop, or (once) the coordinator is gone. YL_EPEER: that, or a coordinator lets this worker not in;
 * YL_EINVAL: an address is none, or needs a key. */
yl_status native_shell_run(const native_shell_options *options, yl_error *err);

#endif
