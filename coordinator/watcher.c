/* watcher.c: a DEALER at a coordinator's ROUTER. */
#include "watcher.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <zmq.h>

#include "cluster.h"
#include "link.h"
#include "local_workers.h"

enum { HWM = 16, N_ANSWERS = 3 };

/* Answers are kept as they came: views into one stay valid while the next is asked for. */
typedef struct kept_answer {
    zmq_msg_t msg;
    frame_scratch *scratch;
    frame frame;
} kept_answer;

struct watcher {
    char address[ENDPOINT_BYTES];
    bool has_key;
    link_hub *hub;
    link_watch *watch;
    void *socket;
    kept_answer answers[N_ANSWERS];
    unsigned next; /* of answers */
    uint64_t id;
    link_event seen; /* what became of the connection last */
};

yl_status watcher_new(watcher **out, const char *address, const cluster_key *key, yl_error *err)
{
    *out = NULL;
    endpoint e;
    yl_status status = endpoint_parse(&e, address, ENDPOINT_CONTROL_PORT, err);
    if (status) return status;
    watcher *w = calloc(1, sizeof *w);
    if (!w) return yl_fail(err, YL_ENOMEM, "no memory to watch a coordinator");
    endpoint_format(w->address, &e);
    w->has_key = key != NULL;
    for (int i = 0; i < N_ANSWERS; i++) {
        zmq_msg_init(&w->answers[i].msg);
        if (!status) status = frame_scratch_new(&w->answers[i].scratch, err);
    }
    if (!status) status = link_hub_new(&w->hub, key, FRAME_MAX_BYTES, err);
    if (!status) w->socket = link_socket(w->hub, ZMQ_DEALER, HWM, 0);
    if (!status && !w->socket) status = yl_fail(err, YL_EIO, "no ZeroMQ socket: %s", zmq_strerror(zmq_errno()));
    if (!status) status = link_watch_new(&w->watch, w->hub, w->socket, err);
    if (!status) status = link_connect(w->hub, w->socket, &e, err);
    if (status) {
        watcher_free(w);
        return status;
    }
    *out = w;
    return YL_OK;
}

void watcher_free(watcher *w)
{
    if (!w) return;
    if (w->socket) zmq_close(w->socket);
    link_watch_free(w->watch);
    link_hub_free(w->hub);
    for (int i = 0; i < N_ANSWERS; i++) {
        zmq_msg_close(&w->answers[i].msg);
        frame_scratch_free(w->answers[i].scratch);
    }
    free(w);
}

static yl_status send_question(watcher *w, yl_error *err)
{
    frame_bytes bytes = {0};
    frame f = {.kind = FRAME_CHAIN, .chain = {.id = ++w->id}};
    yl_status status = frame_encode(&bytes, &f, err);
    if (!status && zmq_send(w->socket, bytes.data, bytes.n, ZMQ_DONTWAIT) < 0 && zmq_errno() != EAGAIN)
        status = yl_fail(err, YL_EIO, "%s: %s", w->address, zmq_strerror(zmq_errno()));
    frame_bytes_clear(&bytes);
    return status;
}

/* Takes what came. *got: it is the answer. */
static yl_status receive(watcher *w, bool *got, yl_error *err)
{
    kept_answer *a = &w->answers[w->next];
    while (!*got && zmq_msg_recv(&a->msg, w->socket, ZMQ_DONTWAIT) >= 0) {
        yl_error cause;
        yl_status status = frame_decode(&a->frame, a->scratch, zmq_msg_data(&a->msg), zmq_msg_size(&a->msg), &cause);
        if (status) return yl_fail(err, YL_EPEER, "what %s says cannot be read: %s", w->address, cause.msg);
        if (a->frame.kind == FRAME_ERROR)
            return yl_fail(err, YL_EPEER, "the coordinator at %s refuses: %.*s", w->address, (int)a->frame.error.message.n_bytes,
                           (const char *)a->frame.error.message.data);
        *got = a->frame.kind == FRAME_CHAIN && a->frame.chain.id == w->id;
    }
    return YL_OK;
}

static yl_status say_why(const watcher *w, uint32_t wait_ms, yl_error *err)
{
    switch (w->seen) {
    case LINK_REFUSED:
    case LINK_OTHER_SECURITY:
        if (!w->has_key)
            return yl_fail(err, YL_EPEER, "the coordinator at %s lets in only who has its key (--key-file)", w->address);
        return yl_fail(err, YL_EPEER,
                       w->seen == LINK_REFUSED ? "the coordinator at %s does not know this key (--key-file)"
                                               : "the coordinator at %s was started without a key, and we have one",
                       w->address);
    case LINK_UP: return yl_fail(err, YL_EPEER, "the coordinator at %s has not answered for %.1f s", w->address, wait_ms / 1e3);
    case LINK_DOWN: return yl_fail(err, YL_EPEER, "the coordinator at %s has ended", w->address);
    default: return yl_fail(err, YL_EPEER, "no coordinator answers at %s: is one running, is the port right?", w->address);
    }
}

yl_status watcher_ask(watcher *w, uint32_t wait_ms, const frame_chain **answer, yl_error *err)
{
    uint64_t deadline = cluster_now_ms() + wait_ms;
    bool got = false;
    yl_status status = send_question(w, err);
    while (!status && !got) {
        uint64_t now = cluster_now_ms();
        if (now >= deadline || w->seen == LINK_REFUSED || w->seen == LINK_OTHER_SECURITY || w->seen == LINK_DOWN)
            return say_why(w, wait_ms, err);
        void *door = link_hub_door(w->hub);
        zmq_pollitem_t items[] = {{.socket = w->socket, .events = ZMQ_POLLIN},
                                  {.socket = link_watch_socket(w->watch), .events = ZMQ_POLLIN},
                                  {.socket = door, .events = ZMQ_POLLIN}};
        if (zmq_poll(items, door ? 3 : 2, (long)(deadline - now)) < 0)
            return zmq_errno() == EINTR ? yl_fail(err, YL_ECANCELED, "interrupted")
                                        : yl_fail(err, YL_EIO, "polling %s: %s", w->address, zmq_strerror(zmq_errno()));
        link_hub_answer_door(w->hub);
        status = receive(w, &got, err);
        for (link_event event; (event = link_watch_next(w->watch)) != LINK_NOTHING;) w->seen = event;
    }
    if (status) return status;
    *answer = &w->answers[w->next].frame.chain;
    w->next = (w->next + 1) % N_ANSWERS;
    return YL_OK;
}

/* A socket's file outlives a process that was killed: somebody must listen. */
static bool is_alive(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct stat st;
    if (strlen(path) >= sizeof a.sun_path || stat(path, &st) || st.st_uid != getuid()) return false;
    memcpy(a.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_alive = fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
    if (fd >= 0) close(fd);
    return is_alive;
}

size_t watcher_find_local(char (*addresses)[WATCHER_ADDRESS_BYTES], size_t max)
{
    char pattern[WATCHER_ADDRESS_BYTES];
    glob_t found;
    size_t n = 0;
    snprintf(pattern, sizeof pattern, "%s/yllama-*/control", local_workers_parent());
    if (glob(pattern, GLOB_NOSORT, NULL, &found)) return 0;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        if (strlen(found.gl_pathv[i]) > WATCHER_ADDRESS_BYTES - 8 || !is_alive(found.gl_pathv[i])) continue;
        if (n < max) snprintf(addresses[n], WATCHER_ADDRESS_BYTES, "ipc://%s", found.gl_pathv[i]);
        n++;
    }
    globfree(&found);
    return n;
}
