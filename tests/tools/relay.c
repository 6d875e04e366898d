/* relay.c: a slow link on a fast machine.
 *
 * Carries TCP connections from one address to another, both ways, as a link would that takes time for the way (--delay, here and
 * there each), for each byte (--rate) and now and then a little more or less (--jitter). The order of bytes holds, and no byte is
 * lost. What is on its way lies in rings of a fixed size: when one is full, or more than the rate lets through wants to leave, its
 * sender is not read from, so that it feels the link as it would a real one.
 *
 * One thread, one poll. A link that is cut (SIGUSR1) carries nothing, and closes nothing, as when a cable is pulled; restored
 * (SIGUSR2) it carries on. SIGHUP closes the connections that there are, as a router does that was restarted. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "prng.h"
#include "quantity.h"

static const char usage[] =
    "usage: relay [--delay TIME] [--rate RATE] [--jitter TIME] --listen HOST:PORT --to HOST:PORT ...\n"
    "Carries TCP connections that come to one address on to another, late and slowly. HOST is an IPv4 address.\n"
    "\n"
    "  --delay TIME         of each way, such as 12.5ms (default: 0)\n"
    "  --rate RATE          of each way, for all connections of a link together, such as 100mbit (default: 0, any)\n"
    "  --jitter TIME        the delay is up to so much longer or shorter, evenly (default: 0)\n"
    "  --listen HOST:PORT   one end of a link\n"
    "  --to HOST:PORT       the other; what was said of delays and rates before it holds. Repeat for more links.\n"
    "\n"
    "It says 'ready' once it listens. SIGUSR1 cuts all links, SIGUSR2 restores them, SIGHUP closes all connections.\n";

enum {
    MAX_LINKS = 64,
    MAX_CONNECTIONS = 256,
    RING_BYTES = 8 << 20, /* on one way of a connection: 1 gbit for 64 ms */
    MAX_PIECES = 8192,    /* likewise */
    READ_BYTES = 16 << 10 /* at a time: what arrives together */
};
static const double BURST_NS = 2e6; /* so much of a rate's bytes is read ahead */

typedef struct slow_link {
    struct sockaddr_in listen, to;
    double delay_ns, jitter_ns, ns_a_byte;
    double free_ns[2]; /* each way: when all that was read will have left */
    int fd;
} slow_link;

/* Bytes that arrive together. */
typedef struct piece {
    double due_ns;
    size_t n;
} piece;

/* One way of a connection. */
typedef struct lane {
    int from, to;
    uint8_t *ring; /* [RING_BYTES] */
    piece *pieces; /* [MAX_PIECES] ring */
    size_t first, n_bytes, first_piece, n_pieces;
    double last_due_ns;
    bool is_ended, is_shut, is_blocked;
} lane;

typedef struct connection {
    slow_link *link;
    lane lanes[2]; /* there, back; ring NULL: none */
} connection;

static slow_link links[MAX_LINKS];
static size_t n_links;
static connection connections[MAX_CONNECTIONS];
static prng randomness = {1};
static bool is_cut;
static volatile sig_atomic_t wants_cut, wants_close, wants_stop;

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void on_signal(int number)
{
    if (number == SIGUSR1) wants_cut = true;
    if (number == SIGUSR2) wants_cut = false;
    if (number == SIGHUP) wants_close = true;
    if (number == SIGTERM || number == SIGINT) wants_stop = true;
}

static void fail(const char *what, const char *value)
{
    fprintf(stderr, "relay: %s%s%s%s%s\n", what, value ? " '" : "", value ? value : "", value ? "'" : "",
            errno ? strerror(errno) : "");
    exit(1);
}

/* ---- a lane ---- */

static bool has_room(const lane *l)
{
    return !l->is_ended && l->n_bytes < RING_BYTES && l->n_pieces < MAX_PIECES;
}

/* Takes what is there from the sender, and says when it will arrive. False: the connection is broken. */
static bool take(lane *l, slow_link *k, int way, double now)
{
    size_t end = (l->first + l->n_bytes) % RING_BYTES, room = RING_BYTES - l->n_bytes;
    if (room > RING_BYTES - end) room = RING_BYTES - end;
    if (room > READ_BYTES) room = READ_BYTES;
    ssize_t n = read(l->from, l->ring + end, room);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    if (n == 0) {
        l->is_ended = true;
        return true;
    }
    if (k->free_ns[way] < now) k->free_ns[way] = now;
    k->free_ns[way] += (double)n * k->ns_a_byte;
    double due = k->free_ns[way] + k->delay_ns + k->jitter_ns * (2 * (double)prng_f32(&randomness) - 1);
    if (due < l->last_due_ns) due = l->last_due_ns; /* nothing overtakes */
    l->last_due_ns = due;
    l->pieces[(l->first_piece + l->n_pieces++) % MAX_PIECES] = (piece){due, (size_t)n};
    l->n_bytes += (size_t)n;
    return true;
}

