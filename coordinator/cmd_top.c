/* cmd_top.c: `yllama top`: a chain at work, until it ends or Ctrl-C. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "command.h"
#include "session.h"
#include "top_view.h"
#include "watcher.h"

enum { MAX_LOCAL = 8, PATIENCE_MS = 3000 };

static const float DEFAULT_INTERVAL_S = 1, COUNTING_S = 0.05F;

/* Without an address: the one coordinator of this user on this machine. */
static yl_status find_address(char out[WATCHER_ADDRESS_BYTES], const options *o, yl_error *err)
{
    char found[MAX_LOCAL][WATCHER_ADDRESS_BYTES];
    if (o->connect) {
        snprintf(out, WATCHER_ADDRESS_BYTES, "%s", o->connect);
        return YL_OK;
    }
    size_t n = watcher_find_local(found, MAX_LOCAL);
    if (!n)
        return yl_fail(err, YL_EPEER,
                       "you run no coordinator with local workers on this machine; --connect tcp://HOST:7620 names another's");
    if (n > 1)
        return yl_fail(err, YL_EINVAL, "you run %zu coordinators on this machine, which one? --connect %s, or --connect %s ...", n,
                       found[0], found[1]);
    memcpy(out, found[0], sizeof found[0]);
    return YL_OK;
}

static yl_status show(console *c, const options *o, const char *address, const frame_chain *before, const frame_chain *now,
                      yl_error *err)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f) return yl_fail(err, YL_ENOMEM, "no memory for output");
    yl_status status = YL_OK;
    if (o->json) {
        status = top_print_json(f, before, now, err);
    } else {
        if (c->is_terminal_out && !o->once) fputs("\033[H\033[J", f); /* from the top of the screen, which is cleared */
        top_print_text(f, address, before, now);
        if (!c->is_terminal_out && !o->once) fputc('\n', f);
    }
    if (fclose(f)) status = yl_fail(err, YL_ENOMEM, "no memory for output");
    if (!status) console_write(c, text, n);
    free(text);
    return status ? status : console_check(c, err);
}

static void sleep_s(float seconds)
{
    struct timespec t = {.tv_sec = (time_t)seconds};
    t.tv_nsec = (long)((seconds - (float)t.tv_sec) * 1e9F);
    nanosleep(&t, NULL);
}

/* How the chain is now: an answer has the counts that the question before asked for. */
static yl_status look(watcher *w, const frame_chain **now, yl_error *err)
{
    yl_status status = watcher_ask(w, PATIENCE_MS, now, err);
    if (status) return status;
    sleep_s(COUNTING_S);
    return watcher_ask(w, PATIENCE_MS, now, err);
}

static yl_status watch(watcher *w, const options *o, console *c, const char *address, yl_error *err)
{
    const frame_chain *before = NULL, *now = NULL;
    float interval = o->interval_s > 0 ? o->interval_s : DEFAULT_INTERVAL_S;
    yl_status status = look(w, &now, err);
    if (!status && !o->once) status = show(c, o, address, NULL, now, err);
    while (!status && !c->is_closed) {
        sleep_s(interval - COUNTING_S);
        before = now;
        status = look(w, &now, err);
        if (!status) status = show(c, o, address, before, now, err);
        if (o->once) break;
    }
    return status;
}

yl_status cmd_top(const options *o, console *c, yl_error *err)
{
    char address[WATCHER_ADDRESS_BYTES];
    cluster_key key;
    bool has_key;
    watcher *w = NULL;
    yl_status status = session_read_key(&key, &has_key, o, err);
    if (!status) status = find_address(address, o, err);
    if (!status) status = watcher_new(&w, address, has_key ? &key : NULL, err);
    cluster_key_wipe(&key, sizeof key);
    if (!status) status = watch(w, o, c, address, err);
    watcher_free(w);
    return status;
}
