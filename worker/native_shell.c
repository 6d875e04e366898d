/* native_shell.c: the I/O thread of a worker process.
 *
 * One loop over the control socket, the data socket, the monitor of the link to the next stage, and the compute thread's mailbox.
 * Time matters in three places: HELLO is repeated until the coordinator answers, a coordinator that is silent too long is gone, and
 * a next stage that cannot be reached, or takes nothing, for as long is told to the coordinator. */
#include "native_shell.h"

#include "native_cache.h"
#include "native_compute.h"

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

enum { HELLO_INTERVAL_MS = 500, CONTROL_HWM = 4096, DATA_HWM = 1024 };

typedef struct shell {
    const native_shell_options *options;
    void *zmq;
    void *control, *data, *next, *monitor; /* next and monitor: NULL before the first ASSIGN */
    char data_endpoint[FRAME_MAX_ENDPOINT];
    char next_endpoint[FRAME_MAX_ENDPOINT + 1];
    uint64_t instance;
    uint64_t next_epoch; /* of the link to the next stage */
    bool next_is_up;
    uint64_t next_deadline_ms; /* it must be up, or have taken the stalled frame, by then; 0: none */
    letter *stalled;           /* a frame that the next stage's socket did not take yet */
    bool has_coordinator;      /* it answered, and was not silent since */
    uint64_t heard_ms, hello_ms;
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

static yl_status zmq_failed(yl_error *err, const char *what, const char *endpoint)
{
    int cause = zmq_errno();
    const char *hint = cause == EADDRINUSE ? " (another program listens there: choose another port)" : "";
    return yl_fail(err, YL_EIO, "%s %s: %s%s", what, endpoint, zmq_strerror(cause), hint);
}

/* Sockets close at once and hold few messages: what matters is sent again or told. */
static void *open_socket(void *zmq, int type, int hwm)
{
    void *socket = zmq_socket(zmq, type);
    if (!socket) return NULL;
    int linger = 0;
    int64_t max_bytes = FRAME_MAX_BYTES;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &max_bytes, sizeof max_bytes);
    zmq_setsockopt(socket, ZMQ_SNDHWM, &hwm, sizeof hwm);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &hwm, sizeof hwm);
    return socket;
}

static yl_status open_sockets(shell *s, yl_error *err)
{
    const native_shell_options *o = s->options;
    s->zmq = zmq_ctx_new();
    s->control = s->zmq ? open_socket(s->zmq, ZMQ_DEALER, CONTROL_HWM) : NULL;
    s->data = s->control ? open_socket(s->zmq, ZMQ_PULL, DATA_HWM) : NULL;
    if (!s->data) return yl_fail(err, YL_EIO, "no ZeroMQ sockets: %s", zmq_strerror(zmq_errno()));
    if (zmq_bind(s->data, o->data_endpoint)) return zmq_failed(err, "cannot listen at", o->data_endpoint);
    size_t n = sizeof s->data_endpoint;
    if (zmq_getsockopt(s->data, ZMQ_LAST_ENDPOINT, s->data_endpoint, &n))
        return zmq_failed(err, "no address for", o->data_endpoint);
    if (zmq_connect(s->control, o->coordinator)) return zmq_failed(err, "cannot connect to", o->coordinator);
    return YL_OK;
}

/* ---- sending ---- */