/* Hands on what has arrived. False: the connection is broken. */
static bool give(lane *l, double now)
{
    l->is_blocked = false;
    while (l->n_pieces && l->pieces[l->first_piece].due_ns <= now) {
        piece *p = &l->pieces[l->first_piece];
        size_t n = p->n < RING_BYTES - l->first ? p->n : RING_BYTES - l->first;
        ssize_t done = send(l->to, l->ring + l->first, n, MSG_NOSIGNAL);
        if (done < 0 && errno != EAGAIN && errno != EINTR) return false;
        if (done < 0) {
            l->is_blocked = true;
            return true;
        }
        l->first = (l->first + (size_t)done) % RING_BYTES;
        l->n_bytes -= (size_t)done;
        p->n -= (size_t)done;
        if (p->n) continue;
        l->first_piece = (l->first_piece + 1) % MAX_PIECES;
        l->n_pieces--;
    }
    if (l->is_ended && !l->n_pieces && !l->is_shut) {
        l->is_shut = true;
        shutdown(l->to, SHUT_WR);
    }
    return true;
}

/* ---- a connection ---- */

static void disconnect(connection *c)
{
    close(c->lanes[0].from);
    close(c->lanes[0].to);
    for (int way = 0; way < 2; way++) {
        free(c->lanes[way].ring);
        free(c->lanes[way].pieces);
    }
    *c = (connection){0};
}

static void prepare(int fd)
{
    int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    fcntl(fd, F_SETFL, O_NONBLOCK);
}

static void connect_through(slow_link *k, int from)
{
    connection *c = connections;
    while (c < connections + MAX_CONNECTIONS && c->lanes[0].ring) c++;
    int to = c < connections + MAX_CONNECTIONS ? socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
    if (to < 0 || connect(to, (struct sockaddr *)&k->to, sizeof k->to)) { /* the other end does not listen: so we close */
        if (to >= 0) close(to);
        close(from);
        return;
    }
    prepare(from);
    prepare(to);
    c->link = k;
    for (int way = 0; way < 2; way++) {
        c->lanes[way] = (lane){.from = way ? to : from, .to = way ? from : to};
        c->lanes[way].ring = malloc(RING_BYTES);
        c->lanes[way].pieces = malloc(MAX_PIECES * sizeof(piece));
        if (!c->lanes[way].ring || !c->lanes[way].pieces) fail("no memory", NULL);
    }
}

