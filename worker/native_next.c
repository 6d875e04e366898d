/* native_next.c: a worker's link to the next stage. One that cannot be reached, or takes nothing, for too long is told to the
 * coordinator. */
#include "native_shell_internal.h"

#include <string.h>
#include <zmq.h>

void shell_close_next(shell *s)
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

void shell_rewire(shell *s, const letter *l)
{
    shell_close_next(s);
    s->next_epoch = l->epoch;
    memcpy(s->next_endpoint, l->endpoint, sizeof s->next_endpoint);
    yl_error cause;
    if (connect_next(s, &cause)) {
        yl_error_context(&cause, "no link from '%s' to the next stage: ", s->links.name);
        shell_tell_error(s, &cause);
        shell_close_next(s);
        return;
    }
    s->next_deadline_ms = shell_now_ms() + s->options->silence_ms;
    shell_say(s, 1, "is a stage of a chain; the next one is at %s", s->next_endpoint);
    s->range = l->range;
    shell_tell_slice(s, "loading");
}

void shell_watch_next(shell *s)
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
bool shell_send_next(shell *s, letter *l)
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
    if (s->stalled != l) s->next_deadline_ms = shell_now_ms() + s->options->silence_ms;
    s->stalled = l;
    return false;
}

void shell_check_next(shell *s, uint64_t now)
{
    if (!s->next_deadline_ms || now < s->next_deadline_ms) return;
    yl_error cause;
    if (!s->next_is_up)
        yl_fail(&cause, YL_EPEER, "the next stage at %s cannot be reached from '%s': is it running, and its port open?",
                s->next_endpoint, s->links.name);
    else
        yl_fail(&cause, YL_EPEER, "the next stage at %s takes no more frames from '%s'", s->next_endpoint, s->links.name);
    shell_tell_error(s, &cause);
    letter_free(s->stalled);
    s->stalled = NULL;
    s->next_deadline_ms = 0;
}
