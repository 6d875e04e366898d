/* local_workers.c: fork, exec, wait. */
#include "local_workers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct process {
    pid_t pid; /* 0: it ended */
    char name[64];
} process;

struct local_workers {
    char dir[96]; /* an ipc address has 107 bytes in all */
    process *processes;
    size_t n;
};

enum { DIR_NAME_BYTES = 24 }; /* of what comes behind the parent */

const char *local_workers_parent(void)
{
    const char *tmp = getenv("TMPDIR");
    return tmp && *tmp && strlen(tmp) <= sizeof((local_workers *)NULL)->dir - DIR_NAME_BYTES ? tmp : "/tmp";
}

yl_status local_workers_new(local_workers **out, yl_error *err)
{
    *out = NULL;
    local_workers *w = calloc(1, sizeof *w);
    if (!w) return yl_fail(err, YL_ENOMEM, "no memory for local workers");
    const char *tmp = local_workers_parent();
    snprintf(w->dir, sizeof w->dir, "%s/yllama-XXXXXX", tmp);
    if (!mkdtemp(w->dir)) {
        yl_status status = yl_fail(err, YL_EIO, "%s: no directory for sockets can be made: %s (set TMPDIR)", tmp, strerror(errno));
        free(w);
        return status;
    }
    *out = w;
    return YL_OK;
}

const char *local_workers_dir(const local_workers *w)
{
    return w->dir;
}

/* In the child, before exec. Signals that the parent caught or ignored are as new in the worker. */
static void become(const char *const *argv, const char *log_path, int report_fd)
{
    signal(SIGPIPE, SIG_DFL);
    if (log_path) {
        int fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (fd >= 0) dup2(fd, STDERR_FILENO);
    }
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
    }
    execv(argv[0], (char *const *)(uintptr_t)argv);
    int cause = errno;
    if (write(report_fd, &cause, sizeof cause) < 0) _exit(127);
    _exit(127);
}

yl_status local_workers_start(local_workers *w, const char *name, const char *const *argv, const char *log_path, yl_error *err)
{
    process *processes = realloc(w->processes, (w->n + 1) * sizeof *processes);
    if (!processes) return yl_fail(err, YL_ENOMEM, "no memory for '%s'", name);
    w->processes = processes;
    int report[2]; /* tells us why exec failed; closed by a successful exec */
    if (pipe2(report, O_CLOEXEC)) return yl_fail(err, YL_EIO, "'%s' cannot be started: %s", name, strerror(errno));
    pid_t pid = fork();
    if (pid == 0) become(argv, log_path, report[1]);
    int fork_errno = errno, cause = 0;
    close(report[1]);
    if (pid < 0) {
        close(report[0]);
        return yl_fail(err, YL_EIO, "'%s' cannot be started: %s", name, strerror(fork_errno));
    }
    ssize_t got;
    do got = read(report[0], &cause, sizeof cause);
    while (got < 0 && errno == EINTR);
    close(report[0]);
    if (got > 0) {
        waitpid(pid, NULL, 0);
        return yl_fail(err, YL_EIO, "%s cannot be run: %s (--worker-program names another)", argv[0], strerror(cause));
    }
    process *p = &w->processes[w->n++];
    *p = (process){.pid = pid};
    snprintf(p->name, sizeof p->name, "%s", name);
    return YL_OK;
}

static yl_status check_now(local_workers *w, yl_error *err)
{
    for (size_t i = 0; i < w->n; i++) {
        process *p = &w->processes[i];
        int how;
        if (!p->pid || waitpid(p->pid, &how, WNOHANG) != p->pid) continue;
        pid_t pid = p->pid;
        p->pid = 0;
        if (WIFSIGNALED(how))
            return yl_fail(err, YL_EPEER, "worker '%s' (process %ld) was killed by signal %d (%s)%s", p->name, (long)pid,
                           WTERMSIG(how), strsignal(WTERMSIG(how)), WTERMSIG(how) == SIGKILL ? ": out of memory?" : "");
        return yl_fail(err, YL_EPEER, "worker '%s' (process %ld) ended with exit code %d: its own message tells why", p->name,
                       (long)pid, WEXITSTATUS(how));
    }
    return YL_OK;
}

yl_status local_workers_check(local_workers *w, uint32_t patience_ms, yl_error *err)
{
    const struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};
    for (uint32_t waited = 0;; waited += 2) {
        yl_status status = check_now(w, err);
        if (status || waited >= patience_ms) return status;
        nanosleep(&pause, NULL);
    }
}

static bool all_ended(local_workers *w)
{
    bool all = true;
    for (size_t i = 0; i < w->n; i++) {
        process *p = &w->processes[i];
        if (p->pid && waitpid(p->pid, NULL, WNOHANG) != 0) p->pid = 0; /* it ended, or is no child any more */
        all &= !p->pid;
    }
    return all;
}

bool local_workers_wait(local_workers *w, uint32_t patience_ms)
{
    const struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};
    for (uint32_t waited = 0;; waited += 2) {
        if (all_ended(w)) return true;
        if (waited >= patience_ms) return false;
        nanosleep(&pause, NULL);
    }
}

static void signal_all(const local_workers *w, int number)
{
    for (size_t i = 0; i < w->n; i++) {
        if (w->processes[i].pid) kill(w->processes[i].pid, number);
    }
}

static void remove_dir(const char *path)
{
    DIR *d = opendir(path);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) {
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) unlinkat(dirfd(d), e->d_name, 0);
    }
    closedir(d);
    rmdir(path);
}

void local_workers_free(local_workers *w)
{
    if (!w) return;
    signal_all(w, SIGTERM);
    if (!local_workers_wait(w, 1000)) {
        signal_all(w, SIGKILL);
        local_workers_wait(w, 5000);
    }
    remove_dir(w->dir);
    free(w->processes);
    free(w);
}
