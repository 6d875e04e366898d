/* native_discover.c: a worker that looks for its coordinator on the local network.
 *
 * While it has none it connects to where a beacon of its cluster says, and to where the next one says if nobody has shaken hands
 * there after a while: a beacon proves nothing. */
#include "native_shell_internal.h"

#include <string.h>

enum { TRY_MS = 2000, REFRESH_MS = 10000 };

void shell_discover(shell *s, uint64_t now)
{
    native_links *k = &s->links;
    const native_shell_options *o = s->options;
    endpoint found;
    if (!k->beacons) return;
    if (now >= s->refresh_ms) beacon_listener_refresh(k->beacons);
    if (now >= s->refresh_ms) s->refresh_ms = now + REFRESH_MS;
    if (!beacon_hear(k->beacons, k->tag, FRAME_VERSION, &found) || s->is_connected || now < s->tried_ms + TRY_MS) return;
    if (link_check_guarded(o->key, o->is_insecure, &found, NULL)) return;
    bool is_another = strcmp(found.host, k->coordinator.host) != 0 || found.port != k->coordinator.port;
    s->tried_ms = now;
    s->n_refusals = 0;
    s->nobody_ms = now + SHELL_NOBODY_MS;
    if (native_links_connect(k, &found, &s->failure)) return;
    s->failure = (yl_error){0};
    if (is_another) shell_say(s, 1, "found the coordinator at %s", k->coordinator_address);
}