static void accept_all(slow_link *k)
{
    for (int fd; (fd = accept4(k->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0;) connect_through(k, fd);
}

/* ---- the loop ---- */

static void wait_until(double *at, double due)
{
    if (due < *at) *at = due;
}

/* What to wait for on a connection: fds[0] the near end, fds[1] the far one. */
static void watch(const connection *c, struct pollfd fds[2], double now, double *wake)
{
    fds[0] = (struct pollfd){.fd = c->lanes[0].from};
    fds[1] = (struct pollfd){.fd = c->lanes[0].to};
    for (int way = 0; way < 2 && !is_cut; way++) {
        const lane *l = &c->lanes[way];
        double readable = c->link->free_ns[way] - BURST_NS;
        if (has_room(l) && readable <= now)
            fds[way].events |= POLLIN;
        else if (has_room(l))
            wait_until(wake, readable);
        if (l->is_blocked)
            fds[1 - way].events |= POLLOUT;
        else if (l->n_pieces)
            wait_until(wake, l->pieces[l->first_piece].due_ns);
    }
    for (int end = 0; end < 2; end++)
        if (!fds[end].events) fds[end].fd = -1; /* that it was closed is told when its turn comes */
}

static void serve(connection *c, const struct pollfd fds[2], double now)
{
    bool is_well = true;
    for (int way = 0; way < 2 && is_well; way++) {
        lane *l = &c->lanes[way];
        if (fds[way].revents && fds[way].events & POLLIN) is_well = take(l, c->link, way, now);
        if (is_well) is_well = give(l, now);
    }
    if (!is_well || (c->lanes[0].is_shut && c->lanes[1].is_shut)) disconnect(c);
}

static void run(const sigset_t *unblocked)
{
    static struct pollfd fds[MAX_LINKS + 2 * MAX_CONNECTIONS];
    while (!wants_stop) {
        double now = now_ns(), wake = now + 1e9;
        is_cut = wants_cut;
        for (size_t i = 0; i < n_links; i++) fds[i] = (struct pollfd){.fd = links[i].fd, .events = is_cut ? 0 : POLLIN};
        struct pollfd *of_connections = fds + n_links;
        for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
            of_connections[2 * i].fd = of_connections[2 * i + 1].fd = -1;
            if (wants_close && connections[i].lanes[0].ring) disconnect(&connections[i]);
            if (connections[i].lanes[0].ring) watch(&connections[i], of_connections + 2 * i, now, &wake);
        }
        wants_close = false;
        double wait = wake > now ? wake - now : 0;
        struct timespec t = {.tv_sec = (time_t)(wait / 1e9), .tv_nsec = (long)(wait - (double)(time_t)(wait / 1e9) * 1e9)};
        int n = ppoll(fds, n_links + 2 * MAX_CONNECTIONS, &t, unblocked);
        if (n < 0 && errno != EINTR) fail("poll: ", NULL);
        if (n < 0 || is_cut) continue;
        now = now_ns();
        for (size_t i = 0; i < MAX_CONNECTIONS; i++)
            if (connections[i].lanes[0].ring) serve(&connections[i], of_connections + 2 * i, now);
        for (size_t i = 0; i < n_links; i++)
            if (fds[i].revents) accept_all(&links[i]);
    }
}

/* ---- the command line ---- */

static void parse_address(struct sockaddr_in *out, const char *text)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    long port = colon ? strtol(colon + 1, NULL, 10) : 0;
    errno = 0;
    if (!colon || (size_t)(colon - text) >= sizeof host || port < 1 || port > 65535) fail("no HOST:PORT:", text);
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    *out = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &out->sin_addr) != 1) fail("no IPv4 address:", text);
}

static double parse(const char *text, quantity_kind kind)
{
    double value = 0;
    errno = 0;
    if (strcmp(text, "0") != 0 && !quantity_parse(text, strlen(text), kind, &value)) fail("no such quantity:", text);
    return value;
}

static void listen_at(slow_link *k)
{
    int yes = 1;
    k->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (k->fd < 0 || setsockopt(k->fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) ||
        bind(k->fd, (struct sockaddr *)&k->listen, sizeof k->listen) || listen(k->fd, 64))
        fail("cannot listen: ", NULL);
}

static void add_link(const slow_link *settings, const char *to)
{
    errno = 0;
    if (!settings->listen.sin_port || n_links == MAX_LINKS) fail("--to comes after --listen; at most 64 links", NULL);
    links[n_links] = *settings;
    parse_address(&links[n_links].to, to);
    listen_at(&links[n_links++]);
}

int main(int argc, char **argv)
{
    slow_link settings = {0};
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!value || !strcmp(argv[i], "--help")) return fputs(usage, stdout) < 0;
        errno = 0;
        if (!strcmp(argv[i], "--delay"))
            settings.delay_ns = parse(value, QUANTITY_MS) * 1e6;
        else if (!strcmp(argv[i], "--jitter"))
            settings.jitter_ns = parse(value, QUANTITY_MS) * 1e6;
        else if (!strcmp(argv[i], "--rate"))
            settings.ns_a_byte = strcmp(value, "0") ? 1e9 / parse(value, QUANTITY_BITS_RATE) : 0;
        else if (!strcmp(argv[i], "--listen"))
            parse_address(&settings.listen, value);
        else if (!strcmp(argv[i], "--to"))
            add_link(&settings, value);
        else
            fail("no such flag:", argv[i]);
    }
    if (!n_links) return fputs(usage, stdout) < 0;
    sigset_t blocked, unblocked;
    sigemptyset(&blocked);
    static const int SIGNALS[] = {SIGUSR1, SIGUSR2, SIGHUP, SIGTERM, SIGINT};
    for (size_t i = 0; i < sizeof SIGNALS / sizeof *SIGNALS; i++) {
        sigaction(SIGNALS[i], &(struct sigaction){.sa_handler = on_signal}, NULL);
        sigaddset(&blocked, SIGNALS[i]);
    }
    sigprocmask(SIG_BLOCK, &blocked, &unblocked); /* they come while we wait, and only then */
    prctl(PR_SET_TIMERSLACK, 1000ul);
    fprintf(stderr, "ready\n");
    run(&unblocked);
    return 0;
}
