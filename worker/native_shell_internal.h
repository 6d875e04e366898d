/* native_shell_internal.h: the state of a worker process's I/O thread, shared by the files that are its parts.
 *
 *   native_shell.c        the loop over everything, and what lies around it
 *   native_coordinator.c  the coordinator: HELLO, whether it lets us in, when it comes and goes
 *   native_caller.c       where the worker listens: who calls, and that one is served at a time
 *   native_discover.c     which coordinator on the local network is ours
 *   native_next.c         the link to the next stage */
#ifndef YL_NATIVE_SHELL_INTERNAL_H
#define YL_NATIVE_SHELL_INTERNAL_H

#include "limit_probe.h"
#include "native_cache.h"
#include "native_compute.h"
#include "native_links.h"
#include "native_notify.h"

typedef struct shell {
    const native_shell_options *options;
    native_links links;
    void *next; /* PUSH, to the next stage; NULL before the first ASSIGN, as its watch */
    link_watch *next_watch;
    char next_endpoint[FRAME_MAX_ENDPOINT + 1];
    uint64_t instance;
    uint64_t next_epoch; /* of the link to the next stage */
    bool next_is_up;
    uint64_t next_deadline_ms;     /* it must be up, or have taken the stalled frame, by then; 0: none */
    letter *stalled;               /* a frame that the next stage's socket did not take yet */
    bool is_connected;             /* control has shaken hands */
    bool has_coordinator;          /* it answered, and was not silent since */
    bool was_accepted;             /* by some coordinator, ever */
    uint64_t coordinator_instance; /* of its last HEARTBEAT */
    uint32_t n_refusals;           /* of our handshake, in a row */
    uint64_t refused_ms;           /* since when a coordinator refuses our HELLO; 0: it does not */
    yl_error refusal;              /* what was said of it last */
    yl_error failure;              /* a reason to end */
    uint64_t heard_ms, hello_ms, nobody_ms;
    uint64_t tried_ms, refresh_ms; /* when a coordinator that was found was last connected to; interfaces are looked at again */
    native_notify notify;
    limit_probe *probe;                   /* measures this machine; NULL: a local worker, or it is done */
    machine_limits limits;                /* what it measured; all 0: it could not */
    slice_range range;                    /* that this stage loads, or serves */
    uint64_t loading_ms, loading_told_ms; /* since when it loads, 0: it does not; when that was last told */
    letter_pool *letters;
    mailbox *in, *out;
    native_source *source;
    native_cache *cache; /* NULL: none */
    thread_pool *pool;
    frame_scratch *scratch;
    native_compute *compute;
} shell;

/* native_shell.c */
uint64_t shell_now_ms(void);
void shell_say(const shell *s, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));
void shell_send_control(shell *s, letter *l); /* takes the letter */
void shell_send_control_frame(shell *s, const frame *f);
/* Tells coordinator and log that the chain that ASSIGN asked for does not stand (any more). */
void shell_tell_error(shell *s, const yl_error *cause);

/* What the service manager shows: words before and after the coordinator's address. */
void shell_tell_status(shell *s, const char *before, const char *after);
/* The same: "<verb> <its slice> for <address>". */
void shell_tell_slice(shell *s, const char *verb);

/* native_coordinator.c */
enum {
    SHELL_HELLO_INTERVAL_MS = 500,
    SHELL_LOADING_MS = 5000, /* how often it is told how far loading is */
    SHELL_NOBODY_MS = 2000   /* not connected for so long: it is said that nobody answers */
};
/* Deals with a frame of the coordinator's. True: done with it; else it is the compute thread's. */
bool shell_hear(shell *s, letter *l);
/* Notices what became of the control connection. */
void shell_watch_control(shell *s);
/* Says HELLO when it is due. False: leave, for a reason. */
bool shell_check_coordinator(shell *s, uint64_t now, yl_status *status, yl_error *err);

/* The coordinator's connection closed. */
void shell_lose_coordinator(shell *s);

/* native_caller.c, for links.is_listening */
letter *shell_receive_call(shell *s); /* the next frame of the coordinator that called; NULL: there is none */
/* Sends to it; as letter_send. A letter for one that has left is gone. */
bool shell_send_to_caller(shell *s, letter *l);
void shell_watch_callers(shell *s);
/* The next one may call. Nothing when this worker does not listen. */
void shell_hang_up(shell *s);

/* native_discover.c: hears beacons, and connects to where they say. Nothing when the coordinator's address is known. */
void shell_discover(shell *s, uint64_t now);

/* native_next.c */
void shell_close_next(shell *s);
/* Connects to the next stage that a LETTER_REWIRE names. */
void shell_rewire(shell *s, const letter *l);
/* Notices that the link stands, and tells the compute thread. */
void shell_watch_next(shell *s);
/* Sends a letter to the next stage. False: it does not take it yet, and the letter is s->stalled. */
bool shell_send_next(shell *s, letter *l);
/* Tells the coordinator when the link has been down, or full, for too long. */
void shell_check_next(shell *s, uint64_t now);

#endif
