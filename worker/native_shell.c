/* native_shell.c: the I/O thread of a worker process: one loop over the sockets, what becomes of their connections, and the compute
 * thread's mailbox. */
#include "memory_use.h"
#include "native_shell_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

static uint64_t now_ns(void *ctx)
{
    (void)ctx;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t shell_now_ms(void)
{
    return now_ns(NULL) / 1000000u;
}

void shell_say(const shell *s, int level, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    s->options->log(level, line);
}

static uint64_t resident(void *ctx, uint64_t *peak)
{
    (void)ctx;
    return memory_use_resident(peak);
}

/* ---- sending ---- */

void shell_send_control(shell *s, letter *l)
{
    if (s->links.is_listening ? shell_send_to_caller(s, l) : letter_send(l, s->links.control)) return;
    shell_say(s, 0, "the coordinator takes no more frames: one was dropped");
    letter_free(l);
}

void shell_send_control_frame(shell *s, const frame *f)
{
    letter *l = letter_new(s->letters, LETTER_TO_COORDINATOR);
    if (l && !frame_encode(&l->bytes, f, NULL))
        shell_send_control(s, l);
    else
        letter_free(l);
}

void shell_tell_error(shell *s, const yl_error *cause)
{
    shell_say(s, 0, "%s", cause->msg);
    letter *l = letter_new(s->letters, LETTER_TO_COORDINATOR);
    if (l && !frame_encode_error(&l->bytes, s->next_epoch, FRAME_ASSIGN, 0, cause, NULL))
        shell_send_control(s, l);
    else
        letter_free(l);
}

/* ---- the service manager ---- */

void shell_tell_status(shell *s, const char *before, const char *after)
{
    char line[ENDPOINT_BYTES + 128];
    snprintf(line, sizeof line, "%s %s%s", before, s->links.coordinator_address, after);
    native_notify_status(&s->notify, line);
}

void shell_tell_slice(shell *s, const char *verb)
{
    char slice[SLICE_RANGE_TEXT_BYTES], before[SLICE_RANGE_TEXT_BYTES + 16];
    snprintf(before, sizeof before, "%s %s for", verb, slice_range_format(slice, &s->range));
    shell_tell_status(s, before, "");
}

/* Weights that take long: how far they are, now and then. */
static void tell_loading(shell *s, uint64_t now)
{
    double loaded = (double)native_compute_loaded(s->compute), all = (double)native_compute_weights(s->compute);
    if (loaded >= all) {
        s->loading_ms = 0;
        return;
    }
    if (!s->loading_ms) s->loading_ms = s->loading_told_ms = now;
    if (now - s->loading_told_ms < SHELL_LOADING_MS) return;
    s->loading_told_ms = now;
    double seconds = (double)(now - s->loading_ms) / 1e3;
    if (loaded > 0)
        shell_say(s, 1, "loading weights: %.0f %%, %.2f GB/s, %.0f s left", loaded / all * 100, loaded / 1e9 / seconds,
                  seconds * (all - loaded) / loaded);
}

/* ---- receiving ---- */

static void receive_control(shell *s)
{
    for (letter *l; (l = s->links.is_listening ? shell_receive_call(s) : letter_receive(s->letters, s->links.control));) {
        s->heard_ms = shell_now_ms();
        if (shell_hear(s, l))
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
            l->arrived = now_ns(NULL);
            mailbox_push(s->in, l);
            continue;
        }
        shell_say(s, 1, "%zu bytes that are no frame of a chain were dropped", m.n_bytes);
        letter_free(l);
    }
}

