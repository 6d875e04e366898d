/* watcher.h: asks a coordinator how its chain is (CHAIN), without being a part of it. */
#ifndef YL_WATCHER_H
#define YL_WATCHER_H

#include "cluster_key.h"
#include "frames.h"

typedef struct watcher watcher;

/* Connects to a coordinator's control socket: tcp://HOST[:PORT], ipc://PATH. key: the cluster's, or NULL. */
yl_status watcher_new(watcher **out, const char *address, const cluster_key *key, yl_error *err);
void watcher_free(watcher *w); /* NULL: nothing */

/* The answer to a question that is asked now; it stays valid for two more calls. YL_EPEER: none came
 * within wait_ms; the message says why, as far as that is known. YL_ECANCELED: a signal came. */
yl_status watcher_ask(watcher *w, uint32_t wait_ms, const frame_chain **answer, yl_error *err);

/* Addresses of the coordinators that this user runs on this machine with local workers: at most `max` are written, all are
 * counted. */
enum { WATCHER_ADDRESS_BYTES = 257 };
size_t watcher_find_local(char (*addresses)[WATCHER_ADDRESS_BYTES], size_t max);

#endif