static void send_control(shell *s, letter *l)
{
    if (letter_send(l, s->control)) return;
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
    f.hello = (frame_hello){.name = text_bin(o->name),
                            .instance = s->instance,
                            .data_endpoint = text_bin(s->data_endpoint),
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
    if (s->monitor) zmq_close(s->monitor);
    if (s->next) zmq_close(s->next);
    s->monitor = s->next = NULL;
    s->next_is_up = false;
    s->next_deadline_ms = 0;
    letter_free(s->stalled);
    s->stalled = NULL;
}

static void rewire(shell *s, const letter *l)
{
    close_next(s);
    s->next_epoch = l->epoch;
    memcpy(s->next_endpoint, l->endpoint, sizeof s->next_endpoint);
    char monitor[64];
    snprintf(monitor, sizeof monitor, "inproc://next-%" PRIu64, l->epoch);
    yl_error cause;
    s->next = open_socket(s->zmq, ZMQ_PUSH, DATA_HWM);
    s->monitor = s->next ? open_socket(s->zmq, ZMQ_PAIR, 0) : NULL;
    if (!s->monitor || zmq_socket_monitor(s->next, monitor, ZMQ_EVENT_HANDSHAKE_SUCCEEDED) || zmq_connect(s->monitor, monitor) ||
        zmq_connect(s->next, s->next_endpoint)) {
        zmq_failed(&cause, "cannot connect to the next stage at", s->next_endpoint);
        tell_error(s, &cause);
        return;
    }
    s->next_deadline_ms = now_ms() + s->options->silence_ms;
    say(s, 2, "epoch %" PRIu64 ": next stage at %s", l->epoch, s->next_endpoint);
}

static void take_monitor_event(shell *s)
{
    /* Two parts: event number and value, then the address. */
    zmq_msg_t msg;
    zmq_msg_init(&msg);
    while (zmq_msg_recv(&msg, s->monitor, ZMQ_DONTWAIT) >= 0) continue;
    zmq_msg_close(&msg);
    if (s->next_is_up) return; /* ZeroMQ connected again by itself */
    s->next_is_up = true;
    s->next_deadline_ms = 0;
    letter *l = letter_new(s->letters, LETTER_LINK_UP);
    if (!l) return; /* the deadline of the coordinator will find it */
    l->epoch = s->next_epoch;
    mailbox_push(s->in, l);
}

/* Sends what waits for the next stage. False: it still does not take it. */
static bool send_next(shell *s, letter *l)
{
    if (s->next && letter_send(l, s->next)) {
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
                s->next_endpoint, s->options->name);
    else
        yl_fail(&cause, YL_EPEER, "the next stage at %s takes no more frames from '%s'", s->next_endpoint, s->options->name);
    tell_error(s, &cause);
    letter_free(s->stalled);
    s->stalled = NULL;
    s->next_deadline_ms = 0;
}

/* ---- receiving ---- */

/* HEARTBEAT is answered here, and an ERROR of the coordinator's is for the log; all else is the worker's. True: done with it. */
static bool handle_here(shell *s, letter *l)
{
    frame f;
    worker_message m = letter_message(l);
    unsigned kind = frame_peek(m.data, m.n_bytes, &f.epoch);
    if (kind != FRAME_HEARTBEAT && kind != FRAME_ERROR) return false;
    if (frame_decode(&f, s->scratch, m.data, m.n_bytes, NULL)) return false;
    if (f.kind == FRAME_ERROR)
        say(s, 0, "the coordinator refuses: %.*s", (int)f.error.message.n_bytes, (const char *)f.error.message.data);
    if (f.kind != FRAME_HEARTBEAT) return f.kind == FRAME_ERROR;
    frame answer = {.kind = FRAME_HEARTBEAT, .epoch = f.epoch};
    answer.heartbeat = (frame_heartbeat){.instance = s->instance,
                                         .steps = native_compute_steps(s->compute),
                                         .pending = native_compute_pending(s->compute),
                                         .loaded = native_compute_loaded(s->compute)};
    send_control_frame(s, &answer);
    return true;
}

static void receive_control(shell *s)
{
    for (letter *l; (l = letter_receive(s->letters, s->control));) {
        s->heard_ms = now_ms();
        if (!s->has_coordinator) say(s, 2, "the coordinator at %s answers", s->options->coordinator);
        s->has_coordinator = true;
        if (handle_here(s, l))
            letter_free(l);
        else
            mailbox_push(s->in, l);
    }
}

/* Nothing but FORWARD and SEQ comes down the chain: whoever sends something else here is not the stage before. */
static void receive_data(shell *s)
{
    for (letter *l; (l = letter_receive(s->letters, s->data));) {
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

/* The coordinator's silence. False: leave. */
static bool check_coordinator(shell *s, uint64_t now, yl_status *status, yl_error *err)
{
    if (now - s->heard_ms > s->options->silence_ms) {
        if (s->options->once) {
            *status = yl_fail(err, YL_EPEER, "the coordinator at %s has been silent for %u ms", s->options->coordinator,
                              s->options->silence_ms);
            return false;
        }
        if (s->has_coordinator) say(s, 1, "the coordinator at %s is silent: waiting for it", s->options->coordinator);
        s->has_coordinator = false;
    }
    if (!s->has_coordinator && now - s->hello_ms >= HELLO_INTERVAL_MS) send_hello(s);
    return true;
}

static yl_status loop(shell *s, yl_error *err)
{
    yl_status status = YL_OK;
    s->heard_ms = now_ms();
    send_hello(s);
    while (!*s->options->stop) {
        zmq_pollitem_t items[] = {{.socket = s->control, .events = ZMQ_POLLIN},
                                  {.socket = s->data, .events = ZMQ_POLLIN},
                                  {.fd = mailbox_fd(s->out), .events = ZMQ_POLLIN},
                                  {.socket = s->monitor, .events = ZMQ_POLLIN},
                                  {.socket = s->next, .events = ZMQ_POLLOUT}};
        int n_items = !s->monitor ? 3 : s->stalled ? 5 : 4;
        if (s->stalled) items[2].events = 0; /* what it holds comes after the stalled frame */
        if (zmq_poll(items, n_items, HELLO_INTERVAL_MS) < 0 && zmq_errno() != EINTR)
            return zmq_failed(err, "polling", s->data_endpoint);
        if (items[0].revents) receive_control(s);
        if (items[1].revents) receive_data(s);
        if (n_items > 3 && items[3].revents) take_monitor_event(s);
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
    if (s->data) zmq_close(s->data);
    if (s->control) zmq_close(s->control);
    mailbox_free(s->in);
    mailbox_free(s->out);
    if (s->zmq) zmq_ctx_term(s->zmq);
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
    if (!status) status = open_sockets(&s, err);
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
        say(&s, 2, "data at %s, coordinator at %s", s.data_endpoint, o.coordinator);
        status = loop(&s, err);
    }
    close_all(&s);
    return status;
}
