/* limit_probe.c: a forked child that answers questions over a socket pair until this end of it is closed. */
#include "limit_probe.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAIT_MS = 250 };

struct limit_probe {
    pid_t pid;
    int fd;
};

typedef struct question {
    uint32_t n_threads;
    char isa[16];
} question;

typedef struct answer {
    yl_error error; /* its status: YL_OK */
    machine_limits limits;
} answer;

/* A message over a pair of this machine's own sockets comes whole or not at all. False: the other end is gone. */
static bool receive(int fd, void *message, size_t n)
{
    ssize_t got;
    do got = recv(fd, message, n, MSG_WAITALL);
    while (got < 0 && errno == EINTR);
    return got == (ssize_t)n;
}

static bool send_all(int fd, const void *message, size_t n)
{
    ssize_t sent;
    do sent = send(fd, message, n, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)n;
}

static yl_status measure(machine_meter **m, machine_meter_scope scope, const question *q, machine_limits *out, yl_error *err)
{
    yl_status status = *m ? YL_OK : machine_meter_new(m, scope, err);
    return status ? status : machine_meter_read(*m, q->n_threads, kernels_named(q->isa), out, err);
}

/* What the child does. A Ctrl-C at the terminal is meant for the parent, which then closes its end. */
static void serve(int fd, machine_meter_scope scope)
{
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_IGN);
    machine_meter *m = NULL;
    for (question q; receive(fd, &q, sizeof q);) {
        answer a = {0};
        a.error.status = measure(&m, scope, &q, &a.limits, &a.error);
        if (!send_all(fd, &a, sizeof a)) break;
    }
    machine_meter_free(m);
}

yl_status limit_probe_new(limit_probe **out, machine_meter_scope scope, yl_error *err)
{
    *out = NULL;
    limit_probe *p = calloc(1, sizeof *p);
    if (!p) return yl_fail(err, YL_ENOMEM, "no memory to measure the machine");
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) {
        free(p);
        return yl_fail(err, YL_EIO, "the machine cannot be measured: no socket: %s", strerror(errno));
    }
    p->pid = fork();
    if (p->pid == 0) {
        close(ends[0]);
        serve(ends[1], scope);
        _exit(0);
    }
    int cause = errno;
    close(ends[1]);
    p->fd = ends[0];
    if (p->pid < 0) {
        close(p->fd);
        free(p);
        return yl_fail(err, YL_EIO, "the machine cannot be measured: no process: %s", strerror(cause));
    }
    *out = p;
    return YL_OK;
}

void limit_probe_free(limit_probe *p)
{
    if (!p) return;
    close(p->fd);
    while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR) continue;
    free(p);
}

/* Until there is an answer, or the end. */
static void await_answer(const limit_probe *p, void (*while_waiting)(void *ctx), void *ctx)
{
    struct pollfd in = {.fd = p->fd, .events = POLLIN};
    while (poll(&in, 1, WAIT_MS) <= 0) {
        if (while_waiting) while_waiting(ctx);
    }
}

yl_status limit_probe_read(limit_probe *p, uint32_t n_threads, const char *isa, void (*while_waiting)(void *ctx), void *ctx,
                           machine_limits *out, yl_error *err)
{
    question q = {.n_threads = n_threads};
    memcpy(q.isa, isa, strlen(isa) < sizeof q.isa ? strlen(isa) : sizeof q.isa - 1);
    answer a;
    bool asked = send_all(p->fd, &q, sizeof q);
    if (asked) await_answer(p, while_waiting, ctx);
    if (!asked || !receive(p->fd, &a, sizeof a))
        return yl_fail(err, YL_EIO, "the process that measures the machine has ended: was it killed?");
    if (a.error.status) {
        if (err) *err = a.error;
        return a.error.status;
    }
    *out = a.limits;
    return YL_OK;
}
