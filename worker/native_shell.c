/* native_shell.c: the I/O thread of a worker process.
 *
 * One loop over the control socket, the data socket, the monitor of the link to the next stage, and the compute thread's mailbox.
 * Time matters in three places: HELLO is repeated until the coordinator answers, a coordinator that is silent too long is gone, and
 * a next stage that cannot be reached, or takes nothing, for as long is told to the coordinator. */
#include "native_shell.h"

#include "native_cache.h"
#include "native_compute.h"
#include "native_links.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

enum {
    HELLO_INTERVAL_MS = 500,
    REFUSALS = 3,      /* handshakes that fail in a row: one may be a coordinator that ends just now */
    REFUSAL_MS = 3000, /* for so long a HELLO may be refused: the other worker of our name may be our own dead self */
    NOBODY_MS = 2000,  /* then it is said that nobody answers, and again after */
    NOBODY_AGAIN_MS = 60000
};

typedef struct shell {
    const native_shell_options *options;
    native_links links;
    void *next; /* PUSH, to the next stage; NULL before the first ASSIGN, as its watch */
    link_watch *next_watch;
    char next_endpoint[FRAME_MAX_ENDPOINT + 1];
    uint64_t instance;
    uint64_t next_epoch; /* of the link to the next stage */
    bool next_is_up;
    uint64_t next_deadline_ms; /* it must be up, or have taken the stalled frame, by then; 0: none */
    letter *stalled;           /* a frame that the next stage's socket did not take yet */
    bool is_connected;         /* control has shaken hands */
    bool has_coordinator;      /* it answered, and was not silent since */
    bool was_accepted;         /* by some coordinator, ever */
    uint32_t n_refusals;       /* of our handshake, in a row */
    uint64_t refused_ms;       /* since when a coordinator refuses our HELLO; 0: it does not */
    yl_error refusal;          /* what was said of it last */
    yl_error failure;          /* a reason to end */
    uint64_t heard_ms, hello_ms, nobody_ms;
    letter_pool *letters;
    mailbox *in, *out;
    native_source *source;
    native_cache *cache; /* NULL: none */
    thread_pool *pool;
    frame_scratch *scratch;
    native_compute *compute;
} shell;

