#include "child.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000L + t.tv_nsec / 1000000L;
}

static void pause_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

bool child_start(child *c, const char *const *argv, const char *input, const char *tmp_dir)
{
    int in[2], out[2], err[2];
    *c = (child){.exit_code = -1};
    if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)) return false;
    c->pid = fork();
    if (!c->pid) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        dup2(err[1], STDERR_FILENO);
        setenv("TMPDIR", tmp_dir, 1);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    close(err[1]);
    c->out_fd = out[0];
    c->err_fd = err[0];
    /* What tests write fits into a pipe. */
    bool fed = !input || write(in[1], input, strlen(input)) == (ssize_t)strlen(input);
    close(in[1]);
    return c->pid > 0 && fed;
}

/* Reads what is there. False: the other end is closed. */
static bool drain(int fd, char *buf, size_t *n)
{
    char scrap[4096];
    ssize_t got = read(fd, scrap, sizeof scrap);
    if (got <= 0) return false;
    size_t room = CHILD_OUTPUT_BYTES - 1 - *n, kept = (size_t)got < room ? (size_t)got : room;
    memcpy(buf + *n, scrap, kept);
    *n += kept;
    buf[*n] = 0;
    return true;
}

/* Reads until there are n_wanted bytes, all is closed, or time is up. */
static void read_until(child *c, size_t n_wanted, long deadline)
{
    while (c->n_out < n_wanted && (c->out_fd >= 0 || c->err_fd >= 0)) {
        long left = deadline - now_ms();
        struct pollfd fds[] = {{.fd = c->out_fd, .events = POLLIN}, {.fd = c->err_fd, .events = POLLIN}};
        if (left <= 0 || poll(fds, 2, (int)left) <= 0) return;
        if (fds[0].revents && !drain(c->out_fd, c->out, &c->n_out)) {
            close(c->out_fd);
            c->out_fd = -1;
        }
        if (fds[1].revents && !drain(c->err_fd, c->err, &c->n_err)) {
            close(c->err_fd);
            c->err_fd = -1;
        }
    }
}

bool child_wait(child *c, int ms)
{
    long deadline = now_ms() + ms;
    read_until(c, (size_t)-1, deadline);
    for (;;) {
        int how;
        if (waitpid(c->pid, &how, WNOHANG) == c->pid) {
            c->exit_code = WIFSIGNALED(how) ? 128 + WTERMSIG(how) : WEXITSTATUS(how);
            c->pid = 0;
            return true;
        }
        if (now_ms() >= deadline) return false;
        pause_ms(5);
    }
}

bool child_wait_for_output(child *c, size_t n, int ms)
{
    read_until(c, n, now_ms() + ms);
    return c->n_out >= n;
}

bool child_wait_for_words(child *c, const char *words, int ms)
{
    for (long deadline = now_ms() + ms; !strstr(c->err, words);) {
        if (now_ms() >= deadline) return false;
        read_until(c, (size_t)-1, now_ms() + 20);
        if (c->out_fd < 0 && c->err_fd < 0) pause_ms(20);
    }
    return true;
}

void child_end(child *c)
{
    if (c->pid > 0) {
        kill(c->pid, SIGKILL);
        waitpid(c->pid, NULL, 0);
    }
    c->pid = 0;                         /* whose number, as the descriptors', is another's now */
    if (c->out_fd == c->err_fd) return; /* both closed, or (both 0) it was never started */
    if (c->out_fd >= 0) close(c->out_fd);
    if (c->err_fd >= 0) close(c->err_fd);
    c->out_fd = c->err_fd = -1;
}

static bool command_line_has(const char *pid, const char *text)
{
    char path[280], line[4096];
    snprintf(path, sizeof path, "/proc/%s/cmdline", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, line, sizeof line - 1);
    close(fd);
    return n > 0 && memmem(line, (size_t)n, text, strlen(text));
}

int processes_with(const char *text, pid_t *pids, int capacity)
{
    DIR *d = opendir("/proc");
    int n = 0;
    for (struct dirent *e; d && n < capacity && (e = readdir(d));) {
        if (e->d_name[0] >= '0' && e->d_name[0] <= '9' && command_line_has(e->d_name, text)) pids[n++] = (pid_t)atol(e->d_name);
    }
    if (d) closedir(d);
    return n;
}

bool processes_gone(const char *text, int ms)
{
    pid_t pid;
    for (long deadline = now_ms() + ms; processes_with(text, &pid, 1);) {
        if (now_ms() > deadline) return false;
        pause_ms(10);
    }
    return true;
}
