/* native_coordinator.c: a worker's coordinator, as it comes and goes.
 *
 * HELLO is said once the connection stands, and again until a coordinator answers; a coordinator that is silent too long, or whose
 * connection closes, is gone, and HELLO is for the next one. A coordinator that does not let us in, by its key or by an ERROR, is a
 * reason to end: somebody has to change something. One that has forgotten us is met again. */
#include "native_shell_internal.h"

#include <string.h>

enum {
    REFUSALS = 3,      /* handshakes that fail in a row: one may be a coordinator that ends just now */
    REFUSAL_MS = 3000, /* for so long a HELLO may be refused: the other worker of our name may be our own dead self */
    NOBODY_AGAIN_MS = 60000
};

static frame_bin text_bin(const char *text)
{
    return (frame_bin){(const uint8_t *)text, strlen(text)};
}

static uint64_t claim(double a_second)
{
    return a_second < (double)FRAME_MAX_SPEED ? (uint64_t)a_second : FRAME_MAX_SPEED;
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
                            .version = text_bin(YLLAMA_VERSION),
                            .bytes_per_s = claim(s->limits.read_small_pages),
                            .macs_per_s = claim(s->limits.dot_int8)};
    if (s->source) f.hello.model_id = native_source_view(s->source).model_id;
    shell_send_control_frame(s, &f);
    s->hello_ms = shell_now_ms();
}

/* The coordinator does not take something. Before it took our HELLO that is what it refuses: not needed just now, which may change;
 * else a reason to end, if it stays so for a while. */
static void hear_error(shell *s, const worker_message *m)
{
    frame f;
    yl_error cause;
    yl_status status = frame_decode(&f, s->scratch, m->data, m->n_bytes, &cause);
    if (!status && f.error.about == FRAME_HEARTBEAT) { /* we were too slow, and it has gone on without us */
        if (s->has_coordinator)
            shell_say(s, 1, "the coordinator at %s has taken us out: joining again", s->links.coordinator_address);
        if (s->has_coordinator) send_hello(s);
        s->has_coordinator = false;
        return;
    }
    if (!status) {
        status = f.error.status;
        yl_fail(&cause, YL_EPEER, "the coordinator at %s refuses: %.*s", s->links.coordinator_address, (int)f.error.message.n_bytes,
                (const char *)f.error.message.data);
    }
    bool is_news = strcmp(cause.msg, s->refusal.msg) != 0;
    s->refusal = cause;
    if (s->has_coordinator || status == YL_ELIMIT) {
        if (s->has_coordinator || is_news) shell_say(s, s->has_coordinator ? 0 : 1, "%s", cause.msg);
        return;
    }
    uint64_t now = shell_now_ms();
    if (!s->refused_ms) s->refused_ms = now;
    if (now - s->refused_ms < REFUSAL_MS) return;
    if (!s->links.is_listening) {
        yl_fail(&s->failure, YL_EPEER, "%s", cause.msg);
        return;
    }
    shell_say(s, 0, "%s", cause.msg); /* the next one may not */
    shell_hang_up(s);
}

static void meet_coordinator(shell *s)
{
    if (!s->has_coordinator) {
        shell_say(s, 1, "has joined the coordinator at %s", s->links.coordinator_address);
        shell_tell_status(s, "joined", ", which gave it no layers yet");
    }
    s->has_coordinator = s->was_accepted = true;
    s->refused_ms = 0;
    s->refusal = (yl_error){0};
}

/* HEARTBEAT is answered here, and an ERROR of the coordinator's is for the log; all else is the worker's. True: done with it. */
bool shell_hear(shell *s, letter *l)
{
    frame f;
    worker_message m = letter_message(l);
    unsigned kind = frame_peek(m.data, m.n_bytes, &f.epoch);
    if (kind == FRAME_ERROR || (!kind && !s->has_coordinator)) { /* 0: what it says is no frame of our version */
        hear_error(s, &m);
        return true;
    }
    meet_coordinator(s);
    if (kind != FRAME_HEARTBEAT || frame_decode(&f, s->scratch, m.data, m.n_bytes, NULL)) return false;
    s->coordinator_instance = f.heartbeat.instance;
    frame answer = {.kind = FRAME_HEARTBEAT, .epoch = f.epoch};
    answer.heartbeat = (frame_heartbeat){.instance = s->instance,
                                         .steps = native_compute_steps(s->compute),
                                         .pending = native_compute_pending(s->compute),
                                         .loaded = native_compute_loaded(s->compute)};
    shell_send_control_frame(s, &answer);
    return true;
}

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
    if (!s->was_accepted && !s->links.beacons) /* another beacon may say better */
        s->failure = cause;
    else if (strcmp(cause.msg, s->refusal.msg) != 0)
        shell_say(s, 0, "%s", cause.msg);
    s->refusal = cause;
}

static void forget_coordinator(shell *s)
{
    bool had = s->has_coordinator;
    s->has_coordinator = false;
    shell_hang_up(s);
    if (had) shell_tell_status(s, "waiting for", "");
}

void shell_lose_coordinator(shell *s)
{
    if (s->has_coordinator)
        shell_say(s, 1, "the coordinator at %s has left: waiting for the next one", s->links.coordinator_address);
    forget_coordinator(s);
}

void shell_watch_control(shell *s)
{
    if (s->links.is_listening) {
        shell_watch_callers(s);
        return;
    }
    for (link_event event; (event = link_watch_next(s->links.watch)) != LINK_NOTHING;) {
        bool was_connected = s->is_connected;
        if (event == LINK_UNANSWERED) continue; /* not connected for a while: shell_check_coordinator says so */
        s->is_connected = event == LINK_UP;
        if (s->is_connected) {
            s->n_refusals = 0;
            send_hello(s);
            continue;
        }
        if (was_connected) s->nobody_ms = shell_now_ms() + SHELL_NOBODY_MS;
        if (event == LINK_DOWN) shell_lose_coordinator(s);
        if (event != LINK_DOWN) on_refused_handshake(s, event);
    }
}

/* The coordinator's silence. False: leave. */
bool shell_check_coordinator(shell *s, uint64_t now, yl_status *status, yl_error *err)
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
        if (s->has_coordinator) shell_say(s, 1, "the coordinator at %s is silent: waiting for it", address);
        forget_coordinator(s);
    }
    if (!s->is_connected && !s->links.is_listening && now >= s->nobody_ms) {
        if (s->links.beacons)
            shell_say(
                s, 1,
                "no coordinator is found: waiting (does yllama run on this network with --workers N --discover, and this key?)");
        else
            shell_say(s, 1, "nobody answers at %s: waiting (is yllama running there with --workers, and the port open?)", address);
        s->nobody_ms = now + NOBODY_AGAIN_MS;
    }
    if (s->is_connected && !s->has_coordinator && now - s->hello_ms >= SHELL_HELLO_INTERVAL_MS) send_hello(s);
    return true;
}