static uint64_t now_ns(void *ctx)
{
    (void)ctx;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t now_ms(void)
{
    return now_ns(NULL) / 1000000u;
}

static void say(const shell *s, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void say(const shell *s, int level, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    s->options->log(level, line);
}

/* A number of kB out of a file of "Name:   123 kB" lines, in bytes; 0: not there. */
static uint64_t proc_bytes(const char *path, const char *name)
{
    FILE *f = fopen(path, "re");
    if (!f) return 0;
    char line[256];
    uint64_t kib = 0;
    size_t n = strlen(name);
    while (fgets(line, sizeof line, f)) {
        if (!strncmp(line, name, n) && line[n] == ':') {
            kib = strtoull(line + n + 1, NULL, 10);
            break;
        }
    }
    fclose(f);
    return kib * 1024;
}

static uint64_t resident(void *ctx, uint64_t *peak)
{
    (void)ctx;
    *peak = proc_bytes("/proc/self/status", "VmHWM");
    return proc_bytes("/proc/self/status", "VmRSS");
}

/* ---- sending ---- */

static void send_control(shell *s, letter *l)
{
    if (letter_send(l, s->links.control)) return;
    say(s, 0, "the coordinator takes no more frames: one was dropped");
    letter_free(l);
}

static void send_control_frame(shell *s, const frame *f)
{
    letter *l = letter_new(s->letters, LETTER_TO_COORDINATOR);
    if (l && !frame_encode(&l->bytes, f, NULL))
        send_control(s, l);
    else
        letter_free(l);
}

/* The chain that ASSIGN asked for does not stand (any more). */
static void tell_error(shell *s, const yl_error *cause)
{
    say(s, 0, "%s", cause->msg);
    letter *l = letter_new(s->letters, LETTER_TO_COORDINATOR);
    if (l && !frame_encode_error(&l->bytes, s->next_epoch, FRAME_ASSIGN, 0, cause, NULL))
        send_control(s, l);
    else
        letter_free(l);
}

static frame_bin text_bin(const char *text)
{
    return (frame_bin){(const uint8_t *)text, strlen(text)};
}

static void send_hello(shell *s)
{
    const native_shell_options *o = s->options;
    frame f = {.kind = FRAME_HELLO};
    f.hello = (frame_hello){.name = text_bin(s->links.name),
                            .instance = s->instance,
                            .data_endpoint = text_bin(s->links.data_address),
                            .n_threads = o->n_threads,
                            .memory_bytes = o->memory_bytes,
                            .isa = text_bin(o->kernels->isa),
                            .version = text_bin(YLLAMA_VERSION)};
    if (s->source) f.hello.model_id = native_source_view(s->source).model_id;
    send_control_frame(s, &f);
    s->hello_ms = now_ms();
}

/* ---- the link to the next stage ---- */

static void close_next(shell *s)
{
    if (s->next) zmq_close(s->next);
    link_watch_free(s->next_watch);
    s->next = NULL;
    s->next_watch = NULL;
    s->next_is_up = false;
    s->next_deadline_ms = 0;
    letter_free(s->stalled);
    s->stalled = NULL;
}

static yl_status connect_next(shell *s, yl_error *err)
{
    endpoint e;
    yl_status status = native_links_next(&s->links, s->next_endpoint, &e, err);
    if (status) return status;
    endpoint_format(s->next_endpoint, &e);
    s->next = native_links_socket(&s->links, ZMQ_PUSH);
    if (!s->next) return yl_fail(err, YL_EIO, "no ZeroMQ socket: %s", zmq_strerror(zmq_errno()));
    status = link_watch_new(&s->next_watch, s->links.hub, s->next, err);
    return status ? status : link_connect(s->links.hub, s->next, &e, err);
}

static void rewire(shell *s, const letter *l)
{
    close_next(s);
    s->next_epoch = l->epoch;
    memcpy(s->next_endpoint, l->endpoint, sizeof s->next_endpoint);
    yl_error cause;
    if (connect_next(s, &cause)) {
        yl_error_context(&cause, "no link from '%s' to the next stage: ", s->links.name);
        tell_error(s, &cause);
        close_next(s);
        return;
    }
    s->next_deadline_ms = now_ms() + s->options->silence_ms;
    say(s, 1, "is a stage of a chain; the next one is at %s", s->next_endpoint);
}

static void watch_next(shell *s)
{
    bool is_up = false;
    while (s->next_watch) {
        link_event event = link_watch_next(s->next_watch);
        if (event == LINK_NOTHING) break;
        is_up |= event == LINK_UP;
    }
    if (!is_up || s->next_is_up) return; /* once up, ZeroMQ connects again by itself */
    s->next_is_up = true;
    s->next_deadline_ms = 0;
    letter *l = letter_new(s->letters, LETTER_LINK_UP);
    if (!l) return; /* the deadline of the coordinator will find it */
    l->epoch = s->next_epoch;
    mailbox_push(s->in, l);
}

/* Sends what waits for the next stage. False: it still does not take it. Without a link, or a coordinator, nobody waits for it. */
static bool send_next(shell *s, letter *l)
{
    bool is_sent = s->next && letter_send(l, s->next);
    if (!is_sent && (!s->next || !s->has_coordinator)) {
        letter_free(l);
        s->stalled = NULL;
        s->next_deadline_ms = 0;
        return true;
    }
    if (is_sent) {
        if (s->next_is_up) s->next_deadline_ms = 0;
        s->stalled = NULL;
        return true;
    }
    if (s->stalled != l) s->next_deadline_ms = now_ms() + s->options->silence_ms;
    s->stalled = l;
    return false;
}

static void check_next(shell *s, uint64_t now)
{
    if (!s->next_deadline_ms || now < s->next_deadline_ms) return;
    yl_error cause;
    if (!s->next_is_up)
        yl_fail(&cause, YL_EPEER, "the next stage at %s cannot be reached from '%s': is it running, and its port open?",
                s->next_endpoint, s->links.name);
    else
        yl_fail(&cause, YL_EPEER, "the next stage at %s takes no more frames from '%s'", s->next_endpoint, s->links.name);
    tell_error(s, &cause);
    letter_free(s->stalled);
    s->stalled = NULL;
    s->next_deadline_ms = 0;
}

/* ---- receiving ---- */

/* The coordinator does not take something. Before it took our HELLO that is what it refuses: not needed just now, which may change;
 * else a reason to end, if it stays so for a while. */
static void hear_error(shell *s, const worker_message *m)
{
    frame f;
    yl_error cause;
    yl_status status = frame_decode(&f, s->scratch, m->data, m->n_bytes, &cause);
    if (!status) {
        status = f.error.status;
        yl_fail(&cause, YL_EPEER, "the coordinator at %s refuses: %.*s", s->links.coordinator_address, (int)f.error.message.n_bytes,
                (const char *)f.error.message.data);
    }
    bool is_news = strcmp(cause.msg, s->refusal.msg) != 0;
    s->refusal = cause;
    if (s->has_coordinator || status == YL_ELIMIT) {
        if (s->has_coordinator || is_news) say(s, s->has_coordinator ? 0 : 1, "%s", cause.msg);
        return;
    }
    uint64_t now = now_ms();
    if (!s->refused_ms) s->refused_ms = now;
    if (now - s->refused_ms >= REFUSAL_MS) yl_fail(&s->failure, YL_EPEER, "%s", cause.msg);
}

static void meet_coordinator(shell *s)
{
    if (!s->has_coordinator) say(s, 1, "has joined the coordinator at %s", s->links.coordinator_address);
    s->has_coordinator = s->was_accepted = true;
    s->refused_ms = 0;
    s->refusal = (yl_error){0};
}

/* HEARTBEAT is answered here, and an ERROR of the coordinator's is for the log; all else is the worker's. True: done with it. */
static bool handle_here(shell *s, letter *l)
{
    frame f;
    worker_message m = letter_message(l);
    unsigned kind = frame_peek(m.data, m.n_bytes, &f.epoch);
    if (kind == FRAME_ERROR) {
        hear_error(s, &m);
        return true;
    }
    meet_coordinator(s);
    if (kind != FRAME_HEARTBEAT || frame_decode(&f, s->scratch, m.data, m.n_bytes, NULL)) return false;
    frame answer = {.kind = FRAME_HEARTBEAT, .epoch = f.epoch};
    answer.heartbeat = (frame_heartbeat){.instance = s->instance,
                                         .steps = native_compute_steps(s->compute),
                                         .pending = native_compute_pending(s->compute)};
    send_control_frame(s, &answer);
    return true;
}

static void receive_control(shell *s)
{
    for (letter *l; (l = letter_receive(s->letters, s->links.control));) {
        s->heard_ms = now_ms();
        if (handle_here(s, l))
            letter_free(l);
        else
            mailbox_push(s->in, l);
    }
}

/* Nothing but FORWARD and SEQ comes down the chain: whoever sends something else here is not the stage before. */
static void receive_data(shell *s)
{
    for (letter *l; (l = letter_receive(s->letters, s->links.data));) {
        worker_message m = letter_message(l);
        uint64_t epoch;
        unsigned kind = frame_peek(m.data, m.n_bytes, &epoch);
        if (kind == FRAME_FORWARD || kind == FRAME_SEQ) {
            mailbox_push(s->in, l);
            continue;
        }
        say(s, 1, "%zu bytes that are no frame of a chain were dropped", m.n_bytes);
        letter_free(l);
    }
}

/* What the compute thread wants done. True: go on. */
static bool take_letters(shell *s, yl_status *status, yl_error *err)
{
    mailbox_clear_fd(s->out);
    if (s->stalled && !send_next(s, s->stalled)) return true;
    for (letter *l; (l = mailbox_pop(s->out));) {
        if (l->kind == LETTER_TO_NEXT) {
            if (!send_next(s, l)) return true;
            continue;
        }
        if (l->kind == LETTER_TO_COORDINATOR) {
            send_control(s, l);
            continue;
        }
        if (l->kind == LETTER_REWIRE) rewire(s, l);
        bool stopped = l->kind == LETTER_STOPPED;
        if (stopped) {
            *status = l->error.status;
            if (*status && err) *err = l->error;
        }
        letter_free(l);
        if (stopped) return false;
    }
    return true;
}

/* ---- the coordinator comes and goes ---- */

/* It does not shake hands with us. That ends a worker that was started with a wrong key; one that was let in before waits. */
static void on_refused_handshake(shell *s, link_event event)
{
    const char *address = s->links.coordinator_address;
    yl_error cause;
    if (event == LINK_REFUSED && ++s->n_refusals < REFUSALS) return;
    if (event == LINK_OTHER_SECURITY && s->options->key)
        yl_fail(&cause, YL_EPEER, "the coordinator at %s was started without a key, this worker with one", address);
    else if (event == LINK_OTHER_SECURITY)
        yl_fail(&cause, YL_EPEER, "the coordinator at %s wants its cluster's key: give it by --key-file, --key or $YLLAMA_KEY",
                address);
    else if (s->options->key)
        yl_fail(&cause, YL_EPEER, "the coordinator at %s does not let this worker in: it has another key, or none", address);
    else
        yl_fail(
            &cause, YL_EPEER,
            "%s does not let this worker in: it wants its cluster's key (give it by --key-file, --key or $YLLAMA_KEY), or is no "
            "coordinator",
            address);
    if (!s->was_accepted)
        s->failure = cause;
    else if (strcmp(cause.msg, s->refusal.msg) != 0)
        say(s, 0, "%s", cause.msg);
    s->refusal = cause;
}

static void watch_control(shell *s)
{
    for (link_event event; (event = link_watch_next(s->links.watch)) != LINK_NOTHING;) {
        bool was_connected = s->is_connected;
        s->is_connected = event == LINK_UP;
        if (s->is_connected) {
            s->n_refusals = 0;
            send_hello(s);
            continue;
        }
        if (was_connected) s->nobody_ms = now_ms() + NOBODY_MS;
        if (event == LINK_DOWN && s->has_coordinator)
            say(s, 1, "the coordinator at %s has left: waiting for the next one", s->links.coordinator_address);
        if (event == LINK_DOWN) s->has_coordinator = false;
        if (event != LINK_DOWN) on_refused_handshake(s, event);
    }
}

/* The coordinator's silence. False: leave. */
static bool check_coordinator(shell *s, uint64_t now, yl_status *status, yl_error *err)
{
    const char *address = s->links.coordinator_address;
    if (s->failure.status) {
        if (err) *err = s->failure;
        *status = s->failure.status;
        return false;
    }
    if (now - s->heard_ms > s->options->silence_ms) {
        if (s->options->once) {
            *status = yl_fail(err, YL_EPEER, "the coordinator at %s has been silent for %u ms", address, s->options->silence_ms);
            return false;
        }
        if (s->has_coordinator) say(s, 1, "the coordinator at %s is silent: waiting for it", address);
        s->has_coordinator = false;
    }
    if (!s->is_connected && now >= s->nobody_ms) {
        say(s, 1, "nobody answers at %s: waiting (is yllama running there with --workers, and the port open?)", address);
        s->nobody_ms = now + NOBODY_AGAIN_MS;
    }
    if (s->is_connected && !s->has_coordinator && now - s->hello_ms >= HELLO_INTERVAL_MS) send_hello(s);
    return true;
}

static yl_status loop(shell *s, yl_error *err)
{
    yl_status status = YL_OK;
    s->heard_ms = now_ms();
    s->nobody_ms = s->heard_ms + NOBODY_MS;
    while (!*s->options->stop) {
        void *door = link_hub_door(s->links.hub);
        zmq_pollitem_t items[7] = {{.socket = s->links.control, .events = ZMQ_POLLIN},
                                   {.socket = s->links.data, .events = ZMQ_POLLIN},
                                   /* What waits there comes after a frame that is stalled. */
                                   {.fd = mailbox_fd(s->out), .events = s->stalled ? 0 : ZMQ_POLLIN},
                                   {.socket = link_watch_socket(s->links.watch), .events = ZMQ_POLLIN}};
        int n_items = 4;
        if (door) items[n_items++] = (zmq_pollitem_t){.socket = door, .events = ZMQ_POLLIN};
        if (s->next_watch) items[n_items++] = (zmq_pollitem_t){.socket = link_watch_socket(s->next_watch), .events = ZMQ_POLLIN};
        if (s->stalled) items[n_items++] = (zmq_pollitem_t){.socket = s->next, .events = ZMQ_POLLOUT};
        if (zmq_poll(items, n_items, HELLO_INTERVAL_MS) < 0 && zmq_errno() != EINTR)
            return yl_fail(err, YL_EIO, "polling %s: %s", s->links.data_address, zmq_strerror(zmq_errno()));
        link_hub_answer_door(s->links.hub);
        watch_control(s);
        if (items[0].revents) receive_control(s);
        if (items[1].revents) receive_data(s);
        watch_next(s);
        if (!take_letters(s, &status, err)) break;
        uint64_t now = now_ms();
        check_next(s, now);
        if (!check_coordinator(s, now, &status, err)) break;
    }
    return status;
}

static void close_all(shell *s)
{
    native_compute_stop(s->compute);
    native_cache_free(s->cache); /* its thread writes to our mailbox */
    close_next(s);
    mailbox_free(s->in);
    mailbox_free(s->out);
    native_links_close(&s->links);
    letter_pool_free(s->letters);
    frame_scratch_free(s->scratch);
    thread_pool_free(s->pool);
    native_source_free(s->source);
}

/* ---- the weight cache ---- */

static void say_of_cache(void *ctx, int level, const char *line)
{
    say(ctx, level, "%s", line);
}

static void tell_damage(void *ctx, uint64_t epoch, const yl_error *cause)
{
    const shell *s = ctx;
    letter *l = letter_new(s->letters, LETTER_DAMAGE);
    if (!l) return; /* the file is unlinked: the next start makes it anew */
    l->epoch = epoch;
    l->error = *cause;
    mailbox_push(s->in, l);
}

/* A worker without a cache works: it only starts slower. */
static void open_cache(shell *s)
{
    const native_shell_options *o = s->options;
    native_cache_options options = {.dir = o->cache_dir,
                                    .max_bytes = o->cache_bytes,
                                    .source = s->source,
                                    .pool = s->pool,
                                    .say = say_of_cache,
                                    .on_damage = tell_damage,
                                    .ctx = s};
    yl_error cause;
    if (native_cache_new(&s->cache, &options, &cause)) say(s, 0, "%s", cause.msg);
}

yl_status native_shell_run(const native_shell_options *options, yl_error *err)
{
    native_shell_options o = *options;
    shell s = {.options = &o};
    if (!o.memory_bytes) o.memory_bytes = proc_bytes("/proc/meminfo", "MemAvailable");
    if (getrandom(&s.instance, sizeof s.instance, 0) != (ssize_t)sizeof s.instance)
        s.instance = now_ns(NULL) ^ ((uint64_t)getpid() << 40);
    yl_status status = YL_OK;
    if (o.model_path) status = native_source_new(&s.source, o.model_path, err);
    if (!status) status = thread_pool_new(&s.pool, o.n_threads, err);
    if (!status) status = frame_scratch_new(&s.scratch, err);
    if (!status) status = letter_pool_new(&s.letters, err);
    if (!status) status = mailbox_new(&s.in, MAILBOX_WAITED_FOR, err);
    if (!status) status = mailbox_new(&s.out, MAILBOX_POLLED, err);
    if (!status) status = native_links_open(&s.links, &o, err);
    worker_env env = {.alloc = allocator_heap(),
                      .kernels = o.kernels,
                      .pool = s.pool,
                      .counter = now_ns,
                      .memory_bytes = o.memory_bytes,
                      .resident = resident};
    if (s.source) env.source = native_source_view(s.source);
    if (s.source && s.in && !o.no_cache) open_cache(&s);
    if (s.cache) env.store = native_cache_view(s.cache);
    if (!status) status = native_compute_start(&s.compute, &env, s.letters, s.in, s.out, err);
    if (!status) {
        say(&s, 1, "is '%s', takes data at %s, looks for the coordinator at %s", s.links.name, s.links.data_address,
            s.links.coordinator_address);
        status = loop(&s, err);
    }
    close_all(&s);
    return status;
}