/* What the compute thread wants done. True: go on. */
static bool take_letters(shell *s, yl_status *status, yl_error *err)
{
    mailbox_clear_fd(s->out);
    if (s->stalled && !shell_send_next(s, s->stalled)) return true;
    for (letter *l; (l = mailbox_pop(s->out));) {
        if (l->kind == LETTER_TO_NEXT) {
            if (!shell_send_next(s, l)) return true;
            continue;
        }
        if (l->kind == LETTER_TO_COORDINATOR) {
            uint64_t epoch;
            if (frame_peek(l->bytes.data, l->bytes.n, &epoch) == FRAME_READY) shell_tell_slice(s, "serving");
            shell_send_control(s, l);
            continue;
        }
        if (l->kind == LETTER_REWIRE) shell_rewire(s, l);
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

static yl_status loop(shell *s, yl_error *err)
{
    yl_status status = YL_OK;
    s->heard_ms = shell_now_ms();
    s->nobody_ms = s->heard_ms + SHELL_NOBODY_MS;
    while (!*s->options->stop) {
        void *door = link_hub_door(s->links.hub);
        zmq_pollitem_t items[8] = {{.socket = s->links.control, .events = ZMQ_POLLIN},
                                   {.socket = s->links.data, .events = ZMQ_POLLIN},
                                   /* What waits there comes after a frame that is stalled. */
                                   {.fd = mailbox_fd(s->out), .events = s->stalled ? 0 : ZMQ_POLLIN},
                                   {.socket = link_watch_socket(s->links.watch), .events = ZMQ_POLLIN}};
        int n_items = 4;
        if (door) items[n_items++] = (zmq_pollitem_t){.socket = door, .events = ZMQ_POLLIN};
        if (s->links.beacons) items[n_items++] = (zmq_pollitem_t){.fd = beacon_listener_fd(s->links.beacons), .events = ZMQ_POLLIN};
        if (s->next_watch) items[n_items++] = (zmq_pollitem_t){.socket = link_watch_socket(s->next_watch), .events = ZMQ_POLLIN};
        if (s->stalled) items[n_items++] = (zmq_pollitem_t){.socket = s->next, .events = ZMQ_POLLOUT};
        if (zmq_poll(items, n_items, SHELL_HELLO_INTERVAL_MS) < 0 && zmq_errno() != EINTR)
            return yl_fail(err, YL_EIO, "polling %s: %s", s->links.data_address, zmq_strerror(zmq_errno()));
        link_hub_answer_door(s->links.hub);
        shell_watch_control(s);
        if (items[0].revents) receive_control(s);
        if (items[1].revents) receive_data(s);
        shell_watch_next(s);
        if (!take_letters(s, &status, err)) break;
        uint64_t now = shell_now_ms();
        shell_check_next(s, now);
        shell_discover(s, now);
        if (!shell_check_coordinator(s, now, &status, err)) break;
        tell_loading(s, now);
        native_notify_watchdog(&s->notify, now, native_compute_has_moved(s->compute));
    }
    return status;
}

static void close_all(shell *s)
{
    native_compute_stop(s->compute);
    native_cache_free(s->cache); /* its thread writes to our mailbox */
    shell_close_next(s);
    mailbox_free(s->in);
    mailbox_free(s->out);
    native_links_close(&s->links);
    letter_pool_free(s->letters);
    frame_scratch_free(s->scratch);
    thread_pool_free(s->pool);
    native_source_free(s->source);
    native_notify_close(&s->notify);
    limit_probe_free(s->probe);
}

/* ---- how fast this machine is ---- */

/* The buffer to read from must not be what brings a small machine down. */
static const uint64_t PROBE_NEEDS_BYTES = UINT64_C(1) << 30;

/* A worker that joins says how fast its machine is, so that it gets layers accordingly; those of one machine are alike, and start
 * sooner without. The process that measures must be begun before this one has threads. Without it we are only not known. */
static void begin_probe(shell *s)
{
    yl_error cause;
    uint64_t available = memory_use_available();
    const char *coordinator = s->options->coordinator; /* NULL: it calls, or is looked for */
    bool is_local = coordinator && strncmp(coordinator, "ipc://", 6) == 0;
    if (is_local || (available && available < PROBE_NEEDS_BYTES)) return;
    if (limit_probe_new(&s->probe, MACHINE_METER_PLACEMENT, &cause)) shell_say(s, 1, "%s", cause.msg);
}

/* Once a process: whoever asks again gets the same layers, and has their weights already. */
static void measure_speed(shell *s)
{
    yl_error cause;
    const native_shell_options *o = s->options;
    if (!s->probe) return;
    uint64_t begin = shell_now_ms();
    if (limit_probe_read(s->probe, o->n_threads, o->kernels->isa, NULL, NULL, &s->limits, &cause))
        shell_say(s, 1, "%s", cause.msg);
    else
        shell_say(s, 2, "this machine: %.1f GB/s from memory, %.0f GMAC/s, measured in %.0f ms", s->limits.read_small_pages / 1e9,
                  s->limits.dot_int8 / 1e9, (double)(shell_now_ms() - begin));
    limit_probe_free(s->probe);
    s->probe = NULL;
}

/* ---- the weight cache ---- */

static void say_of_worker(void *ctx, int level, const char *line)
{
    shell_say(ctx, level, "%s", line);
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
                                    .say = say_of_worker,
                                    .on_damage = tell_damage,
                                    .ctx = s};
    yl_error cause;
    if (native_cache_new(&s->cache, &options, &cause)) shell_say(s, 0, "%s", cause.msg);
}

yl_status native_shell_run(const native_shell_options *options, yl_error *err)
{
    native_shell_options o = *options;
    shell s = {.options = &o};
    yl_error cause;
    begin_probe(&s);
    if (native_notify_open(&s.notify, &cause)) shell_say(&s, 0, "%s", cause.msg);
    if (!o.memory_bytes) o.memory_bytes = memory_use_available();
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
    if (!status) measure_speed(&s);
    worker_env env = {.alloc = allocator_heap(),
                      .kernels = o.kernels,
                      .pool = s.pool,
                      .counter = now_ns,
                      .say = say_of_worker,
                      .say_ctx = &s,
                      .memory_bytes = o.memory_bytes,
                      .resident = resident};
    env.source = s.source ? native_source_view(s.source) : (weight_source){.lock = native_source_lock};
    if (s.in && !o.no_cache) open_cache(&s);
    if (s.cache) env.store = native_cache_view(s.cache);
    if (!status) status = native_compute_start(&s.compute, &env, s.letters, s.in, s.out, err);
    if (!status) {
        shell_say(&s, 1, "is '%s', takes data at %s, %s %s", s.links.name, s.links.data_address,
                  s.links.is_listening ? "waits for"
                  : s.links.beacons    ? "looks for"
                                       : "looks for the coordinator at",
                  s.links.coordinator_address);
        native_notify_ready(&s.notify);
        shell_tell_status(&s, "waiting for", "");
        status = loop(&s, err);
        native_notify_stopping(&s.notify);
    }
    close_all(&s);
    return status;
}
